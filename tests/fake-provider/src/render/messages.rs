//! Anthropic messages.

use serde_json::{Value, json};

use super::{argument_pieces, put};
use crate::answer::{Answer, Choice};

const SIGNATURE: &str = "c2lnbmVkIGJ5IHRoZSBmYWtl";

/// The whole answer.
pub(super) fn object(answer: &Answer) -> Value {
    let choice = answer.choices.first();
    let content: Vec<Value> = choice.map(blocks).unwrap_or_default();
    let mut body = shell(answer, content, choice.map(stop_reason));
    if let Some(usage) = &answer.usage {
        put(&mut body, "usage", usage_of(&usage.input, &usage.output));
    }
    body
}

/// The answer as events.
pub(super) fn events(answer: &Answer) -> Vec<Value> {
    let mut begun = shell(answer, Vec::new(), None);
    if let Some(usage) = &answer.usage {
        put(&mut begun, "usage", usage_of(&usage.input, &json!(1)));
    }
    let mut events = vec![json!({"type": "message_start", "message": begun})];
    let blocks = answer.choices.first().map(|choice| (choice, blocks(choice)));
    if let Some((choice, blocks)) = blocks {
        for (index, block) in blocks.iter().enumerate() {
            events.extend(block_events(choice, block, index));
            if index == 0 {
                events.insert(2, json!({"type": "ping"}));
            }
        }
    }
    let stop = answer.choices.first().map(stop_reason);
    let mut last =
        json!({"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": null}});
    if let Some(usage) = &answer.usage {
        put(&mut last, "usage", json!({"output_tokens": usage.output}));
    }
    events.extend([last, json!({"type": "message_stop"})]);
    events
}

/// An error in Anthropic's shape.
pub(super) fn error(status: u16, message: &str) -> Value {
    let kind = match status {
        400 | 422 => "invalid_request_error",
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        _ => "api_error",
    };
    let error = json!({"type": kind, "message": message});
    json!({"type": "error", "error": error, "request_id": "req_of_the_fake"})
}

fn shell(answer: &Answer, content: Vec<Value>, stop_reason: Option<String>) -> Value {
    json!({
        "id": answer.id,
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": null,
    })
}

fn usage_of(input: &Value, output: &Value) -> Value {
    json!({
        "input_tokens": input,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": output,
        "service_tier": "standard",
    })
}

fn stop_reason(choice: &Choice) -> String {
    let own = match choice.finish {
        "length" => "max_tokens",
        "tool_calls" => "tool_use",
        _ => "end_turn",
    };
    choice.finish_told.clone().unwrap_or_else(|| own.to_owned())
}

fn blocks(choice: &Choice) -> Vec<Value> {
    let mut blocks = Vec::new();
    if !choice.reasoning.is_empty() {
        let thinking = choice.reasoning.concat();
        blocks.push(json!({"type": "thinking", "thinking": thinking, "signature": SIGNATURE}));
    }
    if choice.tool_calls.is_empty() {
        blocks.push(json!({"type": "text", "text": choice.content()}));
    }
    blocks.extend(choice.tool_calls.iter().map(|call| {
        let input: Value = serde_json::from_str(&call.arguments).unwrap_or_default();
        json!({"type": "tool_use", "id": call.id, "name": call.name, "input": input})
    }));
    blocks
}

fn block_events(choice: &Choice, block: &Value, index: usize) -> Vec<Value> {
    let delta =
        |delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
    let mut begun = block.clone();
    let deltas: Vec<Value> = match super::text(block, "type") {
        Some("thinking") => {
            put(&mut begun, "thinking", json!(""));
            put(&mut begun, "signature", json!(""));
            let of = |piece| json!({"type": "thinking_delta", "thinking": piece});
            let thoughts = choice.reasoning.iter().map(of);
            let signature = json!({"type": "signature_delta", "signature": SIGNATURE});
            thoughts.chain([signature]).collect()
        }
        Some("tool_use") => {
            put(&mut begun, "input", json!({}));
            let of = |piece: &str| json!({"type": "input_json_delta", "partial_json": piece});
            let pieces = argument_pieces(&block.get("input").unwrap_or(&Value::Null).to_string());
            // The real one begins with an empty piece.
            [of("")].into_iter().chain(pieces.iter().map(|piece| of(piece))).collect()
        }
        _ => {
            put(&mut begun, "text", json!(""));
            choice.pieces.iter().map(|piece| json!({"type": "text_delta", "text": piece})).collect()
        }
    };
    let start = json!({"type": "content_block_start", "index": index, "content_block": begun});
    let stop = json!({"type": "content_block_stop", "index": index});
    [start].into_iter().chain(deltas.into_iter().map(delta)).chain([stop]).collect()
}
