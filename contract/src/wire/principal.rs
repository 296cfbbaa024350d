//! The principal lookup: who stands behind a key?

use serde::{Deserialize, Serialize};

use crate::identity::Identity;
use crate::principal::{KeyHash, Principal};
use crate::snapshot::Snapshot;
use crate::time::Millis;

/// The body of `POST /v1/principal`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrincipalRequest {
    /// [`super::VERSION`].
    pub version: u16,
    /// The digest of the key, or of the identity.
    pub key: KeyHash,
    /// Who asks, where it is by a verified identity and not by a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
}

/// The body of the reply, which is 200 in every case: a 404 could come from somebody else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case", deny_unknown_fields)]
pub enum PrincipalReply {
    /// The key is valid.
    Known {
        /// What it stands for.
        principal: Principal,
        /// How old the key is, in milliseconds, for the access log. `None` of an identity, which has no age.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key_age_ms: Option<Millis>,
    },
    /// The key is valid, and its organization is a tenant: what decides about its requests is its own, and comes along.
    Tenant {
        /// What it stands for.
        principal: Principal,
        /// How old the key is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key_age_ms: Option<Millis>,
        /// In the place of the snapshot of the change feed.
        snapshot: Box<Snapshot>,
    },
    /// The key is valid, and nothing is configured for its organization.
    NoTenant,
    /// The key was revoked.
    Revoked,
    /// There never was such a key.
    Unknown,
    /// Nobody can say now: where keys are does not answer. The sidecar itself is well.
    Unavailable,
}
