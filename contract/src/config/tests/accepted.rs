//! What is accepted, what it becomes, and what its owner is told.

use wasm_bindgen_test::wasm_bindgen_test;

use super::*;
use crate::policy::{Decision, ModelAllowlist};
use crate::snapshot::{OnSidecarLoss, Tier};
use crate::time::Millis;
use crate::wire::feed::Role;

#[wasm_bindgen_test(unsupported = test)]
fn a_short_file_has_the_defaults_of_the_seeds() {
    let loaded = loaded_with("");
    assert_eq!(warnings(&loaded), Vec::<String>::new());
    let Config { gateway, cache, policy, targets, .. } = loaded.config;
    assert_eq!((gateway.role, gateway.port), (Role::Primary, 41_002));
    assert_eq!(gateway.on_sidecar_loss, OnSidecarLoss::Unavailable);
    assert_eq!(gateway.request_bytes_max, 32 << 20);
    assert_eq!(gateway.admit_timeout, Millis(300));
    assert_eq!((cache.enabled, cache.tier), (false, Tier::PrivateEdge));
    assert_eq!((cache.ttl.as_secs(), cache.max_entry_tokens), (86_400, 32_000));
    assert!(cache.single_flight_enabled);
    assert_eq!(cache.single_flight_timeout.as_millis(), 30_000);
    assert_eq!(cache.max_entry_bytes, 8 << 20);
    assert_eq!((cache.max_flight_bytes, cache.max_bodies_bytes), (256 << 20, 512 << 20));
    assert!(cache.stale_while_revalidate.is_zero() && cache.stale_if_error.is_zero());
    assert_eq!(cache.single_flight_overflow, Overflow::Count(1));
    assert_eq!(cache.complete_on_disconnect, CompleteOnDisconnect::Auto);
    assert_eq!(cache.memory.max_entries, 100_000);
    assert_eq!((policy.block_status, policy.model_allowlist), (409, None));
    assert_eq!(targets[0].base_url.to_string(), "https://api.openai.com");
    assert_eq!(targets[0].secret, Some(SecretRef::Env("OPENAI_API_KEY".to_owned())));
    assert_eq!(targets[0].models.len(), OPENAI_MODELS.len());
}

#[wasm_bindgen_test(unsupported = test)]
fn every_field_that_is_built_arrives() {
    let text = "
pack: {name: p, version: 0.1.0, enabled: true, description: d}
gateway:
  id: gw-a
  role: edge
  agent_gateway_group_id: support
  port: 1
  request_bytes_max: 2048
  on_sidecar_loss: direct
  admit_timeout_ms: 1900
providers:
  targets:
    - id: t.1
      provider: openai
      model: m
      model_version: '2'
      base_url: http://127.0.0.1:41900/prefix/
      secret_key_ref: {file: /run/secret}
      max_concurrent_requests: 3
      first_byte_timeout_ms: 4000
    - {id: t_2, provider: openai, models: [k, l], base_url: 'http://localhost'}
workflow_cache:
  enabled: true
  default_tier: private_edge_cache
  org_shared_enabled: false
  physical_gateway_private_cache_only: true
  ttl_seconds: 4
  max_entry_tokens: 5
  max_entry_bytes: 8
  max_flight_bytes: 9000000
  max_bodies_bytes: 9000001
  stale_while_revalidate_seconds: 9
  stale_if_error_seconds: 10
  single_flight_enabled: false
  single_flight_timeout_ms: 6
  single_flight_overflow: 0
  complete_on_disconnect: never
  backend: memory
  memory: {max_entries: 7, max_bytes: 65537, max_bytes_per_org: 65536, eviction: lru}
  l1: {max_bytes: 0}
policies:
  block_status: 403
  chain: [model-allowlist]
policy:
  model-allowlist: {models: [m, k]}
";
    let loaded = load("f.yaml", text).unwrap();
    assert_eq!(warnings(&loaded), Vec::<String>::new());
    let Config { pack, gateway, targets, cache, policy, .. } = loaded.config;
    let text = |text: &str| Some(text.to_owned());
    assert_eq!((pack.name, pack.version, pack.description), (text("p"), text("0.1.0"), text("d")));
    assert_eq!(
        gateway,
        Gateway {
            id: text("gw-a"),
            role: Role::Edge,
            group: text("support"),
            port: 1,
            request_bytes_max: 2_048,
            on_sidecar_loss: OnSidecarLoss::Direct,
            admit_timeout: Millis(1_900),
        }
    );
    the_targets_are_as_written(&targets);
    the_cache_is_as_written(&cache);
    assert_eq!(policy.block_status, 403);
    let models = ["k", "m"].map(str::to_owned).into();
    let decision = Decision::Block;
    assert_eq!(policy.model_allowlist, Some(ModelAllowlist { decision, models }));
}

fn the_targets_are_as_written(targets: &[Target]) {
    let [first, second] = targets else { panic!("{targets:?}") };
    assert_eq!((first.id.as_str(), &first.version), ("t.1", &Some("2".to_owned())));
    assert_eq!(first.models.iter().collect::<Vec<_>>(), ["m"]);
    assert_eq!(first.base_url.to_string(), "http://127.0.0.1:41900/prefix");
    assert_eq!(first.secret, Some(SecretRef::File("/run/secret".to_owned())));
    assert_eq!((first.max_concurrent_requests, second.max_concurrent_requests), (3, 1_024));
    let patience = |target: &Target| target.first_byte_timeout.as_secs();
    assert_eq!((patience(first), patience(second)), (4, 600));
    assert_eq!(second.models.iter().collect::<Vec<_>>(), ["k", "l"]);
    assert_eq!((second.secret.clone(), second.version.clone()), (None, None));
}

