//! The ledger as calls use it: what is asked of it is asked until it answers, and what it says becomes a refusal
//! for a client or a word for an operator.

mod ahead;
mod allotted;
mod ends;
mod replay;
mod spool;
mod unknown;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kt_contract::money::MicroUsd;
use kt_contract::problem::Unpaid;
use kt_contract::time::UnixMillis;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::calls::Calls;
use super::drain::Drain;
use super::fault::Concerns;
use super::lock;
use crate::allotment::Size;
use crate::clock::Clock;
use crate::ledger::account::Scope;
use crate::ledger::request::{Extend, Reserve};
use crate::ledger::{Made, Operation, Receipt, Refused, Short, TransferId};
use crate::metrics::Metrics;
use crate::reserve::lengths::Lengths;
use crate::store::StoreError;
use crate::store::ledger::{LedgerStore, Verdict};
use crate::store::spool::SpoolStore;
use ahead::Ahead;
use allotted::Allotted;
pub(super) use allotted::Share;
use ends::AGAIN_MAX;
pub(super) use replay::{Round, Walk};
use spool::Spool;

/// How long a client's request waits for the ledger.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// The ledger, and what is learned for its sake.
pub(super) struct Books {
    ledger: Arc<dyn LedgerStore>,
    metrics: Arc<Metrics>,
    clock: Clock,
    /// A stop waits for what the ledger has not taken yet.
    drain: Drain,
    /// How many operations may be asked again at once.
    again: Arc<Semaphore>,
    /// Where ends lie that the ledger has not taken yet; `None`: in memory alone.
    spool: Option<Arc<Spool>>,
    /// What is reserved here, without the ledger being asked for each call.
    allotted: Allotted,
    /// How long answers are of late.
    pub(super) lengths: Mutex<Lengths>,
    /// How far the calls under way can go beyond what they hold, in micro-dollars.
    exposed: AtomicU64,
    /// What was called, for audits.
    pub(super) calls: Calls,
    /// For whom the ledger's clock was ahead when it was asked last.
    ahead: Ahead,
}

/// What the ledger has set aside for a call by now.
#[derive(Debug)]
pub(super) struct Granted {
    /// In micro-dollars.
    amount: AtomicU64,
    /// Why it is no more than that, where more was asked for and is not there.
    refused: Mutex<Option<(Unpaid, Concerns)>>,
}

/// How far one call can go beyond what it holds; counted while it is under way.
pub(super) struct Exposure {
    books: Arc<Books>,
    amount: MicroUsd,
}

// === impl Books ===

impl Books {
    pub(super) fn new(
        ledger: Arc<dyn LedgerStore>,
        spool: Option<Arc<dyn SpoolStore>>,
        metrics: Arc<Metrics>,
        clock: Clock,
        drain: Drain,
    ) -> Self {
        let again = Arc::new(Semaphore::new(AGAIN_MAX));
        let spool = spool.map(|store| Arc::new(Spool::over(store, Arc::clone(&metrics), clock)));
        Self {
            ledger,
            metrics,
            clock,
            drain,
            again,
            spool,
            allotted: Allotted::default(),
            lengths: Mutex::default(),
            exposed: AtomicU64::new(0),
            calls: Calls::default(),
            ahead: Ahead::default(),
        }
    }

    /// How far the calls under way can take wallets below zero, if each costs the most that it can.
    pub(super) fn exposed(&self) -> MicroUsd {
        MicroUsd::new(self.exposed.load(Ordering::Relaxed)).unwrap_or(MicroUsd::MAX)
    }

    /// Sets money aside for a call: out of an allotment of `size`, if there is one that has it, or else in the ledger,
    /// which alone refuses.
    pub(super) async fn reserve(
        self: &Arc<Self>,
        reserve: Reserve,
        size: Option<Size>,
    ) -> Result<Option<Arc<Share>>, (Unpaid, Concerns)> {
        if let Some(share) = self.reserve_here(&reserve, size) {
            return Ok(Some(share));
        }
        if self.ends_have_no_room() {
            self.metrics.ledger_operated("reserve", "unavailable");
            return Err((Unpaid::LedgerUnavailable, Concerns::Everybody));
        }
        let (hold, org) = (reserve.id, reserve.org.clone());
        let answer = timeout(ANSWER_MAX, self.ask(Operation::Reserve(reserve))).await;
        if let Ok(Ok(verdict)) = &answer {
            self.ahead.says(&org, verdict, self.clock.mono());
        }
        match answer {
            Ok(Ok(Ok(Receipt { made: Made::Created, .. }))) => Ok(None),
            // Each call has an id of its own. What exists is another's, and may have ended.
            Ok(Ok(Ok(Receipt { made: Made::Exists, .. }))) => {
                tracing::error!(hold = hold.0.to_hex(), "a call's money was set aside before");
                Err((Unpaid::LedgerUnavailable, Concerns::Asker))
            }
            Ok(Ok(Err(refused))) => {
                if refused == Refused::Frozen {
                    self.allotted.retire(&org);
                }
                Err(self.unpaid(&refused))
            }
            Ok(Err(_)) | Err(_) => {
                // It may have been set aside; nobody will make that call. Time would close the hold as well.
                self.give_up(hold);
                Err((Unpaid::LedgerUnavailable, Concerns::Everybody))
            }
        }
    }

