//! What is counted of limits on who may ask how much.

use kt_contract::problem::Crowd;
use kt_contract::rate::{Measure, Scope};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Refusals, and what nobody counts.
#[derive(Debug, Default)]
pub(super) struct Limits {
    limited: Family<Limited, Counter>,
    uncounted: Counter,
    crowded: Family<Bound, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Bound {
    bound: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Limited {
    scope: &'static str,
    measure: &'static str,
}

// === impl Limits ===

impl Limits {
    pub(super) fn register(&self, r: &mut Registry) {
        r.register(
            "kt_rate_limited",
            "Requests and calls beyond a rate limit",
            self.limited.clone(),
        );
        r.register(
            "kt_rate_limit_uncounted",
            "Requests and calls that a rate limit did not count, because too many callers are counted already",
            self.uncounted.clone(),
        );
        r.register(
            "kt_organization_full",
            "Requests beyond what their organization may have under way",
            self.crowded.clone(),
        );
    }

    pub(super) fn limited(&self, scope: Scope, measure: Measure) {
        let label = Limited { scope: scope.as_str(), measure: measure.as_str() };
        self.limited.get_or_create(&label).inc();
    }

    pub(super) fn crowded(&self, crowd: Crowd) {
        self.crowded.get_or_create(&Bound { bound: crowd.as_str() }).inc();
    }

    pub(super) fn uncounted(&self) {
        self.uncounted.inc();
    }
}
