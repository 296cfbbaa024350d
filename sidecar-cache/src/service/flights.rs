//! The flights of this sidecar: the state machine of [`crate::flight`] and the logs of those that others may
//! join, under one lock, so that whoever joins finds both or neither.

mod following;
mod worth;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use kt_contract::key::CacheKey;
use kt_contract::money::MicroUsd;
use kt_contract::time::MonoMillis;
use kt_contract::trace::TraceParent;
use kt_providers::{Recorded, Usage};

use super::bodies::Room;
use super::known::Known;
use super::lease::{Lease, Told};
use super::lock;
use super::log::{Charge, Log, ReaderId};
use super::logs::Logs;
use super::seat::{End, Opened, Seat};
use super::traces::{Leader, Live};
use crate::clock::Clock;
use crate::flight::{self, Acquired, AfterFailure, Cause, Ending, Epoch, Held, Means, Token};
use crate::generation::{Generation, Vector};
use crate::metrics::Metrics;
pub(super) use following::Following;

/// One answer that is being made, and those who read it.
pub(super) struct Flight {
    pub(super) log: Log<Arc<Seat>, Arc<Opened>, End>,
    /// What is sent upstream, as long as it may be sent again.
    sent: Mutex<Option<Arc<Sent>>>,
    /// The same request as those send it who ask for the other shape: the first of them, for all.
    other: Mutex<Option<Arc<Sent>>>,
    /// The shape in which the leader's request asks for the answer.
    pub(super) asked: Recorded,
    /// What the entry belongs to, as it was when the attempt began, and when that was.
    began: Mutex<(Vector, MonoMillis)>,
    progress: Mutex<Progress>,
    /// The shape in which what comes was asked for: the leader's, whichever sidecar it asks at.
    comes: Mutex<Recorded>,
    /// Which of its group's flights it is, where there is a group.
    in_group: Mutex<Option<flight::FlightId>>,
    /// What the call of the attempt has cost, once that is known.
    cost: Mutex<Option<MicroUsd>>,
    /// What the provider has told of its tokens.
    usage: Mutex<Option<Usage>>,
    /// The span of the request that leads it.
    leader: Arc<Leader>,
    /// Whether somebody was to judge what comes and has not, or nobody here knows.
    is_unjudged: AtomicBool,
}

/// A request as it goes upstream: the leader's.
#[derive(Debug)]
pub(super) struct Sent {
    /// The headers that its dialect names.
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) body: Bytes,
    /// What the body takes.
    pub(super) _room: Option<Room>,
}

/// Whether the provider has begun to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Silent,
    Answering,
}

/// All flights of the sidecar.
pub(super) struct Flights {
    board: Mutex<Board>,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) means: Mutex<Means>,
    logs: Arc<Logs>,
    /// Whether it is known what was invalidated since a flight began.
    known: Known,
}

struct Board {
    machine: flight::Flights,
    /// Those that may be joined.
    joinable: HashMap<CacheKey, (flight::FlightId, Arc<Flight>)>,
}

/// The answer to [`Flights::join`].
pub(super) enum Joined {
    /// Nobody else flies: the caller starts the flight.
    Lead(Arc<Flight>, ReaderId, Lease),
    /// Somebody does: the caller reads. What is sent for it, which the flight itself lets go of.
    Follow(Arc<Flight>, ReaderId, Arc<Sent>),
    /// The caller makes its own call.
    HitForMiss,
    /// As many follow as may.
    Full,
    /// Somebody flies alone: the caller makes its own call.
    Alone,
}

// === impl Flight ===

impl Flight {
    pub(super) fn new(
        began: (Vector, MonoMillis),
        asked: Recorded,
        sent: Arc<Sent>,
        charge: Charge,
    ) -> Self {
        Self {
            log: Log::new(charge),
            sent: Mutex::new(Some(sent)),
            other: Mutex::default(),
            asked,
            began: Mutex::new(began),
            progress: Mutex::new(Progress::Silent),
            comes: Mutex::new(asked),
            in_group: Mutex::default(),
            cost: Mutex::default(),
            usage: Mutex::default(),
            leader: Arc::default(),
            is_unjudged: AtomicBool::new(false),
        }
    }

    /// From now on this request leads it.
    pub(super) fn is_led_by(&self, seat: &Seat) {
        self.leader.is(seat.grant.trace.as_ref().map(Live::as_parent));
    }

    /// Another sidecar's request leads it, whose span it may tell.
    pub(super) fn is_led_elsewhere(&self, span: Option<TraceParent>) {
        self.leader.is(span);
    }

    /// What is sent upstream; `None` once nothing will be sent any more.
    pub(super) fn sent(&self) -> Option<Arc<Sent>> {
        lock(&self.sent).clone()
    }

