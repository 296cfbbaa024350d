//! The policies that read texts: what their settings mean, in both spellings, and what is wrong with them.

use wasm_bindgen_test::wasm_bindgen_test;

use super::*;
use crate::policy::{Check, Decision, Entities, Entity, Phase, RequestShape, Step, WordList};

const BOTH: [Phase; 2] = [Phase::Input, Phase::Output];

fn chain(more: &str) -> Vec<Step> {
    loaded_with(more).config.policy.chain.steps
}

fn step(phases: &[Phase], check: Check) -> Step {
    Step { phases: phases.iter().copied().collect(), check }
}

fn entities(of: &[(Entity, Decision)]) -> Entities {
    Entities(of.iter().copied().collect())
}

const PII: [Entity; 6] = [
    Entity::Email,
    Entity::Phone,
    Entity::CreditCard,
    Entity::Iban,
    Entity::NationalId,
    Entity::IpAddress,
];
const SECRETS: [Entity; 4] =
    [Entity::ApiKey, Entity::AccessToken, Entity::PrivateKey, Entity::Password];

fn all(of: &[Entity], decision: Decision) -> Entities {
    Entities(of.iter().map(|entity| (*entity, decision)).collect())
}

#[wasm_bindgen_test(unsupported = test)]
fn the_default_chain_stands_for_three() {
    let expected = [
        step(&BOTH, Check::PiiDetector(all(&PII, Decision::Redact))),
        step(&BOTH, Check::SecretDetector(all(&SECRETS, Decision::Redact))),
        step(&[Phase::Input], Check::PromptInjection(Decision::Block)),
    ];
    assert_eq!(chain("policies: {chain: [default]}"), expected);
    assert_eq!(
        chain("policies: {chain: [pii-detector, secret-detector, prompt-injection]}"),
        expected
    );
    assert_eq!(
        errors_with("policies: {chain: [secret-detector, default]}"),
        ["f.yaml:6: policies.chain[1]: 'secret-detector' stands before it, and is part of it"]
    );
}

