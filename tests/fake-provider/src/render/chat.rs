//! OpenAI chat completions.

use serde_json::{Value, json};

use super::{argument_pieces, put, usage, usages};
use crate::answer::{Answer, Choice, ToolCall};

const FINGERPRINT: &str = "fp_fa4e000001";

/// The whole answer.
pub(super) fn object(answer: &Answer) -> Value {
    let choices: Vec<Value> = answer
        .choices
        .iter()
        .enumerate()
        .map(|(index, choice)| {
            json!({
                "index": index,
                "message": message(choice),
                "logprobs": choice.logprobs.then(|| logprobs(&choice.pieces)),
                "finish_reason": choice.finish(),
            })
        })
        .collect();
    let mut body = json!({
        "id": answer.id,
        "object": "chat.completion",
        "created": answer.created,
        "model": answer.model,
        "choices": choices,
        "service_tier": "default",
        "system_fingerprint": FINGERPRINT,
    });
    if let Some(usage) = usage(answer) {
        put(&mut body, "usage", usage);
    }
    body
}

/// The answer in chunks.
pub(super) fn chunks(answer: &Answer, include_usage: bool) -> Vec<Value> {
    let mut chunks = Vec::new();
    for (index, choice) in answer.choices.iter().enumerate() {
        chunks.push(chunk(answer, index, first_delta(choice), None, None));
        let thoughts = choice.reasoning.iter().map(|piece| json!({"reasoning_content": piece}));
        chunks.extend(thoughts.map(|delta| chunk(answer, index, delta, None, None)));
        for piece in &choice.pieces {
            let logprobs = choice.logprobs.then(|| logprobs(std::slice::from_ref(piece)));
            chunks.push(chunk(answer, index, json!({"content": piece}), None, logprobs));
        }
        for (at, call) in choice.tool_calls.iter().enumerate() {
            let deltas = tool_deltas(at, call);
            chunks.extend(deltas.into_iter().map(|delta| chunk(answer, index, delta, None, None)));
        }
        chunks.push(chunk(answer, index, json!({}), Some(choice.finish()), None));
    }
    if include_usage {
        for chunk in &mut chunks {
            put(chunk, "usage", Value::Null);
        }
        for usage in usages(answer) {
            let mut last = envelope(answer, json!([]));
            put(&mut last, "usage", usage);
            chunks.push(last);
        }
    }
    chunks
}

/// An error in OpenAI's shape.
pub(super) fn error(status: u16, message: &str) -> Value {
    let (kind, code) = match status {
        400 | 413 | 422 => ("invalid_request_error", Some("bad_request")),
        401 => ("invalid_request_error", Some("invalid_api_key")),
        403 => ("invalid_request_error", Some("forbidden")),
        404 => ("invalid_request_error", Some("model_not_found")),
        429 => ("requests", Some("rate_limit_exceeded")),
        _ => ("server_error", None),
    };
    json!({"error": {"message": message, "type": kind, "param": null, "code": code}})
}

fn message(choice: &Choice) -> Value {
    let content = choice.tool_calls.is_empty().then(|| choice.content());
    let mut message = json!({"role": "assistant", "content": content});
    if !choice.tool_calls.is_empty() {
        let of = |call: &ToolCall| {
            let function = json!({"name": call.name, "arguments": call.arguments});
            json!({"id": call.id, "type": "function", "function": function})
        };
        put(&mut message, "tool_calls", choice.tool_calls.iter().map(of).collect());
    }
    put(&mut message, "refusal", Value::Null);
    put(&mut message, "annotations", json!([]));
    if !choice.reasoning.is_empty() {
        put(&mut message, "reasoning_content", json!(choice.reasoning.concat()));
    }
    message
}

fn first_delta(choice: &Choice) -> Value {
    let content = if choice.tool_calls.is_empty() { json!("") } else { Value::Null };
    json!({"role": "assistant", "content": content, "refusal": null})
}

/// The call without arguments, then the arguments in small pieces, as providers stream them.
fn tool_deltas(at: usize, call: &ToolCall) -> Vec<Value> {
    let of = |fields: Value| json!({"tool_calls": [fields]});
    let mut deltas = vec![of(json!({
        "index": at, "id": call.id, "type": "function",
        "function": {"name": call.name, "arguments": ""},
    }))];
    let pieces = argument_pieces(&call.arguments).into_iter();
    deltas.extend(pieces.map(|piece| of(json!({"index": at, "function": {"arguments": piece}}))));
    deltas
}

fn chunk(
    answer: &Answer,
    index: usize,
    delta: Value,
    finish: Option<&str>,
    logprobs: Option<Value>,
) -> Value {
    let choice =
        json!({"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish});
    envelope(answer, json!([choice]))
}

fn envelope(answer: &Answer, choices: Value) -> Value {
    json!({
        "id": answer.id,
        "object": "chat.completion.chunk",
        "created": answer.created,
        "model": answer.model,
        "service_tier": "default",
        "system_fingerprint": FINGERPRINT,
        "choices": choices,
    })
}

fn logprobs(pieces: &[String]) -> Value {
    let tokens: Vec<Value> = pieces
        .iter()
        .map(|piece| {
            json!({"token": piece, "logprob": -0.25, "bytes": piece.as_bytes(), "top_logprobs": []})
        })
        .collect();
    json!({"content": tokens, "refusal": null})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Dialect;
    use crate::directive::Directive;
    use crate::request::Ask;

    fn answer(extra: Value) -> Answer {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "call f"}]});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let ask = Ask::read(Dialect::Chat, None, body.to_string().as_bytes()).unwrap();
        Answer::new(&ask, &Directive::default(), 7, 1_700_000_000)
    }

    #[test]
    fn a_stream_says_the_same_as_the_object() {
        let answer = answer(json!({"n": 2}));
        let object = object(&answer);
        let mut contents = vec![String::new(); 2];
        for chunk in chunks(&answer, false) {
            assert_eq!(chunk["id"], object["id"]);
            let choice = &chunk["choices"][0];
            let index = usize::try_from(choice["index"].as_u64().unwrap()).unwrap();
            contents[index].push_str(choice["delta"]["content"].as_str().unwrap_or(""));
        }
        for (index, content) in contents.iter().enumerate() {
            assert_eq!(object["choices"][index]["message"]["content"], *content);
        }
    }

    #[test]
    fn streamed_arguments_add_up() {
        let answer =
            answer(json!({"tools": [{"type": "function", "function": {"name": "f", "parameters":
            {"type": "object", "properties": {"city": {"type": "string"}}}}}]}));
        let arguments: String = chunks(&answer, false)
            .iter()
            .filter_map(|chunk| {
                let call = &chunk["choices"][0]["delta"]["tool_calls"][0];
                call["function"]["arguments"].as_str().map(str::to_owned)
            })
            .collect();
        assert_eq!(arguments, answer.choices[0].tool_calls[0].arguments);
    }

    #[test]
    fn the_usage_chunk_comes_only_where_it_was_asked_for() {
        let answer = answer(json!({}));
        let without = chunks(&answer, false);
        let with = chunks(&answer, true);
        assert_eq!(with.len(), without.len() + 1);
        assert!(with.last().unwrap()["usage"]["total_tokens"].is_u64());
        assert!(without.last().unwrap().get("usage").is_none());
    }
}
