//! Who says who asks: the gateway key in the request's head, and only where there is no credential at all, what Envoy has
//! verified. Every credential is looked at, because a second one that nobody checks could be the one that somebody else
//! believes; and one that is no good is never passed over for who else it may be.

use std::rc::Rc;

use kt_contract::gateway_key::GatewayKey;
use kt_contract::identity::{Identity, Wanted};
use kt_contract::principal::KeyHash;
use kt_contract::problem::Problem;
use kt_contract::wire::headers;

use crate::head::{Head, trimmed};
use crate::peer::Peer;
use crate::quoted::quoted_bytes;

/// The longest codebase that a client may name.
const CODEBASE_BYTES_MAX: usize = 256;

const BEARER: &[u8] = b"bearer";

/// By what the sidecar knows who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// The digest of the key, or of the identity.
    pub key: KeyHash,
    /// The identity, where there is no key.
    pub identity: Option<Rc<Identity>>,
}

// === impl Who ===

impl Who {
    /// Who asks, by the key in the head or, without any credential there, by what Envoy has verified of the client as
    /// far as that is `wanted`.
    ///
    /// # Errors
    /// Nothing says who it is, or something says it that is not to be believed.
    pub fn read(head: Head<'_>, peer: Peer<'_>, wanted: Option<&Wanted>) -> Result<Self, Problem> {
        match (key(head), wanted) {
            (Ok(key), _) => Ok(Self { key, identity: None }),
            (Err(Problem::MissingKey), Some(wanted)) => {
                let identity = peer.identity(wanted)?.ok_or(Problem::MissingKey)?;
                Ok(Self { key: identity.hash(), identity: Some(Rc::new(identity)) })
            }
            (Err(problem), _) => Err(problem),
        }
    }

    /// What is wrong where the sidecar does not know it.
    #[must_use]
    pub const fn unknown(&self) -> Problem {
        if self.identity.is_some() { Problem::UnknownIdentity } else { Problem::InvalidKey }
    }
}

/// Whether a request brings a credential of its own.
#[must_use]
pub fn has_credential(head: Head<'_>) -> bool {
    credentials(head).next().is_some()
}

/// The digest of the one key that the request carries. Its form and checksum are right; whether anybody
/// knows it is the sidecar's business.
///
/// # Errors
/// No credential, one that is no gateway key, or several that differ.
pub fn key(head: Head<'_>) -> Result<KeyHash, Problem> {
    let mut credentials = credentials(head);
    let only = credentials.next().ok_or(Problem::MissingKey)?;
    if credentials.any(|other| other != only) {
        return Err(Problem::InvalidKey);
    }
    let text = std::str::from_utf8(only).map_err(|_| Problem::InvalidKey)?;
    GatewayKey::parse(text).map(|key| key.hash()).ok_or(Problem::InvalidKey)
}

fn credentials(head: Head<'_>) -> impl Iterator<Item = &[u8]> {
    let bearer = head.all("authorization").map(trimmed).filter_map(bearer);
    let api_key = head.all("x-api-key").chain(head.all("api-key")).map(trimmed);
    bearer.chain(api_key).filter(|credential| !credential.is_empty())
}

/// The codebase to which the client narrows its key, if it does.
///
/// # Errors
/// Several that differ, or one that is no text: nobody can have such a codebase.
pub fn codebase(head: Head<'_>) -> Result<Option<&str>, Problem> {
    let mut hints = head.all(headers::CODEBASE).map(trimmed);
    let Some(first) = hints.next() else { return Ok(None) };
    let refused = |value: &[u8]| Problem::CodebaseNotAllowed { codebase: quoted_bytes(value) };
    if let Some(other) = hints.find(|other| *other != first) {
        return Err(refused(other));
    }
    match std::str::from_utf8(first) {
        Ok(hint) if hint.len() <= CODEBASE_BYTES_MAX => Ok(Some(hint)),
        Ok(_) | Err(_) => Err(refused(first)),
    }
}

/// The token of a bearer credential. Another scheme is a credential too: one that is no gateway key.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    match value.split_at_checked(BEARER.len()) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(BEARER) => match token.first() {
            Some(b' ' | b'\t') => Some(trimmed(token)),
            Some(_) => Some(value),
            None => None,
        },
        Some(_) | None => Some(value),
    }
}

