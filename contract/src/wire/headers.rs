//! The names of headers, inside and outside.

/// Everything with this prefix is ours: stripped from what a client sends, and from what a provider answers.
pub const INTERNAL_PREFIX: &str = "x-kt-";

/// On every reply of a sidecar: the wire version. Without it, Envoy spoke and not the sidecar.
pub const MARKER: &str = "x-kt-wire";
/// The decision of an admit reply, as JSON; the reply's body is the inline hit, if there is one.
pub const ADMIT: &str = "x-kt-admit";
/// Set by the filter, matched and removed by Envoy: `sidecar`, or `direct-<target id>`.
pub const LANE: &str = "x-kt-lane";
/// The ticket of a request on the lane.
pub const TICKET: &str = "x-kt-ticket";
/// On the egress listener: the id of the target.
pub const TARGET: &str = "x-kt-target";

/// Set by nobody, and stripped from what a client sends: the route under which a body comes in names it.
pub const UNDECIDED: &str = "x-kt-undecided";

/// A client's hint that narrows the codebases of its key.
pub const CODEBASE: &str = "x-kt-codebase";

/// A client's own name for its request: see [`crate::idempotency`]. Goes to the sidecar, and to no provider.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Where the request stands in a trace, as the W3C's Trace Context writes it.
pub const TRACE_PARENT: &str = "traceparent";

/// The request id: minted by the filter, answered to the client, sent to the provider.
pub const REQUEST_ID: &str = "x-request-id";
/// Whether the reply is the one that the same `Idempotency-Key` got before: `true`, or not there.
pub const IDEMPOTENT_REPLAYED: &str = "idempotent-replayed";
/// hit, miss, coalesced, stale or bypass.
pub const CACHE_STATUS_SHORT: &str = "x-cache-status";
/// RFC 9211.
pub const CACHE_STATUS: &str = "cache-status";
/// Whether fabric context was attached.
pub const FABRIC_ATTACHED: &str = "x-fabric-attached";
/// The provider and model that served, as `provider/model`.
pub const SERVED_BY: &str = "x-kt-served-by";
/// What the call that made an answer has cost whoever asked, in dollars: `0.000005`; nothing for what came from the
/// cache or from another request's call. Not on what is not known at the head.
pub const COST_USD: &str = "x-kt-cost-usd";
/// What a call of its own would have cost, in dollars, on an answer from the cache or from another request's call.
pub const SAVED_USD: &str = "x-kt-saved-usd";
/// What of a provider's answer a client may see, whichever way the answer came: everything else in its head
/// is about the account behind the gateway. Who adds one here is told by the sidecar's compiler errors.
pub const FROM_PROVIDER: [&str; 5] =
    ["content-type", "content-encoding", "retry-after", "retry-after-ms", SHOULD_RETRY];
/// `false` on refusals that a retry cannot help; on a provider's own, what the provider says.
pub const SHOULD_RETRY: &str = "x-should-retry";

/// The lane value that leads to the sidecar.
pub const LANE_SIDECAR: &str = "sidecar";
/// The prefix of lane values that lead directly to a target.
pub const LANE_DIRECT_PREFIX: &str = "direct-";
