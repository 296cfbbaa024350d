//! What policies cost, without a clock: no text is much more expensive than another.

use kt_filter_host::scanning::{
    BYTES, RATIO_MAX, Scanned, default_chain, detectors, measure, texts,
};

use super::module;

/// What the policies cost for a byte.
fn per_byte(row: &Scanned) -> f64 {
    row.fuel_of_policies as f64 / row.body_bytes as f64
}

/// Those that cost too much beside what is usual, in words.
fn too_dear(rows: &[Scanned], usual: f64) -> Vec<String> {
    let word = |row: &Scanned| format!("{}: {:.1} times", row.text, per_byte(row) / usual);
    rows.iter().filter(|row| per_byte(row) > RATIO_MAX * usual).map(word).collect()
}

#[test]
fn no_text_costs_ten_times_a_random_one_and_none_more_than_in_proportion_to_its_length() {
    let chain = default_chain().unwrap();
    let of = |texts: &[&str], bytes| measure(module(), &chain, texts, bytes).unwrap();
    let [short, long] = [16 << 10, 128 << 10].map(|bytes| of(&texts(), bytes));
    assert_eq!(too_dear(&long, per_byte(&long[0])), [""; 0]);
    for (short, long) in short.iter().zip(&long) {
        let ratio = per_byte(long) / per_byte(short);
        assert!(ratio < 1.1, "{}: not linear: {ratio}", short.text);
    }
    // All of them at a megabyte are the bench's.
    let mut dearest: Vec<_> = long.iter().skip(1).collect();
    dearest.sort_by(|one, other| other.ratio.total_cmp(&one.ratio));
    let dearest: Vec<_> = dearest.iter().take(3).map(|row| row.text).collect();
    let rows = of(&dearest, BYTES);
    assert_eq!(rows.len(), 4);
    assert_eq!(too_dear(&rows, per_byte(&rows[0])), [""; 0]);
}

#[test]
fn no_detector_alone_costs_ten_times_what_the_chain_costs_on_a_random_text() {
    let bytes = 16 << 10;
    let chain = default_chain().unwrap();
    let usual = per_byte(&measure(module(), &chain, &[], bytes).unwrap()[0]);
    for (detector, chain) in detectors() {
        let rows = measure(module(), &chain, &texts(), bytes).unwrap();
        assert_eq!(too_dear(&rows, usual), [""; 0], "{detector}");
    }
}
