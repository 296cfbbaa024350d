//! Tests that take whole answers. The fixtures are read at compile time, so that the same tests run as wasm.

mod judge;
mod replay;

/// A fixture: its name, its stream, the JSON answer that it makes, and the stream as which that is told.
struct Fixture {
    name: &'static str,
    stream: &'static str,
    answer: &'static str,
    told: &'static str,
}

macro_rules! fixture_file {
    ($name:literal, $ending:literal) => {
        include_str!(concat!("../../tests/fixtures/openai_completions/", $name, $ending))
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

/// Every fixture; all are complete.
const FIXTURES: &[Fixture] =
    &[fixture!("plain"), fixture!("logprobs"), fixture!("four_choices"), fixture!("vllm")];