    /// Whether what ends now may find no room in the spool, while the ledger does not take all of what has ended: it would
    /// be in memory alone, and a crash would give it away.
    fn ends_have_no_room(&self) -> bool {
        let Some(spool) = self.spool.as_ref().filter(|spool| !spool.takes()) else { return false };
        // Those that the ledger is told of for the first time are on their way.
        spool.waiting() > self.allotted.in_hand() || self.again.available_permits() < AGAIN_MAX
    }

    /// Lets a hold grow or live longer, beside whatever goes on: a stream does not wait for it. What the ledger says
    /// is written to `granted`.
    pub(super) fn extend(self: &Arc<Self>, extend: Extend, granted: &Arc<Granted>) {
        let (books, granted) = (Arc::clone(self), Arc::clone(granted));
        let served = self.drain.enter();
        tokio::spawn(async move {
            match timeout(ANSWER_MAX, books.ask(Operation::Extend(extend))).await {
                Ok(Ok(Ok(receipt))) => granted.grow(receipt.amount),
                Ok(Ok(Err(Refused::Insufficient(short)))) => granted.refuse(books.short(&short)),
                // What else is refused, or not answered, is no lack of money.
                Ok(Ok(Err(_)) | Err(_)) | Err(_) => {}
            }
            drop(served);
        });
    }

    /// That nothing is reserved for some, and what to do, where their ledger's clock is ahead.
    pub(super) fn ahead_fault(&self) -> Option<String> {
        self.ahead.fault(self.clock.mono())
    }

    /// A call is made that this is set aside for: an audit looks it up.
    pub(super) fn has_made(&self, org: String, hold: TransferId) {
        if !self.calls.made(org, hold) {
            self.metrics.not_looked_up();
        }
    }

    /// A call has cost so much, and its hold was for less.
    pub(super) fn settled(&self, cost: MicroUsd, held: MicroUsd) {
        if cost > held {
            self.metrics.overspent(cost.less(held));
        }
    }

    /// Asks once. After an error nobody knows whether it was done.
    async fn ask(&self, operation: Operation) -> Result<Verdict, StoreError> {
        let word = word(&operation);
        let answer = self.ask_quietly(operation).await;
        if let Err(error) = &answer {
            tracing::error!(%error, operation = word, "the ledger has no answer");
        }
        answer
    }

    /// The same, for whoever says it once for many.
    async fn ask_quietly(&self, operation: Operation) -> Result<Verdict, StoreError> {
        let word = word(&operation);
        let answer = self.ledger.operate(operation).await;
        let said = answer.as_ref().map_or("unavailable", result);
        self.metrics.ledger_operated(word, said);
        answer
    }

    /// What a refused reserve is for its client.
    fn unpaid(&self, refused: &Refused) -> (Unpaid, Concerns) {
        match refused {
            Refused::Insufficient(short) => self.short(short),
            Refused::Frozen => (Unpaid::WalletFrozen, Concerns::Everybody),
            // Nothing is reserved until the clock has caught up: it may, so that a retry can help.
            Refused::ClockSetBack => (Unpaid::LedgerUnavailable, Concerns::Everybody),
            Refused::ExistsDifferent
            | Refused::BadAmount
            | Refused::NotFound
            | Refused::AlreadySettled
            | Refused::AlreadyReleased
            | Refused::NotDue
            | Refused::NotExpired
            | Refused::Expired
            | Refused::NotSettled
            | Refused::ExceedsCharge => {
                tracing::error!(why = refused.code(), "a reserve was refused that never should be");
                (Unpaid::LedgerUnavailable, Concerns::Asker)
            }
        }
    }

    fn short(&self, short: &Short) -> (Unpaid, Concerns) {
        match short {
            // A team that has a purse is not paid for from the wallet.
            Short::Wallet => (Unpaid::WalletEmpty { team: None }, Concerns::Team),
            Short::Team(team) => (Unpaid::WalletEmpty { team: Some(team.clone()) }, Concerns::Team),
            Short::Budget { scope, period, until } => {
                let concerns = match scope {
                    Scope::Org | Scope::Pack(_) => Concerns::Everybody,
                    Scope::Team(_) => Concerns::Team,
                    Scope::User(_) => Concerns::User,
                    Scope::Agent(_) | Scope::Workflow(_) => Concerns::Asker,
                };
                let unpaid = Unpaid::BudgetSpent {
                    scope: in_words(scope),
                    window: period.as_str().to_owned(),
                    resets_in_s: seconds_until(*until, self.clock.wall()),
                };
                (unpaid, concerns)
            }
        }
    }
}

// === impl Granted ===

impl Granted {
    pub(super) const fn new(amount: MicroUsd) -> Self {
        Self { amount: AtomicU64::new(amount.micros()), refused: Mutex::new(None) }
    }

