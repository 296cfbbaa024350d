//! From a value to typed fields, finding every unknown field and every wrong type in one run.

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

use super::strict::Strict;
use super::wording;
use crate::config::report::Report;

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
        let field = joined(at, error.path());
        let mistake = wording::of(&error.inner().to_string());
        let shown = if mistake.may_name { &field } else { around(&field, error.path()) };
        report.error_as(&field, shown, mistake.problem);
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

/// The path of what holds the field that `path` ends in.
fn around<'a>(field: &'a str, path: &Path) -> &'a str {
    let Some(Segment::Map { key }) = path.iter().last() else { return field };
    let around = field.strip_suffix(key.as_str()).unwrap_or_default();
    around.strip_suffix('.').unwrap_or(around)
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
