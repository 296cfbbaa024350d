//! JSON → SSE: tells a complete JSON answer as the stream that the provider would have sent, in few chunks:
//! for each choice its role, its text, its tool calls and its end, then usage if asked for, then `[DONE]`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::merge::{Fields, ambiguous};
use crate::answer::CannotReplay;

/// Text is told in pieces of at most so many bytes, so that no line grows beyond what readers take.
const PIECE_BYTES_MAX: usize = 16 << 10;

/// Fields of an answer that every chunk repeats.
const REPEATED: &[&str] =
    &["id", "object", "created", "model", "service_tier", "system_fingerprint"];

/// Tells an answer that [`super::judge()`] has found complete.
pub(super) fn stream(body: &[u8], include_usage: bool) -> Result<Vec<u8>, CannotReplay> {
    let answer: Value = serde_json::from_slice(body).map_err(|_| ambiguous("answer"))?;
    let Value::Object(mut answer) = answer else { return Err(ambiguous("answer")) };
    let Some(Value::Array(choices)) = answer.shift_remove("choices") else {
        return Err(ambiguous("choices"));
    };
    let usage = answer.shift_remove("usage").filter(|_| include_usage);
    let mut teller = Teller::new(answer, include_usage);
    let mut indices = BTreeSet::new();
    for choice in choices {
        let Value::Object(choice) = choice else { return Err(ambiguous("choices")) };
        let index = choice.get("index").and_then(Value::as_u64).unwrap_or(0);
        if !indices.insert(index) {
            return Err(ambiguous("choices"));
        }
        Telling { index, logprobs: None, to: &mut teller }.choice(choice)?;
    }
    if let Some(usage) = usage {
        teller.tell(json!([]), usage);
    }
    teller.told.extend_from_slice(b"data: [DONE]\n\n");
    Ok(teller.told)
}

/// Writes chunks.
struct Teller {
    /// What every chunk repeats.
    head: Fields,
    /// What only the first chunk carries: fields of the answer that nobody knows here.
    first: Fields,
    /// Where usage was asked for, each chunk has the field.
    has_usage_field: bool,
    told: Vec<u8>,
}

/// One choice on its way.
struct Telling<'a> {
    index: u64,
    /// Where the answer has the field, every chunk has it: they go with the first text, or with the end
    /// where there is no text, and are null before and after.
    logprobs: Option<Value>,
    to: &'a mut Teller,
}

/// Whether a chunk carries the log probabilities, if no other has.
enum Logprobs {
    Told,
    Later,
}

// === impl Teller ===

impl Teller {
    fn new(mut answer: Fields, has_usage_field: bool) -> Self {
        let mut head = Fields::new();
        answer.insert("object".into(), "chat.completion.chunk".into());
        for key in REPEATED {
            if let Some(value) = answer.shift_remove(*key) {
                head.insert((*key).to_owned(), value);
            }
        }
        Self { head, first: answer, has_usage_field, told: Vec::new() }
    }

    fn tell(&mut self, choices: Value, usage: Value) {
        let mut chunk = self.head.clone();
        chunk.insert("choices".into(), choices);
        if self.has_usage_field {
            chunk.insert("usage".into(), usage);
        }
        chunk.append(&mut self.first);
        self.told.extend_from_slice(b"data: ");
        self.told.extend_from_slice(Value::Object(chunk).to_string().as_bytes());
        self.told.extend_from_slice(b"\n\n");
    }
}

// === impl Telling ===

