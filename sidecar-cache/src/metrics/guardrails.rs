//! What policies have found, and what became of it.

use kt_contract::policy::{Decision, Phase};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Counted by policy, and never by what a client or an organization wrote: `external:NAME` is `external`.
#[derive(Debug, Default)]
pub(super) struct Guardrails {
    blocks: Family<Block, Counter>,
    findings: Family<Finding, Counter>,
    asked: Family<Asked, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Block {
    policy: String,
    phase: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Finding {
    policy: String,
    phase: &'static str,
    action: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    policy: String,
    phase: &'static str,
    outcome: &'static str,
}

/// What a policy is called in metrics: its kind. The names of `external:NAME` are as many as the organizations like.
fn label(policy: &str) -> String {
    policy.split_once(':').map_or(policy, |(kind, _)| kind).to_owned()
}

// === impl Guardrails ===

impl Guardrails {
    pub(super) fn register(&self, r: &mut Registry) {
        r.register(
            "llm_guardrail_blocks",
            "Requests and answers that a policy did not let pass",
            self.blocks.clone(),
        );
        r.register(
            "kt_guardrail_findings",
            "Kinds of things that policies have found in requests and answers",
            self.findings.clone(),
        );
        r.register(
            "kt_external_policy_requests",
            "Questions to the services of external policies, and what became of them",
            self.asked.clone(),
        );
    }

    pub(super) fn asked(&self, policy: &str, phase: Phase, outcome: &'static str) {
        let asked = Asked { policy: label(policy), phase: phase.as_str(), outcome };
        self.asked.get_or_create(&asked).inc();
    }

    pub(super) fn found(&self, policy: &str, phase: Phase, decision: Decision) {
        let (policy, phase, action) = (label(policy), phase.as_str(), decision.as_str());
        self.findings.get_or_create(&Finding { policy, phase, action }).inc();
    }

    pub(super) fn blocked(&self, policy: &str, phase: Phase, count: u64) {
        let block = Block { policy: label(policy), phase: phase.as_str() };
        self.blocks.get_or_create(&block).inc_by(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_external_policies_make_no_series_of_their_own() {
        let guardrails = Guardrails::default();
        for policy in ["external", "external:tone", "external:x"] {
            guardrails.found(policy, Phase::Input, Decision::Block);
            guardrails.blocked(policy, Phase::Input, 1);
            guardrails.asked(policy, Phase::Input, "allow");
        }
        let mut registry = Registry::default();
        guardrails.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert_eq!(text.matches("policy=\"external\"").count(), 3, "{text}");
        assert_eq!(text.matches("policy=").count(), 3, "{text}");
    }
}
