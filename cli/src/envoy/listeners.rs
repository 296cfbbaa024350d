//! The listeners: ingress for clients, egress for the sidecar, metrics where somebody asked for them; and what the
//! first two write into the request log.

use kt_contract::constants::{CLUSTER_SIDECAR, FilterConstants};
use kt_contract::wire::headers;
use serde_json::{Value, json};

use super::bootstrap::{Plan, path, values};
use super::identities;
use super::local_replies;
use super::routes;
use super::template::{Template, TemplateError};

const INGRESS: Template =
    Template::new("ingress.yaml", include_str!("../../../envoy/ingress.yaml"));
const EGRESS: Template = Template::new("egress.yaml", include_str!("../../../envoy/egress.yaml"));
const METRICS: Template =
    Template::new("metrics.yaml", include_str!("../../../envoy/metrics.yaml"));
const ACCESS_LOG: Template =
    Template::new("access-log.yaml", include_str!("../../../envoy/access-log.yaml"));
const INGRESS_FIELDS: Template = Template::new(
    "access-log-ingress.yaml",
    include_str!("../../../envoy/access-log-ingress.yaml"),
);
const INGRESS_FILTER: Template = Template::new(
    "access-log-ingress-filter.yaml",
    include_str!("../../../envoy/access-log-ingress-filter.yaml"),
);
const EGRESS_FIELDS: Template =
    Template::new("access-log-egress.yaml", include_str!("../../../envoy/access-log-egress.yaml"));

/// Envoy's own bound lies this far above the filter's, so that the filter notices first.
const BUFFER_HEADROOM_BYTES: u64 = 1 << 20;
/// What a connection of a client may hold beside the bodies of its requests.
const CONNECTION_BUFFER_BYTES: u64 = 64 << 10;

pub(super) fn all(plan: &Plan) -> Result<Vec<Value>, TemplateError> {
    let mut listeners = vec![ingress(plan)?, egress(plan)?];
    if let Some(address) = plan.metrics {
        listeners.push(METRICS.fill(&values([
            ("host", json!(address.ip().to_string())),
            ("port", json!(address.port())),
        ]))?);
    }
    Ok(listeners)
}

fn ingress(plan: &Plan) -> Result<Value, TemplateError> {
    let constants = FilterConstants {
        gateway: plan.gateway.clone(),
        sidecar_cluster: CLUSTER_SIDECAR.to_owned(),
        admit_timeout_ms: plan.admit_timeout,
    };
    let body_bytes = body_bytes(plan);
    let connection_bytes =
        if plan.envoy.holds_bodies_by_route() { CONNECTION_BUFFER_BYTES } else { body_bytes };
    INGRESS.fill(&values([
        ("host", json!(plan.listen.ip().to_string())),
        ("port", json!(plan.listen.port())),
        ("transport_socket", identities::transport_socket(plan.tls.as_ref())?),
        ("handshake_timeout", json!(plan.tls.as_ref().map(|_| "10s"))),
        ("identity_filters", Value::Array(identities::filters(&plan.asked)?)),
        ("access_logs", access_logs(plan, INGRESS_FIELDS, Some(INGRESS_FILTER))?),
        ("stripped_at_entry", Value::Array(stripped_at_entry())),
        ("local_replies", local_replies::mappers()?),
        ("filter_module", path(&plan.filter_module)),
        ("filter_constants", json!(json!(constants).to_string())),
        ("request_body_buffer_limit", json!(body_bytes)),
        ("connection_buffer_bytes", json!(connection_bytes)),
        ("lane_idle_timeout", routes::lane_idle_timeout()),
        ("direct_routes", routes::direct(&plan.targets)?),
    ]))
}

/// What Envoy may hold of a request's body.
const fn body_bytes(plan: &Plan) -> u64 {
    plan.request_bytes_max.saturating_add(BUFFER_HEADROOM_BYTES)
}

fn egress(plan: &Plan) -> Result<Value, TemplateError> {
    EGRESS.fill(&values([
        ("request_body_buffer_limit", json!(body_bytes(plan))),
        ("egress_socket", json!(plan.gateway.egress)),
        ("access_logs", access_logs(plan, EGRESS_FIELDS, None)?),
        ("idle_timeout", routes::idle_timeout()),
        ("target_routes", routes::egress(&plan.targets, plan.is_hosted)?),
    ]))
}

fn access_logs(
    plan: &Plan,
    fields: Template,
    filter: Option<Template>,
) -> Result<Value, TemplateError> {
    let fields = fields.fill(&values([("gateway_id", json!(plan.gateway.id))]))?;
    let mut log =
        ACCESS_LOG.fill(&values([("path", path(&plan.access_log)), ("fields", fields)]))?;
    if let (Some(filter), Value::Object(log)) = (filter, &mut log) {
        log.insert("filter".to_owned(), filter.fill(&values([]))?);
    }
    Ok(json!([log]))
}

/// Headers that only this gateway may say.
pub(crate) const STRIPPED: [&str; 7] = [
    headers::LANE,
    headers::TICKET,
    headers::TARGET,
    headers::ADMIT,
    headers::MARKER,
    headers::SERVED_BY,
    headers::UNDECIDED,
];

/// They are taken off before the filter runs. It replaces the whole head anyway; this is for the day when it does not
/// run.
fn stripped_at_entry() -> Vec<Value> {
    let mut mutations: Vec<Value> = STRIPPED.iter().map(|name| json!({ "remove": name })).collect();
    // Timeouts, retries and hedging by header: on loopback Envoy takes them for its own.
    mutations.push(json!({ "remove_on_match": { "key_matcher": { "prefix": "x-envoy-" } } }));
    mutations
}
