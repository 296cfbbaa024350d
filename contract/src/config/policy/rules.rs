//! The list spelling of `policies`: named lists of rules, each an action and the condition under which it is taken.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::raw::{self, NamedPolicy, Rule};
use super::super::report::{Report, suggestion};
use super::detectors::{
    self, Action, CONTENT_POLICY, PII_DETECTOR, PROMPT_INJECTION, SECRET_DETECTOR, TOXICITY_FILTER,
};
use super::words;
use crate::policy::{Chain, Check, Decision, Entities, Entity, Family, Phase, Step};

/// The condition about money, and the word that it takes.
const WALLET_BALANCE: &str = "wallet_balance";
const SUFFICIENT: &str = "sufficient";
/// What stands for every kind that a policy finds.
const ANY: &str = "any";

/// What the rules come to.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// Whether one of them lets calls through only while the wallet has the money for them.
    pub(super) needs_wallet_balance: bool,
    /// Those that read texts, in their order.
    pub(super) chain: Chain,
    /// What an earlier rule has decided about; a later one does not take it back.
    decided: BTreeSet<Entity>,
}

/// Reads every rule. The first that names a kind of entity decides about it.
pub(super) fn check(policies: Vec<NamedPolicy>, report: &mut Report) -> Rules {
    let mut read = Rules::default();
    for (at, NamedPolicy { name, rules }) in policies.into_iter().enumerate() {
        let name = name.as_deref().unwrap_or("(without a name)");
        let rules = rules.unwrap_or_default();
        let has_conditions =
            rules.iter().any(|rule| rule.conditions.as_ref().is_some_and(|it| !it.is_empty()));
        if !has_conditions {
            let problem = format!("policy '{name}' is configured but not enforced yet");
            report.error(format!("policies[{at}]"), problem);
        }
        for (rule, Rule { action, conditions }) in rules.into_iter().enumerate() {
            let rule = format!("policies[{at}].rules[{rule}]");
            for (condition, value) in conditions.unwrap_or_default() {
                let field = format!("{rule}.conditions.{condition}");
                if condition == WALLET_BALANCE {
                    read.needs_wallet_balance = true;
                    check_balance(&rule, &field, action.as_deref(), &value, report);
                } else if detectors::KNOWN.contains(&condition.as_str()) {
                    if let Some(action) = read_action(&rule, action.as_deref(), report) {
                        let step = read.step(&condition, (&field, value), action, report);
                        read.chain.steps.extend(step);
                    }
                } else {
                    unknown(&field, name, &condition, report);
                }
            }
        }
    }
    read
}

fn unknown(field: &str, policy: &str, condition: &str, report: &mut Report) {
    let known = detectors::KNOWN.into_iter().chain([WALLET_BALANCE]);
    let near = suggestion(condition, known)
        .map_or_else(String::new, |near| format!("; did you mean '{near}'?"));
    let problem = format!(
        "the rule '{condition}' of policy '{policy}' is configured but not enforced yet{near}"
    );
    report.error(field, problem);
}

fn check_balance(
    rule: &str,
    field: &str,
    action: Option<&str>,
    value: &Value,
    report: &mut Report,
) {
    if value.as_str() != Some(SUFFICIENT) {
        report.error(field, format!("is not what belongs here: known is '{SUFFICIENT}'"));
    }
    let field = format!("{rule}.action");
    if action != Some("allow") && report.is_whole(&field) {
        report.error(
            field,
            "must be 'allow': requests go on where the wallet has the money for them, and are \
             refused where it has not",
        );
    }
}

fn read_action(rule: &str, action: Option<&str>, report: &mut Report) -> Option<Action> {
    let found = match action {
        Some("allow") => Some(Action::Allow),
        Some("monitor") => Some(Action::Monitor),
        Some("redact") => Some(Action::Redact),
        Some("block") => Some(Action::Block),
        Some(_) | None => None,
    };
    let field = format!("{rule}.action");
    if found.is_none() && report.is_whole(&field) {
        report.error(field, "must be 'allow', 'block', 'redact' or 'monitor'");
    }
    found
}

/// The kinds that a condition names: one, a list, or `any`.
fn kinds(field: &str, value: Value, family: Family, report: &mut Report) -> BTreeSet<Entity> {
    let of_family = || Entity::ALL.iter().copied().filter(|entity| entity.family() == family);
    let words: Vec<String> = match value {
        Value::String(word) => vec![word],
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            raw::read(value, field, report).unwrap_or_default()
        }
    };
    if words.is_empty() && report.is_whole(field) {
        report.error(field, format!("names nothing to look for; '{ANY}' stands for all of it"));
    }
    let mut kinds = BTreeSet::new();
    for word in words {
        if word == ANY {
            kinds.extend(of_family());
        } else if let Some(entity) = of_family().find(|entity| entity.as_str() == word) {
            kinds.insert(entity);
        } else {
            detectors::unknown_entity(field, &word, of_family(), report);
        }
    }
    kinds
}

// === impl Rules ===

impl Rules {
    /// What a rule looks for, if it is more than earlier ones have decided.
    fn step(
        &mut self,
        condition: &str,
        (field, value): (&str, Value),
        action: Action,
        report: &mut Report,
    ) -> Option<Step> {
        let both = BTreeSet::from([Phase::Input, Phase::Output]);
        let decision = action.decision();
        match condition {
            PII_DETECTOR | SECRET_DETECTOR => {
                let family = if condition == PII_DETECTOR { Family::Pii } else { Family::Secret };
                let kinds = kinds(field, value, family, report);
                let fresh: Vec<Entity> =
                    kinds.into_iter().filter(|kind| self.decided.insert(*kind)).collect();
                let decision = decision?;
                let found = Entities(fresh.into_iter().map(|entity| (entity, decision)).collect());
                let check = match family {
                    Family::Pii => Check::PiiDetector(found),
                    Family::Secret => Check::SecretDetector(found),
                };
                Some(Step { phases: both, check })
            }
            PROMPT_INJECTION | TOXICITY_FILTER => {
                if value.as_str() != Some(ANY) {
                    report.error(field, format!("is not what belongs here: known is '{ANY}'"));
                }
                let decision = decision?;
                if decision == Decision::Redact {
                    report.error(
                        field,
                        "cannot be redacted: its rule's action is 'block' or 'monitor'",
                    );
                }
                let (phase, check) = if condition == PROMPT_INJECTION {
                    (Phase::Input, Check::PromptInjection(decision))
                } else {
                    (Phase::Output, Check::ToxicityFilter(decision))
                };
                Some(Step { phases: [phase].into(), check })
            }
            CONTENT_POLICY => {
                let list = words::of_rule(field, value, decision?, report)?;
                Some(Step { phases: both, check: Check::ContentPolicy(list) })
            }
            _ => None,
        }
    }
}
