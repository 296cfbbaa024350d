//! A verified identity: who Envoy says a client is, by a client certificate or by a JWT whose signature it has checked.
//! What an identity may do is for the configuration's rules to say; nothing here decides about rights.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::fields::Fields;
use crate::hex::Digest;
use crate::principal::KeyHash;

/// The key of the filter state in which Envoy's `set_filter_state` puts all URIs of the client's certificate.
pub const PEER_URIS: &str = "kt.peer_uris";
/// The name of the filter whose dynamic metadata hold verified JWTs.
pub const JWT_AUTHN: &str = "envoy.filters.http.jwt_authn";
/// `payload_in_metadata` of every issuer.
pub const JWT_PAYLOAD: &str = "kt_jwt";
/// The longest text that an identity may have in any of its parts, in bytes.
pub const PART_BYTES_MAX: usize = 512;

/// The context from which the hashing key of identities is derived: no identity has the digest of a gateway key.
const CONTEXT: &str = "kt 2026-11 verified identity v1";
const SPIFFE: &str = "spiffe://";

/// What is verified about a client. At least one of the two is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Its SPIFFE ID, from the certificate of its connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spiffe: Option<String>,
    /// What its JWT says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwt: Option<Jwt>,
}

/// What of a verified JWT counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jwt {
    /// `iss`.
    pub issuer: String,
    /// `sub`.
    pub subject: String,
    /// Those claims that any rule asks for, where they are texts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, String>,
}

/// What filters have to find out about clients that bring no gateway key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Whether a certificate may say who somebody is.
    pub certificates: bool,
    /// Whether a JWT may.
    pub tokens: bool,
    /// The claims that rules ask for.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub claims: BTreeSet<String>,
    /// A digest of all rules: whoever was let in by others is asked for again.
    pub rules: Digest,
}

// === impl Identity ===

impl Identity {
    /// By what it is known in the place of a gateway key.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        let Self { spiffe, jwt } = self;
        let mut fields = Fields::keyed(&blake3::derive_key(CONTEXT, b""));
        fields.optional(spiffe.as_deref());
        fields.list(jwt.iter().map(|jwt| &jwt.issuer));
        if let Some(Jwt { issuer: _, subject, claims }) = jwt {
            fields.field(subject.as_bytes());
            fields.list(claims.keys());
            fields.list(claims.values());
        }
        KeyHash(fields.finish())
    }

    /// Whether each part has a form that may be believed.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let Self { spiffe, jwt } = self;
        (spiffe.is_some() || jwt.is_some())
            && spiffe.as_deref().is_none_or(is_spiffe_id)
            && jwt.as_ref().is_none_or(Jwt::is_sound)
    }
}

// === impl Jwt ===

impl Jwt {
    fn is_sound(&self) -> bool {
        let Self { issuer, subject, claims } = self;
        // Between issuer and subject, a '#' is the border of the name in logs.
        is_plain(issuer)
            && !issuer.contains('#')
            && is_plain(subject)
            && claims.values().all(|value| value.len() <= PART_BYTES_MAX)
    }

    /// The name of who it speaks of, in the place of a key's public name.
    #[must_use]
    pub fn name(&self) -> String {
        format!("jwt:{}#{}", self.issuer, self.subject)
    }
}

/// Whether a text is a SPIFFE ID of the one form that it can have: nothing percent-encoded, no upper case in its trust
/// domain, no empty segment and none of dots. So texts can be compared byte by byte.
#[must_use]
pub fn is_spiffe_id(text: &str) -> bool {
    let Some((domain, path)) = text.strip_prefix(SPIFFE).and_then(|rest| rest.split_once('/'))
    else {
        return false;
    };
    text.len() <= PART_BYTES_MAX && is_trust_domain(domain) && path.split('/').all(is_segment)
}

/// Whether a text may be a trust domain.
#[must_use]
pub fn is_trust_domain(text: &str) -> bool {
    let good =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    !text.is_empty() && text.bytes().all(good)
}

/// Whether a text may be a segment of a SPIFFE ID's path.
#[must_use]
pub fn is_segment(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !matches!(text, "" | "." | "..") && text.bytes().all(good)
}

/// Whether a text can stand in a log line and in a name as it is.
#[must_use]
pub fn is_plain(text: &str) -> bool {
    (1..=PART_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    fn spiffe(id: &str) -> Identity {
        Identity { spiffe: Some(id.to_owned()), jwt: None }
    }

    fn jwt(issuer: &str, subject: &str, claims: &[(&str, &str)]) -> Identity {
        let claims = claims.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let jwt = Jwt { issuer: issuer.to_owned(), subject: subject.to_owned(), claims };
        Identity { spiffe: None, jwt: Some(jwt) }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_spiffe_id_has_one_form() {
        for good in ["spiffe://acme.example/ns/agents/sa/a", "spiffe://td_1-x/Mixed.Case-1_"] {
            assert!(spiffe(good).is_sound(), "{good}");
        }
        let long = format!("spiffe://td/{}", "x".repeat(PART_BYTES_MAX));
        for bad in [
            "",
            "spiffe://",
            "spiffe://td",
            "spiffe://td/",
            "spiffe:///a",
            "SPIFFE://td/a",
            "https://td/a",
            "spiffe://TD/a",
            "spiffe://td:8443/a",
            "spiffe://me@td/a",
            "spiffe://td/a//b",
            "spiffe://td/a/",
            "spiffe://td/../a",
            "spiffe://td/./a",
            "spiffe://td/%61",
            "spiffe://td/a?b",
            "spiffe://td/a#b",
            "spiffe://td/a,spiffe://td/b",
            "spiffe://td/a*",
            "spiffe://td/ü",
            " spiffe://td/a",
            &long,
        ] {
            assert!(!spiffe(bad).is_sound(), "{bad}");
        }
        assert!(!Identity::default().is_sound());
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_token_without_an_issuer_or_a_subject_is_nobodys() {
        assert!(jwt("https://id.example", "auth0|ada@acme.com", &[]).is_sound());
        for (issuer, subject) in [("", "ada"), ("i", ""), ("i#a", "b"), ("i", "a b"), ("i", "a\n")]
        {
            assert!(!jwt(issuer, subject, &[]).is_sound(), "{issuer} {subject:?}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn identities_that_differ_anywhere_have_other_digests() {
        let both = Identity { spiffe: spiffe("spiffe://td/a").spiffe, ..jwt("i", "a", &[]) };
        let all = [
            spiffe("spiffe://td/a"),
            spiffe("spiffe://td/ab"),
            jwt("i", "a", &[]),
            jwt("ia", "", &[]),
            jwt("i", "b", &[]),
            jwt("j", "a", &[]),
            jwt("i", "a", &[("x", "y")]),
            jwt("i", "a", &[("x", "z")]),
            jwt("i", "a", &[("y", "y")]),
            jwt("i", "a", &[("x", "y"), ("y", "y")]),
            both,
        ];
        let hashes: BTreeSet<_> = all.iter().map(Identity::hash).collect();
        assert_eq!(hashes.len(), all.len());
    }
}
