//! Flights: which request makes the upstream call for a key, who waits for it, and whether what it brings may
//! still be stored.
//!
//! A pure state machine. Per key: free, leased by one token until a moment, backing off between two attempts,
//! or hit-for-miss until a moment. A token is the store's epoch and a counter, so that what a leader of another
//! epoch or a superseded one brings changes nothing. A flight is one lease and those that take it over; it has
//! a bound on everything: two takeovers, so many own calls of those who have waited too long, so many
//! followers. Nobody here knows about answers, clients or clocks.

mod ending;
mod outliving;
mod relief;

pub use ending::{Cause, Ending, Failed, RETRY_AFTER_MAX, Sharing, retry_after, sharing};
pub use outliving::{Bounds, Means, Outlives, Produced, Rule, outlives, token_limit};
pub use relief::{GRACE, Load, Relief, relief};

use std::collections::{HashMap, VecDeque};

use kt_contract::key::CacheKey;
use kt_contract::time::{Millis, MonoMillis};

use crate::generation::Generation;

/// How long a lease lives without being renewed: a dead leader is noticed after this, not after the call.
pub const LEASE_TTL: Millis = Millis(5_000);
/// How often a leader renews.
pub const RENEW_EVERY: Millis = Millis(1_500);
/// How often a failed flight is led anew for those who wait.
pub const TAKEOVERS_MAX: u32 = 2;
/// How long the first takeover waits; the second waits twice as long.
pub const BACKOFF: Millis = Millis(200);
/// How long a key whose answer cannot be stored is not coalesced.
pub const HIT_FOR_MISS: Millis = Millis(120_000);
/// How many may follow one flight.
pub const FOLLOWERS_MAX: u32 = 1_000;
/// How many may follow in all.
pub const FOLLOWERS_IN_ALL_MAX: usize = 50_000;
/// How many keys are remembered as hit-for-miss. Beyond it the oldest is forgotten: its next request leads.
pub const HIT_FOR_MISS_KEYS_MAX: usize = 65_536;

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

/// One lease and those that take it over. The counter of its first token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlightId(pub u64);

/// The answer to [`Flights::acquire`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Acquired {
    /// The caller leads: it makes the call, and must end the lease.
    Lead(Token, FlightId),
    /// Somebody else leads, or will after a backoff. Whoever follows must leave.
    Follow(FlightId),
    /// What comes for this key cannot be stored: everybody calls.
    HitForMiss,
    /// Somebody else leads, and as many follow as may.
    Full,
    /// Somebody else leads, and cannot tell what comes.
    Mute,
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

/// What follows on a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum AfterFailure {
    /// One of those who wait takes over, not before this moment.
    TakeOver {
        /// The earliest moment.
        at: MonoMillis,
    },
    /// Everybody gets the error; the next who asks leads.
    Over,
    /// The lease was voided, or is somebody else's: those who wait ask anew.
    Voided,
}

/// The answer to [`Flights::overflow`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Overflow {
    /// The caller makes its own call.
    Go,
    /// As many have gone as may.
    WaitOn,
}

/// The leases of one epoch.
#[derive(Debug)]
pub struct Flights {
    epoch: Epoch,
    counter: u64,
    states: HashMap<CacheKey, State>,
    /// When keys stop being hit-for-miss, the first first. Some have stopped before.
    hit_for_miss: VecDeque<(MonoMillis, CacheKey)>,
    followers: usize,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Leased {
        token: Token,
        until: MonoMillis,
        flight: Flight,
        is_mute: bool,
    },
    BackingOff {
        until: MonoMillis,
        flight: Flight,
        /// Whose attempt has failed.
        failed: Token,
    },
    /// What was found under this generation.
    HitForMiss {
        until: MonoMillis,
        under: Generation,
    },
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    id: FlightId,
    takeovers: u32,
    overflows: u64,
    followers: u32,
}

// === impl Flights ===

impl Flights {
    /// No leases, in a new epoch.
    #[must_use]
    pub fn new(epoch: Epoch) -> Self {
        let (states, hit_for_miss) = (HashMap::new(), VecDeque::new());
        Self { epoch, counter: 0, states, hit_for_miss, followers: 0 }
    }

    /// Asks for the lease of `key`, or for a place among its followers.
    pub fn acquire(&mut self, key: CacheKey, now: MonoMillis) -> Acquired {
        let has_room = self.followers < FOLLOWERS_IN_ALL_MAX;
        match self.live(&key, now) {
            None => {
                let (token, id) = self.lead(key, now);
                Acquired::Lead(token, id)
            }
            Some(State::HitForMiss { .. }) => Acquired::HitForMiss,
            Some(State::Leased { is_mute: true, .. }) => Acquired::Mute,
            Some(State::Leased { flight, .. } | State::BackingOff { flight, .. }) => {
                if !has_room || flight.followers >= FOLLOWERS_MAX {
                    return Acquired::Full;
                }
                flight.followers += 1;
                let id = flight.id;
                self.followers += 1;
                Acquired::Follow(id)
            }
        }
    }

