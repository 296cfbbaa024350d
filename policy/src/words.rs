//! What an operator forbids in words: terms, which match as whole words in either case, and patterns, which are
//! regular expressions of linear time. Both are matched against the folded text.

use kt_contract::policy::pattern::{self, BadPattern};
use regex::Regex;

use crate::fold::Folded;

/// How many bits say which words a term may begin with.
const SLOTS: usize = 16_384;
/// Where a hash begins.
const HASH_OF_NOTHING: u32 = 0x811C_9DC5;

/// Terms, compiled. Accents, width and case do not count. Where a script has no spaces, a term matches anywhere.
#[derive(Debug, Default)]
pub struct Terms {
    /// The words of each term.
    terms: Vec<Vec<String>>,
    /// How each term begins: in order.
    by_first: Vec<Beginning>,
    /// A bit for each hash that is among them, and for those with the same last bits: nearly every word of a text ends
    /// here.
    may_begin: Vec<u64>,
}

/// How a term begins: the hashes of its first word and of the second, if it has one, and which it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Beginning {
    first: u32,
    term: usize,
    second: Option<u32>,
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

/// The words of a text: runs of letters and digits, and each letter alone of a script that has no spaces. What
/// stands between letters only, an apostrophe, belongs to none, so `don't` is two words everywhere.
struct Words<'a> {
    text: &'a str,
    /// The byte behind the last word.
    at: usize,
}

/// A word of a text.
struct Word {
    start: usize,
    end: usize,
    /// Of its letters, in which case does not count.
    hash: u32,
}

// === impl Terms ===

impl Terms {
    /// Compiles terms.
    ///
    /// # Errors
    /// For a term without a letter or digit.
    pub fn new<T: AsRef<str>>(terms: &[T]) -> Result<Self, Rejected> {
        let mut all = Self { may_begin: vec![0; SLOTS / 64], ..Self::default() };
        for (nth, term) in terms.iter().enumerate() {
            let folded = Folded::of(term.as_ref());
            let (mut words, mut hashes) = (Vec::new(), Vec::new());
            for word in Words::of(folded.as_str()) {
                hashes.push(word.hash);
                words.push(lowered(word.of(folded.as_str())).collect());
            }
            let mut hashes = hashes.into_iter();
            let first = hashes.next();
            let first = first.ok_or_else(|| Rejected::EmptyTerm(term.as_ref().to_owned()))?;
            if let Some(bits) = all.may_begin.get_mut(slot(first) / 64) {
                *bits |= 1 << (slot(first) % 64);
            }
            all.by_first.push(Beginning { first, term: nth, second: hashes.next() });
            all.terms.push(words);
        }
        all.by_first.sort_unstable();
        Ok(all)
    }

    /// Finds every term, those that overlap as well, in order of where they begin.
    pub fn find(&self, text: &str, found: &mut Vec<Hit>) {
        if self.terms.is_empty() {
            return;
        }
        let folded = Folded::of(text);
        for (nth, word) in Words::of(folded.as_str()).enumerate() {
            for (term, end) in self.beginning_with(&word, folded.as_str()) {
                let end = folded.end(end);
                found.push(Hit { term, start: folded.start(word.start, end), end, word: nth });
            }
        }
    }

    /// The terms that stand where a word stands, and where each ends.
    fn beginning_with(&self, word: &Word, text: &str) -> impl Iterator<Item = (usize, usize)> {
        let bits = self.may_begin.get(slot(word.hash) / 64).copied().unwrap_or(0);
        let (from, next) = match bits >> (slot(word.hash) % 64) & 1 {
            0 => (self.by_first.len(), None),
            _ => {
                let from = self.by_first.partition_point(|begins| begins.first < word.hash);
                (from, Words { text, at: word.end }.next().map(|word| word.hash))
            }
        };
        let same = self.by_first.get(from..).unwrap_or_default().iter();
        same.take_while(|begins| begins.first == word.hash)
            .filter(move |begins| begins.second.is_none() || begins.second == next)
            .filter_map(|begins| Some((begins.term, self.end_of(begins.term, word, text)?)))
    }

    /// Where a term ends, if it stands where a word stands.
    fn end_of(&self, term: usize, first: &Word, text: &str) -> Option<usize> {
        let mut given = Words { text, at: first.start };
        let mut end = None;
        for word in self.terms.get(term)? {
            let here = given.next()?;
            if !lowered(here.of(text)).eq(word.chars()) {
                return None;
            }
            end = Some(here.end);
        }
        end
    }
}

// === impl Words ===

