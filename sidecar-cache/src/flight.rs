//! Flights: which request makes the upstream call for a key, and whether what it brings may still be stored.
//!
//! A pure state machine. Per key: free, or leased by one token until a moment. A token is the store's epoch
//! and a counter, so that what a leader of another epoch or a superseded one brings changes nothing. Nobody
//! here knows about answers, clients or clocks; who waits for a flight is not this file's business either.

use std::collections::HashMap;

use kt_contract::key::CacheKey;
use kt_contract::time::{Millis, MonoMillis};

/// How long a lease lives without being renewed: a dead leader is noticed after this, not after the call.
pub const LEASE_TTL: Millis = Millis(5_000);
/// How often a leader renews.
pub const RENEW_EVERY: Millis = Millis(1_500);

const _: () = assert!(RENEW_EVERY.0 * 3 <= LEASE_TTL.0, "two renewals may get lost");

/// The identity of a lease store: another epoch voids every token of this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(pub u64);

/// The fencing number of a lease. Written into the entry that it fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    /// Of the store that gave it.
    pub epoch: Epoch,
    /// Grows with every lease of an epoch.
    pub counter: u64,
}

/// The answer to [`Flights::acquire`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Acquired {
    /// The caller leads: it makes the call, and must end the lease by filling or abandoning.
    Lead(Token),
    /// Somebody else leads.
    InFlight,
}

/// The answer to an operation with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Held {
    /// The token is the current one, and it was done.
    Current,
    /// The lease has run out, was ended, or is somebody else's: nothing was done, and what the caller
    /// brings must be dropped.
    Superseded,
}

/// The leases of one epoch.
#[derive(Debug)]
pub struct Flights {
    epoch: Epoch,
    counter: u64,
    leases: HashMap<CacheKey, Lease>,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    token: Token,
    /// Exclusive.
    until: MonoMillis,
}

// === impl Flights ===

impl Flights {
    /// No leases, in a new epoch.
    #[must_use]
    pub fn new(epoch: Epoch) -> Self {
        Self { epoch, counter: 0, leases: HashMap::new() }
    }

    /// Asks for the lease of `key`. A lease that has run out is given to the next who asks.
    pub fn acquire(&mut self, key: CacheKey, now: MonoMillis) -> Acquired {
        if self.leases.get(&key).is_some_and(|lease| lease.is_live(now)) {
            return Acquired::InFlight;
        }
        self.counter += 1;
        let token = Token { epoch: self.epoch, counter: self.counter };
        self.leases.insert(key, Lease { token, until: now.after(LEASE_TTL) });
        Acquired::Lead(token)
    }

    /// Extends the lease by a whole [`LEASE_TTL`].
    pub fn renew(&mut self, key: &CacheKey, token: Token, now: MonoMillis) -> Held {
        match self.current(key, token, now) {
            Some(lease) => {
                lease.until = now.after(LEASE_TTL);
                Held::Current
            }
            None => Held::Superseded,
        }
    }

    /// Ends the lease because the entry is stored. The leader renews, stores within the lease, then calls
    /// this: whoever comes in between finds the flight or the entry, never neither.
    pub fn fill(&mut self, key: &CacheKey, token: Token, now: MonoMillis) -> Held {
        match self.current(key, token, now) {
            Some(_) => {
                self.leases.remove(key);
                Held::Current
            }
            None => Held::Superseded,
        }
    }

    /// Ends the lease without an entry; the next who asks leads. A lease that has run out is cleared too.
    pub fn abandon(&mut self, key: &CacheKey, token: Token) -> Held {
        if self.leases.get(key).is_some_and(|lease| lease.token == token) {
            self.leases.remove(key);
            Held::Current
        } else {
            Held::Superseded
        }
    }

    /// How many keys are leased.
    #[must_use]
    pub fn count(&self) -> usize {
        self.leases.len()
    }

    fn current(&mut self, key: &CacheKey, token: Token, now: MonoMillis) -> Option<&mut Lease> {
        self.leases.get_mut(key).filter(|lease| lease.token == token && lease.is_live(now))
    }
}

// === impl Lease ===

impl Lease {
    fn is_live(&self, now: MonoMillis) -> bool {
        now < self.until
    }
}

#[cfg(test)]
mod tests {
    use kt_contract::hex::Digest;

    use super::*;

    const KEY: CacheKey = CacheKey(Digest([1; 32]));
    const OTHER: CacheKey = CacheKey(Digest([2; 32]));
    const T0: MonoMillis = MonoMillis(100);

    fn flights() -> Flights {
        Flights::new(Epoch(7))
    }

