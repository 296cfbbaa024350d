//! One entry, told in every shape.

use std::borrow::Cow;

use kt_contract::wire::admit::ReplyShape;
use serde_json::{Value, json};
use wasm_bindgen_test::wasm_bindgen_test;

use super::FIXTURES;
use crate::answer::{CannotReplay, Recorded};
use crate::golden;
use crate::openai_completions::replay;

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

/// What a stream of these choices makes, with usage.
fn choice_of(choices: &[&str]) -> Result<Value, CannotReplay> {
    let chunks = choices.iter().map(|choice| format!("data: {{\"choices\":[{choice}]}}\n\n"));
    let usage =
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}\n\n";
    let stream = chunks.collect::<String>() + usage + "data: [DONE]\n\n";
    Ok(value(&told(Recorded::Sse, &stream, ReplyShape::Json)?)["choices"][0].clone())
}

#[wasm_bindgen_test(unsupported = test)]
fn a_stream_as_json_is_the_answer_that_its_fixture_names() {
    for fixture in FIXTURES {
        for stream in [fixture.stream, fixture.told] {
            let told = told(Recorded::Sse, stream, ReplyShape::Json).unwrap();
            assert_eq!(value(&told), value(fixture.answer), "{}", fixture.name);
        }
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn json_as_a_stream_is_the_golden_one() {
    for fixture in FIXTURES {
        let told = told(Recorded::Json, fixture.answer, SSE_WITH_USAGE).unwrap();
        let path = format!("openai_completions/{}.told.sse", fixture.name);
        golden::check(&path, fixture.told, &told);
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn the_same_shape_is_the_recorded_bytes() {
    for fixture in FIXTURES {
        for (recorded, body, want) in [
            (Recorded::Sse, fixture.stream, SSE_WITH_USAGE),
            (Recorded::Json, fixture.answer, ReplyShape::Json),
        ] {
            let replay = replay(recorded, body.as_bytes(), want).unwrap();
            assert!(matches!(replay.body, Cow::Borrowed(same) if same == body.as_bytes()));
        }
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn usage_is_told_only_to_those_who_asked() {
    for fixture in FIXTURES {
        for (recorded, body) in [(Recorded::Sse, fixture.stream), (Recorded::Json, fixture.answer)]
        {
            let asked = chunks(&told(recorded, body, SSE_WITH_USAGE).unwrap());
            let not_asked = chunks(&told(recorded, body, SSE).unwrap());
            assert_eq!(asked.last().unwrap()["usage"], value(fixture.answer)["usage"]);
            assert_eq!(asked.len(), not_asked.len() + 1, "{} {recorded:?}", fixture.name);
            assert!(not_asked.iter().all(|chunk| !chunk["usage"].is_object()));
        }
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn log_probabilities_go_with_the_text() {
    let fixture = &FIXTURES[1];
    let chunks = chunks(&told(Recorded::Json, fixture.answer, SSE).unwrap());
    let expected = &value(fixture.answer)["choices"][0]["logprobs"];
    assert_eq!(chunks[0]["choices"][0]["text"], "One two");
    assert_eq!(&chunks[0]["choices"][0]["logprobs"], expected);
    assert_eq!(chunks[1]["choices"][0]["logprobs"], Value::Null);
}

#[wasm_bindgen_test(unsupported = test)]
fn an_empty_text_is_told_and_its_log_probabilities_with_it() {
    let answer = json!({"choices": [{"text": "", "index": 0, "logprobs": {"tokens": []},
        "finish_reason": "stop"}]});
    let chunks = chunks(&told(Recorded::Json, &answer.to_string(), SSE).unwrap());
    assert_eq!(chunks.len(), 1);
    assert_eq!(chunks[0]["choices"], answer["choices"]);
}

#[wasm_bindgen_test(unsupported = test)]
fn long_text_is_told_in_lines_that_readers_take() {
    let text = "aé😀".repeat(200_000);
    let answer = json!({"choices": [{"index": 0, "text": text, "finish_reason": "stop"}]});
    let stream = told(Recorded::Json, &answer.to_string(), SSE).unwrap();
    assert!(stream.lines().all(|line| line.len() < 64 << 10));
    let said: String = chunks(&stream)
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["text"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(said, text);
}

#[wasm_bindgen_test(unsupported = test)]
fn a_last_chunk_in_the_manner_of_chat_adds_nothing() {
    let choice = choice_of(&[
        r#"{"index":0,"text":"a","logprobs":null,"finish_reason":null}"#,
        r#"{"delta":{},"finish_reason":"stop"}"#,
    ]);
    let expected = json!({"text": "a", "index": 0, "logprobs": null, "finish_reason": "stop"});
    assert_eq!(choice, Ok(expected));
}

#[wasm_bindgen_test(unsupported = test)]
fn what_nobody_knows_how_to_put_together_is_not_guessed() {
    for (field, choice) in [
        ("delta", r#"{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}"#),
        ("text", r#"{"index":0,"text":["a"],"finish_reason":"stop"}"#),
    ] {
        let refused = CannotReplay::Ambiguous { what: field.into() };
        assert_eq!(choice_of(&[choice]), Err(refused), "{choice}");
    }
}