impl Telling<'_> {
    fn choice(mut self, mut choice: Fields) -> Result<(), CannotReplay> {
        choice.shift_remove("index");
        let Some(Value::Object(mut message)) = choice.shift_remove("message") else {
            return Err(ambiguous("message"));
        };
        self.logprobs = choice.shift_remove("logprobs");
        let calls = message.shift_remove("tool_calls");
        let function_call = message.shift_remove("function_call");
        self.message(message);
        match calls {
            Some(Value::Array(calls)) => {
                for (at, call) in (0_u64..).zip(calls) {
                    self.tool_call(at, call)?;
                }
            }
            None | Some(Value::Null) => {}
            Some(_) => return Err(ambiguous("tool_calls")),
        }
        match function_call {
            Some(Value::Object(call)) => self.function_call(call),
            None | Some(Value::Null) => {}
            Some(_) => return Err(ambiguous("function_call")),
        }
        self.chunk(json!({}), Logprobs::Told, choice);
        Ok(())
    }

    /// The opening chunk has everything but text. Text follows, with what the model thought before what it
    /// said, as it comes in a live stream; JSON answers have it the other way around.
    fn message(&mut self, message: Fields) {
        let mut opening = Fields::new();
        let mut thought = Vec::new();
        let mut said = Vec::new();
        for (key, value) in message {
            let (value, text) = split_text(&key, value);
            if let Some(text) = text {
                let texts = if is_said(&key) { &mut said } else { &mut thought };
                texts.push((key.clone(), text));
            }
            opening.insert(key, value);
        }
        self.delta(Value::Object(opening));
        for (key, text) in thought.into_iter().chain(said) {
            for piece in pieces(&text) {
                self.text(&key, piece);
            }
        }
    }

    fn text(&mut self, key: &str, piece: &str) {
        let logprobs = if is_said(key) { Logprobs::Told } else { Logprobs::Later };
        self.chunk(json!({ key: piece }), logprobs, unfinished());
    }

    fn tool_call(&mut self, at: u64, call: Value) -> Result<(), CannotReplay> {
        let Value::Object(call) = call else { return Err(ambiguous("tool_calls")) };
        let mut opening = Fields::new();
        opening.insert("index".into(), at.into());
        let mut rest = Vec::new();
        for (key, value) in call {
            match (key.as_str(), value) {
                // Its number here is its place, whatever some providers number in JSON.
                ("index", _) => {}
                ("function" | "custom", Value::Object(parts)) => {
                    let (first, pieces) = split_call(parts);
                    opening.insert(key.clone(), Value::Object(first));
                    rest.push((key, pieces));
                }
                (_, value) => {
                    opening.insert(key, value);
                }
            }
        }
        self.delta(json!({ "tool_calls": [opening] }));
        for (key, pieces) in rest {
            for piece in pieces {
                self.delta(json!({ "tool_calls": [{ "index": at, &key: piece }] }));
            }
        }
        Ok(())
    }

    fn function_call(&mut self, parts: Fields) {
        let (first, pieces) = split_call(parts);
        for piece in std::iter::once(Value::Object(first)).chain(pieces) {
            self.delta(json!({ "function_call": piece }));
        }
    }

    fn delta(&mut self, delta: Value) {
        self.chunk(delta, Logprobs::Later, unfinished());
    }

    fn chunk(&mut self, delta: Value, logprobs: Logprobs, mut rest: Fields) {
        let mut told = Fields::new();
        told.insert("index".into(), self.index.into());
        told.insert("delta".into(), delta);
        if let Some(pending) = &mut self.logprobs {
            let value = match logprobs {
                Logprobs::Told => pending.take(),
                Logprobs::Later => Value::Null,
            };
            told.insert("logprobs".into(), value);
        }
        told.append(&mut rest);
        self.to.tell(json!([told]), Value::Null);
    }
}

/// What a chunk has beside its delta while the choice goes on.
fn unfinished() -> Fields {
    Fields::from_iter([("finish_reason".to_owned(), Value::Null)])
}

/// Whether a message's field is what the user reads: what log probabilities are about.
fn is_said(key: &str) -> bool {
    matches!(key, "content" | "refusal")
}

/// What of a message's field is in the opening chunk, and the text that follows in chunks of its own.
fn split_text(key: &str, value: Value) -> (Value, Option<String>) {
    match (key, value) {
        ("role", value) => (value, None),
        // OpenAI opens content with an empty string, and everything else with null.
        ("content", Value::String(text)) => (String::new().into(), Some(text)),
        (_, Value::String(text)) if !text.is_empty() => (Value::Null, Some(text)),
        (_, value) => (value, None),
    }
}

/// What opens a call, and the pieces of its arguments (of a custom tool's input).
fn split_call(parts: Fields) -> (Fields, Vec<Value>) {
    let mut first = Fields::new();
    let mut rest = Vec::new();
    for (key, value) in parts {
        match (key.as_str(), value) {
            ("arguments" | "input", Value::String(text)) => {
                rest.extend(pieces(&text).map(|piece| json!({ &key: piece })));
                first.insert(key, String::new().into());
            }
            (_, value) => {
                first.insert(key, value);
            }
        }
    }
    (first, rest)
}

/// `text` in pieces of at most [`PIECE_BYTES_MAX`], cut between characters; none for no text.
fn pieces(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let (piece, rest) = text.split_at_checked(text.floor_char_boundary(PIECE_BYTES_MAX))?;
        text = rest;
        (!piece.is_empty()).then_some(piece)
    })
}
