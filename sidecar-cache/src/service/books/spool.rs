//! What lies in the spool, and who is seeing to it. The ledger forgets nothing that it was told before: an end that is
//! told twice, because this process died in between, exists.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::super::lock;
use super::unknown::{Fate, Unknown};
use crate::clock::Clock;
use crate::ledger::{Operation, spooled};
use crate::metrics::{Metrics, Spooling};
use crate::store::StoreError;
use crate::store::ledger::Verdict;
use crate::store::spool::{Put, SPOOLED_MAX, SpoolStore};

/// How many are read at once, and told at once.
pub(super) const PAGE: usize = 128;

/// The spool of this sidecar.
pub(super) struct Spool {
    store: Arc<dyn SpoolStore>,
    metrics: Arc<Metrics>,
    /// Those for which the ledger is being asked already.
    in_hand: Mutex<HashSet<u64>>,
    /// Those that cannot be read, and why. They stay.
    unreadable: Mutex<BTreeMap<u64, String>>,
    unknown: Unknown,
    /// Something lies there that nobody sees to.
    left: Notify,
    /// Why nothing can be written or read, while it cannot.
    fault: Mutex<Option<String>>,
    is_full: AtomicBool,
    /// Whether the ledger did not take what was there, the last time that it was told.
    pub(super) is_stuck: AtomicBool,
}

/// How much of the spool's room something may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Whole,
    Half,
}

/// An end that is in the spool and for which the ledger is being asked. Dropped, it is left there.
pub(super) struct Kept {
    spool: Arc<Spool>,
    number: u64,
    /// Whether it was told, and is not there any more.
    is_told: bool,
}

/// Some of what lies there.
pub(super) struct Page {
    /// What can be told.
    pub(super) ends: Vec<(u64, Operation)>,
    /// The last number of what was read; `None`: there was nothing.
    pub(super) last: Option<u64>,
}

// === impl Spool ===

impl Spool {
    pub(super) fn over(store: Arc<dyn SpoolStore>, metrics: Arc<Metrics>, clock: Clock) -> Self {
        Self {
            store,
            metrics,
            in_hand: Mutex::default(),
            unreadable: Mutex::default(),
            unknown: Unknown::new(clock),
            left: Notify::new(),
            fault: Mutex::default(),
            is_full: AtomicBool::new(false),
            is_stuck: AtomicBool::new(false),
        }
    }

    /// How many lie there, readable or not.
    pub(super) fn count(&self) -> usize {
        self.store.count()
    }

    /// How many lie there that the ledger can be told.
    pub(super) fn waiting(&self) -> usize {
        let unreadable = lock(&self.unreadable).len();
        self.count().saturating_sub(unreadable).saturating_sub(self.unknown.count())
    }

    /// Waits until something lies there that nobody sees to.
    pub(super) async fn until_left(&self) {
        self.left.notified().await;
    }

    /// Whether the end of what begins now has room there.
    pub(super) fn takes(&self) -> bool {
        let is_full = self.is_full.load(Ordering::Relaxed);
        !is_full && self.store.has_room() && lock(&self.fault).is_none()
    }

    /// Whether something lies there, or is amiss, that may be over without anybody having said so.
    pub(super) fn needs_a_look(&self) -> bool {
        !self.takes() || self.waiting() > 0
    }

    /// Puts an end there. `None`: it is not there, and why was said.
    pub(super) async fn keep(self: &Arc<Self>, operation: &Operation, room: Room) -> Option<Kept> {
        let text = spooled::write(operation)?;
        let count_max = match room {
            Room::Whole => SPOOLED_MAX,
            Room::Half => SPOOLED_MAX / 2,
        };
        let put = self.answered(self.store.put(text, count_max).await)?;
        match put {
            Put::Kept(number) => {
                self.is_full.store(false, Ordering::Relaxed);
                self.metrics.spooled(Spooling::Kept);
                lock(&self.in_hand).insert(number);
                self.unknown.kept(number, operation);
                Some(Kept { spool: Arc::clone(self), number, is_told: false })
            }
            Put::Full if room == Room::Half => {
                tracing::debug!(
                    ?operation,
                    "the spool has no room for releases: time closes the hold"
                );
                None
            }
            Put::Full => {
                self.metrics.spooled(Spooling::Full);
                if !self.is_full.swap(true, Ordering::Relaxed) {
                    let held = self.count();
                    tracing::error!(
                        held,
                        "the spool has no room: what the ledger does not take now is in memory alone"
                    );
                }
                None
            }
        }
    }

