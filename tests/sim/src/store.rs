//! Stores. In a world where each sidecar has its own, what is in here is on its disk, but for entries and leases,
//! which go with its process; where all share one, it is the strict store that all of them ask.

use std::collections::BTreeMap;
use std::rc::Rc;

use kt_contract::time::Millis;
use sidecar_cache::flight::{Acquired, Ending, FlightId, Held};
use sidecar_cache::freshness::lifetime;
use sidecar_cache::generation::{Generation, Table};
use sidecar_cache::idempotency::Fingerprint;
use sidecar_cache::ledger::{Made, Operation, Receipt};

use crate::book::Book;
use crate::clocks::Clock;
use crate::event::{Asked, Event, Hears, LeaseAnswer, LeaseQuestion, Link};
use crate::fixture::TTL_MS;
use crate::leases::{Leased, Leases};
use crate::plant::Plant;
use crate::shelf::Shelf;
use crate::swarm::Sharing;
use crate::world::World;

/// A store.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) clock: Clock,
    pub(crate) book: Book,
    pub(crate) table: Table,
    pub(crate) generation: u64,
    pub(crate) shelf: Shelf,
    /// The leases that sidecars share.
    pub(crate) leases: Leases,
    /// The newest generation under which each lease was taken.
    pub(crate) under: BTreeMap<kt_contract::key::CacheKey, (Generation, FlightId)>,
    pub(crate) epoch: u64,
    /// What is remembered for an `Idempotency-Key`, by caller and key.
    pub(crate) replies: BTreeMap<(usize, String), Reply>,
}

/// An answer that is told again.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) status: u16,
    pub(crate) body: Rc<[u8]>,
}

// === impl Store ===

impl Store {
    /// An empty one.
    pub(crate) fn new(clock: Clock, plant: Option<Plant>) -> Self {
        Self {
            clock,
            book: Book::new(clock.reading(0), plant),
            table: Table::default(),
            generation: 0,
            shelf: Shelf::default(),
            leases: Leases::new(1),
            under: BTreeMap::new(),
            epoch: 1,
            replies: BTreeMap::new(),
        }
    }
}

// === impl World ===

