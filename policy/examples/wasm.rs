//! What scanning costs inside Wasm: 10 KB of prose and 10 KB of JSON, a thousand times each. Envoy's engine is V8, and so
//! is Node's. How it is run and what it took stands in `docs/reference/detectors.md`.

use std::hint::black_box;

use kt_policy::{EntitySet, scan};

const ROUNDS: usize = 1000;
const BYTES: usize = 10 * 1024;

fn main() {
    let prose = "The committee met on Tuesday to discuss the budget for the coming year. Nobody had expected that the \
                 plan, which had been written in haste, would find so many friends. ";
    let json = "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"Summarize the minutes of the last \
                meeting, please.\"}],\"n\":1,\"temperature\":0.7}, ";
    let mut found = Vec::new();
    for text in [prose, json] {
        let text = text.repeat(BYTES / text.len());
        for _ in 0..ROUNDS {
            scan(black_box(&text), EntitySet::all(), &mut found);
        }
    }
    black_box(found);
}
