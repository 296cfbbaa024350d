//! The chain's part of the policy gate.

use super::{Chain, Check, DETECTORS_VERSION, Entities, Step, WordList};
use crate::fields::Fields;

// === impl Chain ===

impl Chain {
    /// Adds everything of the chain that can change an answer, and nothing else: what only watches is not in it.
    pub(crate) fn digest(&self, fields: &mut Fields) {
        let mut is_first = true;
        for Step { phases, check } in &self.steps {
            let found = check.enforced();
            if found.is_empty() {
                continue;
            }
            if std::mem::take(&mut is_first) {
                fields.field(b"detectors");
                fields.field(&DETECTORS_VERSION.to_be_bytes());
            }
            fields.field(check.policy().as_bytes());
            fields.list(phases.iter().map(|phase| phase.as_str()));
            fields.list(found);
        }
    }
}

// === impl Check ===

impl Check {
    /// What of it changes what somebody reads, as fields of a digest.
    fn enforced(&self) -> Vec<String> {
        match self {
            Self::PiiDetector(Entities(actions)) | Self::SecretDetector(Entities(actions)) => {
                let enforced = actions.iter().filter(|(_, decision)| decision.enforces());
                enforced
                    .map(|(entity, it)| format!("{}={}", entity.as_str(), it.as_str()))
                    .collect()
            }
            Self::PromptInjection(decision) | Self::ToxicityFilter(decision) => {
                decision.enforces().then(|| decision.as_str().to_owned()).into_iter().collect()
            }
            Self::ContentPolicy(WordList { decision, terms, patterns }) => {
                if !decision.enforces() {
                    return Vec::new();
                }
                let kinds = [("term", terms), ("pattern", patterns)];
                let words = kinds
                    .into_iter()
                    .flat_map(|(kind, of)| of.iter().map(move |it| format!("{kind}={it}")));
                std::iter::once(decision.as_str().to_owned()).chain(words).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use std::collections::BTreeSet;

    use super::super::{Decision, Entity, Phase};
    use super::*;

    fn step(phases: &[Phase], check: Check) -> Step {
        Step { phases: phases.iter().copied().collect(), check }
    }

    fn digest(steps: Vec<Step>) -> crate::hex::Digest {
        let mut fields = Fields::keyed(&[1; 32]);
        Chain { steps }.digest(&mut fields);
        fields.finish()
    }

    fn pii(actions: &[(Entity, Decision)]) -> Check {
        Check::PiiDetector(Entities(actions.iter().copied().collect()))
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn what_only_watches_is_not_in_the_digest() {
        let both = [Phase::Input, Phase::Output];
        let none = digest(Vec::new());
        assert_eq!(digest(vec![step(&both, pii(&[(Entity::Email, Decision::Monitor)]))]), none);
        assert_eq!(digest(vec![step(&both, Check::ToxicityFilter(Decision::Monitor))]), none);
        let watched = [(Entity::Email, Decision::Redact), (Entity::Phone, Decision::Monitor)];
        let enforced = [(Entity::Email, Decision::Redact)];
        assert_eq!(
            digest(vec![step(&both, pii(&watched))]),
            digest(vec![step(&both, pii(&enforced))])
        );
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn everything_that_can_change_an_answer_is_in_the_digest() {
        let words = |decision, term: &str, pattern: &str| {
            let (terms, patterns) = (vec![term.to_owned()], vec![pattern.to_owned()]);
            Check::ContentPolicy(WordList { decision, terms, patterns })
        };
        let email = |decision| pii(&[(Entity::Email, decision)]);
        let chains = [
            vec![],
            vec![step(&[Phase::Input], email(Decision::Redact))],
            vec![step(&[Phase::Output], email(Decision::Redact))],
            vec![step(&[Phase::Output], email(Decision::Block))],
            vec![step(&[Phase::Output], pii(&[(Entity::Phone, Decision::Block)]))],
            vec![step(&[Phase::Input], Check::PromptInjection(Decision::Block))],
            vec![step(&[Phase::Output], Check::ToxicityFilter(Decision::Block))],
            vec![step(&[Phase::Output], words(Decision::Block, "a", "b"))],
            vec![step(&[Phase::Output], words(Decision::Redact, "a", "b"))],
            vec![step(&[Phase::Output], words(Decision::Block, "b", "a"))],
            vec![
                step(&[Phase::Output], Check::ToxicityFilter(Decision::Block)),
                step(&[Phase::Output], email(Decision::Redact)),
            ],
            vec![
                step(&[Phase::Output], email(Decision::Redact)),
                step(&[Phase::Output], Check::ToxicityFilter(Decision::Block)),
            ],
        ];
        let count = chains.len();
        let digests: BTreeSet<_> = chains.into_iter().map(|chain| digest(chain).to_hex()).collect();
        assert_eq!(digests.len(), count);
    }
}
