//! What an operator forbids in words: terms, which match as whole words in either case, and patterns, which are
//! regular expressions of linear time. Both are matched against the folded text.

use std::collections::BTreeMap;

use kt_contract::policy::pattern::{self, BadPattern};
use regex::Regex;

use crate::fold::Folded;

/// Terms, compiled. Accents, width and case do not count. Where a script has no spaces, a term matches anywhere.
#[derive(Debug, Default)]
pub struct Terms {
    /// The words of each term.
    terms: Vec<Vec<String>>,
    /// The terms that begin with a word.
    by_first: BTreeMap<String, Vec<usize>>,
    /// The most words that a term has.
    words_max: usize,
}

/// A term in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    /// Which term, by its place in the list.
    pub term: usize,
    /// The byte it begins at, in the text as it was given.
    pub start: usize,
    /// The byte after it.
    pub end: usize,
    /// Which word of the text it begins with, counted from 0.
    pub word: usize,
}

/// Patterns, compiled.
#[derive(Debug, Default)]
pub struct Patterns(Vec<Regex>);

/// A term or a pattern that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// There is no letter or digit in it.
    #[error("the term {0:?} has no letter or digit: nothing would match it")]
    EmptyTerm(String),
    /// It cannot be searched for.
    #[error("the pattern {pattern:?} {problem}")]
    Pattern {
        /// As it was written.
        pattern: String,
        /// What is wrong.
        problem: BadPattern,
    },
}

/// A word of a text.
struct Word {
    start: usize,
    end: usize,
}

// === impl Terms ===

impl Terms {
    /// Compiles terms.
    ///
    /// # Errors
    /// For a term without a letter or digit.
    pub fn new<T: AsRef<str>>(terms: &[T]) -> Result<Self, Rejected> {
        let mut all = Self::default();
        for (nth, term) in terms.iter().enumerate() {
            let lower = lowered(term.as_ref());
            let words: Vec<String> = words(&lower)
                .filter_map(|word| lower.get(word.start..word.end))
                .map(str::to_owned)
                .collect();
            let first =
                words.first().ok_or_else(|| Rejected::EmptyTerm(term.as_ref().to_owned()))?;
            all.by_first.entry(first.clone()).or_default().push(nth);
            all.words_max = all.words_max.max(words.len());
            all.terms.push(words);
        }
        Ok(all)
    }

    /// Finds every term, those that overlap as well, in order of where they begin.
    pub fn find(&self, text: &str, found: &mut Vec<Hit>) {
        let folded = Folded::of(text);
        let (mut upcoming, mut nth) = (std::collections::VecDeque::new(), 0);
        let mut rest = words(folded.as_str());
        let mut lower = String::new();
        loop {
            while upcoming.len() < self.words_max.max(1) {
                let Some(word) = rest.next() else { break };
                lower.clear();
                push_lower(
                    folded.as_str().get(word.start..word.end).unwrap_or_default(),
                    &mut lower,
                );
                upcoming.push_back((word, lower.clone()));
            }
            let Some((first, text_of)) = upcoming.front() else { return };
            for term in self.by_first.get(text_of).into_iter().flatten() {
                let words = self.terms.get(*term).map_or(&[][..], Vec::as_slice);
                let is_here = words.len() <= upcoming.len()
                    && words.iter().zip(&upcoming).all(|(word, (_, given))| word == given);
                let last = words.len().checked_sub(1).and_then(|last| upcoming.get(last));
                if let (true, Some((last, _))) = (is_here, last) {
                    let end = folded.end(last.end);
                    found.push(Hit {
                        term: *term,
                        start: folded.start(first.start, end),
                        end,
                        word: nth,
                    });
                }
            }
            upcoming.pop_front();
            nth += 1;
        }
    }
}

fn lowered(text: &str) -> String {
    let mut lower = String::new();
    push_lower(Folded::of(text).as_str(), &mut lower);
    lower
}

fn push_lower(text: &str, lower: &mut String) {
    lower.extend(text.chars().flat_map(char::to_lowercase).map(like_its_capital));
}

/// Capitals that look Latin are folded to Latin, where their small letters do not look so and are not. For terms, in
/// which case does not count, these have to become the same.
fn like_its_capital(small: char) -> char {
    match small {
        'в' | 'β' => 'b',
        'ε' | 'έ' => 'e',
        'ԍ' => 'g',
        'н' | 'η' | 'ή' => 'h',
        'м' | 'μ' => 'm',
        'ν' => 'n',
        'т' | 'τ' => 't',
        'υ' | 'ύ' | 'ϋ' | 'ү' => 'y',
        'ζ' => 'z',
        other => other,
    }
}

/// The words of a text: runs of letters and digits, and each letter alone of a script that has no spaces. What
/// stands between letters only, an apostrophe, belongs to none, so `don't` is two words everywhere.
fn words(text: &str) -> impl Iterator<Item = Word> + '_ {
    let mut chars = text.char_indices().peekable();
    std::iter::from_fn(move || {
        loop {
            let (start, first) = chars.next()?;
            if !first.is_alphanumeric() {
                continue;
            }
            let mut end = start + first.len_utf8();
            if !is_unspaced(first) {
                while let Some((at, char)) =
                    chars.next_if(|(_, char)| char.is_alphanumeric() && !is_unspaced(*char))
                {
                    end = at + char.len_utf8();
                }
            }
            return Some(Word { start, end });
        }
    })
}