    pub(super) fn amount(&self) -> MicroUsd {
        MicroUsd::new(self.amount.load(Ordering::Relaxed)).unwrap_or(MicroUsd::MAX)
    }

    /// Why it is no more.
    pub(super) fn refused(&self) -> Option<(Unpaid, Concerns)> {
        lock(&self.refused).clone()
    }

    /// It is asked for again: there may be money by now.
    pub(super) fn is_asked_again(&self) {
        *lock(&self.refused) = None;
    }

    fn grow(&self, total: MicroUsd) {
        self.amount.fetch_max(total.micros(), Ordering::Relaxed);
        *lock(&self.refused) = None;
    }

    fn refuse(&self, why: (Unpaid, Concerns)) {
        *lock(&self.refused) = Some(why);
    }
}

// === impl Exposure ===

impl Exposure {
    /// A call that may cost up to `cost_max` and holds `held`.
    pub(super) fn new(books: &Arc<Books>, cost_max: MicroUsd, held: MicroUsd) -> Self {
        let amount = cost_max.less(held);
        books.exposed.fetch_add(amount.micros(), Ordering::Relaxed);
        Self { books: Arc::clone(books), amount }
    }
}

impl Drop for Exposure {
    fn drop(&mut self) {
        self.books.exposed.fetch_sub(self.amount.micros(), Ordering::Relaxed);
    }
}

/// Whole seconds, the last one begun included.
const fn seconds_until(until: UnixMillis, now: UnixMillis) -> u64 {
    until.0.saturating_sub(now.0).div_ceil(1_000)
}

fn in_words(scope: &Scope) -> String {
    match scope {
        Scope::Org => "the organization".to_owned(),
        Scope::Team(name) => format!("team '{name}'"),
        Scope::User(name) => format!("user '{name}'"),
        Scope::Agent(name) => format!("agent '{name}'"),
        Scope::Workflow(name) => format!("workflow '{name}'"),
        Scope::Pack(name) => format!("policy pack '{name}'"),
    }
}

/// The word of an operation in metrics.
const fn word(operation: &Operation) -> &'static str {
    match operation {
        Operation::Fund(_) => "fund",
        Operation::Reserve(_) => "reserve",
        Operation::Extend(_) => "extend",
        Operation::Settle { .. } => "settle",
        Operation::Release { .. } => "release",
        Operation::Expire { .. } => "expire",
        Operation::LateSettle { .. } => "late_settle",
        Operation::Return { .. } => "return",
        Operation::Refund(_) => "refund",
        Operation::Adjust(_) => "adjust",
        Operation::Allocate(_) => "allocate",
        Operation::Draw(_) => "draw",
        Operation::OpenCalls(_) => "open_calls",
    }
}

/// The word of an answer in metrics: from a closed set, whoever is short.
const fn result(verdict: &Verdict) -> &'static str {
    match verdict {
        Ok(receipt) => match receipt.made {
            Made::Created => "created",
            Made::Exists => "exists",
        },
        Err(Refused::Insufficient(Short::Wallet)) => "insufficient_wallet",
        Err(Refused::Insufficient(Short::Team(_))) => "insufficient_purse",
        Err(Refused::Insufficient(Short::Budget { .. })) => "insufficient_budget",
        Err(Refused::Frozen) => "frozen",
        Err(Refused::ClockSetBack) => "clock_set_back",
        Err(Refused::AlreadySettled) => "already_settled",
        Err(Refused::AlreadyReleased) => "already_released",
        Err(Refused::Expired) => "expired",
        Err(
            Refused::ExistsDifferent
            | Refused::BadAmount
            | Refused::NotFound
            | Refused::NotDue
            | Refused::NotExpired
            | Refused::NotSettled
            | Refused::ExceedsCharge,
        ) => "refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::clock::Reading;
    use crate::metrics::Sight;
    use crate::service::calls::CALLS_MAX;
    use crate::store::ledger::memory::MemoryLedger;

    #[test]
    fn calls_that_no_audit_looks_up_are_counted() {
        let clock = Clock::start();
        let reading = move || Reading { mono: clock.mono(), wall: clock.wall() };
        let (ledger, metrics) = (Arc::new(MemoryLedger::new(Box::new(reading))), Arc::default());
        let books = Books::new(ledger, None, Arc::clone(&metrics), clock, Drain::default());
        for (calls, expected) in [(CALLS_MAX, 0_u64), (2, 2)] {
            for number in 0..calls {
                let hold = [expected, number as u64].map(u64::to_be_bytes).concat();
                let hold = TransferId::from_128(hold.try_into().unwrap());
                books.has_made("acme".to_owned(), hold);
            }
            let line = format!("kt_wallet_calls_not_audited_total {expected}");
            let told = metrics.render(&Sight::default());
            assert!(told.lines().any(|found| found == line), "{told}");
        }
    }

    #[test]
    fn the_last_second_counts_until_it_is_over() {
        for (until, now, seconds) in [(10_000, 9_001, 1), (10_000, 8_000, 2), (10_000, 10_001, 0)] {
            assert_eq!(seconds_until(UnixMillis(until), UnixMillis(now)), seconds, "{now}");
        }
    }
}
