//! The routes to provider targets: on ingress behind the direct lane, on egress behind the sidecar's word.

use kt_contract::config::Target;
use kt_contract::constants::CLUSTER_PROVIDER_PREFIX;
use kt_contract::limits::FIRST_BYTE_MS_MAX;
use kt_contract::wire::headers;
use serde_json::{Value, json};

use super::bootstrap::values;
use super::template::{Template, TemplateError};

const TARGET_ROUTE: Template =
    Template::new("target-route.yaml", include_str!("../../../envoy/target-route.yaml"));

/// How long a first byte may take, in seconds.
const FIRST_BYTE_S: u64 = FIRST_BYTE_MS_MAX / 1_000;
/// Beyond what the sidecar waits for: it knows what that is, and is the one to give up.
const SLACK_S: u64 = 60;
/// How long nothing may happen on a call to a provider.
const IDLE_S: u64 = FIRST_BYTE_S + SLACK_S;
/// How long nothing may happen on a request that waits for a flight: for its call and two takeovers, with a backoff
/// before each; where the flight was voided, for another one; and for a call of its own.
const LANE_IDLE_S: u64 = 7 * FIRST_BYTE_S + SLACK_S;

/// The patience with a provider, as Envoy writes it.
pub(super) fn idle_timeout() -> Value {
    json!(format!("{IDLE_S}s"))
}

/// The patience with the sidecar, as Envoy writes it.
pub(super) fn lane_idle_timeout() -> Value {
    json!(format!("{LANE_IDLE_S}s"))
}

/// What never reaches a provider: our own headers, and every place where a client's credential could stand.
const REMOVED: &[&str] = &[
    headers::LANE,
    headers::TICKET,
    headers::TARGET,
    headers::ADMIT,
    headers::MARKER,
    headers::SERVED_BY,
    headers::CODEBASE,
    "authorization",
    "x-api-key",
    "api-key",
    "cookie",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-envoy-internal",
    "x-envoy-external-address",
];

/// The direct lanes of ingress.
pub(super) fn direct(targets: &[Target]) -> Result<Value, TemplateError> {
    let lane = |target: &Target| format!("{}{}", headers::LANE_DIRECT_PREFIX, target.id);
    each(targets, false, |target| ("direct_", headers::LANE, lane(target)))
}

/// The routes of egress. Where the gateway `is_hosted`, credentials are tenants', and the sidecar puts them in: nobody
/// else can open the socket, and a cluster puts none in their place.
pub(super) fn egress(targets: &[Target], is_hosted: bool) -> Result<Value, TemplateError> {
    each(targets, is_hosted, |target| ("", headers::TARGET, target.id.clone()))
}

/// The name of a target's cluster.
pub(super) fn cluster(target: &Target) -> String {
    format!("{CLUSTER_PROVIDER_PREFIX}{}", target.id)
}

/// One route per target, given the prefix of its name and the header that leads to it.
fn each(
    targets: &[Target],
    takes_credential: bool,
    by: impl Fn(&Target) -> (&'static str, &'static str, String),
) -> Result<Value, TemplateError> {
    let route = |target: &Target| {
        let (prefix, header, value) = by(target);
        let kept = takes_credential.then(|| target.provider.credential_header().name);
        let removed: Vec<_> = REMOVED.iter().filter(|name| Some(**name) != kept).collect();
        TARGET_ROUTE.fill(&values([
            ("name", json!(format!("{prefix}{}", target.id))),
            ("header", json!(header)),
            ("value", json!(value)),
            ("removed", json!(removed)),
            ("cluster", json!(cluster(target))),
            ("authority", json!(target.base_url.authority())),
            ("path_prefix", path_prefix(target)),
            ("idle_timeout", idle_timeout()),
        ]))
    };
    targets.iter().map(route).collect::<Result<Vec<_>, _>>().map(Value::Array)
}

/// What the leading slash of a request's path becomes; nothing where `base_url` has no path.
fn path_prefix(target: &Target) -> Value {
    match target.base_url.path_prefix.as_str() {
        "" => Value::Null,
        prefix => json!(format!("{prefix}/")),
    }
}
