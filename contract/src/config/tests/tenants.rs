//! `tenants`: what the host says, what a pack may say, and what becomes of both.

use wasm_bindgen_test::wasm_bindgen_test;

use super::*;
use crate::snapshot::Tier;

const HOST: &str = "\
pack: {name: host}
tenants: {folder: tenants}
providers:
  targets:
    - {id: openai, provider: openai, models: [gpt-4o, gpt-4o-mini]}
    - {id: claude, provider: anthropic, models: [claude-sonnet-4-5], first_byte_timeout_ms: 9000}
workflow_cache: {enabled: true, ttl_seconds: 60, max_flight_bytes: 20000000}
policies:
  chain: [model-allowlist]
  policy: {model-allowlist: {models: [gpt-4o]}}
";

fn host() -> Config {
    load("host.yaml", HOST).unwrap().config
}

fn pack(more: &str) -> String {
    format!("providers: {{targets: [{{id: openai, secret_key_ref: {{env: ACME_KEY}}}}]}}\n{more}")
}

fn tenant(text: &str) -> Config {
    load_tenant("acme.yaml", text, &host()).unwrap().config
}

fn faults(text: &str) -> Vec<String> {
    let errors = load_tenant("acme.yaml", text, &host()).unwrap_err();
    errors.iter().map(ToString::to_string).collect()
}

#[wasm_bindgen_test(unsupported = test)]
fn what_a_pack_does_not_say_the_host_does() {
    let config = tenant(&pack(""));
    assert_eq!((config.cache, config.policy), (host().cache, host().policy));
    let [target] = config.targets.as_slice() else { panic!("{:?}", config.targets) };
    assert_eq!(
        (&target.models, &target.base_url),
        (&host().targets[0].models, &host().targets[0].base_url)
    );
    assert_eq!(target.secret, Some(SecretRef::Env("ACME_KEY".to_owned())));
    assert_eq!(config.tenants, None, "a tenant is no host");
}

#[wasm_bindgen_test(unsupported = test)]
fn what_a_pack_says_is_said_for_its_organization() {
    let config = tenant(&pack(
        "workflow_cache: {enabled: true, default_tier: org_shared_cache, org_shared_enabled: true, ttl_seconds: 5}
policies: {chain: [pii-detector]}
",
    ));
    assert_eq!((config.cache.tier, config.cache.ttl.as_secs()), (Tier::OrgShared, 5));
    assert_eq!(config.cache.max_flight_bytes, 20_000_000, "how much room there is, the host says");
    assert_eq!(
        config.policy.model_allowlist, None,
        "its policies stand in the place of the host's"
    );
    assert_ne!(config.snapshot(false).policy.digest, host().snapshot(false).policy.digest);
    let models = config.snapshot(false).models.routes.clone();
    assert_eq!(
        models.iter().map(|it| it.model.as_str()).collect::<Vec<_>>(),
        ["gpt-4o", "gpt-4o-mini"]
    );
}

