//! What kt renders has no mistake, and each mistake that is planted in it is found by its own check alone.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::finding::State;
use super::*;
use crate::envoy::bootstrap::{self, Plan, tests::plan};
use crate::envoy::template::read_yaml;

/// What `plan` says.
const NEEDS: Needs = Needs { request_bytes_max: 1 << 20, envoy: Version::TESTED };
const INGRESS: &str = "/static_resources/listeners/0";
const EGRESS: &str = "/static_resources/listeners/1";
const MANAGER: &str = "/filter_chains/0/filters/0/typed_config";
const FILTER: &str = "/http_filters/1/typed_config/config";
const HOST: &str = "/route_config/virtual_hosts/0";
const HTTP2: &str = "/typed_extension_protocol_options/envoy.extensions.upstreams.http.v3.HttpProtocolOptions\
                     /explicit_http_config/http2_protocol_options";

fn rendered() -> Value {
    bootstrap::render(&plan()).unwrap()
}

/// The configuration with something in it changed or, by `null`, left out.
fn planted(place: &str, value: Value) -> Value {
    let mut config = rendered();
    let (parent, name) = place.rsplit_once('/').unwrap();
    let parent = config.pointer_mut(parent).unwrap_or_else(|| panic!("no {parent}"));
    match (parent, value) {
        (Value::Object(fields), Value::Null) => {
            fields.remove(name).unwrap_or_else(|| panic!("no {place}"));
        }
        (parent, value) => match name.parse::<usize>() {
            Ok(at) => parent[at] = value,
            Err(_) => parent[name] = value,
        },
    }
    config
}

fn bad(config: &Value, needs: Needs) -> Vec<(&'static str, State)> {
    let findings = examine(config, needs).into_iter();
    findings.filter(|it| it.state != State::Ok).map(|it| (it.name, it.state)).collect()
}

#[test]
fn what_kt_renders_has_no_mistake_on_any_envoy() {
    for envoy in [Version::MIN, Version::TESTED] {
        let config = bootstrap::render(&Plan { envoy, ..plan() }).unwrap();
        let found = examine(&config, Needs { envoy, ..NEEDS });
        let names: BTreeSet<_> = found.iter().map(|it| it.name).collect();
        assert_eq!((found.len(), names.len()), (15, 15), "one finding for each check");
        assert_eq!(bad(&config, Needs { envoy, ..NEEDS }), []);
    }
}

