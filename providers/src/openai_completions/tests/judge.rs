//! What is complete, and what is not.

use wasm_bindgen_test::wasm_bindgen_test;

use super::FIXTURES;
use crate::Dialect;
use crate::answer::{Complete, Incomplete, Recorded, Terms, Usage};
use crate::openai_completions::judge;

/// The terms of a client that set the length limit.
const LIMITED: Terms = Terms { client_limited: true, answers: None };

fn sse(body: &str) -> Result<Complete, Incomplete> {
    judge(Recorded::Sse, body.as_bytes(), Terms::default())
}

fn json(body: &str) -> Result<Complete, Incomplete> {
    judge(Recorded::Json, body.as_bytes(), Terms::default())
}

/// A stream of one choice that ends for this reason.
fn ended(reason: &str) -> String {
    format!(
        "data: {{\"choices\":[{{\"text\":\"x\",\"index\":0,\"finish_reason\":null}}]}}\n\n\
         data: {{\"choices\":[{{\"text\":\"\",\"index\":0,\"finish_reason\":{reason}}}]}}\n\n\
         data: [DONE]\n\n"
    )
}

#[wasm_bindgen_test(unsupported = test)]
fn every_fixture_is_complete_in_both_shapes_with_the_same_usage_and_model() {
    for fixture in FIXTURES {
        let of_stream = sse(fixture.stream).unwrap_or_else(|why| panic!("{}: {why}", fixture.name));
        assert_eq!(Ok(&of_stream), json(fixture.answer).as_ref(), "{}", fixture.name);
        assert_eq!(Ok(&of_stream), sse(fixture.told).as_ref(), "{}", fixture.name);
        assert!(of_stream.usage.is_some() && of_stream.model.is_some(), "{}", fixture.name);
    }
    let usage = Usage { uncached_input_tokens: 5, output_tokens: 6, ..Usage::default() };
    assert_eq!(sse(FIXTURES[0].stream).unwrap().usage, Some(usage));
}

#[wasm_bindgen_test(unsupported = test)]
fn a_fixture_cut_at_any_byte_is_not_complete() {
    for fixture in FIXTURES {
        for (recorded, whole) in
            [(Recorded::Sse, fixture.stream), (Recorded::Json, fixture.answer.trim_end())]
        {
            for cut in 0..whole.len() {
                let part = &whole.as_bytes()[..cut];
                assert!(judge(recorded, part, LIMITED).is_err(), "{} at {cut}", fixture.name);
            }
        }
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_choice_ends_with_stop_or_by_the_clients_own_limit() {
    assert!(sse(&ended("\"stop\"")).is_ok());
    assert!(judge(Recorded::Sse, ended("\"length\"").as_bytes(), LIMITED).is_ok());
    for reason in ["length", "content_filter", "tool_calls", "function_call", "error"] {
        let refused = Incomplete::FinishReason { reason: reason.into() };
        assert_eq!(sse(&ended(&format!("\"{reason}\""))), Err(refused), "{reason}");
    }
    assert_eq!(sse(&ended("null")), Err(Incomplete::ChoiceUnfinished { index: 0 }));
}

#[wasm_bindgen_test(unsupported = test)]
fn every_prompt_has_its_choices() {
    let request = br#"{"model":"m","prompt":["a","b"],"n":2}"#;
    let answers = Dialect::OpenAiCompletions.answers_asked(request);
    let terms = Terms { client_limited: false, answers };
    for fixture in FIXTURES {
        let judged = judge(Recorded::Json, fixture.answer.as_bytes(), terms);
        match fixture.name {
            "four_choices" => assert!(judged.is_ok()),
            _ => assert_eq!(judged, Err(Incomplete::AnswerCount { asked: 4, told: 1 })),
        }
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn json_must_have_choices_with_text() {
    let whole = r#"{"choices":[{"index":0,"text":"x","finish_reason":"stop"}]}"#;
    assert!(json(whole).is_ok());
    for (body, refused) in [
        (whole.replace("\"text\":\"x\",", ""), Incomplete::Malformed),
        (whole.replace("\"text\"", "\"message\""), Incomplete::Malformed),
        (r#"{"choices":[]}"#.into(), Incomplete::NoChoices),
        (r#"{"error":{"message":"no"}}"#.into(), Incomplete::ErrorInBand),
    ] {
        assert_eq!(json(&body), Err(refused), "{body}");
    }
}
