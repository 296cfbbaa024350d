//! What is counted of traces.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::{Metrics, ResultOf};

/// Spans by what became of them.
#[derive(Debug, Default)]
pub(super) struct Traces {
    spans: Family<ResultOf, Counter>,
}

// === impl Traces ===

impl Traces {
    pub(super) fn register(&self, r: &mut Registry) {
        r.register(
            "kt_spans",
            "Spans for OpenTelemetry, by what became of them",
            self.spans.clone(),
        );
    }
}

// === impl Metrics ===

impl Metrics {
    /// What became of so many spans.
    pub fn spans_exported(&self, result: &'static str, spans: u64) {
        self.traces.spans.get_or_create(&ResultOf { result }).inc_by(spans);
    }
}
