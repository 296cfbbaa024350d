//! From a value to typed fields, finding every unknown field and every wrong type in one run.

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

use super::strict::Strict;
use super::wording;
use crate::config::report::Report;

/// Reads what stands at the path `at` (empty for the whole file), and reports everything in it that is unknown
/// or of the wrong type. Finds all of it where every field of `T` is optional. What it returns lacks what it has
/// reported; `None` if there is nothing to return.
pub(in super::super) fn read<T: DeserializeOwned>(
    mut value: Value,
    at: &str,
    report: &mut Report,
) -> Option<T> {
    loop {
        let error = match serde_path_to_error::deserialize::<_, T>(Strict(&value)) {
            Ok(read) => return Some(read),
            Err(error) => error,
        };
        let field = report.in_file(&joined(at, error.path()));
        let mistake = wording::of(&error.inner().to_string());
        let around = around(&field, error.path());
        let shown = if mistake.may_name { &field } else { around };
        report.mistake(&field, shown, mistake.problem);
        if let Some(meant) = mistake.meant {
            let dot = if around.is_empty() { "" } else { "." };
            report.misspelled(format!("{around}{dot}{meant}"));
        }
        // The file without this field shows the next mistake.
        match cut(&mut value, error.path()) {
            Some(Cut::Field) => {}
            Some(Cut::Item) => report.leave_out(&field),
            None => return None,
        }
    }
}

/// What was cut.
enum Cut {
    Field,
    Item,
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
    let Some(Segment::Map { key }) = path.iter().next_back() else { return field };
    let around = field.strip_suffix(key.as_str()).unwrap_or_default();
    around.strip_suffix('.').unwrap_or(around)
}

/// Removes the innermost field or item that `path` leads to. `None` if there is none.
fn cut(value: &mut Value, path: &Path) -> Option<Cut> {
    let segments: Vec<&Segment> = path.iter().collect();
    let last = segments
        .iter()
        .rposition(|segment| matches!(segment, Segment::Map { .. } | Segment::Seq { .. }))?;
    let mut at = value;
    for (position, segment) in segments.into_iter().enumerate() {
        at = match (segment, at) {
            (Segment::Map { key }, Value::Object(fields)) if position == last => {
                return fields.remove(key).map(|_cut| Cut::Field);
            }
            (Segment::Seq { index }, Value::Array(items)) if position == last => {
                return (*index < items.len()).then(|| {
                    items.remove(*index);
                    Cut::Item
                });
            }
            (Segment::Map { key }, Value::Object(fields)) => fields.get_mut(key)?,
            (Segment::Seq { index }, Value::Array(items)) => items.get_mut(*index)?,
            _ => return None,
        };
    }
    None
}
