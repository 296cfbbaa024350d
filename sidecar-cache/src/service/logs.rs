//! All logs that somebody writes or reads, those included that nobody may join: how much memory they take, and
//! what gives way when it is too much.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use kt_contract::time::MonoMillis;

use super::crowds::Crowds;
use super::flights::Flight;
use super::lock;
use super::log::{Charge, Total};
use super::reader::cut_short;
use crate::clock::Clock;
use crate::flight::{Load, Relief, relief};
use crate::metrics::Metrics;

/// The logs of all flights.
pub(crate) struct Logs {
    total: Arc<Total>,
    crowds: Arc<Crowds>,
    lingering: Mutex<Queue>,
    clock: Clock,
    metrics: Arc<Metrics>,
}

/// Those that have their end and are kept for those who read slowly, and since when; the oldest first.
#[derive(Default)]
struct Queue {
    next: u64,
    waiting: BTreeMap<u64, (MonoMillis, Arc<Flight>)>,
}

/// A log that is kept for those who read slowly, until this is dropped.
pub(super) struct Lingering<'a> {
    logs: &'a Logs,
    number: u64,
}

// === impl Logs ===

impl Logs {
    pub(super) fn new(
        kept_max: u64,
        crowds: Arc<Crowds>,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Self {
        let total = Arc::new(Total::new(kept_max));
        Self { total, crowds, lingering: Mutex::default(), clock, metrics }
    }

    /// For what comes of one answer to an organization.
    pub(super) fn charge(&self, org: &str) -> Charge {
        Charge::new(Arc::clone(&self.total)).of(self.crowds.bytes_of(org))
    }

    /// Whether what grows of an organization may be kept whole, of which so many bytes may be under way.
    pub(super) fn have_room_for(&self, org: &str, bytes_max: Option<u64>) -> bool {
        let is_within = |max| self.crowds.bytes_of(org).kept() <= max;
        bytes_max.is_none_or(is_within) && self.have_room()
    }

    /// From now on they may keep so much.
    pub(super) fn bound(&self, kept_max: u64) {
        self.total.bound(kept_max);
        let _ = self.have_room();
    }

    /// How many bytes they keep.
    pub(super) fn kept(&self) -> u64 {
        self.total.kept()
    }

    /// A log that has its end.
    pub(super) fn linger(&self, flight: &Arc<Flight>) -> Lingering<'_> {
        let mut lingering = lock(&self.lingering);
        let number = lingering.next;
        lingering.next += 1;
        lingering.waiting.insert(number, (self.clock.mono(), Arc::clone(flight)));
        drop(lingering);
        let _ = self.have_room();
        Lingering { logs: self, number }
    }

    /// Whether what grows may be kept whole. Makes room, where somebody lingers.
    fn have_room(&self) -> bool {
        // Most often, and without the lock.
        while self.total.is_exceeded() {
            let now = self.clock.mono();
            let mut lingering = lock(&self.lingering);
            let oldest = lingering.waiting.first_key_value();
            let load = Load {
                kept: self.total.kept(),
                kept_max: self.total.kept_max(),
                lingered: oldest.map(|(_, (since, _))| now.since(*since)),
            };
            let oldest = match relief(load) {
                Relief::None => return true,
                Relief::Stream => return false,
                Relief::SendAway => lingering.waiting.pop_first(),
            };
            // Without the lock: a log has its own.
            drop(lingering);
            let Some((_, (_, flight))) = oldest else { return false };
            self.send_away(&flight);
        }
        true
    }

    fn send_away(&self, flight: &Flight) {
        let seats = flight.log.dismiss();
        self.metrics.sent_away(seats.len() as u64);
        for seat in seats {
            seat.close(|exchange| exchange.failed(&cut_short(&seat)));
        }
    }
}

// === impl Lingering ===

impl Drop for Lingering<'_> {
    fn drop(&mut self) {
        let gone = lock(&self.logs.lingering).waiting.remove(&self.number);
        // Without the lock: it may be the last.
        drop(gone);
    }
}
