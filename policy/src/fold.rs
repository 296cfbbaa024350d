//! The copy of a text that detectors read, in which nothing hides: zero-width, bidi and tag characters and
//! combining marks are taken out, and what is or looks like ASCII (full-width forms, digits of other scripts,
//! homoglyphs, accented letters) is ASCII. With it goes the way back to the text as it was given.
//!
//! For detectors, which look for secrets wherever they travel, [`Folded::unescaped`] also reads what is spelled by escapes.
//!
//! Of NFKC it has the part whose result is ASCII. The rest, half-width kana or Hangul in pieces, would cost the
//! Wasm module a hundred kilobytes of tables.

mod escape;
mod tables;

use std::borrow::Cow;
use std::ops::Range;

use crate::bytes::find_foreign_or;
use crate::marks::{Made, Marks, Stretch};
use crate::text::note_seam;
use escape::Escape;
use tables::{GREEK_CYRILLIC, LATIN, LATIN_ADDITIONAL, RUNS, SEVERAL};

/// A folded text. Plain ASCII, and whatever has nothing to fold, is borrowed.
pub(crate) struct Folded<'a> {
    text: Cow<'a, str>,
    given: &'a str,
    has_escapes: bool,
    /// The way back; none if nothing was folded.
    marks: Marks,
    /// Where an escape begins of which the end has not come.
    undecided_from: Option<usize>,
    /// Before which bytes a character stood that shows nothing and may part words.
    seams: Vec<u64>,
}

/// What does not stay of a text, in its order.
struct Folds<'a> {
    given: &'a str,
    has_escapes: bool,
    at: usize,
    undecided: Option<usize>,
}

/// A character, or an escape, that does not stay.
struct Folding {
    given: Range<usize>,
    char: char,
    fold: Fold,
}

enum Fold {
    Stays,
    Vanishes,
    Becomes(u8),
    BecomesText(&'static str),
}

// === impl Folded ===

impl<'a> Folded<'a> {
    /// Folds a text.
    pub(crate) fn of(given: &'a str) -> Self {
        Self::fold(given, false)
    }

    /// Folds a text, and reads its escapes.
    pub(crate) fn unescaped(given: &'a str) -> Self {
        Self::fold(given, true)
    }

    fn fold(given: &'a str, has_escapes: bool) -> Self {
        let mut folds = Folds { given, has_escapes, at: 0, undecided: None };
        let (mut text, mut marks, mut seams) = (String::new(), Marks::default(), Vec::new());
        let mut stayed = 0;
        while let Some(Folding { given: of, char, fold }) = folds.next() {
            if marks.is_empty() {
                text.reserve_exact(given.len());
            }
            marks.note(text.len(), stayed, of.start - stayed);
            text.push_str(given.get(stayed..of.start).unwrap_or_default());
            match fold {
                Fold::Vanishes if parts_words(char) => note_seam(&mut seams, text.len()),
                Fold::Vanishes => {}
                Fold::Stays => text.push(char),
                Fold::Becomes(ascii) => text.push(char::from(ascii)),
                Fold::BecomesText(ascii) => text.push_str(ascii),
            }
            stayed = of.end;
        }
        let undecided = folds.undecided;
        if marks.is_empty() {
            let text = Cow::Borrowed(given);
            return Self { text, given, has_escapes, marks, undecided_from: undecided, seams };
        }
        // Nothing folds behind what is undecided, so it is as far from the end as it was.
        let undecided_from = undecided.map(|from| text.len() + from - stayed);
        marks.note(text.len(), stayed, given.len() - stayed);
        text.push_str(given.get(stayed..).unwrap_or_default());
        Self { text: Cow::Owned(text), given, has_escapes, marks, undecided_from, seams }
    }

    /// Where something stood that shows nothing and may part words.
    pub(crate) fn seams(&self) -> &[u64] {
        &self.seams
    }

