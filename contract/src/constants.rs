//! The filter's own configuration inside Envoy: constants of one gateway, and nothing that decides about
//! requests (that is the snapshot's business, and the snapshot comes through the change feed).

use serde::{Deserialize, Serialize};

use crate::limits::ADMIT_TIMEOUT_DEFAULT;
use crate::time::Millis;
use crate::wire::feed::GatewayIdentity;

/// The plugin configuration, as JSON in Envoy's `StringValue`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilterConstants {
    /// Which gateway this is.
    pub gateway: GatewayIdentity,
    /// The Envoy cluster of the sidecar's socket, for callouts.
    pub sidecar_cluster: String,
    /// How long an admit or principal callout may take. A configuration that was written without it has the default.
    #[serde(default = "admit_timeout_default")]
    pub admit_timeout_ms: Millis,
}

const fn admit_timeout_default() -> Millis {
    ADMIT_TIMEOUT_DEFAULT
}

/// The cluster for callouts, as `kt` renders it.
pub const CLUSTER_SIDECAR: &str = "kt_sidecar";
/// The cluster for the lane: another pool, so that long answers cannot starve callouts.
pub const CLUSTER_LANE: &str = "kt_lane";
/// The prefix of provider clusters; the target's id follows.
pub const CLUSTER_PROVIDER_PREFIX: &str = "provider_";
