//! From a value to [`Raw`], finding every unknown field and every wrong type in one run.

use serde_json::Value;
use serde_path_to_error::{Path, Segment};

use super::Raw;
use crate::config::report::{Report, suggestion};

/// Reads the sections, or reports everything that is unknown or of the wrong type.
pub(in super::super) fn read(mut value: Value, report: &mut Report) -> Option<Raw> {
    let mut clean = true;
    loop {
        let error = match serde_path_to_error::deserialize::<_, Raw>(&value) {
            Ok(raw) => return clean.then_some(raw),
            Err(error) => error,
        };
        clean = false;
        let path = error.path().clone();
        report.error(spelled(&path), wording(&error.inner().to_string()));
        // Every field is optional, so the file without this one shows the next mistake.
        if !cut(&mut value, &path) {
            return None;
        }
    }
}

/// The path as `report` has it: serde names the root `.`.
fn spelled(path: &Path) -> String {
    let text = path.to_string();
    if text == "." { String::new() } else { text }
}

/// Removes the innermost field of an object that `path` leads through. False if there is none.
fn cut(value: &mut Value, path: &Path) -> bool {
    let segments: Vec<&Segment> = path.iter().collect();
    let Some(last) = segments.iter().rposition(|segment| matches!(segment, Segment::Map { .. }))
    else {
        return false;
    };
    let mut at = value;
    for (position, segment) in segments.into_iter().enumerate() {
        let inner = match (segment, at) {
            (Segment::Map { key }, Value::Object(fields)) if position == last => {
                return fields.remove(key).is_some();
            }
            (Segment::Map { key }, Value::Object(fields)) => fields.get_mut(key),
            (Segment::Seq { index }, Value::Array(items)) => items.get_mut(*index),
            _ => None,
        };
        let Some(inner) = inner else { return false };
        at = inner;
    }
    false
}

/// Serde's message in our words: a suggestion instead of a long list.
fn wording(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let kind =
        ["unknown field", "unknown variant"].into_iter().find(|kind| message.starts_with(kind));
    let (Some(kind), Some(word)) = (kind, quoted.next()) else {
        let quote = message.starts_with("invalid type: floating point")
            || message.starts_with("invalid type: integer");
        let hint =
            if quote && message.ends_with("expected a string") { "; put it in quotes" } else { "" };
        return format!("{message}{hint}");
    };
    let known: Vec<&str> = quoted.collect();
    let near = suggestion(word, known.iter().copied());
    match (kind, near.is_empty()) {
        ("unknown field", false) => format!("unknown field{near}"),
        ("unknown field", true) => format!("unknown field; known here: {}", known.join(", ")),
        (_, false) => format!("unknown value '{word}'{near}"),
        (_, true) => format!("unknown value '{word}'; known: {}", known.join(", ")),
    }
}