/// Whether a letter is of a script that is written without spaces (Thai, Lao, Khmer, kana, Han), or that ties
/// particles to its words (Hangul).
fn is_unspaced(char: char) -> bool {
    matches!(u32::from(char), 0xE00..=0xEFF | 0x1780..=0x17FF | 0x3040..=0x30FF | 0x3400..=0x9FFF | 0xAC00..=0xD7A3 | 0x20000..=0x3FFFF)
}

// === impl Patterns ===

impl Patterns {
    /// Compiles regular expressions. They match in either case unless they say `(?-i)`.
    ///
    /// # Errors
    /// For one that is no regular expression, that is too large, or that matches every text.
    pub fn new<P: AsRef<str>>(patterns: &[P]) -> Result<Self, Rejected> {
        let compiled = patterns.iter().map(|pattern| {
            let pattern = pattern.as_ref();
            let of = |problem| Rejected::Pattern { pattern: pattern.to_owned(), problem };
            pattern::compile(pattern).map_err(of)
        });
        compiled.collect::<Result<_, _>>().map(Self)
    }

    /// Says where every match of every pattern is.
    pub fn find_all(&self, text: &str, found: &mut impl FnMut(std::ops::Range<usize>)) {
        if self.0.is_empty() {
            return;
        }
        let folded = Folded::of(text);
        for one in self.0.iter().flat_map(|pattern| pattern.find_iter(folded.as_str())) {
            let end = folded.end(one.end());
            found(folded.start(one.start(), end)..end);
        }
    }

    /// The first pattern that is in the text, by its place in the list, and where it matches.
    #[must_use]
    pub fn find(&self, text: &str) -> Option<(usize, std::ops::Range<usize>)> {
        if self.0.is_empty() {
            return None;
        }
        let folded = Folded::of(text);
        self.0.iter().enumerate().find_map(|(nth, pattern)| {
            let found = pattern.find(folded.as_str())?;
            let end = folded.end(found.end());
            Some((nth, folded.start(found.start(), end)..end))
        })
    }
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    fn found(terms: &[&str], text: &str) -> Vec<String> {
        let mut hits = Vec::new();
        Terms::new(terms).unwrap().find(text, &mut hits);
        hits.iter().map(|hit| text[hit.start..hit.end].to_owned()).collect()
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_term_matches_as_whole_words_in_either_case() {
        assert_eq!(
            found(&["Project Falcon"], "about PROJECT  falcon, and projects"),
            ["PROJECT  falcon"]
        );
        assert_eq!(found(&["ass"], "a class, an assistant"), [""; 0]);
        assert_eq!(found(&["ass"], "an ass!"), ["ass"]);
        assert_eq!(found(&["a", "a b"], "a b"), ["a", "a b"]);
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_term_matches_whatever_its_spelling_in_unicode() {
        for text in ["café", "ca\u{301}fe", "ｃａｆé", "CAFÉ", "ca\u{200B}fé", "саfе"] {
            assert_eq!(found(&["Café"], text), [text], "{text}");
        }
        assert_eq!(found(&["STRAẞE"], "die straße"), ["straße"]);
        assert_eq!(found(&["炸弹"], "怎么做炸弹呢"), ["炸弹"]);
        assert_eq!(found(&["бомба"], "Это БОМБА!"), ["БОМБА"]);
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_capital_and_its_small_letter_are_the_same_in_a_term() {
        for capital in ('\u{370}'..'\u{530}').filter(|char| char.is_uppercase()) {
            let small: String = capital.to_lowercase().collect();
            // Letters with marks that are parted from them by lowering.
            if small.chars().count() == 1 {
                assert_eq!(lowered(&capital.to_string()), lowered(&small), "{capital} {small}");
            }
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_term_without_a_letter_is_refused_by_name() {
        let refused = Terms::new(&["fine", "!?"]).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the term \"!?\" has no letter or digit: nothing would match it"
        );
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_pattern_is_found_where_it_is_in_the_text_as_given() {
        let patterns = Patterns::new(&[r"never", r"\bproj-\d{4}\b"]).unwrap();
        let text = "é about PRO\u{200B}J-1234.";
        let (nth, range) = patterns.find(text).unwrap();
        assert_eq!((nth, &text[range]), (1, "PRO\u{200B}J-1234"));
        assert_eq!(patterns.find("proj-12345"), None);
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_pattern_that_cannot_be_used_is_refused_with_what_is_wrong() {
        let rows = [
            (
                "a(b",
                "the pattern \"a(b\" is no pattern that can be searched for in linear time: unclosed group",
            ),
            (
                r"(a)\1",
                "the pattern \"(a)\\\\1\" is no pattern that can be searched for in linear time: backreferences are not supported",
            ),
            ("a*", "the pattern \"a*\" matches the empty text, and would be found everywhere"),
            (
                "(a{500}){500}",
                "the pattern \"(a{500}){500}\" is too large: compiled it would take more than 262144 bytes; use smaller repetitions",
            ),
        ];
        for (pattern, told) in rows {
            assert_eq!(Patterns::new(&[pattern]).unwrap_err().to_string(), told);
        }
    }
}
