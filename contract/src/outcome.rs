//! What came of a request, for the client's headers, the logs and the metrics: two closed sets, and the
//! reference page `docs/reference/outcomes.md` that a test holds against them.

use serde::{Deserialize, Serialize};

macro_rules! closed_set {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant,)* }

        impl $name {
            /// Every member, in the order of the reference page.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word in headers, logs and metric labels.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

closed_set! {
    /// What the cache did for a request: the values of `X-Cache-Status`.
    Outcome {
        /// Served from the cache.
        Hit = "hit",
        /// Served by its own upstream call, which may fill the cache.
        Miss = "miss",
        /// Served from another request's upstream call.
        Coalesced = "coalesced",
        /// Served from an entry past its freshness, as configured.
        Stale = "stale",
        /// Not cached; checked all the same.
        Bypass = "bypass",
    }
}

closed_set! {
    /// Why: the `detail` of `Cache-Status`.
    Reason {
        /// The entry came from the worker's own memory.
        L1 = "l1",
        /// The entry came from the group's shared cache.
        Shared = "shared",
        /// The request's `Idempotency-Key` was answered before: the same reply again.
        Replayed = "replayed",
        /// No entry of this organization was made for this request.
        Request = "request",
        /// Operators only: another organization holds an entry for an equal request.
        Org = "org",
        /// An entry exists in another tier.
        Tier = "tier",
        /// An entry exists in another agent gateway group.
        Group = "group",
        /// An entry exists that is private to another gateway key.
        GatewayKey = "gateway-key",
        /// An entry exists that is private to another gateway.
        Gateway = "gateway",
        /// An entry exists for other codebases.
        Codebase = "codebase",
        /// An entry exists for another fabric artifact set.
        Fabric = "fabric",
        /// An entry exists that was made under another policy.
        Policy = "policy",
        /// An entry exists from another model, provider or endpoint.
        Model = "model",
        /// An entry exists under other entitlement tags.
        Entitlement = "entitlement",
        /// The entry's time has passed.
        Expired = "expired",
        /// The entry was made under a generation that has been invalidated.
        Generation = "generation",
        /// The database has not said for some seconds what was invalidated: nothing is read, nothing stored.
        GenerationsUnknown = "generations-unknown",
        /// The entry is older than the client's `Cache-Control: max-age` allows.
        MaxAge = "max-age",
        /// The entry is past its time; it is served while a new answer is fetched.
        Revalidating = "revalidating",
        /// The entry is past its time; it is served because the provider failed.
        UpstreamError = "upstream-error",
        /// What was stored could not be verified; it has been deleted.
        Corrupt = "corrupt",
        /// The stored answer cannot be told in the shape that was asked for.
        Shape = "shape",
        /// The store of entries did not say whether there is one.
        StoreUnavailable = "store-unavailable",
        /// An identical request was in flight; its call served this one too.
        InFlight = "in-flight",
        /// The call that this request waited for failed; it made the next one.
        Takeover = "takeover",
        /// This request waited longer than `single_flight_timeout_ms` and made its own call.
        Overflow = "overflow",
        /// What came for this key of late could not be stored: nobody waits for anybody.
        HitForMiss = "hit-for-miss",
        /// An identical request is in flight, and `single_flight_enabled` is false.
        SingleFlightOff = "single-flight-off",
        /// `workflow_cache.enabled` is false.
        Disabled = "disabled",
        /// The client sent `Cache-Control: no-cache` or `no-store`.
        ClientNoCache = "client-no-cache",
        /// The request lets the provider act (MCP servers, hosted code): its answer is nobody else's.
        SideEffects = "side-effects",
        /// The request is larger than the cache looks at.
        RequestTooLarge = "request-too-large",
        /// The sidecar could not be reached in time.
        SidecarLost = "sidecar-lost",
        /// The breaker in front of the sidecar is open.
        BreakerOpen = "breaker-open",
        /// The sidecar is shutting down.
        Draining = "draining",
        /// The sidecar is lost, and the call was counted against `wallet.open_with_cap`.
        OpenWithCap = "open-with-cap",
        /// The answer's status is not one that is stored.
        Status = "status",
        /// The answer did not arrive whole.
        Incomplete = "incomplete",
        /// The answer ended for a reason that is not stored (`length` set by the provider, `content_filter`).
        FinishReason = "finish-reason",
        /// The answer is larger than `max_entry_tokens` or the bound in bytes.
        EntryTooLarge = "entry-too-large",
        /// The provider's answer says `Cache-Control: no-store`.
        NoStore = "no-store",
        /// The last client that wanted it left.
        ClientLeft = "client-left",
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Reason {
    /// What a client may learn. That another organization asked the same is nobody else's business.
    #[must_use]
    pub const fn for_client(self) -> Self {
        if matches!(self, Self::Org) { Self::Request } else { self }
    }
}

/// The value of `Cache-Status` (RFC 9211) for an outcome: cache name, what it did, and why.
///
/// `ttl_s` is the remaining freshness of what was served, in seconds; of what is stale, how long it has been.
#[must_use]
pub fn cache_status(outcome: Outcome, reason: Reason, ttl_s: Option<u64>) -> String {
    let detail = reason.for_client().as_str();
    match (outcome, ttl_s) {
        // Negative, as RFC 9211 has it.
        (Outcome::Stale, Some(over @ 1..)) => format!("kt; hit; ttl=-{over}; detail={detail}"),
        (Outcome::Hit | Outcome::Stale, Some(ttl)) => {
            format!("kt; hit; ttl={ttl}; detail={detail}")
        }
        (Outcome::Hit | Outcome::Stale, None) => format!("kt; hit; detail={detail}"),
        (Outcome::Coalesced, _) => format!("kt; fwd=miss; collapsed; detail={detail}"),
        (Outcome::Miss, _) => format!("kt; fwd=miss; detail={detail}"),
        (Outcome::Bypass, _) => format!("kt; fwd=bypass; detail={detail}"),
    }
}

/// The value of `Cache-Status` for a request that was neither served from the cache nor forwarded.
#[must_use]
pub fn not_cached_status(reason: Reason) -> String {
    format!("kt; detail={}", reason.for_client().as_str())
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    #[wasm_bindgen_test(unsupported = test)]
    fn a_client_never_learns_of_another_organization() {
        assert_eq!(cache_status(Outcome::Miss, Reason::Org, None), "kt; fwd=miss; detail=request");
        assert_eq!(not_cached_status(Reason::Org), "kt; detail=request");
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn what_is_stale_has_no_time_left() {
        for (over, ttl) in [(0, "0"), (5, "-5")] {
            assert_eq!(
                cache_status(Outcome::Stale, Reason::Revalidating, Some(over)),
                format!("kt; hit; ttl={ttl}; detail=revalidating")
            );
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn words_are_unique() {
        let mut words: Vec<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Reason::ALL.len());
    }
}
