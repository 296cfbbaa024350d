//! How fast somebody may go: token buckets (GCRA with the burst of a minute), each for one scope and one measure. Pure:
//! the time is an argument, and all arithmetic is of integers.
//!
//! A bucket holds a minute's worth and is full at the start. What is taken comes back evenly: of a limit of 60 requests
//! a minute, one a second. So in any span of `t` at most `limit + limit × t / minute` is let through.

use std::collections::HashMap;

use kt_contract::rate::{Measure, RateLimited, Scope};
use kt_contract::time::{Millis, MonoMillis};

/// What one request or token takes of a bucket. A limit of one a minute gives back one of these in a millisecond.
const UNITS: u64 = 60_000;
/// How many buckets are kept: eight, two for each scope, of 131,072 callers who all come at once. Some 80 MB then.
pub const BUCKETS_MAX: usize = 1 << 20;
/// How much may be missing in a bucket, in minutes: what a provider tells is believed, and one answer that says absurdly
/// much keeps nobody out for longer.
const DEBT_MINUTES_MAX: u64 = 60;
/// The largest limit that a configuration may have.
const PER_MINUTE_MAX: u64 = 1_000_000_000;
/// How much may be missing in any bucket. Whatever keeps buckets elsewhere counts up to twice as much exactly: two of these
/// are a whole number below 2^53, which a double holds.
const KEPT_MAX: u64 = UNITS * DEBT_MINUTES_MAX * PER_MINUTE_MAX;
const _: () = assert!(KEPT_MAX * 2 < 1 << 53, "a double holds what is used and what is taken");
/// How often room is made by looking at all of them, at most.
const SWEEP_EVERY: Millis = Millis(1_000);

/// Whose bucket it is: a digest of the scope, of what it counts, and of the name, so that all are of one length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(pub [u8; 16]);

/// What is to be taken of one bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge {
    /// The bucket.
    pub name: Name,
    /// Whose it is.
    pub scope: Scope,
    /// What it counts.
    pub measure: Measure,
    /// How many a minute it lets through.
    pub per_minute: u64,
    /// How many are to be taken.
    pub count: u64,
}

/// What became of an attempt to take something.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Taken {
    /// All of it was taken.
    All,
    /// All of it may go on, and these were taken; of the others nobody keeps count: there are more buckets than may be.
    Some(Vec<Charge>),
    /// Nothing was taken. Of several limits, the one that makes wait longest.
    None(RateLimited),
}

/// A bucket, by what is missing in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bucket {
    /// What was taken and has not come back at `at`, in [`UNITS`]. More than a minute's worth where more was used than
    /// was foreseen.
    used: u64,
    at: MonoMillis,
    /// The limit by which it comes back.
    per_minute: u64,
}

/// All buckets.
#[derive(Debug)]
pub struct Buckets {
    all: HashMap<Name, Bucket>,
    buckets_max: usize,
    swept_at: Option<MonoMillis>,
}

// === impl Name ===

impl Name {
    /// The bucket of `who`, by a name that is unique within the organization.
    #[must_use]
    pub fn new(scope: Scope, measure: Measure, org: &str, who: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in [scope.as_str(), measure.as_str(), org, who] {
            // Length first: ("ab", "c") and ("a", "bc") must not meet.
            hasher.update(&(part.len() as u64).to_be_bytes());
            hasher.update(part.as_bytes());
        }
        let mut name = [0; 16];
        name.iter_mut().zip(hasher.finalize().as_bytes()).for_each(|(to, from)| *to = *from);
        Self(name)
    }
}

// === impl Bucket ===

impl Bucket {
    /// The same bucket at `now`. A clock that went back gives nothing back.
    fn by(self, now: MonoMillis) -> Self {
        let back = now.since(self.at).0.saturating_mul(self.per_minute);
        Self { used: self.used.saturating_sub(back), at: self.at.max(now), ..self }
    }

    const fn room(self) -> u64 {
        UNITS.saturating_mul(self.per_minute).saturating_sub(self.used)
    }

    /// How long until `units` fit. What is more than the whole bucket fits when it is full.
    fn wait(self, units: u64) -> Millis {
        let whole = UNITS.saturating_mul(self.per_minute);
        let missing = units.min(whole).saturating_sub(self.room());
        // What was taken beyond the whole bucket comes back first.
        let beyond = if missing == 0 { 0 } else { self.used.saturating_sub(whole) };
        Millis(missing.saturating_add(beyond).div_ceil(self.per_minute.max(1)))
    }

    const fn is_full(self) -> bool {
        self.used == 0
    }
}

// === impl Buckets ===

impl Default for Buckets {
    fn default() -> Self {
        Self::new(BUCKETS_MAX)
    }
}

impl Buckets {
    /// No buckets, and never more than `buckets_max`.
    #[must_use]
    pub fn new(buckets_max: usize) -> Self {
        Self { all: HashMap::new(), buckets_max, swept_at: None }
    }