    /// Asks for the lease of `key` alone. `None`: somebody else has it, or there is none to have.
    pub fn acquire_alone(&mut self, key: CacheKey, now: MonoMillis) -> Option<Token> {
        self.live(&key, now).is_none().then(|| self.lead(key, now).0)
    }

    /// A follower has its answer, or does not wait for it any more.
    pub fn leave(&mut self, key: &CacheKey, id: FlightId) {
        self.followers = self.followers.saturating_sub(1);
        if let Some(flight) = self.flight(key, id) {
            flight.followers = flight.followers.saturating_sub(1);
        }
    }

    /// Extends the lease by a whole [`LEASE_TTL`].
    pub fn renew(&mut self, key: &CacheKey, token: Token, now: MonoMillis) -> Held {
        match self.states.get_mut(key) {
            Some(State::Leased { token: current, until, .. })
                if *current == token && now < *until =>
            {
                *until = now.after(LEASE_TTL);
                Held::Current
            }
            Some(State::Leased { .. } | State::BackingOff { .. } | State::HitForMiss { .. })
            | None => Held::Superseded,
        }
    }

    /// Whoever leads cannot tell what comes of this attempt: nobody waits for it any more.
    pub fn mute(&mut self, key: &CacheKey, token: Token) -> Held {
        match self.states.get_mut(key) {
            Some(State::Leased { token: current, is_mute, .. }) if *current == token => {
                *is_mute = true;
                Held::Current
            }
            Some(State::Leased { .. } | State::BackingOff { .. } | State::HitForMiss { .. })
            | None => Held::Superseded,
        }
    }

    /// Ends the lease because the entry is stored. The leader renews, stores within the lease, then calls
    /// this: whoever comes in between finds the flight or the entry, never neither.
    pub fn fill(&mut self, key: &CacheKey, token: Token, now: MonoMillis) -> Held {
        let held = self.renew(key, token, now);
        if held == Held::Current {
            self.states.remove(key);
        }
        held
    }

    /// Ends the lease without an entry; the next who asks leads. A lease that has run out is cleared too.
    pub fn abandon(&mut self, key: &CacheKey, token: Token) -> Held {
        if !self.holds(key, token) {
            return Held::Superseded;
        }
        self.states.remove(key);
        Held::Current
    }

    /// Ends the lease because what comes cannot be stored: for a while nobody waits for anybody, unless what
    /// came `under` this generation is invalidated.
    pub fn end_uncacheable(
        &mut self,
        key: CacheKey,
        token: Token,
        now: MonoMillis,
        under: Generation,
    ) -> Held {
        if !self.holds(&key, token) {
            return Held::Superseded;
        }
        let until = now.after(HIT_FOR_MISS);
        self.states.insert(key, State::HitForMiss { until, under });
        self.hit_for_miss.push_back((until, key));
        self.forget(now);
        Held::Current
    }

    /// An attempt has failed. Where somebody waits for an answer, one of them will take over. To say so twice is
    /// to say it once.
    pub fn fail(
        &mut self,
        key: &CacheKey,
        token: Token,
        now: MonoMillis,
        failed: Failed,
    ) -> AfterFailure {
        if let Some(State::BackingOff { until, failed, .. }) = self.states.get(key)
            && *failed == token
        {
            return AfterFailure::TakeOver { at: *until };
        }
        let Failed { waiting, retry_after, cause } = failed;
        let is_hopeless = retry_after.is_some_and(|wait| wait > RETRY_AFTER_MAX);
        let Some(flight) = self.held(key, token) else {
            return if is_hopeless { AfterFailure::Over } else { AfterFailure::Voided };
        };
        let (takeovers, backoff) = match cause {
            Cause::Call => {
                (flight.takeovers.saturating_add(1), Millis(BACKOFF.0 << flight.takeovers))
            }
            Cause::Unpaid => (flight.takeovers, Millis(0)),
        };
        if waiting == 0 || is_hopeless || takeovers > TAKEOVERS_MAX {
            self.states.remove(key);
            return AfterFailure::Over;
        }
        let until = now.after(backoff.max(retry_after.unwrap_or_default()));
        let flight = Flight { takeovers, ..flight };
        self.states.insert(*key, State::BackingOff { until, flight, failed: token });
        AfterFailure::TakeOver { at: until }
    }

    /// Asks for the lease again, for one of those who wait. `None`: it is too early, or another flight's, or it has
    /// been taken over as often as it may.
    pub fn take_over(&mut self, key: &CacheKey, id: FlightId, now: MonoMillis) -> Option<Token> {
        let flight = match self.states.get(key) {
            Some(state @ State::BackingOff { until, flight, .. })
                if flight.id == id && now >= *until && state.is_live(now) =>
            {
                *flight
            }
            // Who led it has died, which counts as a failure: a call was made, or may have been.
            Some(State::Leased { until, flight, .. })
                if flight.id == id && now >= *until && flight.takeovers < TAKEOVERS_MAX =>
            {
                Flight { takeovers: flight.takeovers + 1, ..*flight }
            }
            Some(State::Leased { .. } | State::BackingOff { .. } | State::HitForMiss { .. })
            | None => return None,
        };
        Some(self.lease(*key, flight, now))
    }

