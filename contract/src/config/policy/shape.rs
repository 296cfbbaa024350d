//! The settings of `request-limits`: how much a request may ask for.

use serde::Deserialize;
use serde_json::Value;

use super::super::report::Report;
use super::detectors::{self, Action};
use crate::identify::REQUEST_LIMITS;
use crate::policy::RequestShape;

/// The settings as they stand in the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    action: Option<Action>,
    max_messages: Option<u64>,
    max_tools: Option<u64>,
    max_input_tokens: Option<u64>,
    max_output_tokens: Option<u64>,
}

/// `None` where the policy bounds nothing.
pub(super) fn check(
    settings: Option<(String, Value)>,
    report: &mut Report,
) -> Option<RequestShape> {
    let field = detectors::field(REQUEST_LIMITS, settings.as_ref());
    let Settings { action, max_messages, max_tools, max_input_tokens, max_output_tokens } =
        detectors::read(settings, report)?;
    let bounds = [
        ("max_messages", max_messages),
        ("max_tools", max_tools),
        ("max_input_tokens", max_input_tokens),
        ("max_output_tokens", max_output_tokens),
    ];
    if bounds.iter().all(|(_, value)| value.is_none()) && report.is_whole(&field) {
        let [_, more @ ..] = bounds.map(|(name, _)| name);
        report.error(
            "policies.chain",
            format!(
                "request-limits needs one of its settings: {field}.max_messages, {}",
                more.join(", ")
            ),
        );
    }
    // No tool is what many want; no word of a request is what nobody does.
    for (name, _) in bounds.iter().filter(|(name, max)| *name != "max_tools" && *max == Some(0)) {
        report.error(format!("{field}.{name}"), "is 0, so that no request keeps to it");
    }
    Some(RequestShape {
        decision: detectors::without_place(&field, action, report)?,
        messages_max: max_messages,
        tools_max: max_tools,
        input_tokens_max: max_input_tokens,
        output_tokens_max: max_output_tokens,
    })
}
