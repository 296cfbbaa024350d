//! What many gateways ask of the shared store: a model of traffic over the product's own lease machine, with time as a
//! number and chance from a seed. It counts; it injects no faults.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use fastrand::Rng;
use kt_contract::hex::Digest;
use kt_contract::key::CacheKey;
use kt_contract::time::MonoMillis;
use sidecar_cache::flight::{Acquired, Epoch, Flights, Held, RENEW_EVERY, Token};

/// How many questions are asked again and again, by Zipf's law: the tenth a tenth as often as the first.
pub const QUESTIONS: u64 = 10_000;
/// So many of 1,000 requests ask what nobody asks again.
pub const UNIQUE_PERMILLE: u64 = 450;
/// How long an upstream call takes, in milliseconds: evenly from, to.
pub const CALL_MS: (u64, u64) = (1_000, 9_000);
/// How long an answer lives, in milliseconds: short, so that answers that many want are made again and again.
pub const TTL_MS: u64 = 300_000;
/// How often a second the log of a flight is written that another sidecar reads, and read by each.
pub const PIECES_PER_S: u64 = 20;

/// A group and its traffic.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// How many gateways, each with a sidecar of its own.
    pub gateways: u64,
    /// Whether their sidecars share a store; without one each has its own memory and its own flights.
    pub shares: bool,
    /// How many requests a second come to all of them.
    pub requests_per_s: u64,
    /// How long they have run before anything is counted, in seconds.
    pub warm_s: u64,
    /// How long is counted, in seconds.
    pub counted_s: u64,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Requests.
    pub requests: u64,
    /// Served from the memory of their own sidecar.
    pub memory_hits: u64,
    /// Served from the shared store.
    pub shared_hits: u64,
    /// Served by a call that was under way at their own sidecar.
    pub coalesced_here: u64,
    /// Served by a call that was under way at another sidecar.
    pub coalesced_elsewhere: u64,
    /// Upstream calls.
    pub calls: u64,
    /// Lookups in the shared store.
    pub lookups: u64,
    /// Leases asked for.
    pub leases: u64,
    /// Leases renewed.
    pub renewals: u64,
    /// Entries written.
    pub fills: u64,
    /// Pieces of logs written.
    pub appends: u64,
    /// Pieces of logs read.
    pub reads: u64,
    /// The most leases at a time.
    pub leases_at_once: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Request,
    Renewal { question: u64 },
    End { question: u64, sidecar: u64 },
}

/// A call that is under way.
struct Call {
    token: Token,
    ends_at: u64,
    /// Since when its log is written, for whoever reads it elsewhere.
    told_since: Option<u64>,
    /// The sidecars that wait for it, its own first.
    sidecars: Vec<u64>,
}

/// A group at work.
struct Fleet {
    shape: Shape,
    rng: Rng,
    now: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    numbered: u64,
    /// How often each of the questions and those before it are asked.
    weights: Vec<u64>,
    unique: u64,
    machine: Flights,
    calls: HashMap<u64, Call>,
    /// What is under way or waited for, by sidecar.
    here: HashSet<(u64, u64)>,
    /// Until when the memory of a sidecar has which answer.
    memory: HashMap<(u64, u64), u64>,
    /// Until when the shared store has it.
    store: HashMap<u64, u64>,
    load: Load,
}

/// Runs a group, and says what it asked of whom.
#[must_use]
pub fn run(shape: Shape, seed: u64) -> Load {
    let mut fleet = Fleet::new(shape, seed);
    let warm_ms = shape.warm_s * 1_000;
    let end_ms = warm_ms + shape.counted_s * 1_000;
    let mut is_warm = false;
    fleet.at(0, Event::Request);
    while let Some(Reverse((at, _, event))) = fleet.events.pop() {
        if at >= end_ms {
            break;
        }
        if !is_warm && at >= warm_ms {
            (is_warm, fleet.load) = (true, Load::default());
        }
        fleet.now = at;
        fleet.happens(event);
    }
    fleet.load
}

// === impl Fleet ===

impl Fleet {
    fn new(shape: Shape, seed: u64) -> Self {
        let mut sum = 0;
        let weights = (1..=QUESTIONS).map(|rank| {
            sum += 1_000_000_000 / rank;
            sum
        });
        Self {
            shape,
            rng: Rng::with_seed(seed),
            now: 0,
            events: BinaryHeap::new(),
            numbered: 0,
            weights: weights.collect(),
            unique: QUESTIONS,
            machine: Flights::new(Epoch(1)),
            calls: HashMap::new(),
            here: HashSet::new(),
            memory: HashMap::new(),
            store: HashMap::new(),
            load: Load::default(),
        }
    }

