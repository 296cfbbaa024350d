//! What requests cost, without a clock: the same as the baseline says, and in proportion to their bodies.

use kt_filter_host::fuel::{Report, Row};

use super::module;

const UPDATE: &str = "if the change is meant, read it and take it: \
    cargo run --release -p kt-filter-host --bin fuel -- --write";

#[test]
fn a_request_costs_what_the_baseline_says_and_in_proportion_to_its_body() {
    let report = Report::measure(module()).unwrap();
    let changes = report.changes(&Report::baseline().unwrap());
    let words: Vec<_> = changes.iter().map(ToString::to_string).collect();
    assert!(words.is_empty(), "{words:#?}\n{UPDATE}");
    for path in ["l1_hit", "shared_hit", "miss"] {
        let rows: Vec<&Row> = report.rows.iter().filter(|row| row.path == path).collect();
        let [_, small, middle, large] = rows[..] else { panic!("{rows:?}") };
        // What a byte costs more, from 20 KB to 200 KB and from there to 2 MB.
        let per_byte = |from: &Row, to: &Row| {
            (to.fuel - from.fuel) as f64 / (to.body_bytes - from.body_bytes) as f64
        };
        let ratio = per_byte(middle, large) / per_byte(small, middle);
        assert!((0.9..1.1).contains(&ratio), "{path}: not linear: {ratio}");
    }
}
