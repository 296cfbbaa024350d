//! JSON → SSE: tells a complete JSON answer as the stream that the provider would have sent, in few events:
//! `message_start`, each block with its deltas, `message_delta` with the end and the usage, `message_stop`.
//! No `ping`: those are about a connection that waits, and here nobody does.

use kt_contract::limits::SSE_LINE_BYTES_MAX;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::block::Block;
use crate::answer::CannotReplay;
use crate::openai::merge::{Fields, ambiguous};
use crate::openai::tell::pieces;

/// Fields of a message that only its end can say: SDKs take them from `message_delta`, its `delta`.
const OF_THE_END: &[&str] = &["stop_reason", "stop_sequence", "stop_details", "container"];

/// The same, beside the `delta`.
const BESIDE_THE_END: &[&str] = &["context_management", "input_transformations"];

/// Of usage, what `message_delta` says (again).
const USAGE_OF_THE_END: &[&str] = &[
    "input_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "output_tokens",
    "output_tokens_details",
    "server_tool_use",
    "iterations",
    "fallback_credit",
];

/// Of those, what a message cannot know when it begins.
const USAGE_LATER: &[&str] =
    &["output_tokens_details", "server_tool_use", "iterations", "fallback_credit"];

/// Tells an answer that [`super::judge()`] has found complete.
pub(super) fn stream(body: &[u8]) -> Result<Vec<u8>, CannotReplay> {
    #[derive(Deserialize)]
    struct Content<'a> {
        #[serde(borrow)]
        content: Vec<&'a RawValue>,
    }
    let unreadable = |_| ambiguous("answer");
    let mut message: Fields = serde_json::from_slice(body).map_err(unreadable)?;
    let Content { content } = serde_json::from_slice(body).map_err(unreadable)?;
    let end = take_end(&mut message)?;
    let mut told = Told::default();
    told.event("message_start", json!({ "message": message }))?;
    for (index, written) in (0..).zip(content) {
        told.block(index, Block::read(written)?)?;
    }
    told.event("message_delta", Value::Object(end))?;
    told.event("message_stop", json!({}))?;
    Ok(told.0)
}

/// Leaves in `message` what is known at its beginning, and gives what `message_delta` says.
fn take_end(message: &mut Fields) -> Result<Fields, CannotReplay> {
    let Some(Value::Object(usage)) = message.get_mut("usage") else {
        return Err(ambiguous("usage"));
    };
    let said = |name: &&&str| usage.contains_key(**name);
    let usage_of_the_end: Fields = USAGE_OF_THE_END
        .iter()
        .filter(said)
        .map(|name| ((*name).to_owned(), usage.get(*name).cloned().unwrap_or_default()))
        .collect();
    for name in USAGE_LATER {
        usage.shift_remove(*name);
    }
    // A stream begins with the first token, as far as it knows.
    let first = usage.get("output_tokens").and_then(Value::as_u64).unwrap_or(0).min(1);
    usage.insert("output_tokens".into(), first.into());
    let mut delta = Fields::new();
    for name in OF_THE_END {
        if let Some(value) = message.get_mut(*name) {
            delta.insert((*name).to_owned(), value.take());
        }
    }
    message.insert("content".into(), json!([]));
    let mut end = Fields::from_iter([("delta".to_owned(), Value::Object(delta))]);
    end.insert("usage".into(), Value::Object(usage_of_the_end));
    for name in BESIDE_THE_END {
        if let Some(value) = message.shift_remove(*name) {
            end.insert((*name).to_owned(), value);
        }
    }
    Ok(end)
}

/// The stream so far.
#[derive(Default)]
struct Told(Vec<u8>);

// === impl Told ===

impl Told {
    fn event(&mut self, kind: &str, fields: Value) -> Result<(), CannotReplay> {
        let mut event = Fields::from_iter([("type".to_owned(), kind.into())]);
        if let Value::Object(fields) = fields {
            event.extend(fields);
        }
        let data = Value::Object(event).to_string();
        if data.len() > SSE_LINE_BYTES_MAX / 2 {
            return Err(ambiguous("an event too long to be read"));
        }
        self.0.extend_from_slice(format!("event: {kind}\ndata: {data}\n\n").as_bytes());
        Ok(())
    }

    fn block(&mut self, index: u64, block: Block) -> Result<(), CannotReplay> {
        let Block { mut fields, input } = block;
        let deltas = match fields.get("type").and_then(Value::as_str) {
            Some("text") => text(&mut fields)?,
            Some("thinking") => thinking(&mut fields)?,
            // Whatever tool it is, and whoever runs it.
            Some(kind) if kind.ends_with("tool_use") => tool_input(&mut fields, input)?,
            // Everything else comes whole, as it does live.
            Some(_) => Vec::new(),
            None => return Err(ambiguous("content")),
        };
        self.event("content_block_start", json!({ "index": index, "content_block": fields }))?;
        for delta in deltas {
            self.event("content_block_delta", json!({ "index": index, "delta": delta }))?;
        }
        self.event("content_block_stop", json!({ "index": index }))
    }
}

fn text(fields: &mut Fields) -> Result<Vec<Value>, CannotReplay> {
    let text = take_text(fields, "text")?;
    let mut deltas: Vec<Value> =
        pieces(&text).map(|piece| json!({"type": "text_delta", "text": piece})).collect();
    if let Some(Value::Array(citations)) = fields.get_mut("citations") {
        let citations = citations.drain(..);
        deltas.extend(
            citations.map(|citation| json!({"type": "citations_delta", "citation": citation})),
        );
    }
    Ok(deltas)
}

fn thinking(fields: &mut Fields) -> Result<Vec<Value>, CannotReplay> {
    let thought = take_text(fields, "thinking")?;
    let mut deltas: Vec<Value> = pieces(&thought)
        .map(|piece| json!({"type": "thinking_delta", "thinking": piece}))
        .collect();
    if fields.contains_key("signature") {
        let signature = take_text(fields, "signature")?;
        deltas.push(json!({"type": "signature_delta", "signature": signature}));
    }
    Ok(deltas)
}

/// As written, digit by digit. The first piece is empty, as it is live.
fn tool_input(
    fields: &mut Fields,
    input: Option<Box<RawValue>>,
) -> Result<Vec<Value>, CannotReplay> {
    let Some(Value::Object(parsed)) = fields.get_mut("input") else {
        return Err(ambiguous("input"));
    };
    let is_empty = parsed.is_empty();
    parsed.clear();
    let written = input.filter(|_| !is_empty);
    let written = written.as_ref().map_or("", |raw| raw.get());
    let pieces = std::iter::once("").chain(pieces(written));
    Ok(pieces.map(|piece| json!({"type": "input_json_delta", "partial_json": piece})).collect())
}

/// Takes a text out of a block and leaves an empty one.
fn take_text(fields: &mut Fields, key: &str) -> Result<String, CannotReplay> {
    match fields.get_mut(key) {
        Some(Value::String(text)) => Ok(std::mem::take(text)),
        Some(_) | None => Err(ambiguous(key)),
    }
}
