//! The part of the configuration that decides about requests, as the sidecar publishes it through the
//! change feed. The filter's Envoy configuration holds constants only; everything else is here.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::hex::Digest;
use crate::identity::Wanted;
use crate::money::MicroUsd;
use crate::policy::{Chain, ModelAllowlist, RequestShape};

/// How much of a snapshot's version is about its rules.
pub const RULES_CHARS: usize = 16;

/// What a filter needs to decide about requests. At most [`SNAPSHOT_BYTES_MAX`](crate::limits::SNAPSHOT_BYTES_MAX) as JSON,
/// which the check of the configuration sees to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// Changes whenever anything else in here does: [`RULES_CHARS`] hexadecimal digits of a digest of the rules that
    /// requests are decided by, and as many of one of all the rest. What it says by itself: [`Snapshot::has_rules_of`].
    pub version: String,
    /// Bounds on requests.
    pub limits: RequestLimits,
    /// How the cache is used.
    pub cache: CacheSettings,
    /// What serves which model. Of many snapshots that say the same of it, one table may be kept.
    pub models: Arc<ModelTable>,
    /// The effective policy.
    pub policy: PolicySettings,
    /// What to do when the sidecar cannot be reached.
    pub on_sidecar_loss: OnSidecarLoss,
    /// What to find out about clients without a gateway key; `None` where they are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identities: Option<Wanted>,
    /// `wallet.open_with_cap`: what may be spent without the sidecar all the same; `None`: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_with_cap: Option<OpenWithCap>,
}

/// What a gateway may spend while its sidecar cannot be reached, and nobody knows what a call costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenWithCap {
    /// How much, in one process of Envoy, until the sidecar has booked it.
    pub max_micro_usd: MicroUsd,
    /// What each call is counted as.
    pub micro_usd_per_call: MicroUsd,
}

/// Bounds on requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestLimits {
    /// The largest body.
    pub request_bytes_max: u64,
    /// How deep its JSON may nest.
    pub json_depth_max: usize,
    /// How many values its JSON may hold.
    pub json_nodes_max: usize,
}

/// How the cache is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheSettings {
    /// `workflow_cache.enabled`.
    pub enabled: bool,
    /// The tier of every request.
    pub tier: Tier,
    /// Bytes that each worker's own cache may hold; 0 turns it off.
    pub l1_bytes_max: u64,
}

/// Who shares entries; see [`crate::gates::Scope`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub enum Tier {
    /// Organization and agent gateway group.
    #[serde(rename = "org_shared_cache")]
    OrgShared,
    /// Organization and gateway key.
    #[serde(rename = "private_edge_cache")]
    PrivateEdge,
    /// Organization and gateway.
    #[serde(rename = "physical_gateway_private_cache_only")]
    PhysicalGateway,
}

/// What serves which model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelTable {
    /// Sorted by `model`; each model once.
    pub routes: Vec<ModelRoute>,
}

/// The target of one model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelRoute {
    /// The model as clients name it.
    pub model: String,
    /// The target's id: the egress route and the direct route carry it.
    pub target: String,
    /// The provider's name.
    pub provider: String,
    /// The target's address, part of the model gate.
    pub upstream: String,
    /// The version the configuration pins, part of the model gate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// The effective policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicySettings {
    /// The policy gate: a digest of everything in the policy that can change an answer.
    pub digest: Digest,
    /// The status of a block; 409 as the seeds have it.
    pub block_status: u16,
    /// `model-allowlist`: `None` where the chain has no such policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_allowlist: Option<ModelAllowlist>,
    /// `request-limits`: bounds on what a request asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_limits: Option<RequestShape>,
    /// The policies that read texts, in their order.
    #[serde(default, skip_serializing_if = "Chain::is_empty")]
    pub chain: Chain,
}

/// What the filter does when the sidecar cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub enum OnSidecarLoss {
    /// The primary target is called directly: uncached, still authenticated and checked.
    Direct,
    /// 503 with `Retry-After`.
    Unavailable,
}

// === impl Snapshot ===

impl Snapshot {
    /// Whether the snapshot of this version has the same rules: what it blocks or changes in a request, this one does too.
    #[must_use]
    pub fn has_rules_of(&self, version: &str) -> bool {
        version == self.version || {
            let rules = version.get(..RULES_CHARS);
            rules.is_some() && rules == self.version.get(..RULES_CHARS)
        }
    }
}

// === impl ModelTable ===

impl ModelTable {
    /// The route of `model`.
    #[must_use]
    pub fn route(&self, model: &str) -> Option<&ModelRoute> {
        let at = self.routes.binary_search_by(|route| route.model.as_str().cmp(model)).ok()?;
        self.routes.get(at)
    }
}
