//! Whatever the pieces in which a text comes, the findings are those of the whole: for texts put together of what
//! detectors look for, of parts of it, and of what stands between.
#![cfg(not(target_family = "wasm"))]

use kt_policy::{EntitySet, Finding, Window, scan};
use proptest::prelude::*;

const PARTS: [&str; 84] = [
    "jane@example.com",
    "jane",
    "@",
    ".com",
    "a.b",
    "(at)",
    " [dot] ",
    "212-555-0123",
    "(212) ",
    "555",
    "-0123",
    "+49 30 901820",
    "+",
    "01 23 45 67 89",
    "4111 1111 1111 1111",
    "4111",
    "1",
    "12",
    "123456789",
    "0",
    "DE89 3704 0044 0532 0130 00",
    "DE89",
    "192.168.1.10",
    "10.",
    "2001:db8::1",
    ":",
    "::",
    "123-45-6789",
    "ssn ",
    "tax ",
    "phone ",
    "version ",
    "order ",
    "12345678Z",
    "sk-ant-api03-",
    "aB3dE5fG7hI9jK1lM3nO5pQ7rS9t",
    "ghp_",
    "eyJhbGciOiJIUzI1NiJ9.",
    "password",
    "=",
    "hunter2!",
    " is ",
    "\"",
    "\\",
    "Bearer ",
    "https://u:pa55@h.example/",
    "-----BEGIN ",
    "PRIVATE KEY-----",
    "-----END ",
    "\n",
    " ",
    " ",
    " ",
    ", ",
    "-",
    "_",
    "/",
    "\u{200B}",
    "\u{FF11}",
    "é",
    "今",
    "word",
    "x",
    "\u{2474}",
    "\\u0040",
    "\\",
    "u00",
    "40",
    "%",
    "%2B",
    "&#64;",
    "&",
    "#6",
    ";",
    "\\n",
    "4111_1111_1111_1111",
    "AB12CD34\n",
    "DE89370400440532013000",
    "パスワード",
    "value",
    "1//0",
    "123456789:",
    "\u{200E}",
    "@",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn a_text_in_pieces_has_the_findings_of_the_whole(
        parts in proptest::collection::vec(0..PARTS.len(), 1..24),
        lengths in proptest::collection::vec(1..30_usize, 1..8),
    ) {
        let text: String = parts.iter().map(|part| PARTS[*part]).collect();
        let mut whole = Vec::new();
        scan(&text, EntitySet::all(), &mut whole);
        let chars: Vec<char> = text.chars().collect();
        let mut window = Window::new(EntitySet::all());
        let (mut shown, mut findings, mut from) = (String::new(), Vec::new(), 0);
        let mut settled = Vec::new();
        for length in lengths.iter().cycle() {
            if from >= chars.len() {
                break;
            }
            let until = (from + length).min(chars.len());
            settled.push(window.push(&chars[from..until].iter().collect::<String>()));
            from = until;
        }
        settled.push(window.end());
        for part in settled {
            let before = shown.len();
            findings.extend(part.findings.iter().map(|one| Finding {
                start: one.start + before,
                end: one.end + before,
                ..*one
            }));
            shown.push_str(&part.text);
        }
        prop_assert_eq!(shown, text);
        prop_assert_eq!(findings, whole);
    }
}
