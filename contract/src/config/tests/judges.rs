//! The policies that judge as a whole: what their settings mean, what is wrong with them, and what of them is in the
//! policy gate.

use std::collections::BTreeSet;
use std::time::Duration;

use wasm_bindgen_test::wasm_bindgen_test;

use super::*;
use crate::hex::Digest;
use crate::policy::{Decision, Phase};

fn judges(more: &str) -> Vec<Judge> {
    loaded_with(more).config.policy.judges
}

/// A chain of one policy with these settings.
fn one(name: &str, settings: &str) -> String {
    format!("policies:\n  chain: ['{name}']\npolicy:\n  '{name}': {settings}\n")
}

fn digest(more: &str) -> Digest {
    loaded_with(more).config.policy.digest()
}

#[wasm_bindgen_test(unsupported = test)]
fn an_external_policy_with_its_defaults_and_with_all_of_its_settings() {
    let found = judges(&one("external", "{url: 'http://127.0.0.1:9000/judge'}"));
    let [Judge::External(external)] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(external.name, "external");
    assert_eq!(external.url.to_string(), "http://127.0.0.1:9000/judge");
    assert_eq!(external.phases, BTreeSet::from([Phase::Input, Phase::Output]));
    assert_eq!(external.decision, Decision::Block);
    assert_eq!(external.timeout, Duration::from_secs(1));
    assert_eq!((external.on_failure, external.requests_max), (OnFailure::Block, 32));
    assert_eq!(external.secret, None);

    let settings = "{url: 'http://judge', action: monitor, apply_to: [output], timeout_ms: 250, \
                    on_failure: allow, max_concurrent_requests: 4, secret_key_ref: {file: /run/t}}";
    let found = judges(&one("external:tone-2", settings));
    let [Judge::External(external)] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(external.name, "external:tone-2");
    assert_eq!(external.url.to_string(), "http://judge/");
    assert_eq!((external.url.host(), external.url.port()), ("judge", 80));
    assert_eq!(external.phases, BTreeSet::from([Phase::Output]));
    assert_eq!(external.decision, Decision::Monitor);
    assert_eq!(external.timeout, Duration::from_millis(250));
    assert_eq!((external.on_failure, external.requests_max), (OnFailure::Allow, 4));
    assert_eq!(external.secret, Some(SecretRef::File("/run/t".to_owned())));
}

#[wasm_bindgen_test(unsupported = test)]
fn what_we_judge_ourselves_and_what_is_wrong_with_its_settings() {
    let of = |settings: &str| judges(&one("hallucination-detection", settings));
    let [Judge::HallucinationDetection(found)] = of("{}")[..] else { panic!("none") };
    assert_eq!(found.decision, Decision::Monitor);
    assert_eq!((found.grounded_percent_min, found.context_words_min), (60, 50));
    assert_eq!(judges("policies: {chain: [format-check]}"), [Judge::FormatCheck(Decision::Block)]);
    assert_eq!(judges(&one("format-check", "{action: allow}")), []);
    for (name, settings, expected) in [
        (
            "format-check",
            "{action: redact}",
            "action: must be 'block' or 'monitor': what it finds has no place that could be redacted",
        ),
        ("format-check", "{apply_to: [input]}", "apply_to: unknown field; known: action"),
        (
            "hallucination-detection",
            "{action: redact}",
            "action: must be 'block' or 'monitor': what it finds has no place that could be redacted",
        ),
        (
            "hallucination-detection",
            "{min_grounded_percent: 101}",
            "min_grounded_percent: 101 is not between 1 and 100",
        ),
        (
            "hallucination-detection",
            "{min_context_words: 0}",
            "min_context_words: 0 is not between 1 and 1000000",
        ),
    ] {
        let errors = errors_with(&one(name, settings));
        assert_eq!(errors.len(), 1);
        assert!(errors[0].contains(&expected[..expected.len().min(25)]), "{errors:?}");
    }
    let digests = [
        digest(""),
        digest(&one("format-check", "{action: block}")),
        digest(&one("hallucination-detection", "{action: block}")),
        digest(&one("hallucination-detection", "{action: block, min_grounded_percent: 61}")),
        digest(&one("hallucination-detection", "{action: block, min_context_words: 51}")),
    ];
    let different: BTreeSet<String> = digests.iter().map(Digest::to_hex).collect();
    assert_eq!(different.len(), digests.len());
    assert_eq!(digest(&one("format-check", "{action: monitor}")), digests[0]);
    assert_eq!(digest("policies: {chain: [hallucination-detection]}"), digests[0]);
}

