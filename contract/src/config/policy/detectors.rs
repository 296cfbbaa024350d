//! The policies that read texts: which they are, and what their settings say.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::super::raw;
use super::super::report::{Report, suggestion};
use super::words;
use crate::policy::{Check, Decision, Entities, Entity, Family, Phase, Step};

/// Personal data.
pub(super) const PII_DETECTOR: &str = "pii-detector";
/// Credentials.
pub(super) const SECRET_DETECTOR: &str = "secret-detector";
/// Words that try to be instructions.
pub(super) const PROMPT_INJECTION: &str = "prompt-injection";
/// Terms and patterns of the configuration.
pub(super) const CONTENT_POLICY: &str = "content-policy";
/// Insults and threats.
pub(super) const TOXICITY_FILTER: &str = "toxicity-filter";
/// All of them.
pub(super) const KNOWN: [&str; 5] =
    [PII_DETECTOR, SECRET_DETECTOR, PROMPT_INJECTION, CONTENT_POLICY, TOXICITY_FILTER];

/// What the file calls a decision: `allow` looks for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Action {
    Allow,
    Monitor,
    Redact,
    Block,
}

/// The settings of `pii-detector` and `secret-detector`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntitySettings {
    action: Option<Action>,
    entities: Option<BTreeMap<String, Action>>,
    apply_to: Option<BTreeSet<Phase>>,
}

/// The settings of a heuristic.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeuristicSettings {
    action: Option<Action>,
    apply_to: Option<BTreeSet<Phase>>,
}

/// The policy `name` with its settings; `None` where it looks for nothing, or is not known, which was said.
pub(super) fn check(
    name: &str,
    settings: Option<(String, Value)>,
    report: &mut Report,
) -> Option<Step> {
    match name {
        PII_DETECTOR => entities(name, Family::Pii, settings, report),
        SECRET_DETECTOR => entities(name, Family::Secret, settings, report),
        PROMPT_INJECTION => heuristic(name, Phase::Input, settings, report),
        TOXICITY_FILTER => heuristic(name, Phase::Output, settings, report),
        CONTENT_POLICY => words::check(settings, report),
        _ => None,
    }
}

fn entities(
    name: &str,
    family: Family,
    settings: Option<(String, Value)>,
    report: &mut Report,
) -> Option<Step> {
    let field = field(name, settings.as_ref());
    let EntitySettings { action, entities, apply_to } = read(settings, report)?;
    let general = action.unwrap_or(Action::Redact);
    let of_family = || Entity::ALL.iter().copied().filter(|entity| entity.family() == family);
    let mut decisions: BTreeMap<Entity, Decision> =
        of_family().filter_map(|entity| Some((entity, general.decision()?))).collect();
    for (word, action) in entities.unwrap_or_default() {
        let Some(entity) = of_family().find(|entity| entity.as_str() == word) else {
            unknown_entity(&format!("{field}.entities.{word}"), &word, of_family(), report);
            continue;
        };
        match action.decision() {
            Some(decision) => decisions.insert(entity, decision),
            None => decisions.remove(&entity),
        };
    }
    let phases = phases(&field, apply_to, &[Phase::Input, Phase::Output], report);
    let found = Entities(decisions);
    let check = match family {
        Family::Pii => Check::PiiDetector(found),
        Family::Secret => Check::SecretDetector(found),
    };
    Some(Step { phases, check })
}

/// Says that there is no such entity, and which there are.
pub(super) fn unknown_entity(
    field: &str,
    word: &str,
    known: impl Iterator<Item = Entity> + Clone,
    report: &mut Report,
) {
    let names: Vec<&str> = known.map(Entity::as_str).collect();
    let near = suggestion(word, names.iter().copied());
    let near = near.map_or_else(|| ".".to_owned(), |near| format!("; did you mean '{near}'?"));
    report.error(
        field,
        format!("is nothing that is looked for here{near} Known: {}", names.join(", ")),
    );
}

fn heuristic(
    name: &str,
    phase: Phase,
    settings: Option<(String, Value)>,
    report: &mut Report,
) -> Option<Step> {
    let field = field(name, settings.as_ref());
    let HeuristicSettings { action, apply_to } = read(settings, report)?;
    let decision = without_place(&field, action, report);
    let phases = phases(&field, apply_to, &[phase], report);
    let decision = decision?;
    let check = match phase {
        Phase::Input => Check::PromptInjection(decision),
        Phase::Output => Check::ToxicityFilter(decision),
    };
    Some(Step { phases, check })
}

/// The decision of a policy about a request or an answer as a whole; it blocks unless the file says otherwise.
pub(super) fn without_place(
    field: &str,
    action: Option<Action>,
    report: &mut Report,
) -> Option<Decision> {
    let decision = action.unwrap_or(Action::Block).decision();
    if decision == Some(Decision::Redact) {
        let problem =
            "must be 'block' or 'monitor': what it finds has no place that could be redacted";
        report.error(format!("{field}.action"), problem);
    }
    decision
}

/// The texts that are read, where the file says so.
pub(super) fn phases(
    field: &str,
    apply_to: Option<BTreeSet<Phase>>,
    default: &[Phase],
    report: &mut Report,
) -> BTreeSet<Phase> {
    let phases = apply_to.unwrap_or_else(|| default.iter().copied().collect());
    if phases.is_empty() {
        let problem =
            "reads nothing: leave the policy out of the chain, or name 'input', 'output' or both";
        report.error(format!("{field}.apply_to"), problem);
    }
    phases
}

/// The settings, or those that nothing was said of. `None` where they could not be read, which was said.
pub(super) fn read<T: DeserializeOwned + Default>(
    settings: Option<(String, Value)>,
    report: &mut Report,
) -> Option<T> {
    match settings {
        None | Some((_, Value::Null)) => Some(T::default()),
        Some((field, value)) => raw::read(value, &field, report),
    }
}

/// Where the settings of a policy stand, or would stand.
pub(super) fn field(name: &str, settings: Option<&(String, Value)>) -> String {
    settings.map_or_else(|| format!("policies.policy.{name}"), |(field, _)| field.clone())
}

// === impl Action ===

impl Action {
    pub(super) const fn decision(self) -> Option<Decision> {
        match self {
            Self::Allow => None,
            Self::Monitor => Some(Decision::Monitor),
            Self::Redact => Some(Decision::Redact),
            Self::Block => Some(Decision::Block),
        }
    }
}