type Row = (String, Value, &'static str, State);

fn mistakes_of_the_filter() -> Vec<Row> {
    let of = |name: &str| format!("{INGRESS}{MANAGER}{FILTER}/{name}");
    let stop = "allow_on_headers_stop_iteration";
    let interval = "reload_config/backoff/base_interval";
    vec![
        (of(stop), Value::Null, stop, State::Fail),
        (of(stop), json!(false), stop, State::Fail),
        (of("failure_policy"), Value::Null, "failure_policy", State::Fail),
        (of("failure_policy"), json!("FAIL_OPEN"), "failure_policy", State::Fail),
        (of("failure_policy"), json!("FAIL_CLOSED"), "failure_policy", State::Fail),
        (of("reload_config"), Value::Null, "reload_config", State::Warn),
        (of(interval), json!("0.001s"), "reload_config", State::Fail),
    ]
}

fn mistakes_of_ingress() -> Vec<Row> {
    let of = |name: &str| format!("{INGRESS}{MANAGER}{HOST}/{name}");
    let stripped = format!("{INGRESS}{MANAGER}/early_header_mutation_extensions");
    let limit = "request_body_buffer_limit";
    vec![
        (of(limit), json!(1_000), "request body limit", State::Fail),
        (of(&format!("routes/0/{limit}")), json!(1_000), "request body limit", State::Fail),
        (of("routes/0/match"), json!({"prefix": "/"}), "lane route", State::Warn),
        (of("routes/0/route/timeout"), Value::Null, "route timeout", State::Fail),
        (stripped, Value::Null, "internal headers", State::Fail),
    ]
}

fn mistakes_of_the_sidecars_clusters() -> Vec<Row> {
    let of = |at: usize, name: &str| format!("/static_resources/clusters/{at}{name}");
    let keepalive = format!("{HTTP2}/connection_keepalive");
    vec![
        (of(0, &keepalive), Value::Null, "sidecar keepalive", State::Fail),
        (of(1, &keepalive), Value::Null, "sidecar keepalive", State::Fail),
        (of(0, "/name"), json!("another"), "sidecar keepalive", State::Fail),
        (of(1, "/circuit_breakers"), Value::Null, "lane limits", State::Warn),
    ]
}

fn mistakes_of_egress() -> Vec<Row> {
    let of = |name: &str| format!("{EGRESS}{MANAGER}{HOST}/{name}");
    let mode = format!("{EGRESS}/address/pipe/mode");
    let details = format!("{EGRESS}{MANAGER}/route_config/response_headers_to_add");
    let on_host = json!({"retry_on": "gateway-error"});
    vec![
        (of("request_body_buffer_limit"), Value::Null, "egress body limit", State::Warn),
        (of("routes/0/route/timeout"), json!("15s"), "route timeout", State::Fail),
        (mode.clone(), json!(0o666), "egress socket", State::Fail),
        (mode, Value::Null, "egress socket", State::Fail),
        (format!("{EGRESS}/address"), json!({"socket_address": {}}), "egress socket", State::Fail),
        (details, Value::Null, "egress details", State::Fail),
        (of("routes/0/route/retry_policy/retry_on"), json!("5xx"), "egress retries", State::Fail),
        (of("retry_policy"), on_host, "egress retries", State::Fail),
    ]
}

#[test]
fn each_planted_mistake_is_found_by_its_own_check_alone() {
    let rows = mistakes_of_the_filter()
        .into_iter()
        .chain(mistakes_of_ingress())
        .chain(mistakes_of_the_sidecars_clusters())
        .chain(mistakes_of_egress());
    for (place, value, name, state) in rows {
        assert_eq!(
            bad(&planted(&place, value.clone()), NEEDS),
            [(name, state)],
            "{place}: {value}"
        );
    }
}

#[test]
fn every_mistake_says_how_to_mend_it() {
    let mut config = rendered();
    for listener in 0..2 {
        let host = format!("/static_resources/listeners/{listener}{MANAGER}{HOST}");
        config.pointer_mut(&host).unwrap()["routes"] = json!([]);
    }
    for finding in examine(&config, NEEDS) {
        let is_bad = matches!(finding.state, State::Warn | State::Fail);
        assert_eq!(is_bad, finding.mend.is_some(), "{finding:?}");
    }
    assert!(bad(&config, NEEDS).contains(&("lane route", State::Fail)));
    assert!(bad(&config, NEEDS).contains(&("egress socket", State::Fail)));
}

#[test]
fn an_envoy_without_the_filter_is_told_so_and_nothing_else() {
    assert_eq!(bad(&json!({"static_resources": {}}), NEEDS), [("filter", State::Fail)]);
}

#[test]
fn where_an_old_envoy_runs_the_connections_limit_counts() {
    let old = Needs { envoy: Version::MIN, ..NEEDS };
    assert_eq!(bad(&rendered(), old), [("request body limit", State::Fail)]);
    let larger = Needs { request_bytes_max: 64 << 20, ..NEEDS };
    assert_eq!(
        bad(&rendered(), larger),
        [("request body limit", State::Fail), ("egress body limit", State::Warn)],
        "what the configuration says by now is what counts"
    );
}

#[test]
fn a_dump_with_its_own_spelling_is_read_as_the_same() {
    // As Envoy tells it: each part by itself, a number of 64 bits as a text; the filter came from a control plane.
    let config = rendered();
    let mut ingress = config.pointer(INGRESS).unwrap().clone();
    let filter =
        ingress.pointer("/filter_chains/0/filters/0/typed_config/http_filters/1").unwrap().clone();
    let manager = ingress.pointer_mut(MANAGER).unwrap();
    manager["http_filters"][1] = json!({"name": "kt", "config_discovery": {}});
    manager["route_config"]["virtual_hosts"][0]["request_body_buffer_limit"] = json!("2097152");
    let dump = json!({"configs": [
        {"dynamic_listeners": [{"name": "a", "active_state": {"listener": ingress}}]},
        {"static_listeners": [{"listener": config.pointer(EGRESS).unwrap()}]},
        {"static_clusters": [{"cluster": config["static_resources"]["clusters"][0]}]},
        {"dynamic_active_clusters": [{"cluster": config["static_resources"]["clusters"][1]}]},
        {"ecds_filters": [{"ecds_filter": filter}]},
    ]});
    assert_eq!(bad(&dump, NEEDS), []);
    let text =
        dump.to_string().replace("allow_on_headers_stop_iteration", "allowOnHeadersStopIteration");
    assert_eq!(bad(&read_yaml(&text).unwrap(), NEEDS), []);
}

#[test]
fn a_listener_that_an_envoy_has_refused_or_drains_is_not_what_it_runs() {
    let ingress = rendered().pointer(INGRESS).unwrap().clone();
    let of = |state: &str, inner: Value| {
        let listener = json!({"name": "a", state: inner});
        json!({"configs": [{"dynamic_listeners": [listener]}]})
    };
    let active = of("active_state", json!({"listener": ingress}));
    assert!(!bad(&active, NEEDS).contains(&("filter", State::Fail)));
    for dump in [
        of("error_state", json!({"failed_configuration": ingress})),
        of("draining_state", json!({"listener": ingress})),
    ] {
        assert_eq!(bad(&dump, NEEDS), [("filter", State::Fail)], "{dump}");
    }
}

#[test]
fn a_bound_that_only_routes_have_counts() {
    let host = format!("{INGRESS}{MANAGER}{HOST}");
    let mut config = planted(&format!("{host}/request_body_buffer_limit"), Value::Null);
    config.pointer_mut(INGRESS).unwrap()["per_connection_buffer_limit_bytes"] = json!(64 << 20);
    assert_eq!(bad(&config, NEEDS), [], "where nobody says otherwise it is the connection's");
    for route in config.pointer_mut(&format!("{host}/routes")).unwrap().as_array_mut().unwrap() {
        route["request_body_buffer_limit"] = json!(1_000);
    }
    assert_eq!(bad(&config, NEEDS), [("request body limit", State::Fail)]);
}