    /// What lies there behind a number, but for what is seen to already.
    pub(super) async fn page(&self, after: u64, with_those_in_hand: bool) -> Option<Page> {
        let rows = self.answered(self.store.read(after, PAGE).await)?;
        let last = rows.last().map(|(number, _)| *number);
        let mut ends = Vec::new();
        for (number, text) in rows {
            let is_in_hand = !with_those_in_hand && lock(&self.in_hand).contains(&number);
            if is_in_hand || self.unknown.has(number) {
                continue;
            }
            match spooled::read(&text) {
                Ok(operation) => ends.push((number, operation)),
                Err(why) => self.cannot_read(number, why.to_string()),
            }
        }
        Some(Page { ends, last })
    }

    /// The ledger has taken these, or never will. `false`: they are still there. They will be told again, and exist.
    pub(super) async fn forget(&self, numbers: Vec<u64>) -> bool {
        if numbers.is_empty() {
            return true;
        }
        self.is_full.store(false, Ordering::Relaxed);
        self.unknown.forgotten(&numbers);
        self.answered(self.store.remove(numbers).await).is_some()
    }

    /// What is to be done with an end, by what the ledger says.
    pub(super) fn fate(&self, number: u64, operation: &Operation, verdict: &Verdict) -> Fate {
        let fate = self.unknown.fate(number, operation, verdict);
        if fate == Fate::Stay {
            self.metrics.spooled(Spooling::Unknown);
        }
        fate
    }

    /// The ledger has answered to these. What it has taken is forgotten in one step.
    pub(super) async fn answered_all(&self, answered: Vec<(Kept, Operation, Verdict)>) {
        let (mut forgotten, mut numbers) = (Vec::new(), Vec::new());
        for (kept, operation, verdict) in answered {
            match self.fate(kept.number, &operation, &verdict) {
                Fate::Forget => {
                    numbers.push(kept.number);
                    forgotten.push(kept);
                }
                // Whoever tells the ledger what lies in the spool tells it again.
                Fate::Stay | Fate::TellAgain => drop(kept),
            }
        }
        let is_told = self.forget(numbers).await;
        forgotten.iter_mut().for_each(|kept| kept.is_told = is_told);
    }

    /// What is wrong, in sentences.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if let Some(why) = lock(&self.fault).as_deref() {
            faults.push(format!(
                "spool: it cannot be used: {why}. Ends that the ledger does not take are in memory alone: \
                 mend the disk of the data folder, and do not kill this sidecar meanwhile"
            ));
        }
        if !self.store.has_room() {
            faults.push(
                "spool: the disk of the data folder is full. Calls that run end in room that was kept for them; none is \
                 reserved out of an allotment, and none at all while ends wait for the ledger: make room"
                    .to_owned(),
            );
        }
        if self.is_full.load(Ordering::Relaxed) {
            faults.push(
                "spool: it has no room. Ends that the ledger does not take are in memory alone: see why \
                 the wallet's database takes none, and do not kill this sidecar meanwhile"
                    .to_owned(),
            );
        }
        if self.is_stuck.load(Ordering::Relaxed) {
            let waiting = self.waiting();
            faults.push(format!("spool: {waiting} ends of calls wait for the ledger, which is told of them by itself"));
        }
        let unreadable = lock(&self.unreadable);
        if let Some((number, why)) = unreadable.first_key_value() {
            let count = unreadable.len();
            faults.push(format!(
                "spool: {count} ends of calls cannot be read and are not told to the ledger; number \
                 {number}: {why}. Start a version that reads them"
            ));
        }
        faults.extend(self.unknown.fault());
        faults
    }

    /// Something has become of one that was there.
    pub(super) fn counts(&self, what: Spooling) {
        self.metrics.spooled(what);
    }

    fn cannot_read(&self, number: u64, why: String) {
        if lock(&self.unreadable).insert(number, why.clone()).is_none() {
            self.metrics.spooled(Spooling::Unreadable);
            tracing::error!(number, why, "an end in the spool cannot be read; it stays there");
        }
    }

    /// What the store says. That it does not is said once, until it does again.
    fn answered<T>(&self, answer: Result<T, StoreError>) -> Option<T> {
        match answer {
            Ok(answer) => {
                if lock(&self.fault).take().is_some() {
                    tracing::info!("the spool can be used again");
                }
                Some(answer)
            }
            Err(error) => {
                self.metrics.spooled(Spooling::Failed);
                let before = lock(&self.fault).replace(error.to_string());
                if before.is_none() {
                    tracing::error!(
                        %error,
                        "the spool cannot be used: what the ledger does not take now is in memory alone"
                    );
                }
                None
            }
        }
    }
}

// === impl Kept ===

impl Kept {
    /// The ledger has answered.
    pub(super) async fn answered(mut self, operation: &Operation, verdict: &Verdict) {
        match self.spool.fate(self.number, operation, verdict) {
            Fate::Forget => self.is_told = self.spool.forget(vec![self.number]).await,
            // Whoever tells the ledger what lies in the spool tells it again.
            Fate::Stay | Fate::TellAgain => {}
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        lock(&self.spool.in_hand).remove(&self.number);
        if !self.is_told {
            self.spool.left.notify_one();
        }
    }
}
