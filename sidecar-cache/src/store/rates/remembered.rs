//! What a shared store has refused, for a moment in the memory of this process: whoever is beyond a limit and goes on
//! asking costs the store a few questions a second, and not one for each request.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kt_contract::rate::RateLimited;
use kt_contract::time::{Millis, MonoMillis};

use super::{Counted, RateStore, Taken};
use crate::clock::Clock;
use crate::rate_limit::{Charge, Name};
use crate::store::Answer;

/// How long a refusal is remembered, if it lasts so long. No longer: what was counted may be corrected meanwhile, by another
/// sidecar too, and then somebody waits in vain.
pub const REMEMBERED: Millis = Millis(250);
/// How many are remembered. Beyond that the store is asked.
const REFUSALS_MAX: usize = 4_096;

/// A store of rate limits, before which its refusals are remembered. It refuses what the store would have refused, and
/// lets nothing pass by itself.
pub struct RememberedRefusals<R> {
    rates: R,
    clock: Clock,
    refused: Mutex<HashMap<Name, Refusal>>,
}

/// That so many were too many of a bucket.
#[derive(Clone, Copy)]
struct Refusal {
    count: u64,
    limited: RateLimited,
    at: MonoMillis,
    until: MonoMillis,
}

// === impl RememberedRefusals ===

impl<R: RateStore> RememberedRefusals<R> {
    /// In front of `rates`.
    pub fn new(rates: R, clock: Clock) -> Self {
        Self { rates, clock, refused: Mutex::default() }
    }

    fn refused(&self) -> MutexGuard<'_, HashMap<Name, Refusal>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The refusal of one of these that still holds; of several the one that makes wait longest.
    fn known(&self, charges: &[Charge], now: MonoMillis) -> Option<RateLimited> {
        let refused = self.refused();
        let of = |charge: &Charge| refused.get(&charge.name)?.of(charge, now);
        charges.iter().filter_map(of).max_by_key(|limited| limited.wait)
    }

    fn note(&self, charges: &[Charge], limited: RateLimited, at: MonoMillis) {
        let is_of =
            |charge: &&Charge| (charge.scope, charge.measure) == (limited.scope, limited.measure);
        let Some(Charge { name, count, .. }) = charges.iter().find(is_of) else { return };
        let until = at.after(limited.wait.min(REMEMBERED));
        let mut refused = self.refused();
        if refused.len() >= REFUSALS_MAX {
            refused.retain(|_, refusal| at < refusal.until);
        }
        if refused.len() < REFUSALS_MAX {
            refused.insert(*name, Refusal { count: *count, limited, at, until });
        }
    }
}

impl<R: RateStore> RateStore for RememberedRefusals<R> {
    fn take(&self, org: String, charges: Vec<Charge>) -> Answer<'_, Taken> {
        Box::pin(async move {
            // As it was before the store was asked: no refusal is remembered for longer than it holds.
            let now = self.clock.mono();
            if let Some(limited) = self.known(&charges, now) {
                return Ok(Taken::None(limited));
            }
            let taken = self.rates.take(org, charges.clone()).await?;
            if let Taken::None(limited) = &taken {
                self.note(&charges, *limited, now);
            }
            Ok(taken)
        })
    }

    fn correct(&self, counted: Counted, is: u64) -> Answer<'_, ()> {
        Box::pin(async move {
            let less = counted.charges.iter().filter(|charge| is < charge.count);
            let less: Vec<Name> = less.map(|charge| charge.name).collect();
            let corrected = self.rates.correct(counted, is).await;
            // What was given back may be taken again, but by whoever was on the way to the store meanwhile: they
            // may be told their refusal a moment longer.
            let mut refused = self.refused();
            for name in less {
                refused.remove(&name);
            }
            corrected
        })
    }
}

// === impl Refusal ===

impl Refusal {
    /// As it is told to somebody who comes now, if it still holds for them.
    fn of(&self, charge: &Charge, now: MonoMillis) -> Option<RateLimited> {
        let Self { count, limited, at, until } = *self;
        let holds = now < until && charge.count >= count && charge.per_minute == limited.per_minute;
        let since = now.since(at).0;
        let less = |time: Millis| Millis(time.0.saturating_sub(since));
        let (wait, reset) = (less(limited.wait), less(limited.reset));
        holds.then_some(RateLimited { wait, reset, ..limited })
    }
}
