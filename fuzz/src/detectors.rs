//! The detectors: what is found lies in the text as given, in order and apart from each other; what is not wanted is not
//! found; and a text that comes in pieces has the findings of the whole.

use kt_policy::{EntitySet, Finding, Window, injection, scan, settled, toxicity};

use crate::choices::Choices;

/// Takes any text; what is no UTF-8 in it is replaced.
pub fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut whole = Vec::new();
    scan(&text, EntitySet::all(), &mut whole);
    let mut end = 0;
    for one in &whole {
        assert!(one.start >= end && one.start < one.end, "in order, not empty, not overlapping");
        assert!(text.get(one.start..one.end).is_some(), "on characters");
        end = one.end;
    }
    let until = settled(&text, EntitySet::all());
    assert!(text.is_char_boundary(until));
    assert!(injection::score(&text).points <= 100 && toxicity::score(&text).points <= 100);

    let mut choices = Choices::of(input);
    assert_eq!(in_pieces(&text, &mut choices), (text.clone().into_owned(), whole));
}

fn in_pieces(text: &str, choices: &mut Choices) -> (String, Vec<Finding>) {
    let mut window = Window::new(EntitySet::all());
    let (mut shown, mut findings) = (String::new(), Vec::new());
    for piece in choices.pieces_of_text(text) {
        take(window.push(piece), &mut shown, &mut findings);
    }
    take(window.end(), &mut shown, &mut findings);
    (shown, findings)
}

fn take(settled: kt_policy::Settled, shown: &mut String, findings: &mut Vec<Finding>) {
    let before = shown.len();
    findings.extend(settled.findings.iter().map(|one| Finding {
        start: one.start + before,
        end: one.end + before,
        ..*one
    }));
    shown.push_str(&settled.text);
}
