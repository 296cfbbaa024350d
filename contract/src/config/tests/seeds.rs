//! The examples that users have in their hands.

use wasm_bindgen_test::wasm_bindgen_test;

use super::*;

macro_rules! seed {
    ($name:literal) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tests/fixtures/config/",
            $name,
            ".yaml"
        ))
    };
}

#[wasm_bindgen_test(unsupported = test)]
fn the_whole_example_of_seed_001_loads_but_for_the_rule_that_is_not_enforced() {
    assert_eq!(
        errors(seed!("seed-001")),
        ["f.yaml:36: policies[0].rules[0].conditions.wallet_balance: the rule 'wallet_balance' \
          of policy 'cost-governance' is configured but not enforced yet"]
    );
}

#[wasm_bindgen_test(unsupported = test)]
fn without_its_rule_it_runs_and_says_what_is_missing() {
    let (text, _) = seed!("seed-001").split_once("policies:").unwrap();
    let loaded = load("f.yaml", text).unwrap();
    assert_eq!(
        warnings(&loaded),
        [
            "f.yaml:5: providers.targets[0].secret_key_ref: missing: requests go to \
             https://api.openai.com without a credential",
            "f.yaml:16: fabric.enabled: fabric is not built yet: no context is attached, and every \
             answer says X-Fabric-Attached: false",
        ]
    );
    assert!(loaded.config.targets[0].serves("gpt-4o"));
}

#[wasm_bindgen_test(unsupported = test)]
fn the_prompt_cache_example_of_seed_001_fails_for_its_policy() {
    assert_eq!(
        errors(seed!("seed-001-prompt-cache")),
        ["f.yaml:11: policies.chain[0]: 'audit-logger' is configured but not enforced yet"]
    );
}

#[wasm_bindgen_test(unsupported = test)]
fn the_backend_example_of_seed_001_loads() {
    let loaded = loaded_with(seed!("seed-001-backend"));
    let Memory { max_entries, max_bytes, max_bytes_per_org } = loaded.config.cache.memory;
    assert_eq!((max_entries, max_bytes), (100_000, 512 << 20));
    assert_eq!(max_bytes_per_org, max_bytes, "who has set no bound has the whole");
}

#[wasm_bindgen_test(unsupported = test)]
fn the_team_example_of_seed_003_fails_for_its_policies() {
    assert_eq!(
        errors(seed!("seed-003-team")),
        [
            "f.yaml:8: policies.chain[0]: 'pii-detector' is configured but not enforced yet",
            "f.yaml:9: policies.chain[1]: 'audit-logger' is configured but not enforced yet",
        ]
    );
}

#[wasm_bindgen_test(unsupported = test)]
fn the_environment_example_of_seed_003_fails_for_its_policies_and_its_store() {
    assert_eq!(
        errors(seed!("seed-003-environment")),
        [
            "f.yaml:7: policies.chain[0]: 'spend-limit' is configured but not enforced yet",
            "f.yaml:8: policies.chain[1]: 'audit-logger' is configured but not enforced yet",
            "f.yaml:21: providers.targets[0].secret_key_ref.store: config variables of the control \
             plane are not built yet; use 'env' or 'file'",
        ]
    );
}

#[wasm_bindgen_test(unsupported = test)]
fn sections_of_seed_002_are_known_and_not_built() {
    let more = "budgets: {organization: {daily_limit_usd: 1000}}
routes: [{name: coding}]
fallback: {primary: {provider: anthropic}}
wallet: {}
";
    let expected = |line, name| {
        format!("f.yaml:{line}: {name}: is configured but not built yet; nothing would enforce it")
    };
    assert_eq!(
        errors_with(more),
        [(6, "budgets"), (7, "routes"), (8, "fallback"), (9, "wallet")]
            .map(|(line, name)| expected(line, name))
    );
}
