//! JSON → SSE, in the dialects that answer in choices: writes the chunks of a told stream. What a choice says
//! in its chunks is the dialect's.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::merge::{Fields, ambiguous};
use crate::answer::CannotReplay;

/// Text is told in pieces of at most so many bytes, so that no line grows beyond what readers take.
const PIECE_BYTES_MAX: usize = 16 << 10;

/// Fields of an answer that every chunk repeats.
const REPEATED: &[&str] =
    &["id", "object", "created", "model", "service_tier", "system_fingerprint"];

/// How a dialect tells choices.
#[derive(Clone, Copy)]
pub(crate) struct Manner {
    /// What a chunk calls itself.
    pub(crate) object: &'static str,
    /// Tells one choice, given its index.
    pub(crate) choice: fn(&mut Teller, u64, Fields) -> Result<(), CannotReplay>,
}

/// Tells an answer that was found complete: choice by choice, then usage if asked for, then `[DONE]`.
pub(crate) fn stream(
    manner: Manner,
    body: &[u8],
    include_usage: bool,
) -> Result<Vec<u8>, CannotReplay> {
    let answer: Value = serde_json::from_slice(body).map_err(|_| ambiguous("answer"))?;
    let Value::Object(mut answer) = answer else { return Err(ambiguous("answer")) };
    let Some(Value::Array(choices)) = answer.shift_remove("choices") else {
        return Err(ambiguous("choices"));
    };
    let usage = answer.shift_remove("usage").filter(|_| include_usage);
    answer.insert("object".into(), manner.object.into());
    let mut teller = Teller::new(answer, include_usage);
    let mut indices = BTreeSet::new();
    for choice in choices {
        let Value::Object(mut choice) = choice else { return Err(ambiguous("choices")) };
        let index = choice.shift_remove("index").as_ref().and_then(Value::as_u64).unwrap_or(0);
        if !indices.insert(index) {
            return Err(ambiguous("choices"));
        }
        (manner.choice)(&mut teller, index, choice)?;
    }
    if let Some(usage) = usage {
        teller.tell(json!([]), usage);
    }
    teller.told.extend_from_slice(b"data: [DONE]\n\n");
    Ok(teller.told)
}

/// Writes chunks.
pub(crate) struct Teller {
    /// What every chunk repeats.
    head: Fields,
    /// What only the first chunk carries: fields of the answer that nobody knows here.
    first: Fields,
    /// Where usage was asked for, each chunk has the field.
    has_usage_field: bool,
    told: Vec<u8>,
}

// === impl Teller ===

impl Teller {
    fn new(mut answer: Fields, has_usage_field: bool) -> Self {
        let mut head = Fields::new();
        for key in REPEATED {
            if let Some(value) = answer.shift_remove(*key) {
                head.insert((*key).to_owned(), value);
            }
        }
        Self { head, first: answer, has_usage_field, told: Vec::new() }
    }

    /// Writes a chunk of one choice.
    pub(crate) fn choice(&mut self, choice: Fields) {
        self.tell(json!([choice]), Value::Null);
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

/// `text` in pieces of at most [`PIECE_BYTES_MAX`], cut between characters; none for no text.
pub(crate) fn pieces(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let (piece, rest) = text.split_at_checked(text.floor_char_boundary(PIECE_BYTES_MAX))?;
        text = rest;
        (!piece.is_empty()).then_some(piece)
    })
}
