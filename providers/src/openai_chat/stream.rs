//! JSON → SSE: what a choice says in its chunks, which are few: its role, its text, its tool calls and its end.

use serde_json::{Value, json};

use crate::answer::CannotReplay;
use crate::openai::merge::{Fields, ambiguous};
use crate::openai::tell::{self, Manner, Teller, pieces};

const MANNER: Manner = Manner {
    object: "chat.completion.chunk",
    choice: |to, index, choice| Telling { index, logprobs: None, to }.choice(choice),
};

/// Tells an answer that [`super::judge()`] has found complete.
pub(super) fn stream(body: &[u8], include_usage: bool) -> Result<Vec<u8>, CannotReplay> {
    tell::stream(MANNER, body, include_usage)
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

// === impl Telling ===

impl Telling<'_> {
    fn choice(mut self, mut choice: Fields) -> Result<(), CannotReplay> {
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
        self.to.choice(told);
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
