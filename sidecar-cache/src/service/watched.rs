//! What the policy in force only watches: what it would find is counted and logged, and nothing follows.

use kt_contract::config::Judge;
use kt_contract::identify::{MODEL_ALLOWLIST, REQUEST_LIMITS};
use kt_contract::policy::{Check, Decision, Entities, Phase, RequestShape, Step, WordList};
use kt_contract::snapshot::PolicySettings;

/// Every part of the policy that only watches, with the texts that it reads: `pii-detector:phone (input, output)`. What filters
/// judge by comes first, in the order of the chain, then what sidecars ask of whole requests and answers.
pub(super) fn watched(policy: &PolicySettings, judges: &[Judge]) -> Vec<String> {
    let PolicySettings { digest: _, block_status: _, model_allowlist, request_limits, chain } =
        policy;
    let of_requests = |policy: &str, decision: Option<Decision>| {
        decision.filter(|it| !it.enforces()).map(|_| named(policy, [Phase::Input]))
    };
    let mut all = Vec::new();
    all.extend(of_requests(MODEL_ALLOWLIST, model_allowlist.as_ref().map(|list| list.decision)));
    let bounds = request_limits.filter(|bounds| *bounds != RequestShape::new(bounds.decision));
    all.extend(of_requests(REQUEST_LIMITS, bounds.map(|bounds| bounds.decision)));
    all.extend(chain.steps.iter().flat_map(of_step));
    all.extend(judges.iter().filter(|judge| !judge.decision().enforces()).map(|judge| {
        let phases = [Phase::Input, Phase::Output].into_iter().filter(|phase| judge.judges(*phase));
        named(judge.policy(), phases)
    }));
    all
}

fn of_step(Step { phases, check }: &Step) -> Vec<String> {
    let policy = check.policy();
    let of = |what: &str| named(what, phases.iter().copied());
    match check {
        Check::PiiDetector(Entities(actions)) | Check::SecretDetector(Entities(actions)) => {
            let watched = actions.iter().filter(|(_, decision)| !decision.enforces());
            watched.map(|(entity, _)| of(&format!("{policy}:{}", entity.as_str()))).collect()
        }
        Check::PromptInjection(decision)
        | Check::ToxicityFilter(decision)
        | Check::ContentPolicy(WordList { decision, terms: _, patterns: _ }) => {
            (!decision.enforces()).then(|| of(policy)).into_iter().collect()
        }
    }
}

fn named(what: &str, phases: impl IntoIterator<Item = Phase>) -> String {
    let phases: Vec<_> = phases.into_iter().map(Phase::as_str).collect();
    format!("{what} ({})", phases.join(", "))
}

#[cfg(test)]
mod tests {
    use kt_contract::config;

    use super::*;

    fn watched_by(policies: &str) -> Vec<String> {
        let text = format!(
            "pack: {{name: demo}}\nproviders: {{targets: [{{id: openai, provider: openai, models: [gpt-4o], secret_key_ref: {{env: K}}}}]}}\n{policies}"
        );
        let config = config::load("f.yaml", &text).unwrap().config;
        watched(&config.snapshot(true).policy, &config.policy.judges)
    }

    #[test]
    fn what_only_watches_is_named_with_what_it_reads() {
        let policies = "
policies:
  chain: [model-allowlist, request-limits, pii-detector, content-policy, toxicity-filter, format-check, external]
  policy:
    model-allowlist: {action: monitor, models: [gpt-4o]}
    request-limits: {action: monitor, max_messages: 3}
    pii-detector: {action: allow, apply_to: [input, output], entities: {email: redact, phone: monitor}}
    content-policy: {action: monitor, terms: [falcon]}
    toxicity-filter: {action: block}
    format-check: {action: monitor}
    external: {action: monitor, url: \"http://127.0.0.1:9/\", apply_to: [input, output]}
";
        assert_eq!(
            watched_by(policies),
            [
                "model-allowlist (input)",
                "request-limits (input)",
                "pii-detector:phone (input, output)",
                "content-policy (input, output)",
                "format-check (output)",
                "external (input, output)",
            ]
        );
    }

    #[test]
    fn what_refuses_or_redacts_is_not_watched() {
        let policies = "
policies:
  chain: [model-allowlist, request-limits, pii-detector, content-policy]
  policy:
    model-allowlist: {models: [gpt-4o]}
    request-limits: {max_messages: 3}
    pii-detector: {action: block, entities: {email: redact}}
    content-policy: {action: redact, terms: [falcon]}
";
        assert_eq!(watched_by(policies), [""; 0]);
        assert_eq!(watched_by(""), [""; 0]);
    }
}