    fn at(&mut self, at: u64, event: Event) {
        self.numbered += 1;
        self.events.push(Reverse((at, self.numbered, event)));
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Request => {
                let mean_us = 1_000_000 / self.shape.requests_per_s;
                // As many as come within this millisecond; the next one is never far.
                let count = (1_000 / mean_us.max(1)).max(1);
                for _ in 0..count {
                    self.request();
                }
                let next = self.now + (mean_us * count).div_ceil(1_000).max(1);
                self.at(next, Event::Request);
            }
            Event::Renewal { question } => self.renews(question),
            Event::End { question, sidecar } => self.ends(question, sidecar),
        }
    }

    fn question(&mut self) -> u64 {
        if self.rng.u64(0..1_000) < UNIQUE_PERMILLE {
            self.unique += 1;
            return self.unique;
        }
        let sum = self.weights.last().copied().unwrap_or(1);
        let chosen = self.rng.u64(0..sum);
        self.weights.partition_point(|weight| *weight <= chosen) as u64
    }

    fn request(&mut self) {
        let (sidecar, question) = (self.rng.u64(0..self.shape.gateways), self.question());
        self.load.requests += 1;
        if self.memory.get(&(sidecar, question)).is_some_and(|until| *until > self.now) {
            self.load.memory_hits += 1;
        } else if self.here.contains(&(sidecar, question)) {
            self.load.coalesced_here += 1;
        } else if self.shape.shares {
            self.asks_the_store(sidecar, question);
        } else {
            self.load.calls += 1;
            self.here.insert((sidecar, question));
            let ends_at = self.now + self.rng.u64(CALL_MS.0..CALL_MS.1);
            self.at(ends_at, Event::End { question, sidecar });
        }
    }

    fn asks_the_store(&mut self, sidecar: u64, question: u64) {
        self.load.lookups += 1;
        if let Some(until) = self.store.get(&question).filter(|until| **until > self.now) {
            self.load.shared_hits += 1;
            // A copy lives no longer than what it is a copy of.
            self.memory.insert((sidecar, question), *until);
            return;
        }
        self.load.leases += 1;
        self.here.insert((sidecar, question));
        match self.machine.acquire(key(question), MonoMillis(self.now)) {
            Acquired::Lead(token, _) => {
                // Who leads looks once more: somebody may have filled in between.
                self.load.lookups += 1;
                self.load.calls += 1;
                let ends_at = self.now + self.rng.u64(CALL_MS.0..CALL_MS.1);
                let sidecars = vec![sidecar];
                self.calls.insert(question, Call { token, ends_at, told_since: None, sidecars });
                self.at(self.now + RENEW_EVERY.0, Event::Renewal { question });
                self.at(ends_at, Event::End { question, sidecar });
                let at_once = self.calls.len() as u64;
                self.load.leases_at_once = self.load.leases_at_once.max(at_once);
            }
            Acquired::Follow(_) | Acquired::HitForMiss | Acquired::Full | Acquired::Mute => {
                self.load.coalesced_elsewhere += 1;
                let Some(call) = self.calls.get_mut(&question) else { return };
                call.told_since.get_or_insert(self.now);
                call.sidecars.push(sidecar);
                self.load.reads += pieces(self.now, call.ends_at);
            }
        }
    }

    fn renews(&mut self, question: u64) {
        let Some(call) = self.calls.get(&question) else { return };
        if self.machine.renew(&key(question), call.token, MonoMillis(self.now)) == Held::Current {
            self.load.renewals += 1;
            self.at(self.now + RENEW_EVERY.0, Event::Renewal { question });
        }
    }

    fn ends(&mut self, question: u64, sidecar: u64) {
        let is_asked_again = question < QUESTIONS;
        let until = self.now + TTL_MS;
        let waited = match self.calls.remove(&question) {
            None => vec![sidecar],
            Some(call) => {
                let _: Held = self.machine.fill(&key(question), call.token, MonoMillis(self.now));
                self.load.fills += 1;
                self.load.appends += call.told_since.map_or(0, |since| pieces(since, call.ends_at));
                if is_asked_again {
                    self.store.insert(question, until);
                }
                call.sidecars
            }
        };
        for sidecar in waited {
            self.here.remove(&(sidecar, question));
            if is_asked_again {
                self.memory.insert((sidecar, question), until);
            }
        }
    }
}

fn pieces(from: u64, to: u64) -> u64 {
    to.saturating_sub(from) * PIECES_PER_S / 1_000 + 1
}

fn key(question: u64) -> CacheKey {
    let mut bytes = [0; 32];
    bytes.iter_mut().zip(question.to_be_bytes()).for_each(|(byte, of)| *byte = of);
    CacheKey(Digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(gateways: u64, shares: bool) -> Load {
        run(Shape { gateways, shares, requests_per_s: 100, warm_s: 30, counted_s: 30 }, 7)
    }

    #[test]
    fn however_many_gateways_there_are_a_group_that_shares_calls_no_more_often() {
        let calls = [1, 10, 100].map(|gateways| load(gateways, true).calls);
        assert!(calls.iter().all(|count| count.abs_diff(calls[0]) * 20 < calls[0]), "{calls:?}");
        assert!(load(100, false).calls > calls[2] * 5 / 4);
    }

    #[test]
    fn every_request_is_counted_once() {
        for (gateways, shares) in [(1, true), (10, true), (10, false)] {
            let load = load(gateways, shares);
            let hits = load.memory_hits + load.shared_hits;
            let coalesced = load.coalesced_here + load.coalesced_elsewhere;
            assert_eq!(load.requests, hits + coalesced + load.calls);
        }
    }
}
