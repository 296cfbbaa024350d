//! `rate-limit`: what its settings mean, and what contradicts it.

use wasm_bindgen_test::wasm_bindgen_test;

use super::*;
use crate::rate::{Measure, Scope};

fn chain(settings: &str) -> String {
    format!("policies: {{chain: [rate-limit], policy: {{rate-limit: {{{settings}}}}}}}\n")
}

fn digest(more: &str) -> crate::hex::Digest {
    loaded_with(more).config.policy.digest()
}

#[wasm_bindgen_test(unsupported = test)]
fn each_scope_has_limits_of_its_own() {
    let more = chain(
        "per_key: {requests_per_minute: 60}, per_user: {tokens_per_minute: 5}, per_team: {}, \
         per_org: {requests_per_minute: 1, tokens_per_minute: 1000000000}",
    );
    let limits = loaded_with(&more).config.policy.rate_limits.unwrap();
    for (scope, requests, tokens) in [
        (Scope::Key, Some(60), None),
        (Scope::User, None, Some(5)),
        (Scope::Team, None, None),
        (Scope::Org, Some(1), Some(1_000_000_000)),
    ] {
        assert_eq!(limits.of(scope, Measure::Requests), requests, "{scope:?}");
        assert_eq!(limits.of(scope, Measure::Tokens), tokens, "{scope:?}");
    }
    assert_eq!(loaded_with("").config.policy.rate_limits, None);
}

#[wasm_bindgen_test(unsupported = test)]
fn what_limits_nothing_or_everything_is_refused() {
    let zero = errors_with(&chain("per_key: {requests_per_minute: 0}"));
    assert_eq!(
        zero,
        [
            "f.yaml:6: policies.policy.rate-limit.per_key.requests_per_minute: 0 is not between 1 and 1000000000"
        ]
    );
    for nothing in ["", "per_key: {}"] {
        let found = errors_with(&chain(nothing));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("rate-limit limits nothing"), "{found:?}");
    }
    let misspelled = errors_with(&chain("per_keys: {requests_per_minute: 3}"));
    assert!(misspelled[0].contains("did you mean 'per_key'?"), "{misspelled:?}");
    let misspelled = errors_with(&chain("per_key: {request_per_minute: 3}"));
    assert!(misspelled[0].contains("did you mean 'requests_per_minute'?"), "{misspelled:?}");
}

#[wasm_bindgen_test(unsupported = test)]
fn nothing_goes_uncounted() {
    let requests = chain("per_key: {requests_per_minute: 3}");
    let tokens = chain("per_key: {tokens_per_minute: 3}");
    for (beside, field) in [
        ("gateway: {on_sidecar_loss: direct}\n", "gateway.on_sidecar_loss"),
        ("database: {url: {env: URL}}\n", "policies.chain"),
    ] {
        for chain in [&requests, &tokens] {
            let found = errors_with(&format!("{chain}{beside}"));
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].contains(&format!(" {field}: ")), "{found:?}");
        }
    }
    let database = "database: {url: {env: URL}}\n";
    let of_postgres = format!("{database}workflow_cache: {{backend: postgres}}\n");
    let found = errors_with(&format!("{requests}{of_postgres}"));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains("With workflow_cache.backend: redis they count together"),
        "{found:?}"
    );
    let redis = "workflow_cache: {backend: redis, redis: {url: {env: REDIS_URL}}}\n";
    for chain in [&requests, &tokens] {
        let config = loaded_with(&format!("{chain}{database}{redis}")).config;
        assert!(config.policy.rate_limits.is_some());
    }
    let l1 = "workflow_cache: {l1: {max_bytes: 4194304}}\n";
    let found = errors_with(&format!("{requests}{l1}"));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("f.yaml:7: workflow_cache.l1.max_bytes: must be 0"), "{found:?}");
    // No token goes to a provider for what a worker has.
    let snapshot = loaded_with(&format!("{tokens}{l1}")).config.snapshot(false);
    assert_eq!(snapshot.cache.l1_bytes_max, 4_194_304);
    assert_eq!(loaded_with(&requests).config.snapshot(false).cache.l1_bytes_max, 0);
}

#[wasm_bindgen_test(unsupported = test)]
fn limits_change_no_answer_and_are_in_no_gate() {
    let without = digest("");
    for settings in ["per_key: {requests_per_minute: 3}", "per_org: {tokens_per_minute: 9}"] {
        assert_eq!(digest(&chain(settings)), without, "{settings}");
    }
}