    /// The folded text as far as more text cannot change it.
    pub(crate) fn decided(&self) -> &str {
        let until = self.undecided_from.unwrap_or(self.text.len());
        self.text.get(..until).unwrap_or_default()
    }

    /// The folded text.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Where the folded byte began in the text as given. `given_bytes` for the end.
    pub(crate) fn start(&self, folded: usize, given_bytes: usize) -> usize {
        if folded >= self.text.len() {
            return given_bytes;
        }
        self.stretch(folded).map_or(folded, |Stretch { made, given, made_of }| match made_of {
            0 => given + folded - made,
            _ => given,
        })
    }

    /// The byte after the one that the folded byte before `folded` came from, in the text as given.
    pub(crate) fn end(&self, folded: usize) -> usize {
        let Some(last) = folded.checked_sub(1) else { return 0 };
        self.stretch(last).map_or(folded, |Stretch { made, given, made_of }| match made_of {
            0 => given + folded - made,
            _ => given + made_of,
        })
    }

    /// The first folded byte of what came from the same character as this one.
    pub(crate) fn char_start(&self, folded: usize) -> usize {
        match self.stretch(folded) {
            Some(stretch) if stretch.made_of > 0 && folded < self.text.len() => stretch.made,
            Some(_) | None => folded,
        }
    }

    fn stretch(&self, folded: usize) -> Option<Stretch> {
        let Self { given, has_escapes, .. } = *self;
        self.marks.stretch(folded, |at| {
            let mut folds = Folds { given, has_escapes, at, undecided: None };
            let folding = folds.next()?;
            let bytes = folding.bytes();
            Some(Made { given: folding.given, bytes })
        })
    }
}

// === impl Folds ===

impl Folds<'_> {
    #[inline]
    fn next(&mut self) -> Option<Folding> {
        while let Some(at) = next_to_look_at(self.given, self.at, self.has_escapes) {
            let char = char_at(self.given, at, self.has_escapes, &mut self.undecided);
            let Some((char, behind, is_escape)) = char else {
                self.at = at + 1;
                continue;
            };
            self.at = behind;
            let fold = fold_char(char);
            if is_escape || !matches!(fold, Fold::Stays) {
                return Some(Folding { given: at..behind, char, fold });
            }
        }
        None
    }
}

// === impl Folding ===

impl Folding {
    /// How long the text is that it becomes.
    const fn bytes(&self) -> usize {
        match self.fold {
            Fold::Vanishes => 0,
            Fold::Stays => self.char.len_utf8(),
            Fold::Becomes(_) => 1,
            Fold::BecomesText(text) => text.len(),
        }
    }
}

/// The next byte from `at` on that may not stay.
#[inline]
fn next_to_look_at(text: &str, at: usize, has_escapes: bool) -> Option<usize> {
    if has_escapes {
        find_foreign_or(text.as_bytes(), at, escape::SIGNS)
    } else {
        find_foreign_or(text.as_bytes(), at, [])
    }
}

/// The character at a place, where the next one begins, and whether it was spelled by an escape.
fn char_at(
    text: &str,
    at: usize,
    has_escapes: bool,
    undecided: &mut Option<usize>,
) -> Option<(char, usize, bool)> {
    if has_escapes && text.as_bytes().get(at).is_some_and(u8::is_ascii) {
        return match escape::read(text.as_bytes().get(at..)?) {
            Escape::Is(char, bytes) => Some((char, at + bytes, true)),
            Escape::Undecided => {
                undecided.get_or_insert(at);
                None
            }
            Escape::No => None,
        };
    }
    let char = text.get(at..)?.chars().next()?;
    Some((char, at + char.len_utf8(), false))
}

/// The characters of the tag block, which mirrors ASCII and shows nothing, as the ASCII they mirror.
pub(crate) fn tagged(text: &str) -> String {
    /// What each of them begins with in UTF-8.
    const LEAD: u8 = 0xF3;
    if !text.as_bytes().contains(&LEAD) {
        return String::new();
    }
    text.chars()
        .filter_map(|char| u32::from(char).checked_sub(0xE_0000))
        .filter_map(|tag| u8::try_from(tag).ok())
        .filter(|ascii| (0x20..0x7F).contains(ascii))
        .map(char::from)
        .collect()
}

