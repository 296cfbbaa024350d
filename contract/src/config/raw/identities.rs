//! `identities` as it stands in the file.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

/// One rule: an identity that Envoy has verified, and whom it stands for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Identity {
    /// The SPIFFE ID of a client certificate; a '*' after its last '/' stands for all below.
    pub(in crate::config) spiffe: Option<String>,
    /// A JWT.
    pub(in crate::config) jwt: Option<IdentityJwt>,
    /// The organization.
    pub(in crate::config) org: Option<String>,
    /// The team.
    pub(in crate::config) team: Option<String>,
    /// The claim that names the team.
    pub(in crate::config) team_claim: Option<String>,
    /// The person.
    pub(in crate::config) user: Option<String>,
    /// The claim that names the person.
    pub(in crate::config) user_claim: Option<String>,
    /// The agent.
    pub(in crate::config) agent: Option<String>,
    /// The claim that names the agent.
    pub(in crate::config) agent_claim: Option<String>,
    /// The agent gateway group. Without it, the gateway's own counts.
    pub(in crate::config) group: Option<String>,
    /// The codebases that it may ask about.
    pub(in crate::config) codebases: Option<Vec<String>>,
    /// Entitlement tags.
    pub(in crate::config) entitlements: Option<Vec<String>>,
}

/// Which JWTs.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct IdentityJwt {
    /// What `iss` is.
    pub(in crate::config) issuer: Option<String>,
    /// What `aud` has one of.
    pub(in crate::config) audiences: Option<Vec<String>>,
    /// The file of the issuer's public keys (JWKS), relative to this file. Gateways read it when they start.
    pub(in crate::config) jwks_file: Option<String>,
    /// What other claims are, by name; a '*' at the end stands for anything more.
    pub(in crate::config) claims: Option<BTreeMap<String, String>>,
}
