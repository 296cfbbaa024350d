//! The configuration file, from text to errors, warnings and values.

use wasm_bindgen_test::wasm_bindgen_test;

use super::*;

/// The shortest file that may run.
const LEAST: &str = "providers:\n  targets:\n    - id: openai\n      provider: openai\n      secret_key_ref: {env: OPENAI_API_KEY}\n";

/// Seed 001's whole example.
const SEED_001: &str = include_str!("../../../tests/fixtures/config/seed-001.yaml");

fn errors(text: &str) -> Vec<String> {
    match load("f.yaml", text) {
        Ok(loaded) => panic!("loaded: {loaded:?}"),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn the_seeds_whole_example_loads_but_for_the_rule_that_is_not_enforced() {
    assert_eq!(
        errors(SEED_001),
        ["f.yaml:36: policies[0].rules[0].conditions.wallet_balance: \
          the rule 'wallet_balance' of policy 'cost-governance' is configured but not enforced yet"]
    );
}

#[wasm_bindgen_test(unsupported = test)]
fn every_mistake_of_form_is_found_in_one_run() {
    let text = "providrs: 1
workflow_cache:
  enabled: 'on'
  ttl: 3
  default_tier: org
providers:
  targets: [{id: 1}, {provder: x}]
policies: 3
gateway: {role: primry}
";
    assert_eq!(
        errors(text),
        [
            "f.yaml:1: providrs: unknown field; did you mean 'providers'?",
            "f.yaml:3: workflow_cache.enabled: invalid type: string \"on\", expected a boolean",
            "f.yaml:4: workflow_cache.ttl: unknown field; did you mean 'ttl_seconds'?",
            "f.yaml:5: workflow_cache.default_tier: unknown value 'org'; did you mean 'org_shared_cache'?",
            "f.yaml:7: providers.targets[0].id: invalid type: integer `1`, expected a string; put it in quotes",
            "f.yaml:7: providers.targets[1].provder: unknown field; did you mean 'provider'?",
            "f.yaml:8: policies: invalid type: integer `3`, expected a list of policies, or a map with 'chain' and 'policy'",
            "f.yaml:9: gateway.role: unknown value 'primry'; did you mean 'primary'?",
        ]
    );
}

#[wasm_bindgen_test(unsupported = test)]
fn a_short_file_has_the_defaults_of_the_seeds() {
    let loaded = load("f.yaml", LEAST).unwrap();
    assert_eq!(loaded.warnings, []);
    let cache = loaded.config.cache;
    assert!(!cache.enabled);
    assert_eq!(cache.tier, crate::snapshot::Tier::PrivateEdge);
    assert_eq!((cache.ttl.as_secs(), cache.max_entry_tokens), (86_400, 32_000));
    assert_eq!(
        (cache.single_flight_enabled, cache.single_flight_timeout.as_millis()),
        (true, 30_000)
    );
}
