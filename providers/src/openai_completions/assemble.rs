//! SSE → JSON: what a choice makes of its chunks. Text concatenates, the arrays of its log probabilities go on;
//! of a field that only other providers have, the last that says something counts.

use serde_json::Value;

use crate::answer::CannotReplay;
use crate::openai::assemble::{self, Growing};
use crate::openai::merge::{Fields, ambiguous, extend, grow, overlay};

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
}

// === impl Choice ===

impl Growing for Choice {
    const OBJECT: &'static str = "text_completion";

    fn take(&mut self, choice: Fields) -> Result<(), CannotReplay> {
        for (key, value) in choice {
            match (key.as_str(), value) {
                ("index", _) => {}
                ("text", value @ (Value::Null | Value::String(_))) => {
                    grow(&mut self.fields, key, value)?;
                }
                ("text", _) => return Err(ambiguous("text")),
                // Some servers end with a chunk of chat. One that says something in it is not understood.
                ("delta", Value::Null) => {}
                ("delta", Value::Object(delta)) if delta.is_empty() => {}
                ("delta", _) => return Err(ambiguous("delta")),
                ("logprobs", value) => extend(&mut self.fields, key, value)?,
                (_, value) => overlay(&mut self.fields, key, value),
            }
        }
        Ok(())
    }

    fn finish(mut self, index: u64) -> Result<Value, CannotReplay> {
        let mut choice = Fields::new();
        let text = self.fields.shift_remove("text").filter(Value::is_string);
        choice.insert("text".into(), text.unwrap_or_else(|| "".into()));
        choice.insert("index".into(), index.into());
        for key in ["logprobs", "finish_reason"] {
            if let Some(value) = self.fields.shift_remove(key) {
                choice.insert(key.into(), value);
            }
        }
        choice.extend(self.fields);
        Ok(Value::Object(choice))
    }
}
