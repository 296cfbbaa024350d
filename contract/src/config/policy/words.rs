//! The settings of `content-policy`: terms and patterns of the configuration's owner.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use super::super::raw;
use super::super::report::Report;
use super::detectors::{self, Action, CONTENT_POLICY};
use crate::limits::{WORD_BYTES_MAX, WORDS_MAX};
use crate::policy::{Check, Decision, Phase, Step, WordList, pattern};

/// The settings as they stand in the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct WordSettings {
    action: Option<Action>,
    terms: Option<Vec<String>>,
    patterns: Option<Vec<String>>,
    apply_to: Option<BTreeSet<Phase>>,
}

pub(super) fn check(settings: Option<(String, Value)>, report: &mut Report) -> Option<Step> {
    let field = detectors::field(CONTENT_POLICY, settings.as_ref());
    if settings.is_none() && report.is_whole("policies.policy") && report.is_whole("policy") {
        let problem =
            format!("content-policy needs its settings: {field}.terms, {field}.patterns, or both");
        report.error("policies.chain", problem);
        return None;
    }
    let WordSettings { action, terms, patterns, apply_to } = detectors::read(settings, report)?;
    let phases = detectors::phases(&field, apply_to, &[Phase::Input, Phase::Output], report);
    let decision = action.unwrap_or(Action::Block).decision()?;
    let list = list(&field, decision, [terms, patterns].map(Option::unwrap_or_default), report);
    Some(Step { phases, check: Check::ContentPolicy(list) })
}

/// The condition of a rule: terms and patterns.
pub(super) fn of_rule(
    field: &str,
    value: Value,
    decision: Decision,
    report: &mut Report,
) -> Option<WordList> {
    /// What stands in the condition.
    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Words {
        terms: Option<Vec<String>>,
        patterns: Option<Vec<String>>,
    }

    let Words { terms, patterns } = raw::read(value, field, report)?;
    Some(list(field, decision, [terms, patterns].map(Option::unwrap_or_default), report))
}

/// Terms and patterns that can be looked for, or what is wrong with them.
fn list(
    field: &str,
    decision: Decision,
    [terms, patterns]: [Vec<String>; 2],
    report: &mut Report,
) -> WordList {
    if terms.is_empty() && patterns.is_empty() && report.is_whole(field) {
        report.error(field, "has neither terms nor patterns, so nothing would be found");
    }
    for (name, words) in [("terms", &terms), ("patterns", &patterns)] {
        if words.len() > WORDS_MAX {
            report.error(format!("{field}.{name}"), format!("has more than {WORDS_MAX} items"));
        }
        for (at, word) in words.iter().enumerate() {
            let field = format!("{field}.{name}[{at}]");
            if word.trim().is_empty() {
                report.error(field, "is empty, and would be found everywhere");
            } else if word.len() > WORD_BYTES_MAX {
                report.error(field, format!("is longer than {WORD_BYTES_MAX} bytes"));
            } else if name == "patterns"
                && let Err(problem) = pattern::compile(word)
            {
                report.error(field, problem.to_string());
            }
        }
    }
    WordList { decision, terms, patterns }
}
