//! How fast the detectors are here: `cargo run --release -p kt-policy --example speed`. What is timed inside Wasm is the
//! example `wasm`; how stands in `docs/reference/detectors.md`.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a bench tells what a clock says"
)]

use std::time::Instant;

use kt_policy::{EntitySet, scan};

const BYTES: usize = 1024 * 1024;

fn main() {
    let prose = "The committee met on Tuesday to discuss the budget for the coming year. Nobody had expected that the \
                 plan, which had been written in haste, would find so many friends. ";
    let json = "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"Summarize the minutes.\"}],\"n\":1,\"temperature\":0.7}, ";
    let rows = [
        ("prose", prose),
        ("prose with dashes", "The plan — written in haste — wasn’t liked. Nobody “knew” why. "),
        ("json", json),
        ("contacts", "Jane, jane@example.com, 212-555-0123, 4111 1111 1111 1111; "),
        ("digits", "1"),
        ("digits and spaces", "1 "),
        ("pairs", "12 "),
        ("fours", "1234 "),
        ("trunk", "01 23 "),
        ("signs", "@"),
        ("dashes", "a-"),
        ("PEM", "-----BEGIN "),
        ("keys", "sk-ant-"),
        ("assignments", "password="),
        ("zero width", "a\u{200B}"),
        ("dots", "1."),
        ("hex", "a1:"),
        ("no card", "4111 1111 1111 1112 "),
        ("named", "ssn 123 456 789 "),
        ("han", "今天的温度是多少"),
    ];
    for (name, text) in rows {
        let text = text.repeat(BYTES / text.len());
        let mut found = Vec::new();
        scan(&text, EntitySet::all(), &mut found);
        let count = found.len();
        let begun = Instant::now();
        scan(&text, EntitySet::all(), &mut found);
        let taken = begun.elapsed().as_secs_f64() * 1000.0;
        let per_ten = taken * 10_240.0 / f64::from(u32::try_from(text.len()).unwrap());
        println!("{name:<20} {per_ten:.4} ms per 10 KB, {count} found");
    }
}
