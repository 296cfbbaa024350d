//! The chain's part of the policy gate, and of the rules that a request is decided by.

use std::collections::BTreeSet;

use super::{Chain, Check, DETECTORS_VERSION, Decision, Entities, Phase, Step, WordList};
use crate::fields::Fields;

/// What of the chain a digest is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    /// What can change an answer that somebody may read: not what blocks requests. A blocked request is never looked up, and
    /// one that passes is answered as if nobody had asked.
    Answers,
    /// What can change what happens to a request.
    Requests,
}

// === impl Chain ===

impl Chain {
    /// Adds everything of the chain that can change an answer, or what happens to a request, and nothing else: what only
    /// watches is not in it.
    pub(crate) fn digest(&self, of: Of, fields: &mut Fields) {
        let enforced = |phase: Phase, decision: Decision| {
            let reading = self.steps.iter().filter(move |step| step.phases.contains(&phase));
            reading.map(move |Step { phases: _, check }| (check.policy(), check.with(decision)))
        };
        let (mut redacts, mut blocks) = (Vec::new(), BTreeSet::new());
        for phase in [Phase::Input, Phase::Output] {
            let name = phase.as_str();
            // In the chain's order: where two overlap, one gives what replaces both its name.
            let some = enforced(phase, Decision::Redact).filter(|(_, found)| !found.is_empty());
            redacts.extend(some.map(|(policy, found)| (policy, name, found)));
            if of == Of::Requests || phase == Phase::Output {
                // What is blocked is blocked whoever says so first.
                let all = enforced(phase, Decision::Block);
                blocks.extend(all.flat_map(|(policy, found)| {
                    found.into_iter().map(move |one| format!("{policy} {name} {one}"))
                }));
            }
        }
        if redacts.is_empty() && blocks.is_empty() {
            return;
        }
        fields.field(b"detectors");
        fields.field(&DETECTORS_VERSION.to_be_bytes());
        for (policy, phase, found) in redacts {
            fields.field(policy.as_bytes());
            fields.field(phase.as_bytes());
            fields.list(found);
        }
        fields.field(b"block");
        fields.list(blocks);
    }
}

// === impl Check ===

