//! By what callers are known: gateway keys, certificates, JWTs, and both at once, as Envoy tells them.

use std::collections::BTreeMap;

use kt_contract::gateway_key::GatewayKey;
use kt_contract::identity::{Identity, JWT_AUTHN, JWT_PAYLOAD, Jwt};
use kt_contract::principal::KeyHash;
use kt_filter_core::peer::Peer;
use kt_filter_core::peer::written::{entry, field};

/// The claim that rules ask for.
pub(super) const CLAIM: &str = "department";

/// What a caller shows.
pub(super) enum Credential {
    Key(GatewayKey),
    Identity { identity: Identity, metadata: Vec<u8> },
}

// === impl Credential ===

impl Credential {
    /// The one of a caller, by a digest of what he is. Where one name in it ends and the next begins is anywhere.
    pub(super) fn of(digest: &[u8; 32]) -> Self {
        let hex = blake3::Hash::from(*digest).to_hex();
        let [form, cut, ..] = *digest;
        let (name, _) = hex.split_at(16);
        let (head, tail) = name.split_at(1 + usize::from(cut) % 15);
        let spiffe = |id: String| (Some(id), None);
        let jwt = |issuer: &str, subject: &str, claim: Option<&str>| Jwt {
            issuer: format!("https://id.example/{issuer}"),
            subject: subject.to_owned(),
            claims: claim.map(|value| (CLAIM.to_owned(), value.to_owned())).into_iter().collect(),
        };
        let (spiffe, jwt) = match form % 8 {
            0 => spiffe(format!("spiffe://td/{head}/{tail}")),
            1 => spiffe(format!("spiffe://td.{head}/{tail}")),
            2 => (None, Some(jwt(head, tail, None))),
            3 => (None, Some(jwt("", name, Some(head)))),
            4 => (Some(format!("spiffe://td/{name}")), Some(jwt(tail, head, None))),
            _ => return Self::Key(GatewayKey::from_random(digest)),
        };
        let metadata = jwt.as_ref().map(metadata).unwrap_or_default();
        Self::Identity { identity: Identity { spiffe, jwt }, metadata }
    }

    /// By what sidecars know it.
    pub(super) fn hash(&self) -> KeyHash {
        match self {
            Self::Key(key) => key.hash(),
            Self::Identity { identity, .. } => identity.hash(),
        }
    }

    /// What it is called in the place of a key's public name.
    pub(super) fn name(&self) -> Option<String> {
        match self {
            Self::Key(_) => None,
            Self::Identity { identity: Identity { spiffe, jwt }, .. } => {
                spiffe.clone().or_else(|| jwt.as_ref().map(Jwt::name))
            }
        }
    }

    pub(super) const fn identity(&self) -> Option<&Identity> {
        match self {
            Self::Key(_) => None,
            Self::Identity { identity, .. } => Some(identity),
        }
    }

    /// The header that carries it.
    pub(super) fn bearer(&self) -> Option<String> {
        match self {
            Self::Key(key) => Some(format!("Bearer {}", key.reveal())),
            Self::Identity { .. } => None,
        }
    }

    /// What Envoy says of it.
    pub(super) fn peer(&self) -> Peer<'_> {
        match self {
            Self::Key(_) => Peer::default(),
            Self::Identity { identity, metadata } => {
                let uri = identity.spiffe.as_deref().unwrap_or_default().as_bytes();
                Peer { mtls: !uri.is_empty(), uri, uris: uri, metadata }
            }
        }
    }
}

/// The metadata of a request whose JWT was verified, as the bytes of Envoy's message.
fn metadata(jwt: &Jwt) -> Vec<u8> {
    let Jwt { issuer, subject, claims } = jwt;
    let own = BTreeMap::from([("iss", issuer), ("sub", subject)]);
    let all = own.into_iter().chain(claims.iter().map(|(name, value)| (name.as_str(), value)));
    let claims: Vec<u8> =
        all.flat_map(|(name, value)| entry(name, &field(3, value.as_bytes()))).collect();
    entry(JWT_AUTHN, &entry(JWT_PAYLOAD, &field(5, &claims)))
}