#[wasm_bindgen_test(unsupported = test)]
fn answers_that_are_read_do_not_go_past_the_sidecar() {
    let direct = |policies: &str| format!("gateway: {{on_sidecar_loss: direct}}\n{policies}");
    for reader in ["pii-detector", "secret-detector", "toxicity-filter"] {
        let problem = format!(
            "f.yaml:6: gateway.on_sidecar_loss: 'direct' lets answers pass that '{reader}' has not read; \
             use 'unavailable', or have it read requests only: apply_to: [input]"
        );
        assert_eq!(errors_with(&direct(&format!("policies: {{chain: [{reader}]}}"))), [problem]);
        let requests_only =
            format!("policies: {{chain: [{reader}], policy: {{{reader}: {{apply_to: [input]}}}}}}");
        assert_eq!(chain(&direct(&requests_only)).len(), 1);
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn the_chain_keeps_the_order_of_the_file() {
    let names =
        |more: &str| -> Vec<&str> { chain(more).iter().map(|step| step.check.policy()).collect() };
    assert_eq!(
        names(
            "policies: {chain: [toxicity-filter, model-allowlist, pii-detector], policy: {model-allowlist: {models: [gpt-4o]}}}"
        ),
        ["toxicity-filter", "pii-detector"]
    );
}

#[wasm_bindgen_test(unsupported = test)]
fn each_kind_of_entity_may_have_its_own_action() {
    let more = "policies:
  chain: [pii-detector, secret-detector]
policy:
  pii-detector:
    action: monitor
    apply_to: [input]
    entities: {email: redact, credit-card: block, ip-address: allow}
  secret-detector:
    action: allow
    entities: {private-key: block}
";
    let expected = [
        step(
            &[Phase::Input],
            Check::PiiDetector(entities(&[
                (Entity::Email, Decision::Redact),
                (Entity::Phone, Decision::Monitor),
                (Entity::CreditCard, Decision::Block),
                (Entity::Iban, Decision::Monitor),
                (Entity::NationalId, Decision::Monitor),
            ])),
        ),
        step(&BOTH, Check::SecretDetector(entities(&[(Entity::PrivateKey, Decision::Block)]))),
    ];
    assert_eq!(chain(more), expected);
}

#[wasm_bindgen_test(unsupported = test)]
fn words_and_bounds_are_as_written() {
    let more = "policies:
  chain: [content-policy, toxicity-filter, request-limits]
  policy:
    content-policy: {action: redact, terms: [Project Falcon], patterns: ['ACME-\\d{4}'], apply_to: [output]}
    toxicity-filter: {action: monitor}
    request-limits: {max_messages: 50, max_tools: 0, max_output_tokens: 4096}
";
    let words = WordList {
        decision: Decision::Redact,
        terms: vec!["Project Falcon".to_owned()],
        patterns: vec!["ACME-\\d{4}".to_owned()],
    };
    assert_eq!(
        chain(more),
        [
            step(&[Phase::Output], Check::ContentPolicy(words)),
            step(&[Phase::Output], Check::ToxicityFilter(Decision::Monitor)),
        ]
    );
    let expected = RequestShape {
        messages_max: Some(50),
        tools_max: Some(0),
        output_tokens_max: Some(4_096),
        ..RequestShape::new(Decision::Block)
    };
    assert_eq!(loaded_with(more).config.policy.request_limits, Some(expected));
}

#[wasm_bindgen_test(unsupported = test)]
fn rules_say_the_same_in_the_other_spelling_and_the_first_that_names_a_kind_decides() {
    let more = "policies:
- name: privacy
  rules:
  - {action: allow, conditions: {pii-detector: ip-address}}
  - {action: block, conditions: {pii-detector: [credit-card, ip-address]}}
  - {action: redact, conditions: {pii-detector: any}}
- name: house
  rules:
  - {action: block, conditions: {content-policy: {terms: [falcon]}}}
  - {action: monitor, conditions: {prompt-injection: any}}
";
    let rest: Vec<Entity> = PII
        .into_iter()
        .filter(|entity| ![Entity::CreditCard, Entity::IpAddress].contains(entity))
        .collect();
    let falcon = WordList {
        decision: Decision::Block,
        terms: vec!["falcon".to_owned()],
        patterns: Vec::new(),
    };
    assert_eq!(
        chain(more),
        [
            step(&BOTH, Check::PiiDetector(entities(&[(Entity::CreditCard, Decision::Block)]))),
            step(&BOTH, Check::PiiDetector(all(&rest, Decision::Redact))),
            step(&BOTH, Check::ContentPolicy(falcon)),
            step(&[Phase::Input], Check::PromptInjection(Decision::Monitor)),
        ]
    );
}

/// The settings of one policy in the chain.
fn with(name: &str, settings: &str) -> String {
    format!("policies: {{chain: [{name}], policy: {{{name}: {settings}}}}}")
}

const AT: &str = "policies.policy";
const WHOLE: &str =
    "must be 'block' or 'monitor': what it finds has no place that could be redacted";

fn each_is_an_error<const ROWS: usize>(rows: [(String, String); ROWS]) {
    for (more, expected) in rows {
        assert_eq!(errors_with(&more), [format!("f.yaml:6: {expected}")], "{more}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn settings_of_detectors_that_cannot_be_are_errors() {
    each_is_an_error([
        (
            with("pii-detector", "{entities: {e-mail: block}}"),
            format!(
                "{AT}.pii-detector.entities.e-mail: is nothing that is looked for here; did you mean \
                 'email'? Known: email, phone, credit-card, iban, national-id, ip-address"
            ),
        ),
        (
            with("secret-detector", "{entities: {email: block}}"),
            format!(
                "{AT}.secret-detector.entities.email: is nothing that is looked for here. Known: \
                 api-key, access-token, private-key, password"
            ),
        ),
        (
            with("pii-detector", "{action: delete}"),
            format!(
                "{AT}.pii-detector.action: unknown value; known here: allow, monitor, redact, \
                 block"
            ),
        ),
        (
            with("pii-detector", "{apply_to: []}"),
            format!(
                "{AT}.pii-detector.apply_to: reads nothing: leave the policy out of the chain, or \
                 name 'input', 'output' or both"
            ),
        ),
        (
            with("prompt-injection", "{action: redact}"),
            format!(
                "{AT}.prompt-injection.action: must be 'block' or 'monitor': what it finds has no \
                 place that could be redacted"
            ),
        ),
    ]);
}

#[wasm_bindgen_test(unsupported = test)]
fn words_and_bounds_that_cannot_be_are_errors() {
    each_is_an_error([
        (
            with("content-policy", "{}"),
            format!(
                "{AT}.content-policy: has neither terms nor patterns, so nothing would be found"
            ),
        ),
        (
            with("content-policy", "{terms: ['']}"),
            format!("{AT}.content-policy.terms[0]: is empty, and would be found everywhere"),
        ),
        (
            with("content-policy", "{patterns: ['a*']}"),
            format!(
                "{AT}.content-policy.patterns[0]: matches the empty text, and would be found \
                 everywhere"
            ),
        ),
        (
            with("content-policy", "{patterns: ['(?=a)b']}"),
            format!(
                "{AT}.content-policy.patterns[0]: is no pattern that can be searched for in linear \
                 time: look-around, including look-ahead and look-behind, is not supported"
            ),
        ),
        (
            with("content-policy", "{patterns: ['\\w{500}']}"),
            format!(
                "{AT}.content-policy.patterns[0]: is too large: compiled it would take more than \
                 262144 bytes; use smaller repetitions"
            ),
        ),
        (
            with("request-limits", "{max_messages: 0}"),
            format!("{AT}.request-limits.max_messages: is 0, so that no request keeps to it"),
        ),
        (
            with("request-limits", "{max_input_tokens: 0}"),
            format!("{AT}.request-limits.max_input_tokens: is 0, so that no request keeps to it"),
        ),
        (
            with("request-limits", "{max_tools: 3, action: redact}"),
            format!("{AT}.request-limits.action: {WHOLE}"),
        ),
        (
            with("model-allowlist", "{models: [m], action: redact}"),
            format!("{AT}.model-allowlist.action: {WHOLE}"),
        ),
    ]);
}

#[wasm_bindgen_test(unsupported = test)]
fn chains_and_rules_that_lack_something_are_errors() {
    each_is_an_error([
        (
            "policies: {chain: [content-policy]}".to_owned(),
            format!(
                "policies.chain: content-policy needs its settings: {AT}.content-policy.terms, \
                 {AT}.content-policy.patterns, or both"
            ),
        ),
        (
            "policies: {chain: [request-limits]}".to_owned(),
            format!(
                "policies.chain: request-limits needs one of its settings: \
                 {AT}.request-limits.max_messages, max_tools, max_input_tokens, max_output_tokens"
            ),
        ),
        (
            "policies: [{name: x, rules: [{action: drop, conditions: {pii-detector: any}}]}]".to_owned(),
            "policies[0].rules[0].action: must be 'allow', 'block', 'redact' or 'monitor'".to_owned(),
        ),
        (
            "policies: [{name: x, rules: [{action: block, conditions: {pii-detector: []}}]}]".to_owned(),
            "policies[0].rules[0].conditions.pii-detector: names nothing to look for; 'any' stands \
             for all of it"
                .to_owned(),
        ),
        (
            "policies: [{name: x, rules: [{action: block, conditions: {pii-detectr: any}}]}]".to_owned(),
            "policies[0].rules[0].conditions.pii-detectr: the rule 'pii-detectr' of policy 'x' is \
             configured but not enforced yet; did you mean 'pii-detector'?"
                .to_owned(),
        ),
    ]);
}

#[wasm_bindgen_test(unsupported = test)]
fn a_stricter_policy_has_another_digest_and_the_same_one_again_the_old() {
    let digest = |more: &str| loaded_with(more).config.snapshot(false).policy.digest;
    let pii = |settings: &str| {
        digest(&format!(
            "policies: {{chain: [pii-detector], policy: {{pii-detector: {settings}}}}}"
        ))
    };
    let redacts = pii("{action: redact}");
    assert_eq!(redacts, pii("{}"), "the default, written out");
    assert_ne!(redacts, pii("{entities: {credit-card: block}}"));
    assert_ne!(redacts, digest(""));
    assert_eq!(pii("{action: monitor}"), digest(""), "who only watches changes no answer");
    let limits = "policies: {chain: [request-limits], policy: {request-limits: {max_messages: 3}}}";
    assert_eq!(digest(limits), digest(""));
}
