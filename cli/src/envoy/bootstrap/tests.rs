//! What the rendered configuration says, without an Envoy. Whether Envoy takes it is the end-to-end tier's.

use kt_contract::config;
use kt_contract::constants::FilterConstants;
use kt_contract::limits::FIRST_BYTE_MS_MAX;
use kt_contract::time::Millis;
use kt_contract::wire::feed::Role;
use kt_contract::wire::headers;

use super::*;

const TARGETS: &str = "
providers:
  targets:
    - {id: fake, provider: openai, models: [a], base_url: 'http://127.0.0.1:41900'}
    - {id: real, provider: openai, models: [b], base_url: 'https://api.example.com/openai',
       secret_key_ref: {env: KEY}, max_concurrent_requests: 7}
";

pub(crate) fn plan() -> Plan {
    Plan {
        envoy: Version::TESTED,
        gateway: GatewayIdentity {
            id: "gw-a".to_owned(),
            role: Role::Primary,
            group: Some("${port}".to_owned()),
            egress: "/run/egress.sock".to_owned(),
        },
        listen: "127.0.0.1:41002".parse().unwrap(),
        tls: None,
        asked: Asked::default(),
        metrics: None,
        request_bytes_max: 1 << 20,
        admit_timeout: Millis(700),
        targets: config::load("test.yaml", TARGETS).unwrap().config.targets,
        is_hosted: false,
        sidecar_socket: "/run/sidecar.sock".into(),
        filter_module: "/lib/kt_filter.wasm".into(),
        admin_socket: "/run/admin.sock".into(),
        credentials: "/run/credentials".into(),
        trusted_ca: "/etc/ca.crt".into(),
        access_log: "/dev/stdout".into(),
    }
}

fn rendered() -> Value {
    render(&plan()).unwrap()
}

fn manager(listener: usize) -> Value {
    let path =
        format!("/static_resources/listeners/{listener}/filter_chains/0/filters/0/typed_config");
    rendered().pointer(&path).unwrap().clone()
}

fn cluster(name: &str) -> Value {
    let rendered = rendered();
    let clusters = rendered["static_resources"]["clusters"].as_array().unwrap();
    clusters.iter().find(|cluster| cluster["name"] == name).unwrap().clone()
}

/// Every text in the configuration.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Object(fields) => fields.values().flat_map(texts).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

