//! How pieces of a JSON answer become one value. Each rule is for one kind of field; where pieces have no one
//! meaning together, nothing is guessed: the answer is [`CannotReplay::Ambiguous`].

use serde_json::{Map, Value};

use crate::answer::CannotReplay;

/// A JSON object.
pub(crate) type Fields = Map<String, Value>;

/// A field that every chunk repeats (`id`, `model`, …): the last that says something counts.
pub(crate) fn settle(into: &mut Fields, key: String, value: Value) {
    if !is_silent(&value) || !into.contains_key(&key) {
        into.insert(key, value);
    }
}

/// A field that labels the whole (`id` or `name` of a tool call): said once, or repeated alike.
pub(crate) fn label(into: &mut Fields, key: String, value: Value) -> Result<(), CannotReplay> {
    match into.get(&key) {
        Some(before) if !is_silent(before) && !is_silent(&value) && *before != value => {
            Err(ambiguous(&key))
        }
        Some(_) | None => {
            settle(into, key, value);
            Ok(())
        }
    }
}

/// A field that comes in pieces: strings concatenate; of numbers and booleans the last counts; arrays and
/// objects come whole or not at all.
pub(crate) fn grow(into: &mut Fields, key: String, value: Value) -> Result<(), CannotReplay> {
    match (into.get_mut(&key), value) {
        (None, value) => {
            into.insert(key, value);
        }
        (Some(_), Value::Null) => {}
        (Some(Value::String(whole)), Value::String(piece)) => whole.push_str(&piece),
        (
            Some(whole @ (Value::Bool(_) | Value::Number(_))),
            next @ (Value::Bool(_) | Value::Number(_)),
        ) => {
            *whole = next;
        }
        (Some(whole), next) if is_silent(whole) => *whole = next,
        (Some(_), next) if is_silent(&next) => {}
        (Some(_), _) => return Err(ambiguous(&key)),
    }
    Ok(())
}

/// A field whose object is told in part, again and again (Azure's filter results): part by part, the last
/// that says something counts.
pub(crate) fn overlay(into: &mut Fields, key: String, value: Value) {
    match (into.get_mut(&key), value) {
        (Some(Value::Object(whole)), Value::Object(parts)) => {
            for (name, part) in parts {
                settle(whole, name, part);
            }
        }
        (_, value) => settle(into, key, value),
    }
}

/// Log probabilities: an object of arrays, each of which goes on from chunk to chunk.
pub(crate) fn extend(into: &mut Fields, key: String, value: Value) -> Result<(), CannotReplay> {
    let (Some(Value::Object(whole)), Value::Object(parts)) = (into.get_mut(&key), &value) else {
        return grow(into, key, value);
    };
    for (name, part) in parts {
        match (whole.get_mut(name), part) {
            (Some(Value::Array(items)), Value::Array(more)) => items.extend_from_slice(more),
            _ => grow(whole, name.clone(), part.clone())?,
        }
    }
    Ok(())
}

pub(crate) fn ambiguous(what: &str) -> CannotReplay {
    CannotReplay::Ambiguous { what: what.to_owned() }
}

/// What stands where nothing is said: null, nothing, and the zero of Azure's first `created`.
fn is_silent(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(_) => false,
        Value::Number(number) => number.as_u64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}