#[cfg(test)]
mod tests {
    use kt_contract::hex::Digest;
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    fn asked(fields: &[(&str, &str)]) -> Result<KeyHash, Problem> {
        let fields: Vec<_> =
            fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        key(Head::new(&fields))
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_key_is_found_in_any_of_three_headers() {
        let gateway_key = GatewayKey::from_random(&[3; 32]);
        let (text, hash) = (gateway_key.reveal(), Ok(gateway_key.hash()));
        let bearer = format!("Bearer {text}");
        assert_eq!(asked(&[("authorization", &bearer)]), hash);
        assert_eq!(asked(&[("authorization", &format!("bEARER   {text} "))]), hash);
        assert_eq!(asked(&[("x-api-key", text)]), hash);
        assert_eq!(asked(&[("api-key", text)]), hash, "as clients of Azure send it");
        assert_eq!(asked(&[("x-api-key", text), ("authorization", &bearer)]), hash);
        assert_eq!(asked(&[("x-api-key", ""), ("authorization", &bearer)]), hash);
        let all = [("api-key", text), ("x-api-key", text), ("authorization", &bearer)];
        assert_eq!(asked(&all), hash);
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn no_credential_is_a_missing_key() {
        for fields in [&[][..], &[("authorization", "Bearer ")], &[("authorization", "bearer")]] {
            assert_eq!(asked(fields), Err(Problem::MissingKey), "{fields:?}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn an_identity_counts_where_there_is_no_credential_at_all() {
        let key = GatewayKey::from_random(&[3; 32]);
        let wanted =
            Wanted { certificates: true, tokens: false, claims: [].into(), rules: Digest([0; 32]) };
        let uri = b"spiffe://td/a";
        let peer = Peer { mtls: true, uri, uris: uri, metadata: &[] };
        let read = |fields: &[(&str, &str)], wanted: Option<&Wanted>| {
            let fields: Vec<_> =
                fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
            let head = Head::new(&fields);
            (Who::read(head, peer, wanted), has_credential(head))
        };
        let (who, has_credential) =
            read(&[("x-forwarded-client-cert", "URI=spiffe://td/b")], Some(&wanted));
        let identity = Identity { spiffe: Some("spiffe://td/a".to_owned()), jwt: None };
        let expected = Who { key: identity.hash(), identity: Some(Rc::new(identity)) };
        assert_eq!((who, has_credential), (Ok(expected), false));
        assert_eq!(read(&[], None), (Err(Problem::MissingKey), false));
        let of_key = Who { key: key.hash(), identity: None };
        assert_eq!(read(&[("x-api-key", key.reveal())], Some(&wanted)), (Ok(of_key), true));
        for bad in ["Bearer kt_gk_x", "Bearer a.b.c", "Basic dXNlcjpwYXNz"] {
            let refused = read(&[("authorization", bad)], Some(&wanted));
            assert_eq!(refused, (Err(Problem::InvalidKey), true), "{bad}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn what_is_no_gateway_key_is_invalid() {
        let good = GatewayKey::from_random(&[3; 32]).reveal().to_owned();
        let typo = good.replace("kt_gk_3", "kt_gk_4");
        let glued = format!("Bearer{good}");
        for value in [&typo, "Basic dXNlcjpwYXNz", "sk-123", &glued, "ü"] {
            assert_eq!(asked(&[("authorization", value)]), Err(Problem::InvalidKey), "{value}");
        }
        let not_utf8: [(&[u8], &[u8]); 1] = [(b"authorization", b"Bearer \xff\xfe")];
        assert_eq!(key(Head::new(&not_utf8)), Err(Problem::InvalidKey));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn credentials_that_differ_are_refused() {
        let ours = format!("Bearer {}", GatewayKey::from_random(&[3; 32]).reveal());
        let other = GatewayKey::from_random(&[4; 32]).reveal().to_owned();
        for second in [
            ("x-api-key", other.as_str()),
            ("api-key", other.as_str()),
            ("authorization", "Basic dXNlcjpwYXNz"),
        ] {
            let fields = [("authorization", ours.as_str()), second];
            assert_eq!(asked(&fields), Err(Problem::InvalidKey), "{second:?}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn codebase_hints_that_differ_are_refused() {
        let hint = |values: &[&[u8]]| {
            let fields: Vec<(&[u8], &[u8])> =
                values.iter().map(|value| (headers::CODEBASE.as_bytes(), *value)).collect();
            codebase(Head::new(&fields)).map(|hint| hint.map(str::to_owned))
        };
        assert_eq!(hint(&[]), Ok(None));
        assert_eq!(hint(&[b"acme/web", b" acme/web "]), Ok(Some("acme/web".to_owned())));
        for bad in [&[&b"a"[..], &b"b"[..]][..], &[b"\xff"], &[&[b'a'; 257]]] {
            assert!(matches!(hint(bad), Err(Problem::CodebaseNotAllowed { .. })), "{bad:?}");
        }
    }
}
