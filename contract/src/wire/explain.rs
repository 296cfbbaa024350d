//! Explain, for operators, on the admin socket only: the gates of a request, the key, and what a lookup says.

use serde::{Deserialize, Serialize};

use crate::gates::Gates;
use crate::key::{CacheKey, CheckHash};
use crate::outcome::{Outcome, Reason};

/// The body of `POST /v1/explain`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct ExplainRequest {
    /// The public name of the gateway key under which to ask.
    pub key_id: String,
    /// The gateway at which to ask; it matters only for the group and the physical tier.
    pub gateway: super::feed::GatewayIdentity,
    /// The path, e.g. `/v1/chat/completions`.
    pub path: String,
    /// The value of `x-kt-codebase`, if any.
    #[serde(default)]
    pub codebase: Option<String>,
    /// The request's headers that are in the key (`openai-beta`), by name; others are ignored.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// The request body as text.
    pub body: String,
}

/// The body of the reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct ExplainReply {
    /// What the same request would get now: hit, miss or bypass.
    pub outcome: Outcome,
    /// Why. Names another organization, which a client never learns.
    pub reason: Reason,
    /// The request's gates.
    pub gates: Gates,
    /// The key.
    pub key: CacheKey,
    /// The check hash.
    pub check: CheckHash,
    /// The target that a miss would call.
    pub target: String,
    /// The gates of the nearest entry, where the answer is a miss and there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest: Option<Gates>,
    /// What the gateway's policies find in this request and let go on, as logs have it: `pii-detector:email:redact`. Services
    /// that judge requests (`external`) are not asked, and of a request that is blocked only the refusal is told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guardrails: Vec<String>,
    /// Every part of the policy that only watches (`action: monitor`), and what: `pii-detector:phone (input, output)`,
    /// `toxicity-filter (output)`. It refuses and changes nothing, and is in no policy gate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub watched: Vec<String>,
}