#[wasm_bindgen_test(unsupported = test)]
fn several_services_are_asked_in_the_order_of_the_chain() {
    let more = "policies:
  chain: ['external:b', pii-detector, external, 'external:a']
  policy:
    'external:a': {url: 'http://a'}
    'external:b': {url: 'http://b'}
    external: {url: 'http://c', action: allow}
";
    let found = judges(more);
    let names: Vec<&str> = found.iter().map(Judge::policy).collect();
    assert_eq!(names, ["external:b", "external:a"], "what allows everything is not asked");
}

#[wasm_bindgen_test(unsupported = test)]
fn what_is_wrong_with_an_external_policy_is_said() {
    let url = "url: 'http://j'";
    for (name, settings, expected) in [
        ("external", "{}", "f.yaml:9: policy.external.url: missing: where is the service asked?"),
        (
            "external",
            "{url: 'https://j'}",
            "f.yaml:9: policy.external.url: must begin with http://: the sidecar speaks no TLS to anybody but \
             its stores. Have an Envoy egress listener beside it speak TLS to the service, and name that one here",
        ),
        (
            "external",
            "{url: 'judge:80'}",
            "f.yaml:9: policy.external.url: must begin with http:// or https://",
        ),
        (
            "external",
            "{url: 'http://u:p@j/'}",
            "f.yaml:9: policy.external.url: must not have a query, a fragment, a user name or a password",
        ),
        (
            "external",
            &format!("{{{url}, action: redact}}"),
            "f.yaml:9: policy.external.action: must be 'block' or 'monitor': what it finds has no place that \
             could be redacted",
        ),
        (
            "external",
            &format!("{{{url}, timeout_ms: 5}}"),
            "f.yaml:9: policy.external.timeout_ms: 5 is not between 10 and 30000",
        ),
        (
            "external",
            &format!("{{{url}, secret_key_ref: {{store: x}}}}"),
            "f.yaml:9: policy.external.secret_key_ref.store: config variables of the control plane are not \
             built yet; use 'env' or 'file'",
        ),
        (
            "external:Tone",
            &format!("{{{url}}}"),
            "f.yaml:7: policies.chain[0]: 'external:Tone' is no name: behind 'external:' stand 1 to 40 \
             lower-case letters, digits or '-'",
        ),
    ] {
        assert_eq!(errors_with(&one(name, settings)), [expected], "{name} {settings}");
    }
    assert_eq!(
        errors_with("policies: {chain: [external]}"),
        ["f.yaml:6: policies.chain: external needs its settings: policies.policy.external.url"]
    );
}

#[wasm_bindgen_test(unsupported = test)]
fn a_lost_sidecar_would_leave_a_request_unjudged_too() {
    let direct = "gateway: {on_sidecar_loss: direct}\n";
    for phase in ["input", "output"] {
        let settings = format!("{{url: 'http://j', apply_to: [{phase}], action: monitor}}");
        let errors = errors_with(&format!("{direct}{}", one("external", &settings)));
        assert_eq!(
            errors,
            [
                "f.yaml:6: gateway.on_sidecar_loss: 'direct' lets pass what 'external' has not judged, as the \
              sidecar asks it; use 'unavailable'"
            ]
        );
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_token_that_leaves_the_machine_in_the_clear_is_warned_of() {
    for (host, is_warned) in [("localhost", false), ("judge", true)] {
        let settings = format!("{{url: 'http://{host}', secret_key_ref: {{env: T}}}}");
        let loaded = loaded_with(&one("external", &settings));
        let warned = warnings(&loaded).iter().any(|it| it.contains("crosses the network"));
        assert_eq!(warned, is_warned, "{host}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn what_of_a_service_can_change_an_answer_is_in_the_policy_gate_and_nothing_else() {
    let of =
        |settings: &str| digest(&one("external", &format!("{{url: 'http://j/a', {settings}}}")));
    let plain = of("action: block");
    for same in [
        "timeout_ms: 99",
        "on_failure: allow",
        "max_concurrent_requests: 1",
        "secret_key_ref: {env: T}",
    ] {
        assert_eq!(of(same), plain, "{same}");
    }
    let nothing = digest("");
    assert_eq!(of("action: monitor"), nothing);
    let others = [
        plain,
        nothing,
        of("apply_to: [input]"),
        of("apply_to: [output]"),
        digest(&one("external", "{url: 'http://j/b'}")),
        digest(&one("external:x", "{url: 'http://j/a'}")),
    ];
    let different: BTreeSet<String> = others.iter().map(Digest::to_hex).collect();
    assert_eq!(different.len(), others.len());
}
