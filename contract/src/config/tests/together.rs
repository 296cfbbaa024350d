//! One run says all: mistakes of form and of meaning stand beside each other, and none is a mere consequence.

use wasm_bindgen_test::wasm_bindgen_test;

use super::*;

#[wasm_bindgen_test(unsupported = test)]
fn one_run_says_everything_that_is_wrong() {
    let text = "\
providrs: 1
providers:
  targets:
    - {id: a, provider: opnai, model: 1, colour: red}
    - 3
    - {id: b, provider: google, secret_key_ref: {env: A, file: b}}
    - {id: a, provider: openai, base_url: x, models: [m, 2, m]}
workflow_cache:
  ttl: 3
  backend: postgres
policies:
  chain: [1, pii-detector, tool-scope, 2]
routes: {}
gateway: {port: 0, role: 3}
";
    assert_eq!(
        errors(text),
        [
            "f.yaml:1: providrs: unknown field; did you mean 'providers'?",
            "f.yaml:4: providers.targets[0].model: expected a text, found a number; put it in quotes",
            "f.yaml:4: providers.targets[0].colour: unknown field; known here: id, provider, model, \
             models, model_version, base_url, secret_key_ref, max_concurrent_requests, \
             first_byte_timeout_ms",
            "f.yaml:4: providers.targets[0].provider: 'opnai' is no provider that is known here; did \
             you mean 'openai'?",
            "f.yaml:5: providers.targets[1]: expected a map, found a number",
            "f.yaml:6: providers.targets[2].provider: 'google' is not built yet; 'openai', 'azure' and \
             'anthropic' are",
            "f.yaml:6: providers.targets[2].secret_key_ref: has both 'env' and 'file'; use one of the \
             two",
            "f.yaml:7: providers.targets[3].models[1]: expected a text, found a number; put it in \
             quotes",
            "f.yaml:7: providers.targets[3].models: 'm' stands twice",
            "f.yaml:7: providers.targets[3].base_url: must begin with http:// or https://",
            "f.yaml:7: providers.targets[3].id: is the id of providers.targets[0] as \
             well",
            "f.yaml:9: workflow_cache.ttl: unknown field; did you mean 'ttl_seconds'?",
            "f.yaml:10: workflow_cache.backend: 'postgres' keeps entries in the database that sidecars \
             share, with the keys and invalidations that they go by. Say where it is: database: {url: \
             {env: KT_DATABASE_URL}}",
            "f.yaml:12: policies.chain[0]: expected a text, found a number; put it in quotes",
            "f.yaml:12: policies.chain[3]: expected a text, found a number; put it in quotes",
            "f.yaml:12: policies.chain[2]: 'tool-scope' is configured but not enforced yet",
            "f.yaml:13: routes: is configured but not built yet; nothing would enforce it",
            "f.yaml:14: gateway.role: expected a text, found a number; put it in quotes",
            "f.yaml:14: gateway.port: 0 is not between 1 and 65535",
        ]
    );
}

#[wasm_bindgen_test(unsupported = test)]
fn what_only_follows_from_another_mistake_is_not_said() {
    for (what, text, expected) in [
        ("no targets", "providers: {targets: 3}", "providers.targets: expected a list"),
        ("no good target", "providers: {targets: [3]}", "providers.targets[0]: expected a map"),
        ("no providers", "providers: 3", "providers: expected a map"),
        ("a misspelled list", "providers: {target: []}", "providers.target: unknown field"),
    ] {
        let errors = errors(text);
        let begins = format!("f.yaml:1: {expected}");
        assert!(errors.len() == 1 && errors[0].starts_with(&begins), "{what}: {errors:?}");
    }
    for (what, more, expected) in [
        ("a pinned model", "model_version: '1', model: 1", "model: expected"),
        ("models misspelled, so all of them", "modls: [m]", "modls: unknown"),
        ("models of a wrong type, so all of them", "models: m", "models: expected"),
        ("an empty list", "models: [1]", "models[0]: expected"),
        (
            "an empty reference",
            "model: m, secret_key_ref: {env: 1}",
            "secret_key_ref.env: expected",
        ),
        ("a wrong provider's catalogue", "provider: google", "provider: 'google' is not built"),
    ] {
        let provider = if more.contains("provider") { "" } else { "provider: openai, " };
        let errors = errors(&format!("{LEAST}    - {{id: b, {provider}{more}}}\n"));
        let begins = format!("f.yaml:6: providers.targets[1].{expected}");
        assert!(errors.len() == 1 && errors[0].starts_with(&begins), "{what}: {errors:?}");
    }
    let allowlist = "policy: {model-allowlist: {models: [m]}}";
    for (what, more, expected) in [
        (
            "a tier's switch",
            "workflow_cache: {default_tier: org_shared_cache, org_shared_enabled: 1}".to_owned(),
            "workflow_cache.org_shared_enabled: expected",
        ),
        (
            "settings without a chain",
            format!("policies: {{chain: 3, {allowlist}}}"),
            "policies.chain: expected",
        ),
        (
            "a chain without settings",
            "policies: {chain: [model-allowlist], policy: 3}".to_owned(),
            "policies.policy: expected",
        ),
        (
            "settings beside a chain that is none",
            format!("policies: 3\n{allowlist}"),
            "policies: expected",
        ),
    ] {
        let errors = errors_with(&more);
        let begins = format!("f.yaml:6: {expected}");
        assert!(errors.len() == 1 && errors[0].starts_with(&begins), "{what}: {errors:?}");
    }
}
