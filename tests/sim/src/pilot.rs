//! The task of a flight as a state machine: it makes attempts, hands on what fails, and ends once. Every decision is
//! the product's; what is here is the order in which they are asked for.

use std::collections::BTreeMap;
use std::rc::Rc;

use kt_contract::time::Millis;
use sidecar_cache::flight::{
    AfterFailure, Bounds, Ending, Failed, FlightId, Held, Outlives, RENEW_EVERY, Rule, outlives,
    token_limit,
};
use sidecar_cache::generation::Vector;

use crate::event::{LeaseAnswer, LeaseQuestion, Timer};
use crate::fixture::{ENTRY_BYTES_MAX, ENTRY_TOKENS_MAX, MODEL};
use crate::flight::{After, Answer, End, Failure, Fault, Flight, LocalLease, Phase, Text, asked};
use crate::leases::Leased;
use crate::plant::Plant;
use crate::swarm::Sharing;
use crate::world::World;

/// How long a flight that nobody reads goes on.
const DETACHED: Millis = Millis(30_000);
/// How long the shared lease store may take.
const LEASE_ANSWER: Millis = Millis(1_000);
/// How often somebody who waits for another sidecar's answer looks.
const LOOKS_EVERY: Millis = Millis(500);

// === impl World ===

impl World<'_> {
    /// Leads the flight of a key, which others may join.
    pub(crate) fn leads(&mut self, at: usize, attempt: usize, (leased, id): (Leased, FlightId)) {
        let flight = self.flights.len();
        let Some(grant) = self.grant(attempt) else { return };
        if let Some(sidecar) = self.sidecars.get_mut(at) {
            sidecar.joinable.insert(grant.key, flight);
        }
        self.flies(at, attempt, Some(LocalLease { leased: Some(leased), id }));
    }

    /// A call that nobody else may join.
    pub(crate) fn alone(&mut self, at: usize, attempt: usize) {
        self.flies(at, attempt, None);
    }

    fn flies(&mut self, at: usize, attempt: usize, lease: Option<LocalLease>) {
        let flight = self.flights.len();
        let Some(grant) = self.grant(attempt) else { return };
        let Some(life) = self.sidecars.get(at).map(|sidecar| sidecar.life) else { return };
        self.say(|| format!("flight {flight}: led by try {attempt}, leased {}", lease.is_some()));
        if let Some(lane) = self.lane_of(attempt) {
            lane.flight = Some(flight);
        }
        let mut flown = Flight {
            sidecar: at,
            life,
            key: grant.key,
            lease,
            shared: None,
            seat: attempt,
            leader: Some(attempt),
            asked: asked(grant.want),
            text: Text::default(),
            slots: BTreeMap::new(),
            generations: Vector::default(),
            is_known: false,
            under_at: self.now,
            attempt: 0,
            phase: Phase::Over,
            call: None,
            calls: 0,
            overflows: 0,
            bill: None,
            answer: Answer::new(asked(grant.want)),
            is_detached: false,
            grant,
        };
        flown.attach(attempt);
        self.flights.push(flown);
        if lease.is_some() {
            self.wake_in(at, RENEW_EVERY, Timer::Renews(flight));
        }
        self.begins(flight);
        self.reads(attempt);
    }

    /// Another attempt.
    fn begins(&mut self, flight: usize) {
        let Some(flown) = self.flights.get(flight) else { return };
        let (at, grant, seat) = (flown.sidecar, Rc::clone(&flown.grant), flown.seat);
        let (vector, is_known) = self.vector(at, &grant);
        let now = self.now;
        if let Some(tried) = self.tries.get_mut(seat) {
            tried.has_led = true;
        }
        let Some(flown) = self.flights.get_mut(flight) else { return };
        flown.attempt += 1;
        flown.answer = Answer::new(flown.asked);
        (flown.generations, flown.is_known, flown.under_at) = (vector, is_known, now);
        if flown.lease.is_none() {
            return self.reserves(flight);
        }
        if self.finds(flight) {
            return;
        }
        if self.swarm.sharing == Sharing::Shared && is_known {
            self.asks_for_lease(flight);
        } else {
            self.reserves(flight);
        }
    }

    /// Nobody calls for what is there.
    fn finds(&mut self, flight: usize) -> bool {
        let Some(flown) = self.flights.get(flight) else { return false };
        let (at, grant) = (flown.sidecar, Rc::clone(&flown.grant));
        let Some(hit) = self.looks(at, &grant) else { return false };
        self.tally.add("flights that found their entry");
        let _ = self.ends(flight, Ending::Found);
        self.finishes(flight, End::Found(Rc::new(hit)));
        true
    }

    fn asks_for_lease(&mut self, flight: usize) {
        let Some(flown) = self.flights.get_mut(flight) else { return };
        let asked = match flown.phase {
            Phase::Leasing(asked) => asked + 1,
            Phase::Elsewhere
            | Phase::Reserving
            | Phase::Calling
            | Phase::Settling(_)
            | Phase::Filling(_)
            | Phase::BackingOff
            | Phase::Over => 1,
        };
        flown.phase = Phase::Leasing(asked);
        let (newest, at) = (flown.generations.newest(), flown.sidecar);
        let timer = Timer::LeaseSilent { flight, attempt: flown.attempt, asked };
        self.asks_lease(flight, LeaseQuestion::Acquire(newest));
        self.wake_in(at, LEASE_ANSWER, timer);
    }

    pub(crate) fn lease_answers(&mut self, flight: usize, attempt: u32, answer: LeaseAnswer) {
        let Some(flown) = self.flights.get_mut(flight) else { return };
        let is_due = flown.attempt == attempt;
        match (answer, &flown.phase) {
            (LeaseAnswer::Lead(leased), Phase::Leasing(_)) if is_due => {
                flown.shared = Some(leased);
                self.reserves(flight);
            }
            // It comes too late, or once more.
            (LeaseAnswer::Lead(leased), _) if flown.shared != Some(leased) => {
                let under = flown.generations.newest();
                let how = Ending::Cancelled;
                self.asks_lease(flight, LeaseQuestion::End { leased, how, under });
            }
            (LeaseAnswer::Follow, Phase::Leasing(_)) if is_due => {
                flown.phase = Phase::Elsewhere;
                let at = flown.sidecar;
                self.tally.add("waits for another sidecar");
                self.wake_in(at, LOOKS_EVERY, Timer::LeaseAgain { flight, attempt });
            }
            (LeaseAnswer::HitForMiss, Phase::Leasing(_)) if is_due => self.reserves(flight),
            (LeaseAnswer::Filled(is_stored), Phase::Filling(_)) if is_due => {
                self.filled(flight, is_stored);
            }
            (
                LeaseAnswer::Lead(_)
                | LeaseAnswer::Follow
                | LeaseAnswer::HitForMiss
                | LeaseAnswer::Filled(_),
                _,
            ) => {}
        }
    }

    pub(crate) fn asks_lease_again(&mut self, flight: usize, attempt: u32) {
        let Some(flown) = self.flights.get(flight) else { return };
        if flown.attempt != attempt || !matches!(flown.phase, Phase::Elsewhere) {
            return;
        }
        if !self.finds(flight) {
            self.asks_for_lease(flight);
        }
    }

    /// Without the store, each sidecar leads for itself, and stores nothing.
    pub(crate) fn lease_is_silent(&mut self, flight: usize, attempt: u32, was: u32) {
        let Some(flown) = self.flights.get(flight) else { return };
        match flown.phase {
            Phase::Leasing(asked) if flown.attempt == attempt && asked == was => {
                self.reserves(flight);
            }
            Phase::Filling(_) if flown.attempt == attempt && was == 0 => self.filled(flight, false),
            Phase::Leasing(_)
            | Phase::Filling(_)
            | Phase::Elsewhere
            | Phase::Reserving
            | Phase::Calling
            | Phase::Settling(_)
            | Phase::BackingOff
            | Phase::Over => {}
        }
    }

    /// A lease that is lost is noticed at the fill.
    pub(crate) fn renews(&mut self, flight: usize) {
        let Some(flown) = self.flights.get(flight) else { return };
        let (at, key, lease) = (flown.sidecar, flown.key, flown.lease);
        if matches!(flown.phase, Phase::Over) {
            return;
        }
        if flown.may_be_deserted() {
            let mono = self.mono(at);
            if let (Some(sidecar), Some(leased)) =
                (self.sidecars.get_mut(at), lease.and_then(|lease| lease.leased))
            {
                let _ = sidecar.leases.renew(&key, leased, mono);
            }
            if let Some(leased) = self.shared(flight) {
                self.asks_lease(flight, LeaseQuestion::Renew(leased));
            }
        }
        self.wake_in(at, RENEW_EVERY, Timer::Renews(flight));
    }

    /// An attempt has failed: tells whom it concerns, and hands the lease to one of those who wait.
    pub(crate) fn passes_on(&mut self, flight: usize, fault: Fault) {
        let Fault { failure, begun, leader, retry_after, cause } = fault;
        let Some(flown) = self.flights.get_mut(flight) else { return };
        let failed = || End::Failed(failure.clone());
        let is_foreign = asked(flown.grant.want) != flown.asked;
        let leader = leader.or_else(|| is_foreign.then(failed));
        let waiting = flown.fail(begun.unwrap_or_else(failed), leader.as_ref());
        let (at, key, attempt) = (flown.sidecar, flown.key, flown.attempt);
        let token = flown.lease.as_mut().and_then(|lease| lease.leased.take());
        let retry_after = retry_after.map(|seconds| Millis(seconds * 1_000));
        let mono = self.mono(at);
        self.ends_shared(flight, Ending::Failed);
        let after = match (token, self.sidecars.get_mut(at)) {
            (Some(leased), Some(sidecar)) => {
                let is_held = sidecar.leases.holds(&key, leased);
                let failed = Failed { waiting, retry_after, cause };
                let after = sidecar.leases.fail(&key, leased, mono, failed);
                if is_held && after == AfterFailure::Over {
                    sidecar.joinable.remove(&key);
                }
                after
            }
            (None, _) | (_, None) => AfterFailure::Over,
        };
        self.say(|| format!("flight {flight}: failed, {waiting} wait, {after:?}"));
        match after {
            AfterFailure::Over => self.finishes(flight, End::Failed(failure)),
            AfterFailure::Voided => self.finishes(flight, End::Voided),
            AfterFailure::TakeOver { at: due } => {
                if let Some(flown) = self.flights.get_mut(flight) {
                    (flown.phase, flown.leader) = (Phase::BackingOff, None);
                }
                self.wake_in(at, due.since(mono), Timer::TakesOver { flight, attempt });
                self.wakes_readers(flight);
            }
        }
    }

    pub(crate) fn takes_over(&mut self, flight: usize, attempt: u32) {
        let Some(flown) = self.flights.get(flight) else { return };
        if flown.attempt != attempt || !matches!(flown.phase, Phase::BackingOff) {
            return;
        }
        let (at, key, promoted) = (flown.sidecar, flown.key, flown.promote());
        let Some(id) = flown.lease.map(|lease| lease.id) else { return };
        let mono = self.mono(at);
        let Some(sidecar) = self.sidecars.get_mut(at) else { return };
        let taken = promoted.and_then(|reader| {
            sidecar.leases.take_over(&key, id, mono).map(|leased| (reader, leased))
        });
        let Some((reader, leased)) = taken else {
            if sidecar.leases.give_up(&key, id) {
                sidecar.joinable.remove(&key);
            }
            return self.finishes(flight, End::Voided);
        };
        self.say(|| format!("flight {flight}: try {reader} takes over"));
        self.tally.add("takeovers");
        self.gives_place_back(reader);
        let Some(grant) = self.grant(reader) else { return };
        if let Some(flown) = self.flights.get_mut(flight) {
            (flown.seat, flown.leader, flown.grant) = (reader, Some(reader), grant);
            flown.lease = Some(LocalLease { leased: Some(leased), id });
        }
        self.begins(flight);
    }

    /// Somebody does not read any more.
    pub(crate) fn detaches(&mut self, flight: usize, reader: usize) {
        let Some(flown) = self.flights.get_mut(flight) else { return };
        flown.slots.remove(&reader);
        if flown.leader == Some(reader) {
            flown.leader = None;
        }
        self.is_deserted(flight);
    }

    /// Nobody reads: does it go on?
    pub(crate) fn is_deserted(&mut self, flight: usize) {
        let Some(flown) = self.flights.get(flight) else { return };
        let is_alone = flown.slots.is_empty() && !flown.is_detached && flown.may_be_deserted();
        if !is_alone {
            return;
        }
        let (at, attempt) = (flown.sidecar, flown.attempt);
        let is_stream = flown.answer.produced.events > 0;
        let rule = Rule {
            configured: self.swarm.on_disconnect,
            may_fill: self.is_storable(flight),
            produced: flown.answer.produced,
            token_limit: token_limit(flown.grant.body.as_bytes()),
            mean_bytes: self
                .sidecars
                .get(at)
                .and_then(|sidecar| sidecar.means.of(MODEL, is_stream)),
        };
        match outlives(rule) {
            Outlives::Yes => {
                self.tally.add("flights that outlive their clients");
                if let Some(flown) = self.flights.get_mut(flight) {
                    flown.is_detached = true;
                }
                self.wake_in(at, DETACHED, Timer::Detached { flight, attempt });
            }
            Outlives::No => self.cancels(flight),
        }
    }

    pub(crate) fn was_detached(&mut self, flight: usize, attempt: u32) {
        let Some(flown) = self.flights.get(flight) else { return };
        let is_alone = flown.slots.is_empty() && flown.attempt == attempt;
        if is_alone && flown.may_be_deserted() {
            self.cancels(flight);
        }
    }

    /// Whether what comes may be stored, as far as is known by now.
    pub(crate) fn is_storable(&self, flight: usize) -> bool {
        let Some(flown) = self.flights.get(flight) else { return false };
        let bounds = Bounds { bytes: ENTRY_BYTES_MAX, tokens: ENTRY_TOKENS_MAX };
        let leased = flown.lease.and_then(|lease| lease.leased);
        let is_current = leased.is_some_and(|leased| {
            self.sidecars
                .get(flown.sidecar)
                .is_some_and(|sidecar| sidecar.leases.holds(&flown.key, leased))
        });
        flown.answer.may_store && flown.answer.produced.fits(bounds) && is_current
    }

    /// Ends the call, for want of anybody who wants it.
    pub(crate) fn cancels(&mut self, flight: usize) {
        let Some(flown) = self.flights.get_mut(flight) else { return };
        let (at, key, call) = (flown.sidecar, flown.key, flown.call.take());
        let lease = flown.lease;
        let token = flown.lease.as_mut().and_then(|lease| lease.leased.take());
        self.say(|| format!("flight {flight}: cancelled"));
        self.tally.add("flights cancelled");
        if let (Some(lease), Some(sidecar)) = (lease, self.sidecars.get_mut(at)) {
            let has_ended = match token {
                Some(leased) => sidecar.leases.abandon(&key, leased) == Held::Current,
                None => sidecar.leases.give_up(&key, lease.id),
            };
            if has_ended {
                sidecar.joinable.remove(&key);
            }
        }
        self.ends_shared(flight, Ending::Cancelled);
        if let Some(call) = call.and_then(|call| self.calls.get_mut(call)) {
            call.is_left = true;
        }
        self.pays(flight, None, After::Land);
    }

    /// Ends the lease, where there is one.
    pub(crate) fn ends(&mut self, flight: usize, how: Ending) -> Held {
        let now = self.now;
        let Some(flown) = self.flights.get_mut(flight) else { return Held::Superseded };
        let (at, key, under) = (flown.sidecar, flown.key, flown.generations.newest());
        let under_at = flown.under_at;
        let token = flown.lease.as_mut().and_then(|lease| lease.leased.take());
        if how == Ending::Filled {
            // The shared store has ended it in the step in which it stored the entry.
            flown.shared = None;
        }
        self.ends_shared(flight, how);
        let mono = self.mono(at);
        let (Some(leased), Some(sidecar)) = (token, self.sidecars.get_mut(at)) else {
            return Held::Superseded;
        };
        let held = match how {
            Ending::Filled => sidecar.leases.fill(&key, leased, mono),
            Ending::Uncacheable => {
                let held = sidecar.leases.end_uncacheable(key, leased, (mono, under));
                if held == Held::Current {
                    sidecar.unstorable.insert(key, (under_at, now));
                }
                held
            }
            Ending::Found
            | Ending::Refused
            | Ending::Blocked
            | Ending::Failed
            | Ending::NotStored
            | Ending::Cancelled
            | Ending::Unpaid
            | Ending::Followed => sidecar.leases.abandon(&key, leased),
        };
        if held == Held::Current || sidecar.leases.abandon(&key, leased) == Held::Current {
            sidecar.joinable.remove(&key);
        }
        held
    }

    fn ends_shared(&mut self, flight: usize, how: Ending) {
        let Some(flown) = self.flights.get_mut(flight) else { return };
        let under = flown.generations.newest();
        if let Some(leased) = flown.shared.take() {
            self.asks_lease(flight, LeaseQuestion::End { leased, how, under });
        }
    }

    /// The end, for everybody who still reads.
    pub(crate) fn finishes(&mut self, flight: usize, end: End) {
        let Some(flown) = self.flights.get_mut(flight) else { return };
        flown.text.end = Some(end);
        self.lands(flight);
        self.wakes_readers(flight);
    }

    /// The task is over: what it has not ended, its end does.
    pub(crate) fn lands(&mut self, flight: usize) {
        let Some(flown) = self.flights.get_mut(flight) else { return };
        flown.phase = Phase::Over;
        let (at, key, lease) = (flown.sidecar, flown.key, flown.lease);
        let Some(lease) = lease else { return };
        if lease.leased.is_some() {
            let _ = self.ends(flight, Ending::Failed);
        } else if let Some(sidecar) = self.sidecars.get_mut(at)
            && sidecar.leases.give_up(&key, lease.id)
        {
            sidecar.joinable.remove(&key);
        }
    }

    /// Those who wait for something to read take a turn.
    pub(crate) fn wakes_readers(&mut self, flight: usize) {
        let forgets = self.has(Plant::ForgetWaiters);
        let Some(flown) = self.flights.get_mut(flight) else { return };
        let (at, shape) = (flown.sidecar, flown.asked);
        let mut woken = Vec::new();
        for (reader, slot) in &mut flown.slots {
            if std::mem::take(&mut slot.is_parked) {
                woken.push(*reader);
            }
        }
        for reader in woken {
            let want = self.grant(reader).map(|grant| asked(grant.want));
            if !forgets || want == Some(shape) {
                self.wake_in(at, Millis(0), Timer::Reads(reader));
            }
        }
    }

    /// An attempt has no answer, for a reason of ours.
    pub(crate) fn fails(&mut self, flight: usize, status: u16) {
        self.pays(flight, None, After::Fail(Fault::of(Failure::Problem(status))));
    }
}