impl World<'_> {
    pub(crate) fn store_hears(&mut self, at: usize, from: (usize, u32), asked: Asked) {
        let is_there = self.sidecars.get(from.0).is_some_and(|sidecar| sidecar.life == from.1);
        if self.swarm.sharing == Sharing::Own && !is_there {
            // What waited for the disk has gone with the process.
            return;
        }
        let hears = match asked {
            Asked::Ledger { ask, operation } => {
                let answer = self.operate(at, &operation);
                Hears::Ledger { ask, answer }
            }
            Asked::Lease { flight, attempt, key, question } => {
                let Some(answer) = self.leases_out(at, key, question) else { return };
                Hears::Lease { flight, attempt, answer }
            }
        };
        let answers = Event::Sidecar { at: from.0, life: Some(from.1), hears };
        self.send(Link::Store(from.0), answers);
    }

    pub(crate) fn operate(
        &mut self,
        at: usize,
        operation: &Operation,
    ) -> Result<Receipt, sidecar_cache::ledger::Refused> {
        let now = self.now;
        let is_careless = self.has(Plant::SettleTwice);
        let clock = self.clock_of(at);
        let Some(store) = self.stores.get_mut(at) else {
            return Err(sidecar_cache::ledger::Refused::NotFound);
        };
        let answer = store.book.operate((clock.reading(now), now), operation);
        if let (Operation::Settle { hold, .. }, Ok(Receipt { made: Made::Exists, .. }), true) =
            (operation, &answer, is_careless)
        {
            store.book.post_again(*hold);
        }
        let wrong = store.book.wrong();
        let words = || format!("ledger: {} {answer:?}", word(operation));
        self.trace.say(now, words);
        if let Some((rule, what)) = wrong {
            self.breach(rule, what);
        }
        answer
    }

    /// The clock by which a store lives: its sidecar's, where it is in the same process.
    pub(crate) fn clock_of(&self, store: usize) -> Clock {
        let own = self.sidecars.get(store).filter(|_| self.swarm.sharing == Sharing::Own);
        let of_store = || self.stores.get(store).map(|store| store.clock);
        own.map(|sidecar| sidecar.clock).or_else(of_store).unwrap_or(Clock {
            base_ms: 0,
            pace: 1_000,
            behind_ms: 0,
        })
    }

    fn leases_out(
        &mut self,
        at: usize,
        key: kt_contract::key::CacheKey,
        question: LeaseQuestion,
    ) -> Option<LeaseAnswer> {
        let now = self.now;
        let is_careless = self.has(Plant::NoFence);
        let store = self.stores.get_mut(at)?;
        let mono = store.clock.mono(now);
        match question {
            LeaseQuestion::Acquire(newest) => {
                // A lease that was taken before something was invalidated is for those who wait for it.
                if let Some((under, id)) = store.under.get(&key).copied()
                    && under < newest
                {
                    store.leases.void(&key, id);
                }
                store.leases.renewed(&key, newest);
                Some(match store.leases.acquire(key, mono) {
                    Ok((leased, id)) => {
                        store.under.insert(key, (newest, id));
                        LeaseAnswer::Lead(leased)
                    }
                    Err(Acquired::Follow(id)) => {
                        // Who follows asks again, and holds no place here.
                        store.leases.leave(&key, id);
                        LeaseAnswer::Follow
                    }
                    Err(Acquired::HitForMiss) => LeaseAnswer::HitForMiss,
                    Err(Acquired::Full | Acquired::Mute | Acquired::Lead(..)) => {
                        LeaseAnswer::Follow
                    }
                })
            }
            LeaseQuestion::Renew(leased) => {
                let _ = store.leases.renew(&key, leased, mono);
                None
            }
            LeaseQuestion::End { leased, how, under } => {
                let _ = match how {
                    Ending::Uncacheable => store.leases.end_uncacheable(key, leased, (mono, under)),
                    Ending::Filled
                    | Ending::Found
                    | Ending::Refused
                    | Ending::Blocked
                    | Ending::Failed
                    | Ending::NotStored
                    | Ending::Cancelled
                    | Ending::Unpaid
                    | Ending::Followed => store.leases.abandon(&key, leased),
                };
                None
            }
            LeaseQuestion::Fill { leased, bytes, call } => {
                let is_current = store.leases.is_current(&key, leased, mono);
                let fills = store.leases.fill(&key, leased, mono) == Held::Current || is_careless;
                if fills {
                    self.stores_entry(at, (key, bytes.to_vec()), (call, is_current));
                }
                Some(LeaseAnswer::Filled(fills))
            }
        }
    }

    /// An entry is written. What may not be is found out here, whoever reads it or not.
    pub(crate) fn stores_entry(
        &mut self,
        at: usize,
        (key, bytes): (kt_contract::key::CacheKey, Vec<u8>),
        (call, is_current): (usize, bool),
    ) {
        self.judge_fill((key, &bytes), call, is_current);
        let mono = self.clock_of(at).mono(self.now);
        let fresh = lifetime(Millis(TTL_MS), &key);
        if let Some(store) = self.stores.get_mut(at) {
            store.shelf.fill(key, bytes, (mono, fresh));
        }
        self.say(|| format!("store {at}: the answer of call {call} is stored"));
        self.tally.add("fills");
    }

    /// Asks the lease store that all sidecars share.
    pub(crate) fn asks_lease(&mut self, flight: usize, question: LeaseQuestion) {
        let Some(of) = self.flights.get(flight) else { return };
        let (at, life, key, attempt) = (of.sidecar, of.life, of.key, of.attempt);
        let Some(store) = self.sidecars.get(at).map(|sidecar| sidecar.store) else { return };
        let asked = Asked::Lease { flight, attempt, key, question };
        self.send(Link::Store(at), Event::Store { at: store, from: (at, life), asked });
    }

    /// The shared lease of a flight, while it has one.
    pub(crate) fn shared(&self, flight: usize) -> Option<Leased> {
        self.flights.get(flight)?.shared
    }
}

/// An operation in a word.
pub(crate) const fn word(operation: &Operation) -> &'static str {
    match operation {
        Operation::Fund(_) => "fund",
        Operation::Reserve(_) => "reserve",
        Operation::Extend(_) => "extend",
        Operation::Settle { .. } => "settle",
        Operation::Release { .. } => "release",
        Operation::Expire { .. } => "expire",
        Operation::LateSettle { .. } => "late settle",
        Operation::Return { .. } => "return",
        Operation::Refund(_) => "refund",
        Operation::Adjust(_) => "adjust",
        Operation::Allocate(_) => "allocate",
        Operation::Draw(_) => "draw",
        Operation::OpenCalls(_) => "open calls",
    }
}