/// Zero-width spaces, and the marks that are copied with text of both directions.
fn parts_words(char: char) -> bool {
    matches!(u32::from(char), 0x200B..=0x200F | 0x202A..=0x202E | 0x2060..=0x206F | 0xFEFF)
}

fn fold_char(char: char) -> Fold {
    let code = u32::from(char);
    match code {
        0..0xA0 => Fold::Stays,
        0xAD | 0x34F | 0x61C | 0x115F..=0x1160 | 0x17B4..=0x17B5 | 0x180B..=0x180F => {
            Fold::Vanishes
        }
        0x200B..=0x200F | 0x202A..=0x202E | 0x2060..=0x206F | 0x3164 | 0xFE00..=0xFE0F => {
            Fold::Vanishes
        }
        0xFEFF | 0xFFA0 | 0xFFF0..=0xFFFB | 0x1D173..=0x1D17A | 0xE0000..=0xE0FFF => Fold::Vanishes,
        // Combining marks.
        0x300..=0x36F | 0x483..=0x489 | 0x1AB0..=0x1AFF | 0x1DC0..=0x1DFF | 0x20D0..=0x20FF => {
            Fold::Vanishes
        }
        0xFE20..=0xFE2F => Fold::Vanishes,
        0xA0..0x250 => of_block(LATIN, code, 0xA0),
        0x370..0x530 => of_block(GREEK_CYRILLIC, code, 0x370),
        0x1E00..0x1F00 => of_block(LATIN_ADDITIONAL, code, 0x1E00),
        // Kana, CJK and Hangul, nothing of which folds.
        0x3040..0x3200 | 0x3400..0xA000 | 0xAC00..0xD7A4 => Fold::Stays,
        _ => of_tables(code),
    }
}

fn of_block(block: &[u8], code: u32, first: u32) -> Fold {
    match usize::try_from(code - first).ok().and_then(|at| block.get(at)) {
        None => Fold::Stays,
        Some(b'~') => of_several(code),
        Some(ascii) => Fold::Becomes(*ascii),
    }
}

fn of_tables(code: u32) -> Fold {
    let after = RUNS.partition_point(|(first, _, _)| *first <= code);
    if let Some((first, length, ascii)) = after.checked_sub(1).and_then(|at| RUNS.get(at))
        && code - first < *length
    {
        let ascii = u32::from(*ascii) + code - first;
        return u8::try_from(ascii).map_or(Fold::Stays, Fold::Becomes);
    }
    of_several(code)
}

fn of_several(code: u32) -> Fold {
    match SEVERAL.binary_search_by_key(&code, |(code, _)| *code) {
        Ok(at) => SEVERAL.get(at).map_or(Fold::Stays, |(_, ascii)| Fold::BecomesText(ascii)),
        Err(_) => Fold::Stays,
    }
}

