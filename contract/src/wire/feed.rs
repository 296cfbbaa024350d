//! The change feed: one long poll per worker that carries the snapshot, revocations and invalidations, and
//! tells the sidecar which gateways are alive, where their egress listens, and what their workers served from
//! their own memory.

use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

use crate::money::MicroUsd;
use crate::principal::KeyHash;
use crate::snapshot::Snapshot;
use crate::wire::admit::SavedTokens;

/// The body of `POST /v1/feed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedRequest {
    /// [`super::VERSION`].
    pub version: u16,
    /// Who polls.
    pub gateway: GatewayIdentity,
    /// Which of the gateway's workers: random, and another one for each life of a VM. A gateway runs a version when
    /// all its workers do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// The epoch of the last answer; `None` at first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<String>,
    /// The sequence number of the last answer.
    pub seq: u64,
    /// The version of the snapshot that the worker has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// What the worker served from its own memory, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hits: Option<HitBatch>,
}

/// Hits of a worker's own memory, which the sidecar has not seen otherwise. A batch is sent under one number
/// and unchanged until a poll that carries it is answered, so a number that was counted once is skipped; the
/// next batch has the next number. Numbers begin at 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HitBatch {
    /// The life of a worker: the request id of the first hit that it reports. A VM that is made anew has another.
    pub worker: String,
    /// The number of the batch in that life.
    pub number: u64,
    /// The hits, at most [`crate::limits::HIT_COUNTS_MAX`] kinds.
    pub counts: Vec<HitCount>,
    /// The requests that policies did not let pass: the sidecar has not seen them either.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocks: Vec<BlockCount>,
    /// The requests that the filter has refused and the sidecar has not seen, for the audit log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<Refusal>,
    /// How many more there were, for which there was no room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusals_lost: Option<NonZeroU64>,
}

/// A request that a filter has refused by itself, or several of a kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// The request's id; the first one's, where it stands for several.
    pub request_id: String,
    /// The public name of its key; `None` where it had no good one. Who stands behind it, the sidecar knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// The model that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The status of the refusal.
    pub status: u16,
    /// Its code.
    pub code: String,
    /// What policies found: `policy:what:action`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
    /// How many requests it stands for: those without a good key are told together, since anybody can send them, and
    /// those of a key for which there is no room one by one.
    pub times: u64,
}

/// Requests that one policy did not let pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockCount {
    /// The policy's name in the chain.
    pub policy: String,
    /// How many.
    pub count: u64,
}

/// Hits of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HitCount {
    /// The public name of the key that asked.
    pub key_id: String,
    /// The model that was asked for.
    pub model: String,
    /// The provider that had answered.
    pub provider: String,
    /// How many.
    pub count: u64,
    /// What calls in their place would have cost, all together: what the admit that brought the entry had said of
    /// one, for each of them.
    pub saved_micro_usd: MicroUsd,
    /// The tokens that they would have used, by the same word.
    pub saved_tokens: SavedTokens,
}

/// A gateway as its filter's constants name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
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
    /// What is configured for an organization has changed, or is gone: drop its principals.
    Tenant {
        /// The organization.
        org: String,
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