    /// What is sent for a follower, should it need its own call. It need not keep its own request: behind the
    /// same key those that ask for the same shape say the same.
    fn sent_for(&self, asked: Recorded, own: &Arc<Sent>) -> Arc<Sent> {
        if asked == self.asked {
            return self.sent().unwrap_or_else(|| Arc::clone(own));
        }
        Arc::clone(lock(&self.other).get_or_insert_with(|| Arc::clone(own)))
    }

    /// Nothing will be sent any more: those who still read need not hold it.
    pub(super) fn sent_for_good(&self) {
        *lock(&self.sent) = None;
        *lock(&self.other) = None;
    }

    /// What the entry belongs to.
    pub(super) fn generations(&self) -> Vector {
        lock(&self.began).0.clone()
    }

    /// Another attempt begins: what was invalidated before it may be stored.
    pub(super) fn begins_under(&self, generations: Vector, now: MonoMillis) {
        *lock(&self.began) = (generations, now);
    }

    /// What comes was asked for in this shape.
    pub(super) fn comes_as(&self, asked: Recorded) {
        *lock(&self.comes) = asked;
    }

    /// The shape in which what comes was asked for.
    pub(super) fn comes(&self) -> Recorded {
        *lock(&self.comes)
    }

    /// It is this one of its group's flights.
    pub(super) fn is_in_group(&self, id: Option<flight::FlightId>) {
        *lock(&self.in_group) = id;
    }

    /// Which of its group's flights it is.
    pub(super) fn in_group(&self) -> Option<flight::FlightId> {
        *lock(&self.in_group)
    }

    /// Somebody was to judge what comes and has not: known before anybody learns how it ended, and for good.
    pub(super) fn goes_unjudged(&self) {
        self.is_unjudged.store(true, Ordering::Release);
    }

    /// Whether what came may not have been judged by everybody who was to.
    pub(super) fn is_unjudged(&self) -> bool {
        self.is_unjudged.load(Ordering::Acquire)
    }

    /// The provider has begun to answer.
    pub(super) fn is_answered(&self) {
        *lock(&self.progress) = Progress::Answering;
    }

    /// The provider is asked, perhaps again.
    pub(super) fn is_asked(&self) {
        *lock(&self.progress) = Progress::Silent;
    }

    pub(super) fn is_silent(&self) -> bool {
        *lock(&self.progress) == Progress::Silent
    }
}

// === impl Flights ===

impl Flights {
    pub(super) fn new(
        epoch: Epoch,
        clock: Clock,
        metrics: Arc<Metrics>,
        logs: Arc<Logs>,
        known: Known,
    ) -> Self {
        let board = Board { machine: flight::Flights::new(epoch), joinable: HashMap::new() };
        Self { board: Mutex::new(board), clock, metrics, means: Mutex::default(), logs, known }
    }

    /// Joins the flight of a key, or leads one; the seat is attached in the same step. A flight that began
    /// before something was invalidated, or may have, is for those who are attached: it is voided, and nobody joins it.
    /// `generations` says what the entry belongs to at that moment.
    pub(super) fn join(
        self: &Arc<Self>,
        seat: &Arc<Seat>,
        generations: impl FnOnce() -> Vector,
        sent: &Arc<Sent>,
    ) -> Joined {
        let key = seat.grant.at.key;
        let now = self.clock.mono();
        let mut board = self.board();
        let generations = board.void_old(&key, generations, self.known.joinable_since());
        match board.machine.acquire(key, now) {
            Acquired::Lead(token, id) => {
                let charge = self.logs.charge(&seat.grant.caller.principal.org);
                let flight =
                    Flight::new((generations, now), seat.asked(), Arc::clone(sent), charge);
                flight.is_led_by(seat);
                let flight = Arc::new(flight);
                let reader = flight.log.attach(Arc::clone(seat), now.0);
                board.joinable.insert(key, (id, Arc::clone(&flight)));
                drop(board);
                // Among sidecars it may turn out to be another one's.
                seat.note(|exchange| exchange.reads(Arc::clone(&flight.leader)));
                self.metrics.led();
                Joined::Lead(flight, reader, Lease::new(self, key, token, Some(id)))
            }
            Acquired::Follow(id) => {
                let Some((_, flight)) = board.joinable.get(&key).cloned() else {
                    board.machine.leave(&key, id);
                    return Joined::Alone;
                };
                let reader = flight.log.attach(Arc::clone(seat), now.0);
                let sent = flight.sent_for(seat.asked(), sent);
                drop(board);
                seat.follows(Following { flights: Arc::clone(self), key, id });
                seat.note(|exchange| exchange.reads(Arc::clone(&flight.leader)));
                self.metrics.followed();
                Joined::Follow(flight, reader, sent)
            }
            Acquired::HitForMiss => {
                self.metrics.hit_for_miss();
                Joined::HitForMiss
            }
            // Nobody is mute who tells within one process.
            Acquired::Full | Acquired::Mute => Joined::Full,
        }
    }