    /// Gives up between two attempts: nobody waits any more. Says whether there was something to give up.
    pub fn give_up(&mut self, key: &CacheKey, id: FlightId) -> bool {
        let backs_off = matches!(self.states.get(key), Some(State::BackingOff { flight, .. }) if flight.id == id);
        if backs_off {
            self.states.remove(key);
        }
        backs_off
    }

    /// A follower has waited too long. At most `limit` of a flight go.
    pub fn overflow(&mut self, key: &CacheKey, id: FlightId, limit: Option<u64>) -> Overflow {
        match self.flight(key, id) {
            Some(flight) if limit.is_none_or(|limit| flight.overflows < limit) => {
                flight.overflows += 1;
                Overflow::Go
            }
            // One that has ended is about to answer.
            Some(_) | None => Overflow::WaitOn,
        }
    }

    /// Voids a flight: its lease fills nothing, and the next who asks leads. Those who follow it are not this file's
    /// business. Another flight of the key stays, since who voids has not seen it. Says whether it was there.
    pub fn void(&mut self, key: &CacheKey, id: FlightId) -> bool {
        let is_there = self.flight(key, id).is_some();
        if is_there {
            self.states.remove(key);
        }
        is_there
    }

    /// What belongs to a key has this generation by now. Where it was an older one when the answer was found
    /// to be one that cannot be stored, nobody knows that of the next.
    pub fn renewed(&mut self, key: &CacheKey, newest: Generation) {
        let is_older = matches!(self.states.get(key), Some(State::HitForMiss { under, .. }) if *under < newest);
        if is_older {
            self.states.remove(key);
        }
    }

    /// How many keys are in flight.
    #[must_use]
    pub fn count(&self) -> usize {
        self.states.values().filter(|state| state.flight().is_some()).count()
    }

    /// How many follow, in all.
    #[must_use]
    pub const fn followers(&self) -> usize {
        self.followers
    }

    /// How many follow the flight of a key.
    #[must_use]
    pub fn followers_of(&self, key: &CacheKey) -> u32 {
        self.states.get(key).and_then(State::flight).map_or(0, |flight| flight.followers)
    }

    /// What is known of a key, unless its time has passed.
    fn live(&mut self, key: &CacheKey, now: MonoMillis) -> Option<&mut State> {
        self.states.get_mut(key).filter(|state| state.is_live(now))
    }

    fn lead(&mut self, key: CacheKey, now: MonoMillis) -> (Token, FlightId) {
        let id = FlightId(self.counter + 1);
        let flight = Flight { id, takeovers: 0, overflows: 0, followers: 0 };
        (self.lease(key, flight, now), id)
    }

    fn lease(&mut self, key: CacheKey, flight: Flight, now: MonoMillis) -> Token {
        self.counter += 1;
        let token = Token { epoch: self.epoch, counter: self.counter };
        let until = now.after(LEASE_TTL);
        self.states.insert(key, State::Leased { token, until, flight, is_mute: false });
        token
    }

    /// Whether a token is the last that was given for a key, even if its lease has run out.
    #[must_use]
    pub fn holds(&self, key: &CacheKey, token: Token) -> bool {
        self.held(key, token).is_some()
    }

    fn held(&self, key: &CacheKey, token: Token) -> Option<Flight> {
        match self.states.get(key) {
            Some(State::Leased { token: current, flight, .. }) if *current == token => {
                Some(*flight)
            }
            Some(State::Leased { .. } | State::BackingOff { .. } | State::HitForMiss { .. })
            | None => None,
        }
    }

    fn flight(&mut self, key: &CacheKey, id: FlightId) -> Option<&mut Flight> {
        match self.states.get_mut(key) {
            Some(State::Leased { flight, .. } | State::BackingOff { flight, .. }) => {
                (flight.id == id).then_some(flight)
            }
            Some(State::HitForMiss { .. }) | None => None,
        }
    }

    /// Forgets keys that are not hit-for-miss any more, and those that are too many.
    fn forget(&mut self, now: MonoMillis) {
        while let Some((until, key)) = self.hit_for_miss.front().copied()
            && (until <= now || self.hit_for_miss.len() > HIT_FOR_MISS_KEYS_MAX)
        {
            self.hit_for_miss.pop_front();
            // It may have been voided, and be something else by now.
            if matches!(self.states.get(&key), Some(State::HitForMiss { until: known, .. }) if *known == until)
            {
                self.states.remove(&key);
            }
        }
    }
}

// === impl State ===

impl State {
    fn is_live(&self, now: MonoMillis) -> bool {
        match self {
            Self::Leased { until, .. } | Self::HitForMiss { until, .. } => now < *until,
            // Whoever should take over has a lease's time for it; then it counts as dead.
            Self::BackingOff { until, .. } => now < until.after(LEASE_TTL),
        }
    }

    const fn flight(&self) -> Option<&Flight> {
        match self {
            Self::Leased { flight, .. } | Self::BackingOff { flight, .. } => Some(flight),
            Self::HitForMiss { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests;
