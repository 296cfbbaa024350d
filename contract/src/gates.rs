//! The gates of an entry: all that must be equal before one caller may be served what another paid for.
//! No gateway id among them, but for the one opt-in scope that says so in its name.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::hex::Digest;
use crate::outcome::Reason;

/// Who shares an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "tier", deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub enum Scope {
    /// Everybody of the organization within one agent gateway group.
    #[serde(rename = "org_shared_cache")]
    OrgShared {
        /// The agent gateway group, if there is one.
        group: Option<String>,
    },
    /// One gateway key only, and those that took its place.
    #[serde(rename = "private_edge_cache")]
    PrivateEdge {
        /// The public name of the key; of one that took another's place, of the first of them all.
        key_id: String,
    },
    /// One gateway only (`physical_gateway_private_cache_only: true`).
    #[serde(rename = "physical_gateway_private_cache_only")]
    PhysicalGateway {
        /// The gateway's id: the one place where it may appear.
        gateway: String,
    },
}

/// What answers: the model gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct ModelGate {
    /// The client's dialect, e.g. `openai_chat`.
    pub dialect: String,
    /// The endpoint's path, e.g. `/v1/chat/completions`.
    pub path: String,
    /// The provider, e.g. `openai`.
    pub provider: String,
    /// Where it is called, e.g. `https://api.openai.com`: what staging answered is not production's.
    pub upstream: String,
    /// The model as it is served.
    pub served_model: String,
    /// The model's version, where the configuration pins one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

// === impl ModelGate ===

impl ModelGate {
    /// Who served, as clients are told: `provider/model`.
    #[must_use]
    pub fn served_by(&self) -> String {
        format!("{}/{}", self.provider, self.served_model)
    }
}

/// All gates of a request or an entry. Stored in full with the entry and compared on every read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct Gates {
    /// The organization.
    pub org: String,
    /// Who shares.
    pub scope: Scope,
    /// The codebases in question; empty where the key names none.
    #[serde(default)]
    pub codebases: BTreeSet<String>,
    /// The version of the codebase's fabric artifact set, where one is attached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fabric: Option<String>,
    /// The digest of the effective policy.
    pub policy: Digest,
    /// What answers.
    pub model: ModelGate,
    /// Entitlement tags; only equal sets are compatible.
    #[serde(default)]
    pub entitlements: BTreeSet<String>,
}

// === impl Scope ===

impl Scope {
    /// The tier's name in the configuration.
    #[must_use]
    pub const fn tier(&self) -> &'static str {
        match self {
            Self::OrgShared { .. } => "org_shared_cache",
            Self::PrivateEdge { .. } => "private_edge_cache",
            Self::PhysicalGateway { .. } => "physical_gateway_private_cache_only",
        }
    }
}

// === impl Gates ===

impl Gates {
    /// The first gate in which `self` differs from `other`, in the order in which a reader would ask;
    /// `None` if the gates are equal.
    #[must_use]
    pub fn first_difference(&self, other: &Self) -> Option<Reason> {
        // Destructured, so that a new gate does not compile until its reason has a name.
        let Self { org, scope, codebases, fabric, policy, model, entitlements } = self;
        if *org != other.org {
            return Some(Reason::Org);
        }
        if let Some(reason) = scope_difference(scope, &other.scope) {
            return Some(reason);
        }
        [
            (*codebases != other.codebases, Reason::Codebase),
            (*fabric != other.fabric, Reason::Fabric),
            (*policy != other.policy, Reason::Policy),
            (*model != other.model, Reason::Model),
            (*entitlements != other.entitlements, Reason::Entitlement),
        ]
        .into_iter()
        .find_map(|(differs, reason)| differs.then_some(reason))
    }
}

fn scope_difference(ours: &Scope, theirs: &Scope) -> Option<Reason> {
    if ours == theirs {
        return None;
    }
    Some(match (ours, theirs) {
        (Scope::OrgShared { .. }, Scope::OrgShared { .. }) => Reason::Group,
        (Scope::PrivateEdge { .. }, Scope::PrivateEdge { .. }) => Reason::GatewayKey,
        (Scope::PhysicalGateway { .. }, Scope::PhysicalGateway { .. }) => Reason::Gateway,
        (
            Scope::OrgShared { .. } | Scope::PrivateEdge { .. } | Scope::PhysicalGateway { .. },
            Scope::OrgShared { .. } | Scope::PrivateEdge { .. } | Scope::PhysicalGateway { .. },
        ) => Reason::Tier,
    })
}
