//! What is counted of flights.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::{ResultOf, SharedFlight};

/// What became of flights.
#[derive(Debug, Default)]
pub(super) struct Flown {
    pub(super) leads: Counter,
    pub(super) follows: Counter,
    pub(super) takeovers: Counter,
    pub(super) overflows: Counter,
    pub(super) hit_for_misses: Counter,
    pub(super) sent_away: Counter,
    pub(super) endings: Family<EndingOf, Counter>,
    pub(super) shared: Family<ResultOf, Counter>,
}

/// How a lease ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct EndingOf {
    pub(super) ending: &'static str,
}

// === impl Flown ===

impl Flown {
    pub(super) fn register(&self, r: &mut Registry) {
        let own = Counter::clone;
        r.register("kt_flight_leads", "Flights begun", own(&self.leads));
        r.register("kt_flight_follows", "Requests that joined a flight", own(&self.follows));
        r.register("kt_flight_takeovers", "Failed flights led anew", own(&self.takeovers));
        r.register("kt_flight_overflows", "Followers that waited too long", own(&self.overflows));
        r.register(
            "kt_flight_hit_for_misses",
            "Calls for keys that cannot be stored",
            own(&self.hit_for_misses),
        );
        r.register(
            "kt_flight_sent_away",
            "Readers whose answer broke off for want of room",
            own(&self.sent_away),
        );
        r.register("kt_flight_endings", "How leases ended", self.endings.clone());
        r.register(
            "kt_shared_flights",
            "Flights among the sidecars of a group",
            self.shared.clone(),
        );
        // From 0 on: the first one is an increase, also behind a restart.
        for what in [SharedFlight::Mismatch, SharedFlight::Corrupt] {
            drop(self.shared.get_or_create(&ResultOf { result: what.as_str() }));
        }
    }
}
