//! An answer in the two shapes of chat completions: one JSON object, or the events of a stream.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::answer::{Answer, Choice, INVALID_UTF8_MARK, ToolCall};

const FINGERPRINT: &str = "fp_fa4e000001";
const ARGUMENT_CHARS: usize = 6;

/// The whole answer as one object.
#[must_use]
pub(crate) fn object(answer: &Answer) -> Bytes {
    let choices: Vec<Value> = answer
        .choices
        .iter()
        .enumerate()
        .map(|(index, choice)| {
            json!({
                "index": index,
                "message": message(choice),
                "logprobs": choice.logprobs.then(|| logprobs(&choice.pieces)),
                "finish_reason": choice.finish,
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
    if let (Some(usage), Some(fields)) = (&answer.usage, body.as_object_mut()) {
        fields.insert("usage".to_owned(), usage.clone());
    }
    spoiled(body.to_string())
}

/// The answer as a stream's events, without the final `[DONE]`.
#[must_use]
pub(crate) fn events(answer: &Answer, include_usage: bool) -> Vec<Bytes> {
    let mut chunks = Vec::new();
    for (index, choice) in answer.choices.iter().enumerate() {
        chunks.push(chunk(answer, index, first_delta(choice), None, None));
        for piece in &choice.pieces {
            let logprobs = choice.logprobs.then(|| logprobs(std::slice::from_ref(piece)));
            chunks.push(chunk(answer, index, json!({"content": piece}), None, logprobs));
        }
        for (at, call) in choice.tool_calls.iter().enumerate() {
            let deltas = tool_deltas(at, call);
            chunks.extend(deltas.into_iter().map(|delta| chunk(answer, index, delta, None, None)));
        }
        chunks.push(chunk(answer, index, json!({}), Some(&choice.finish), None));
    }
    if include_usage {
        for chunk in &mut chunks {
            if let Some(fields) = chunk.as_object_mut() {
                fields.insert("usage".to_owned(), Value::Null);
            }
        }
        let mut last = envelope(answer, json!([]));
        if let (Some(usage), Some(fields)) = (&answer.usage, last.as_object_mut()) {
            fields.insert("usage".to_owned(), usage.clone());
            chunks.push(last);
        }
    }
    chunks.iter().map(|chunk| spoiled(event(&chunk.to_string()))).collect()
}

/// One event.
#[must_use]
pub(crate) fn event(data: &str) -> String {
    format!("data: {data}\n\n")
}

/// An error in the provider's shape.
#[must_use]
pub(crate) fn error(status: u16, message: &str) -> Value {
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

/// The bytes of `text`, with the mark replaced by a byte that no UTF-8 has.
fn spoiled(text: String) -> Bytes {
    let mut parts = text.split(INVALID_UTF8_MARK);
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        bytes.push(0xFF);
        bytes.extend_from_slice(part.as_bytes());
    }
    Bytes::from(bytes)
}

fn message(choice: &Choice) -> Value {
    if choice.tool_calls.is_empty() {
        return json!({"role": "assistant", "content": choice.content(), "refusal": null, "annotations": []});
    }
    let calls: Vec<Value> = choice
        .tool_calls
        .iter()
        .map(|call| {
            let function = json!({"name": call.name, "arguments": call.arguments});
            json!({"id": call.id, "type": "function", "function": function})
        })
        .collect();
    json!({"role": "assistant", "content": null, "tool_calls": calls, "refusal": null, "annotations": []})
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
    let chars: Vec<char> = call.arguments.chars().collect();
    deltas.extend(chars.chunks(ARGUMENT_CHARS).map(|piece| {
        let piece: String = piece.iter().collect();
        of(json!({"index": at, "function": {"arguments": piece}}))
    }));
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
    use crate::directive::Directive;
    use crate::request::ChatRequest;

    fn answer(body: Value, directive: &str) -> Answer {
        let request: ChatRequest = serde_json::from_value(body).unwrap();
        Answer::new(&request, &Directive::in_prompt(directive).unwrap(), 7, 1_700_000_000)
    }

    fn ask(extra: Value) -> Value {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "call f"}]});
        let fields = body.as_object_mut().unwrap();
        fields.extend(extra.as_object().unwrap().clone());
        body
    }

    fn data(event: &Bytes) -> Value {
        let text = std::str::from_utf8(event).unwrap();
        serde_json::from_str(text.strip_prefix("data: ").unwrap().strip_suffix("\n\n").unwrap())
            .unwrap()
    }

    #[test]
    fn a_stream_says_the_same_as_the_object() {
        let answer = answer(ask(json!({"n": 2})), "");
        let object: Value = serde_json::from_slice(&object(&answer)).unwrap();
        let mut contents = vec![String::new(); 2];
        for event in events(&answer, false) {
            let chunk = data(&event);
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
        let tools = json!({"tools": [{"type": "function", "function": {"name": "f", "parameters":
            {"type": "object", "properties": {"city": {"type": "string"}}}}}]});
        let answer = answer(ask(tools), "");
        let arguments: String = events(&answer, false)
            .iter()
            .filter_map(|event| {
                let chunk = data(event);
                let call = &chunk["choices"][0]["delta"]["tool_calls"][0];
                call["function"]["arguments"].as_str().map(str::to_owned)
            })
            .collect();
        assert_eq!(arguments, answer.choices[0].tool_calls[0].arguments);
    }

    #[test]
    fn the_usage_chunk_comes_only_where_it_was_asked_for() {
        let answer = answer(ask(json!({})), "");
        let without = events(&answer, false);
        let with = events(&answer, true);
        assert_eq!(with.len(), without.len() + 1);
        assert!(data(with.last().unwrap())["usage"]["total_tokens"].is_u64());
        assert!(data(without.last().unwrap()).get("usage").is_none());
    }

    #[test]
    fn a_byte_that_is_no_utf8_is_in_both_shapes() {
        let answer = answer(ask(json!({})), "[[fake: invalid_utf8]]");
        assert!(object(&answer).contains(&0xFF));
        assert!(events(&answer, false).iter().any(|event| event.contains(&0xFF)));
    }
}
