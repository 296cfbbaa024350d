//! Admit: may this request be served from the cache, and if not, under which ticket may it take the lane?
//! A pure read: nothing is acquired, so a client that leaves here leaves nothing behind.

use serde::{Deserialize, Serialize};

use crate::gates::Gates;
use crate::hex::Digest;
use crate::identity::Identity;
use crate::key::{CacheKey, CheckHash, RequestDigests};
use crate::money::MicroUsd;
use crate::outcome::Reason;
use crate::principal::KeyHash;
use crate::trace::TraceParent;

/// The body of `POST /v1/admit`. A filter may have its `plan` written already: it is the same each time that the same
/// caller asks the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdmitRequest<P = Plan> {
    /// [`super::VERSION`].
    pub version: u16,
    /// Minted by the filter: 32 hexadecimal digits.
    pub request_id: String,
    /// The gateway that asks: whose egress makes the call, and where a ticket is valid. Never in a key.
    pub gateway: String,
    /// Whose request it is. The sidecar resolves it again.
    pub principal: KeyHash,
    /// The identity that this is the digest of, where it is not of a key's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// BLAKE3 of the body as it will be forwarded.
    pub body: Digest,
    /// Whether the request has an `Idempotency-Key`: then it takes the lane, even to a hit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_keyed: bool,
    /// Why the cache must not be used, if it must not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bypass: Option<Reason>,
    /// How the client limits what may serve it.
    #[serde(default, skip_serializing_if = "Control::is_free")]
    pub control: Control,
    /// The client's span that it is part of. Never in a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceParent>,
    /// What the filter has made of the request.
    pub plan: P,
}

/// What a filter has made of a request: a function of its head, its body, its caller, the gateway and the snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The version of the snapshot by which the filter has decided. The sidecar decides the rest by the configuration
    /// that this snapshot is of.
    pub snapshot: String,
    /// The gates, in full.
    pub gates: Gates,
    /// The digests of the canonical request.
    pub request: RequestDigests,
    /// The key that the filter computed; the sidecar computes it again.
    pub key: CacheKey,
    /// The independent check hash.
    pub check: CheckHash,
    /// The id of the primary target.
    pub target: String,
    /// The shape in which the client wants the answer.
    pub reply: ReplyShape,
    /// Whether the client itself set the length limit, so that an answer ended by it is complete.
    pub client_limited: bool,
    /// What policies have found in the request, each as `policy:what:action`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guardrails: Vec<String>,
}

/// What the client's `Cache-Control` asks of an entry; `no-cache` and `no-store` are a bypass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// `max-age`: an older entry does not serve it; the answer to the call that it leads to is filled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_s: Option<u64>,
    /// `only-if-cached`: no upstream call is made for it; where no entry serves it, the decision is
    /// [`Admitted::NotCached`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub only_if_cached: bool,
}

/// The shape in which a client wants its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplyShape {
    /// One JSON object.
    Json,
    /// A server-sent event stream.
    Sse {
        /// Whether the client asked for the usage chunk.
        include_usage: bool,
    },
}

/// Tokens of calls that were not made, because their answers were there or came with another call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedTokens {
    /// Of the prompts, whatever a provider's own prompt cache would have done with them.
    pub input: u64,
    /// Of the answers.
    pub output: u64,
}

/// The decision, in the header [`super::headers::ADMIT`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "snake_case", deny_unknown_fields)]
pub enum Admitted {
    /// The reply's body is the answer.
    Hit {
        /// Its content type.
        content_type: String,
        /// How long ago the entry was made, in seconds.
        age_s: u64,
        /// How long it stays fresh, in milliseconds: a worker's own cache keeps it no longer.
        fresh_ms: u64,
        /// `provider/model` that served it.
        served_by: String,
        /// What a call would have cost by now. `None` where the entry has no usage, or its model no price.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        saved_micro_usd: Option<MicroUsd>,
        /// The tokens that a call would have used, where the entry has a usage.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        saved_tokens: Option<SavedTokens>,
    },
    /// The request takes the lane.
    Lane {
        /// Random, single use, bound to request, principal and key.
        ticket: String,
        /// Why it was no inline hit.
        reason: Reason,
    },
    /// The principal is not known, or not any more.
    Unauthenticated {
        /// Whether the key was valid once.
        revoked: bool,
    },
    /// Nothing is configured for the organization of this key any more, on a hosted gateway.
    NoTenant,
    /// The request asked for [`Control::only_if_cached`], and no entry serves it.
    NotCached {
        /// Why there is none.
        reason: Reason,
    },
    /// The sidecar is shutting down.
    Draining,
}

// === impl Control ===

impl Control {
    /// Whether the client asks for nothing.
    #[must_use]
    pub const fn is_free(&self) -> bool {
        let Self { max_age_s, only_if_cached } = self;
        max_age_s.is_none() && !*only_if_cached
    }
}

// === impl SavedTokens ===

impl SavedTokens {
    /// Both together; what cannot be counted stays at the most that can.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            input: self.input.saturating_add(other.input),
            output: self.output.saturating_add(other.output),
        }
    }
}