    /// Takes all of the charges, each of another bucket, or nothing.
    pub fn take(&mut self, charges: &[Charge], now: MonoMillis) -> Taken {
        let used = charges.iter().map(|charge| (*charge, self.bucket(charge, now).used));
        if let Some(limited) = most_limiting(used) {
            return Taken::None(limited);
        }
        let mut taken = Vec::with_capacity(charges.len());
        for charge in charges {
            let bucket = self.bucket(charge, now);
            let used = bucket.used.saturating_add(units(charge.count));
            if self.keep(charge.name, Bucket { used, ..bucket }, now) {
                taken.push(*charge);
            }
        }
        if taken.len() == charges.len() { Taken::All } else { Taken::Some(taken) }
    }

    /// What was `taken` turns out to be another count: `charge.count` was, `is` should have been. Nobody is refused for
    /// what is used already; what comes next waits. Of what was too much, no more is given back than cannot have come
    /// back by itself: what comes back twice would let more through than the limit. The limit is the newest one that was
    /// seen, and not the one that was taken by.
    pub fn correct(&mut self, charges: &[Charge], is: u64, taken: MonoMillis, now: MonoMillis) {
        for charge in charges {
            let new = Bucket { used: 0, at: now, per_minute: charge.per_minute };
            let bucket = self.all.get(&charge.name).map_or(new, |kept| kept.by(now));
            let (was, is) = (units(charge.count), units(is));
            let fastest = charge.per_minute.max(bucket.per_minute);
            let back = now.since(taken).0.saturating_mul(fastest);
            let too_much = was.saturating_sub(is).min(was.saturating_sub(back));
            let used = bucket.used.saturating_add(is.saturating_sub(was)).saturating_sub(too_much);
            self.keep(charge.name, Bucket { used, ..bucket }, now);
        }
    }

    /// How many buckets there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.all.len()
    }

    fn bucket(&self, charge: &Charge, now: MonoMillis) -> Bucket {
        let bucket = self.all.get(&charge.name).map_or(Bucket::default(), |kept| kept.by(now));
        // Another limit than before counts from this moment on: of a narrower one no more than an hour's worth is missing
        // either.
        let used = bucket.used.min(most_missing(charge.per_minute));
        Bucket { used, at: bucket.at.max(now), per_minute: charge.per_minute }
    }

    /// Puts a bucket in the place of the one of its name. `false`: there is no room for it.
    fn keep(&mut self, name: Name, bucket: Bucket, now: MonoMillis) -> bool {
        if bucket.is_full() {
            // One that is full is as good as none.
            self.all.remove(&name);
            return true;
        }
        if !self.all.contains_key(&name) && !self.has_room(now) {
            return false;
        }
        let most = most_missing(bucket.per_minute);
        self.all.insert(name, Bucket { used: bucket.used.min(most), ..bucket });
        true
    }

    /// Whether one more may be kept. Those that are full again go first.
    fn has_room(&mut self, now: MonoMillis) -> bool {
        let is_due = self.swept_at.is_none_or(|swept| now.since(swept) >= SWEEP_EVERY);
        if self.all.len() >= self.buckets_max && is_due {
            self.all.retain(|_, bucket| !bucket.by(now).is_full());
            self.swept_at = Some(now);
        }
        self.all.len() < self.buckets_max
    }
}

/// Of charges, each beside what is used of its bucket in [units](units_kept), the refusal that makes wait longest. `None`:
/// all of them fit.
pub fn most_limiting(charges: impl Iterator<Item = (Charge, u64)>) -> Option<RateLimited> {
    let refused = charges.filter_map(|(charge, used)| refusal(&charge, used));
    refused.max_by_key(|limited| limited.wait)
}

fn refusal(charge: &Charge, used: u64) -> Option<RateLimited> {
    let bucket = Bucket { used, at: MonoMillis(0), per_minute: charge.per_minute };
    let wait = bucket.wait(units(charge.count));
    (wait > Millis(0)).then(|| RateLimited {
        scope: charge.scope,
        measure: charge.measure,
        per_minute: charge.per_minute,
        remaining: bucket.room() / UNITS,
        wait,
        reset: Millis(bucket.used.div_ceil(charge.per_minute.max(1))),
    })
}

/// So many requests or tokens in units of a bucket, 60,000 for each: but no more than may be missing in any. More is
/// the same, because no bucket keeps it.
#[must_use]
pub fn units_kept(count: u64) -> u64 {
    units(count).min(KEPT_MAX)
}

const fn most_missing(per_minute: u64) -> u64 {
    UNITS.saturating_mul(per_minute).saturating_mul(DEBT_MINUTES_MAX)
}

const fn units(count: u64) -> u64 {
    UNITS.saturating_mul(count)
}

#[cfg(test)]
mod tests;
