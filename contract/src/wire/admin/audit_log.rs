//! The audit log on the admin socket: its heads, whether it holds, its records.

use serde::{Deserialize, Serialize};

use crate::hex::Digest;
use crate::time::UnixMillis;

/// How many records an answer has at most.
pub const RECORDS_MAX: usize = 1_000;

/// The answer to `GET /v1/audit-log`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct AuditHeads {
    /// When they were read.
    pub at: UnixMillis,
    /// The newest record of every chain, by organization.
    pub chains: Vec<AuditHead>,
}

/// The newest record of a chain. Its hash stands for all before it: written down elsewhere, it proves later that
/// nothing of them was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct AuditHead {
    /// Whose chain; empty for requests of which nobody knows whose they are.
    pub org: String,
    /// The record's number.
    pub seq: u64,
    /// Its hash.
    pub hash: Digest,
    /// The last record that retention has removed; 0: none.
    #[serde(default)]
    pub removed_through: u64,
}

/// What a verification is to compare with: `POST /v1/audit-log/verify`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct AuditNotes {
    /// Of one organization; of all where nobody says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org: Option<String>,
    /// Heads that were written down elsewhere.
    #[serde(default)]
    pub heads: Vec<AuditHead>,
}

/// The answer to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct AuditVerified {
    /// Chains that hold.
    pub verified: Vec<VerifiedChain>,
    /// Chains that do not.
    pub broken: Vec<BrokenChain>,
}

/// A chain that holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct VerifiedChain {
    /// Whose.
    pub org: String,
    /// How many records are kept.
    pub records: u64,
    /// The last record that retention has removed, as a record says; 0: none.
    pub removed_through: u64,
    /// The number of the newest record.
    pub seq: u64,
    /// Its hash.
    pub hash: Digest,
    /// How many heads that were written down elsewhere are in it.
    pub confirmed: u64,
}

/// A chain that does not hold, and where it breaks first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct BrokenChain {
    /// Whose.
    pub org: String,
    /// At which record.
    pub seq: u64,
    /// What is wrong there, in a stable word.
    pub code: String,
    /// The same for people.
    pub message: String,
}

/// A record: a line of `GET /v1/audit-log/records`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct AuditRecord {
    /// Its number in the organization's chain, from 1, without gaps.
    pub seq: u64,
    /// When it happened.
    pub at: UnixMillis,
    /// Whose.
    pub org: String,
    /// `asked`: before anything was done for a request; `ended`: what became of it; `checkpoint`: retention has removed
    /// records.
    pub kind: String,
    /// The request's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The gateway that took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// The public name of the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// The key's team.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// The key's user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The key's agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// `hit`, `stale`, `miss`, `coalesced`, `bypass`, `blocked` or `refused`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Why the cache did what it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The HTTP status; 499 where the client had left before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The code of a refusal or a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What policies found: `policy:entity:action`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
    /// What the call behind it has cost whoever asked, as far as that was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_micro_usd: Option<u64>,
    /// How many requests it stands for.
    pub times: u64,
    /// Of a checkpoint: the last record that was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed_through: Option<u64>,
    /// Of a checkpoint: that record's hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed_hash: Option<Digest>,
    /// Follows from the record before it and from what this one says.
    pub hash: Digest,
}

// === impl AuditRecord ===

impl AuditRecord {
    /// One that is about no request yet.
    #[must_use]
    pub const fn new(seq: u64, at: UnixMillis, org: String, hash: Digest) -> Self {
        Self {
            seq,
            at,
            org,
            kind: String::new(),
            request_id: None,
            gateway: None,
            key_id: None,
            team: None,
            user: None,
            agent: None,
            model: None,
            provider: None,
            outcome: None,
            reason: None,
            status: None,
            code: None,
            policies: Vec::new(),
            cost_micro_usd: None,
            times: 0,
            removed_through: None,
            removed_hash: None,
            hash,
        }
    }
}
