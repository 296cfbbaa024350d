//! What has come of all that a Redis was asked.

use std::sync::atomic::{AtomicU64, Ordering};

use redis::Value;

use super::fault::Fault;

/// What has happened since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Commands that were answered as they should be.
    pub answered: u64,
    /// Connections that were made.
    pub connections: u64,
    /// Commands that got no answer in time.
    pub late: u64,
    /// Commands that were lost with their connection, or for which none could be made.
    pub lost: u64,
    /// Commands that Redis refused: out of memory, no permission.
    pub refused: u64,
    /// Commands whose answers made no sense.
    pub malformed: u64,
    /// Commands that were not sent because the breaker was open, or too many were under way.
    pub skipped: u64,
    /// How often the breaker has opened.
    pub opened: u64,
}

/// The counters.
#[derive(Default)]
pub(super) struct Counters {
    answered: AtomicU64,
    connections: AtomicU64,
    late: AtomicU64,
    lost: AtomicU64,
    refused: AtomicU64,
    malformed: AtomicU64,
    skipped: AtomicU64,
    opened: AtomicU64,
}

// === impl Counters ===

impl Counters {
    pub(super) fn read(&self) -> Counts {
        let Self { answered, connections, late, lost, refused, malformed, skipped, opened } = self;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            answered: read(answered),
            connections: read(connections),
            late: read(late),
            lost: read(lost),
            refused: read(refused),
            malformed: read(malformed),
            skipped: read(skipped),
            opened: read(opened),
        }
    }

    /// A command has ended.
    pub(super) fn ended(&self, answer: &Result<Value, Fault>) {
        match answer {
            Ok(_) => add(&self.answered),
            Err(Fault::Late) => add(&self.late),
            Err(Fault::Lost(_) | Fault::Elsewhere(_)) => add(&self.lost),
            Err(Fault::Refused(_)) => add(&self.refused),
            Err(Fault::Malformed(_)) => add(&self.malformed),
            Err(Fault::NoScript | Fault::Skipped | Fault::Crowded) => {}
        }
    }

    /// A connection was made.
    pub(super) fn connected(&self) {
        add(&self.connections);
    }

    /// A command was not sent.
    pub(super) fn skipped(&self) {
        add(&self.skipped);
    }

    /// The breaker has opened.
    pub(super) fn opened(&self) {
        add(&self.opened);
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
