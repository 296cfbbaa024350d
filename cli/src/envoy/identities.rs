//! What Envoy finds out about a client for the filter: TLS with client certificates, and JWTs.

use std::path::PathBuf;

use kt_contract::config::Issuer;
use kt_contract::identity::{JWT_PAYLOAD, PEER_URIS};
use serde_json::{Map, Value, json};

use super::bootstrap::{path, values};
use super::template::{Template, TemplateError};

const TLS: Template =
    Template::new("downstream-tls.yaml", include_str!("../../../envoy/downstream-tls.yaml"));
const PEER: Template =
    Template::new("peer-uris.yaml", include_str!("../../../envoy/peer-uris.yaml"));
const JWT: Template = Template::new("jwt.yaml", include_str!("../../../envoy/jwt.yaml"));
const ISSUER: Template =
    Template::new("jwt-issuer.yaml", include_str!("../../../envoy/jwt-issuer.yaml"));

/// TLS for clients.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    /// The gateway's certificate, with those between it and its authority.
    pub(crate) certificate: PathBuf,
    /// Its private key.
    pub(crate) private_key: PathBuf,
    /// Who signs the certificates of clients; without it they are not asked for one.
    pub(crate) client_ca: Option<PathBuf>,
}

/// What the rules of `identities` want to know.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    /// Whether certificates may say who somebody is.
    pub(crate) certificates: bool,
    /// Whose JWTs may, each with the place of its keys.
    pub(crate) issuers: Vec<(Issuer, PathBuf)>,
}

/// The transport socket of the listener; nothing without TLS.
pub(super) fn transport_socket(tls: Option<&Tls>) -> Result<Value, TemplateError> {
    let Some(Tls { certificate, private_key, client_ca }) = tls else { return Ok(Value::Null) };
    let trusted = client_ca.as_ref().map(|ca| json!({"trusted_ca": {"filename": path(ca)}}));
    TLS.fill(&values([
        ("certificate", path(certificate)),
        ("private_key", path(private_key)),
        ("client_validation", json!(trusted)),
        ("no_resumption", json!(client_ca.as_ref().map(|_| true))),
    ]))
}

/// The filters before kt's own.
pub(super) fn filters(asked: &Asked) -> Result<Vec<Value>, TemplateError> {
    let mut filters = Vec::new();
    if asked.certificates {
        filters.push(PEER.fill(&values([("state_key", json!(PEER_URIS))]))?);
    }
    if !asked.issuers.is_empty() {
        let (mut providers, mut requirements) = (Map::new(), Vec::new());
        for (nth, (Issuer { issuer, audiences, .. }, jwks_file)) in asked.issuers.iter().enumerate()
        {
            let name = format!("issuer_{nth}");
            requirements.push(json!({ "provider_name": name }));
            let provider = ISSUER.fill(&values([
                ("issuer", json!(issuer)),
                ("audiences", json!(audiences)),
                ("jwks_file", path(jwks_file)),
                ("payload_key", json!(JWT_PAYLOAD)),
            ]))?;
            providers.insert(name, provider);
        }
        filters.push(JWT.fill(&values([
            ("providers", Value::Object(providers)),
            ("requirements", Value::Array(requirements)),
        ]))?);
    }
    Ok(filters)
}
