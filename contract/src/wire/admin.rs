//! What operators and a sidecar say to each other, on the admin socket only: status, gateway keys, the cache.
//! JSON over HTTP/1.1; a refusal is an [`ErrorReply`] with a fitting status.

pub mod audit_log;
pub mod endpoint;
#[cfg(feature = "config")]
pub mod openapi;
pub mod savings;
pub mod versions;
pub mod wallet;

use serde::{Deserialize, Serialize};

use crate::gates::Gates;
use crate::key::CacheKey;
use crate::principal::Principal;
use crate::snapshot::Tier;
use crate::time::UnixMillis;

use super::feed::GatewayIdentity;
use versions::ConfigStatus;

/// `GET`: [`StatusReply`].
pub const PATH_STATUS: &str = "/v1/status";
/// `GET`: [`versions::VersionsReply`], and [`versions::VersionReply`] at `<this>/{version}`; `POST`:
/// [`versions::ApplyRequest`] to [`versions::ApplyReply`].
pub const PATH_CONFIG: &str = "/v1/config";
/// `POST`: [`versions::RollbackRequest`] to [`versions::ApplyReply`].
pub const PATH_ROLLBACK: &str = "/v1/config/rollback";
/// `POST`: [`KeyRequest`] to [`KeyCreated`]; `GET`: [`KeyList`]; `POST <this>/{key_id}/revoke`: [`KeyEntry`];
/// `POST <this>/{key_id}/rotate`: [`KeyRotation`] to [`KeyRotated`].
pub const PATH_KEYS: &str = "/v1/keys";
/// `POST`: [`super::explain::ExplainRequest`] to [`super::explain::ExplainReply`].
pub const PATH_EXPLAIN: &str = "/v1/explain";

/// `POST`: [`InvalidateRequest`] to [`InvalidateReply`].
pub const PATH_INVALIDATE: &str = "/v1/invalidate";
/// `GET`: [`CacheStatsReply`].
pub const PATH_STATS: &str = "/v1/cache";
/// `POST`: [`EntryRequest`] to [`EntryReply`].
pub const PATH_ENTRY: &str = "/v1/cache/entry";

/// How a sidecar is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub enum Condition {
    /// All is well.
    Ok,
    /// It serves, and somebody should look: with the last good configuration, because the file has an error or
    /// needs a restart; without a wallet that an audit has frozen; without a store that is away; or on what it
    /// remembers of a database that does not answer.
    Degraded,
    /// It finishes what it has and takes nothing new.
    Draining,
}

/// The answer to `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct StatusReply {
    /// How the sidecar is.
    pub status: Condition,
    /// The sidecar's version.
    pub version: String,
    /// The identity of the sidecar since its start.
    pub epoch: String,
    /// The version of the configuration that is live.
    pub config: ConfigStatus,
    /// The version of the snapshot that is published.
    pub snapshot: String,
    /// Why a newer configuration is not: everything that is wrong with the file.
    #[serde(default)]
    pub config_errors: Vec<String>,
    /// What the last audit of the ledger found. Every wallet that it is about is frozen; the others go on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wallet_errors: Vec<String>,
    /// That the database which sidecars share does not answer, and what follows from it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub database_errors: Vec<String>,
    /// Which stores are away, since when and why. Requests are served all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub store_errors: Vec<String>,
    /// The stores that are somewhere else, as this sidecar sees them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stores: Vec<StoreStatus>,
    /// On a hosted gateway, how many tenants are served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenants: Option<u64>,
    /// What is wrong with tenants' files. Each of them is about one tenant, whose last good one stays in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tenant_errors: Vec<String>,
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

/// A store that is somewhere else, as the sidecar sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct StoreStatus {
    /// Which it is.
    pub store: StoreKind,
    /// Which one, or where it is. No login is told.
    pub place: String,
    /// What is wrong with it: that it is away, since when and why; or that it will not do. `None`: it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// What it says of itself: its version, and of a Redis how much it may hold and what it evicts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub says: Option<String>,
    /// What its owner should change, though it serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// Which store it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub enum StoreKind {
    /// A Redis.
    Redis,
    /// A Postgres.
    Postgres,
}

// === impl StoreKind ===

impl StoreKind {
    /// Its word, as in metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Postgres => "postgres",
        }
    }
}

/// One gateway as the sidecar sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct GatewayStatus {
    /// Who it is.
    pub gateway: GatewayIdentity,
    /// The version of the snapshot that its workers said they have; of several that differ, one that is behind.
    /// `None` before it has one.
    pub snapshot: Option<String>,
    /// The version of the configuration that this is of; `None` where the sidecar does not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
    /// How many of its workers poll.
    pub workers: u64,
    /// How many of these have another version than the one that is live.
    pub workers_behind: u64,
    /// Whether it is there.
    pub state: Presence,
    /// How long ago it polled last.
    pub last_seen_ms: u64,
}

/// Whether a gateway is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub enum Presence {
    /// It polls.
    Live,
    /// It has not polled for a while: it has died, or cannot reach the sidecar.
    Lost,
}

/// The body of `POST /v1/keys`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct KeyCreated {
    /// The public name of the key.
    pub key_id: String,
    /// The key.
    pub key: String,
}

/// The answer to `GET /v1/keys`, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct KeyList {
    /// Every key there ever was.
    pub keys: Vec<KeyEntry>,
}

/// One gateway key, without the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct KeyEntry {
    /// What it stands for.
    pub principal: Principal,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When it was revoked, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<UnixMillis>,
    /// When it ends or has ended, where another key took its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<UnixMillis>,
    /// The key that took its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub successor: Option<String>,
}

