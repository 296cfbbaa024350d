//! The fuzz targets: what must hold for every input, one module per target. A module panics where it does not,
//! because that is what a fuzzer takes for a finding.
//!
//! `fuzz_targets` hands them to libFuzzer, `tests/corpus.rs` runs the committed corpus through them in every
//! `cargo test`, without libFuzzer. `docs/reference/fuzzing.md` says what each holds.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is the finding"
)]

mod choices;
mod text;

pub mod answers;
pub mod cache_control;
pub mod config;
pub mod crossings;
pub mod detectors;
pub mod entry;
pub mod filter;
pub mod flight_text;
pub mod json;
pub mod redaction;
pub mod requests;
pub mod resp;
pub mod script;
pub mod sse;
pub mod wire;

/// A target: takes any bytes, and panics if they break a promise.
pub type Target = fn(&[u8]);

/// Every target, under the name of its binary and of its corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("answers", answers::check),
    ("cache_control", cache_control::check),
    ("config", config::check),
    ("crossings", crossings::check),
    ("detectors", detectors::check),
    ("entry", entry::check),
    ("filter", filter::check),
    ("flight_text", flight_text::check),
    ("json", json::check),
    ("redaction", redaction::check),
    ("requests", requests::check),
    ("resp", resp::check),
    ("script", script::check),
    ("sse", sse::check),
    ("wire", wire::check),
];
