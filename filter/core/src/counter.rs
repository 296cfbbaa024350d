//! What the filter counts: a closed set, every name readable without tags. Counters only, because a gauge that goes up
//! and down drifts when a VM is lost; the one that there is, is set to a moment.

/// The gauge that says when the sidecar last confirmed the snapshot of a worker: the moment of the poll, in seconds since
/// 1970. All workers set the same, so it is that of the one that heard last.
pub const SNAPSHOT_CONFIRMED: &str = "kt_filter_snapshot_confirmed_timestamp_seconds";

macro_rules! counters {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Something that is counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Counter { $($(#[$doc])* $variant,)* }

        impl Counter {
            /// Every counter, in the order of [`Counter::index`].
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The metric's name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The position in [`Counter::ALL`].
            #[must_use]
            pub const fn index(self) -> usize {
                self as usize
            }
        }
    };
}

counters! {
    /// A request was served from the cache.
    Hit = "kt_filter_requests_total.outcome.hit",
    /// A request was served by its own upstream call.
    Miss = "kt_filter_requests_total.outcome.miss",
    /// A request was served from another one's upstream call.
    Coalesced = "kt_filter_requests_total.outcome.coalesced",
    /// A request was served from an entry past its freshness.
    Stale = "kt_filter_requests_total.outcome.stale",
    /// A request was not cached.
    Bypass = "kt_filter_requests_total.outcome.bypass",
    /// A request was refused.
    Refused = "kt_filter_requests_total.outcome.refused",
    /// A client left, or Envoy ended the request, before the filter had decided.
    Left = "kt_filter_requests_total.outcome.left",
    /// Health and model lists.
    Local = "kt_filter_requests_total.outcome.local",
    /// A hit came from the worker's own memory.
    HitL1 = "kt_filter_hits_total.from.l1",
    /// A hit came with the admit callout.
    HitShared = "kt_filter_hits_total.from.shared",
    /// Refused: no key, or not a valid one.
    RefusedIdentity = "kt_filter_refused_total.why.identity",
    /// Refused: the request itself is wrong.
    RefusedRequest = "kt_filter_refused_total.why.request",
    /// Refused by a policy.
    RefusedPolicy = "kt_filter_refused_total.why.policy",
    /// Something was redacted in a request.
    Redacted = "kt_filter_policy_total.action.redact",
    /// A policy that only watches has found something in a request.
    Monitored = "kt_filter_policy_total.action.monitor",
    /// Refused: only a cached answer was wanted, and there is none.
    RefusedNotCached = "kt_filter_refused_total.why.not_cached",
    /// Refused: no snapshot, or no sidecar.
    RefusedUnavailable = "kt_filter_refused_total.why.unavailable",
    /// Refused: an event came that does not belong.
    RefusedInternal = "kt_filter_refused_total.why.internal",
    /// A principal callout was answered.
    PrincipalAnswered = "kt_filter_callouts_total.call.principal.result.answered",
    /// A principal callout was lost.
    PrincipalLost = "kt_filter_callouts_total.call.principal.result.lost",
    /// An admit callout was answered.
    AdmitAnswered = "kt_filter_callouts_total.call.admit.result.answered",
    /// An admit callout was lost.
    AdmitLost = "kt_filter_callouts_total.call.admit.result.lost",
    /// A feed poll was answered.
    FeedAnswered = "kt_filter_callouts_total.call.feed.result.answered",
    /// A feed poll was lost.
    FeedLost = "kt_filter_callouts_total.call.feed.result.lost",
    /// A callout was not made because the breaker is open.
    BreakerSkipped = "kt_filter_breaker_skipped_total",
    /// The breaker opened.
    BreakerOpened = "kt_filter_breaker_opened_total",
    /// A reply had the sidecar's marker and could not be read all the same.
    WireError = "kt_filter_wire_errors_total",
    /// The lane's answer came from Envoy and not from the sidecar.
    LaneLost = "kt_filter_lane_lost_total",
    /// A request went past the sidecar to its target: the sidecar gave no answer.
    DirectLost = "kt_filter_direct_total.why.sidecar_lost",
    /// A request went past the sidecar to its target: the breaker is open.
    DirectBreaker = "kt_filter_direct_total.why.breaker_open",
    /// A request went past the sidecar to its target: the sidecar drains.
    DirectDraining = "kt_filter_direct_total.why.draining",
    /// A call passed without the sidecar, counted against `wallet.open_with_cap`.
    OpenPassed = "kt_filter_open_calls_total.result.passed",
    /// A call did not, because the cap was reached.
    OpenCapReached = "kt_filter_open_calls_total.result.cap_reached",
    /// A call did not, because it could not be counted.
    OpenUncountable = "kt_filter_open_calls_total.result.uncountable",
    /// The sidecar has booked a batch of such calls.
    OpenBooked = "kt_filter_callouts_total.call.open_calls.result.answered",
    /// The sidecar has not, and is told again.
    OpenUnbooked = "kt_filter_callouts_total.call.open_calls.result.lost",
    /// The worker's own cache took an entry.
    L1Filled = "kt_filter_l1_filled_total",
    /// The worker's own cache was emptied.
    L1Cleared = "kt_filter_l1_cleared_total",
    /// A new snapshot is in force.
    SnapshotApplied = "kt_filter_snapshots_applied_total",
    /// An event came that does not belong.
    Unexpected = "kt_filter_unexpected_events_total",
    /// The host refused a call.
    HostRefused = "kt_filter_host_refused_total",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_stands_at_its_index_under_a_name_of_its_own() {
        for (at, counter) in Counter::ALL.iter().enumerate() {
            assert_eq!(counter.index(), at);
        }
        let names: std::collections::BTreeSet<_> =
            Counter::ALL.iter().map(|counter| counter.name()).collect();
        assert_eq!(names.len(), Counter::ALL.len());
    }
}
