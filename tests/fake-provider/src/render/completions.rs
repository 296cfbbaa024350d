//! OpenAI's older completions.

use serde_json::{Value, json};

use super::{put, usage, usages};
use crate::answer::{Answer, Choice};

/// The whole answer.
pub(super) fn object(answer: &Answer) -> Value {
    let choices = answer.choices.iter().enumerate().map(|(index, choice)| {
        let logprobs = choice.logprobs.then(|| logprobs(&choice.pieces, 0));
        part(&choice.content(), index, logprobs, Some(choice.finish()))
    });
    let mut body = envelope(answer, choices.collect());
    if let Some(usage) = usage(answer) {
        put(&mut body, "usage", usage);
    }
    body
}

/// The answer in chunks.
pub(super) fn chunks(answer: &Answer, include_usage: bool) -> Vec<Value> {
    let mut chunks: Vec<Value> = answer
        .choices
        .iter()
        .enumerate()
        .flat_map(|(index, choice)| choice_chunks(answer, index, choice))
        .collect();
    if include_usage {
        for chunk in &mut chunks {
            put(chunk, "usage", Value::Null);
        }
        for usage in usages(answer) {
            let mut last = envelope(answer, Vec::new());
            put(&mut last, "usage", usage);
            chunks.push(last);
        }
    }
    chunks
}

fn choice_chunks(answer: &Answer, index: usize, choice: &Choice) -> Vec<Value> {
    let mut offset = 0;
    let mut chunks = Vec::new();
    for piece in &choice.pieces {
        let logprobs = choice.logprobs.then(|| logprobs(std::slice::from_ref(piece), offset));
        offset += piece.chars().count();
        chunks.push(envelope(answer, vec![part(piece, index, logprobs, None)]));
    }
    chunks.push(envelope(answer, vec![part("", index, None, Some(choice.finish()))]));
    chunks
}

fn part(text: &str, index: usize, logprobs: Option<Value>, finish: Option<&str>) -> Value {
    json!({"text": text, "index": index, "logprobs": logprobs, "finish_reason": finish})
}

fn envelope(answer: &Answer, choices: Vec<Value>) -> Value {
    json!({
        "id": answer.id,
        "object": "text_completion",
        "created": answer.created,
        "choices": choices,
        "model": answer.model,
    })
}

fn logprobs(pieces: &[String], from: usize) -> Value {
    let offsets: Vec<usize> = pieces
        .iter()
        .scan(from, |at, piece| {
            let offset = *at;
            *at += piece.chars().count();
            Some(offset)
        })
        .collect();
    let probabilities = vec![-0.25; pieces.len()];
    json!({"tokens": pieces, "token_logprobs": probabilities, "top_logprobs": null, "text_offset": offsets})
}
