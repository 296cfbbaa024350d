//! How well the heuristic of `hallucination-detection` tells answers that stand on their context from those that do not,
//! on labelled cases; the reference page has the figures, and this test keeps it in step.
#![cfg(feature = "judges")]
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use kt_policy::judge::grounding::Context;

const PAGE: &str = "../docs/reference/detectors.md";
const BEGIN: &str = "<!-- grounding: begin -->\n";
const END: &str = "<!-- grounding: end -->\n";
const REWRITE: &str =
    "KT_DETECTORS=write cargo test -p kt-policy --features judges --test grounding";
/// What `min_grounded_percent` is where the file does not say.
const DEFAULT_PERCENT: u8 = 60;

struct Case {
    context: String,
    answer: String,
    is_grounded: bool,
}

fn cases() -> Vec<Case> {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/labelled/grounding/cases.jsonl");
    let text = fs::read_to_string(path).unwrap();
    let parsed = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let of = |case: &serde_json::Value, name: &str| {
        case.get(name).and_then(|it| it.as_str()).unwrap().to_owned()
    };
    parsed
        .map(|case| Case {
            context: of(&case, "context"),
            answer: of(&case, "answer"),
            is_grounded: of(&case, "is") == "grounded",
        })
        .collect()
}

/// Found rightly, found wrongly, and not found.
fn count(percent: u8) -> [usize; 3] {
    let mut counts = [0; 3];
    for Case { context, answer, is_grounded } in cases() {
        let is_found = !Context::of([context.as_str()]).ground(&answer).reaches(percent);
        counts[0] += usize::from(is_found && !is_grounded);
        counts[1] += usize::from(is_found && is_grounded);
        counts[2] += usize::from(!is_found && !is_grounded);
    }
    counts
}

fn measured() -> String {
    let all = cases();
    let grounded = all.iter().filter(|case| case.is_grounded).count();
    let mut page = format!(
        "{} answers to {grounded} of which their context gives all, and to {} not.\n\n",
        all.len(),
        all.len() - grounded
    );
    page.push_str("| `min_grounded_percent` | precision | recall |\n|---|---|---|\n");
    for percent in [30, 45, DEFAULT_PERCENT, 75, 90, 100] {
        let [right, wrong, missed] = count(percent).map(|count| u32::try_from(count).unwrap());
        let share = |of: u32| f64::from(right) / f64::from((right + of).max(1));
        writeln!(page, "| {percent} | {:.3} | {:.3} |", share(wrong), share(missed)).unwrap();
    }
    page.push('\n');
    page
}

#[test]
fn the_page_says_how_well_it_does() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (told, after) = rest.split_once(END).unwrap();
    let measured = measured();
    #[expect(clippy::disallowed_methods, reason = "how the page is written anew")]
    let writes = std::env::var("KT_DETECTORS").is_ok_and(|what| what == "write");
    if writes {
        fs::write(&path, format!("{before}{BEGIN}{measured}{END}{after}")).unwrap();
    } else {
        assert_eq!(told, measured, "out of step: {REWRITE}");
    }
}

#[test]
fn by_default_what_is_found_is_mostly_right_and_half_of_it_is_found() {
    let [right, wrong, missed] = count(DEFAULT_PERCENT);
    assert!(right >= 9 * wrong, "{right} right, {wrong} wrong");
    assert!(right >= missed, "{right} found, {missed} missed");
}

#[test]
fn a_megabyte_that_repeats_takes_no_longer_than_prose() {
    // Counted and not timed: every text is read once into words, and each word is looked up once.
    for piece in ["A ", "\"", "1,", "“a b c ", "x@.", "((("] {
        let text = piece.repeat((1 << 20) / piece.len());
        let grounding = Context::of([text.as_str()]).ground(&text);
        assert!(grounding.reaches(100), "{piece:?}: {grounding:?}");
    }
}
