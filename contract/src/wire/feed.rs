//! The change feed: one long poll per worker that carries the snapshot, revocations and invalidations, and
//! tells the sidecar which gateways are alive and where their egress listens.

use serde::{Deserialize, Serialize};

use crate::principal::KeyHash;
use crate::snapshot::Snapshot;

/// The body of `POST /v1/feed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedRequest {
    /// [`super::VERSION`].
    pub version: u16,
    /// Who polls.
    pub gateway: GatewayIdentity,
    /// The epoch of the last answer; `None` at first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<String>,
    /// The sequence number of the last answer.
    pub seq: u64,
    /// The version of the snapshot that the worker has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
}

/// A gateway as its filter's constants name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayIdentity {
    /// `gateway.id`.
    pub id: String,
    /// `gateway.role`.
    pub role: Role,
    /// `gateway.agent_gateway_group_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The path of the Unix socket on which its egress listens.
    pub egress: String,
}

/// What a gateway does in its group. All roles have equal cache rights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub enum Role {
    /// Handles most of the traffic.
    #[default]
    Primary,
    /// Handles overflow.
    Worker,
    /// Takes over when others are gone.
    Fallback,
    /// Near the users.
    Edge,
}

/// The body of the reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedReply {
    /// [`super::VERSION`].
    pub version: u16,
    /// The sidecar's identity since its start: another epoch voids what the worker holds.
    pub epoch: String,
    /// The number of the newest event that this answer covers.
    pub seq: u64,
    /// The snapshot, where the worker's is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Snapshot>,
    /// What happened since.
    #[serde(default)]
    pub events: Vec<Event>,
    /// The events since are not known any more: drop every principal and every L1 entry.
    #[serde(default)]
    pub reset: bool,
}

/// Something that voids what a worker holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Event {
    /// A key was revoked or changed: drop its principal.
    Principal {
        /// The digest of the key.
        key: KeyHash,
    },
    /// Entries were invalidated: drop all L1 entries.
    Purged,
}

impl Role {
    /// The word in configuration, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Worker => "worker",
            Self::Fallback => "fallback",
            Self::Edge => "edge",
        }
    }
}
