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
    uncounted: Family<Missed, Counter>,
    crowded: Family<Bound, Counter>,
}

/// Why a rate limit does not count a request or a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uncounted {
    /// Too many callers are counted already.
    Full,
    /// The store in which several sidecars count together has no answer.
    StoreUnavailable,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Missed {
    reason: &'static str,
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
        // There from the start, so that the first one is an increase.
        for why in [Uncounted::Full, Uncounted::StoreUnavailable] {
            _ = self.uncounted.get_or_create(&Missed { reason: why.as_str() });
        }
        r.register(
            "kt_rate_limited",
            "Requests and calls beyond a rate limit",
            self.limited.clone(),
        );
        r.register(
            "kt_rate_limit_uncounted",
            "Requests, calls and corrections that a rate limit did not count",
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

    pub(super) fn uncounted(&self, why: Uncounted) {
        self.uncounted.get_or_create(&Missed { reason: why.as_str() }).inc();
    }
}

// === impl Uncounted ===

impl Uncounted {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::StoreUnavailable => "store-unavailable",
        }
    }
}