    /// Leads the flight of a key that nobody waits for yet; whoever comes may join. `None`: somebody makes the
    /// call already, or what comes cannot be stored.
    pub(super) fn lead_unattended(
        self: &Arc<Self>,
        seat: &Arc<Seat>,
        generations: impl FnOnce() -> Vector,
        sent: Arc<Sent>,
    ) -> Option<(Arc<Flight>, Lease)> {
        let key = seat.grant.at.key;
        let now = self.clock.mono();
        let mut board = self.board();
        let generations = board.void_old(&key, generations, self.known.joinable_since());
        match board.machine.acquire(key, now) {
            Acquired::Lead(token, id) => {
                let charge = self.logs.charge(&seat.grant.caller.principal.org);
                let flight = Arc::new(Flight::new((generations, now), seat.asked(), sent, charge));
                flight.is_led_by(seat);
                board.joinable.insert(key, (id, Arc::clone(&flight)));
                self.metrics.led();
                Some((flight, Lease::new(self, key, token, Some(id))))
            }
            Acquired::Follow(id) => {
                board.machine.leave(&key, id);
                None
            }
            Acquired::HitForMiss | Acquired::Full | Acquired::Mute => None,
        }
    }

    /// The lease of a key whose flight nobody may join.
    pub(super) fn lead_alone(
        self: &Arc<Self>,
        key: CacheKey,
        generations: impl FnOnce() -> Vector,
    ) -> Option<Lease> {
        let mut board = self.board();
        let _: Vector = board.void_old(&key, generations, self.known.joinable_since());
        let token = board.machine.acquire_alone(key, self.clock.mono())?;
        drop(board);
        self.metrics.led();
        Some(Lease::new(self, key, token, None))
    }

    /// How many keys are in flight, and how many follow.
    pub(super) fn count(&self) -> (usize, usize) {
        let board = self.board();
        (board.machine.count(), board.machine.followers())
    }

    pub(super) fn renew(&self, key: &CacheKey, token: Token) -> Held {
        self.board().machine.renew(key, token, self.clock.mono())
    }

    pub(super) fn holds(&self, key: &CacheKey, token: Token) -> bool {
        self.board().machine.holds(key, token)
    }

    /// Ends a lease in one of the ways in which nobody else leads this flight. Its last attempt began `under`
    /// this generation.
    pub(super) fn end(&self, key: &CacheKey, token: Token, how: Ending, under: Generation) -> Held {
        let now = self.clock.mono();
        let mut board = self.board();
        let held = match how {
            Ending::Filled => board.machine.fill(key, token, now),
            Ending::Uncacheable => board.machine.end_uncacheable(*key, token, now, under),
            Ending::Found
            | Ending::Refused
            | Ending::Blocked
            | Ending::Failed
            | Ending::NotStored
            | Ending::Cancelled
            | Ending::Unpaid
            | Ending::Followed => board.machine.abandon(key, token),
        };
        // One that has run out, and that nobody else has taken, is cleared too.
        if held == Held::Current || board.machine.abandon(key, token) == Held::Current {
            board.joinable.remove(key);
        }
        held
    }

    /// An attempt has failed; `tell` says so in the log, and how many wait. Nobody joins in between.
    pub(super) fn fail(
        &self,
        key: &CacheKey,
        token: Token,
        (cause, retry_after): (Cause, Option<kt_contract::time::Millis>),
        tell: impl FnOnce() -> usize,
    ) -> AfterFailure {
        let mut board = self.board();
        let failed = flight::Failed { waiting: tell(), retry_after, cause };
        let is_held = board.machine.holds(key, token);
        let after = board.machine.fail(key, token, self.clock.mono(), failed);
        if is_held && after == AfterFailure::Over {
            board.joinable.remove(key);
        }
        after
    }

    /// An attempt has failed; `tell` says so in the log, and how many wait. Nobody joins in between. The lease is kept
    /// for those who wait.
    pub(super) fn tell(&self, key: &CacheKey, token: Token, tell: impl FnOnce() -> usize) -> Told {
        let mut board = self.board();
        let waiting = tell();
        if !board.machine.holds(key, token) {
            return Told::Voided;
        }
        if waiting > 0 {
            return Told::Waiting(waiting);
        }
        let _: Held = board.machine.abandon(key, token);
        board.joinable.remove(key);
        Told::Nobody
    }

    /// The one that has waited longest; the lease ends where nobody does. Nobody joins in between.
    pub(super) fn promote(
        &self,
        key: &CacheKey,
        token: Token,
        flight: &Flight,
    ) -> Option<(ReaderId, Arc<Seat>)> {
        let mut board = self.board();
        let promoted = flight.log.promote();
        if promoted.is_none() && board.machine.abandon(key, token) == Held::Current {
            board.joinable.remove(key);
        }
        promoted
    }

