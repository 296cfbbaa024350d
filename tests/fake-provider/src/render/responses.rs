//! OpenAI responses.

use serde_json::{Value, json};

use super::{argument_pieces, put};
use crate::answer::{Answer, Choice, ToolCall};

/// The whole answer.
pub(super) fn object(answer: &Answer) -> Value {
    let choice = answer.choices.first();
    let (status, incomplete) = status(choice);
    let output = choice.map(|choice| items(answer, choice)).unwrap_or_default();
    let mut body = shell(answer, &status, output);
    put(&mut body, "incomplete_details", incomplete);
    if let Some(usage) = &answer.usage {
        let usage = json!({
            "input_tokens": usage.input,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": usage.output,
            "output_tokens_details": {"reasoning_tokens": usage.reasoning},
            "total_tokens": usage.total,
        });
        put(&mut body, "usage", usage);
    }
    body
}

/// The answer as events, numbered, the last of them the whole answer again.
pub(super) fn events(answer: &Answer) -> Vec<Value> {
    let begun = || {
        let mut body = shell(answer, "in_progress", Vec::new());
        put(&mut body, "usage", Value::Null);
        body
    };
    let mut events = vec![
        json!({"type": "response.created", "response": begun()}),
        json!({"type": "response.in_progress", "response": begun()}),
    ];
    if let Some(choice) = answer.choices.first() {
        for (at, item) in items(answer, choice).into_iter().enumerate() {
            let deltas = match super::text(&item, "type") {
                Some("reasoning") => reasoning_events(choice, &item, at),
                Some("function_call") => call_events(&item, at),
                _ => text_events(choice, &item, at),
            };
            events.extend(deltas);
            events.push(
                json!({"type": "response.output_item.done", "output_index": at, "item": item}),
            );
        }
    }
    let (status, _) = status(answer.choices.first());
    events.push(json!({"type": format!("response.{status}"), "response": object(answer)}));
    for (number, event) in events.iter_mut().enumerate() {
        put(event, "sequence_number", json!(number));
    }
    events
}

/// The status, and why it is no better.
fn status(choice: Option<&Choice>) -> (String, Value) {
    let told = choice.and_then(|choice| choice.finish_told.as_deref());
    match (told, choice.map(|choice| choice.finish)) {
        (Some("length"), _) | (None, Some("length")) => {
            ("incomplete".to_owned(), json!({"reason": "max_output_tokens"}))
        }
        (Some(reason @ "content_filter"), _) => {
            ("incomplete".to_owned(), json!({"reason": reason}))
        }
        (Some(status), _) => (status.to_owned(), Value::Null),
        (None, _) => ("completed".to_owned(), Value::Null),
    }
}

fn shell(answer: &Answer, status: &str, output: Vec<Value>) -> Value {
    json!({
        "id": answer.id,
        "object": "response",
        "created_at": answer.created,
        "status": status,
        "background": false,
        "error": null,
        "incomplete_details": null,
        "instructions": null,
        "max_output_tokens": null,
        "model": answer.model,
        "output": output,
        "parallel_tool_calls": true,
        "previous_response_id": null,
        "reasoning": {"effort": null, "summary": null},
        "store": true,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": null,
        "user": null,
        "metadata": {},
    })
}

/// What the answer consists of.
fn items(answer: &Answer, choice: &Choice) -> Vec<Value> {
    let mut items = Vec::new();
    if !choice.reasoning.is_empty() {
        let summary = json!([{"type": "summary_text", "text": choice.reasoning.concat()}]);
        items.push(
            json!({"id": format!("rs_{}", answer.call), "type": "reasoning", "summary": summary}),
        );
    }
    if choice.tool_calls.is_empty() {
        items.push(json!({
            "id": format!("msg_{}", answer.call), "type": "message", "status": "completed",
            "content": [text_part(&choice.content())], "role": "assistant",
        }));
    }
    let call = |call: &ToolCall| {
        json!({
            "id": format!("fc_{}", call.id), "type": "function_call", "status": "completed",
            "arguments": call.arguments, "call_id": call.id, "name": call.name,
        })
    };
    items.extend(choice.tool_calls.iter().map(call));
    items
}

fn text_part(text: &str) -> Value {
    json!({"type": "output_text", "annotations": [], "logprobs": [], "text": text})
}

/// An item as it begins: `item` with a field emptied.
fn added(item: &Value, at: usize, field: &str, empty: Value) -> Value {
    let mut begun = item.clone();
    if item.get("status").is_some() {
        put(&mut begun, "status", json!("in_progress"));
    }
    put(&mut begun, field, empty);
    json!({"type": "response.output_item.added", "output_index": at, "item": begun})
}

fn text_events(choice: &Choice, item: &Value, at: usize) -> Vec<Value> {
    let of = |kind: &str, field: &str, value: Value| {
        let mut event = json!({
            "type": kind, "item_id": item.get("id"), "output_index": at, "content_index": 0,
        });
        put(&mut event, field, value);
        event
    };
    let mut events = vec![
        added(item, at, "content", json!([])),
        of("response.content_part.added", "part", text_part("")),
    ];
    for piece in &choice.pieces {
        let mut delta = of("response.output_text.delta", "delta", json!(piece));
        put(&mut delta, "logprobs", json!([]));
        events.push(delta);
    }
    let mut done = of("response.output_text.done", "text", json!(choice.content()));
    put(&mut done, "logprobs", json!([]));
    events.push(done);
    events.push(of("response.content_part.done", "part", text_part(&choice.content())));
    events
}

fn call_events(item: &Value, at: usize) -> Vec<Value> {
    let of = |kind: &str, field: &str, value: Value| {
        let mut event = json!({"type": kind, "item_id": item.get("id"), "output_index": at});
        put(&mut event, field, value);
        event
    };
    let arguments = super::text(item, "arguments").unwrap_or_default();
    let mut events = vec![added(item, at, "arguments", json!(""))];
    let pieces = argument_pieces(arguments).into_iter();
    events.extend(
        pieces.map(|piece| of("response.function_call_arguments.delta", "delta", json!(piece))),
    );
    events.push(of("response.function_call_arguments.done", "arguments", json!(arguments)));
    events
}

fn reasoning_events(choice: &Choice, item: &Value, at: usize) -> Vec<Value> {
    let of = |kind: &str, field: &str, value: Value| {
        let mut event = json!({
            "type": kind, "item_id": item.get("id"), "output_index": at, "summary_index": 0,
        });
        put(&mut event, field, value);
        event
    };
    let part = |text: &str| json!({"type": "summary_text", "text": text});
    let whole = choice.reasoning.concat();
    let mut events = vec![
        added(item, at, "summary", json!([])),
        of("response.reasoning_summary_part.added", "part", part("")),
    ];
    let pieces = choice.reasoning.iter();
    events.extend(
        pieces.map(|piece| of("response.reasoning_summary_text.delta", "delta", json!(piece))),
    );
    events.push(of("response.reasoning_summary_text.done", "text", json!(whole)));
    events.push(of("response.reasoning_summary_part.done", "part", part(&whole)));
    events
}
