//! Tests that take whole answers, by question. The fixtures are read at compile time, so that the same tests
//! run as wasm.

mod hide;
mod judge;
mod replay;

/// A fixture: its name, its stream, and the JSON answer that it makes.
type Pair = (&'static str, &'static str, &'static str);

macro_rules! pair {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../../tests/fixtures/openai_chat/", $name, ".sse")),
            include_str!(concat!("../../tests/fixtures/openai_chat/", $name, ".json")),
        )
    };
}

/// Every complete fixture.
const PAIRS: &[Pair] = &[
    pair!("plain"),
    pair!("tools"),
    pair!("two_choices"),
    pair!("logprobs"),
    pair!("refusal"),
    pair!("reasoning"),
    pair!("azure"),
    pair!("function_call"),
];

const PLAIN: &str = PAIRS[0].1;
const TOOLS: &str = PAIRS[1].1;
