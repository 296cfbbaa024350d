//! Tests that take whole requests and answers. The fixtures are read at compile time, so that the same tests run
//! as wasm.

mod judge;
mod replay;
mod request;

/// A fixture: its name, its stream, the same response as JSON, and the stream as which that is told.
struct Fixture {
    name: &'static str,
    stream: &'static str,
    answer: &'static str,
    told: &'static str,
}

macro_rules! fixture_file {
    ($name:literal, $ending:literal) => {
        include_str!(concat!("../../tests/fixtures/openai_responses/", $name, $ending))
    };
}

macro_rules! fixture {
    ($name:literal) => {
        Fixture {
            name: $name,
            stream: fixture_file!($name, ".sse"),
            answer: fixture_file!($name, ".json"),
            told: fixture_file!($name, ".told.sse"),
        }
    };
}

/// Every fixture.
const FIXTURES: &[Fixture] = &[
    fixture!("text"),
    fixture!("tools"),
    fixture!("refusal"),
    fixture!("web_search"),
    fixture!("open_reasoning"),
    fixture!("limited"),
    fixture!("hosted"),
];

const TEXT: &Fixture = &FIXTURES[0];
const TOOLS: &Fixture = &FIXTURES[1];
const LIMITED: &Fixture = &FIXTURES[5];
