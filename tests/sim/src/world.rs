//! A world: everything that there is, one queue of what happens next, and no other source of time or chance than
//! its seed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use fastrand::Rng;
use kt_contract::key::CacheKey;
use kt_contract::money::MicroUsd;
use kt_contract::time::Millis;
use sidecar_cache::ledger::TransferId;

use crate::client::{Ask, Try};
use crate::event::{Event, Fault, Hears, Link, Timer};
use crate::fixture::Fixture;
use crate::flight::Flight;
use crate::gateway::Gateway;
use crate::judge::Breach;
use crate::plant::Plant;
use crate::provider::Call;
use crate::sidecar::Sidecar;
use crate::store::Store;
use crate::swarm::{Sharing, Swarm};
use crate::tally::Tally;
use crate::trace::Trace;

/// After so many steps a world is held to be one that does not end.
const STEPS_MAX: u64 = 400_000;

/// Everything.
#[derive(Debug)]
pub(crate) struct World<'a> {
    pub(crate) fixture: &'a Fixture,
    pub(crate) plant: Option<Plant>,
    pub(crate) rng: Rng,
    pub(crate) swarm: Swarm,
    pub(crate) now: u64,
    pub(crate) trace: Trace,
    pub(crate) breach: Option<Breach>,
    pub(crate) asks: Vec<Ask>,
    pub(crate) tries: Vec<Try>,
    pub(crate) gateways: Vec<Gateway>,
    pub(crate) sidecars: Vec<Sidecar>,
    pub(crate) stores: Vec<Store>,
    pub(crate) flights: Vec<Flight>,
    pub(crate) calls: Vec<Call>,
    /// What of an organization was invalidated, and when that was acknowledged.
    pub(crate) invalidated: Vec<(u64, usize)>,
    /// Which of the two configurations is in force.
    pub(crate) configuration: usize,
    /// When all faults ended.
    pub(crate) healed_at: Option<u64>,
    /// The keys that were counted, by caller, question and policy.
    pub(crate) keys: BTreeMap<(usize, u32, [u8; 32]), CacheKey>,
    /// What of each allotment was given out: its sidecar knows that without asking, and gives out no more than there is.
    pub(crate) given_out: BTreeMap<TransferId, MicroUsd>,
    /// When the last request ended.
    pub(crate) ended_at: u64,
    /// How often what happened, by name.
    pub(crate) tally: Tally,
    cuts: Vec<(Link, u64)>,
    queue: BinaryHeap<Reverse<Due>>,
    serial: u64,
}

#[derive(Debug)]
struct Due {
    at: u64,
    /// When it was due at first: who stands still finds things in their order.
    first: u64,
    serial: u64,
    event: Event,
}

// === impl Due ===

