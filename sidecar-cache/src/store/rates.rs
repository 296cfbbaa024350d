//! How fast somebody may go, kept where all count together who share a limit: in this process, or in a Redis that
//! several sidecars share. The arithmetic is that of [`crate::rate_limit`]; the store's own clock is its time.

mod remembered;

use std::sync::{Mutex, PoisonError};

use kt_contract::rate::RateLimited;
use kt_contract::time::MonoMillis;

use super::Answer;
use crate::clock::Clock;
use crate::rate_limit::{self, Buckets, Charge};

pub use remembered::{REMEMBERED, RememberedRefusals};

/// A moment of a store's own clock, in milliseconds. It means nothing to another store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

/// What was taken of some buckets, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Whose buckets they are.
    pub org: String,
    /// What was taken of each.
    pub charges: Vec<Charge>,
    /// When.
    pub at: Moment,
}

/// What became of an attempt to take something.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Taken {
    /// All of it was taken.
    All(Counted),
    /// All of it may go on, and this was taken; of the rest nobody keeps count: there are more buckets than may be.
    Some(Counted),
    /// Nothing was taken. Of several limits, the one that makes wait longest.
    None(RateLimited),
}

/// Buckets. An error means that nobody counts: whoever asks goes on uncounted, because a store that is away must not
/// become an outage.
pub trait RateStore: Send + Sync {
    /// Takes all of the charges, each of another bucket of one organization, or nothing.
    fn take(&self, org: String, charges: Vec<Charge>) -> Answer<'_, Taken>;

    /// What was counted turns out to be `is` of each bucket. Nobody is refused for it: what comes next waits, or need not.
    fn correct(&self, counted: Counted, is: u64) -> Answer<'_, ()>;
}

/// The buckets of one process, which end with it.
pub struct MemoryRates {
    buckets: Mutex<Buckets>,
    clock: Clock,
}

// === impl MemoryRates ===

impl MemoryRates {
    /// All of them full.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { buckets: Mutex::default(), clock }
    }
}

impl RateStore for MemoryRates {
    fn take(&self, org: String, charges: Vec<Charge>) -> Answer<'_, Taken> {
        Box::pin(async move {
            let now = self.clock.mono();
            let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
            let counted = |charges| Counted { org, charges, at: Moment(now.0) };
            Ok(match buckets.take(&charges, now) {
                rate_limit::Taken::All => Taken::All(counted(charges)),
                rate_limit::Taken::Some(charges) => Taken::Some(counted(charges)),
                rate_limit::Taken::None(limited) => Taken::None(limited),
            })
        })
    }

    fn correct(&self, counted: Counted, is: u64) -> Answer<'_, ()> {
        Box::pin(async move {
            let now = self.clock.mono();
            let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
            buckets.correct(&counted.charges, is, MonoMillis(counted.at.0), now);
            Ok(())
        })
    }
}
