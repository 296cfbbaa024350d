//! From a value to typed fields, finding every unknown field and every wrong type in one run.

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

use super::strict::Strict;
use crate::config::report::{Report, suggestion};

/// Reads what stands at the path `at` (empty for the whole file), or reports everything in it that is unknown
/// or of the wrong type. Finds all of it where every field of `T` is optional.
pub(in super::super) fn read<T: DeserializeOwned>(
    mut value: Value,
    at: &str,
    report: &mut Report,
) -> Option<T> {
    let mut clean = true;
    loop {
        let error = match serde_path_to_error::deserialize::<_, T>(Strict(&value)) {
            Ok(read) => return clean.then_some(read),
            Err(error) => error,
        };
        clean = false;
        report.error(joined(at, error.path()), wording(&error.inner().to_string()));
        // The file without this field shows the next mistake.
        if !cut(&mut value, error.path()) {
            return None;
        }
    }
}

/// The path as reports have it: serde names the outermost value `.`.
fn joined(at: &str, path: &Path) -> String {
    match (at, path.to_string().as_str()) {
        (at, ".") => at.to_owned(),
        ("", path) => path.to_owned(),
        (at, path) => format!("{at}.{path}"),
    }
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

/// Serde's message in the file's words.
fn wording(message: &str) -> String {
    for (kind, name) in [("unknown field", "unknown field"), ("unknown variant", "unknown value")] {
        if message.starts_with(kind) {
            let mut quoted = message.split('`').skip(1).step_by(2);
            let word = quoted.next().unwrap_or_default();
            let known: Vec<&str> = quoted.collect();
            let near = suggestion(word, known.iter().copied());
            // The path ends in the name of an unknown field already.
            let name = if kind == name { name.to_owned() } else { format!("{name} '{word}'") };
            return if near.is_empty() {
                format!("{name}; known here: {}", known.join(", "))
            } else {
                format!("{name}{near}")
            };
        }
    }
    let Some((found, expected)) = message.rsplit_once(", expected ") else {
        return message.to_owned();
    };
    let found = found.replace("sequence", "list");
    let number = found.contains(": integer") || found.contains(": floating point");
    let expected = match expected {
        "a string" if number => "a text; put it in quotes",
        "a string" => "a text",
        "a sequence" => "a list",
        "a boolean" => "true or false",
        "u16" => "a whole number up to 65535",
        "u32" | "u64" => "a whole number",
        structure if structure.starts_with("struct ") => "a map",
        other => other,
    };
    format!("{found}, expected {expected}")
}
