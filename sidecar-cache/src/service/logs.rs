//! All logs that somebody writes or reads, those included that nobody may join: how much memory they take.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::flights::Flight;
use super::lock;

/// The logs of all flights.
#[derive(Default)]
pub(crate) struct Logs {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    flights: BTreeMap<u64, Arc<Flight>>,
}

/// Counts a log until it is dropped.
pub(super) struct Counted {
    logs: Arc<Logs>,
    number: u64,
}

// === impl Logs ===

impl Logs {
    /// Counts the log of a flight.
    pub(super) fn count(self: &Arc<Self>, flight: &Arc<Flight>) -> Counted {
        let mut state = lock(&self.state);
        let number = state.next;
        state.next += 1;
        state.flights.insert(number, Arc::clone(flight));
        Counted { logs: Arc::clone(self), number }
    }

    /// How many bytes they keep.
    pub(super) fn kept(&self) -> u64 {
        // Without the lock: a log has its own.
        let flights: Vec<_> = lock(&self.state).flights.values().map(Arc::clone).collect();
        flights.iter().map(|flight| flight.log.kept()).sum()
    }
}

// === impl Counted ===

impl Drop for Counted {
    fn drop(&mut self) {
        let flight = lock(&self.logs.state).flights.remove(&self.number);
        // Without the lock: it may be the last.
        drop(flight);
    }
}
