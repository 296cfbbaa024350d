//! One entry, told in every shape.

use std::borrow::Cow;

use kt_contract::outcome::Reason;
use kt_contract::wire::admit::ReplyShape;
use serde_json::{Value, json};
use wasm_bindgen_test::wasm_bindgen_test;

use super::PAIRS;
use crate::answer::{CannotReplay, Incomplete, Recorded, Terms};
use crate::golden;
use crate::openai_chat::{judge, replay};

const SSE: ReplyShape = ReplyShape::Sse { include_usage: false };
const SSE_WITH_USAGE: ReplyShape = ReplyShape::Sse { include_usage: true };

fn told(recorded: Recorded, body: &str, want: ReplyShape) -> Result<String, CannotReplay> {
    let replay = replay(recorded, body.as_bytes(), want)?;
    Ok(String::from_utf8(replay.body.into_owned()).unwrap())
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The chunks of a stream.
fn chunks(stream: &str) -> Vec<Value> {
    let events = stream.split_terminator("\n\n").map(|event| event.strip_prefix("data: ").unwrap());
    let mut events: Vec<_> = events.collect();
    assert_eq!(events.pop(), Some("[DONE]"));
    events.into_iter().map(value).collect()
}

/// A stream that says these deltas, with usage.
fn stream_of(deltas: &[&str]) -> String {
    let deltas = deltas.iter().map(|delta| {
        format!(
            "data: {{\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":null}}]}}\n\n"
        )
    });
    let end = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\
               \"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}\n\ndata: [DONE]\n\n";
    deltas.collect::<String>() + end
}

fn message_of(deltas: &[&str]) -> Result<Value, CannotReplay> {
    let answer = told(Recorded::Sse, &stream_of(deltas), ReplyShape::Json)?;
    Ok(value(&answer)["choices"][0]["message"].clone())
}

