//! One entry, told in every shape.

use std::borrow::Cow;

use kt_contract::wire::admit::ReplyShape;
use serde_json::{Value, json};
use wasm_bindgen_test::wasm_bindgen_test;

use super::{FIXTURES, TEXT};
use crate::answer::{CannotReplay, Incomplete, Recorded};
use crate::golden;
use crate::openai_responses::{assembled, replay};

const SSE: ReplyShape = ReplyShape::Sse { include_usage: true };

fn told(recorded: Recorded, body: &str, want: ReplyShape) -> Result<String, CannotReplay> {
    let replay = replay(recorded, body.as_bytes(), want)?;
    Ok(String::from_utf8(replay.body.into_owned()).unwrap())
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The events of a stream; name and type are the same.
fn events(stream: &str) -> Vec<Value> {
    let read = |event: &str| {
        let (name, data) = event.split_once('\n').unwrap();
        let data = value(data.strip_prefix("data: ").unwrap());
        assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
        data
    };
    stream.split_terminator("\n\n").map(read).collect()
}

/// What a live stream has in many pieces and a told one in few, in one; and what only the wire has, not at all.
fn condensed(events: Vec<Value>) -> Vec<Value> {
    let mut whole: Vec<Value> = Vec::new();
    for mut event in events {
        let fields = event.as_object_mut().unwrap();
        fields.remove("sequence_number");
        fields.remove("obfuscation");
        match whole.last_mut() {
            Some(last) if event["delta"].is_string() && last["type"] == event["type"] => {
                let text = format!(
                    "{}{}",
                    last["delta"].as_str().unwrap(),
                    event["delta"].as_str().unwrap()
                );
                last["delta"] = text.into();
                if let Some(more) = event["logprobs"].as_array() {
                    last["logprobs"].as_array_mut().unwrap().extend_from_slice(more);
                }
            }
            _ => whole.push(event),
        }
    }
    whole
}

/// Takes away what a replay cannot know, and says so in docs/reference/replay.md.
fn comparable(mut event: Value) -> Value {
    if matches!(event["type"].as_str(), Some("response.created" | "response.in_progress")) {
        event["response"].as_object_mut().unwrap().remove("service_tier");
    }
    if event["type"] == "response.output_item.added" {
        let item = event["item"].as_object_mut().unwrap();
        for field in [
            "encrypted_content",
            "action",
            "results",
            "queries",
            "tools",
            "output",
            "error",
            "outputs",
        ] {
            item.remove(field);
        }
    }
    event
}

#[wasm_bindgen_test(unsupported = test)]
fn a_stream_as_json_is_the_response_of_its_last_event_byte_for_byte() {
    for fixture in FIXTURES {
        for stream in [fixture.stream, fixture.told] {
            let told = told(Recorded::Sse, stream, ReplyShape::Json).unwrap();
            assert_eq!(value(&told), value(fixture.answer), "{}", fixture.name);
            assert!(stream.ends_with(&format!("\"response\":{told}}}\n\n")), "{}", fixture.name);
        }
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn json_as_a_stream_is_the_golden_one() {
    for fixture in FIXTURES {
        let told = told(Recorded::Json, fixture.answer, SSE).unwrap();
        let path = format!("openai_responses/{}.told.sse", fixture.name);
        golden::check(&path, fixture.told, &told);
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_told_stream_says_what_a_live_one_says_in_the_same_order() {
    for fixture in FIXTURES {
        let [live, told] = [fixture.stream, fixture.told].map(|stream| condensed(events(stream)));
        let [live, told] =
            [live, told].map(|events| events.into_iter().map(comparable).collect::<Vec<_>>());
        for (at, (live, told)) in live.iter().zip(&told).enumerate() {
            assert_eq!(live, told, "{} at {at}", fixture.name);
        }
        assert_eq!(live.len(), told.len(), "{}", fixture.name);
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn events_are_numbered_from_zero() {
    for fixture in FIXTURES {
        let stream = told(Recorded::Json, fixture.answer, SSE).unwrap();
        let numbers = events(&stream).into_iter().map(|event| event["sequence_number"].as_u64());
        for (expected, number) in (0..).zip(numbers) {
            assert_eq!(number, Some(expected), "{}", fixture.name);
        }
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn the_same_shape_is_the_recorded_bytes() {
    for fixture in FIXTURES {
        for include_usage in [false, true] {
            let sse = ReplyShape::Sse { include_usage };
            for (recorded, body, want, content_type) in [
                (Recorded::Sse, fixture.stream, sse, "text/event-stream; charset=utf-8"),
                (Recorded::Json, fixture.answer, ReplyShape::Json, "application/json"),
            ] {
                let replay = replay(recorded, body.as_bytes(), want).unwrap();
                assert_eq!(replay.content_type, content_type);
                assert!(matches!(replay.body, Cow::Borrowed(same) if same == body.as_bytes()));
            }
        }
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_response_begins_without_what_it_ends_with() {
    let stream = told(Recorded::Json, TEXT.answer, SSE).unwrap();
    let events = events(&stream);
    let mut begun = value(TEXT.answer);
    begun["status"] = "in_progress".into();
    begun["output"] = json!([]);
    begun["usage"] = Value::Null;
    begun["completed_at"] = Value::Null;
    assert_eq!((&events[0]["response"], &events[1]["response"]), (&begun, &begun));
    assert_eq!(events.last().unwrap()["response"], value(TEXT.answer));
}

#[wasm_bindgen_test(unsupported = test)]
fn long_text_is_told_in_pieces() {
    let text = "aé😀".repeat(20_000);
    let answer = json!({"id": "r", "status": "completed", "output": [
        {"type": "message", "id": "m", "status": "completed", "content": [{"type": "output_text", "text": text}]},
        {"type": "function_call", "id": "f", "status": "completed", "arguments": text}]});
    let events = events(&told(Recorded::Json, &answer.to_string(), SSE).unwrap());
    for kind in ["response.output_text.delta", "response.function_call_arguments.delta"] {
        let deltas = events.iter().filter(|event| event["type"] == kind);
        let deltas: Vec<_> = deltas.map(|event| event["delta"].as_str().unwrap()).collect();
        assert!(deltas.iter().all(|delta| delta.len() <= 16 << 10), "{kind}");
        assert_eq!(deltas.concat(), text, "{kind}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn items_that_nobody_knows_come_whole() {
    let item = json!({"type": "item_of_tomorrow", "id": "x", "status": "completed", "what": [1]});
    let answer = json!({"id": "r", "status": "completed", "output": [item]});
    let events = events(&told(Recorded::Json, &answer.to_string(), SSE).unwrap());
    let kinds: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    let expected = ["created", "in_progress", "output_item.added", "output_item.done", "completed"];
    assert!(kinds.into_iter().eq(expected.map(|kind| format!("response.{kind}"))));
    assert_eq!(events[2]["item"]["status"], "in_progress");
    assert_eq!(events[3]["item"], item);
}

#[wasm_bindgen_test(unsupported = test)]
fn what_cannot_be_told_is_not_guessed() {
    for (field, item) in [
        ("content", json!({"type": "message", "content": "text"})),
        ("content", json!({"type": "message", "content": [7]})),
        ("summary", json!({"type": "reasoning", "summary": {}})),
    ] {
        let answer = json!({"status": "completed", "output": [item]}).to_string();
        let refused = CannotReplay::Ambiguous { what: field.into() };
        assert_eq!(told(Recorded::Json, &answer, SSE), Err(refused), "{answer}");
    }
    let cut = CannotReplay::Incomplete(Incomplete::CutShort);
    assert_eq!(told(Recorded::Sse, "", ReplyShape::Json), Err(cut.clone()));
    assert_eq!(told(Recorded::Json, "{", SSE), Err(cut));
}

#[wasm_bindgen_test(unsupported = test)]
fn a_usage_with_a_count_told_twice_is_not_told_as_a_stream() {
    let usage = value(TEXT.answer)["usage"].to_string();
    let compact = value(TEXT.answer).to_string();
    for (other, expected) in [
        ("null".to_owned(), Ok(())),
        (usage.replacen('{', "{\"input_tokens\":1,", 1), Err(CannotReplay::NoUsage)),
        (r#"{"input_tokens":"12"}"#.to_owned(), Ok(())),
    ] {
        let body = compact.replace(&usage, &other);
        assert_eq!(told(Recorded::Json, &body, SSE).map(|_| ()), expected, "{other}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn what_a_stream_has_shown_is_what_its_last_event_says_or_nobody_can_tell_what_was_said() {
    for fixture in FIXTURES {
        assert!(assembled(fixture.stream.as_bytes()).is_some(), "{}", fixture.name);
    }
    let last = |output: &Value| {
        let response = json!({"id": "r", "status": "completed", "output": output});
        let data = json!({"type": "response.completed", "response": response});
        format!("event: response.completed\ndata: {data}\n\n")
    };
    let event = |data: &Value| format!("data: {data}\n\n");
    let message =
        |text: &str| json!({"type": "message", "content": [{"type": "output_text", "text": text}]});
    let delta = |text: &str| {
        event(
            &json!({"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": text}),
        )
    };
    let two = [delta("you "), delta("fool")].concat();
    let done =
        event(&json!({"type": "response.output_text.done", "output_index": 0, "text": "you fool"}));
    let item = event(
        &json!({"type": "response.output_item.done", "output_index": 0, "item": message("you fool")}),
    );
    let arguments = event(
        &json!({"type": "response.function_call_arguments.delta", "output_index": 0, "delta": "{}"}),
    );
    let object = event(
        &json!({"type": "response.x.delta", "output_index": 0, "delta": {"text": "you fool"}}),
    );
    let twice = "data: {\"type\":\"x\",\"text\":\"fool\",\"text\":\"\"}\n\n".to_owned();
    for (shown, output, is_told) in [
        (&two, json!([message("you fool")]), true),
        (&done, json!([message("you fool")]), true),
        (&item, json!([message("you fool")]), true),
        (&two, json!([message("you dear")]), false),
        (&two, json!([message("you ")]), false),
        (&two, json!([]), false),
        (&two, json!([message("dear"), message("you fool")]), false),
        (&done, json!([message("you dear")]), false),
        (&item, json!([message("you dear")]), false),
        (&arguments, json!([{"type": "function_call", "arguments": "{}"}]), true),
        (&arguments, json!([{"type": "function_call", "arguments": "{ }"}]), false),
        (&object, json!([message("you fool")]), false),
        (&twice, json!([message("")]), false),
    ] {
        let stream = format!("{shown}{}", last(&output));
        assert_eq!(assembled(stream.as_bytes()).is_some(), is_told, "{stream}");
    }
}