impl<'a> Words<'a> {
    const fn of(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The character at the next byte, if it is of a word.
    fn letter(&self) -> Option<char> {
        self.text.get(self.at..)?.chars().next().filter(|char| char.is_alphanumeric())
    }

    fn skip_to_word(&mut self) -> Option<()> {
        loop {
            let byte = *self.text.as_bytes().get(self.at)?;
            if byte.is_ascii_alphanumeric() || (!byte.is_ascii() && self.letter().is_some()) {
                return Some(());
            }
            // What follows the first byte of a character is of no letter, and no ASCII.
            self.at += 1;
        }
    }
}

impl Iterator for Words<'_> {
    type Item = Word;

    fn next(&mut self) -> Option<Word> {
        self.skip_to_word()?;
        let (start, mut hash) = (self.at, HASH_OF_NOTHING);
        while let Some(byte) = self.text.as_bytes().get(self.at) {
            if byte.is_ascii_alphanumeric() {
                // Of letters the small one, and of digits the digit.
                hash = with(hash, u32::from(byte | 0x20));
                self.at += 1;
                continue;
            }
            let letter = if byte.is_ascii() { None } else { self.letter() };
            let Some(letter) = letter else { break };
            let is_alone = is_unspaced(letter);
            if is_alone && self.at > start {
                break;
            }
            hash = lower(letter).fold(hash, |hash, char| with(hash, u32::from(char)));
            self.at += letter.len_utf8();
            if is_alone {
                break;
            }
        }
        Some(Word { start, end: self.at, hash })
    }
}

// === impl Word ===

impl Word {
    fn of<'a>(&self, text: &'a str) -> &'a str {
        text.get(self.start..self.end).unwrap_or_default()
    }
}

const fn slot(hash: u32) -> usize {
    hash as usize % SLOTS
}

/// FNV-1a, with characters for bytes. What has the same hash is compared.
const fn with(hash: u32, char: u32) -> u32 {
    (hash ^ char).wrapping_mul(0x0100_0193)
}

fn lowered(word: &str) -> impl Iterator<Item = char> {
    word.chars().flat_map(lower)
}

fn lower(char: char) -> impl Iterator<Item = char> {
    char.to_lowercase().map(like_its_capital)
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
                let [capital, small] = [capital.to_string(), small];
                let terms = |term: &str| Terms::new(&[term]).unwrap().terms;
                assert_eq!(terms(&capital), terms(&small), "{capital} {small}");
                assert_eq!(found(&[&capital], &small), [small.as_str()]);
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

#[cfg(all(test, not(target_family = "wasm")))]
mod properties {
    use proptest::prelude::*;

    use super::*;

    /// The words of a text as folded, in small letters, and where each is.
    fn naive_words(text: &str) -> Vec<(usize, usize, String)> {
        let mut words: Vec<(usize, usize, String)> = Vec::new();
        let mut is_open = false;
        for (at, char) in text.char_indices() {
            let end = at + char.len_utf8();
            match words.last_mut().filter(|_| is_open && !is_unspaced(char)) {
                Some((_, last, word)) if char.is_alphanumeric() => {
                    word.extend(lower(char));
                    *last = end;
                }
                _ if char.is_alphanumeric() => words.push((at, end, lower(char).collect())),
                _ => {}
            }
            is_open = char.is_alphanumeric() && !is_unspaced(char);
        }
        words
    }

    /// Each word of the text, with each term.
    fn naive(terms: &[String], text: &str) -> Vec<Hit> {
        let folded = Folded::of(text);
        let words = naive_words(folded.as_str());
        let mut hits = Vec::new();
        for (nth, (start, ..)) in words.iter().enumerate() {
            for (term, of) in terms.iter().enumerate() {
                let of = naive_words(Folded::of(of).as_str());
                let given = words.get(nth..nth + of.len()).unwrap_or_default();
                let is_here = given.iter().map(|word| &word.2).eq(of.iter().map(|word| &word.2));
                if let (true, Some(last)) = (is_here, given.last()) {
                    let end = folded.end(last.1);
                    hits.push(Hit { term, start: folded.start(*start, end), end, word: nth });
                }
            }
        }
        hits
    }

    /// Of few letters, so that terms are met.
    fn text(chars: std::ops::Range<usize>) -> impl Strategy<Value = String> {
        let char = prop::sample::select(
            "aabbAB1 ,'é\u{200B}\u{301}вВßẞиİKﬃＡ忽略ก無".chars().collect::<Vec<_>>(),
        );
        prop::collection::vec(char, chars).prop_map(String::from_iter)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn terms_are_found_where_whoever_compares_every_word_finds_them(
            terms in prop::collection::vec(text(1..6), 1..8),
            text in text(0..60),
        ) {
            let terms: Vec<String> =
                terms.into_iter().filter(|term| Terms::new(&[term]).is_ok()).collect();
            let mut hits = Vec::new();
            Terms::new(&terms).unwrap().find(&text, &mut hits);
            prop_assert_eq!(hits, naive(&terms, &text));
        }
    }
}
