//! A secret in the wrong place: what is said about it never repeats it.

use wasm_bindgen_test::wasm_bindgen_test;

use super::*;

const SECRET: &str = "sk-LIVESECRET999";

#[wasm_bindgen_test(unsupported = test)]
fn a_value_of_the_wrong_type_is_named_by_its_kind() {
    for (field, value, expected) in [
        ("secret_key_ref", SECRET, "expected a map, found a text"),
        ("secret_key_ref", "'sk, expected LIVESECRET999'", "expected a map, found a text"),
        ("secret_key_ref", "[sk-LIVESECRET999]", "expected a map, found a list"),
        ("secret_key_ref", "12345678", "expected a map, found a number"),
        ("secret_key_ref", "true", "expected a map, found true or false"),
        ("models", SECRET, "expected a list, found a text"),
        ("max_concurrent_requests", SECRET, "expected a whole number, found a text"),
        ("max_concurrent_requests", "-12345678", "expected a whole number, found another number"),
        ("max_concurrent_requests", "1.25", "expected a whole number, found another number"),
    ] {
        let text = format!(
            "providers:\n  targets:\n    - {{id: a, provider: openai, model: m, {field}: {value}}}\n"
        );
        let expected = format!("f.yaml:3: providers.targets[0].{field}: {expected}");
        assert_eq!(errors(&text), [expected], "{text}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_secret_in_the_wrong_place_is_not_repeated() {
    let target = |fields: &str| {
        format!("providers:\n  targets:\n    - {{id: a, provider: openai, {fields}}}\n")
    };
    let redis = |url: &str| format!("workflow_cache: {{backend: redis, redis: {{url: {url}}}}}\n");
    for text in [
        target("secret_key_ref: sk-LIVESECRET999"),
        target("secret_key_ref: {sk-LIVESECRET999}"),
        target("secret_key_ref: {sk-LIVESECRET999: {sk-LIVESECRET999: 1}}"),
        target("secret_key_ref: {sk-LIVESECRET999, sk-LIVESECRET999}"),
        target("secret_key_ref: {sk-LIVESECRET999: !x y}"),
        target("secret_key_ref: {env: sk-LIVESECRET999}"),
        target("secret_key_ref: {env: [sk-LIVESECRET999]}"),
        target("secret_key_ref: {file: {sk-LIVESECRET999: 1}}"),
        target("secret_key_ref: {store: sk-LIVESECRET999}"),
        target("sk-LIVESECRET999"),
        target("sk-LIVESECRET999, sk-LIVESECRET999"),
        target("base_url: 'https://sk-LIVESECRET999@host'"),
        target("base_url: 'https://host:sk-LIVESECRET999'"),
        target("base_url: 'sk-LIVESECRET999 x'"),
        target("base_url: sk-LIVESECRET999"),
        target("model: \"sk-LIVESECRET999\\n\""),
        target("").replace("provider: openai", "provider: sk-LIVESECRET999"),
        target("").replace("id: a", "id: 'sk-LIVESECRET999='"),
        target("secret_key_ref: &a *sk-LIVESECRET999"),
        target("secret_key_ref: *sk-LIVESECRET999"),
        target("secret_key_ref: !sk-LIVESECRET999 x"),
        target("secret_key_ref: 'sk-LIVESECRET999"),
        "providers: sk-LIVESECRET999\n".to_owned(),
        "providers: {targets: sk-LIVESECRET999}\n".to_owned(),
        "providers: {targets: [sk-LIVESECRET999]}\n".to_owned(),
        "sk-LIVESECRET999\n".to_owned(),
        "[sk-LIVESECRET999]\n".to_owned(),
        "sk-LIVESECRET999: 1\n".to_owned(),
        "gateway: {id: 'sk-LIVESECRET999='}\n".to_owned(),
        "gateway: {role: sk-LIVESECRET999}\n".to_owned(),
        "workflow_cache: {backend: sk-LIVESECRET999}\n".to_owned(),
        "wallet: {backend: postgres, url: sk-LIVESECRET999}\n".to_owned(),
        "wallet: {backend: postgres, url: {sk-LIVESECRET999: 1}}\n".to_owned(),
        "wallet: {backend: postgres, url: {env: 'postgres://kt:LIVESECRET999@db/kt'}}\n".to_owned(),
        "database: sk-LIVESECRET999\n".to_owned(),
        "database: {url: sk-LIVESECRET999}\n".to_owned(),
        "database: {url: {env: 'postgres://kt:LIVESECRET999@db/kt'}}\n".to_owned(),
        redis("sk-LIVESECRET999"),
        redis("'redis://:LIVESECRET999@cache'"),
        redis("'redis://kt:LIVESECRET999@cache:6379/0'"),
        redis("redis://LIVESECRET999@cache"),
        redis("rediss://:LIVESECRET999@cache"),
        redis("'unix:///run/redis.sock?pass=LIVESECRET999'"),
        redis("'redis-sentinel://:LIVESECRET999@a,b#main'"),
        redis("redis-cluster://:LIVESECRET999@a"),
        redis("{sk-LIVESECRET999: 1}"),
        redis("[sk-LIVESECRET999]"),
        redis("{env: 'redis://:LIVESECRET999@cache'}"),
        redis("{env: A, file: LIVESECRET999}"),
        "policies: sk-LIVESECRET999\n".to_owned(),
        "policies: {block_status: sk-LIVESECRET999}\n".to_owned(),
    ] {
        let errors = errors(&text);
        assert!(!errors.is_empty() && !format!("{errors:?}").contains("LIVESECRET"), "{errors:?}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_secret_in_an_address_is_not_in_its_warning() {
    let text = LEAST.replace(
        "secret_key_ref: {env: OPENAI_API_KEY}",
        "base_url: https://host/hooks/sk-LIVESECRET999",
    );
    let warnings = warnings(&load("f.yaml", &text).unwrap());
    assert_eq!(
        warnings,
        ["f.yaml:3: providers.targets[0].secret_key_ref: missing: requests go to https://host \
          without a credential"]
    );
}

#[wasm_bindgen_test(unsupported = test)]
fn a_misspelled_field_of_a_reference_is_still_helped() {
    let text = LEAST.replace("{env: ", "{evn: ");
    assert_eq!(
        errors(&text)[0],
        "f.yaml:5: providers.targets[0].secret_key_ref: unknown field; did you mean 'env'?"
    );
}