impl Due {
    const fn order(&self) -> (u64, u64, u64) {
        (self.at, self.first, self.serial)
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

// === impl World ===

impl<'a> World<'a> {
    /// The world of a seed, before anything has happened in it.
    #[must_use]
    pub(crate) fn new(fixture: &'a Fixture, seed: u64, plant: Option<Plant>, tells: bool) -> Self {
        let mut rng = Rng::with_seed(seed);
        let swarm = Swarm::new(&mut rng);
        let mut world = Self {
            fixture,
            plant,
            rng,
            swarm,
            now: 0,
            trace: Trace::new(tells),
            breach: None,
            asks: Vec::new(),
            tries: Vec::new(),
            gateways: Vec::new(),
            sidecars: Vec::new(),
            stores: Vec::new(),
            flights: Vec::new(),
            calls: Vec::new(),
            invalidated: Vec::new(),
            configuration: 0,
            healed_at: None,
            keys: BTreeMap::new(),
            given_out: BTreeMap::new(),
            ended_at: 0,
            tally: Tally::default(),
            cuts: Vec::new(),
            queue: BinaryHeap::new(),
            serial: 0,
        };
        let swarm = format!("{:?}", world.swarm);
        world.trace.say(0, || swarm);
        world.populate();
        world.schedule();
        world
    }

    /// Lets everything happen, or until something is wrong.
    pub(crate) fn run(&mut self) {
        while self.breach.is_none() {
            let Some(Reverse(due)) = self.queue.pop() else { break };
            self.now = self.now.max(due.at);
            if let Some(until) = self.stands_still(&due.event) {
                self.queue.push(Reverse(Due { at: until, ..due }));
                continue;
            }
            self.trace.step(self.now, &due.event.mark());
            self.happens(due.event);
            self.look_at_leases();
            if self.trace.steps() > STEPS_MAX {
                self.breach("liveness", "the world does not come to an end".to_owned());
            }
        }
        if self.breach.is_none() {
            self.judge_the_end();
        }
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Asks(ask) => self.asks_again(ask),
            Event::Leaves(attempt) => self.leaves(attempt),
            Event::CalloutEnds { attempt, serial, spoken } => {
                self.callout_ends(attempt, serial, spoken.as_deref());
            }
            Event::PollEnds { gateway, serial, spoken } => {
                self.poll_ends(gateway, serial, spoken.as_deref());
            }
            Event::Polls(gateway) => self.polls(gateway),
            Event::LaneBreaks(attempt) => self.lane_breaks(attempt),
            Event::Sidecar { at, life, hears } => self.sidecar_hears(at, life, hears),
            Event::Store { at, from, asked } => self.store_hears(at, from, asked),
            Event::CallComes(call) => self.call_comes(call),
            Event::CallGoesOn(call) => self.call_goes_on(call),
            Event::Fault(fault) => self.goes_wrong(fault),
        }
    }

    /// Until when the one whom an event concerns stands still.
    fn stands_still(&self, event: &Event) -> Option<u64> {
        let at = match event {
            Event::Sidecar { at, .. } => *at,
            // It is in the same process.
            Event::Store { from: (at, _), .. } if self.swarm.sharing == Sharing::Own => *at,
            Event::Store { .. }
            | Event::Asks(_)
            | Event::Leaves(_)
            | Event::CalloutEnds { .. }
            | Event::PollEnds { .. }
            | Event::LaneBreaks(_)
            | Event::Polls(_)
            | Event::CallComes(_)
            | Event::CallGoesOn(_)
            | Event::Fault(_) => return None,
        };
        self.sidecars.get(at).map(|sidecar| sidecar.still_until).filter(|until| *until > self.now)
    }

    /// Whether a bug is planted.
    pub(crate) fn has(&self, plant: Plant) -> bool {
        self.plant == Some(plant)
    }

    /// Something must not be.
    pub(crate) fn breach(&mut self, rule: &'static str, what: String) {
        self.trace.say(self.now, || format!("BREACH of {rule}: {what}"));
        self.breach.get_or_insert(Breach { rule, what, at_ms: self.now });
    }

    /// Says something, for whoever replays.
    pub(crate) fn say(&mut self, words: impl FnOnce() -> String) {
        self.trace.say(self.now, words);
    }

    /// Whether something with this chance, in thousandths, happens.
    pub(crate) fn chance(&mut self, chance: u32) -> bool {
        chance > 0 && self.rng.u32(0..1_000) < chance
    }

    pub(crate) fn push_at(&mut self, at: u64, event: Event) {
        self.serial += 1;
        let at = at.max(self.now);
        self.queue.push(Reverse(Due { at, first: at, serial: self.serial, event }));
    }

    pub(crate) fn push_in(&mut self, length: u64, event: Event) {
        self.push_at(self.now + length, event);
    }

    /// Sends a message, which may be lost, come twice, or late.
    pub(crate) fn send(&mut self, link: Link, event: Event) {
        // A socket on the same machine loses less than a network does, or nobody would get beyond the breaker.
        let (loss, late) = match link {
            Link::Gateway(_) => (self.swarm.loss / 4, self.swarm.late / 4),
            Link::Store(_) => (self.swarm.loss, self.swarm.late),
        };
        if self.is_cut(link) || self.chance(loss) {
            self.say(|| format!("lost on the way: {}", event.words()));
            self.tally.add("messages lost");
            return;
        }
        if self.chance(self.swarm.double) {
            self.tally.add("messages doubled");
            let length = self.rng.u64(1..3_000);
            self.push_in(length, event.clone());
        }
        let mut length = self.rng.u64(1..=3);
        if self.chance(late) {
            length += self.rng.u64(0..2_500);
        }
        self.push_in(length, event);
    }

    /// Wakes a sidecar up in its present life, after so long by its own clock.
    pub(crate) fn wake_in(&mut self, at: usize, length: Millis, timer: Timer) {
        let Some(sidecar) = self.sidecars.get(at) else { return };
        let (length, life) = (sidecar.clock.real(length), Some(sidecar.life));
        self.push_in(length, Event::Sidecar { at, life, hears: Hears::Timer(timer) });
    }

    /// Whether nothing gets through on a link.
    pub(crate) fn is_cut(&self, link: Link) -> bool {
        self.cuts.iter().any(|(cut, until)| *cut == link && *until > self.now)
    }

    pub(crate) fn cut(&mut self, link: Link, length: u64) {
        self.cuts.push((link, self.now + length));
    }

    /// Nothing goes wrong any more.
    pub(crate) fn heal(&mut self) {
        self.healed_at = Some(self.now);
        self.swarm.heal();
        self.cuts.clear();
        let down: Vec<usize> = (0..self.sidecars.len())
            .filter(|at| self.sidecars.get(*at).is_some_and(|sidecar| !sidecar.is_up))
            .collect();
        for at in down {
            self.goes_wrong(Fault::Restart(at));
        }
    }

    fn look_at_leases(&mut self) {
        let of_sidecars = self.sidecars.iter_mut().map(|sidecar| &mut sidecar.leases);
        let of_stores = self.stores.iter_mut().map(|store| &mut store.leases);
        let found = of_sidecars.chain(of_stores).find_map(|leases| leases.breach.take());
        if let Some(what) = found {
            self.breach("leases", what.to_owned());
        }
    }
}
