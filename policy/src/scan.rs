//! The one pass over a text: where something can begin, the detectors are asked, and what they find is passed
//! over as a whole. So whatever begins first wins, and nothing overlaps.

use crate::detect::{self, plain};
use crate::entity::{Entity, EntitySet, Finding};
use crate::fold::Folded;
use crate::text::Text;

/// How far back, in bytes of the folded text, a decision may look.
pub(crate) const CONTEXT_BYTES: usize = 528;

/// What a detector has found, in the folded text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Match {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) entity: Entity,
}

/// Finds what is wanted in a text. Findings are appended in order; they do not overlap, and their offsets are
/// those of characters of `text` as it is given.
pub fn scan(text: &str, wanted: EntitySet, found: &mut Vec<Finding>) {
    scan_for(text, wanted, &mut |one| found.push(one));
}

/// The same, for whoever keeps little of what is found: in a long text that may be more than the text.
pub(crate) fn scan_for(text: &str, wanted: EntitySet, found: &mut impl FnMut(Finding)) {
    let folded = Folded::unescaped(text);
    let text = Text::new(folded.as_str(), folded.seams());
    pass(&text, (0, false), wanted, &mut |one| found(unfold(&folded, one)));
}

/// Up to which byte nothing that may still come after `text` can change what is found in it. What is before it
/// may be shown. For a text that comes in pieces use [`crate::Window`], which also remembers what was shown.
#[must_use]
pub fn settled(text: &str, wanted: EntitySet) -> usize {
    let folded = Folded::unescaped(text);
    let decided = Text::new(folded.decided(), folded.seams());
    let until = pass(&decided, (0, false), wanted, &mut |_| {});
    folded.start(until, text.len())
}

pub(crate) fn unfold(folded: &Folded<'_>, one: Match) -> Finding {
    let Match { start, end, entity } = one;
    Finding { start: folded.start(start, folded.end(end)), end: folded.end(end), entity }
}

/// Finds from `from` on, where an earlier pass may have ended, with a finding or without, and says up to where it is
/// settled.
pub(crate) fn pass(
    text: &Text<'_>,
    from: (usize, bool),
    wanted: EntitySet,
    found: &mut impl FnMut(Match),
) -> usize {
    pass_over(text, from, wanted, plain::end, found)
}

