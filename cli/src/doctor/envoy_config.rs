//! Whether an Envoy configuration has what kt's correctness depends on: the filter itself, and the room for bodies. What
//! is about routes and the sidecar is in [`super::envoy_lanes`]. Pure.

use serde_json::Value;

use super::envoy_lanes;
use super::envoy_tls;
use super::envoy_view::{View, connection_bytes, field, host_bytes, seconds, text};
use super::finding::Finding;
use crate::envoy::binary::Version;

/// Envoy 1.40 crashes at 1 ms.
const BACKOFF_SECONDS_MIN: f64 = 0.01;
/// Envoy's own bound should lie above the filter's, so that the filter's 413 comes first.
const HEADROOM_BYTES: u64 = 1 << 20;

/// What a configuration is held against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needs {
    /// `gateway.request_bytes_max`.
    pub(crate) request_bytes_max: u64,
    /// The Envoy that runs it.
    pub(crate) envoy: Version,
}

/// Every check of a configuration, in a fixed order.
pub(crate) fn examine(config: &Value, needs: Needs) -> Vec<Finding> {
    let view = View::of(config);
    if view.filters.is_empty() {
        return vec![Finding::fail(
            "filter",
            "no Wasm filter named kt stands in it: it runs without kt",
            "`kt config render` prints a whole configuration, `scripts/manifests` patches for a mesh; a mesh may also \
             have refused a patch, which its control plane's log says",
        )];
    }
    let mut findings = vec![
        Finding::ok("filter", "kt's filter stands in it"),
        headers_stop(&view),
        failure_policy(&view),
        reload_backoff(&view),
        body_buffer(&view, needs),
        egress_buffer(&view, needs),
    ];
    findings.push(envoy_tls::client_certificates(&view));
    findings.extend(envoy_lanes::examine(&view));
    findings
}

fn headers_stop(view: &View<'_>) -> Finding {
    const NAME: &str = "allow_on_headers_stop_iteration";
    let is_set = |filter: &&Value| field(filter, NAME).and_then(Value::as_bool) == Some(true);
    match view.filters.iter().all(is_set) {
        true => Finding::ok(NAME, "true"),
        false => Finding::fail(
            NAME,
            "it is not true: Envoy does not deliver a body to a filter that holds the headers, and every request with \
             one hangs",
            "set allow_on_headers_stop_iteration: true beside vm_config; Istio's WasmPlugin and Envoy Gateway's \
             EnvoyExtensionPolicy cannot, an EnvoyFilter (Istio 1.28) or EnvoyPatchPolicy can",
        ),
    }
}

fn failure_policy(view: &View<'_>) -> Finding {
    const NAME: &str = "failure_policy";
    const MEND: &str = "set failure_policy: FAIL_RELOAD beside vm_config";
    let bad = view.filters.iter().find_map(|filter| {
        let is_open = field(filter, "fail_open").and_then(Value::as_bool) == Some(true);
        match text(filter, NAME) {
            Some("FAIL_RELOAD") => None,
            Some("FAIL_OPEN") => Some("FAIL_OPEN"),
            Some(_) => Some("FAIL_CLOSED"),
            None if is_open => Some("FAIL_OPEN"),
            None => Some("unset, which is FAIL_CLOSED"),
        }
    });
    match bad {
        None => Finding::ok(NAME, "FAIL_RELOAD"),
        Some("FAIL_OPEN") => Finding::fail(
            NAME,
            "FAIL_OPEN: once a VM of the filter has died, requests pass it, with neither policy nor wallet",
            MEND,
        ),
        Some(what) => Finding::fail(
            NAME,
            format!(
                "{what}: once a VM of the filter has died, its worker refuses everything for ever"
            ),
            MEND,
        ),
    }
}

fn reload_backoff(view: &View<'_>) -> Finding {
    const NAME: &str = "reload_config";
    let interval = |filter: &Value| {
        let backoff = field(field(filter, NAME)?, "backoff")?;
        seconds(backoff, "base_interval")
    };
    let shortest = view.filters.iter().filter_map(|it| interval(it)).reduce(f64::min);
    match shortest {
        Some(interval) if interval < BACKOFF_SECONDS_MIN => Finding::fail(
            NAME,
            format!(
                "a VM that died is made anew after {interval} s; Envoy 1.40 crashes at 0.001 s"
            ),
            "set reload_config.backoff.base_interval to 0.02s to 0.05s",
        ),
        Some(interval) => {
            Finding::ok(NAME, format!("a VM that died is made anew after {interval} s"))
        }
        None => Finding::warn(
            NAME,
            "no backoff is set: after a VM has died, its worker refuses everything for a second and more",
            "set reload_config.backoff.base_interval: 0.05s",
        ),
    }
}

/// Whether the largest body that the filter takes has room.
fn body_buffer(view: &View<'_>, needs: Needs) -> Finding {
    const NAME: &str = "request body limit";
    let connection = connection_bytes(&view.ingress);
    let by_route = || {
        let held = |host: &&Value| host_bytes(host, connection);
        view.ingress_hosts.iter().map(held).min().unwrap_or(connection)
    };
    let (bytes, place) = match needs.envoy.holds_bodies_by_route() {
        true => (by_route(), "request_body_buffer_limit of the virtual host with the lanes"),
        false => (connection, "per_connection_buffer_limit_bytes of the listener"),
    };
    let Needs { request_bytes_max: wanted, envoy } = needs;
    match bytes < wanted {
        false => Finding::ok(NAME, format!("{bytes} bytes; the filter takes {wanted}")),
        true => Finding::fail(
            NAME,
            format!(
                "Envoy {envoy} holds {bytes} bytes of a request, and gateway.request_bytes_max is {wanted}: what lies \
                 between gets Envoy's own 413"
            ),
            format!("set {place} to {}", wanted.saturating_add(HEADROOM_BYTES)),
        ),
    }
}

/// Whether the largest body can go to a second address of its provider.
fn egress_buffer(view: &View<'_>, needs: Needs) -> Finding {
    const NAME: &str = "egress body limit";
    if view.egress_hosts.is_empty() {
        return Finding::skipped(NAME, "there are no ways to providers in it");
    }
    let connection = connection_bytes(&view.egress);
    let held = |host: &&Value| host_bytes(host, connection);
    let bytes = view.egress_hosts.iter().map(held).min().unwrap_or(connection);
    let wanted = needs.request_bytes_max;
    match bytes < wanted {
        false => Finding::ok(NAME, format!("{bytes} bytes; the filter takes {wanted}")),
        true => Finding::warn(
            NAME,
            format!(
                "a body over {bytes} bytes is not kept: where the first address of a provider refuses, it is refused and \
                 goes to no other one"
            ),
            format!(
                "set request_body_buffer_limit of the virtual host of egress to {}",
                wanted.saturating_add(HEADROOM_BYTES)
            ),
        ),
    }
}

#[cfg(test)]
mod tests;
