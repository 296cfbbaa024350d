//! What Envoy itself says of a client: its certificate, and what it has verified of its JWT. Nothing in it was written by
//! the client but what a certificate authority or an issuer has signed, and no header is looked at.

mod protobuf;
#[cfg(any(test, feature = "script"))]
pub mod written;

use kt_contract::identity::{Identity, JWT_AUTHN, JWT_PAYLOAD, Jwt, Wanted};
use kt_contract::problem::Problem;

use protobuf::Message;

/// The facts, as Envoy's properties have them. Empty where there are none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Peer<'a> {
    /// Whether the connection has a client certificate: `connection.mtls`.
    pub mtls: bool,
    /// The first URI of that certificate: `connection.uri_san_peer_certificate`.
    pub uri: &'a [u8],
    /// All its URIs, with commas between them: what `set_filter_state` has put under
    /// [`PEER_URIS`](kt_contract::identity::PEER_URIS).
    pub uris: &'a [u8],
    /// The dynamic metadata of the request, serialized: `metadata`.
    pub metadata: &'a [u8],
}

// === impl Peer ===

impl Peer<'_> {
    /// The identity of the client, as far as it is wanted; `None` where it has none.
    ///
    /// # Errors
    /// It has one of a form that nobody has to believe: several URIs, one that is no SPIFFE ID, a JWT without a subject.
    pub fn identity(&self, wanted: &Wanted) -> Result<Option<Identity>, Problem> {
        let spiffe = if wanted.certificates { self.spiffe()? } else { None };
        let jwt = if wanted.tokens { self.jwt(wanted)? } else { None };
        if spiffe.is_none() && jwt.is_none() {
            return Ok(None);
        }
        let identity = Identity { spiffe, jwt };
        if identity.is_sound() { Ok(Some(identity)) } else { Err(Problem::UnknownIdentity) }
    }

    /// A certificate with several URIs is of several, and Envoy's property has the first alone: where not all are known to
    /// be that one, it names nobody.
    fn spiffe(&self) -> Result<Option<String>, Problem> {
        if !self.mtls || (self.uri.is_empty() && self.uris.is_empty()) {
            return Ok(None);
        }
        match std::str::from_utf8(self.uri) {
            Ok(uri) if self.uri == self.uris => Ok(Some(uri.to_owned())),
            Ok(_) | Err(_) => Err(Problem::UnknownIdentity),
        }
    }

    fn jwt(&self, wanted: &Wanted) -> Result<Option<Jwt>, Problem> {
        let unknown = Problem::UnknownIdentity;
        let payload = Message::new(self.metadata)
            .entry(protobuf::METADATA_FILTERS, JWT_AUTHN)
            .and_then(|fields| match fields {
                Some(fields) => Message::new(fields).entry(protobuf::STRUCT_FIELDS, JWT_PAYLOAD),
                None => Ok(None),
            })
            .map_err(|_| unknown.clone())?;
        let Some(payload) = payload else { return Ok(None) };
        let payload = protobuf::of_value(payload).ok_or_else(|| unknown.clone())?;
        let text = |name: &str| {
            let value = Message::new(payload).entry(protobuf::STRUCT_FIELDS, name).ok()??;
            protobuf::text(value).map(str::to_owned)
        };
        let (Some(issuer), Some(subject)) = (text("iss"), text("sub")) else { return Err(unknown) };
        let claims = wanted.claims.iter().filter(|name| !matches!(name.as_str(), "iss" | "sub"));
        let claims = claims.filter_map(|name| Some((name.clone(), text(name)?))).collect();
        Ok(Some(Jwt { issuer, subject, claims }))
    }
}

#[cfg(test)]
mod tests;
