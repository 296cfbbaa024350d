//! What an operator forbids in words: terms, which match as whole words in either case, and patterns, which are
//! regular expressions of which each match is found in linear time. Both are matched against the folded text.

mod digest;
mod split;

use kt_contract::policy::pattern::{self, BadPattern};
use regex::Regex;

use crate::fold::Folded;
use digest::{Digest, Slots, hash};
use split::{Word, Words, lowered};

/// Terms, compiled. Accents, width and case do not count. Where a script has no spaces, a term matches anywhere.
#[derive(Debug, Default)]
pub struct Terms {
    /// The words of each term, in small letters.
    terms: Vec<Vec<(Digest, String)>>,
    /// How each term begins: in order.
    by_first: Vec<Beginning>,
    /// The words that are a term.
    alone: Slots,
    /// The first two words of longer ones.
    pairs: Slots,
    /// All their words.
    all: Slots,
}

/// How a term begins: a hash of its whole first word, the second word if it has one, and which it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Beginning {
    first: u32,
    term: usize,
    second: Option<Digest>,
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

// === impl Terms ===

impl Terms {
    /// Compiles terms.
    ///
    /// # Errors
    /// For a term without a letter or digit.
    pub fn new<T: AsRef<str>>(terms: &[T]) -> Result<Self, Rejected> {
        let mut all = Self::default();
        for (nth, term) in terms.iter().enumerate() {
            let folded = Folded::of(term.as_ref());
            let mut words = Vec::new();
            for word in Words::of(folded.as_str()) {
                let digest = word.digest(folded.as_str());
                all.all.insert(digest);
                words.push((digest, lowered(word.of(folded.as_str())).collect::<String>()));
            }
            let mut digests = words.iter().map(|(digest, _)| *digest);
            let (Some(first), Some((_, word))) = (digests.next(), words.first()) else {
                return Err(Rejected::EmptyTerm(term.as_ref().to_owned()));
            };
            let second = digests.next();
            match second {
                None => all.alone.insert(first),
                Some(second) => all.pairs.insert(first.before(second)),
            }
            all.by_first.push(Beginning { first: hash(word.chars()), term: nth, second });
            all.terms.push(words);
        }
        all.by_first.sort_unstable();
        Ok(all)
    }

    /// Finds every term, those that overlap as well, in order of where they begin.
    pub fn find(&self, text: &str, found: &mut impl FnMut(Hit)) {
        if self.terms.is_empty() {
            return;
        }
        let folded = Folded::of(text);
        let text = folded.as_str();
        let with_digest = |word: Word| (word, word.digest(text));
        let mut words = Words::of(text).map(with_digest).peekable();
        let mut nth = 0;
        while let Some((word, digest)) = words.next() {
            let next = words.peek().map(|(_, digest)| *digest);
            if self.may_begin_with(digest, next) {
                for (term, end) in self.beginning_with(&word, next, text) {
                    let end = folded.end(end);
                    found(Hit { term, start: folded.start(word.start, end), end, word: nth });
                }
            }
            nth += 1;
        }
    }

    /// Whether a term may begin with these two words.
    #[inline]
    fn may_begin_with(&self, first: Digest, second: Option<Digest>) -> bool {
        self.alone.may_have(first)
            || second.is_some_and(|second| self.pairs.may_have(first.before(second)))
    }

    /// Whether a word of this text may be one of a term. What has none is in no term.
    pub(crate) fn may_have_word_of(&self, text: &str) -> bool {
        Words::of(text).any(|word| self.all.may_have(word.digest(text)))
    }

    /// The terms that stand where a word stands, and where each ends.
    fn beginning_with(
        &self,
        word: &Word,
        second: Option<Digest>,
        text: &str,
    ) -> impl Iterator<Item = (usize, usize)> {
        let first = hash(lowered(word.of(text)));
        let from = self.by_first.partition_point(|begins| begins.first < first);
        let same = self.by_first.get(from..).unwrap_or_default().iter();
        same.take_while(move |begins| begins.first == first)
            .filter(move |begins| begins.second.is_none() || begins.second == second)
            .filter_map(|begins| Some((begins.term, self.end_of(begins.term, word, text)?)))
    }

    /// Where a term ends, if it stands where a word stands.
    fn end_of(&self, term: usize, first: &Word, text: &str) -> Option<usize> {
        let mut given = Words { text, at: first.start };
        let mut end = None;
        let words = self.terms.get(term)?;
        for (digest, _) in words {
            let here = given.next().filter(|here| here.digest(text) == *digest)?;
            end = Some(here.end);
        }
        let given = Words { text, at: first.start };
        words.iter().zip(given).all(|((_, word), here)| here.is(word, text)).then_some(end)?
    }
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

    /// Says where the first match of each pattern is. Unlike all matches, each of which may be looked for up to the end, this
    /// takes a time that is linear in the length of the text.
    pub fn find_first(&self, text: &str, found: &mut impl FnMut(std::ops::Range<usize>)) {
        if self.0.is_empty() {
            return;
        }
        let folded = Folded::of(text);
        for one in self.0.iter().filter_map(|pattern| pattern.find(folded.as_str())) {
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
        Terms::new(terms).unwrap().find(text, &mut |hit| hits.push(hit));
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

    use super::split::{is_unspaced, lower};
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
            Terms::new(&terms).unwrap().find(&text, &mut |hit| hits.push(hit));
            prop_assert_eq!(hits, naive(&terms, &text));
        }
    }
}
