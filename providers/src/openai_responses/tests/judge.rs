//! What is complete, and what is not.

use kt_contract::outcome::Reason;
use serde_json::{Value, json};
use wasm_bindgen_test::wasm_bindgen_test;

use super::{FIXTURES, LIMITED, TEXT, TOOLS};
use crate::answer::{Complete, Incomplete, Recorded, Terms, Usage};
use crate::openai_responses::{ends_stream, fails_stream, judge};

/// The terms of a client that set the length limit.
const BY_LIMIT: Terms = Terms { client_limited: true, answers: None };

fn sse(body: &str) -> Result<Complete, Incomplete> {
    judge(Recorded::Sse, body.as_bytes(), Terms::default())
}

fn json(body: &str) -> Result<Complete, Incomplete> {
    judge(Recorded::Json, body.as_bytes(), Terms::default())
}

/// The text fixture as JSON, with a field set.
fn with(field: &str, value: Value) -> String {
    let mut response: Value = serde_json::from_str(TEXT.answer).unwrap();
    response[field] = value;
    response.to_string()
}

/// The events of a stream, without their blank lines.
fn events(stream: &str) -> Vec<String> {
    stream.split_terminator("\n\n").map(str::to_owned).collect()
}

fn stream_of(events: &[String]) -> String {
    events.iter().map(|event| format!("{event}\n\n")).collect()
}

#[wasm_bindgen_test(unsupported = test)]
fn every_fixture_is_complete_in_all_shapes_with_the_same_usage_and_model() {
    for fixture in FIXTURES {
        let judged = judge(Recorded::Json, fixture.answer.as_bytes(), BY_LIMIT);
        let complete = judged.unwrap_or_else(|why| panic!("{}: {why}", fixture.name));
        for stream in [fixture.stream, fixture.told] {
            let judged = judge(Recorded::Sse, stream.as_bytes(), BY_LIMIT);
            assert_eq!(judged.as_ref(), Ok(&complete), "{}", fixture.name);
        }
        assert!(complete.usage.is_some() && complete.model.is_some(), "{}", fixture.name);
        assert_eq!(json(fixture.answer).is_ok(), fixture.name != "limited", "{}", fixture.name);
    }
    let usage = Usage { uncached_input_tokens: 12, output_tokens: 9, ..Usage::default() };
    assert_eq!(json(TEXT.answer).unwrap().usage, Some(usage));
}

