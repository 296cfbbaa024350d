//! Where the ledger is kept. What an operation does is decided by [`crate::ledger::book`]; a store has to do all
//! of it or nothing, in one order for everybody, and to have it on disk before it answers.

pub(super) mod live;
pub mod memory;
pub mod turns;

use std::collections::HashMap;

use kt_contract::money::MicroUsd;
use kt_contract::time::UnixMillis;

use super::Answer;
use crate::ledger::account::{Account, AccountName, Payer, Scope};
use crate::ledger::audit::Findings;
use crate::ledger::bill::Billed;
use crate::ledger::transfer::Charge;
use crate::ledger::window::Period;
use crate::ledger::{Hold, Operation, Receipt, Refused, State, Transfer, TransferId};
use turns::{Told, Turn};

/// What the ledger says to an operation.
pub type Verdict = Result<Receipt, Refused>;

/// A ledger. Asking for the same operation again answers the same, whatever has happened since; time is the
/// store's own.
pub trait LedgerStore: Send + Sync {
    /// Does an operation, or says which rule refuses it. Durable when answered. After an error nobody knows
    /// whether it was done, and asking again finds out.
    fn operate(&self, operation: Operation) -> Answer<'_, Verdict>;

    /// Expires what is due and returns what has lain in suspense for its time: at most `count_max` holds. Says
    /// how many were closed; as many as that, and there may be more.
    fn expire_due(&self, count_max: usize) -> Answer<'_, usize>;

    /// How an organization stands.
    fn balance(&self, org: String) -> Answer<'_, Balance>;

    /// What an organization's calls are paid from, and nothing else: however many holds there are.
    fn payers(&self, org: String) -> Answer<'_, Payers> {
        Box::pin(async move {
            let Balance { wallet, purses, .. } = self.balance(org).await?;
            Ok(Payers { wallet, purses })
        })
    }

    /// The accounts of an organization, by name: budgets, spending, what else there is.
    fn accounts(&self, org: String) -> Answer<'_, Vec<(String, Account)>>;

    /// A hold, whatever has become of it.
    fn hold(&self, id: TransferId) -> Answer<'_, Option<Hold>>;

    /// Those of these holds that there are, whatever has become of them.
    fn holds_by_id(&self, ids: Vec<TransferId>) -> Answer<'_, HashMap<TransferId, Hold>> {
        Box::pin(async move {
            let mut found = HashMap::new();
            for id in ids {
                found.extend(self.hold(id).await?.map(|hold| (id, hold)));
            }
            Ok(found)
        })
    }

    /// The holds of an organization that are open or lie in suspense, the next to expire first.
    fn holds(&self, org: String) -> Answer<'_, Vec<Hold>> {
        Box::pin(async move { Ok(self.first_holds(org, usize::MAX).await?.0) })
    }

    /// The first so many of them, and how many there are. There can be more than anybody wants to read.
    fn first_holds(&self, org: String, count_max: usize) -> Answer<'_, (Vec<Hold>, u64)>;

    /// Transfers of an organization, oldest first, at most `count_max`, newer than the one numbered `after`.
    fn transfers(
        &self,
        org: String,
        after: u64,
        count_max: usize,
    ) -> Answer<'_, Vec<(u64, Transfer)>>;

    /// Transfers of an organization, newest first, at most `count_max`, older than the one numbered `before`.
    fn history(
        &self,
        org: String,
        before: Option<u64>,
        count_max: usize,
    ) -> Answer<'_, Vec<(u64, Transfer)>>;

    /// What was charged from `since` on and before `until`, by the ledger's clock: of one organization, or of all.
    /// A charge counts when it is made, and so does what is given back of it.
    fn billed(
        &self,
        org: Option<String>,
        since: UnixMillis,
        until: UnixMillis,
    ) -> Answer<'_, Vec<Billed>>;

    /// How every budget stands whose window is not over and under which something was reserved in it, by account.
    fn levels(&self, org: String) -> Answer<'_, Vec<Level>>;

    /// Whether an alert about an account is the first: true once, for good, through every restart. An account of a
    /// budget is that of one window. Durable when answered.
    fn alerted(&self, org: String, account: String) -> Answer<'_, bool>;

    /// Freezes an organization, its purses included: nothing more is reserved; what runs still ends. A frozen one
    /// keeps its reason.
    fn freeze(&self, org: String, reason: String) -> Answer<'_, ()>;

    /// Lets an organization go on.
    fn unfreeze(&self, org: String) -> Answer<'_, ()>;

    /// Who is frozen, by name.
    fn frozen(&self) -> Answer<'_, Vec<(String, Frozen)>>;

    /// Counts everything again, on the state of one moment.
    fn audit(&self) -> Answer<'_, Findings>;

    /// Whether it is one's turn to count it. Where several share a ledger, one does for all.
    fn audit_turn(&self) -> Answer<'_, Turn> {
        Box::pin(async { Ok(Turn::Always) })
    }

    /// Tells those who share it what was found, when what follows from it was done.
    fn audit_told(&self, _told: Told) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}

