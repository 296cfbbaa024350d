//! The lease of a flight in the hands of its leader: renewed while it works, ended exactly once.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kt_contract::key::CacheKey;
use tokio::time::{Instant, sleep_until};

use super::lock;
use crate::clock::Clock;
use crate::flight::{Acquired, Flights, Held, RENEW_EVERY, Token};

const EVERY: Duration = Duration::from_millis(RENEW_EVERY.0);

/// The right, and the duty, to end one flight. Dropped without a fill, it abandons: whatever made the leader
/// stop, the next who asks leads.
#[must_use]
#[derive(Debug)]
pub(super) struct Lease {
    flights: Arc<Mutex<Flights>>,
    clock: Clock,
    key: CacheKey,
    token: Token,
    /// Kept from one piece of work to the next, however short they are.
    renew_at: Instant,
}

// === impl Lease ===

impl Lease {
    /// Asks for the lease of `key`. `None`: somebody else leads.
    pub(super) fn acquire(
        flights: &Arc<Mutex<Flights>>,
        clock: Clock,
        key: CacheKey,
    ) -> Option<Self> {
        match lock(flights).acquire(key, clock.mono()) {
            Acquired::Lead(token) => {
                let renew_at = Instant::now() + EVERY;
                Some(Self { flights: Arc::clone(flights), clock, key, token, renew_at })
            }
            Acquired::InFlight => None,
        }
    }

    /// The fencing number, for the entry.
    pub(super) const fn token(&self) -> Token {
        self.token
    }

    /// Works, and renews in the meantime.
    pub(super) async fn hold<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            // Asked first, so that work which is always ready cannot put it off.
            if Instant::now() >= self.renew_at {
                // A lease that is lost is noticed at the fill; the client gets its answer all the same.
                let _ = self.renew();
                self.renew_at = Instant::now() + EVERY;
            }
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = sleep_until(self.renew_at) => {}
            }
        }
    }

    /// Extends the lease by a whole lifetime.
    pub(super) fn renew(&self) -> Held {
        lock(&self.flights).renew(&self.key, self.token, self.clock.mono())
    }

    /// Ends the flight: the entry is stored.
    pub(super) fn fill(self) -> Held {
        lock(&self.flights).fill(&self.key, self.token, self.clock.mono())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // After a fill there is nothing left to abandon.
        let _ = lock(&self.flights).abandon(&self.key, self.token);
    }
}

#[cfg(test)]
mod tests {
    use kt_contract::hex::Digest;

    use super::*;
    use crate::flight::{Epoch, LEASE_TTL};

    const KEY: CacheKey = CacheKey(Digest([1; 32]));

    fn flights() -> Arc<Mutex<Flights>> {
        Arc::new(Mutex::new(Flights::new(Epoch(1))))
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_kept_for_as_long_as_the_work_takes() {
        let (flights, clock) = (flights(), Clock::start());
        let mut lease = Lease::acquire(&flights, clock, KEY).unwrap();
        lease.hold(tokio::time::sleep(Duration::from_secs(600))).await;
        assert!(Lease::acquire(&flights, clock, KEY).is_none());
        assert_eq!(lease.fill(), Held::Current);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_kept_however_short_the_pieces_of_work_are() {
        for piece in [1, 1_000, RENEW_EVERY.0 - 1] {
            let (flights, clock) = (flights(), Clock::start());
            let mut lease = Lease::acquire(&flights, clock, KEY).unwrap();
            while clock.mono().0 < 3 * LEASE_TTL.0 {
                lease.hold(tokio::time::sleep(Duration::from_millis(piece))).await;
            }
            assert_eq!(lease.fill(), Held::Current, "pieces of {piece} ms");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_kept_by_work_that_is_always_ready() {
        let (flights, clock) = (flights(), Clock::start());
        let mut lease = Lease::acquire(&flights, clock, KEY).unwrap();
        for _ in 0..20 {
            tokio::time::advance(Duration::from_secs(1)).await;
            lease.hold(std::future::ready(())).await;
        }
        assert_eq!(lease.fill(), Held::Current);
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_is_not_polled_loses_its_lease_and_cannot_fill() {
        let (flights, clock) = (flights(), Clock::start());
        let lease = Lease::acquire(&flights, clock, KEY).unwrap();
        tokio::time::advance(Duration::from_millis(LEASE_TTL.0)).await;
        let next = Lease::acquire(&flights, clock, KEY).unwrap();
        assert_eq!(lease.renew(), Held::Superseded);
        assert_eq!(lease.fill(), Held::Superseded);
        assert_eq!(next.fill(), Held::Current, "the stale one has not ended the new one");
    }

    #[tokio::test]
    async fn a_dropped_lease_is_free() {
        let (flights, clock) = (flights(), Clock::start());
        drop(Lease::acquire(&flights, clock, KEY));
        assert!(Lease::acquire(&flights, clock, KEY).is_some());
        assert_eq!(lock(&flights).count(), 0);
    }
}
