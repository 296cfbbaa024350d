//! What is counted of stores that are somewhere else. The store counts; it is read when somebody looks.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::store::health::{Copies, Counts, Health};

/// How stores are, and what has come of what they were asked.
#[derive(Debug, Default)]
pub(super) struct Stores {
    available: Family<Of, Gauge>,
    breaker_open: Family<Of, Gauge>,
    breaker_opened: Family<Of, Counter>,
    away_seconds: Family<Of, Counter<f64, AtomicU64>>,
    connections: Family<Of, Counter>,
    operations: Family<Ended, Counter>,
    copies: Family<Of, Gauge>,
    copy_bytes: Family<Of, Gauge>,
    copy_hits: Family<Of, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    store: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    store: &'static str,
    result: &'static str,
}

// === impl Stores ===

impl Stores {
    pub(super) fn register(&self, r: &mut Registry) {
        r.register("kt_store_available", "1 while the store answers", self.available.clone());
        r.register(
            "kt_store_breaker_open",
            "1 while the store is left alone, but for a probe each second",
            self.breaker_open.clone(),
        );
        r.register(
            "kt_store_breaker_opened",
            "How often the breaker in front of the store has opened",
            self.breaker_opened.clone(),
        );
        r.register(
            "kt_store_away_seconds",
            "For how long the store has been away",
            self.away_seconds.clone(),
        );
        r.register(
            "kt_store_connections",
            "Connections to the store that were made",
            self.connections.clone(),
        );
        r.register(
            "kt_store_operations",
            "What was asked of the store, and what came of it",
            self.operations.clone(),
        );
        r.register("kt_store_copies", "Entries of it held in memory", self.copies.clone());
        r.register("kt_store_copy_bytes", "Bytes of those entries", self.copy_bytes.clone());
        r.register(
            "kt_store_copy_hits",
            "Lookups that such an entry has answered",
            self.copy_hits.clone(),
        );
    }

    pub(super) fn set(&self, health: &Health) {
        let Health { store, away, away_total, is_asked, counts, copies, .. } = health;
        let store = store.as_str();
        let of = Of { store };
        let (Copies { entries, bytes, hits }, counts) = (*copies, *counts);
        self.available.get_or_create(&of).set(i64::from(away.is_none()));
        self.breaker_open.get_or_create(&of).set(i64::from(!is_asked));
        count(&self.breaker_opened.get_or_create(&of), counts.opened);
        let away_seconds = std::time::Duration::from_millis(away_total.0).as_secs_f64();
        let counter = self.away_seconds.get_or_create(&of);
        counter.inner().store(away_seconds.to_bits(), Ordering::Relaxed);
        count(&self.connections.get_or_create(&of), counts.connections);
        for (result, number) in results(counts) {
            count(&self.operations.get_or_create(&Ended { store, result }), number);
        }
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.copies.get_or_create(&of).set(number(entries));
        self.copy_bytes.get_or_create(&of).set(number(bytes));
        count(&self.copy_hits.get_or_create(&of), hits);
    }
}

const fn results(counts: Counts) -> [(&'static str, u64); 6] {
    let Counts { answered, late, lost, refused, malformed, skipped, connections: _, opened: _ } =
        counts;
    [
        ("answered", answered),
        ("late", late),
        ("lost", lost),
        ("refused", refused),
        ("malformed", malformed),
        ("skipped", skipped),
    ]
}

/// It was counted elsewhere, and never falls.
fn count(counter: &Counter, number: u64) {
    counter.inner().store(number, Ordering::Relaxed);
}
