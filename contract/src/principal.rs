//! Who asks: the principal that a gateway key stands for.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::hex::Digest;

/// The BLAKE3 digest of a whole gateway key. The key itself never leaves the filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyHash(pub Digest);

/// What a gateway key resolves to. Nothing in it comes from a client header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct Principal {
    /// The public name of the key (`gk_…`): for logs and revocation. Of who is known by a verified identity, that: a SPIFFE
    /// ID, or `jwt:ISSUER#SUBJECT`.
    pub key_id: String,
    /// Of a key that took another one's place, the public name of the first of them all. A private cache belongs to
    /// all keys of one lineage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lineage: Option<String>,
    /// The organization: the hard boundary.
    pub org: String,
    /// The team within the organization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// The person behind the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The agent that uses the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The agent gateway group; without one, the gateway's own group counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The codebases the key may ask about; a client hint may only narrow them.
    #[serde(default)]
    pub codebases: BTreeSet<String>,
    /// Entitlement tags: data residency, tier.
    #[serde(default)]
    pub entitlements: BTreeSet<String>,
}

// === impl Principal ===

impl Principal {
    /// The first of the keys that took each other's place: the scope of a private cache.
    #[must_use]
    pub fn lineage(&self) -> &str {
        self.lineage.as_deref().unwrap_or(&self.key_id)
    }
}