fn the_cache_is_as_written(cache: &WorkflowCache) {
    assert_eq!((cache.enabled, cache.tier), (true, Tier::PhysicalGateway));
    assert_eq!((cache.ttl.as_secs(), cache.max_entry_tokens), (4, 5));
    assert_eq!(cache.max_entry_bytes, 8);
    assert_eq!((cache.max_flight_bytes, cache.max_bodies_bytes), (9_000_000, 9_000_001));
    assert_eq!((cache.stale_while_revalidate.as_secs(), cache.stale_if_error.as_secs()), (9, 10));
    assert!(!cache.single_flight_enabled);
    assert_eq!(cache.single_flight_timeout.as_millis(), 6);
    assert_eq!(cache.single_flight_overflow, Overflow::Count(0));
    assert_eq!(cache.complete_on_disconnect, CompleteOnDisconnect::Never);
    assert_eq!(
        cache.memory,
        Memory { max_entries: 7, max_bytes: 65_537, max_bytes_per_org: 65_536 }
    );
    assert_eq!(cache.l1_bytes_max, 0);
}

#[wasm_bindgen_test(unsupported = test)]
fn an_overflow_is_a_number_or_the_word_unlimited() {
    for (written, expected) in
        [("7", Overflow::Count(7)), ("unlimited", Overflow::Unlimited), ("", Overflow::Count(1))]
    {
        let loaded = loaded_with(&format!("workflow_cache: {{single_flight_overflow: {written}}}"));
        assert_eq!(loaded.config.cache.single_flight_overflow, expected, "{written}");
    }
    let expected = "expected a whole number or unlimited, found";
    for (written, problem) in [
        ("1001", "1001 is not between 0 and 1000".to_owned()),
        ("all", format!("{expected} a text")),
        ("-1", format!("{expected} another number")),
        ("true", format!("{expected} true or false")),
    ] {
        assert_eq!(
            errors_with(&format!("workflow_cache: {{single_flight_overflow: {written}}}")),
            [format!("f.yaml:6: workflow_cache.single_flight_overflow: {problem}")]
        );
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn empty_sections_are_sections_with_defaults() {
    let more = "pack:\ngateway:\nworkflow_cache: {}\nfabric:\npolicies: {}\npolicy:\n";
    assert_eq!(loaded_with(more), loaded_with(""));
    assert_eq!(loaded_with("policies: []\n"), loaded_with(""));
    assert_eq!(loaded_with("fabric: {enabled: false, max_context_tokens: 1}"), loaded_with(""));
}

#[wasm_bindgen_test(unsupported = test)]
fn anchors_are_understood() {
    let text = "
providers:
  targets:
    - {id: a, provider: openai, model: m, secret_key_ref: &secret {env: KEY}}
    - {id: b, provider: openai, model: k, secret_key_ref: *secret}
";
    let targets = load("f.yaml", text).unwrap().config.targets;
    assert_eq!(targets[0].secret, targets[1].secret);
}

#[wasm_bindgen_test(unsupported = test)]
fn what_a_file_does_not_do_its_owner_is_told() {
    for (more, expected) in [
        (
            "workflow_cache: {org_shared_enabled: true}",
            "workflow_cache.org_shared_enabled: nothing is shared: default_tier is \
             private_edge_cache",
        ),
        (
            "workflow_cache: {org_shared_enabled: true, default_tier: org_shared_cache, \
             physical_gateway_private_cache_only: true}",
            "workflow_cache.physical_gateway_private_cache_only: wins over default_tier: every \
             gateway keeps its entries to itself",
        ),
        (
            "policies: {chain: [model-allowlist], \
             policy: {model-allowlist: {models: [gpt-4o, gpt-40]}}}",
            "policies.policy.model-allowlist.models: no target serves 'gpt-40'",
        ),
    ] {
        assert_eq!(warnings(&loaded_with(more)), [format!("f.yaml:6: {expected}")], "{more}");
    }
    let url = |url: &str| {
        let text =
            LEAST.replace("provider: openai", &format!("provider: openai\n      base_url: {url}"));
        warnings(&load("f.yaml", &text).unwrap())
    };
    assert_eq!(
        url("http://10.0.0.1"),
        [
            "f.yaml:5: providers.targets[0].base_url: the credential crosses the network unencrypted; \
          use https"
        ]
    );
    for quiet in ["http://127.0.0.9:1", "http://localhost", "http://[::1]", "https://10.0.0.1"] {
        assert_eq!(url(quiet), Vec::<String>::new(), "{quiet}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn nobody_is_warned_of_what_the_file_does_not_say() {
    for quiet in ["", ", single_flight_enabled: false", ", single_flight_enabled:"] {
        let loaded = loaded_with(&format!("workflow_cache: {{enabled: true{quiet}}}"));
        assert_eq!(warnings(&loaded), Vec::<String>::new(), "{quiet}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn what_concerns_local_gateways_alone_is_told_apart() {
    let shared =
        loaded_with("workflow_cache: {org_shared_enabled: true, default_tier: org_shared_cache}");
    assert_eq!(warnings(&shared), Vec::<String>::new());
    let notes: Vec<String> = shared.local_notes.iter().map(ToString::to_string).collect();
    assert_eq!(
        notes,
        [
            "f.yaml:6: workflow_cache.default_tier: org_shared_cache is for gateways that join their \
          group's sidecar (--sidecar SOCKET); one that spawns its own is local and uses \
          private_edge_cache"
        ]
    );
    assert_eq!(loaded_with("").local_notes, []);
}
