//! What a row does to the accounts: always one account's debit and another one's credit, of the same amount.

use kt_contract::money::MicroUsd;

use super::account::{AccountName, Step};
use super::rules::Entry;
use super::transfer::{Hold, Kind, State};

/// One movement between two accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leg {
    /// What gives.
    pub debit: AccountName,
    /// What takes.
    pub credit: AccountName,
    /// What happens to the amount.
    pub step: Step,
    /// How much.
    pub amount: MicroUsd,
}

/// The movements of a row that refers to no hold, and of which some fill or empty a team's purse.
#[must_use]
pub fn legs(entry: &Entry, team: Option<&str>) -> Vec<Leg> {
    let leg = |debit, credit| vec![Leg { debit, credit, step: Step::Post, amount: entry.amount }];
    let purse = |team: &str| AccountName::Team(team.to_owned());
    match (entry.kind, team) {
        (Kind::Fund | Kind::AdjustCredit, _) => leg(AccountName::Bank, AccountName::Wallet),
        (Kind::AdjustDebit, _) => leg(AccountName::Wallet, AccountName::Bank),
        (Kind::OpenCalls, _) => leg(AccountName::Wallet, AccountName::OpenCalls),
        (Kind::Allocate, Some(team)) => leg(AccountName::Wallet, purse(team)),
        (Kind::Deallocate, Some(team)) => leg(purse(team), AccountName::Wallet),
        (
            Kind::Pending
            | Kind::Extend
            | Kind::Post
            | Kind::Overage
            | Kind::Void
            | Kind::Expire
            | Kind::LatePost
            | Kind::LateVoid
            | Kind::Return
            | Kind::Refund
            | Kind::Draw,
            _,
        )
        | (Kind::Allocate | Kind::Deallocate, None) => Vec::new(),
    }
}

/// The movements of a row that refers to a hold, which is given as it was before.
#[must_use]
pub fn legs_of_hold(hold: &Hold, entry: &Entry) -> Vec<Leg> {
    let (amount, held) = (entry.amount, hold.held);
    let payee = || hold.terms.payee();
    match (entry.kind, hold.state) {
        (Kind::Pending | Kind::Extend, _) => paid(hold, &payee(), Step::Pend, amount),
        (Kind::Post, _) => {
            let mut legs = paid(hold, &payee(), Step::Clear, held);
            legs.extend(paid(hold, &payee(), Step::Post, amount));
            legs
        }
        (Kind::Void, _) => paid(hold, &payee(), Step::Clear, held),
        (Kind::Expire, _) => {
            let mut legs = paid(hold, &payee(), Step::Clear, held);
            legs.extend(paid(hold, &AccountName::Suspense, Step::Post, held));
            legs
        }
        // Returned already: it is paid anew, as an overage is.
        (Kind::Overage, _) | (Kind::LatePost, State::Returned) => {
            paid(hold, &payee(), Step::Post, amount)
        }
        (Kind::LatePost, _) => {
            let mut legs = back(hold, &AccountName::Suspense, held.less(amount));
            legs.push(Leg {
                debit: AccountName::Suspense,
                credit: payee(),
                step: Step::Post,
                amount,
            });
            legs
        }
        (Kind::LateVoid | Kind::Return, _) => back(hold, &AccountName::Suspense, held),
        (Kind::Refund, _) => back(hold, &payee(), amount),
        (Kind::Draw, State::Expired { .. }) => back(hold, &AccountName::Suspense, amount),
        (Kind::Draw, _) => paid(hold, &payee(), Step::Clear, amount),
        (
            Kind::Fund
            | Kind::AdjustCredit
            | Kind::AdjustDebit
            | Kind::Allocate
            | Kind::Deallocate
            | Kind::OpenCalls,
            _,
        ) => Vec::new(),
    }
}

/// From who pays to somebody, and counted in every budget.
fn paid(hold: &Hold, to: &AccountName, step: Step, amount: MicroUsd) -> Vec<Leg> {
    let payer = hold.terms.payer.account();
    let payment = Leg { debit: payer, credit: to.clone(), step, amount };
    let counted = hold.terms.charges.iter().map(|charge| Leg {
        debit: charge.account(),
        credit: AccountName::Control,
        step,
        amount,
    });
    std::iter::once(payment).chain(counted).collect()
}

/// From somebody to who has paid, and no longer counted in the budgets.
fn back(hold: &Hold, from: &AccountName, amount: MicroUsd) -> Vec<Leg> {
    let step = Step::Post;
    let payer = hold.terms.payer.account();
    let payment = Leg { debit: from.clone(), credit: payer, step, amount };
    let counted = hold.terms.charges.iter().map(|charge| Leg {
        debit: AccountName::Control,
        credit: charge.account(),
        step,
        amount,
    });
    std::iter::once(payment).chain(counted).collect()
}
