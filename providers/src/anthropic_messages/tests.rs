//! Tests that take whole answers, by question. The fixtures are read at compile time, so that the same tests
//! run as wasm.

mod judge;
#[cfg(not(target_family = "wasm"))]
mod properties;
mod replay;

/// A fixture: its name, its stream, and the JSON answer that it makes.
type Pair = (&'static str, &'static str, &'static str);

macro_rules! pair {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../../tests/fixtures/anthropic_messages/", $name, ".sse")),
            include_str!(concat!("../../tests/fixtures/anthropic_messages/", $name, ".json")),
        )
    };
}

/// Every complete fixture.
const PAIRS: &[Pair] = &[
    pair!("plain"),
    pair!("tools"),
    pair!("thinking"),
    pair!("citations"),
    pair!("web_search"),
    pair!("stop_sequence"),
    pair!("silent"),
];

const PLAIN: &str = PAIRS[0].1;
const TOOLS: &str = PAIRS[1].1;

/// An event by its type, with more fields.
fn event(kind: &str, more: &str) -> String {
    format!("event: {kind}\ndata: {{\"type\":\"{kind}\"{more}}}\n\n")
}

/// The event that a stream begins with.
fn start() -> String {
    let message = r#"{"id":"m","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"usage":{"input_tokens":1,"output_tokens":1}}"#;
    event("message_start", &format!(",\"message\":{message}"))
}

/// The two events that a stream ends with.
fn end(stop_reason: &str) -> String {
    let delta = format!(
        ",\"delta\":{{\"stop_reason\":{stop_reason},\"stop_sequence\":null}},\"usage\":{{\"output_tokens\":3}}"
    );
    event("message_delta", &delta) + &event("message_stop", "")
}

/// A stream with these events between its beginning and its end.
fn stream(between: &[&str]) -> String {
    start() + &between.concat() + &end("\"end_turn\"")
}

/// The events of a block.
fn block(index: u64, first: &str, deltas: &[&str]) -> String {
    let opening = format!(",\"index\":{index},\"content_block\":{first}");
    let deltas = deltas.iter().map(|delta| {
        event("content_block_delta", &format!(",\"index\":{index},\"delta\":{delta}"))
    });
    let deltas: String = deltas.collect();
    event("content_block_start", &opening)
        + &deltas
        + &event("content_block_stop", &format!(",\"index\":{index}"))
}

/// A block that says "hi".
fn said(index: u64) -> String {
    block(index, r#"{"type":"text","text":""}"#, &[r#"{"type":"text_delta","text":"hi"}"#])
}
