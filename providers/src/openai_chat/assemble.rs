//! SSE → JSON: what a choice makes of its chunks.
//!
//! The shape is OpenAI's. Of the fields that only other providers have, this is made:
//!
//! * of a delta (`reasoning_content`, …): strings concatenate, of numbers and booleans the last counts;
//!   arrays and objects that come more than once are refused, because nobody here knows how they grow;
//! * of a choice (`content_filter_results`, …): the last that says something counts;
//! * the numbering inside `tool_calls` is dropped.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::answer::CannotReplay;
use crate::openai::assemble::{self, Growing};
use crate::openai::merge::{Fields, ambiguous, extend, grow, label, overlay, settle};

/// Puts a stream together that [`super::judge()`] has found complete.
pub(super) fn assemble(body: &[u8]) -> Result<Value, CannotReplay> {
    assemble::assemble::<Choice>(body)
}

/// See [`crate::Dialect::assembled`].
pub(crate) fn assembled(stream: &[u8]) -> Option<Vec<u8>> {
    Some(assemble(stream).ok()?.to_string().into_bytes())
}

#[derive(Default)]
struct Choice {
    fields: Fields,
    message: Fields,
    tool_calls: BTreeMap<u64, Fields>,
}

// === impl Choice ===

impl Growing for Choice {
    const OBJECT: &'static str = "chat.completion";

    fn take(&mut self, choice: Fields) -> Result<(), CannotReplay> {
        for (key, value) in choice {
            match (key.as_str(), value) {
                ("index", _) | ("delta", Value::Null) => {}
                ("delta", Value::Object(delta)) => self.take_delta(delta)?,
                ("delta", _) => return Err(ambiguous("delta")),
                ("logprobs", value) => extend(&mut self.fields, key, value)?,
                (_, value) => overlay(&mut self.fields, key, value),
            }
        }
        Ok(())
    }

    fn finish(self, index: u64) -> Result<Value, CannotReplay> {
        let Self { mut fields, mut message, tool_calls } = self;
        let mut told = Fields::new();
        told.insert(
            "role".into(),
            message.shift_remove("role").unwrap_or_else(|| "assistant".into()),
        );
        told.insert("content".into(), message.shift_remove("content").unwrap_or_default());
        // A provider that sent `tool_calls` as something else than a list has been kept in `message`.
        if !tool_calls.is_empty() && message.contains_key("tool_calls") {
            return Err(ambiguous("tool_calls"));
        }
        told.extend(message);
        if !tool_calls.is_empty() {
            let calls = tool_calls.into_values().map(Value::Object).collect();
            told.insert("tool_calls".into(), Value::Array(calls));
        }
        let mut choice = Fields::new();
        choice.insert("index".into(), index.into());
        choice.insert("message".into(), Value::Object(told));
        for key in ["logprobs", "finish_reason"] {
            if let Some(value) = fields.shift_remove(key) {
                choice.insert(key.into(), value);
            }
        }
        choice.extend(fields);
        Ok(Value::Object(choice))
    }
}

impl Choice {
    fn take_delta(&mut self, delta: Fields) -> Result<(), CannotReplay> {
        for (key, value) in delta {
            match (key.as_str(), value) {
                ("tool_calls" | "function_call", Value::Null) => {}
                ("role", value) => settle(&mut self.message, key, value),
                ("tool_calls", Value::Array(calls)) => {
                    for (at, call) in (0..).zip(calls) {
                        self.take_tool_call(at, call)?;
                    }
                }
                ("function_call", Value::Object(parts)) => {
                    take_call_parts(&mut self.message, key, parts)?;
                }
                (_, value) => grow(&mut self.message, key, value)?,
            }
        }
        Ok(())
    }

    /// `at` is the call's place in its delta, for providers that do not number calls.
    fn take_tool_call(&mut self, at: u64, call: Value) -> Result<(), CannotReplay> {
        let Value::Object(mut call) = call else { return Err(ambiguous("tool_calls")) };
        let index = match call.shift_remove("index") {
            None | Some(Value::Null) => at,
            Some(index) => index.as_u64().ok_or_else(|| ambiguous("tool_calls"))?,
        };
        let whole = self.tool_calls.entry(index).or_default();
        for (key, value) in call {
            match (key.as_str(), value) {
                // Two ids under one index are two calls that a provider failed to number.
                ("id" | "type", value) => label(whole, key, value)?,
                ("function" | "custom", Value::Object(parts)) => {
                    take_call_parts(whole, key, parts)?;
                }
                (_, value) => grow(whole, key, value)?,
            }
        }
        Ok(())
    }
}

/// The parts of one call: its name labels it, its arguments (a custom tool's input) come in pieces.
fn take_call_parts(into: &mut Fields, key: String, parts: Fields) -> Result<(), CannotReplay> {
    let entry = into.entry(key.as_str()).or_insert_with(|| Fields::new().into());
    let Value::Object(whole) = entry else { return Err(ambiguous(&key)) };
    for (name, part) in parts {
        match name.as_str() {
            "name" => label(whole, name, part)?,
            _ => grow(whole, name, part)?,
        }
    }
    Ok(())
}
