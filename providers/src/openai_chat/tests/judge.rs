//! What is complete, and what is not.

use kt_contract::outcome::Reason;
use wasm_bindgen_test::wasm_bindgen_test;

use super::{PAIRS, PLAIN, TOOLS};
use crate::answer::{Complete, Incomplete, Recorded, Terms, Usage};
use crate::openai::judge::is_error;
use crate::openai_chat::judge;

const ERROR_IN_BAND: &str = include_str!("../../../tests/fixtures/openai_chat/error_in_band.sse");

/// The terms of a client that set the length limit.
const LIMITED: Terms = Terms { client_limited: true, answers: None };

fn sse(body: &str) -> Result<Complete, Incomplete> {
    judge(Recorded::Sse, body.as_bytes(), Terms::default())
}

fn json(body: &str) -> Result<Complete, Incomplete> {
    judge(Recorded::Json, body.as_bytes(), Terms::default())
}

/// A stream of these chunks and `[DONE]`.
fn stream(chunks: &[&str]) -> String {
    let told: String = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
    told + "data: [DONE]\n\n"
}

fn choice(index: u64, finish_reason: &str) -> String {
    format!(r#"{{"choices":[{{"index":{index},"delta":{{}},"finish_reason":{finish_reason}}}]}}"#)
}

fn finish_reason(reason: &str) -> Incomplete {
    Incomplete::FinishReason { reason: reason.into() }
}

#[wasm_bindgen_test(unsupported = test)]
fn every_complete_fixture_is_complete_in_both_shapes_with_the_same_usage_and_model() {
    for (name, stream, answer) in PAIRS {
        let of_stream = sse(stream).unwrap_or_else(|error| panic!("{name}.sse: {error}"));
        let of_answer = json(answer).unwrap_or_else(|error| panic!("{name}.json: {error}"));
        assert_eq!(of_stream, of_answer, "{name}");
        assert!(of_stream.usage.is_some() && of_stream.model.is_some(), "{name}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn usage_and_model_are_the_providers() {
    let complete = sse(PLAIN).unwrap();
    let usage = Usage { uncached_input_tokens: 12, output_tokens: 4, ..Usage::default() };
    assert_eq!(complete.usage, Some(usage));
    assert_eq!(complete.model.as_deref(), Some("gpt-4o-2024-08-06"));
}

#[wasm_bindgen_test(unsupported = test)]
fn a_stream_cut_at_any_byte_is_not_complete() {
    for whole in [TOOLS.to_owned(), TOOLS.replace('\n', "\r\n"), TOOLS.replace('\n', "\r")] {
        assert!(judge(Recorded::Sse, whole.as_bytes(), LIMITED).is_ok());
        for cut in 0..whole.len() {
            let part = &whole.as_bytes()[..cut];
            assert!(judge(Recorded::Sse, part, LIMITED).is_err(), "cut at {cut}");
        }
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn every_fixture_cut_after_any_line_is_not_complete() {
    for (name, whole, _) in PAIRS {
        for (at, _) in whole.match_indices('\n').rev().skip(1) {
            assert!(
                judge(Recorded::Sse, &whole.as_bytes()[..=at], LIMITED).is_err(),
                "{name} at {at}"
            );
        }
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_json_answer_cut_at_any_byte_is_not_complete() {
    for (name, _, whole) in PAIRS {
        let whole = whole.trim_end();
        for cut in 0..whole.len() {
            let refused = judge(Recorded::Json, &whole.as_bytes()[..cut], LIMITED).unwrap_err();
            // A cut within a character is no UTF-8 before it is no JSON.
            assert!(
                matches!(refused, Incomplete::CutShort | Incomplete::Malformed),
                "{name} at {cut}: {refused}"
            );
        }
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_choice_ends_with_one_of_the_known_reasons() {
    for reason in ["stop", "tool_calls", "function_call"] {
        assert!(sse(&stream(&[&choice(0, &format!("\"{reason}\""))])).is_ok(), "{reason}");
    }
    for reason in ["content_filter", "length", "error", "Stop", "end_turn"] {
        let refused = sse(&stream(&[&choice(0, &format!("\"{reason}\""))])).unwrap_err();
        assert_eq!(refused, finish_reason(reason));
        assert_eq!(refused.reason(), Reason::FinishReason);
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_stream_that_breaks_off_is_cut_short_however_its_choices_had_ended() {
    let whole = stream(&[&choice(0, "\"content_filter\"")]);
    assert_eq!(sse(&whole), Err(finish_reason("content_filter")));
    let last_event = whole.find("data: [DONE]").unwrap();
    for cut in [last_event, last_event + 3, whole.len() - 1] {
        assert_eq!(sse(&whole[..cut]), Err(Incomplete::CutShort), "cut at {cut}");
    }
    let failed = whole.replace("[DONE]", r#"{"error":{"message":"overloaded"}}"#);
    assert_eq!(sse(&failed), Err(Incomplete::ErrorInBand), "it failed after that");
}

#[wasm_bindgen_test(unsupported = test)]
fn an_end_by_length_counts_where_the_client_set_the_limit() {
    let body = stream(&[&choice(0, "\"length\"")]);
    assert!(judge(Recorded::Sse, body.as_bytes(), LIMITED).is_ok());
    let body = r#"{"choices":[{"index":0,"message":{},"finish_reason":"length"}]}"#;
    assert!(judge(Recorded::Json, body.as_bytes(), LIMITED).is_ok());
    assert_eq!(json(body), Err(finish_reason("length")));
}

#[wasm_bindgen_test(unsupported = test)]
fn every_choice_must_end() {
    let [open, end, other_end] =
        [choice(0, "null"), choice(0, "\"stop\""), choice(1, "\"tool_calls\"")];
    let unfinished = |index| Err(Incomplete::ChoiceUnfinished { index });
    assert_eq!(sse(&stream(&[&open, &other_end])), unfinished(0), "the first is open");
    assert_eq!(sse(&stream(&[&other_end])), unfinished(0), "the first is missing");
    assert_eq!(sse(&stream(&[&end, &choice(2, "\"stop\"")])), unfinished(1), "a gap");
    assert_eq!(sse(&stream(&[&choice(0, "\"\"")])), unfinished(0), "an empty reason is none");
    assert!(sse(&stream(&[&other_end, &end, &open])).is_ok(), "an end is an end");
}

#[wasm_bindgen_test(unsupported = test)]
fn as_many_choices_come_as_were_asked_for() {
    let [first, second] = [choice(0, "\"stop\""), choice(1, "\"stop\"")];
    for (chunks, told) in [(vec![&*first], 1), (vec![&*first, &*second], 2)] {
        for (answers, is_right) in
            [(None, true), (Some(told), true), (Some(3), false), (Some(0), false)]
        {
            let terms = Terms { answers, ..Terms::default() };
            let judged = judge(Recorded::Sse, stream(&chunks).as_bytes(), terms);
            assert_eq!(judged.is_ok(), is_right, "{told} came, {answers:?} asked: {judged:?}");
            if let (Err(refused), Some(asked)) = (judged, answers) {
                assert_eq!(refused, Incomplete::AnswerCount { asked, told });
                assert_eq!(refused.reason(), Reason::Incomplete);
            }
        }
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn one_bad_end_spoils_the_answer() {
    let body = stream(&[&choice(0, "\"stop\""), &choice(1, "\"content_filter\"")]);
    assert_eq!(sse(&body), Err(finish_reason("content_filter")));
    let body = stream(&[&choice(0, "\"content_filter\""), &choice(0, "\"stop\"")]);
    assert_eq!(sse(&body), Err(finish_reason("content_filter")));
}

#[wasm_bindgen_test(unsupported = test)]
fn chunks_without_choices_decide_nothing() {
    let end = choice(0, "\"stop\"");
    let filters = r#"{"choices":[],"prompt_filter_results":[]}"#;
    assert!(sse(&stream(&[filters, r#"{"choices":null}"#, "{}", &end, filters])).is_ok());
    assert_eq!(sse(&stream(&[filters])), Err(Incomplete::NoChoices));
    assert_eq!(sse("data: [DONE]\n\n"), Err(Incomplete::NoChoices));
}

#[wasm_bindgen_test(unsupported = test)]
fn an_error_in_band_is_never_complete() {
    let end = choice(0, "\"stop\"");
    assert_eq!(sse(ERROR_IN_BAND), Err(Incomplete::ErrorInBand));
    for error in [
        r#"{"error":{"message":"overloaded"}}"#,
        r#"{"error":"overloaded"}"#,
        r#"{"choices":[{"index":0,"error":{"code":502},"finish_reason":"stop"}]}"#,
    ] {
        assert_eq!(sse(&stream(&[&end, error])), Err(Incomplete::ErrorInBand), "{error}");
        assert_eq!(json(error), Err(Incomplete::ErrorInBand), "{error}");
    }
    let named = format!("event: error\ndata: {{}}\n\n{}", stream(&[&end]));
    assert_eq!(sse(&named), Err(Incomplete::ErrorInBand));
    assert!(sse(&stream(&[r#"{"error":null}"#, &end])).is_ok(), "null is no error");
}

#[wasm_bindgen_test(unsupported = test)]
fn a_stream_fails_with_an_error_that_says_something() {
    for (name, data, fails) in [
        ("", r#"{"error":{"message":"overloaded"}}"#, true),
        ("", r#"{"error":"overloaded","choices":[]}"#, true),
        ("", r#"{ "choices" : [{"index":0}, {"index":1,"error":{"code":502}}] }"#, true),
        ("error", "{}", true),
        ("", r#"{"error":null,"choices":[{"index":0,"error":null}]}"#, false),
        ("", r#"{"error":"","choices":null}"#, false),
        ("", r#"{"error":{}}"#, false),
        ("", r#"{"error":false}"#, false),
        ("", r#"{"error":0}"#, false),
        ("", r#"{"choices":[{"delta":{"content":"\"error\""}}]}"#, false),
        ("", r#"{"choices":[{"delta":{"content":"error"},"finish_reason":"error"}]}"#, false),
        ("", r#"{"error":{"message":"ov"#, false),
        ("", "[DONE]", false),
        ("", "", false),
    ] {
        assert_eq!(is_error(name.as_bytes(), data.as_bytes()), fails, "{name}: {data}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn comments_and_pings_are_no_content() {
    let end = choice(0, "\"stop\"");
    let body = format!(
        "\u{feff}: hello\n\nevent: ping\ndata: {{\"type\": \"ping\"}}\n\nretry: 5\nid: 1\n\n{}\n: bye\n\n",
        stream(&[&end])
    );
    assert_eq!(sse(&body).map(|complete| complete.usage), Ok(None));
}

#[wasm_bindgen_test(unsupported = test)]
fn done_is_the_last_word() {
    let end = choice(0, "\"stop\"");
    let whole = stream(&[&end]);
    assert_eq!(sse(&format!("{whole}data: {end}\n\n")), Err(Incomplete::AfterDone));
    assert_eq!(sse(&format!("{whole}data: [DONE]\n\n")), Err(Incomplete::AfterDone));
    assert_eq!(sse(&format!("{whole}: bye")), Err(Incomplete::CutShort));
    assert_eq!(sse(&format!("data: {end}\n\n")), Err(Incomplete::CutShort));
    assert_eq!(sse(&format!("data: {end}\n\ndata: [DONE]\n")), Err(Incomplete::CutShort));
    assert_eq!(sse(&whole.replace("[DONE]", "\"[DONE]\"")), Err(Incomplete::Malformed));
    assert!(sse(&whole.replace(": [", ":[")).is_ok(), "no space");
}

#[wasm_bindgen_test(unsupported = test)]
fn data_that_is_no_chunk_spoils_the_stream() {
    let end = choice(0, "\"stop\"");
    for odd in [
        "",
        "null",
        "7",
        "[]",
        "[\"m\",[]]",
        "{\"choices\":[",
        "{\"choices\":{}}",
        "{\"choices\":[{\"index\":-1}]}",
        "{\"choices\":[{\"index\":\"0\"}]}",
        "{\"choices\":[],\"choices\":[]}",
        "{\"choices\":[]} {}",
        "<html>bad gateway</html>",
    ] {
        assert_eq!(sse(&stream(&[odd, &end])), Err(Incomplete::Malformed), "{odd}");
    }
    let not_utf8 = stream(&["{\"a\":\"?\"}", &end]).replace('?', "\u{0}").into_bytes();
    let not_utf8: Vec<u8> =
        not_utf8.into_iter().map(|byte| if byte == 0 { 0xff } else { byte }).collect();
    assert_eq!(judge(Recorded::Sse, &not_utf8, Terms::default()), Err(Incomplete::Malformed));
}

#[wasm_bindgen_test(unsupported = test)]
fn several_data_lines_are_one_text() {
    let body = "data: {\"choices\":[{\"index\":0,\ndata: \"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    assert!(sse(body).is_ok());
}

#[wasm_bindgen_test(unsupported = test)]
fn json_must_have_choices_with_messages() {
    let message = r#"{"choices":[{"index":0,"message":{"content":"x"},"finish_reason":"stop"}]}"#;
    assert!(json(message).is_ok());
    for (body, refused) in [
        ("{}", Incomplete::NoChoices),
        (r#"{"choices":null}"#, Incomplete::NoChoices),
        (r#"{"choices":[]}"#, Incomplete::NoChoices),
        (r#"{"choices":[{"index":0,"finish_reason":"stop"}]}"#, Incomplete::Malformed),
        (
            r#"{"choices":[{"index":0,"message":null,"finish_reason":"stop"}]}"#,
            Incomplete::Malformed,
        ),
        (r#"{"choices":[{"index":0,"message":{}}]}"#, Incomplete::ChoiceUnfinished { index: 0 }),
        // Azure leaves the message out.
        (
            r#"{"choices":[{"index":0,"finish_reason":"content_filter"}]}"#,
            finish_reason("content_filter"),
        ),
        ("", Incomplete::CutShort),
        ("null", Incomplete::Malformed),
        ("[]", Incomplete::Malformed),
        ("[null,[]]", Incomplete::Malformed),
        ("<html>", Incomplete::Malformed),
    ] {
        assert_eq!(json(body), Err(refused), "{body}");
    }
    assert_eq!(json(&format!("{message}{message}")), Err(Incomplete::Malformed));
}

#[wasm_bindgen_test(unsupported = test)]
fn a_deep_answer_is_refused_and_does_no_harm() {
    let deep = "[".repeat(100_000);
    let body = format!(r#"{{"usage":{deep}"#);
    assert!(json(&body).is_err());
    assert!(sse(&stream(&[&body])).is_err());
}

#[wasm_bindgen_test(unsupported = test)]
fn a_providers_word_is_repeated_only_so_far() {
    let refused = sse(&stream(&[&choice(0, &format!("\"{}\"", "é".repeat(1_000)))])).unwrap_err();
    assert_eq!(refused, finish_reason(&"é".repeat(40)));
}

#[wasm_bindgen_test(unsupported = test)]
fn usage_nobody_can_believe_leaves_the_answer_complete() {
    let end = choice(0, "\"stop\"");
    for usage in [
        r#"{"prompt_tokens":-1,"completion_tokens":2}"#,
        r#"{"prompt_tokens":1e30,"completion_tokens":2}"#,
        r#"{"prompt_tokens":"12","completion_tokens":2}"#,
        r#"{"prompt_tokens":9007199254740992,"completion_tokens":2}"#,
        r#""many""#,
    ] {
        let chunk = format!(r#"{{"choices":[],"usage":{usage}}}"#);
        assert_eq!(sse(&stream(&[&end, &chunk])).map(|complete| complete.usage), Ok(None));
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn an_event_too_long_to_read_is_not_stored() {
    let end = choice(0, "\"stop\"");
    let long = "x".repeat(kt_contract::limits::SSE_LINE_BYTES_MAX);
    let body = stream(&[&format!("{{\"a\":\"{long}\"}}"), &end]);
    assert_eq!(sse(&body), Err(Incomplete::EventTooLong));
}
