//! Whether an Envoy configuration leads requests as kt means them to go: lanes, the sidecar's clusters, egress. Pure.

use std::collections::BTreeSet;

use kt_contract::constants::{CLUSTER_LANE, CLUSTER_SIDECAR};
use kt_contract::wire::headers;
use serde_json::Value;

use super::envoy_view::{View, field, holds, leads_by, list, number, seconds, text};
use super::finding::Finding;
use crate::envoy::listeners::STRIPPED;

/// By it the sidecar tells the provider's word from Envoy's.
const DETAILS: &str = "x-kt-details";
/// Envoy's own bound on requests to a cluster.
const REQUESTS_MAX_DEFAULT: u64 = 1_024;
/// What the provider cannot have seen.
const RETRIES: [&str; 2] = ["connect-failure", "refused-stream"];

pub(super) fn examine(view: &View<'_>) -> [Finding; 8] {
    [
        lane_route(view),
        route_timeouts(view),
        keepalive(view),
        room(view),
        stripping(view),
        egress_socket(view),
        egress_details(view),
        egress_retries(view),
    ]
}

fn lane_route(view: &View<'_>) -> Finding {
    const NAME: &str = "lane route";
    if view.ingress_hosts.is_empty() {
        return Finding::fail(
            NAME,
            "no route is for requests with x-kt-lane: what is not cached has no way",
            "put the routes of envoy/ingress.yaml before all others of the virtual host",
        );
    }
    let first = |host: &&Value| list(host, "routes").first().map(|it| leads_by(it, headers::LANE));
    match view.ingress_hosts.iter().all(|host| first(host) == Some(true)) {
        true => Finding::ok(NAME, "requests with x-kt-lane are led first"),
        false => Finding::warn(
            NAME,
            "another route stands before those for x-kt-lane, and may take their requests past the sidecar",
            "move the routes for x-kt-lane to the top of the virtual host",
        ),
    }
}

/// Answers take as long as they take; Envoy's default of 15 s would cut them off.
fn route_timeouts(view: &View<'_>) -> Finding {
    const NAME: &str = "route timeout";
    let routes = routes(view).filter(|route| {
        let action = field(route, "route");
        action.is_some_and(|action| seconds(action, "timeout") != Some(0.0))
    });
    let names: Vec<_> = routes.map(|route| text(route, "name").unwrap_or("(unnamed)")).collect();
    match names.as_slice() {
        [] => Finding::ok(NAME, "none: answers take as long as they take"),
        names => Finding::fail(
            NAME,
            format!("Envoy ends answers of the routes {}, by default after 15 s", names.join(", ")),
            "set timeout: 0s on each; idle_timeout ends what is silent",
        ),
    }
}

fn keepalive(view: &View<'_>) -> Finding {
    const NAME: &str = "sidecar keepalive";
    let asks = |cluster: &Value| {
        holds(cluster, &|it| {
            let keepalive = field(it, "connection_keepalive");
            keepalive.is_some_and(|it| seconds(it, "interval").is_some_and(|every| every > 0.0))
        })
    };
    let of = |name| {
        let mut all = view.clusters.iter().filter(|it| text(it, "name") == Some(name)).peekable();
        (all.peek().is_some(), all.all(|cluster| asks(cluster)))
    };
    let names = [CLUSTER_SIDECAR, CLUSTER_LANE];
    let missing: Vec<_> = names.into_iter().filter(|name| !of(name).0).collect();
    let silent: Vec<_> = names.into_iter().filter(|name| of(name) == (true, false)).collect();
    match (missing.as_slice(), silent.as_slice()) {
        ([], []) => Finding::ok(NAME, "both of the sidecar's clusters ask whether it lives"),
        ([], silent) => Finding::fail(
            NAME,
            format!(
                "{} has no connection_keepalive: a sidecar that is frozen, not gone, is never missed, and requests wait \
                 for it",
                silent.join(" and ")
            ),
            "set http2_protocol_options.connection_keepalive: {interval: 1s, timeout: 2s}, as envoy/sidecar-cluster.yaml",
        ),
        (missing, _) => Finding::fail(
            NAME,
            format!("there is no cluster {}", missing.join(" and no ")),
            "envoy/sidecar-cluster.yaml is both of them: callouts and lanes share no pool",
        ),
    }
}

fn room(view: &View<'_>) -> Finding {
    const NAME: &str = "lane limits";
    let lanes = view.clusters.iter().filter(|it| text(it, "name") == Some(CLUSTER_LANE));
    let most = |cluster: &Value| {
        let breakers = field(cluster, "circuit_breakers")?;
        let bounds = list(breakers, "thresholds").iter().flat_map(|it| {
            ["max_requests", "max_pending_requests"]
                .map(|name| number(it, name).unwrap_or(REQUESTS_MAX_DEFAULT))
        });
        bounds.min()
    };
    let most = lanes.map(|it| most(it).unwrap_or(REQUESTS_MAX_DEFAULT)).min();
    match most {
        None => Finding::skipped(NAME, "there is no cluster kt_lane in it"),
        Some(most) if most <= REQUESTS_MAX_DEFAULT => Finding::warn(
            NAME,
            format!("at most {most} requests may wait for the sidecar; a crowd beyond it gets 503"),
            "set max_requests and max_pending_requests of kt_lane's circuit_breakers to 50000",
        ),
        Some(most) => Finding::ok(NAME, format!("{most} requests may wait for the sidecar")),
    }
}

