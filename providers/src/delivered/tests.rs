//! What has come, in every dialect, whole and cut.

use wasm_bindgen_test::wasm_bindgen_test;

use super::*;
use crate::Dialect;

const CHAT: Dialect = Dialect::OpenAiChat;
const MESSAGES: Dialect = Dialect::AnthropicMessages;
const RESPONSES: Dialect = Dialect::OpenAiResponses;

fn stream(events: &[&str]) -> Vec<u8> {
    events.iter().flat_map(|data| format!("data: {data}\n\n").into_bytes()).collect()
}

fn sse(dialect: Dialect, events: &[&str]) -> Delivered {
    dialect.delivered(Recorded::Sse, &stream(events))
}

/// Input, output, and whether they are final.
fn told(delivered: &Delivered) -> Option<(u64, u64, bool)> {
    let usage = delivered.usage?;
    Some((usage.input_tokens(), usage.output_tokens, delivered.is_final))
}

#[wasm_bindgen_test(unsupported = test)]
fn the_pieces_of_each_text_go_together() {
    let delivered = sse(
        CHAT,
        &[
            r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":"Hel"}},{"index":1,"delta":{"content":"x"}}]}"#,
            r#"{"obfuscation":"zzz","choices":[{"index":0,"delta":{"content":"lo"}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"c","function":{"name":"f","arguments":"{\"a"}}]}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"function":{"arguments":"\":1}"}}]}}]}"#,
            "[DONE]",
        ],
    );
    assert_eq!(delivered.text.pieces, ["Hello", r#"{"a":1}"#, "f", "x"]);
    assert_eq!((delivered.text.parts, delivered.text.calls), (2, 1));
    assert_eq!(told(&delivered), None);
}

#[wasm_bindgen_test(unsupported = test)]
fn usage_of_a_chat_is_final_where_it_stands_alone_or_the_stream_has_ended() {
    let chunk =
        |usage: &str| format!(r#"{{"choices":[{{"index":0,"delta":{{"content":"a"}}}}]{usage}}}"#);
    let usage = |output| format!(r#","usage":{{"prompt_tokens":3,"completion_tokens":{output}}}"#);
    let alone = r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":9}}"#;
    let growing = [chunk(&usage(1)), chunk(&usage(2))];
    let growing: Vec<&str> = growing.iter().map(String::as_str).collect();
    assert_eq!(told(&sse(CHAT, &growing)), Some((3, 2, false)));
    assert_eq!(told(&sse(CHAT, &[&growing[..], &["[DONE]"]].concat())), Some((3, 2, true)));
    assert_eq!(told(&sse(CHAT, &[&chunk(""), alone])), Some((3, 9, true)));
    let odd = r#"{"choices":[],"usage":{"prompt_tokens":-3,"completion_tokens":9}}"#;
    assert_eq!(told(&sse(CHAT, &[&chunk(""), odd, "[DONE]"])), None);
}

#[wasm_bindgen_test(unsupported = test)]
fn a_message_tells_its_input_at_once_and_its_output_at_its_end() {
    let events = [
        r#"{"type":"message_start","message":{"id":"m","role":"assistant","usage":{"input_tokens":3,"cache_read_input_tokens":4,"output_tokens":1}}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hel"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"lo"}}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t","name":"look","input":{}}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"x\":"}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"1}"}}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":20}}"#,
    ];
    let whole = sse(MESSAGES, &events);
    assert_eq!(whole.text.pieces, ["Hello", "look", r#"{"x":1}"#]);
    assert_eq!((whole.text.parts, whole.text.calls), (2, 1));
    assert_eq!(told(&whole), Some((7, 20, true)));
    let cut = sse(MESSAGES, &events[..3]);
    assert_eq!(
        (cut.text.pieces.as_slice(), told(&cut)),
        (&["Hel".to_owned()][..], Some((7, 1, false)))
    );
    let json = br#"{"type":"message","id":"m","content":[{"type":"text","text":"Hello"},
        {"type":"tool_use","id":"t","name":"look","input":{"id":1}}],"usage":{"input_tokens":3,"output_tokens":9}}"#;
    let json = MESSAGES.delivered(Recorded::Json, json);
    assert_eq!(json.text.pieces, ["Hello", r#"{"id":1}"#, "look"]);
    assert_eq!(told(&json), Some((3, 9, true)));
}

#[wasm_bindgen_test(unsupported = test)]
fn a_response_is_counted_by_its_pieces_and_not_again_by_its_whole() {
    let usage = r#""usage":{"input_tokens":3,"output_tokens":9}"#;
    let last = format!(
        r#"{{"type":"response.completed","response":{{"output":[{{"type":"message","content":[{{"type":"output_text","text":"Hello"}}]}}],{usage}}}}}"#
    );
    let events = [
        r#"{"type":"response.created","response":{"usage":null,"instructions":"be kind"}}"#,
        r#"{"type":"response.output_item.added","output_index":1,"item":{"type":"function_call","id":"i","name":"look","arguments":""}}"#,
        r#"{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"Hel","obfuscation":"zz"}"#,
        r#"{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"lo"}"#,
        r#"{"type":"response.output_text.done","output_index":0,"content_index":0,"text":"Hello"}"#,
        &last,
    ];
    let whole = sse(RESPONSES, &events);
    assert_eq!(whole.text.pieces, ["Hello", "look"]);
    assert_eq!(told(&whole), Some((3, 9, true)));
    assert_eq!(told(&sse(RESPONSES, &events[..5])), None);
    let json = format!(
        r#"{{"output":[{{"type":"message","content":[{{"type":"output_text","text":"Hi"}}]}}],{usage}}}"#
    );
    let json = RESPONSES.delivered(Recorded::Json, json.as_bytes());
    assert_eq!(
        (json.text.pieces.as_slice(), told(&json)),
        (&["Hi".to_owned()][..], Some((3, 9, true)))
    );
}

#[wasm_bindgen_test(unsupported = test)]
fn what_is_no_answer_has_delivered_nothing_and_harms_nobody() {
    for dialect in Dialect::ALL {
        for (recorded, body) in [
            (Recorded::Json, &b""[..]),
            (Recorded::Json, b"{\"choices\":[{\"message\":{\"content\":\"cut sho"),
            (Recorded::Json, b"[]"),
            (Recorded::Sse, b"data: {\"cho"),
            (Recorded::Sse, b"data: nonsense\n\ndata: 7\n\n"),
            (Recorded::Sse, b"\xff\xfe\n\n"),
        ] {
            assert_eq!(dialect.delivered(recorded, body), Delivered::default(), "{dialect:?}");
        }
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_meter_says_the_same_however_its_stream_is_split() {
    let body = stream(&[
        r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":"Hé"}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"content":"llo"}}]}"#,
        r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":9}}"#,
        "[DONE]",
    ]);
    let whole = CHAT.delivered(Recorded::Sse, &body);
    for length in 1..body.len() {
        let mut meter = CHAT.meter();
        body.chunks(length).for_each(|piece| meter.push(piece));
        assert_eq!(meter.text_bytes(), 6);
        assert_eq!(meter.finish(), whole, "in pieces of {length}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn text_beyond_what_any_model_says_is_counted_and_not_kept() {
    let mut meter = CHAT.meter();
    let event = format!(
        "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n",
        "a".repeat(1 << 19)
    );
    (0..10).for_each(|_| meter.push(event.as_bytes()));
    assert_eq!(meter.text_bytes(), 10 << 19);
    let text = meter.finish().text;
    assert_eq!((text.pieces[0].len(), text.tokens), (8 << 19, (2 << 19) / 4));
}
