//! Where ends of holds lie that the ledger has not taken yet: one file for each sidecar, so that they outlive it. What
//! is in one is the business of [`crate::ledger::spooled`]; a spool keeps texts, in the order in which they came.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Answer;

/// How many ends a spool holds at most.
pub const SPOOLED_MAX: usize = 100_000;

/// A spool. It has one sidecar.
pub trait SpoolStore: Send + Sync {
    /// Keeps one behind all others, unless so many are there already. Durable when answered: with its number, which no
    /// other ever has.
    fn put(&self, text: String, count_max: usize) -> Answer<'_, Put>;

    /// The oldest ones whose numbers are above `after`, at most `count_max`.
    fn read(&self, after: u64, count_max: usize) -> Answer<'_, Vec<(u64, String)>>;

    /// Forgets these. Those that are not there are forgotten already.
    fn remove(&self, numbers: Vec<u64>) -> Answer<'_, ()>;

    /// How many are there.
    fn count(&self) -> usize;

    /// Whether there is room for more than the ends of what runs. While there is not, nothing is to begin whose end would
    /// have to lie here.
    fn has_room(&self) -> bool {
        true
    }
}

/// What became of one that was to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is there, under this number.
    Kept(u64),
    /// There is no room for it.
    Full,
}

/// A spool that is gone with its process, for tests.
#[derive(Debug, Default)]
pub struct MemorySpool {
    held: Mutex<Held>,
    is_short: AtomicBool,
}

#[derive(Debug, Default)]
struct Held {
    last: u64,
    texts: BTreeMap<u64, String>,
}

// === impl MemorySpool ===

impl MemorySpool {
    /// Whether it has room for the ends of what runs alone.
    pub fn runs_short(&self, is_short: bool) {
        self.is_short.store(is_short, Ordering::Relaxed);
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SpoolStore for MemorySpool {
    fn put(&self, text: String, count_max: usize) -> Answer<'_, Put> {
        Box::pin(async move {
            let mut held = self.held();
            if held.texts.len() >= count_max {
                return Ok(Put::Full);
            }
            held.last = held.last.saturating_add(1);
            let number = held.last;
            held.texts.insert(number, text);
            Ok(Put::Kept(number))
        })
    }

    fn read(&self, after: u64, count_max: usize) -> Answer<'_, Vec<(u64, String)>> {
        Box::pin(async move {
            let held = self.held();
            let newer = held.texts.range(after.saturating_add(1)..).take(count_max);
            Ok(newer.map(|(number, text)| (*number, text.clone())).collect())
        })
    }

    fn remove(&self, numbers: Vec<u64>) -> Answer<'_, ()> {
        Box::pin(async move {
            let mut held = self.held();
            for number in numbers {
                held.texts.remove(&number);
            }
            Ok(())
        })
    }

    fn count(&self) -> usize {
        self.held().texts.len()
    }

    fn has_room(&self) -> bool {
        !self.is_short.load(Ordering::Relaxed)
    }
}
