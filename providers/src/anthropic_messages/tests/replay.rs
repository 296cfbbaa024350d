//! One entry, told in every shape.

use std::borrow::Cow;

use kt_contract::outcome::Reason;
use kt_contract::wire::admit::ReplyShape;
use serde_json::{Value, json};
use wasm_bindgen_test::wasm_bindgen_test;

use super::{PAIRS, block, event, said, start, stream};
use crate::answer::{CannotReplay, Incomplete, Recorded, Terms};
use crate::anthropic_messages::{judge, replay};

const SSE: ReplyShape = ReplyShape::Sse { include_usage: true };
const TERMS: Terms = Terms { client_limited: false, answers: None };

fn told(recorded: Recorded, body: &str, want: ReplyShape) -> Result<String, CannotReplay> {
    let replay = replay(recorded, body.as_bytes(), want)?;
    Ok(String::from_utf8(replay.body.into_owned()).unwrap())
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The events of a stream: names and data, which agree.
fn events(stream: &str) -> Vec<Value> {
    let events = stream.split_terminator("\n\n").map(|event| {
        let (name, data) = event.split_once('\n').unwrap();
        let data = value(data.strip_prefix("data: ").unwrap());
        assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
        data
    });
    events.collect()
}

/// What the blocks between beginning and end of a stream become.
fn content_of(between: &[&str]) -> Result<Value, CannotReplay> {
    let answer = told(Recorded::Sse, &stream(between), ReplyShape::Json)?;
    Ok(value(&answer)["content"].clone())
}

fn ambiguous(what: &str) -> CannotReplay {
    CannotReplay::Ambiguous { what: what.into() }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_stream_as_json_is_the_answer_that_its_fixture_names() {
    for (name, stream, answer) in PAIRS {
        let told = told(Recorded::Sse, stream, ReplyShape::Json).unwrap();
        assert_eq!(value(&told), value(answer), "{name}");
        assert!(judge(Recorded::Json, told.as_bytes(), TERMS).is_ok(), "{name}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn json_as_a_stream_says_the_same_again_as_json() {
    for (name, _, answer) in PAIRS {
        let stream = told(Recorded::Json, answer, SSE).unwrap();
        let judged = judge(Recorded::Sse, stream.as_bytes(), TERMS);
        assert_eq!(judged, judge(Recorded::Json, answer.as_bytes(), TERMS), "{name}");
        let back = told(Recorded::Sse, &stream, ReplyShape::Json).unwrap();
        assert_eq!(value(&back), value(answer), "{name}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn the_same_shape_is_the_recorded_bytes() {
    for (name, stream, answer) in PAIRS {
        for (recorded, body, want, content_type) in [
            (Recorded::Sse, stream, SSE, "text/event-stream; charset=utf-8"),
            (Recorded::Json, answer, ReplyShape::Json, "application/json"),
        ] {
            let replay = replay(recorded, body.as_bytes(), want).unwrap();
            assert_eq!(replay.content_type, content_type);
            assert!(
                matches!(replay.body, Cow::Borrowed(same) if same == body.as_bytes()),
                "{name}"
            );
        }
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_told_stream_is_in_anthropics_order() {
    for (answer, expected) in [
        (PAIRS[1].2, include_str!("../../../tests/fixtures/anthropic_messages/tools.told.sse")),
        (PAIRS[2].2, include_str!("../../../tests/fixtures/anthropic_messages/thinking.told.sse")),
        (
            PAIRS[4].2,
            include_str!("../../../tests/fixtures/anthropic_messages/web_search.told.sse"),
        ),
    ] {
        assert_eq!(told(Recorded::Json, answer, SSE).unwrap(), expected);
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_told_stream_begins_without_what_only_its_end_knows() {
    for (name, _, answer) in PAIRS {
        let events = events(&told(Recorded::Json, answer, SSE).unwrap());
        let [start, .., end, stop] = events.as_slice() else { panic!("{name}") };
        let message = &start["message"];
        assert_eq!(message["content"], json!([]), "{name}");
        assert!(message["stop_reason"].is_null() && message["stop_sequence"].is_null(), "{name}");
        assert_eq!(message["usage"]["output_tokens"], 1, "{name}");
        let answer = value(answer);
        assert_eq!(end["delta"]["stop_reason"], answer["stop_reason"], "{name}");
        assert_eq!(end["delta"]["stop_sequence"], answer["stop_sequence"], "{name}");
        assert_eq!(end["usage"]["output_tokens"], answer["usage"]["output_tokens"], "{name}");
        assert_eq!(*stop, json!({"type": "message_stop"}), "{name}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn numbers_in_the_input_of_a_tool_keep_their_digits() {
    let (_, stream, answer) = PAIRS[1];
    let digits = "12345678901234567890123";
    let as_json = told(Recorded::Sse, stream, ReplyShape::Json).unwrap();
    assert!(as_json.contains(digits) && as_json.contains("1.0}"), "{as_json}");
    let as_stream = told(Recorded::Json, answer, SSE).unwrap();
    assert!(as_stream.contains(digits), "{as_stream}");
}

#[wasm_bindgen_test(unsupported = test)]
fn long_text_is_told_in_lines_that_readers_take() {
    let text = "aé😀".repeat(200_000);
    let answer = json!({"type": "message", "role": "assistant", "stop_reason": "tool_use",
        "content": [
            {"type": "thinking", "thinking": text, "signature": "s"},
            {"type": "text", "text": text},
            {"type": "tool_use", "id": "t", "name": "n", "input": {"text": text}},
        ], "usage": {"input_tokens": 1, "output_tokens": 1}});
    let stream = told(Recorded::Json, &answer.to_string(), SSE).unwrap();
    assert!(stream.lines().all(|line| line.len() < 64 << 10));
    let back = told(Recorded::Sse, &stream, ReplyShape::Json).unwrap();
    assert_eq!(value(&back), answer);
}

#[wasm_bindgen_test(unsupported = test)]
fn what_comes_whole_and_is_too_long_for_a_line_is_not_told_as_a_stream() {
    let page = "x".repeat(kt_contract::limits::SSE_LINE_BYTES_MAX);
    let answer = json!({"type": "message", "stop_reason": "end_turn",
        "content": [{"type": "web_fetch_tool_result", "content": {"page": page}}],
        "usage": {"input_tokens": 1, "output_tokens": 1}});
    let refused = told(Recorded::Json, &answer.to_string(), SSE).unwrap_err();
    assert_eq!(refused.reason(), Reason::Shape);
}

#[wasm_bindgen_test(unsupported = test)]
fn without_usage_an_answer_is_told_in_its_own_shape_only() {
    let stream = stream(&[&said(0)])
        .replace(",\"usage\":{\"output_tokens\":3}", "")
        .replace(",\"usage\":{\"input_tokens\":1,\"output_tokens\":1}", "");
    assert_eq!(told(Recorded::Sse, &stream, ReplyShape::Json), Err(CannotReplay::NoUsage));
    assert_eq!(told(Recorded::Sse, &stream, SSE).as_deref(), Ok(stream.as_str()));
    let answer = r#"{"type":"message","content":[],"stop_reason":"end_turn"}"#;
    assert_eq!(told(Recorded::Json, answer, SSE), Err(CannotReplay::NoUsage));
    assert_eq!(told(Recorded::Json, answer, ReplyShape::Json).as_deref(), Ok(answer));
}

#[wasm_bindgen_test(unsupported = test)]
fn what_nobody_knows_how_to_put_together_is_not_guessed() {
    let text = r#"{"type":"text","text":""}"#;
    let tool = r#"{"type":"tool_use","id":"t","name":"n","input":{}}"#;
    let half = r#"{"type":"input_json_delta","partial_json":"{\"a\":"}"#;
    let list = r#"{"type":"input_json_delta","partial_json":"[]"}"#;
    for (what, between) in [
        ("event", event("usage_report", "")),
        ("delta", block(0, text, &[r#"{"type":"image_delta","image":"x"}"#])),
        ("text", block(0, text, &[r#"{"type":"text_delta"}"#])),
        (
            "text",
            block(0, r#"{"type":"text","text":[]}"#, &[r#"{"type":"text_delta","text":"x"}"#]),
        ),
        ("partial_json", block(0, tool, &[r#"{"type":"input_json_delta"}"#])),
        ("input", block(0, tool, &[half])),
        ("input", block(0, tool, &[list])),
        ("input", block(0, text, &[r#"{"type":"input_json_delta","partial_json":"{}"}"#])),
        ("citation", block(0, text, &[r#"{"type":"citations_delta"}"#])),
    ] {
        let refused = content_of(&[&between]).unwrap_err();
        assert_eq!(refused, ambiguous(what), "{between}");
        assert_eq!(refused.reason(), Reason::Shape);
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn usage_of_a_stream_whose_end_tells_none_is_that_of_its_start_and_not_believed() {
    let end = event("message_delta", r#","delta":{"stop_reason":"end_turn"}"#);
    let silent = start() + &end + &event("message_stop", "");
    assert_eq!(judge(Recorded::Sse, silent.as_bytes(), TERMS).unwrap().usage, None);
    assert_eq!(told(Recorded::Sse, &silent, ReplyShape::Json), Err(CannotReplay::NoUsage));
}

#[wasm_bindgen_test(unsupported = test)]
fn what_a_message_begins_as_its_end_does_not_change() {
    let delta = |inside: &str, beside: &str| {
        let usage = r#","usage":{"output_tokens":3}"#;
        let end = format!(",\"delta\":{{\"stop_reason\":\"end_turn\"{inside}}}{beside}{usage}");
        let stream = start() + &event("message_delta", &end) + &event("message_stop", "");
        told(Recorded::Sse, &stream, ReplyShape::Json)
    };
    for field in ["content", "id", "model", "role", "type", "usage"] {
        let more = format!(",\"{field}\":\"x\"");
        assert_eq!(delta(&more, ""), Err(ambiguous(field)), "in the delta: {field}");
    }
    for field in ["content", "id", "model", "role", "stop_reason", "stop_sequence"] {
        for said in ["{}", "\"x\""] {
            let more = format!(",\"{field}\":{said}");
            assert_eq!(delta("", &more), Err(ambiguous(field)), "beside the delta: {more}");
        }
    }
    let told = value(&delta(",\"stop_details\":1", ",\"context_management\":2").unwrap());
    assert_eq!((&told["stop_details"], &told["context_management"]), (&json!(1), &json!(2)));
}

#[wasm_bindgen_test(unsupported = test)]
fn citations_grow_from_null_from_nothing_and_from_a_list() {
    let cited = r#"{"type":"citations_delta","citation":{"n":1}}"#;
    for first in [
        r#"{"type":"text","text":"x"}"#,
        r#"{"type":"text","text":"x","citations":null}"#,
        r#"{"type":"text","text":"x","citations":[]}"#,
    ] {
        let content = content_of(&[&block(0, first, &[cited, cited])]).unwrap();
        assert_eq!(content[0]["citations"], json!([{"n": 1}, {"n": 1}]), "{first}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn what_is_not_complete_is_not_told_in_another_shape() {
    let cut = CannotReplay::Incomplete(Incomplete::CutShort);
    for (recorded, body, want) in
        [(Recorded::Sse, "event: message_stop\n", ReplyShape::Json), (Recorded::Json, "{", SSE)]
    {
        assert_eq!(told(recorded, body, want), Err(cut.clone()), "{body}");
    }
    assert_eq!(cut.reason(), Reason::Corrupt);
}