#[wasm_bindgen_test(unsupported = test)]
fn what_is_the_hosts_to_say_is_refused_by_name() {
    for (more, field) in [
        ("gateway: {id: x}", "gateway"),
        ("database: {url: {env: X}}", "database"),
        ("wallet: {}", "wallet"),
        ("budgets: {organization: {daily_limit_usd: 5}}", "budgets"),
        ("pricing: {}", "pricing"),
        ("tenants: {folder: x}", "tenants"),
        ("fabric: {}", "fabric"),
        ("workflow_cache: {backend: memory}", "workflow_cache.backend"),
        ("workflow_cache: {memory: {max_entries: 5}}", "workflow_cache.memory"),
        ("workflow_cache: {l1: {max_bytes: 5}}", "workflow_cache.l1"),
        ("workflow_cache: {stale_if_error_seconds: 5}", "workflow_cache.stale_if_error_seconds"),
        ("workflow_cache: {per_org: {max_requests: 5}}", "workflow_cache.per_org"),
        ("policies: {chain: [audit-logger]}", "policies"),
        (
            "policies: {chain: [rate-limit], policy: {rate-limit: {per_key: {requests_per_minute: 5}}}}",
            "policies",
        ),
    ] {
        let said = faults(&pack(more));
        let expected = format!("acme.yaml:2: {field}: ");
        assert!(
            said.iter().any(|it| it.starts_with(&expected) && it.contains("the host's")),
            "{more}: {said:?}"
        );
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_pack_with_a_cache_and_policies_of_its_own_is_held_to_the_hosts_bounds() {
    let host = HOST
        .replace("ttl_seconds: 60,", "ttl_seconds: 60, per_org: {max_requests: 2, max_streams: 1},")
        .replace("[model-allowlist]", "[model-allowlist, rate-limit]")
        .replace("[gpt-4o]}}", "[gpt-4o]}, rate-limit: {per_org: {requests_per_minute: 5}}}");
    let host = load("host.yaml", &host).unwrap().config;
    let text = pack("workflow_cache: {enabled: true}\npolicies: {chain: [pii-detector]}\n");
    let config = load_tenant("acme.yaml", &text, &host).unwrap().config;
    assert_eq!(
        (config.cache.per_org.max_requests, config.cache.per_org.max_streams),
        (Some(2), Some(1))
    );
    assert_eq!(config.policy.rate_limits.unwrap().org.requests, Some(5));
    // What a worker served from its own memory would not be counted.
    assert_eq!(config.snapshot(false).cache.l1_bytes_max, 0);
}

#[wasm_bindgen_test(unsupported = test)]
fn a_target_of_a_pack_is_one_of_the_hosts_with_a_credential_of_its_own() {
    for (target, said) in [
        (
            "{id: mine, provider: openai, secret_key_ref: {env: K}}",
            "targets[0].id: is no target of the host",
        ),
        (
            "{id: openai, provider: anthropic, secret_key_ref: {env: K}}",
            "provider: is 'openai' at the host's",
        ),
        (
            "{id: openai, base_url: 'https://evil.test', secret_key_ref: {env: K}}",
            "base_url: is the host's to say",
        ),
        (
            "{id: openai, max_concurrent_requests: 1, secret_key_ref: {env: K}}",
            "max_concurrent_requests: is the",
        ),
        (
            "{id: openai, models: [gpt-4o, o1], secret_key_ref: {env: K}}",
            "models: 1 of them are not served by",
        ),
        ("{id: openai}", "secret_key_ref: missing: the host has no credential for a tenant"),
    ] {
        let found = faults(&format!("providers: {{targets: [{target}]}}"));
        assert!(found.iter().any(|it| it.contains(said)), "{target}: {found:?}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_host_has_no_credential_and_sends_nobody_past_its_sidecar() {
    let host = HOST.replace("models: [gpt-4o, gpt-4o-mini]}", "secret_key_ref: {env: K}}");
    let found = errors(&format!("{host}gateway: {{on_sidecar_loss: direct}}\n"));
    let starts = |it: &&String| {
        it.starts_with("f.yaml:5: providers.targets[0].secret_key_ref: with 'tenants'")
    };
    assert!(found.iter().any(|it| starts(&it)), "{found:?}");
    assert!(
        found.iter().any(|it| it.contains("gateway.on_sidecar_loss: 'direct' passes by")),
        "{found:?}"
    );
    assert_eq!(
        errors_with("tenants: {}"),
        ["f.yaml:6: tenants.folder: missing: in which folder are the packs of organizations?"; 1]
            .map(str::to_owned)
            .to_vec()
            .into_iter()
            .chain(Vec::new())
            .collect::<Vec<_>>()
    );
}

#[wasm_bindgen_test(unsupported = test)]
fn whether_there_are_tenants_only_a_start_decides() {
    let without =
        load("host.yaml", &HOST.replace("tenants: {folder: tenants}\n", "")).unwrap().config;
    let needs = |now: &Config, started: &Config| {
        now.needs_restart(started).iter().map(|it| it.field).collect::<Vec<_>>()
    };
    assert_eq!(needs(&host(), &without), ["tenants"]);
    assert_eq!(needs(&without, &host()), ["tenants"]);
    assert_eq!(needs(&host(), &host()), Vec::<&str>::new());
}

#[wasm_bindgen_test(unsupported = test)]
fn a_pack_has_no_more_patterns_and_makes_no_larger_snapshot_than_a_worker_can_keep() {
    let patterns = |count: usize| {
        let list: Vec<_> = (0..count).map(|number| format!("ACME-{number}")).collect();
        let settings = format!("{{content-policy: {{patterns: [{}]}}}}", list.join(", "));
        pack(&format!("policies: {{chain: [content-policy], policy: {settings}}}\n"))
    };
    let _ = tenant(&patterns(64));
    let said = faults(&patterns(65));
    assert!(
        said[0].contains("policies: content-policy has 65 patterns in all; at most 64"),
        "{said:?}"
    );
    let models: Vec<_> =
        (0..1_100).map(|number| format!("m{number}-{}", "x".repeat(1_000))).collect();
    let list = models.join(", ");
    let settings = format!("{{model-allowlist: {{models: [{list}]}}}}");
    let policies = format!("policies: {{chain: [model-allowlist], policy: {settings}}}\n");
    let said = faults(&pack(&policies));
    assert!(said[0].contains("acme.yaml:1: is too large for gateways"), "{:.300}", said[0]);
}
