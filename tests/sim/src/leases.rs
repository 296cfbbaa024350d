//! A lease store: the product's state machine, and beside it a second opinion of what its answers must be. What both
//! do not agree about is a breach of G2 or G4.

use std::collections::BTreeMap;

use kt_contract::key::CacheKey;
use kt_contract::time::MonoMillis;
use sidecar_cache::flight::{
    Acquired, AfterFailure, Epoch, Failed, FlightId, Flights, Held, LEASE_TTL, Overflow, Token,
};
use sidecar_cache::generation::Generation;

/// The leases of one store.
#[derive(Debug)]
pub(crate) struct Leases {
    machine: Flights,
    /// The last lease of every key, as seen from outside.
    seen: BTreeMap<CacheKey, Seen>,
    /// Which of all leases of the world this store gave last.
    serial: u64,
    /// What is wrong with an answer, until somebody looks.
    pub breach: Option<&'static str>,
}

/// A lease as seen from outside.
#[derive(Clone, Copy, Debug)]
struct Seen {
    token: Token,
    /// Unlike a token, never given twice.
    serial: u64,
    until: MonoMillis,
    has_ended: bool,
}

/// A token, and which lease it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leased {
    /// What the product knows.
    pub token: Token,
    /// What only the world knows.
    pub serial: u64,
}

// === impl Leases ===

impl Leases {
    /// None, in an epoch.
    #[must_use]
    pub(crate) fn new(epoch: u64) -> Self {
        Self { machine: Flights::new(Epoch(epoch)), seen: BTreeMap::new(), serial: 0, breach: None }
    }

    /// All leases are forgotten.
    pub(crate) fn lose(&mut self, epoch: u64) {
        self.machine = Flights::new(Epoch(epoch));
        self.seen.values_mut().for_each(|seen| seen.has_ended = true);
    }

    /// See [`Flights::acquire`].
    pub(crate) fn acquire(
        &mut self,
        key: CacheKey,
        now: MonoMillis,
    ) -> Result<(Leased, FlightId), Acquired> {
        match self.machine.acquire(key, now) {
            Acquired::Lead(token, id) => Ok((self.gives(key, token, now), id)),
            other @ (Acquired::Follow(_)
            | Acquired::HitForMiss
            | Acquired::Full
            | Acquired::Mute) => Err(other),
        }
    }

    /// See [`Flights::leave`].
    pub(crate) fn leave(&mut self, key: &CacheKey, id: FlightId) {
        self.machine.leave(key, id);
    }

    /// See [`Flights::renew`].
    pub(crate) fn renew(&mut self, key: &CacheKey, leased: Leased, now: MonoMillis) -> Held {
        let held = self.machine.renew(key, leased.token, now);
        if held == Held::Current && !self.is_current(key, leased, now) {
            self.breach = Some("G4: a lease was renewed that was over or another's");
        }
        if let (Held::Current, Some(seen)) = (held, self.seen.get_mut(key)) {
            seen.until = now.after(LEASE_TTL);
        }
        held
    }

    /// See [`Flights::fill`].
    pub(crate) fn fill(&mut self, key: &CacheKey, leased: Leased, now: MonoMillis) -> Held {
        let held = self.machine.fill(key, leased.token, now);
        if held == Held::Current {
            if !self.is_current(key, leased, now) {
                self.breach = Some("G4: a lease that was over or another's could be filled");
            }
            self.ends(key);
        }
        held
    }

    /// See [`Flights::abandon`].
    pub(crate) fn abandon(&mut self, key: &CacheKey, leased: Leased) -> Held {
        let held = self.machine.abandon(key, leased.token);
        self.ended(key, leased, held)
    }

    /// See [`Flights::end_uncacheable`].
    pub(crate) fn end_uncacheable(
        &mut self,
        key: CacheKey,
        leased: Leased,
        (now, under): (MonoMillis, Generation),
    ) -> Held {
        let held = self.machine.end_uncacheable(key, leased.token, now, under);
        self.ended(&key, leased, held)
    }

    /// See [`Flights::fail`].
    pub(crate) fn fail(
        &mut self,
        key: &CacheKey,
        leased: Leased,
        now: MonoMillis,
        failed: Failed,
    ) -> AfterFailure {
        let was_held = self.machine.holds(key, leased.token);
        let after = self.machine.fail(key, leased.token, now, failed);
        if was_held {
            let _ = self.ended(key, leased, Held::Current);
        }
        after
    }

    /// See [`Flights::take_over`].
    pub(crate) fn take_over(
        &mut self,
        key: &CacheKey,
        id: FlightId,
        now: MonoMillis,
    ) -> Option<Leased> {
        let token = self.machine.take_over(key, id, now)?;
        Some(self.gives(*key, token, now))
    }

    /// See [`Flights::give_up`].
    pub(crate) fn give_up(&mut self, key: &CacheKey, id: FlightId) -> bool {
        self.machine.give_up(key, id)
    }

    /// See [`Flights::overflow`].
    pub(crate) fn overflow(
        &mut self,
        key: &CacheKey,
        id: FlightId,
        limit: Option<u64>,
    ) -> Overflow {
        self.machine.overflow(key, id, limit)
    }

    /// See [`Flights::void`].
    pub(crate) fn void(&mut self, key: &CacheKey, id: FlightId) {
        if self.machine.void(key, id) {
            self.ends(key);
        }
    }

    /// See [`Flights::renewed`].
    pub(crate) fn renewed(&mut self, key: &CacheKey, newest: Generation) {
        self.machine.renewed(key, newest);
    }

    /// See [`Flights::holds`].
    #[must_use]
    pub(crate) fn holds(&self, key: &CacheKey, leased: Leased) -> bool {
        self.machine.holds(key, leased.token)
    }

    /// See [`Flights::count`] and [`Flights::followers`].
    #[must_use]
    pub(crate) fn count(&self) -> (usize, usize) {
        (self.machine.count(), self.machine.followers())
    }

    /// Whether it is the last lease of its key, not ended and not run out.
    #[must_use]
    pub(crate) fn is_current(&self, key: &CacheKey, leased: Leased, now: MonoMillis) -> bool {
        self.seen
            .get(key)
            .is_some_and(|seen| seen.serial == leased.serial && !seen.has_ended && now < seen.until)
    }

    fn gives(&mut self, key: CacheKey, token: Token, now: MonoMillis) -> Leased {
        if self.seen.get(&key).is_some_and(|seen| !seen.has_ended && now < seen.until) {
            self.breach = Some("G2: a lease was given while another one of its key was alive");
        }
        if self.seen.values().any(|seen| seen.token == token && !seen.has_ended) {
            self.breach = Some("G1: a token was given twice");
        }
        self.serial += 1;
        let serial = self.serial;
        let seen = Seen { token, serial, until: now.after(LEASE_TTL), has_ended: false };
        self.seen.insert(key, seen);
        Leased { token, serial }
    }

    fn ended(&mut self, key: &CacheKey, leased: Leased, held: Held) -> Held {
        if held == Held::Current {
            // One that has run out may be cleared, as long as it is the last.
            if self.seen.get(key).is_none_or(|seen| seen.serial != leased.serial) {
                self.breach = Some("G4: another one's lease was ended");
            }
            self.ends(key);
        }
        held
    }

    fn ends(&mut self, key: &CacheKey) {
        if let Some(seen) = self.seen.get_mut(key) {
            seen.has_ended = true;
        }
    }
}