/// Whether a client could say what only the gateway may.
fn stripping(view: &View<'_>) -> Finding {
    const NAME: &str = "internal headers";
    let removed = |manager: &Value| -> BTreeSet<String> {
        let extensions = list(manager, "early_header_mutation_extensions").iter();
        let configs = extensions.filter_map(|it| field(it, "typed_config"));
        let mutations = configs.flat_map(|it| list(it, "mutations"));
        mutations.filter_map(|it| text(it, "remove")).map(str::to_lowercase).collect()
    };
    let kept: BTreeSet<&str> = view
        .managers
        .iter()
        .flat_map(|manager| {
            let removed = removed(manager);
            STRIPPED.into_iter().filter(move |name| !removed.contains(*name))
        })
        .collect();
    if view.managers.is_empty() {
        return Finding::skipped(NAME, "no connection manager with the filter stands in it");
    }
    match kept.is_empty() {
        true => Finding::ok(NAME, "what only the gateway may say is taken off at the door"),
        false => Finding::fail(
            NAME,
            format!(
                "a client may say {} itself, and choose its way while the filter does not run",
                kept.into_iter().collect::<Vec<_>>().join(", ")
            ),
            "remove them by early_header_mutation_extensions, as envoy/ingress.yaml",
        ),
    }
}

/// Whoever can open it spends the providers' credentials.
fn egress_socket(view: &View<'_>) -> Finding {
    const NAME: &str = "egress socket";
    if view.egress.is_empty() {
        return Finding::fail(
            NAME,
            "no listener leads by x-kt-target: the sidecar can call no provider",
            "envoy/egress.yaml is it",
        );
    }
    let mode = |listener: &Value| {
        let pipe = field(listener, "address").and_then(|address| field(address, "pipe"))?;
        Some(number(pipe, "mode").unwrap_or(0))
    };
    let open = view.egress.iter().find_map(|listener| match mode(listener) {
        None => Some(
            "it listens on a port: whoever reaches it spends the providers' credentials".to_owned(),
        ),
        Some(0) => Some("it has no mode: the umask says who may open it".to_owned()),
        Some(mode) if mode & 0o077 != 0 => Some(format!(
            "its mode is {mode:04o}: others may open it and spend the providers' credentials"
        )),
        Some(_) => None,
    });
    match open {
        None => Finding::ok(NAME, "a Unix socket for its owner alone"),
        Some(what) => Finding::fail(NAME, what, "listen on a pipe with mode: 384, which is 0600"),
    }
}

fn egress_details(view: &View<'_>) -> Finding {
    const NAME: &str = "egress details";
    if view.egress_hosts.is_empty() {
        return Finding::skipped(NAME, "there are no ways to providers in it");
    }
    match view.added.contains(DETAILS) {
        true => Finding::ok(NAME, "the sidecar is told whether the provider spoke, or Envoy"),
        false => Finding::fail(
            NAME,
            "x-kt-details is not added to answers: the sidecar takes Envoy's own refusals for the provider's",
            "add x-kt-details: %RESPONSE_CODE_DETAILS% by response_headers_to_add, as envoy/egress.yaml",
        ),
    }
}

fn egress_retries(view: &View<'_>) -> Finding {
    const NAME: &str = "egress retries";
    if view.egress_hosts.is_empty() {
        return Finding::skipped(NAME, "there are no ways to providers in it");
    }
    let policies = view.egress_hosts.iter().flat_map(|host| {
        let routes = list(host, "routes").iter().filter_map(|it| field(it, "route"));
        routes.chain([*host]).filter_map(|it| text(field(it, "retry_policy")?, "retry_on"))
    });
    let others: BTreeSet<&str> = policies
        .flat_map(|it| it.split(','))
        .map(str::trim)
        .filter(|it| !it.is_empty() && !RETRIES.contains(it))
        .collect();
    match others.is_empty() {
        true => Finding::ok(NAME, "only what the provider cannot have seen"),
        false => Finding::fail(
            NAME,
            format!(
                "Envoy asks again on {}: what the provider has billed is asked, and paid, twice",
                others.into_iter().collect::<Vec<_>>().join(", ")
            ),
            "set retry_on: connect-failure,refused-stream; the sidecar makes all other retries",
        ),
    }
}

/// The routes that kt's requests take.
fn routes<'a>(view: &'a View<'a>) -> impl Iterator<Item = &'a Value> {
    let lanes = view.ingress_hosts.iter().flat_map(|host| list(host, "routes"));
    let targets = view.egress_hosts.iter().flat_map(|host| list(host, "routes"));
    lanes
        .filter(|route| leads_by(route, headers::LANE))
        .chain(targets.filter(|route| leads_by(route, headers::TARGET)))
}