fn ambiguous(what: &str) -> CannotReplay {
    CannotReplay::Ambiguous { what: what.into() }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_stream_as_json_is_the_answer_that_its_fixture_names() {
    for (name, stream, answer) in PAIRS {
        let told = told(Recorded::Sse, stream, ReplyShape::Json).unwrap();
        assert_eq!(value(&told), value(answer), "{name}");
        assert!(judge(Recorded::Json, told.as_bytes(), Terms::default()).is_ok(), "{name}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn json_as_a_stream_says_the_same_again_as_json() {
    for (name, _, answer) in PAIRS {
        let stream = told(Recorded::Json, answer, SSE_WITH_USAGE).unwrap();
        assert!(judge(Recorded::Sse, stream.as_bytes(), Terms::default()).is_ok(), "{name}");
        let back = told(Recorded::Sse, &stream, ReplyShape::Json).unwrap();
        assert_eq!(value(&back), value(answer), "{name}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn stream_to_json_to_stream_to_json_is_stable() {
    for (name, stream, _) in PAIRS {
        let once = told(Recorded::Sse, stream, ReplyShape::Json).unwrap();
        let between = told(Recorded::Json, &once, SSE_WITH_USAGE).unwrap();
        let twice = told(Recorded::Sse, &between, ReplyShape::Json).unwrap();
        assert_eq!(value(&twice), value(&once), "{name}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn the_same_shape_is_the_recorded_bytes() {
    for (name, stream, answer) in PAIRS {
        for (recorded, body, want, content_type) in [
            (Recorded::Sse, stream, SSE_WITH_USAGE, "text/event-stream; charset=utf-8"),
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
fn usage_is_told_only_to_those_who_asked() {
    for (name, stream, answer) in PAIRS {
        for (recorded, body) in [(Recorded::Sse, stream), (Recorded::Json, answer)] {
            let is_usage_chunk =
                |chunk: &Value| chunk["choices"] == json!([]) && chunk["usage"].is_object();
            let asked = told(recorded, body, SSE_WITH_USAGE).unwrap();
            let not_asked = told(recorded, body, SSE).unwrap();
            // DeepSeek's comes with content, asked for or not.
            let comes_apart = recorded == Recorded::Json || *name != "reasoning";
            let apart = |stream: &str| {
                let stream = stream.replace(": keep-alive\n\n", "");
                chunks(&stream).iter().filter(|chunk| is_usage_chunk(chunk)).count()
            };
            assert_eq!(apart(&asked), usize::from(comes_apart), "{name} {recorded:?}");
            assert_eq!(apart(&not_asked), 0, "{name} {recorded:?}");
        }
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_told_stream_is_in_openais_order() {
    for ((name, _, answer), expected) in [
        (PAIRS[0], include_str!("../../../tests/fixtures/openai_chat/plain.told.sse")),
        (PAIRS[1], include_str!("../../../tests/fixtures/openai_chat/tools.told.sse")),
    ] {
        let told = told(Recorded::Json, answer, SSE_WITH_USAGE).unwrap();
        golden::check(&format!("openai_chat/{name}.told.sse"), expected, &told);
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn where_usage_was_asked_for_every_chunk_has_the_field() {
    for (name, _, answer) in PAIRS {
        let stream = told(Recorded::Json, answer, SSE_WITH_USAGE).unwrap();
        let mut chunks = chunks(&stream);
        assert_eq!(chunks.pop().unwrap()["usage"], value(answer)["usage"], "{name}");
        assert!(chunks.iter().all(|chunk| chunk.get("usage") == Some(&Value::Null)), "{name}");
        let without = told(Recorded::Json, answer, SSE).unwrap();
        assert!(!without.contains("\"usage\""), "{name}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn thoughts_are_told_before_words() {
    let (.., answer) = PAIRS[5];
    let chunks = chunks(&told(Recorded::Json, answer, SSE).unwrap());
    let said_at = |key: &str| {
        let says = |chunk: &Value| {
            chunk["choices"][0]["delta"][key].as_str().is_some_and(|text| !text.is_empty())
        };
        chunks.iter().position(says).unwrap()
    };
    assert!(said_at("reasoning_content") < said_at("content"));
}

#[wasm_bindgen_test(unsupported = test)]
fn log_probabilities_go_with_the_text() {
    let (.., answer) = PAIRS[3];
    let chunks = chunks(&told(Recorded::Json, answer, SSE).unwrap());
    let of_text = chunks.iter().find(|chunk| chunk["choices"][0]["delta"]["content"] == "Yes.");
    let expected = &value(answer)["choices"][0]["logprobs"];
    assert_eq!(&of_text.unwrap()["choices"][0]["logprobs"], expected);
}

#[wasm_bindgen_test(unsupported = test)]
fn long_text_is_told_in_lines_that_readers_take() {
    let text = "aé😀".repeat(200_000);
    let answer = json!({"choices": [{"index": 0, "finish_reason": "tool_calls", "message": {
        "content": text, "tool_calls": [{"id": "c", "type": "function",
        "function": {"name": "f", "arguments": text}}]}}]});
    let stream = told(Recorded::Json, &answer.to_string(), SSE).unwrap();
    assert!(stream.lines().all(|line| line.len() < 64 << 10));
    let joined = |pick: fn(&Value) -> &Value| -> String {
        chunks(&stream).iter().filter_map(|chunk| pick(chunk).as_str().map(str::to_owned)).collect()
    };
    assert_eq!(joined(|chunk| &chunk["choices"][0]["delta"]["content"]), text);
    assert_eq!(
        joined(|chunk| &chunk["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"]),
        text
    );
}

#[wasm_bindgen_test(unsupported = test)]
fn without_usage_no_shape_that_has_it_can_be_told() {
    let stream =
        stream_of(&[]).replace(",\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}", "");
    assert_eq!(told(Recorded::Sse, &stream, ReplyShape::Json), Err(CannotReplay::NoUsage));
    assert_eq!(told(Recorded::Sse, &stream, SSE).as_deref(), Ok(stream.as_str()));
    assert_eq!(told(Recorded::Sse, &stream, SSE_WITH_USAGE).as_deref(), Ok(stream.as_str()));
    let answer = r#"{"choices":[{"index":0,"message":{"content":"x"},"finish_reason":"stop"}]}"#;
    assert_eq!(told(Recorded::Json, answer, SSE_WITH_USAGE), Err(CannotReplay::NoUsage));
    assert!(told(Recorded::Json, answer, SSE).is_ok());
    assert_eq!(CannotReplay::NoUsage.reason(), Reason::Shape);
}

#[wasm_bindgen_test(unsupported = test)]
fn unknown_strings_of_a_delta_concatenate_and_unknown_numbers_settle() {
    let message = message_of(&[
        r#"{"role":"assistant","content":"","x":"a","n":1,"b":false,"seen":null}"#,
        r#"{"role":"assistant","content":"hi","x":"b","n":0,"b":true,"seen":{"y":1}}"#,
        r#"{"x":null,"n":null,"list":[],"late":["whole"]}"#,
    ]);
    let expected = json!({"role": "assistant", "content": "hi", "x": "ab", "n": 0, "b": true,
        "seen": {"y": 1}, "list": [], "late": ["whole"]});
    assert_eq!(message, Ok(expected));
}

#[wasm_bindgen_test(unsupported = test)]
fn what_nobody_knows_how_to_put_together_is_not_guessed() {
    for (field, deltas) in [
        ("parts", [r#"{"parts":[1]}"#, r#"{"parts":[2]}"#]),
        ("audio", [r#"{"audio":{"id":"a"}}"#, r#"{"audio":{"data":"QQ=="}}"#]),
        ("content", [r#"{"content":"text"}"#, r#"{"content":[{"type":"thinking"}]}"#]),
        // Two calls under one number.
        (
            "id",
            [
                r#"{"tool_calls":[{"index":0,"id":"a"}]}"#,
                r#"{"tool_calls":[{"index":0,"id":"b"}]}"#,
            ],
        ),
        (
            "name",
            [
                r#"{"tool_calls":[{"index":0,"function":{"name":"f"}}]}"#,
                r#"{"tool_calls":[{"index":0,"function":{"name":"g"}}]}"#,
            ],
        ),
        ("tool_calls", [r#"{"tool_calls":[7]}"#, "{}"]),
        ("tool_calls", [r#"{"tool_calls":[{"index":"0"}]}"#, "{}"]),
        ("tool_calls", [r#"{"tool_calls":{}}"#, r#"{"tool_calls":[{"index":0}]}"#]),
        ("delta", ["7", "{}"]),
        ("function_call", [r#"{"function_call":"x"}"#, r#"{"function_call":{"name":"f"}}"#]),
    ] {
        let refused = message_of(&deltas).unwrap_err();
        assert_eq!(refused, ambiguous(field), "{deltas:?}");
        assert_eq!(refused.reason(), Reason::Shape);
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_call_that_repeats_its_labels_is_one_call() {
    let message = message_of(&[
        r#"{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":"{"}}]}"#,
        r#"{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":"}"}}]}"#,
        r#"{"tool_calls":[{"index":0,"id":"","type":null,"function":{"name":null,"arguments":""}}]}"#,
    ]);
    let call = json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    assert_eq!(message.unwrap()["tool_calls"], json!([call]));
}

#[wasm_bindgen_test(unsupported = test)]
fn calls_without_numbers_are_numbered_by_their_place() {
    let message = message_of(&[r#"{"tool_calls":[{"id":"a"},{"id":"b"}]}"#]);
    assert_eq!(message.unwrap()["tool_calls"], json!([{"id": "a"}, {"id": "b"}]));
}

#[wasm_bindgen_test(unsupported = test)]
fn custom_tools_are_told_like_functions() {
    let message = message_of(&[
        r#"{"tool_calls":[{"index":0,"id":"a","type":"custom","custom":{"name":"sql","input":""}}]}"#,
        r#"{"tool_calls":[{"index":0,"custom":{"input":"SELECT "}}]}"#,
        r#"{"tool_calls":[{"index":0,"custom":{"input":"1"}}]}"#,
    ]);
    let call = json!({"id": "a", "type": "custom", "custom": {"name": "sql", "input": "SELECT 1"}});
    assert_eq!(message.unwrap()["tool_calls"], json!([call]));
}

#[wasm_bindgen_test(unsupported = test)]
fn what_is_not_complete_is_not_told_in_another_shape() {
    let cut = CannotReplay::Incomplete(Incomplete::CutShort);
    for (recorded, body, want) in [
        (Recorded::Sse, "data: [DONE]\n", ReplyShape::Json),
        (Recorded::Json, "{", SSE),
        (Recorded::Json, "", SSE_WITH_USAGE),
    ] {
        assert_eq!(told(recorded, body, want), Err(cut.clone()), "{body}");
    }
    assert_eq!(cut.reason(), Reason::Corrupt);
}

#[wasm_bindgen_test(unsupported = test)]
fn two_choices_with_one_number_are_not_told_as_a_stream() {
    let choice = r#"{"index":0,"message":{"content":"x"},"finish_reason":"stop"}"#;
    let answer = format!(r#"{{"choices":[{choice},{choice}]}}"#);
    assert_eq!(told(Recorded::Json, &answer, SSE), Err(ambiguous("choices")));
}

#[wasm_bindgen_test(unsupported = test)]
fn chunks_that_differ_in_their_model_are_judged_and_told_as_the_same_one() {
    let stream = "data: {\"model\":\"a\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}\n\n\
                  data: {\"model\":\"b\",\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}\n\n\
                  data: [DONE]\n\n";
    let complete = judge(Recorded::Sse, stream.as_bytes(), Terms::default()).unwrap();
    let told = told(Recorded::Sse, stream, ReplyShape::Json).unwrap();
    let again = judge(Recorded::Json, told.as_bytes(), Terms::default()).unwrap();
    assert_eq!((complete.model.as_deref(), &again), (Some("b"), &complete));
}
