//! Tests that take whole answers. The fixtures are read at compile time, so that the same tests run as wasm.

use std::borrow::Cow;

use kt_contract::json::{Bounds, parse};
use kt_contract::outcome::Reason;
use kt_contract::problem::Problem;
use kt_contract::wire::admit::ReplyShape;
use wasm_bindgen_test::wasm_bindgen_test;

use super::{judge, read, replay};
use crate::Dialect;
use crate::answer::{CannotReplay, Complete, Incomplete, Recorded, Terms, Usage};
use crate::dialect::Asked;

/// Two texts as numbers, and one in base64.
const FLOAT: &str = include_str!("../../tests/fixtures/openai_embeddings/float.json");
const BASE64: &str = include_str!("../../tests/fixtures/openai_embeddings/base64.json");

fn asked(body: &str) -> Result<Asked, Problem> {
    let bounds = Bounds { depth_max: 64, nodes_max: 1_000 };
    read(&parse(body.as_bytes(), bounds).unwrap())
}

fn judged(body: &str, answers: Option<u64>) -> Result<Complete, Incomplete> {
    judge(Recorded::Json, body.as_bytes(), Terms { client_limited: false, answers })
}

fn of_data(data: &str) -> Result<Complete, Incomplete> {
    judged(&format!(r#"{{"object":"list","data":[{data}]}}"#), None)
}

#[wasm_bindgen_test(unsupported = test)]
fn there_is_one_shape_whatever_is_asked_for() {
    for rest in ["", r#","encoding_format":"base64""#, r#","stream":true"#] {
        for input in [r#""text""#, r#"["a","b"]"#, "[1,2]", "[[1],[2]]"] {
            let (model, reply) = ("m".into(), ReplyShape::Json);
            let expected = Asked { model, reply, client_limited: false, bypass: None };
            let body = format!(r#"{{"model":"m","input":{input}{rest}}}"#);
            assert_eq!(asked(&body), Ok(expected), "{body}");
        }
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_refusal_names_the_field() {
    for (body, field) in [
        (r#"{"input":"x"}"#, "model"),
        (r#"{"model":"m"}"#, "input"),
        (r#"{"model":"m","input":null}"#, "input"),
        (r#"{"model":"m","input":{"text":"x"}}"#, "input"),
    ] {
        assert_eq!(asked(body).unwrap_err().param(), Some(field), "{body}");
    }
    assert!(matches!(asked("7"), Err(Problem::InvalidBody { .. })));
}

#[wasm_bindgen_test(unsupported = test)]
fn the_encoding_is_in_the_key_and_the_user_is_not() {
    let left_out = Dialect::OpenAiEmbeddings.left_out();
    assert!(left_out.contains(&"user") && left_out.contains(&"model"));
    assert!(!left_out.contains(&"encoding_format") && !left_out.contains(&"dimensions"));
}

#[wasm_bindgen_test(unsupported = test)]
fn complete_answers_have_the_providers_usage_and_model() {
    for (body, answers, uncached_input_tokens) in [(FLOAT, 2, 9), (BASE64, 1, 8)] {
        let complete = judged(body, Some(answers)).unwrap();
        let usage = Usage { uncached_input_tokens, ..Usage::default() };
        assert_eq!(complete.usage, Some(usage));
        assert_eq!(complete.model.as_deref(), Some("text-embedding-3-small"));
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn an_answer_cut_at_any_byte_is_not_complete() {
    for whole in [FLOAT.trim_end(), BASE64.trim_end()] {
        for cut in 0..whole.len() {
            assert_eq!(judged(&whole[..cut], None), Err(Incomplete::CutShort), "cut at {cut}");
        }
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn each_text_has_its_embedding() {
    let answers = |request: &str| Dialect::OpenAiEmbeddings.answers_asked(request.as_bytes());
    assert!(judged(FLOAT, answers(r#"{"input":["a","b"]}"#)).is_ok());
    for (request, asked) in [(r#"{"input":["a","b","c"]}"#, 3), (r#"{"input":"a"}"#, 1)] {
        let refused = judged(FLOAT, answers(request)).unwrap_err();
        assert_eq!(refused, Incomplete::AnswerCount { asked, told: 2 });
        assert_eq!(refused.reason(), Reason::Incomplete);
    }
    assert!(judged(FLOAT, answers(r#"{"input":[{"image":"x"}]}"#)).is_ok(), "who knows");
}

#[wasm_bindgen_test(unsupported = test)]
fn an_embedding_is_numbers_or_base64_and_numbered() {
    for good in [
        r#"{"index":0,"embedding":[1,-0.5e-3]}"#,
        r#"{"embedding":"AAAA"},{"embedding":"AAAA"}"#,
        r#"{"index":1,"embedding":[0]},{"index":0,"embedding":[0]}"#,
    ] {
        assert!(of_data(good).is_ok(), "{good}");
    }
    for odd in [
        "{}",
        "7",
        r#"{"embedding":null}"#,
        r#"{"embedding":[]}"#,
        r#"{"embedding":""}"#,
        r#"{"embedding":[0.1,null]}"#,
        r#"{"embedding":["0.1"]}"#,
        r#"{"index":1,"embedding":[0]}"#,
        r#"{"index":0,"embedding":[0]},{"index":0,"embedding":[0]}"#,
        r#"{"index":0,"embedding":[0]},{"index":2,"embedding":[0]}"#,
    ] {
        assert_eq!(of_data(odd), Err(Incomplete::Malformed), "{odd}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn what_is_no_list_of_embeddings_is_not_complete() {
    for (body, refused) in [
        ("{}", Incomplete::NoOutput),
        (r#"{"data":[]}"#, Incomplete::NoOutput),
        (r#"{"data":null}"#, Incomplete::NoOutput),
        (r#"{"error":{"message":"no"}}"#, Incomplete::ErrorInBand),
        (r#"{"data":[{"embedding":[1]}],"error":"x"}"#, Incomplete::ErrorInBand),
        ("[]", Incomplete::Malformed),
        ("null", Incomplete::Malformed),
        (r#"{"data":{}}"#, Incomplete::Malformed),
        (r#"{"data":[{"embedding":[1]}]} x"#, Incomplete::Malformed),
        (r#"{"data":[],"data":[{"embedding":[1]}]}"#, Incomplete::Malformed),
        ("", Incomplete::CutShort),
    ] {
        assert_eq!(judged(body, None), Err(refused), "{body}");
    }
    let stream = judge(Recorded::Sse, b"data: [DONE]\n\n", Terms::default());
    assert_eq!(stream, Err(Incomplete::Malformed));
}

#[wasm_bindgen_test(unsupported = test)]
fn an_entry_is_told_as_it_was_and_never_as_a_stream() {
    for body in [FLOAT, BASE64] {
        let told = replay(Recorded::Json, body.as_bytes(), ReplyShape::Json).unwrap();
        assert_eq!(told.content_type, "application/json");
        assert!(matches!(told.body, Cow::Borrowed(same) if same == body.as_bytes()));
    }
    let refused = replay(Recorded::Json, b"{}", ReplyShape::Sse { include_usage: true });
    assert_eq!(refused, Err(CannotReplay::NoStream));
    assert_eq!(CannotReplay::NoStream.reason(), Reason::Shape);
    assert!(replay(Recorded::Sse, b"", ReplyShape::Json).is_err());
}
