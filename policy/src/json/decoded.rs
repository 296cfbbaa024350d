//! A string of JSON without its escapes, and the way back from what it says to its bytes.

use std::borrow::Cow;
use std::ops::Range;

use crate::bytes::find_any;
use crate::marks::{Made, Marks};

/// What a string says, and where its characters stand in the string as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decoded<'a> {
    text: Cow<'a, str>,
    /// The string as written, where that is something else.
    raw: Cow<'a, str>,
    marks: Marks,
}

// === impl Decoded ===

impl<'a> Decoded<'a> {
    /// Reads what stands between the quotes of a JSON string. An escape that is none stands for itself, and half of a
    /// surrogate pair for a replacement character: what is read is only looked at.
    #[must_use]
    pub(crate) fn of(raw: &'a str) -> Self {
        let Some(first) = next_escape(raw, 0) else {
            let text = Cow::Borrowed(raw);
            return Self { text, raw: Cow::Borrowed(""), marks: Marks::default() };
        };
        let mut text = String::with_capacity(raw.len());
        let mut marks = Marks::default();
        let mut at = 0;
        let mut next = Some(first);
        while let Some((escape, character)) = next {
            marks.note(text.len(), at, escape.start - at);
            text.push_str(raw.get(at..escape.start).unwrap_or_default());
            text.push(character);
            at = escape.end;
            next = next_escape(raw, at);
        }
        marks.note(text.len(), at, raw.len() - at);
        text.push_str(raw.get(at..).unwrap_or_default());
        Self { text: Cow::Owned(text), raw: Cow::Borrowed(raw), marks }
    }

    /// The same, apart from the body.
    #[must_use]
    pub(crate) fn into_owned(self) -> Decoded<'static> {
        let owned = |of: Cow<'_, str>| Cow::Owned(of.into_owned());
        Decoded { text: owned(self.text), raw: owned(self.raw), marks: self.marks }
    }

    /// What it says.
    #[must_use]
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Where the character at this offset of the text begins in the raw string.
    #[must_use]
    pub(crate) fn raw_at(&self, text_at: usize) -> usize {
        let made = |at: usize| {
            let (given, character) = next_escape(&self.raw, at)?;
            Some(Made { given, bytes: character.len_utf8() })
        };
        self.marks.stretch(text_at, made).map_or(text_at, |stretch| match stretch.made_of {
            0 => stretch.given + (text_at - stretch.made),
            _ => stretch.given,
        })
    }
}

/// The next escape from `at` on, and its character.
fn next_escape(raw: &str, at: usize) -> Option<(Range<usize>, char)> {
    let escape = find_any(raw.as_bytes(), at, [b'\\'])?;
    let (character, length) = unescape(raw.get(escape..).unwrap_or_default());
    Some((escape..escape + length, character))
}

/// The character of the escape at the beginning of `raw`, and how many bytes it takes.
fn unescape(raw: &str) -> (char, usize) {
    let simple = |character| (character, 2);
    match raw.as_bytes().get(1) {
        Some(b'n') => simple('\n'),
        Some(b't') => simple('\t'),
        Some(b'r') => simple('\r'),
        Some(b'b') => simple('\u{8}'),
        Some(b'f') => simple('\u{c}'),
        Some(b'u') => unicode(raw),
        Some(byte @ (b'"' | b'\\' | b'/')) => simple(char::from(*byte)),
        Some(_) | None => ('\\', 1),
    }
}

fn unicode(raw: &str) -> (char, usize) {
    let unit = |at: usize| {
        let marked = raw.get(at..at + 2) == Some("\\u");
        let digits = raw.get(at + 2..at + 6).filter(|_| marked)?;
        u32::from_str_radix(digits, 16).ok()
    };
    let Some(first) = unit(0) else { return ('\\', 1) };
    if let Some(character) = char::from_u32(first) {
        return (character, 6);
    }
    match unit(6).filter(|second| (0xDC00..0xE000).contains(second)) {
        Some(second) if first < 0xDC00 => {
            let code = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
            (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 12)
        }
        Some(_) | None => (char::REPLACEMENT_CHARACTER, 6),
    }
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    #[wasm_bindgen_test(unsupported = test)]
    fn a_string_says_what_json_says_it_says() {
        for raw in [
            "",
            "plain",
            "é and 日本",
            r#"a\nb\t\"c\" \\ \/ \b\f\r"#,
            r"\u0041\u00e9\u65e5 x",
            r"\ud83d\ude00 and \uD83D\uDE00",
            r"ends with an escape\n",
        ] {
            let expected: String = serde_json::from_str(&format!("\"{raw}\"")).unwrap();
            assert_eq!(Decoded::of(raw).text(), expected, "{raw}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn every_character_leads_back_to_its_bytes() {
        let raw = r#"é\n\"\u0041b\ud83d\ude00!"#;
        let decoded = Decoded::of(raw);
        let text = decoded.text();
        let mut bounds: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        bounds.push(text.len());
        let pieces: Vec<&str> = bounds
            .windows(2)
            .map(|pair| &raw[decoded.raw_at(pair[0])..decoded.raw_at(pair[1])])
            .collect();
        assert_eq!(pieces, ["é", r"\n", r#"\""#, r"\u0041", "b", r"\ud83d\ude00", "!"]);
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_long_way_back_leads_to_the_same_bytes_as_a_short_one() {
        let one = r#"é\n\"\u0041b\ud83d\ude00!"#;
        let long = "x".repeat(300);
        let raw = format!("{}{long}{one}{long}{one}", one.repeat(50));
        let decoded = Decoded::of(&raw);
        let mut at = 0;
        for (text_at, character) in decoded.text().char_indices() {
            assert_eq!(decoded.raw_at(text_at), at, "{text_at}");
            let escape = next_escape(&raw, at).filter(|(escape, _)| escape.start == at);
            at = escape.map_or(at + character.len_utf8(), |(escape, _)| escape.end);
        }
        assert_eq!(decoded.raw_at(decoded.text().len()), raw.len());
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn what_is_no_escape_stands_for_itself() {
        for (raw, expected) in [
            (r"\", "\\"),
            (r"\x", "\\x"),
            (r"\u12", "\\u12"),
            (r"\uzzzz", "\\uzzzz"),
            (r"\ud83d", "\u{fffd}"),
            (r"\ud83d\n", "\u{fffd}\n"),
            (r"\ude00\ud83d", "\u{fffd}\u{fffd}"),
            (r"\uééé", "\\uééé"),
        ] {
            assert_eq!(Decoded::of(raw).text(), expected, "{raw}");
        }
    }
}
