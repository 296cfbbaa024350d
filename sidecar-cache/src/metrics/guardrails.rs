//! What policies have found, and what became of it.

use kt_contract::policy::{Decision, Phase};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Counted by policy, which is the configuration's word, and never by what a client wrote.
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
        let asked = Asked { policy: policy.to_owned(), phase: phase.as_str(), outcome };
        self.asked.get_or_create(&asked).inc();
    }

    pub(super) fn found(&self, policy: &str, phase: Phase, decision: Decision) {
        let (policy, phase, action) = (policy.to_owned(), phase.as_str(), decision.as_str());
        self.findings.get_or_create(&Finding { policy, phase, action }).inc();
    }

    pub(super) fn blocked(&self, policy: &str, phase: Phase, count: u64) {
        let block = Block { policy: policy.to_owned(), phase: phase.as_str() };
        self.blocks.get_or_create(&block).inc_by(count);
    }
}
