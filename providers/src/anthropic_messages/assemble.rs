//! SSE → JSON: puts the events of a complete stream together into the answer that the provider would have
//! given without `stream`, as its SDKs do: the message that the stream begins with, its blocks with their
//! deltas, and what `message_delta` says at the end. Usage is cumulative: what is told last counts, field by
//! field. An event or a delta that nobody knows here is refused, because it could mean anything.

use std::collections::BTreeMap;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::block::Block;
use crate::answer::CannotReplay;
use crate::openai::merge::{Fields, ambiguous};
use crate::outline::each_event;

/// See [`crate::Dialect::assembled`].
pub(crate) fn assembled(stream: &[u8]) -> Option<Vec<u8>> {
    assemble(stream).ok()
}

/// Puts a stream together that [`super::judge()`] has found complete.
pub(super) fn assemble(body: &[u8]) -> Result<Vec<u8>, CannotReplay> {
    let mut answer = Answer::default();
    each_event(body, |_, data| {
        answer.take(serde_json::from_slice(data).map_err(|_| ambiguous("event"))?)
    })?;
    answer.finish()
}

/// What a message begins as: nothing that follows says otherwise.
const BEGUN: [&str; 5] = ["content", "id", "model", "role", "type"];
/// What the delta of a message alone may say.
const ENDED: [&str; 2] = ["stop_reason", "stop_sequence"];

#[derive(Default)]
struct Answer {
    message: Fields,
    blocks: BTreeMap<u64, Open>,
}

/// A block while its deltas come.
struct Open {
    fields: Fields,
    /// The pieces of its `input`, so far.
    input: String,
}

/// An answer as it is written: the fields of the message, `content` in its place.
struct Written {
    message: Fields,
    content: Vec<Block>,
}

// === impl Answer ===

impl Answer {
    fn take(&mut self, mut event: Fields) -> Result<(), CannotReplay> {
        let kind = event.shift_remove("type");
        match kind.as_ref().and_then(Value::as_str).unwrap_or_default() {
            "message_start" => self.start(event),
            "content_block_start" => {
                let Some(Value::Object(fields)) = event.shift_remove("content_block") else {
                    return Err(ambiguous("content_block"));
                };
                let open = Open { fields, input: String::new() };
                self.blocks.insert(index(&event)?, open);
                Ok(())
            }
            "content_block_delta" => {
                let Some(Value::Object(delta)) = event.shift_remove("delta") else {
                    return Err(ambiguous("delta"));
                };
                let block = self.blocks.get_mut(&index(&event)?);
                block.ok_or_else(|| ambiguous("index"))?.take(delta)
            }
            "message_delta" => self.end(event),
            "content_block_stop" | "message_stop" => Ok(()),
            _ => Err(ambiguous("event")),
        }
    }

    fn start(&mut self, mut event: Fields) -> Result<(), CannotReplay> {
        let Some(Value::Object(message)) = event.shift_remove("message") else {
            return Err(ambiguous("message"));
        };
        match message.get("content") {
            Some(Value::Array(blocks)) if blocks.is_empty() => {}
            Some(_) | None => return Err(ambiguous("content")),
        }
        self.message = message;
        Ok(())
    }

    /// `delta` and whatever stands beside it say more about the message; `usage` adds to what it had.
    fn end(&mut self, event: Fields) -> Result<(), CannotReplay> {
        for (key, value) in event {
            match (key.as_str(), value) {
                ("delta", Value::Object(delta)) => {
                    let odd =
                        BEGUN.into_iter().chain(["usage"]).find(|key| delta.contains_key(*key));
                    if let Some(key) = odd {
                        return Err(ambiguous(key));
                    }
                    overlay(&mut self.message, delta);
                }
                ("usage", Value::Object(more)) => match self.message.get_mut("usage") {
                    Some(Value::Object(usage)) => overlay(usage, more),
                    Some(_) | None => {
                        self.message.insert(key, Value::Object(more));
                    }
                },
                ("delta" | "usage", _) => return Err(ambiguous(&key)),
                (odd, _) if BEGUN.contains(&odd) || ENDED.contains(&odd) => {
                    return Err(ambiguous(odd));
                }
                (_, value) => overlay(&mut self.message, Fields::from_iter([(key, value)])),
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Vec<u8>, CannotReplay> {
        let content = self.blocks.into_values().map(Open::finish).collect::<Result<_, _>>()?;
        let written = Written { message: self.message, content };
        serde_json::to_vec(&written).map_err(|_| ambiguous("answer"))
    }
}

// === impl Open ===

impl Open {
    fn take(&mut self, mut delta: Fields) -> Result<(), CannotReplay> {
        let kind = delta.shift_remove("type");
        match kind.as_ref().and_then(Value::as_str).unwrap_or_default() {
            "text_delta" => self.append("text", &delta),
            "thinking_delta" => self.append("thinking", &delta),
            "signature_delta" => self.append("signature", &delta),
            "input_json_delta" => {
                let piece = delta.get("partial_json").and_then(Value::as_str);
                self.input.push_str(piece.ok_or_else(|| ambiguous("partial_json"))?);
                Ok(())
            }
            "citations_delta" => {
                let citation =
                    delta.shift_remove("citation").ok_or_else(|| ambiguous("citation"))?;
                match self.fields.get_mut("citations") {
                    Some(Value::Array(citations)) => citations.push(citation),
                    None | Some(Value::Null) => {
                        self.fields.insert("citations".into(), Value::Array(vec![citation]));
                    }
                    Some(_) => return Err(ambiguous("citations")),
                }
                Ok(())
            }
            "compaction_delta" => {
                overlay(&mut self.fields, delta);
                Ok(())
            }
            _ => Err(ambiguous("delta")),
        }
    }

    fn append(&mut self, key: &str, delta: &Fields) -> Result<(), CannotReplay> {
        match (self.fields.get_mut(key), delta.get(key)) {
            (Some(Value::String(whole)), Some(Value::String(piece))) => whole.push_str(piece),
            (None | Some(Value::Null), Some(piece @ Value::String(_))) => {
                self.fields.insert(key.to_owned(), piece.clone());
            }
            (_, _) => return Err(ambiguous(key)),
        }
        Ok(())
    }

    fn finish(self) -> Result<Block, CannotReplay> {
        let Self { fields, input } = self;
        if input.is_empty() {
            return Ok(Block { fields, input: None });
        }
        // Half of an input, or none that is JSON: what the provider would have made of it, nobody knows.
        let input: Box<RawValue> =
            serde_json::from_str(input.trim_ascii()).map_err(|_| ambiguous("input"))?;
        if !input.get().starts_with('{') || !fields.contains_key("input") {
            return Err(ambiguous("input"));
        }
        Ok(Block { fields, input: Some(input) })
    }
}

// === impl Written ===

impl Serialize for Written {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.message.len()))?;
        for (key, value) in &self.message {
            match key.as_str() {
                "content" => map.serialize_entry(key, &self.content)?,
                _ => map.serialize_entry(key, value)?,
            }
        }
        map.end()
    }
}

/// Null says nothing where something was said.
fn overlay(into: &mut Fields, from: Fields) {
    for (key, value) in from {
        if !value.is_null() || !into.contains_key(&key) {
            into.insert(key, value);
        }
    }
}

fn index(event: &Fields) -> Result<u64, CannotReplay> {
    event.get("index").and_then(Value::as_u64).ok_or_else(|| ambiguous("index"))
}
