//! What operators and a sidecar say to each other, on the admin socket only: status and gateway keys.
//! JSON over HTTP/1.1; a refusal is an [`ErrorReply`] with a fitting status.

use serde::{Deserialize, Serialize};

use crate::principal::Principal;
use crate::snapshot::Tier;
use crate::time::UnixMillis;

use super::feed::GatewayIdentity;

/// `GET`: [`StatusReply`].
pub const PATH_STATUS: &str = "/v1/status";
/// `POST`: [`KeyRequest`] to [`KeyCreated`]; `GET`: [`KeyList`]; `POST <this>/{key_id}/revoke`: [`KeyEntry`].
pub const PATH_KEYS: &str = "/v1/keys";
/// `POST`: [`super::explain::ExplainRequest`] to [`super::explain::ExplainReply`].
pub const PATH_EXPLAIN: &str = "/v1/explain";

/// How a sidecar is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// All is well.
    Ok,
    /// It serves, with the last good configuration: the file has an error, or needs a restart.
    Degraded,
    /// It finishes what it has and takes nothing new.
    Draining,
}

/// The answer to `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReply {
    /// How the sidecar is.
    pub status: Condition,
    /// The sidecar's version.
    pub version: String,
    /// The identity of the sidecar since its start.
    pub epoch: String,
    /// The version of the snapshot that is published.
    pub snapshot: String,
    /// Why a newer configuration is not: everything that is wrong with the file.
    #[serde(default)]
    pub config_errors: Vec<String>,
    /// `workflow_cache.enabled`.
    pub cache_enabled: bool,
    /// The tier of every request.
    pub tier: Tier,
    /// Whether fabric context is attached to requests.
    pub fabric_attached: bool,
    /// Entries held, and their bytes.
    pub entries: u64,
    /// The bytes of the entries.
    pub entry_bytes: u64,
    /// The gateways that have polled the change feed, by id. One that is lost is forgotten after ten minutes.
    pub gateways: Vec<GatewayStatus>,
}

/// One gateway as the sidecar sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayStatus {
    /// Who it is.
    pub gateway: GatewayIdentity,
    /// The version of the snapshot it said it has; `None` before it has one.
    pub snapshot: Option<String>,
    /// Whether it is there.
    pub state: Presence,
    /// How long ago it polled last.
    pub last_seen_ms: u64,
}

/// Whether a gateway is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// It polls.
    Live,
    /// It has not polled for a while: it has died, or cannot reach the sidecar.
    Lost,
}

/// The body of `POST /v1/keys`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRequest {
    /// See [`Principal::org`].
    pub org: String,
    /// See [`Principal::team`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// See [`Principal::user`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// See [`Principal::agent`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// See [`Principal::group`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// See [`Principal::codebases`].
    #[serde(default)]
    pub codebases: Vec<String>,
    /// See [`Principal::entitlements`].
    #[serde(default)]
    pub entitlements: Vec<String>,
}

/// The answer to `POST /v1/keys`: the only time the key itself is shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyCreated {
    /// The public name of the key.
    pub key_id: String,
    /// The key.
    pub key: String,
}

/// The answer to `GET /v1/keys`, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyList {
    /// Every key there ever was.
    pub keys: Vec<KeyEntry>,
}

/// One gateway key, without the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyEntry {
    /// What it stands for.
    pub principal: Principal,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When it was revoked, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<UnixMillis>,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReply {
    /// What is wrong.
    pub error: ErrorBody,
}

/// What is wrong, for machines and for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// Stable.
    pub code: String,
    /// What happened and what to do.
    pub message: String,
}

// === impl KeyCreated ===

impl std::fmt::Debug for KeyCreated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyCreated").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}