#[test]
fn no_placeholder_is_left() {
    let rendered = rendered();
    let left: Vec<_> = texts(&rendered).into_iter().filter(|it| it.starts_with("${")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_filter_reads_its_own_constants() {
    let manager = manager(0);
    let text = manager.pointer("/http_filters/1/typed_config/config/configuration/value").unwrap();
    let constants: FilterConstants = serde_json::from_str(text.as_str().unwrap()).unwrap();
    assert_eq!(constants.gateway, plan().gateway);
    assert_eq!(constants.sidecar_cluster, "kt_sidecar");
    assert_eq!(constants.admit_timeout_ms, Millis(700));
}

#[test]
fn the_filter_runs_before_the_router_and_comes_back_after_a_trap() {
    let manager = manager(0);
    let names: Vec<_> =
        manager["http_filters"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(names, ["two_hosts", "kt", "envoy.filters.http.router"]);
    let config = manager.pointer("/http_filters/1/typed_config/config").unwrap();
    assert_eq!(config["failure_policy"], "FAIL_RELOAD");
    assert_eq!(config["allow_on_headers_stop_iteration"], true);
}

#[test]
fn what_says_who_somebody_is_runs_before_the_filter() {
    let rules = "identities:\n- {spiffe: 'spiffe://td/*', org: a}\n\
                 - {jwt: {issuer: i, audiences: [kt], jwks_file: k}, org: a}\n";
    let config = config::load("test.yaml", &format!("{TARGETS}{rules}")).unwrap().config;
    let issuers = vec![(config.identities.issuers()[0].clone(), "/etc/kt/k".into())];
    let asked = Asked { certificates: config.identities.want_certificates(), issuers };
    let tls = Tls {
        certificate: "/etc/kt/tls.crt".into(),
        private_key: "/etc/kt/tls.key".into(),
        client_ca: Some("/etc/kt/ca.crt".into()),
    };
    let rendered = render(&Plan { asked, tls: Some(tls), ..plan() }).unwrap();
    let chain = rendered.pointer("/static_resources/listeners/0/filter_chains/0").unwrap();
    assert_eq!(chain["transport_socket_connect_timeout"], "10s");
    let filters = chain.pointer("/filters/0/typed_config/http_filters").unwrap();
    let names: Vec<_> = filters.as_array().unwrap().iter().map(|it| &it["name"]).collect();
    let jwt = "envoy.filters.http.jwt_authn";
    assert_eq!(names, ["two_hosts", "peer_uris", jwt, "kt", "envoy.filters.http.router"]);
    let issuer = filters.pointer("/2/typed_config/providers/issuer_0").unwrap();
    assert_eq!(issuer["forward"], false);
    assert_eq!(issuer["audiences"], serde_json::json!(["kt"]));
    let trusted =
        "/transport_socket/typed_config/common_tls_context/validation_context/trusted_ca/filename";
    assert_eq!(chain.pointer(trusted).unwrap(), "/etc/kt/ca.crt");
    // A certificate is looked at with each connection, and not once for all that come after it.
    for kind in ["stateless", "stateful"] {
        let field = format!("/transport_socket/typed_config/disable_{kind}_session_resumption");
        assert_eq!(chain.pointer(&field), Some(&Value::Bool(true)), "{kind}");
    }
}

#[test]
fn envoys_bound_lies_above_the_filters() {
    let limit = |listener| {
        let host = manager(listener).pointer("/route_config/virtual_hosts/0").unwrap().clone();
        host["request_body_buffer_limit"].clone()
    };
    assert_eq!(limit(0), 2 << 20);
    assert_eq!(limit(1), 2 << 20, "what was not kept could go to no second address");
}

#[test]
fn an_old_envoy_holds_bodies_in_the_connections_buffer() {
    let limit = |envoy| {
        let rendered = render(&Plan { envoy, ..plan() }).unwrap();
        rendered["static_resources"]["listeners"][0]["per_connection_buffer_limit_bytes"].clone()
    };
    assert_eq!(limit(Version::TESTED), 64 << 10);
    assert_eq!(limit(Version::MIN), 2 << 20);
}

#[test]
fn only_what_the_filter_decided_has_a_route() {
    let ingress = manager(0);
    let routes = ingress.pointer("/route_config/virtual_hosts/0/routes").unwrap();
    let values: Vec<_> = routes
        .as_array()
        .unwrap()
        .iter()
        .map(|route| route.pointer("/match/headers/0/string_match/exact").and_then(Value::as_str))
        .collect();
    assert_eq!(values, [Some("sidecar"), Some("direct-fake"), Some("direct-real"), None]);
    let last = routes.as_array().unwrap().last().unwrap();
    assert_eq!(last["route"]["cluster_header"], headers::UNDECIDED);
    let stripped =
        ingress.pointer("/early_header_mutation_extensions/0/typed_config/mutations").unwrap();
    let by_name = serde_json::json!({ "remove": headers::UNDECIDED });
    assert!(stripped.as_array().unwrap().contains(&by_name), "a header that nobody can set");
}

#[test]
fn on_a_hosted_gateway_the_sidecar_alone_puts_a_targets_own_credential_in() {
    let mut plan = Plan { is_hosted: true, ..plan() };
    plan.targets.iter_mut().for_each(|target| target.secret = None);
    let rendered = render(&plan).unwrap();
    for (listener, is_removed) in [(0, true), (1, false)] {
        let path = format!(
            "/static_resources/listeners/{listener}/filter_chains/0/filters/0/typed_config\
             /route_config/virtual_hosts/0/routes"
        );
        let routes = rendered.pointer(&path).unwrap().as_array().unwrap();
        let to_providers = routes.iter().filter(|route| {
            route["route"]["cluster"].as_str().is_some_and(|it| it.starts_with("provider_"))
        });
        for route in to_providers {
            let removed = route["request_headers_to_remove"].as_array().unwrap();
            let has = |name: &str| removed.iter().any(|it| it == name);
            assert_eq!(has("authorization"), is_removed, "{listener}");
            assert!(has("x-api-key") && has("api-key") && has("cookie"), "{listener}");
        }
    }
    assert!(!rendered.to_string().contains("credential_injector"));
}

#[test]
fn a_route_to_a_provider_takes_nothing_of_ours_along() {
    for listener in [0, 1] {
        let manager = manager(listener);
        let routes = manager.pointer("/route_config/virtual_hosts/0/routes").unwrap().clone();
        let to_providers = routes
            .as_array()
            .unwrap()
            .iter()
            .filter(|route| {
                route["route"]["cluster"].as_str().is_some_and(|it| it.starts_with("provider_"))
            })
            .cloned()
            .collect::<Vec<_>>();
        assert_eq!(to_providers.len(), 2);
        for route in to_providers {
            let removed = route["request_headers_to_remove"].as_array().unwrap();
            for name in
                ["authorization", "x-api-key", "api-key", "cookie", "x-kt-lane", "x-kt-target"]
            {
                assert!(removed.iter().any(|it| it == name), "{name}");
            }
            assert_eq!(route["route"]["timeout"], "0s");
            assert_eq!(
                route["route"]["retry_policy"]["retry_on"],
                "connect-failure,refused-stream"
            );
        }
    }
}

#[test]
fn envoy_is_never_the_one_to_give_up() {
    let idle_s = |at: &Value| {
        let text = at.as_str().unwrap().strip_suffix('s').unwrap();
        text.parse::<u64>().unwrap()
    };
    let first_byte_s = FIRST_BYTE_MS_MAX / 1_000;
    for listener in [0, 1] {
        let manager = manager(listener);
        for route in
            manager.pointer("/route_config/virtual_hosts/0/routes").unwrap().as_array().unwrap()
        {
            let (cluster, idle) = (&route["route"]["cluster"], &route["route"]["idle_timeout"]);
            match cluster.as_str() {
                Some(name) if name.starts_with("provider_") => assert!(idle_s(idle) > first_byte_s),
                // A call and two takeovers, twice, and a call of its own.
                Some("kt_lane") => assert!(idle_s(idle) > 7 * first_byte_s),
                Some(_) | None => {}
            }
        }
    }
    assert!(idle_s(&manager(1)["stream_idle_timeout"]) > first_byte_s);
}

#[test]
fn a_base_url_with_a_path_keeps_it() {
    let manager = manager(1);
    let rewrite = |at: usize| {
        let route = format!("/route_config/virtual_hosts/0/routes/{at}/route");
        let route = manager.pointer(&route).unwrap();
        (route["prefix_rewrite"].clone(), route["host_rewrite_literal"].clone())
    };
    assert_eq!(rewrite(0), (Value::Null, json!("127.0.0.1:41900")));
    assert_eq!(rewrite(1), (json!("/openai/"), json!("api.example.com")));
}

#[test]
fn a_credential_is_a_reference_and_replaces_what_the_client_sent() {
    let options = cluster("provider_real")["typed_extension_protocol_options"].clone();
    let filters =
        &options["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"]["http_filters"];
    let injector = &filters[0]["typed_config"];
    assert_eq!(injector["overwrite"], true);
    let path =
        injector.pointer("/credential/typed_config/credential/sds_config/path_config_source/path");
    assert_eq!(path.unwrap(), "/run/credentials/real.json");
    let last = filters.as_array().unwrap().last().unwrap();
    assert_eq!(last["name"], "envoy.filters.http.upstream_codec");
}

#[test]
fn a_credential_goes_where_its_provider_looks_for_it() {
    const OF_EACH: &str = "
providers:
  targets:
    - {id: o, provider: openai, secret_key_ref: {env: A}}
    - {id: z, provider: azure, model: m, base_url: 'https://x.example', secret_key_ref: {env: B}}
    - {id: a, provider: anthropic, secret_key_ref: {env: C}}
";
    let targets = config::load("test.yaml", OF_EACH).unwrap().config.targets;
    let rendered = render(&Plan { targets, ..plan() }).unwrap();
    let clusters = rendered["static_resources"]["clusters"].as_array().unwrap();
    for (name, header) in
        [("provider_o", "authorization"), ("provider_z", "api-key"), ("provider_a", "x-api-key")]
    {
        let cluster = clusters.iter().find(|cluster| cluster["name"] == name).unwrap();
        let injector = &cluster["typed_extension_protocol_options"]["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"]
            ["http_filters"][0]["typed_config"];
        assert_eq!(injector["overwrite"], true, "{name}");
        assert_eq!(injector["credential"]["typed_config"]["header"], header, "{name}");
    }
}

#[test]
fn tls_is_spoken_where_the_address_says_so_and_then_verified() {
    let real = cluster("provider_real");
    let trusted =
        "/transport_socket/typed_config/common_tls_context/validation_context/trusted_ca/filename";
    assert_eq!(real.pointer(trusted).unwrap(), "/etc/ca.crt");
    let http = &real["typed_extension_protocol_options"]["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"];
    assert_eq!(
        http["upstream_http_protocol_options"],
        json!({"auto_sni": true, "auto_san_validation": true})
    );
    assert!(http["auto_config"].is_object());
    let fake = cluster("provider_fake");
    assert!(fake.get("transport_socket").is_none());
    assert_eq!(
        (&fake["type"], &real["cluster_type"]["name"]),
        (&json!("STATIC"), &json!("envoy.clusters.dns"))
    );
}

#[test]
fn metrics_have_a_listener_where_somebody_asks_for_them_and_only_there() {
    let names = |metrics| {
        let rendered = render(&Plan { metrics, ..plan() }).unwrap();
        let listeners = rendered["static_resources"]["listeners"].as_array().unwrap().clone();
        listeners.iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(None), ["ingress", "egress"]);
    let address = Some("127.0.0.1:41012".parse().unwrap());
    assert_eq!(names(address), ["ingress", "egress", "metrics"]);
}

#[test]
fn only_plain_health_checks_stay_out_of_the_request_log() {
    let filters = manager(0).pointer("/access_log/0/filter/or_filter/filters").unwrap().clone();
    let unlike = |at: usize| filters[at]["header_filter"]["header"].clone();
    for (at, name, value) in [(0, ":method", "GET"), (1, ":path", "/health")] {
        let header = unlike(at);
        assert_eq!(
            (&header["name"], &header["string_match"]["exact"]),
            (&json!(name), &json!(value))
        );
        assert_eq!(header["invert_match"], true);
        // Else a request without headers would match neither, and not be logged.
        assert_eq!(header["treat_missing_header_as_empty"], true);
    }
    assert!(manager(1).pointer("/access_log/0/filter").is_none(), "all of egress is logged");
}

#[test]
fn a_target_has_its_own_cap() {
    let thresholds = cluster("provider_real")["circuit_breakers"]["thresholds"][0].clone();
    assert_eq!(thresholds["max_requests"], 7);
    assert_eq!(thresholds["max_connections"], 7);
}

#[test]
fn callouts_and_lanes_share_no_pool() {
    for name in ["kt_sidecar", "kt_lane"] {
        let path = "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/pipe/path";
        assert_eq!(cluster(name).pointer(path).unwrap(), "/run/sidecar.sock");
    }
}
