//! The settings of `request-limits`: how much a request may ask for.

use serde::Deserialize;
use serde_json::Value;

use super::super::report::Report;
use super::REQUEST_LIMITS;
use super::detectors;
use crate::policy::RequestShape;

/// The settings as they stand in the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    max_messages: Option<u64>,
    max_tools: Option<u64>,
    max_output_tokens: Option<u64>,
}

pub(super) fn check(
    settings: Option<(String, Value)>,
    report: &mut Report,
) -> Option<RequestShape> {
    let field = detectors::field(REQUEST_LIMITS, settings.as_ref());
    let Settings { max_messages, max_tools, max_output_tokens } =
        detectors::read(settings, report)?;
    let shape = RequestShape {
        messages_max: max_messages,
        tools_max: max_tools,
        output_tokens_max: max_output_tokens,
    };
    if shape == RequestShape::default() && report.is_whole(&field) {
        report.error(
            "policies.chain",
            format!("request-limits needs one of its settings: {field}.max_messages, max_tools, max_output_tokens"),
        );
    }
    for (name, value) in [("max_messages", max_messages), ("max_output_tokens", max_output_tokens)]
    {
        if value == Some(0) {
            report.error(format!("{field}.{name}"), "is 0, so every request would be refused");
        }
    }
    Some(shape)
}