impl Check {
    /// What it does that with, each once and in an order that has nothing to say.
    fn with(&self, decision: Decision) -> BTreeSet<String> {
        match self {
            Self::PiiDetector(Entities(actions)) | Self::SecretDetector(Entities(actions)) => {
                let found = actions.iter().filter(|(_, it)| **it == decision);
                found.map(|(entity, _)| entity.as_str().to_owned()).collect()
            }
            Self::PromptInjection(it) | Self::ToxicityFilter(it) => {
                (*it == decision).then(|| "any".to_owned()).into_iter().collect()
            }
            Self::ContentPolicy(WordList { decision: it, terms, patterns }) => {
                if *it != decision {
                    return BTreeSet::new();
                }
                let kinds = [("term", terms), ("pattern", patterns)];
                kinds
                    .into_iter()
                    .flat_map(|(kind, of)| of.iter().map(move |it| format!("{kind}={it}")))
                    .collect()
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
        Chain { steps }.digest(Of::Answers, &mut fields);
        fields.finish()
    }

    fn rules(steps: Vec<Step>) -> crate::hex::Digest {
        let mut fields = Fields::keyed(&[1; 32]);
        Chain { steps }.digest(Of::Requests, &mut fields);
        fields.finish()
    }

    fn words(decision: Decision, terms: &[&str], patterns: &[&str]) -> Check {
        let [terms, patterns] = [terms, patterns].map(|of| of.iter().map(|it| (*it).to_owned()));
        let (terms, patterns) = (terms.collect(), patterns.collect());
        Check::ContentPolicy(WordList { decision, terms, patterns })
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
        let email = |decision| pii(&[(Entity::Email, decision)]);
        let two = |decision: Decision| {
            [email(decision), words(decision, &["a"], &[])].map(|it| step(&[Phase::Output], it))
        };
        let chains = [
            vec![],
            vec![step(&[Phase::Input], email(Decision::Redact))],
            vec![step(&[Phase::Output], email(Decision::Redact))],
            vec![step(&[Phase::Input, Phase::Output], email(Decision::Redact))],
            vec![step(&[Phase::Output], email(Decision::Block))],
            vec![step(&[Phase::Output], pii(&[(Entity::Phone, Decision::Block)]))],
            vec![step(&[Phase::Output], Check::ToxicityFilter(Decision::Block))],
            vec![step(&[Phase::Output], words(Decision::Block, &["a"], &["b"]))],
            vec![step(&[Phase::Output], words(Decision::Redact, &["a"], &["b"]))],
            vec![step(&[Phase::Output], words(Decision::Block, &["b"], &["a"]))],
            vec![step(&[Phase::Output], words(Decision::Block, &["a", "b"], &["b"]))],
            two(Decision::Redact).into(),
            two(Decision::Redact).into_iter().rev().collect(),
        ];
        let count = chains.len();
        let digests: BTreeSet<_> = chains.into_iter().map(|chain| digest(chain).to_hex()).collect();
        assert_eq!(digests.len(), count);
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn what_blocks_requests_changes_no_answer_and_is_in_the_rules() {
        let none = digest(Vec::new());
        let some = words(Decision::Block, &["a"], &["b"]);
        let more = words(Decision::Block, &["a", "c"], &["b"]);
        let blocking = [
            Check::PromptInjection(Decision::Block),
            pii(&[(Entity::Email, Decision::Block)]),
            some.clone(),
            more,
        ];
        let mut different = BTreeSet::from([rules(Vec::new()).to_hex()]);
        for check in blocking {
            let steps = vec![step(&[Phase::Input], check.clone())];
            assert_eq!(digest(steps.clone()), none, "{check:?}");
            assert!(different.insert(rules(steps).to_hex()), "{check:?}");
        }
        let both = |phases: &[Phase]| vec![step(phases, some.clone())];
        let (either, answers) = ([Phase::Input, Phase::Output], [Phase::Output]);
        assert_eq!(digest(both(&either)), digest(both(&answers)), "it is asked of answers in both");
        assert_ne!(rules(both(&either)), rules(both(&answers)));
        let mixed = [(Entity::Email, Decision::Block), (Entity::Phone, Decision::Redact)];
        assert_eq!(
            digest(vec![step(&[Phase::Input], pii(&mixed))]),
            digest(vec![step(&[Phase::Input], pii(&mixed[1..]))])
        );
        let watches = vec![step(&either, Check::ToxicityFilter(Decision::Monitor))];
        assert_eq!(rules(watches), rules(Vec::new()), "who only watches decides nothing");
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn an_order_that_decides_nothing_is_not_in_the_digest() {
        let output = |check| step(&[Phase::Output], check);
        for decision in [Decision::Redact, Decision::Block] {
            let list = |terms: &[&str], patterns: &[&str]| {
                let steps = vec![output(words(decision, terms, patterns))];
                (digest(steps.clone()), rules(steps))
            };
            let base = list(&["a", "b"], &["c", "d"]);
            assert_eq!(base, list(&["b", "a"], &["d", "c"]), "{decision:?}");
            assert_eq!(base, list(&["a", "b", "a"], &["c", "d", "d"]), "{decision:?}");
        }
        let mut steps = vec![
            output(Check::ToxicityFilter(Decision::Block)),
            output(pii(&[(Entity::Email, Decision::Redact)])),
            output(words(Decision::Block, &["a"], &[])),
        ];
        let (before, rules_before) = (digest(steps.clone()), rules(steps.clone()));
        steps.reverse();
        assert_eq!((digest(steps.clone()), rules(steps)), (before, rules_before));
    }
}
