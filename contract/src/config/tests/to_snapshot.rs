//! The snapshot: what of a file reaches the filters, and what changes its digests.

use wasm_bindgen_test::wasm_bindgen_test;

use super::*;
use crate::snapshot::{Snapshot, Tier};

const ALLOW_GPT_4O: &str =
    "policies: {chain: [model-allowlist], policy: {model-allowlist: {models: [gpt-4o, o1]}}}\n";
const REDACTS: &str =
    "policies: {chain: [pii-detector], policy: {pii-detector: {action: redact}}}\n";

fn snapshot_with(more: &str) -> Snapshot {
    loaded_with(more).config.snapshot(false)
}

#[wasm_bindgen_test(unsupported = test)]
fn models_lead_to_their_targets() {
    let text = "
providers:
  targets:
    - {id: b, provider: openai, models: [m, a], base_url: 'http://localhost'}
    - {id: a, provider: openai, model: k, model_version: '2', base_url: 'http://localhost'}
";
    let snapshot = load("f.yaml", text).unwrap().config.snapshot(false);
    let routes: Vec<_> = snapshot
        .models
        .routes
        .iter()
        .map(|route| (route.model.as_str(), route.target.as_str(), route.version.as_deref()))
        .collect();
    assert_eq!(routes, [("a", "b", None), ("k", "a", Some("2")), ("m", "b", None)]);
    for (model, target, _) in routes {
        assert_eq!(snapshot.models.route(model).unwrap().target, target);
    }
    assert_eq!(snapshot.models.route("x"), None);
}

#[wasm_bindgen_test(unsupported = test)]
fn a_gateway_with_its_own_sidecar_shares_nothing() {
    let shared = "org_shared_enabled: true, default_tier: org_shared_cache";
    for (cache, in_group, alone) in [
        ("", Tier::PrivateEdge, Tier::PrivateEdge),
        (shared, Tier::OrgShared, Tier::PrivateEdge),
        ("physical_gateway_private_cache_only: true", Tier::PhysicalGateway, Tier::PhysicalGateway),
    ] {
        let config = loaded_with(&format!("workflow_cache: {{{cache}}}\n")).config;
        assert_eq!(config.snapshot(false).cache.tier, in_group, "{cache}");
        assert_eq!(config.snapshot(true).cache.tier, alone, "{cache}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn the_policy_digest_changes_with_what_can_change_an_answer_and_with_nothing_else() {
    let digest = |more: &str| snapshot_with(more).policy.digest;
    let none = digest("");
    let redacts = digest(REDACTS);
    assert_ne!(none, redacts);
    // What only watches changes no answer.
    assert_eq!(none, digest(&REDACTS.replace("redact", "monitor")));
    for more in [
        "pack: {name: x, version: 9.9.9}",
        "gateway: {id: gw-b, role: worker, port: 9}",
        "workflow_cache: {enabled: true, ttl_seconds: 1}",
        "policies: {block_status: 403}",
        "fabric: {enabled: true}",
        // A request for another model is refused before anything is looked up, and each model has a gate of its own.
        ALLOW_GPT_4O,
    ] {
        assert_eq!(digest(more), none, "{more}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_version_says_by_itself_whether_requests_are_decided_by_the_same_rules() {
    let base = snapshot_with("");
    let has_same = |more: &str| base.has_rules_of(&snapshot_with(more).version);
    let limits = "policies: {chain: [request-limits], policy: {request-limits: {max_messages: 3}}}";
    let injection = "policies: {chain: [prompt-injection], policy: {prompt-injection: {action: block, apply_to: [input]}}}";
    for stricter in [ALLOW_GPT_4O, REDACTS, limits, injection] {
        assert!(!has_same(stricter), "{stricter}");
        let stricter = snapshot_with(stricter);
        assert!(stricter.has_rules_of(&stricter.version));
        assert!(!stricter.has_rules_of(&base.version));
    }
    for more in [
        "gateway: {on_sidecar_loss: direct}",
        "workflow_cache: {enabled: true}",
        "policies: {block_status: 403}",
        &ALLOW_GPT_4O.replace("o1]", "o1], action: monitor"),
        &REDACTS.replace("redact", "monitor"),
        &limits.replace("3}", "3, action: monitor}"),
    ] {
        assert!(has_same(more), "{more}");
    }
    // The order of a set, and the other spelling.
    let allowed = snapshot_with(ALLOW_GPT_4O);
    let beside =
        "policies: {chain: [model-allowlist]}\npolicy: {model-allowlist: {models: [o1, gpt-4o]}}\n";
    assert!(allowed.has_rules_of(&snapshot_with(beside).version));
    assert!(!allowed.has_rules_of(&snapshot_with(&ALLOW_GPT_4O.replace(", o1", "")).version));
    assert!(!allowed.has_rules_of(""));
    assert!(!allowed.has_rules_of("nobody's"));
}

#[wasm_bindgen_test(unsupported = test)]
fn the_version_changes_with_everything_that_filters_get_and_with_nothing_else() {
    let base = snapshot_with("");
    assert_eq!(base.version.len(), 32);
    assert_eq!(snapshot_with("pack: {name: x}\ngateway: {id: gw-b, role: edge, port: 9}"), base);
    let mut versions = std::collections::BTreeSet::from([base.version]);
    for more in [
        "gateway: {request_bytes_max: 4096}",
        "gateway: {on_sidecar_loss: direct}",
        "workflow_cache: {enabled: true}",
        "workflow_cache: {physical_gateway_private_cache_only: true}",
        "workflow_cache: {l1: {max_bytes: 0}}",
        "policies: {block_status: 403}",
        ALLOW_GPT_4O,
    ] {
        assert!(versions.insert(snapshot_with(more).version), "{more}");
    }
    let renamed = LEAST.replace("id: openai", "id: other");
    let renamed = load("f.yaml", &renamed).unwrap().config.snapshot(false);
    assert!(versions.insert(renamed.version));
}

#[wasm_bindgen_test(unsupported = test)]
fn a_snapshot_stays_within_its_bound() {
    let models: Vec<String> = (0..5_000).map(|at| format!("model-number-{at:06}")).collect();
    let text = format!(
        "providers: {{targets: [{{id: a, provider: openai, models: [{}]}}]}}",
        models.join(",")
    );
    let snapshot = load("f.yaml", &text).unwrap().config.snapshot(false);
    assert!(serde_json::to_vec(&snapshot).unwrap().len() < 1 << 20);
}
