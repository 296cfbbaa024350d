//! What is complete, and what is not.

use kt_contract::outcome::Reason;
use wasm_bindgen_test::wasm_bindgen_test;

use super::{PAIRS, PLAIN, TOOLS, block, end, event, said, start, stream};
use crate::answer::{Complete, Incomplete, Recorded, Terms, Usage};
use crate::anthropic_messages::{ends_stream, fails_stream, judge};

const ERROR_IN_BAND: &str =
    include_str!("../../../tests/fixtures/anthropic_messages/error_in_band.sse");

const OURS: Terms = Terms { client_limited: false, answers: None };
const LIMITED: Terms = Terms { client_limited: true, answers: None };

fn sse(body: &str) -> Result<Complete, Incomplete> {
    judge(Recorded::Sse, body.as_bytes(), OURS)
}

fn json(body: &str) -> Result<Complete, Incomplete> {
    judge(Recorded::Json, body.as_bytes(), OURS)
}

fn stop_reason(reason: &str) -> Incomplete {
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
fn usage_tells_what_the_prompt_cache_wrote_and_read() {
    let (_, citations, _) = PAIRS[3];
    let expected = Usage {
        uncached_input_tokens: 4,
        cache_read_tokens: 2_000,
        cache_write_tokens: 100,
        cache_write_long_tokens: 0,
        output_tokens: 31,
    };
    assert_eq!(sse(citations).unwrap().usage, Some(expected));
    assert_eq!(sse(PLAIN).unwrap().model.as_deref(), Some("claude-sonnet-4-5-20250929"));
}

#[wasm_bindgen_test(unsupported = test)]
fn a_stream_that_breaks_off_is_cut_short_however_its_message_had_ended() {
    let whole = start() + &said(0) + &end("\"refusal\"");
    assert_eq!(sse(&whole), Err(stop_reason("refusal")));
    let last_event = whole.find("event: message_stop").unwrap();
    for cut in [last_event, last_event + 3, whole.len() - 1] {
        assert_eq!(sse(&whole[..cut]), Err(Incomplete::CutShort), "cut at {cut}");
    }
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
fn a_json_answer_cut_at_any_byte_is_cut_short() {
    let (.., whole) = PAIRS[2];
    for cut in 0..whole.trim_end().len() {
        let Some(part) = whole.get(..cut) else { continue };
        assert_eq!(json(part), Err(Incomplete::CutShort), "cut at {cut}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn an_answer_ends_with_one_of_the_known_reasons() {
    for reason in ["end_turn", "tool_use", "stop_sequence"] {
        let body = start() + &said(0) + &end(&format!("\"{reason}\""));
        assert!(sse(&body).is_ok(), "{reason}");
    }
    for reason in
        ["pause_turn", "refusal", "model_context_window_exceeded", "max_tokens", "stop", ""]
    {
        let body = start() + &said(0) + &end(&format!("\"{reason}\""));
        let refused = sse(&body).unwrap_err();
        assert_eq!(refused, stop_reason(reason));
        assert_eq!(refused.reason(), Reason::FinishReason);
        let body = format!(r#"{{"type":"message","content":[],"stop_reason":"{reason}"}}"#);
        assert_eq!(json(&body), Err(stop_reason(reason)));
    }
    let body = start() + &said(0) + &end("null");
    assert_eq!(sse(&body), Err(Incomplete::NoStopReason));
    assert_eq!(Incomplete::NoStopReason.reason(), Reason::Incomplete);
    let long = start() + &end(&format!("\"{}\"", "é".repeat(1_000)));
    assert_eq!(sse(&long), Err(stop_reason(&"é".repeat(40))), "repeated only so far");
}

#[wasm_bindgen_test(unsupported = test)]
fn an_end_by_length_counts_where_the_client_set_the_limit() {
    let body = start() + &said(0) + &end("\"max_tokens\"");
    assert!(judge(Recorded::Sse, body.as_bytes(), LIMITED).is_ok());
    let body = r#"{"type":"message","content":[],"stop_reason":"max_tokens"}"#;
    assert!(judge(Recorded::Json, body.as_bytes(), LIMITED).is_ok());
}

#[wasm_bindgen_test(unsupported = test)]
fn every_block_must_be_closed() {
    let open = event("content_block_start", ",\"index\":1,\"content_block\":{\"type\":\"text\"}");
    let body = stream(&[&said(0), &open]);
    assert_eq!(sse(&body), Err(Incomplete::BlockUnfinished { index: 1 }));
    assert_eq!(Incomplete::BlockUnfinished { index: 1 }.reason(), Reason::Incomplete);
    let body = stream(&[&said(0), &said(2)]);
    assert_eq!(sse(&body), Err(Incomplete::BlockUnfinished { index: 1 }), "a gap");
    assert!(sse(&stream(&[&said(0), &said(1)])).is_ok());
    assert!(sse(&stream(&[])).is_ok(), "nothing said is an answer too");
}

#[wasm_bindgen_test(unsupported = test)]
fn events_out_of_order_spoil_the_stream() {
    let delta = event("content_block_delta", r#","index":0,"delta":{"type":"text_delta"}"#);
    let close = event("content_block_stop", ",\"index\":0");
    for between in [
        vec![start()],
        vec![said(0), said(0)],
        vec![delta.clone()],
        vec![close.clone()],
        vec![said(0), delta],
        vec![said(0), close],
        vec![event("content_block_start", ",\"index\":0")],
        vec![event("content_block_start", r#","content_block":{"type":"text"}"#)],
        vec![event("content_block_start", r#","index":0,"content_block":{}"#)],
        vec![event("content_block_start", r#","index":0,"content_block":[]"#)],
        vec![event("content_block_start", r#","index":-1,"content_block":{"type":"text"}"#)],
        vec![event("message_delta", "")],
    ] {
        let between: Vec<&str> = between.iter().map(String::as_str).collect();
        assert_eq!(sse(&stream(&between)), Err(Incomplete::Malformed), "{between:?}");
    }
    assert_eq!(sse(&(said(0) + &end("\"end_turn\""))), Err(Incomplete::Malformed), "no start");
    assert_eq!(sse(&event("message_stop", "")), Err(Incomplete::Malformed));
}

#[wasm_bindgen_test(unsupported = test)]
fn an_error_in_band_is_never_complete() {
    assert_eq!(sse(ERROR_IN_BAND), Err(Incomplete::ErrorInBand));
    let error = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    assert_eq!(json(error), Err(Incomplete::ErrorInBand));
    for odd in [
        format!("event: error\ndata: {error}\n\n"),
        format!("data: {error}\n\n"),
        format!("event: message_delta\ndata: {error}\n\n"),
        event("message_delta", r#","delta":{},"error":{"type":"api_error"}"#),
    ] {
        assert_eq!(sse(&stream(&[&odd])), Err(Incomplete::ErrorInBand), "{odd}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn name_and_type_of_an_event_must_mean_the_same() {
    let whole = stream(&[&said(0)]);
    for odd in [
        whole.replace("event: content_block_delta\n", ""),
        whole.replace("event: content_block_delta\n", "event: text\n"),
        whole.replace("\"type\":\"content_block_delta\"", "\"kind\":\"content_block_delta\""),
        whole.replace("event: message_stop\n", ""),
    ] {
        assert_ne!(odd, whole);
        assert_eq!(sse(&odd), Err(Incomplete::Malformed), "{odd}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn comments_pings_and_new_events_are_no_content() {
    let new = event("usage_report", ",\"x\":1");
    let ping = "event: ping\ndata: {\"type\": \"ping\"}\n\n";
    let body =
        format!("\u{feff}: hello\n\n{ping}{}{ping}: bye\n\n", stream(&[&new, ping, &said(0)]));
    assert!(sse(&body).is_ok());
}

#[wasm_bindgen_test(unsupported = test)]
fn message_stop_is_the_last_word() {
    let whole = stream(&[&said(0)]);
    assert_eq!(sse(&format!("{whole}{}", said(1))), Err(Incomplete::AfterDone));
    assert_eq!(sse(&format!("{whole}{whole}")), Err(Incomplete::AfterDone));
    assert_eq!(sse(&format!("{whole}: bye")), Err(Incomplete::CutShort));
    for (data, is_last) in [
        (r#"{"type":"message_stop"}"#, true),
        ("{\"type\": \"message_stop\"               }", true),
        (r#"{"amazon-bedrock-invocationMetrics":{"a":1},"type":"message_stop"}"#, true),
        (r#"{"type":"message_delta","delta":{"type":"message_stop"}}"#, false),
        (r#"{"type":"ping"}"#, false),
        (r#"{"type":7}"#, false),
        ("message_stop", false),
        ("[DONE]", false),
        ("", false),
    ] {
        assert_eq!(ends_stream(data.as_bytes()), is_last, "{data}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_stream_fails_with_an_error_by_name_or_by_type() {
    for (name, data, fails) in [
        ("error", r#"{"type":"error","error":{"type":"overloaded_error","message":""}}"#, true),
        ("", r#"{"type":"error"}"#, true),
        ("message_delta", r#"{"type":"message_delta","error":{"message":"no"}}"#, true),
        ("error", "no JSON", true),
        ("ping", r#"{"type":"ping","error":null}"#, false),
        ("content_block_delta", r#"{"type":"content_block_delta","delta":"error"}"#, false),
        ("message_stop", r#"{"type":"message_stop"}"#, false),
    ] {
        assert_eq!(fails_stream(name.as_bytes(), data.as_bytes()), fails, "{name}: {data}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn data_that_is_no_event_spoils_the_stream() {
    for data in ["", "null", "7", "[]", "{\"type\":", "{}", "<html>", "{\"type\":\"x\"} {}"] {
        let odd = format!("event: x\ndata: {data}\n\n");
        assert_eq!(sse(&stream(&[&odd])), Err(Incomplete::Malformed), "{data}");
    }
    let twice = event("message_delta", r#","delta":{},"delta":{}"#);
    assert_eq!(sse(&stream(&[&twice])), Err(Incomplete::Malformed));
    let not_utf8: Vec<u8> = stream(&[&said(0)])
        .replace("hi", "\u{0}")
        .bytes()
        .map(|byte| if byte == 0 { 0xff } else { byte })
        .collect();
    assert_eq!(judge(Recorded::Sse, &not_utf8, OURS), Err(Incomplete::Malformed));
}

#[wasm_bindgen_test(unsupported = test)]
fn a_stream_must_begin_with_a_message_as_json_must_be_one() {
    for kind in ["", "\"type\":\"completion\",", "\"tyqe\":\"message\","] {
        let body = PLAIN.replacen("\"type\":\"message\",", kind, 1);
        assert_ne!(body, PLAIN);
        assert_eq!(sse(&body), Err(Incomplete::Malformed), "{kind}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn json_must_be_a_message() {
    let message = r#"{"type":"message","content":[{"type":"text"}],"stop_reason":"end_turn"}"#;
    assert!(json(message).is_ok());
    for (body, refused) in [
        ("{}", Incomplete::Malformed),
        (r#"{"type":"completion","stop_reason":"end_turn"}"#, Incomplete::Malformed),
        (r#"{"type":"message","stop_reason":"end_turn"}"#, Incomplete::Malformed),
        (r#"{"type":"message","content":{},"stop_reason":"end_turn"}"#, Incomplete::Malformed),
        (r#"{"type":"message","content":[7],"stop_reason":"end_turn"}"#, Incomplete::Malformed),
        (r#"{"type":"message","content":[[]],"stop_reason":"end_turn"}"#, Incomplete::Malformed),
        (r#"{"type":"message","content":[]}"#, Incomplete::NoStopReason),
        (r#"{"type":"message","content":[],"stop_reason":null}"#, Incomplete::NoStopReason),
        ("", Incomplete::CutShort),
        ("null", Incomplete::Malformed),
        ("[]", Incomplete::Malformed),
        ("<html>", Incomplete::Malformed),
    ] {
        assert_eq!(json(body), Err(refused), "{body}");
    }
    assert_eq!(json(&format!("{message}{message}")), Err(Incomplete::Malformed));
}

#[wasm_bindgen_test(unsupported = test)]
fn a_deep_answer_is_refused_and_does_no_harm() {
    let deep = "[".repeat(100_000);
    assert!(json(&format!(r#"{{"usage":{deep}"#)).is_err());
    assert!(sse(&stream(&[&event("x", &format!(",\"a\":{deep}"))])).is_err());
    assert!(!ends_stream(format!(r#"{{"a":{deep}"#).as_bytes()));
}

#[wasm_bindgen_test(unsupported = test)]
fn an_event_too_long_to_read_is_not_stored() {
    let long = "x".repeat(kt_contract::limits::SSE_LINE_BYTES_MAX);
    let long = block(0, r#"{"type":"text","text":""}"#, &[&format!(r#"{{"text":"{long}"}}"#)]);
    assert_eq!(sse(&stream(&[&long])), Err(Incomplete::EventTooLong));
}
