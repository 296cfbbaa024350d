//! The clusters: the sidecar twice, for callouts and for lanes, each target's provider, and Envoy itself for its
//! metrics.

use kt_contract::config::{Scheme, Target};
use kt_contract::constants::{CLUSTER_LANE, CLUSTER_SIDECAR};
use serde_json::{Value, json};

use super::bootstrap::{Plan, path, values};
use super::credentials;
use super::routes;
use super::template::{Template, TemplateError};

const SIDECAR: Template =
    Template::new("sidecar-cluster.yaml", include_str!("../../../envoy/sidecar-cluster.yaml"));
const ADMIN: Template =
    Template::new("admin-cluster.yaml", include_str!("../../../envoy/admin-cluster.yaml"));
const PROVIDER: Template =
    Template::new("provider-cluster.yaml", include_str!("../../../envoy/provider-cluster.yaml"));
const DNS: Template = Template::new("dns.yaml", include_str!("../../../envoy/dns.yaml"));
const TLS: Template = Template::new("tls.yaml", include_str!("../../../envoy/tls.yaml"));
const CREDENTIAL: Template =
    Template::new("credential.yaml", include_str!("../../../envoy/credential.yaml"));

pub(super) fn all(plan: &Plan) -> Result<Vec<Value>, TemplateError> {
    let mut clusters = Vec::with_capacity(plan.targets.len().saturating_add(3));
    for name in [CLUSTER_SIDECAR, CLUSTER_LANE] {
        clusters.push(SIDECAR.fill(&values([
            ("name", json!(name)),
            ("sidecar_socket", path(&plan.sidecar_socket)),
        ]))?);
    }
    if plan.metrics.is_some() {
        clusters.push(ADMIN.fill(&values([("admin_socket", path(&plan.admin_socket))]))?);
    }
    for target in &plan.targets {
        clusters.push(provider(plan, target)?);
    }
    Ok(clusters)
}

fn provider(plan: &Plan, target: &Target) -> Result<Value, TemplateError> {
    let url = &target.base_url;
    let (kind, dns) = match url.ip() {
        Some(_) => (json!("STATIC"), Value::Null),
        None => (Value::Null, DNS.fill(&values([]))?),
    };
    let (tls, over_tls, in_the_clear) = match url.scheme {
        Scheme::Https => {
            let tls = TLS.fill(&values([("trusted_ca", path(&plan.trusted_ca))]))?;
            let protocols = json!({"http_protocol_options": {}, "http2_protocol_options": {}});
            (tls, protocols, Value::Null)
        }
        Scheme::Http => (Value::Null, Value::Null, json!({"http_protocol_options": {}})),
    };
    let names = match url.scheme {
        Scheme::Https => json!({"auto_sni": true, "auto_san_validation": true}),
        Scheme::Http => Value::Null,
    };
    PROVIDER.fill(&values([
        ("name", json!(routes::cluster(target))),
        ("type", kind),
        ("cluster_type", dns),
        ("host", json!(url.host)),
        ("port", json!(url.port)),
        ("max_concurrent_requests", json!(target.max_concurrent_requests)),
        ("transport_socket", tls),
        ("protocols_over_tls", over_tls),
        ("protocol_in_the_clear", in_the_clear),
        ("names_in_tls", names),
        ("credential_filters", credential_filters(plan, target)?),
    ]))
}

fn credential_filters(plan: &Plan, target: &Target) -> Result<Value, TemplateError> {
    if target.secret.is_none() {
        return Ok(json!([]));
    }
    let filter = CREDENTIAL.fill(&values([
        ("header", json!(target.provider.credential_header().name)),
        ("secret_name", json!(credentials::name(target))),
        ("secret_path", path(&credentials::file(&plan.credentials, target))),
    ]))?;
    Ok(json!([filter]))
}