/// The same, where what is plain is told from what detectors are asked about.
fn pass_over(
    text: &Text<'_>,
    (from, is_behind_finding): (usize, bool),
    wanted: EntitySet,
    plain_end: impl Fn(&Text<'_>, usize) -> Option<usize>,
    found: &mut impl FnMut(Match),
) -> usize {
    let mut settled = None;
    let (mut at, mut is_behind) = (from, is_behind_finding);
    while let Some(start) = text.next_start(at, is_behind) {
        text.begin();
        if let Some(end) = plain_end(text, start) {
            (at, is_behind) = (end, false);
            continue;
        }
        text.begin();
        let one = detect::begin(text, start, wanted);
        if text.has_met_end() && settled.is_none() {
            settled = Some(start);
        }
        is_behind = one.is_some();
        at = match one {
            Some(one) => {
                found(one);
                one.end
            }
            None => text.token_end(start).max(start + 1),
        };
    }
    settled.unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    fn steps(text: &str) -> usize {
        let folded = Folded::unescaped(text);
        let text = Text::new(folded.as_str(), folded.seams());
        pass(&text, (0, false), EntitySet::all(), &mut |_| {});
        text.steps()
    }

    /// So many bytes of a text, again and again.
    fn repeated(text: &str, bytes: usize) -> String {
        text.repeat(bytes / text.len() + 1)
    }

    /// Printable characters in no order, of a generator that is the same in every run.
    fn random(bytes: usize) -> String {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b' ' + u8::try_from((state >> 16) % 95).unwrap())
        };
        (0..bytes).map(|_| next()).collect()
    }

    /// What makes detectors look far ahead, and in vain.
    const HOSTILE: [&str; 68] = [
        "@",
        "a@",
        "a@b.",
        "a.",
        "a-",
        "1",
        "1 ",
        "12 ",
        "01 23 ",
        "1-",
        "1.",
        "1234 ",
        "+1",
        "(",
        "(1",
        "-----BEGIN ",
        "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----aaaaaaaa ",
        "\u{200B}",
        "a\u{200B}",
        "eyJ",
        "eyJaaaaaaaaaa.",
        "eyJaaaaaaaaaa-",
        "sk-ant-",
        "glpat-",
        "ghp_",
        "SG.",
        "pypi-",
        "password=",
        "password ",
        "password=\"",
        "password is ",
        "a://",
        "a://b:",
        "key ",
        "api key is ",
        "Bearer ",
        "DE00 ",
        "GB",
        "a1:",
        "::1",
        "4111 1111 1111 1112 ",
        "a1,b2\n",
        "a1|b2\n",
        "x\ta1\n",
        "-u a1:",
        "--sk-",
        "{\"a\":\"b1\",\n",
        "eyJaaaaaaaaaaaaaaaaaaaaaa\n",
        "eyJaaaaaaaaaaaaaaaaaaaaaa.\n",
        "sk-ant-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n",
        "ghp_aaaa\n",
        "\\",
        "\\u00",
        "%4",
        "&#",
        "&amp",
        "4111_",
        "1\n",
        "+1\n",
        "4111\n",
        "A B 1 ",
        "AT 10 ",
        "DE\n8\n",
        "=",
        "password\", ",
        "a://@",
        "M.",
    ];

    #[wasm_bindgen_test(unsupported = test)]
    fn no_text_makes_more_than_ten_times_the_work_of_a_random_one() {
        let bytes = 4 * 1024;
        let usual = steps(&random(bytes));
        for hostile in HOSTILE {
            let work = steps(&repeated(hostile, bytes));
            assert!(work <= usual * 10, "{hostile:?}: {work} steps, a random text: {usual}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_text_of_four_times_the_length_is_four_times_the_work() {
        for hostile in HOSTILE {
            let short = steps(&repeated(hostile, 4 * 1024));
            let long = steps(&repeated(hostile, 16 * 1024));
            assert!(long <= short * 4 + short / 4, "{hostile:?}: {short}, then {long} steps");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn what_is_settled_ends_before_a_candidate() {
        let rows = [
            ("plain prose, ", "plain prose, "),
            ("plain pro", "plain "),
            ("call 212 555 ", "call "),
            ("write to jane@exam", "write to "),
            ("jane@example.com, or", "jane@example.com, "),
            ("use sk-ant-api03", "use "),
            ("a -----BEGIN RSA PRIVATE KEY-----\nMII", "a "),
            ("", ""),
        ];
        for (text, shown) in rows {
            assert_eq!(&text[..settled(text, EntitySet::all())], shown, "{text:?}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn what_is_not_wanted_is_not_found() {
        let mut found = Vec::new();
        scan("jane@example.com 192.0.2.1", EntitySet::NONE.with(Entity::IpAddress), &mut found);
        assert_eq!(found, [Finding { start: 17, end: 26, entity: Entity::IpAddress }]);
    }
}

#[cfg(all(test, not(target_family = "wasm")))]
mod properties {
    use proptest::prelude::*;

    use super::*;

    /// What detectors look for, whole and in parts, words beside it, and what may stand between.
    const FRAGMENTS: &[&str] = &[
        "the",
        "a",
        "is",
        "IS",
        "value",
        "Value",
        "name",
        "on",
        "at",
        "X",
        "D",
        "E",
        "DE",
        "89",
        "3704 0044 0532 0130 00",
        "DE89370400440532013000",
        "4111",
        "1111",
        "4111 1111 1111 1111",
        "5312",
        "6828",
        "1",
        "12",
        "123",
        "1234",
        "12345",
        "12.5",
        "3.14",
        "2024",
        "192.0.2.1",
        "2001:db8::1",
        "dead",
        "beef",
        "::1",
        "jane",
        "jane@example.com",
        "example.com",
        "o",
        "O",
        "neill",
        "password",
        "Password",
        "passwd",
        "pw",
        "secret",
        "api_key",
        "API",
        "key",
        "token",
        "by",
        "identified by",
        "hunter2hunter2",
        "S0mmer2024!",
        "Bearer",
        "basic",
        "apikey",
        "mF9.B5f-4.1JqM",
        "http",
        "https",
        "user",
        "ssn",
        "card",
        "visa",
        "tel",
        "call",
        "212-555-0123",
        "+1",
        "(212)",
        "555",
        "0123",
        "AKIA",
        "ghp_",
        "AB",
        "QQ",
        "123456",
        "12345678",
        "Z",
        "RSS",
        "MRA",
        "85T10",
        "A562S",
        "kt",
        "ey",
        "eyJ",
        "sk",
        "(at)",
        "(dot)",
    ];
    const BETWEEN: &[&str] = &[
        "", " ", " ", " ", ". ", ".", ", ", ",", ": ", ":", " = ", "=", "\n", "\n  ", "; ", "-",
        "_", "/", "//", "@", " @ ", "\"", "\": \"", "\", \"", "'", " '", "(", ")", " (", "[", "]",
        "{", "}", "<", ">", "!", "?", "`", "|", "*", "+", "&", "\u{200B}", "é", "  ", ".\n",
        "\r\n", "\\",
    ];

    fn text() -> impl Strategy<Value = String> {
        let piece = (prop::sample::select(FRAGMENTS), prop::sample::select(BETWEEN));
        prop::collection::vec(piece, 1..12)
            .prop_map(|pieces| pieces.into_iter().flat_map(|(word, sign)| [word, sign]).collect())
    }

    fn found(text: &str, plain_end: impl Fn(&Text<'_>, usize) -> Option<usize>) -> Vec<Match> {
        let folded = Folded::unescaped(text);
        let text = Text::new(folded.as_str(), folded.seams());
        let mut found = Vec::new();
        pass_over(&text, (0, false), EntitySet::all(), plain_end, &mut |one| found.push(one));
        found
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

        #[test]
        fn what_is_passed_over_is_nothing_to_any_detector(text in text()) {
            prop_assert_eq!(found(&text, plain::end), found(&text, |_, _| None));
        }
    }
}