/// How an organization stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// Its wallet.
    pub wallet: Account,
    /// The purses of its teams, by team.
    pub purses: Vec<(String, Account)>,
    /// What lies in suspense.
    pub suspense: Account,
    /// How far open calls can take the wallet below what is available, if each costs the most that it can.
    pub shortfall_max: u128,
    /// Since when it is frozen, and why.
    pub frozen: Option<Frozen>,
}

/// Who pays for an organization's calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payers {
    /// Its wallet.
    pub wallet: Account,
    /// The purses of its teams, by team.
    pub purses: Vec<(String, Account)>,
}

/// How a budget stands in its window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    /// Whose spending.
    pub scope: Scope,
    /// For how long.
    pub period: Period,
    /// Which day or month.
    pub window: String,
    /// When that ends.
    pub until: UnixMillis,
    /// What may be spent in it, as the last reserve under it said.
    pub limit: MicroUsd,
    /// What was spent, and what lies in suspense.
    pub spent: MicroUsd,
    /// What is set aside.
    pub pending: MicroUsd,
}

/// That an organization is frozen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frozen {
    /// Since when.
    pub since: UnixMillis,
    /// Why.
    pub reason: String,
}

/// Whether time has closed a hold. Where the rules refuse that, what says it is due is wrong: the hold stays as it is
/// and somebody has to look.
pub(super) fn closes(operation: &Operation, verdict: &Verdict) -> bool {
    if let Err(refused) = verdict {
        tracing::error!(why = refused.code(), ?operation, "a hold that is due cannot be closed");
    }
    verdict.is_ok()
}

// === impl Balance ===

impl Balance {
    /// What the open ones among these holds can cost a payer beyond what they hold.
    #[must_use]
    pub fn shortfall_of<'a>(payer: &Payer, holds: impl IntoIterator<Item = &'a Hold>) -> u128 {
        holds
            .into_iter()
            .filter(|hold| hold.terms.payer == *payer && matches!(hold.state, State::Open { .. }))
            .map(|hold| u128::from(hold.terms.cost_max.less(hold.held).micros()))
            .fold(0, u128::saturating_add)
    }
}

// === impl Level ===

impl Level {
    /// How the account of a budget stands, given its last charge.
    pub(super) fn of(charge: Charge, account: &Account) -> Self {
        let Charge { scope, period, window, until, limit } = charge;
        let usd = |micros| MicroUsd::new(micros).unwrap_or(MicroUsd::MAX);
        let Account { debits, credits } = account;
        Self {
            scope,
            period,
            window,
            until,
            limit,
            spent: usd(debits.posted.saturating_sub(credits.posted)),
            pending: usd(debits.pending()),
        }
    }

    /// The account that counts it.
    #[must_use]
    pub fn account(&self) -> AccountName {
        AccountName::Budget(self.scope.clone(), self.period, self.window.clone())
    }
}
