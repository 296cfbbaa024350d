//! What has come of all that a Redis was asked.

use std::sync::atomic::{AtomicU64, Ordering};

use redis::Value;

use super::fault::Fault;
use crate::store::health::Counts;

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
            Err(Fault::Refused(_) | Fault::Moving(_)) => add(&self.refused),
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
