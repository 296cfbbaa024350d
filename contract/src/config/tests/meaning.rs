//! What is well-formed and makes no sense, contradicts itself, or is not built yet.

use wasm_bindgen_test::wasm_bindgen_test;

use super::*;

/// The errors of a file whose one target has `fields`, which stand in line 3.
fn target_errors(fields: &str) -> Vec<String> {
    errors(&format!("providers:\n  targets:\n    - {{{fields}}}\n"))
}

#[wasm_bindgen_test(unsupported = test)]
fn numbers_have_bounds() {
    for (more, expected) in [
        ("gateway: {port: 0}", "gateway.port: 0 is not between 1 and 65535"),
        (
            "gateway: {request_bytes_max: 134217729}",
            "gateway.request_bytes_max: 134217729 is not between 1024 and 134217728",
        ),
        (
            "gateway: {admit_timeout_ms: 9}",
            "gateway.admit_timeout_ms: 9 is not between 10 and 1900: less would take a busy sidecar for a lost one",
        ),
        (
            "gateway: {admit_timeout_ms: 1901}",
            "gateway.admit_timeout_ms: 1901 is not between 10 and 1900: the ticket that such an answer may bring is \
             good for 2000 ms in all",
        ),
        (
            "workflow_cache: {ttl_seconds: 0}",
            "workflow_cache.ttl_seconds: 0 is not between 1 and 31536000",
        ),
        (
            "workflow_cache: {max_entry_tokens: 0}",
            "workflow_cache.max_entry_tokens: 0 is not between 1 and 2097152",
        ),
        (
            "workflow_cache: {max_entry_bytes: 8388609}",
            "workflow_cache.max_entry_bytes: 8388609 is not between 1 and 8388608",
        ),
        (
            "workflow_cache: {max_flight_bytes: 8388607}",
            "workflow_cache.max_flight_bytes: 8388607 is not between 8388608 and 1099511627776",
        ),
        (
            "workflow_cache: {max_bodies_bytes: 2047}\ngateway: {request_bytes_max: 2048}",
            "workflow_cache.max_bodies_bytes: 2047 has no room for one request: gateway.request_bytes_max is 2048",
        ),
        (
            "workflow_cache: {stale_if_error_seconds: 31536001}",
            "workflow_cache.stale_if_error_seconds: 31536001 is not between 0 and 31536000",
        ),
        (
            "workflow_cache: {single_flight_timeout_ms: 0}",
            "workflow_cache.single_flight_timeout_ms: 0 is not between 1 and 600000",
        ),
        (
            "workflow_cache: {memory: {max_entries: 0}}",
            "workflow_cache.memory.max_entries: 0 is not between 1 and 100000000",
        ),
        (
            "workflow_cache: {memory: {max_bytes: 1}}",
            "workflow_cache.memory.max_bytes: 1 is not between 65536 and 1099511627776",
        ),
        (
            "workflow_cache: {memory: {max_bytes: 70000, max_bytes_per_org: 70001}}",
            "workflow_cache.memory.max_bytes_per_org: 70001 is not between 65536 and 70000",
        ),
        (
            "workflow_cache: {l1: {max_bytes: 268435457}}",
            "workflow_cache.l1.max_bytes: 268435457 is not between 0 and 268435456",
        ),
        ("policies: {block_status: 200}", "policies.block_status: 200 is not between 400 and 499"),
    ] {
        assert_eq!(errors_with(more), [format!("f.yaml:6: {expected}")], "{more}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn ids_are_fit_for_headers_and_file_names() {
    for bad in ["''", "'a b'", "../x", "-x", "ä", "\"a\\nb\"", &"x".repeat(65)] {
        let errors = errors_with(&format!("gateway: {{id: {bad}, agent_gateway_group_id: {bad}}}"));
        assert!(errors[0].starts_with("f.yaml:6: gateway.id: "), "{errors:?}");
        assert!(errors[1].contains(" gateway.agent_gateway_group_id: "), "{errors:?}");
        let errors = target_errors(&format!("id: {bad}, provider: openai"));
        assert!(errors[0].starts_with("f.yaml:3: providers.targets[0].id: "), "{errors:?}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_file_without_targets_is_refused() {
    for text in ["", "# nothing\n", "providers:\n", "providers: {}\n", "providers: {targets: []}"] {
        assert_eq!(
            errors(text),
            ["f.yaml:1: providers.targets: at least one target is needed: who should answer?"],
            "{text:?}"
        );
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_target_says_all_that_is_wrong_with_it_at_once() {
    let errors = target_errors(
        "provider: opnai, model: '', models: [], model_version: '1', base_url: x, secret_key_ref: {}, \
         max_concurrent_requests: 0, first_byte_timeout_ms: 999",
    );
    let fields: Vec<_> = errors
        .iter()
        .map(|error| {
            let rest = error.strip_prefix("f.yaml:3: providers.targets[0].").unwrap();
            rest.split_once(": ").unwrap()
        })
        .collect();
    assert_eq!(
        fields,
        [
            ("id", "missing: every target has a name"),
            ("provider", "'opnai' is no provider that is known here; did you mean 'openai'?"),
            ("model", "stands beside 'models'; use one of the two"),
            ("models", "is empty; leave it out to serve every model known"),
            ("base_url", "must begin with http:// or https://"),
            ("secret_key_ref", "is empty; it needs 'env' or 'file'"),
            ("max_concurrent_requests", "0 is not between 1 and 1000000"),
            ("first_byte_timeout_ms", "999 is not between 1000 and 600000"),
        ]
    );
}

#[wasm_bindgen_test(unsupported = test)]
fn providers_that_are_not_built_are_named() {
    for provider in ["google", "local"] {
        assert_eq!(
            target_errors(&format!("id: a, provider: {provider}")),
            [format!(
                "f.yaml:3: providers.targets[0].provider: '{provider}' is not built yet; \
                 'openai', 'azure' and 'anthropic' are"
            )]
        );
    }
    assert_eq!(
        target_errors("id: a"),
        [
            "f.yaml:3: providers.targets[0].provider: missing; 'openai', 'azure' and 'anthropic' are \
          built"
        ]
    );
}

#[wasm_bindgen_test(unsupported = test)]
fn a_target_in_azure_says_where_it_is_and_what_it_serves() {
    let at = "f.yaml:3: providers.targets[0].";
    assert_eq!(
        target_errors("id: a, provider: azure"),
        [
            format!("{at}models: missing: deployments are named by whoever made them; list them"),
            format!(
                "{at}base_url: missing: an Azure resource has an address of its own, like \
                 https://NAME.openai.azure.com"
            ),
        ]
    );
    for path in ["/openai", "/openai/", "/openai/deployments/gpt-4o"] {
        assert_eq!(
            target_errors(&format!(
                "id: a, provider: azure, model: m, base_url: 'https://x.example{path}'"
            )),
            [format!(
                "{at}base_url: holds /openai, but the request's own path begins with it; leave it \
                 out"
            )]
        );
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn models_are_named_once_and_well() {
    for (fields, expected) in [
        ("models: [a, a]", "models: 'a' stands twice"),
        (
            "models: ['']",
            "models: a name is empty, longer than 256 bytes, or has control characters",
        ),
        (
            "model: \"a\\nb\"",
            "model: a name is empty, longer than 256 bytes, or has control characters",
        ),
        (
            "models: [a], model_version: '1'",
            "model_version: pins one model: it needs 'model' beside it",
        ),
    ] {
        assert_eq!(
            target_errors(&format!("id: a, provider: openai, {fields}")),
            [format!("f.yaml:3: providers.targets[0].{expected}")]
        );
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn which_target_answers_is_never_chance() {
    let targets = |of_a: &str, of_b: &str| {
        format!(
            "providers:\n  targets:\n    - {{id: a, provider: openai{of_a}}}\n    \
             - {{id: b, provider: openai{of_b}}}\n"
        )
    };
    let why = "providers.targets[0] serves it already, and fallback between targets is not built yet; name \
               the models of each target";
    assert_eq!(
        errors(&targets(", model: m", ", models: [k, m]")),
        [format!("f.yaml:4: providers.targets[1].models: 'm': {why}")]
    );
    let more = OPENAI_MODELS.len() - 1;
    let first = OPENAI_MODELS[0];
    assert_eq!(
        errors(&targets("", "")),
        [format!("f.yaml:4: providers.targets[1].models: '{first}' and {more} more: {why}")]
    );
    assert_eq!(
        errors(&targets(", model: m", ", model: k").replace("id: b", "id: a")),
        ["f.yaml:4: providers.targets[1].id: is the id of providers.targets[0] as well"]
    );
    assert!(load("f.yaml", &targets(", model: m", ", model: k")).is_ok());
}

#[wasm_bindgen_test(unsupported = test)]
fn a_secret_is_referred_to_and_never_written_down() {
    for (secret, expected) in [
        ("{env: A, file: b}", "secret_key_ref: has both 'env' and 'file'; use one of the two"),
        ("{file: ''}", "secret_key_ref.file: is no path"),
        (
            "{store: A}",
            "secret_key_ref.store: config variables of the control plane are not built yet; use \
             'env' or 'file'",
        ),
        (
            "{env: example-key-in-the-wrong-place}",
            "secret_key_ref.env: is not the name of an environment variable (the secret itself \
             does not belong here)",
        ),
    ] {
        let errors = target_errors(&format!("id: a, provider: openai, secret_key_ref: {secret}"));
        assert_eq!(errors, [format!("f.yaml:3: providers.targets[0].{expected}")]);
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn tiers_do_not_contradict_each_other() {
    let contradiction = "f.yaml:6: workflow_cache.default_tier: org_shared_cache contradicts \
                         org_shared_enabled: false (the default); set org_shared_enabled: true to \
                         share within the organization";
    for more in ["", ", org_shared_enabled: false", ", physical_gateway_private_cache_only: true"] {
        let more = format!("workflow_cache: {{default_tier: org_shared_cache{more}}}");
        assert_eq!(errors_with(&more), [contradiction], "{more}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn nothing_runs_from_a_pack_that_is_switched_off() {
    assert_eq!(
        errors_with("pack:\n  enabled: false\n"),
        ["f.yaml:7: pack.enabled: the pack is switched off, so nothing can run from this file"]
    );
}

#[wasm_bindgen_test(unsupported = test)]
fn policies_that_are_not_enforced_are_named() {
    for (more, expected) in [
        (
            "policies: {chain: [model-allow-list]}",
            "policies.chain[0]: 'model-allow-list' is configured but not enforced yet; did you \
             mean 'model-allowlist'?",
        ),
        (
            "policies: {policy: {pii-detector: {action: redact}}}",
            "policies.policy.pii-detector: has settings, but is not in policies.chain",
        ),
        (
            "policy: {spend-limit: {max_daily_usd: 500}}",
            "policy.spend-limit: has settings, but is not in policies.chain",
        ),
        ("policies: [{name: x}]", "policies[0]: policy 'x' is configured but not enforced yet"),
        (
            "policies: [{name: x, rules: [{action: allow, conditions: {moon: full}}]}]",
            "policies[0].rules[0].conditions.moon: the rule 'moon' of policy 'x' is configured \
             but not enforced yet",
        ),
    ] {
        assert_eq!(errors_with(more), [format!("f.yaml:6: {expected}")], "{more}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn the_model_allowlist_has_its_settings_once_and_right() {
    let with = |settings: &str| {
        format!("policies: {{chain: [model-allowlist], policy: {{model-allowlist: {settings}}}}}\n")
    };
    let field = "policies.policy.model-allowlist";
    let empty = "names no model, so that no request keeps to it";
    for (more, expected) in [
        (
            "policies: {chain: [model-allowlist]}\n".to_owned(),
            format!("6: policies.chain: model-allowlist needs its settings: {field}.models"),
        ),
        (with("{models: []}"), format!("6: {field}.models: {empty}")),
        (with("{}"), format!("6: {field}.models: {empty}")),
        (with("{modls: [a]}"), format!("6: {field}.modls: unknown field; did you mean 'models'?")),
        (
            with("{models: [1]}"),
            format!("6: {field}.models[0]: expected a text, found a number; put it in quotes"),
        ),
        (
            with("{models: [gpt-4o]}") + "policy: {model-allowlist: {models: [gpt-4o]}}\n",
            "7: policy.model-allowlist: has settings in policies.policy as well".to_owned(),
        ),
        (
            with("{models: [gpt-4o]}")
                .replace("[model-allowlist]", "[model-allowlist, model-allowlist]"),
            "6: policies.chain[1]: 'model-allowlist' stands twice".to_owned(),
        ),
    ] {
        assert_eq!(errors_with(&more), [format!("f.yaml:{expected}")], "{more}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn errors_stand_in_the_order_of_the_file() {
    let lines: Vec<usize> = load(
        "f.yaml",
        "workflow_cache:\n  ttl_seconds: 0\ngateway:\n  port: 0\nproviders:\n  targets: []\nroutes: {}\n",
    )
    .unwrap_err()
    .into_iter()
    .map(|error| error.line)
    .collect();
    assert_eq!(lines, [2, 4, 6, 7]);
}