#[wasm_bindgen_test(unsupported = test)]
fn a_stream_cut_anywhere_is_not_complete() {
    for fixture in FIXTURES {
        let ends = fixture.stream.match_indices('\n').map(|(at, _)| at);
        let cuts = ends.flat_map(|at| [at.saturating_sub(7), at, at + 1]);
        for cut in cuts.filter(|cut| *cut < fixture.stream.len()) {
            let judged = judge(Recorded::Sse, &fixture.stream.as_bytes()[..cut], BY_LIMIT);
            assert_eq!(judged, Err(Incomplete::CutShort), "{} at {cut}", fixture.name);
        }
    }
    for line_end in ["\n", "\r\n", "\r"] {
        let whole = TEXT.stream.replace('\n', line_end);
        assert!(sse(&whole).is_ok(), "{line_end:?}");
        for cut in whole.len() - 200..whole.len() {
            let judged = judge(Recorded::Sse, &whole.as_bytes()[..cut], BY_LIMIT);
            assert!(judged.is_err(), "{line_end:?} cut at {cut}");
        }
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_json_answer_cut_at_any_byte_is_not_complete() {
    let whole = TEXT.answer.trim_end();
    for cut in 0..whole.len() {
        let refused = judge(Recorded::Json, &whole.as_bytes()[..cut], BY_LIMIT).unwrap_err();
        assert!(
            matches!(refused, Incomplete::CutShort | Incomplete::Malformed),
            "{cut}: {refused}"
        );
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_response_says_that_it_is_completed() {
    let status = |word: &str| Incomplete::Status { status: word.into() };
    for (value, refused) in [
        (json!("in_progress"), status("in_progress")),
        (json!("queued"), status("queued")),
        (json!("cancelled"), status("cancelled")),
        (json!(null), status("")),
        (json!("failed"), Incomplete::ErrorInBand),
        (json!("incomplete"), Incomplete::FinishReason { reason: "incomplete".into() }),
    ] {
        assert_eq!(json(&with("status", value.clone())), Err(refused), "{value}");
    }
    assert_eq!(status("queued").reason(), Reason::Incomplete);
    assert_eq!(json(&with("error", json!({"code": "x"}))), Err(Incomplete::ErrorInBand));
    let refused = json(&with("incomplete_details", json!({"reason": "content_filter"})));
    assert_eq!(refused, Err(Incomplete::FinishReason { reason: "content_filter".into() }));
}

#[wasm_bindgen_test(unsupported = test)]
fn an_end_by_length_counts_where_the_client_set_the_limit() {
    let by_length = Incomplete::FinishReason { reason: "max_output_tokens".into() };
    for (recorded, body) in [(Recorded::Json, LIMITED.answer), (Recorded::Sse, LIMITED.stream)] {
        assert!(judge(recorded, body.as_bytes(), BY_LIMIT).is_ok());
        assert_eq!(judge(recorded, body.as_bytes(), Terms::default()), Err(by_length.clone()));
        let other = body.replace("\"max_output_tokens\"}", "\"content_filter\"}");
        let other =
            other.replace("\"reason\": \"max_output_tokens\"", "\"reason\": \"content_filter\"");
        let refused = Incomplete::FinishReason { reason: "content_filter".into() };
        assert_eq!(judge(recorded, other.as_bytes(), BY_LIMIT), Err(refused));
    }
    assert_eq!(by_length.reason(), Reason::FinishReason);
}

#[wasm_bindgen_test(unsupported = test)]
fn every_item_is_completed() {
    let item = |status: Value| json!({"type": "message", "status": status, "content": []});
    for (items, expected) in [
        (json!([item(json!("completed"))]), Ok(())),
        (json!([item(json!(null)), {"type": "reasoning"}]), Ok(())),
        (json!([item(json!("completed")), item(json!("in_progress"))]), Err(1)),
        (json!([item(json!("incomplete"))]), Err(0)),
        (json!([item(json!("failed"))]), Err(0)),
        (json!([{"type": "mcp_call", "status": "completed", "error": "no"}]), Err(0)),
    ] {
        let judged = json(&with("output", items.clone())).map(|_| ());
        let expected = expected.map_err(|index| Incomplete::ItemUnfinished { index });
        assert_eq!(judged, expected, "{items}");
    }
    for none in [json!([]), json!(null)] {
        assert_eq!(json(&with("output", none)), Err(Incomplete::NoOutput));
    }
    for odd in [json!([7]), json!([{"status": "completed"}]), json!({})] {
        assert_eq!(json(&with("output", odd.clone())), Err(Incomplete::Malformed), "{odd}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_stream_has_told_each_item_from_its_start_to_its_end() {
    let all = events(TOOLS.stream);
    for (at, event) in all.iter().enumerate() {
        let is_item = event.contains("response.output_item.");
        let without: Vec<_> = all.iter().take(at).chain(all.iter().skip(at + 1)).cloned().collect();
        let is_last = at + 1 == all.len();
        assert_eq!(sse(&stream_of(&without)).is_ok(), !is_item && !is_last, "without {event}");
        if is_item {
            let mut twice = all.clone();
            twice.insert(at, event.clone());
            assert_eq!(sse(&stream_of(&twice)), Err(Incomplete::Malformed), "twice {event}");
        }
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn the_last_event_holds_what_the_stream_has_told() {
    let untold = |index: u64| {
        let of_item = format!("\"output_index\":{index},");
        events(TOOLS.stream)
            .into_iter()
            .filter(|event| !event.contains(&of_item))
            .collect::<Vec<_>>()
    };
    for index in 0..4 {
        assert_eq!(sse(&stream_of(&untold(index))), Err(Incomplete::Malformed), "item {index}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn an_error_in_band_is_never_complete() {
    let all = events(TEXT.stream);
    for event in [
        "event: error\ndata: {\"type\":\"error\",\"message\":\"overloaded\"}",
        "data: {\"type\":\"error\",\"message\":\"overloaded\"}",
        "data: {\"error\":{\"message\":\"overloaded\"}}",
        "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"status\":\"failed\"}}",
    ] {
        let mut broken = all.clone();
        broken.insert(5, event.to_owned());
        assert_eq!(sse(&stream_of(&broken)), Err(Incomplete::ErrorInBand), "{event}");
    }
    assert_eq!(json(r#"{"error":{"message":"no"}}"#), Err(Incomplete::ErrorInBand));
}

#[wasm_bindgen_test(unsupported = test)]
fn the_last_event_is_the_last_word() {
    let whole = TEXT.stream;
    assert!(sse(&format!("{whole}data: [DONE]\n\n")).is_ok(), "some gateways say so");
    assert!(sse(&format!("{whole}: bye\n\n")).is_ok(), "a comment");
    for more in [
        "data: {\"type\":\"response.output_text.delta\"}\n\n",
        "data: [DONE]\n\ndata: [DONE]\n\n",
        "data: [DONE]\n\ndata: {}\n\n",
    ] {
        assert_eq!(sse(&format!("{whole}{more}")), Err(Incomplete::AfterDone), "{more}");
    }
    assert_eq!(sse("data: [DONE]\n\n"), Err(Incomplete::CutShort));
}

#[wasm_bindgen_test(unsupported = test)]
fn name_and_type_of_an_event_are_the_same() {
    let nameless: String =
        TEXT.stream.split_inclusive('\n').filter(|line| !line.starts_with("event:")).collect();
    assert!(sse(&nameless).is_ok(), "names may be missing");
    let other = TEXT.stream.replace("event: response.created", "event: response.queued");
    assert_eq!(sse(&other), Err(Incomplete::Malformed));
    let wrong_end = TEXT.stream.replace("response.completed", "response.incomplete");
    assert_eq!(
        sse(&wrong_end),
        Err(Incomplete::Malformed),
        "a completed response is not incomplete"
    );
    let pings = TEXT.stream.replace(
        "event: response.in_progress",
        "event: keepalive\ndata: {\"type\":\"keepalive\"}\n\nevent: ping\ndata: {}\n\nevent: response.in_progress",
    );
    assert!(sse(&pings).is_ok());
}

#[wasm_bindgen_test(unsupported = test)]
fn data_that_is_no_event_spoils_the_stream() {
    for odd in [
        "",
        "null",
        "7",
        "[]",
        "{}",
        "{\"type\":7}",
        "{\"type\":\"a\",\"type\":\"a\"}",
        "{\"type\":",
    ] {
        let mut all = events(TEXT.stream);
        all.insert(3, format!("data: {odd}"));
        assert_eq!(sse(&stream_of(&all)), Err(Incomplete::Malformed), "{odd}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_stream_fails_with_an_error_and_with_nothing_else() {
    for (name, data, fails) in [
        ("error", r#"{"type":"error","code":"c","message":"m","param":null}"#, true),
        ("", r#"{"type":"error"}"#, true),
        ("", r#"{"error":{"message":"no"}}"#, true),
        ("", r#"{ "sequence_number": 9, "type": "error" }"#, true),
        // It has ended, and says why.
        ("response.failed", r#"{"type":"response.failed","response":{"error":{}}}"#, false),
        ("response.incomplete", r#"{"type":"response.incomplete","response":{}}"#, false),
        ("", r#"{"type":"response.created","response":{"error":null}}"#, false),
        ("", r#"{"type":"response.output_text.delta","delta":"error"}"#, false),
        ("", "[DONE]", false),
    ] {
        assert_eq!(fails_stream(name.as_bytes(), data.as_bytes()), fails, "{name}: {data}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn only_the_last_event_ends_a_stream() {
    for fixture in FIXTURES {
        for stream in [fixture.stream, fixture.told] {
            let data: Vec<_> =
                stream.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
            let ends = data.iter().map(|data| ends_stream(data.as_bytes()));
            let last = ends.enumerate().filter(|(_, ends)| *ends).map(|(at, _)| at);
            assert!(last.eq([data.len() - 1]), "{}", fixture.name);
        }
    }
    for (data, ends) in [
        (r#"{"type":"response.failed","response":{}}"#, true),
        (r#"{ "sequence_number": 9, "type": "response.completed" }"#, true),
        (r#"{"type":"response.\u0063ompleted"}"#, true),
        (r#"{"type":"response.output_text.delta","delta":"response.completed"}"#, false),
        (
            r#"{"delta":"\"type\":\"response.completed\"","type":"response.output_text.delta"}"#,
            false,
        ),
        ("[DONE]", false),
        ("", false),
    ] {
        assert_eq!(ends_stream(data.as_bytes()), ends, "{data}");
    }
}