    fn lead(flights: &mut Flights, key: CacheKey, now: MonoMillis) -> Token {
        match flights.acquire(key, now) {
            Acquired::Lead(token) => token,
            Acquired::InFlight => panic!("somebody else leads"),
        }
    }

    /// The states in which a key can be, as seen by the holder of a token.
    #[derive(Clone, Copy, Debug)]
    enum State {
        Leased,
        RunOut,
        TakenOver,
        Filled,
        Abandoned,
        OtherEpoch,
    }

    /// Flights in that state, the holder's token, and the moment at which the next operation comes.
    fn in_state(state: State) -> (Flights, Token, MonoMillis) {
        let mut flights = flights();
        let token = lead(&mut flights, KEY, T0);
        let end = T0.after(LEASE_TTL);
        match state {
            State::Leased => (flights, token, MonoMillis(end.0 - 1)),
            State::RunOut => (flights, token, end),
            State::TakenOver => {
                assert_ne!(lead(&mut flights, KEY, end), token);
                (flights, token, end)
            }
            State::Filled => {
                assert_eq!(flights.fill(&KEY, token, T0), Held::Current);
                (flights, token, T0)
            }
            State::Abandoned => {
                assert_eq!(flights.abandon(&KEY, token), Held::Current);
                (flights, token, T0)
            }
            State::OtherEpoch => {
                let mut restarted = Flights::new(Epoch(8));
                let same_counter = lead(&mut restarted, KEY, T0);
                assert_eq!(same_counter.counter, token.counter);
                (restarted, token, T0)
            }
        }
    }

    #[test]
    fn every_operation_in_every_state() {
        use Held::{Current, Superseded};
        let led = true;
        for (state, renew, fill, abandon, next_leads) in [
            (State::Leased, Current, Current, Current, !led),
            (State::RunOut, Superseded, Superseded, Current, led),
            (State::TakenOver, Superseded, Superseded, Superseded, !led),
            (State::Filled, Superseded, Superseded, Superseded, led),
            (State::Abandoned, Superseded, Superseded, Superseded, led),
            (State::OtherEpoch, Superseded, Superseded, Superseded, !led),
        ] {
            let (mut flights, token, now) = in_state(state);
            assert_eq!(flights.renew(&KEY, token, now), renew, "renew in {state:?}");
            let (mut flights, token, now) = in_state(state);
            assert_eq!(flights.fill(&KEY, token, now), fill, "fill in {state:?}");
            let (mut flights, token, _) = in_state(state);
            assert_eq!(flights.abandon(&KEY, token), abandon, "abandon in {state:?}");
            let (mut flights, _, now) = in_state(state);
            let leads = matches!(flights.acquire(KEY, now), Acquired::Lead(_));
            assert_eq!(leads, next_leads, "acquire in {state:?}");
        }
    }

    #[test]
    fn a_refused_operation_changes_nothing() {
        let (mut flights, stale, now) = in_state(State::TakenOver);
        assert_eq!(flights.fill(&KEY, stale, now), Held::Superseded);
        assert_eq!(flights.abandon(&KEY, stale), Held::Superseded);
        assert_eq!(flights.acquire(KEY, now), Acquired::InFlight, "the new leader still leads");
    }

    #[test]
    fn a_renewed_lease_outlives_its_first_end() {
        let mut flights = flights();
        let token = lead(&mut flights, KEY, T0);
        let mut now = T0;
        for _ in 0..100 {
            now = now.after(RENEW_EVERY);
            assert_eq!(flights.renew(&KEY, token, now), Held::Current);
        }
        assert_eq!(flights.acquire(KEY, MonoMillis(now.0 + LEASE_TTL.0 - 1)), Acquired::InFlight);
        assert!(matches!(flights.acquire(KEY, now.after(LEASE_TTL)), Acquired::Lead(_)));
    }

    #[test]
    fn keys_do_not_touch_each_other() {
        let mut flights = flights();
        let token = lead(&mut flights, KEY, T0);
        let other = lead(&mut flights, OTHER, T0);
        assert_eq!(flights.fill(&OTHER, token, T0), Held::Superseded);
        assert_eq!(flights.fill(&OTHER, other, T0), Held::Current);
        assert_eq!(flights.renew(&KEY, token, T0), Held::Current);
        assert_eq!(flights.count(), 1);
    }

    #[test]
    fn no_token_is_given_twice() {
        let mut flights = flights();
        let mut seen = std::collections::HashSet::new();
        for at in 0..100 {
            let token = lead(&mut flights, KEY, T0);
            assert!(seen.insert(token), "at {at}");
            assert_eq!(flights.abandon(&KEY, token), Held::Current);
        }
    }
}
