//! How a world begins, and all that goes wrong in it.

use std::rc::Rc;

use kt_contract::money::MicroUsd;
use kt_contract::wire::admit::ReplyShape;
use sidecar_cache::generation::{Generation, Tag};
use sidecar_cache::ledger::request::{Extend, Fund};
use sidecar_cache::ledger::{Hold, Operation, State, TransferId};

use crate::books::HOLD_TTL;
use crate::client::{Ask, AskState};
use crate::clocks::Clock;
use crate::event::{Event, Fault, Hears, Link, Timer};
use crate::fixture::{MODEL, question};
use crate::gateway::Gateway;
use crate::plant::Plant;
use crate::sidecar::Sidecar;
use crate::store::Store;
use crate::swarm::{Purse, Sharing};
use crate::world::World;

/// The most that a wall clock is behind: an hour on either side.
const BEHIND_MS_MAX: u64 = 2 * 60 * 60 * 1_000;
/// After how long without a word Envoy gives a lane up.
const KEEPALIVE_MS: u64 = 3_000;
/// How long after the last request and fault a world heals.
const HEALS_AFTER_MS: u64 = 30_000;

// === impl World ===

impl World<'_> {
    /// Everybody is there.
    pub(crate) fn populate(&mut self) {
        for at in 0..self.swarm.sidecars {
            let store = if self.swarm.sharing == Sharing::Own { at } else { 0 };
            let clock = self.any_clock();
            if store >= self.stores.len() {
                let clock =
                    if self.swarm.sharing == Sharing::Own { clock } else { self.any_clock() };
                self.stores.push(Store::new(clock, self.plant));
            }
            self.sidecars.push(Sidecar::new(at, store, clock));
        }
        for nth in 0..self.swarm.gateways {
            let base = self.rng.u64(0..1_000_000);
            self.gateways.push(Gateway::new(nth, nth % self.swarm.sidecars, base));
        }
        for ask in 0..self.swarm.asks {
            let mut asked = self.any_ask(ask);
            // Some names are used twice: by a client that tries again, or for something else.
            let first = self.asks.last().filter(|first| first.name == asked.name);
            if let Some(first) = first.filter(|first| first.name.is_some()) {
                let (caller, question, want) = (first.caller, first.question, first.want);
                let body = Rc::clone(&first.body);
                if self.chance(800) {
                    asked = Ask { caller, question, want, body, ..asked };
                }
            }
            self.asks.push(asked);
        }
    }

    fn any_clock(&mut self) -> Clock {
        let drift = self.swarm.drift;
        Clock {
            base_ms: self.rng.u64(0..1_000_000),
            pace: self.rng.u64(1_000 - drift..=1_000 + drift),
            behind_ms: BEHIND_MS_MAX / 2,
        }
    }

    fn any_ask(&mut self, nth: u32) -> Ask {
        let question_nth = self.rng.u32(0..self.swarm.questions);
        let want = match (self.chance(self.swarm.streams), self.rng.bool()) {
            (false, _) => ReplyShape::Json,
            (true, include_usage) => ReplyShape::Sse { include_usage },
        };
        let stream = match want {
            ReplyShape::Json => None,
            ReplyShape::Sse { include_usage } => Some(include_usage),
        };
        // Most of one organization, so that they meet.
        let caller = if self.chance(750) { self.rng.usize(0..2) } else { self.rng.usize(0..4) };
        let name = self.chance(self.swarm.keyed).then(|| format!("name-{}", nth / 2));
        let leaves_in = self.chance(self.swarm.leavers).then(|| {
            let most = self.swarm.latency_max * 3;
            self.rng.u64(1..most.max(2))
        });
        let pace = if self.chance(self.swarm.slow) { self.rng.u64(50..4_000) } else { 1 };
        let gateways = self.gateways.len().max(1);
        let gateway = match &name {
            // Where sidecars are several, what one of them remembers the others do not claim.
            Some(_) if self.swarm.sharing == Sharing::Shared => 0,
            Some(_) | None => self.rng.usize(0..gateways),
        };
        Ask {
            caller,
            question: question_nth,
            want,
            body: question(question_nth, stream).into(),
            name,
            no_cache: self.chance(self.swarm.no_cache),
            pace,
            leaves_in,
            gateway,
            tries: 0,
            state: AskState::Waits,
        }
    }

    /// What will happen, as far as that is known before.
    pub(crate) fn schedule(&mut self) {
        let span = self.swarm.span;
        for gateway in 0..self.gateways.len() {
            self.polls(gateway);
        }
        self.funds();
        for ask in 0..self.asks.len() {
            let at = 20 + self.rng.u64(0..span);
            self.push_at(at, Event::Asks(ask));
        }
        let horizon = span + self.swarm.latency_max * 2;
        for (count, make) in [
            (self.swarm.crashes, Self::any_crash as fn(&mut Self) -> Fault),
            (self.swarm.pauses, Self::any_pause),
            (self.swarm.jumps, Self::any_jump),
            (self.swarm.partitions, Self::any_cut),
            (self.swarm.epochs, |_| Fault::EpochLost(0)),
            (self.swarm.invalidations, Self::any_invalidation),
            (self.swarm.configurations, |_| Fault::Configure),
        ] {
            for _ in 0..count {
                let at = 20 + self.rng.u64(0..horizon);
                let fault = make(self);
                self.push_at(at, Event::Fault(fault));
            }
        }
        self.schedules_moves(horizon);
        for sidecar in 0..self.sidecars.len() {
            for _ in 0..4 {
                let at = self.rng.u64(0..200_000);
                let hears = Hears::Timer(Timer::Reaps);
                self.push_at(at, Event::Sidecar { at: sidecar, life: None, hears });
            }
        }
        for _ in 0..2 {
            let store = self.rng.usize(0..self.stores.len().max(1));
            let (at, which) = (self.rng.u64(0..60_000), self.rng.usize(0..64));
            self.push_at(at, Event::Fault(Fault::Meddle { store, which }));
        }
        if self.swarm.heals {
            self.push_at(horizon + HEALS_AFTER_MS, Event::Fault(Fault::Heal));
        }
    }

    fn funds(&mut self) {
        let amount = match self.swarm.purse {
            Purse::None | Purse::Postpaid => return,
            Purse::Ample => 1_000_000_000,
            Purse::Tight => self.rng.u64(1_000..30_000),
        };
        for store in 0..self.stores.len() {
            for org in 0..self.fixture.orgs.len() {
                let fund = |nth| Fault::Fund { store, org, amount, nth };
                self.goes_wrong(fund(0));
                let again = self.rng.u32(0..3);
                for nth in 0..again {
                    let at = self.rng.u64(0..20_000);
                    self.push_at(at, Event::Fault(fund(nth)));
                }
            }
        }
    }

    fn any_sidecar(&mut self) -> usize {
        self.rng.usize(0..self.sidecars.len().max(1))
    }

    fn any_crash(&mut self) -> Fault {
        let sidecar = self.any_sidecar();
        Fault::Crash { sidecar, down_ms: self.rng.u64(1..8_000) }
    }

    fn any_pause(&mut self) -> Fault {
        let sidecar = self.any_sidecar();
        Fault::Pause { sidecar, length_ms: self.rng.u64(1..30_000) }
    }

    fn any_jump(&mut self) -> Fault {
        let sidecar = self.any_sidecar();
        Fault::Jump { sidecar, behind_ms: self.rng.u64(0..BEHIND_MS_MAX) }
    }

    fn any_cut(&mut self) -> Fault {
        let link = if self.swarm.sharing == Sharing::Shared && self.rng.bool() {
            Link::Store(self.any_sidecar())
        } else {
            Link::Gateway(self.rng.usize(0..self.gateways.len().max(1)))
        };
        // Some are longer than a hold lives.
        let most = if self.rng.u8(0..3) == 0 { 150_000 } else { 20_000 };
        Fault::Cut { link, length_ms: self.rng.u64(1..most) }
    }

    fn any_invalidation(&mut self) -> Fault {
        let tag = match self.rng.u32(0..3) {
            0 => Tag::Org,
            1 => Tag::Model(MODEL.to_owned()),
            _ => Tag::Codebase("acme/web".to_owned()),
        };
        let org = self.rng.usize(0..self.fixture.orgs.len());
        Fault::Invalidate { store: self.rng.usize(0..self.stores.len().max(1)), org, tag }
    }

    /// Something goes wrong, or right again.
    pub(crate) fn goes_wrong(&mut self, fault: Fault) {
        self.say(|| format!("{fault:?}"));
        match fault {
            Fault::Crash { sidecar, down_ms } => self.crashes(sidecar, down_ms),
            Fault::Restart(sidecar) => self.restarts(sidecar),
            Fault::Pause { sidecar, length_ms } => {
                let until = self.now + length_ms;
                if let Some(paused) =
                    self.sidecars.get_mut(sidecar).filter(|_| self.healed_at.is_none())
                {
                    paused.still_until = paused.still_until.max(until);
                }
            }
            Fault::Jump { sidecar, behind_ms } => {
                if let Some(jumps) = self.sidecars.get_mut(sidecar) {
                    jumps.clock.behind_ms = behind_ms;
                }
            }
            Fault::Cut { link, length_ms } => self.cuts(link, length_ms),
            Fault::EpochLost(store) => self.epoch_is_lost(store),
            Fault::Invalidate { store, org, tag } => self.invalidates(store, org, tag),
            Fault::Configure => {
                self.configuration = 1 - self.configuration;
                let newest = self.configuration;
                self.sidecars.iter_mut().for_each(|sidecar| sidecar.configuration = newest);
            }
            Fault::Fund { store, org, amount, nth } => {
                let name = self.fixture.orgs.get(org).copied().unwrap_or_default();
                // Somebody who is not sure asks again, under the same key.
                let id = TransferId::of_key(name, "fund", &format!("{nth}"));
                let amount = MicroUsd::new(amount).unwrap_or_default();
                let fund = Fund { id, org: name.to_owned(), amount, note: String::new() };
                let _ = self.operate(store, &Operation::Fund(fund));
            }
            Fault::Moves { sidecar, what, nth } => self.moves(sidecar, what, nth),
            Fault::MovesAgain { sidecar, what, operation } => {
                self.moves_again(sidecar, what, &operation);
            }
            Fault::Meddle { store, which } => self.meddles(store, which),
            Fault::Heal => self.heal(),
        }
    }

    /// A hold ends once: whatever is asked of it after that, it stays as it is.
    fn meddles(&mut self, at: usize, which: usize) {
        let Some(store) = self.stores.get(at) else { return };
        let has_ended = |hold: &&Hold| match hold.state {
            State::Settled { .. }
            | State::Released
            | State::LateSettled { .. }
            | State::LateReleased => true,
            State::Open { .. } | State::Expired { .. } | State::Returned => false,
        };
        let ended: Vec<&Hold> = store.book.holds().filter(has_ended).collect();
        let Some(before) = ended.get(which % ended.len().max(1)).map(|hold| (*hold).clone()) else {
            return;
        };
        let hold = before.id;
        let actual = before.held.plus(MicroUsd::new(1).unwrap_or_default());
        let settle = Operation::Settle { hold, actual, estimated: false };
        let late = Operation::LateSettle { hold, actual, estimated: false };
        let extend = Extend { hold, total: actual, ttl: HOLD_TTL };
        for operation in [settle, late, Operation::Extend(extend), Operation::Release { hold }] {
            let _ = self.operate(at, &operation);
        }
        let after = self.stores.get(at).and_then(|store| store.book.hold(hold));
        if after != Some(&before) {
            self.breach("I4", format!("hold {} has ended and changes", hold.0.to_hex()));
        }
    }

    fn crashes(&mut self, at: usize, down_ms: u64) {
        let Some(sidecar) = self.sidecars.get_mut(at).filter(|sidecar| sidecar.is_up) else {
            return;
        };
        let was = (at, sidecar.life);
        sidecar.dies(at);
        self.tally.add("crashes");
        for call in self.calls.iter_mut().filter(|call| call.made.by == was) {
            call.is_left = true;
        }
        if self.swarm.sharing == Sharing::Own
            && let Some(store) = self.stores.get_mut(at)
        {
            store.shelf.clear();
        }
        self.breaks_lanes(was, 1);
        self.push_in(down_ms, Event::Fault(Fault::Restart(at)));
    }

    /// Whoever is on the lane of a sidecar that is gone learns it from Envoy.
    fn breaks_lanes(&mut self, was: (usize, u32), length: u64) {
        let of_it: Vec<usize> = (0..self.tries.len())
            .filter(|attempt| {
                let lane = self.tries.get(*attempt).and_then(|tried| tried.lane.as_ref());
                lane.is_some_and(|lane| (lane.sidecar, lane.life) == was)
            })
            .collect();
        for attempt in of_it {
            self.push_in(length, Event::LaneBreaks(attempt));
        }
    }

    fn restarts(&mut self, at: usize) {
        let now = self.now;
        let newest = self.configuration;
        let Some(sidecar) = self.sidecars.get_mut(at).filter(|sidecar| !sidecar.is_up) else {
            return;
        };
        sidecar.is_up = true;
        sidecar.configuration = newest;
        let reading = sidecar.clock.reading(now);
        if self.swarm.sharing == Sharing::Own
            && let Some(store) = self.stores.get_mut(at)
        {
            store.book.resume(reading);
        }
    }

    fn cuts(&mut self, link: Link, length_ms: u64) {
        if self.healed_at.is_some() {
            return;
        }
        self.cut(link, length_ms);
        let Link::Gateway(gateway) = link else { return };
        if length_ms <= KEEPALIVE_MS {
            return;
        }
        let cut_off: Vec<usize> = (0..self.tries.len())
            .filter(|attempt| {
                self.tries.get(*attempt).is_some_and(|tried| {
                    tried.gateway == gateway && tried.lane.is_some() && !tried.is_over
                })
            })
            .collect();
        for attempt in cut_off {
            self.hangs_up(attempt);
            self.push_in(KEEPALIVE_MS, Event::LaneBreaks(attempt));
        }
    }

    fn epoch_is_lost(&mut self, at: usize) {
        let regresses = self.has(Plant::TokenRegress);
        let keeps_entries = self.rng.bool();
        let is_shared = self.swarm.sharing == Sharing::Shared;
        let Some(store) = self.stores.get_mut(at).filter(|_| is_shared) else { return };
        if !regresses {
            store.epoch += 1;
        }
        store.leases.lose(store.epoch);
        store.under.clear();
        if !keeps_entries {
            store.shelf.clear();
        }
    }

    /// Durably, then for every reader, then it is acknowledged.
    fn invalidates(&mut self, at: usize, org: usize, tag: Tag) {
        if self.swarm.sharing == Sharing::Own {
            let Some(sidecar) = self.sidecars.get(at) else { return };
            if !sidecar.is_up {
                return;
            }
            if sidecar.still_until > self.now {
                let until = sidecar.still_until;
                let fault = Fault::Invalidate { store: at, org, tag };
                return self.push_at(until, Event::Fault(fault));
            }
        }
        let Some(name) = self.fixture.orgs.get(org).copied() else { return };
        let Some(store) = self.stores.get_mut(at) else { return };
        store.generation += 1;
        store.table.set(name, tag, Generation(store.generation));
        let callers = &self.fixture.callers;
        store.replies.retain(|(caller, _), _| callers.get(*caller).is_none_or(|of| of.org != org));
        // Where the store is another process, a sidecar tells its gateways when it has heard of it itself.
        if let (Sharing::Own, Some(sidecar)) = (self.swarm.sharing, self.sidecars.get_mut(at)) {
            sidecar.purged();
        }
        self.invalidated.push((self.now, org));
    }
}