#[cfg(test)]
mod tests {
    use unicode_normalization::UnicodeNormalization;
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    #[wasm_bindgen_test(unsupported = test)]
    fn what_nfkc_makes_ascii_is_the_same_ascii_here() {
        for char in
            ('\u{A0}'..=char::MAX).filter(|char| !matches!(fold_char(*char), Fold::Vanishes))
        {
            let normal: String = std::iter::once(char).nfkc().collect();
            // A mark that stands alone is a space and a combining mark in NFKC; those stay.
            if normal.is_ascii() && (normal == " " || !normal.contains(' ')) && char != '\u{37E}' {
                let given = char.to_string();
                assert_eq!(Folded::of(&given).as_str(), normal, "U+{:04X}", u32::from(char));
            }
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn what_is_folded_stays_when_folded_again() {
        for char in '\u{A0}'..=char::MAX {
            let given = char.to_string();
            let once = Folded::of(&given);
            assert_eq!(
                Folded::of(once.as_str()).as_str(),
                once.as_str(),
                "U+{:04X}",
                u32::from(char)
            );
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn ascii_and_what_has_nothing_to_fold_is_not_copied() {
        for text in ["", "plain", "電話 は", "Straße", "50 % & more, C:\\dir"] {
            assert!(matches!(Folded::unescaped(text).text, Cow::Borrowed(_)), "{text}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn every_folded_byte_knows_where_it_came_from() {
        let given = "a\u{200B}bé\u{FF11}ﬃ電\u{301}z\u{AD}";
        let folded = Folded::of(given);
        assert_eq!(folded.as_str(), "abe1ffi電z");
        for (part, came_from) in [
            ("a", "a"),
            ("b", "b"),
            ("e", "é"),
            ("1", "\u{FF11}"),
            ("ffi", "ﬃ"),
            ("f", "ﬃ"),
            ("電", "電"),
            ("z", "z"),
        ] {
            let at = folded.as_str().find(part).unwrap();
            let range = folded.start(at, given.len())..folded.end(at + part.len());
            assert_eq!(&given[range], came_from);
        }
        assert_eq!(folded.start(folded.as_str().len(), given.len()), given.len());
        assert_eq!(folded.end(0), 0);
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_long_way_back_leads_to_the_same_bytes_as_a_short_one() {
        let parts = ["a", "\u{200B}", "é", "\u{FF11}\u{301}", "ﬃ", "電", r"\u0040", "%41"];
        let long = "plain text that is longer than what stands between two marks, by far. ";
        let mut given = String::new();
        for nth in 0..400 {
            given.push_str(parts[nth * nth % parts.len()]);
            if nth % 37 == 0 {
                given.push_str(&long.repeat(nth % 5));
            }
        }
        let folded = Folded::unescaped(&given);
        let mut folds = Folds { given: &given, has_escapes: true, at: 0, undecided: None };
        let (mut at, mut stayed) = (0, 0);
        let mut all = Vec::new();
        while let Some(folding) = folds.next() {
            all.extend((stayed..folding.given.start).map(|given| (given, given + 1)));
            let bytes = folding.bytes();
            all.extend((0..bytes).map(|_| (folding.given.start, folding.given.end)));
            stayed = folding.given.end;
        }
        all.extend((stayed..given.len()).map(|given| (given, given + 1)));
        assert_eq!(all.len(), folded.as_str().len());
        for (start, end) in all {
            assert_eq!((folded.start(at, given.len()), folded.end(at + 1)), (start, end), "{at}");
            at += 1;
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn an_escape_is_what_it_spells_and_leads_back_to_its_bytes() {
        let given = r"é jane\u0040x.org%20\u200b&#xFF11;\u96fb \u00";
        let folded = Folded::unescaped(given);
        assert_eq!(folded.as_str(), "e jane@x.org 1電 \\u00");
        assert_eq!(folded.decided(), "e jane@x.org 1電 ");
        for (part, came_from) in
            [("e@x", r"e\u0040x"), ("1", "&#xFF11;"), ("電", r"\u96fb"), (" ", " ")]
        {
            let at = folded.as_str().find(part).unwrap();
            let range = folded.start(at, given.len())..folded.end(at + part.len());
            assert_eq!(&given[range], came_from);
        }
        assert_eq!(Folded::of(given).as_str(), "e jane\\u0040x.org%20\\u200b&#xFF11;\\u96fb \\u00");
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn tags_are_read_as_what_they_mirror() {
        let hidden: String = "hi x"
            .chars()
            .map(|char| char::from_u32(0xE_0000 + u32::from(char)).unwrap())
            .collect();
        assert_eq!(tagged(&format!("seen{hidden}")), "hi x");
        assert_eq!(Folded::of(&format!("seen{hidden}")).as_str(), "seen");
    }
}
