//! The ledger's values as they are told to people.

use kt_contract::money::MicroUsd;
use kt_contract::wire::admin::wallet::{
    BalanceReply, BudgetEntry, CallEntry, FrozenSince, HoldEntry, HoldState, PurseEntry,
    TermsEntry, TransferEntry,
};

use crate::ledger::account::{Account, Payer};
use crate::ledger::request::{CallOf, Purpose};
use crate::ledger::transfer::{Charge, Terms};
use crate::ledger::{Hold, State, Transfer};
use crate::store::ledger::{Balance, Frozen};

/// How an organization stands.
pub(super) fn balance(
    org: &str,
    balance: Balance,
    is_prepaid: bool,
    budgets: Vec<BudgetEntry>,
) -> BalanceReply {
    let Balance { wallet, purses, suspense, shortfall_max, frozen: is_frozen } = balance;
    BalanceReply {
        org: org.to_owned(),
        is_prepaid,
        available_micro_usd: signed(wallet.available()),
        posted_micro_usd: posted(&wallet),
        pending_micro_usd: wallet.debits.pending(),
        suspense_micro_usd: u64::try_from(suspense.available()).unwrap_or_default(),
        shortfall_max_micro_usd: u64::try_from(shortfall_max).unwrap_or(u64::MAX),
        frozen: is_frozen.map(frozen),
        purses: purses.into_iter().map(purse).collect(),
        budgets,
    }
}

fn purse((team, account): (String, Account)) -> PurseEntry {
    PurseEntry {
        team,
        available_micro_usd: signed(account.available()),
        posted_micro_usd: posted(&account),
        pending_micro_usd: account.debits.pending(),
    }
}

/// A row.
pub(super) fn transfer((number, transfer): (u64, Transfer)) -> TransferEntry {
    let Transfer { id, org: _, kind, hold, team, amount, at, note, terms: of_hold } = transfer;
    TransferEntry {
        number,
        id: id.0,
        kind: kind.as_str().to_owned(),
        hold: hold.map(|hold| hold.0),
        team,
        amount_micro_usd: amount.micros(),
        at,
        note,
        terms: of_hold.as_ref().map(terms),
    }
}

/// A hold, unless it has ended for good.
pub(super) fn hold(hold: &Hold) -> Option<HoldEntry> {
    let (state, until) = match hold.state {
        State::Open { due_at } => (HoldState::Open, due_at),
        State::Expired { return_at } => (HoldState::Suspended, return_at),
        State::Settled { .. }
        | State::Released
        | State::Returned
        | State::LateSettled { .. }
        | State::LateReleased => return None,
    };
    let held = MicroUsd::micros(hold.held);
    let terms = terms(&hold.terms);
    Some(HoldEntry { id: hold.id.0, state, held_micro_usd: held, until, terms })
}

/// That a wallet is frozen.
pub(super) fn frozen(frozen: Frozen) -> FrozenSince {
    let Frozen { since, reason } = frozen;
    FrozenSince { since, reason }
}

fn terms(terms: &Terms) -> TermsEntry {
    let (call, allotment) = match &terms.purpose {
        Purpose::Call(call) => (Some(call_entry(call)), None),
        Purpose::Allotment(holder) => (None, Some(holder.clone())),
    };
    TermsEntry {
        call,
        allotment,
        payer: match &terms.payer {
            Payer::Wallet => "wallet".to_owned(),
            Payer::Team(team) => format!("team:{team}"),
            Payer::Bank => "bank".to_owned(),
        },
        cost_max_micro_usd: terms.cost_max.micros(),
        prices: terms.prices.clone(),
        budgets: terms.charges.iter().map(Charge::account).map(|name| name.to_string()).collect(),
    }
}

fn call_entry(call: &CallOf) -> CallEntry {
    let CallOf { provider, model, team, user, agent, codebase, key_id, request_id } = call.clone();
    CallEntry { provider, model, team, user, agent, codebase, key_id, request_id }
}

fn posted(account: &Account) -> i64 {
    signed(i128::from(account.credits.posted) - i128::from(account.debits.posted))
}

/// What is beyond every number that a message can have is as much as one can.
fn signed(amount: i128) -> i64 {
    i64::try_from(amount).unwrap_or(if amount < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_beyond_every_number_is_the_largest_on_its_side() {
        for (amount, expected) in
            [(i128::MIN, i64::MIN), (-1, -1), (0, 0), (1, 1), (i128::from(i64::MAX) + 1, i64::MAX)]
        {
            assert_eq!(signed(amount), expected, "{amount}");
        }
    }
}
