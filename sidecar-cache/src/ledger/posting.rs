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

/// The movements of a row that refers to no hold.
#[must_use]
pub fn legs(entry: &Entry) -> Vec<Leg> {
    let leg = |debit, credit| vec![Leg { debit, credit, step: Step::Post, amount: entry.amount }];
    match entry.kind {
        Kind::Fund | Kind::AdjustCredit => leg(AccountName::Bank, AccountName::Wallet),
        Kind::AdjustDebit => leg(AccountName::Wallet, AccountName::Bank),
        Kind::Pending
        | Kind::Extend
        | Kind::Post
        | Kind::Overage
        | Kind::Void
        | Kind::Expire
        | Kind::LatePost
        | Kind::LateVoid
        | Kind::Return
        | Kind::Refund => Vec::new(),
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
        // Returned already: the wallet pays, as for an overage.
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
        (Kind::Fund | Kind::AdjustCredit | Kind::AdjustDebit, _) => Vec::new(),
    }
}

/// From the wallet to somebody, and counted in every budget.
fn paid(hold: &Hold, to: &AccountName, step: Step, amount: MicroUsd) -> Vec<Leg> {
    let wallet = Leg { debit: AccountName::Wallet, credit: to.clone(), step, amount };
    let counted = hold.terms.charges.iter().map(|charge| Leg {
        debit: charge.account(),
        credit: AccountName::Control,
        step,
        amount,
    });
    std::iter::once(wallet).chain(counted).collect()
}

/// From somebody to the wallet, and no longer counted in the budgets.
fn back(hold: &Hold, from: &AccountName, amount: MicroUsd) -> Vec<Leg> {
    let step = Step::Post;
    let wallet = Leg { debit: from.clone(), credit: AccountName::Wallet, step, amount };
    let counted = hold.terms.charges.iter().map(|charge| Leg {
        debit: AccountName::Control,
        credit: charge.account(),
        step,
        amount,
    });
    std::iter::once(wallet).chain(counted).collect()
}
