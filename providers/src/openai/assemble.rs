//! SSE → JSON, in the dialects that answer in choices: puts the chunks of a complete stream together into the
//! answer that the provider would have given without `stream`. What a choice makes of its chunks is the
//! dialect's.
//!
//! Of the fields of a chunk that only other providers have, the last that says something counts;
//! `obfuscation`, the padding of the wire, is dropped.

use std::collections::BTreeMap;

use serde_json::Value;

use super::judge::is_done;
use super::merge::{Fields, ambiguous, settle};
use crate::answer::CannotReplay;
use crate::outline::each_event;

/// A choice that grows.
pub(crate) trait Growing: Default {
    /// What a JSON answer of the dialect calls itself.
    const OBJECT: &'static str;

    /// Takes what the next chunk says of it.
    fn take(&mut self, choice: Fields) -> Result<(), CannotReplay>;

    /// The choice as a JSON answer has it.
    fn finish(self, index: u64) -> Result<Value, CannotReplay>;
}

/// Puts a stream together that was found complete.
pub(crate) fn assemble<C: Growing>(body: &[u8]) -> Result<Value, CannotReplay> {
    let mut answer = Answer::<C>::default();
    each_event(body, |_, data| {
        if is_done(data) {
            return Ok(());
        }
        answer.take(serde_json::from_slice(data).map_err(|_| ambiguous("chunk"))?)
    })?;
    answer.finish()
}

#[derive(Default)]
struct Answer<C> {
    fields: Fields,
    choices: BTreeMap<u64, C>,
    usage: Option<Value>,
}

// === impl Answer ===

impl<C: Growing> Answer<C> {
    fn take(&mut self, chunk: Fields) -> Result<(), CannotReplay> {
        for (key, value) in chunk {
            match (key.as_str(), value) {
                // `obfuscation` is padding of the wire, different in every chunk.
                ("object" | "obfuscation", _) | ("usage" | "choices", Value::Null) => {}
                ("usage", usage) => self.usage = Some(usage),
                ("choices", Value::Array(choices)) => {
                    for choice in choices {
                        self.take_choice(choice)?;
                    }
                }
                ("choices", _) => return Err(ambiguous("choices")),
                (_, value) => settle(&mut self.fields, key, value),
            }
        }
        Ok(())
    }

    fn take_choice(&mut self, choice: Value) -> Result<(), CannotReplay> {
        let Value::Object(choice) = choice else { return Err(ambiguous("choices")) };
        let index = choice.get("index").and_then(Value::as_u64).unwrap_or(0);
        self.choices.entry(index).or_default().take(choice)
    }

    /// Fields in OpenAI's order; readers do not mind, people do.
    fn finish(mut self) -> Result<Value, CannotReplay> {
        let mut whole = Fields::new();
        whole.insert("id".into(), self.fields.shift_remove("id").unwrap_or_default());
        whole.insert("object".into(), C::OBJECT.into());
        for key in ["created", "model"] {
            whole.insert(key.into(), self.fields.shift_remove(key).unwrap_or_default());
        }
        let choices = self.choices.into_iter().map(|(index, choice)| choice.finish(index));
        whole.insert("choices".into(), choices.collect::<Result<_, _>>()?);
        whole.insert("usage".into(), self.usage.ok_or(CannotReplay::NoUsage)?);
        whole.extend(self.fields);
        Ok(Value::Object(whole))
    }
}
