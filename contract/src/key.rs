//! The cache key: what a request is filed under. Five gates and the request, and no gateway.
//!
//! BLAKE3, keyed per organization, over length-prefixed fields. A second hash, under another key and over the
//! other half of the request's digest, is stored with the entry and compared on every read.
//! `docs/reference/cache-key.md` has the layout, `tests/fixtures/keys` published vectors.

mod buffered;

use serde::{Deserialize, Serialize};

use self::buffered::Buffered;
use crate::fields::Fields;
use crate::gates::{Gates, ModelGate, Scope};
use crate::hex::Digest;
use crate::json::Node;

/// The version of the key's layout. Part of every key: another layout is another cache.
pub const KEY_VERSION: u8 = 1;

/// The contexts from which the keys of an organization are derived.
mod context {
    pub(super) const REQUEST: &str = "kt 2026-11 cache v1 request";
    pub(super) const KEY: &str = "kt 2026-11 cache v1 key";
    pub(super) const CHECK: &str = "kt 2026-11 cache v1 check";
    pub(super) const ENTRY: &str = "kt 2026-11 cache v1 entry mac";
    pub(super) const REPLY: &str = "kt 2026-11 idempotency v1 reply";
}

/// What an entry is filed under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct CacheKey(pub Digest);

/// The independent hash of the same gates and request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct CheckHash(pub Digest);

/// The digests of a canonical request, without its gates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestDigests {
    /// Enters the key; also finds the nearest entry when a lookup misses.
    pub digest: Digest,
    /// Enters the check hash.
    pub check: Digest,
}

/// The hashing keys of one organization. Equal requests of two organizations share nothing, not even a digest.
pub struct OrgKeys {
    request: [u8; 32],
    key: [u8; 32],
    check: [u8; 32],
    /// For the MAC of stored entries.
    entry: [u8; 32],
    /// For what is kept of requests with an `Idempotency-Key`.
    reply: [u8; 32],
}

// === impl OrgKeys ===

impl OrgKeys {
    /// Derives the keys of `org`.
    #[must_use]
    pub fn derive(org: &str) -> Self {
        let key = |context| blake3::derive_key(context, org.as_bytes());
        Self {
            request: key(context::REQUEST),
            key: key(context::KEY),
            check: key(context::CHECK),
            entry: key(context::ENTRY),
            reply: key(context::REPLY),
        }
    }

    /// The digests of a request: its canonical body without the fields in `left_out`, and the semantic
    /// headers that are forwarded, in the order given.
    #[must_use]
    pub fn request_digests(
        &self,
        body: &Node<'_>,
        left_out: &[&str],
        headers: &[(&str, &[u8])],
    ) -> RequestDigests {
        let mut hasher = Buffered::keyed(&self.request);
        let mut put = |part: &[u8]| hasher.put(part);
        put(&(headers.len() as u64).to_be_bytes());
        for (name, value) in headers {
            for field in [name.as_bytes(), value] {
                put(&(field.len() as u64).to_be_bytes());
                put(field);
            }
        }
        crate::json::canonical(body, left_out, &mut put);
        // Bodies are large and hashing is what a lookup costs, so one pass gives both halves.
        let mut output = hasher.finish();
        let [mut digest, mut check] = [[0; 32]; 2];
        output.fill(&mut digest);
        output.fill(&mut check);
        RequestDigests { digest: Digest(digest), check: Digest(check) }
    }

    /// The key of a request behind `gates`. The gates' organization must be the one of these keys; the
    /// organization is hashed as well, so a mistake here is a miss and never a crossing.
    #[must_use]
    pub fn cache_key(&self, gates: &Gates, request: &RequestDigests) -> CacheKey {
        CacheKey(hash_gates(&self.key, gates, &request.digest))
    }

    /// The check hash of a request behind `gates`.
    #[must_use]
    pub fn check_hash(&self, gates: &Gates, request: &RequestDigests) -> CheckHash {
        CheckHash(hash_gates(&self.check, gates, &request.check))
    }

    /// The MAC of a stored entry's bytes.
    #[must_use]
    pub fn entry_mac(&self, bytes: &[u8]) -> Digest {
        Digest(*blake3::keyed_hash(&self.entry, bytes).as_bytes())
    }

    /// A digest about a request with an `Idempotency-Key`. `of` says what of it, so that no two kinds meet.
    #[must_use]
    pub fn reply_digest(&self, of: &str, parts: &[&[u8]]) -> Digest {
        let mut fields = Fields::keyed(&self.reply);
        fields.field(of.as_bytes());
        for part in parts {
            fields.field(part);
        }
        fields.finish()
    }
}

impl std::fmt::Debug for OrgKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OrgKeys(…)")
    }
}

fn hash_gates(key: &[u8; 32], gates: &Gates, request: &Digest) -> Digest {
    // Destructured, so that a new gate does not compile until it is in the key.
    let Gates { org, scope, codebases, fabric, policy, model, entitlements } = gates;
    let ModelGate { dialect, path, provider, upstream, served_model, version } = model;

    let mut fields = Fields::keyed(key);
    fields.field(&[KEY_VERSION]);
    fields.field(org.as_bytes());
    fields.field(scope.tier().as_bytes());
    match scope {
        Scope::OrgShared { group } => fields.optional(group.as_deref()),
        Scope::PrivateEdge { key_id } => fields.optional(Some(key_id)),
        Scope::PhysicalGateway { gateway } => fields.optional(Some(gateway)),
    }
    fields.list(codebases);
    fields.optional(fabric.as_deref());
    fields.field(&policy.0);
    for part in [dialect, path, provider, upstream, served_model] {
        fields.field(part.as_bytes());
    }
    fields.optional(version.as_deref());
    fields.list(entitlements);
    fields.field(&request.0);
    fields.finish()
}

#[cfg(test)]
mod tests;