/// How long an old key stays valid beside its successor, where nobody says.
pub const OVERLAP_SECONDS: u64 = 86_400;
/// How long it may at most: 90 days.
pub const OVERLAP_SECONDS_MAX: u64 = 90 * 86_400;

/// The body of `POST /v1/keys/{key_id}/rotate`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct KeyRotation {
    /// How long the old key stays valid, in seconds: 86400 where nobody says, 7776000 at most; with 0 it ends at once.
    #[serde(default = "overlap_seconds")]
    pub overlap_seconds: u64,
}

/// The answer to `POST /v1/keys/{key_id}/rotate`: the only time that the new key itself is shown, but for a question
/// that is asked again under the same `Idempotency-Key` within ten minutes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct KeyRotated {
    /// The public name of the new key.
    pub key_id: String,
    /// The new key.
    pub key: String,
    /// The public name of the old one.
    pub replaces: String,
    /// When the old one ends.
    pub ends_at: UnixMillis,
}

const fn overlap_seconds() -> u64 {
    OVERLAP_SECONDS
}

/// The body of `POST /v1/invalidate`: an organization, and exactly one of the others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct InvalidateRequest {
    /// The organization. Nothing reaches beyond one.
    pub org: String,
    /// What was made for a codebase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codebase: Option<String>,
    /// What was made with a version of a fabric artifact set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fabric: Option<String>,
    /// What a served model answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What was made under a policy, by its digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// One entry, by its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Everything of the organization.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
}

/// The answer to `POST /v1/invalidate`. From here on nothing that was made before is served by the sidecar, even
/// after a restart; gateways hear of it with the change feed, within a second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct InvalidateReply {
    /// The organization.
    pub org: String,
    /// What was invalidated: `org`, `codebase`, `fabric`, `model`, `policy` or `entry`.
    pub kind: String,
    /// Its name; `None` for all of the organization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its generation from now on: larger than every one before, of anything.
    pub generation: u64,
    /// Entries that were removed at once; the others go when somebody asks for them, or for want of room.
    pub entries_dropped: u64,
    /// Entries that the organization still holds, be they invalid.
    pub entries_held: u64,
}

/// The answer to `GET /v1/cache`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct CacheStatsReply {
    /// Entries held, expired and invalid ones that nobody has asked for included.
    pub entries: u64,
    /// Their bytes.
    pub entry_bytes: u64,
    /// Entries that went for want of room, since the start.
    pub evicted: u64,
    /// Entries that were found expired, since the start.
    pub expired: u64,
    /// Lookups that found what could be told, since the start; those of workers' own memories included.
    pub hits: u64,
    /// Lookups that did not.
    pub misses: u64,
    /// Keys in flight.
    pub flights: u64,
    /// Tags with a generation: what was ever invalidated, less what a later invalidation of all covers.
    pub invalidated_tags: u64,
    /// The newest generation; 0 where nothing was ever invalidated.
    pub generation: u64,
    /// What each organization holds, by name.
    pub orgs: Vec<OrgEntries>,
}

/// What one organization holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct OrgEntries {
    /// Its name.
    pub org: String,
    /// Its entries.
    pub entries: u64,
    /// Their bytes.
    pub entry_bytes: u64,
}

/// The body of `POST /v1/cache/entry`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct EntryRequest {
    /// The organization whose entry it is.
    pub org: String,
    /// Its key.
    pub key: String,
    /// Whether the answer itself is wanted too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub body: bool,
}

/// An entry as it is stored, verified. Asking for it changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct EntryReply {
    /// Its key.
    pub key: CacheKey,
    /// The gates that a reader must equal.
    pub gates: Gates,
    /// Whether nothing that it belongs to was invalidated since it was asked for: only then it is served.
    pub is_current: bool,
    /// The generations that it was made under: organization, model, policy, entry, fabric if there is one,
    /// codebases.
    pub generations: Vec<u64>,
    /// When it was filled.
    pub created_at: UnixMillis,
    /// How long ago that is.
    pub age_ms: u64,
    /// How long it stays fresh; 0 where it is stale.
    pub fresh_ms: u64,
    /// How long it has been stale; 0 where it is fresh.
    pub stale_ms: u64,
    /// The shape in which the provider answered.
    pub shape: StoredShape,
    /// What it took, where the provider said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<StoredUsage>,
    /// `provider/model` that answered.
    pub served_by: String,
    /// The length of the answer.
    pub body_bytes: u64,
    /// The answer, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// The shape of a stored answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub enum StoredShape {
    /// One JSON object.
    Json,
    /// A server-sent event stream.
    Sse,
}

/// What an answer took, as its provider told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct StoredUsage {
    /// Tokens of the request.
    pub input_tokens: u64,
    /// Of those, the ones that the provider's prompt cache had.
    pub cache_read_tokens: u64,
    /// Of those, the ones that the provider's prompt cache took.
    pub cache_write_tokens: u64,
    /// Tokens of the answer.
    pub output_tokens: u64,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct ErrorReply {
    /// What is wrong.
    pub error: ErrorBody,
}

/// What is wrong, for machines and for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
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

// === impl KeyRotated ===

impl std::fmt::Debug for KeyRotated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyRotated")
            .field("key_id", &self.key_id)
            .field("replaces", &self.replaces)
            .field("ends_at", &self.ends_at)
            .finish_non_exhaustive()
    }
}