    /// One of those who wait takes over. `None`: nobody waits any more, or the flight was voided.
    pub(super) fn take_over(
        &self,
        key: &CacheKey,
        id: flight::FlightId,
        flight: &Flight,
    ) -> Option<(Token, ReaderId, Arc<Seat>)> {
        let mut board = self.board();
        let promoted = flight.log.promote();
        let token = promoted.as_ref().and_then(|_| {
            let now = self.clock.mono();
            board.machine.take_over(key, id, now)
        });
        if let (Some(token), Some((reader, seat))) = (token, promoted) {
            return Some((token, reader, seat));
        }
        if board.machine.give_up(key, id) {
            board.joinable.remove(key);
        }
        None
    }

    /// Ends a flight between two attempts, whoever waits.
    pub(super) fn give_up(&self, key: &CacheKey, id: flight::FlightId) {
        let mut board = self.board();
        if board.machine.give_up(key, id) {
            board.joinable.remove(key);
        }
    }

    /// Ends a flight that nobody reads; `false` where somebody does.
    pub(super) fn cancel(
        &self,
        key: &CacheKey,
        held: (Option<Token>, Option<flight::FlightId>),
        flight: &Flight,
    ) -> bool {
        let mut board = self.board();
        if flight.log.readers() > 0 {
            return false;
        }
        let is_ended = match held {
            (Some(token), _) => board.machine.abandon(key, token) == Held::Current,
            (None, Some(id)) => board.machine.give_up(key, id),
            (None, None) => false,
        };
        if is_ended {
            board.joinable.remove(key);
        }
        true
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        lock(&self.board)
    }
}

// === impl Board ===

impl Board {
    /// Voids a flight that began before something was invalidated, which is for those who are attached, and
    /// forgets what was found of the key's answers before. Returns what the entry belongs to now. It is asked
    /// after the flight's own, and generations only grow: what differs is older. One that began before `since` is
    /// voided as well: nobody knows what was invalidated after it.
    fn void_old(
        &mut self,
        key: &CacheKey,
        generations: impl FnOnce() -> Vector,
        since: MonoMillis,
    ) -> Vector {
        let begun = self.joinable.get(key).map(|(id, flight)| (*id, lock(&flight.began).clone()));
        let now = generations();
        if let Some((id, (under, began))) = begun
            && (under != now || began < since)
        {
            self.machine.void(key, id);
            self.joinable.remove(key);
        }
        self.machine.renewed(key, now.newest());
        now
    }
}

#[cfg(test)]
mod tests {
    use kt_contract::hex::Digest;

    use super::*;
    use crate::service::log::Total;

    const KEY: CacheKey = CacheKey(Digest([7; 32]));

    fn vector(generation: u64) -> Vector {
        Vector::from_numbers(vec![Generation(generation)])
    }

    /// With one flight, under generation 1.
    fn board() -> (Board, Arc<Flight>) {
        let sent = Arc::new(Sent { headers: Vec::new(), body: Bytes::new(), _room: None });
        let mut machine = flight::Flights::new(Epoch(1));
        let Acquired::Lead(_, id) = machine.acquire(KEY, MonoMillis(0)) else {
            panic!("somebody leads already");
        };
        let charge = Charge::new(Arc::new(Total::new(u64::MAX)));
        let flight =
            Arc::new(Flight::new((vector(1), MonoMillis(10)), Recorded::Json, sent, charge));
        let joinable = HashMap::from([(KEY, (id, Arc::clone(&flight)))]);
        (Board { machine, joinable }, flight)
    }

    #[test]
    fn only_a_flight_that_began_before_an_invalidation_is_voided() {
        for (now, is_voided) in [(1, false), (2, true)] {
            let (mut board, _) = board();
            assert_eq!(board.void_old(&KEY, || vector(now), MonoMillis(0)), vector(now));
            assert_eq!(board.machine.count(), usize::from(!is_voided));
        }
    }

    #[test]
    fn a_flight_that_is_older_than_what_is_known_may_be_is_voided() {
        for (since, is_voided) in [(10, false), (11, true)] {
            let (mut board, _) = board();
            board.void_old(&KEY, || vector(1), MonoMillis(since));
            assert_eq!(board.machine.count(), usize::from(!is_voided), "{since}");
        }
    }

    #[test]
    fn a_flight_that_begins_anew_while_somebody_asks_is_not_voided_by_what_is_older() {
        let (mut board, flight) = board();
        let asks = || {
            flight.begins_under(vector(2), MonoMillis(20));
            vector(1)
        };
        assert_eq!(board.void_old(&KEY, asks, MonoMillis(0)), vector(1));
        assert_eq!(board.machine.count(), 1);
    }
}
