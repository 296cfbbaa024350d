//! Whether what an answer says stands in what it was given. A heuristic, and no more: it looks at what can be looked up,
//! which is numbers, names, quotations, addresses and citations, and whether they occur in the request. An answer that
//! is wrong in plain words is not found, and one that computes a number is. Linear in request and answer.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

/// The version of the heuristic: part of the policy gate where it blocks.
pub const VERSION: u32 = 1;

/// Words with a capital that are no names: they begin sentences, or stand in for somebody.
const NO_NAMES: [&str; 62] = [
    "a", "also", "an", "and", "another", "as", "at", "based", "because", "both", "but", "by",
    "can", "each", "finally", "first", "for", "from", "he", "her", "here", "his", "however", "i",
    "if", "in", "it", "its", "let", "my", "next", "no", "not", "note", "of", "on", "one", "only",
    "or", "our", "please", "second", "she", "since", "so", "sorry", "that", "the", "their", "then",
    "there", "these", "they", "this", "to", "we", "what", "when", "while", "with", "yes", "you",
];
/// The shortest quotation that is looked up, in words.
const QUOTED_WORDS_MIN: usize = 3;
/// The longest, in bytes: a mark without its end quotes nothing.
const QUOTED_BYTES_MAX: usize = 1_000;

/// What was found in an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grounding {
    /// What could be looked up.
    pub claims: usize,
    /// What of it stands in the context.
    pub grounded: usize,
}

/// What a request carries: its texts, which are gone through once for an answer. Nothing is kept of them.
#[derive(Clone, Debug)]
pub struct Context<T> {
    texts: T,
}

/// What an answer says that can be looked up, as digests of words, and of two words that stand beside each other: memory
/// follows the answer, however long the request is.
#[derive(Debug, Default)]
struct Sought {
    keys: RandomState,
    /// Whether it stands in the context.
    found: HashMap<u64, bool>,
}

/// A part of a text between spaces, without the marks around it.
#[derive(Clone, Copy, Debug)]
struct Token<'a> {
    text: &'a str,
    /// Whether a sentence, a line or an item of a list begins with it.
    begins: bool,
}

// === impl Context ===

impl<'a, T: IntoIterator<Item = &'a str> + Clone> Context<T> {
    /// Of the texts of a request.
    pub const fn of(texts: T) -> Self {
        Self { texts }
    }

    /// What of an answer stands in it.
    #[must_use]
    pub fn ground(&self, answer: &str) -> Grounding {
        let mut sought = Sought::of(answer);
        for text in self.texts.clone() {
            sought.look_in(text);
        }
        sought.grounding(answer)
    }
}

// === impl Sought ===

impl Sought {
    /// Of an answer.
    fn of(answer: &str) -> Self {
        let mut sought = Self::default();
        let keys = sought.keys.clone();
        each_claim(&keys, answer, &mut |parts| {
            sought.found.extend(parts.map(|part| (part, false)));
        });
        sought
    }

    /// Takes what stands in a text of the context.
    fn look_in(&mut self, text: &str) {
        let mut before: Option<String> = None;
        for token in tokens(text) {
            // An address is looked up whole, and its parts may be named alone.
            if is_address(token.text) {
                self.has(word(&self.keys, &token.text.to_lowercase()));
            }
            for it in words(token.text) {
                self.has(word(&self.keys, &it));
                if let Some(before) = &before {
                    self.has(pair(&self.keys, before, &it));
                }
                before = Some(it);
            }
        }
    }

    fn has(&mut self, digest: u64) {
        if let Some(is_found) = self.found.get_mut(&digest) {
            *is_found = true;
        }
    }

    /// What of the answer was found.
    fn grounding(&self, answer: &str) -> Grounding {
        let mut grounding = Grounding::default();
        each_claim(&self.keys, answer, &mut |parts| {
            let is_grounded = parts.map(|part| self.found.get(&part)).all(|it| it == Some(&true));
            grounding.claims += 1;
            grounding.grounded += usize::from(is_grounded);
        });
        grounding
    }
}

fn word(keys: &RandomState, word: &str) -> u64 {
    keys.hash_one(word)
}

/// Each word beside the next.
fn pair(keys: &RandomState, left: &str, right: &str) -> u64 {
    keys.hash_one((left, right))
}

/// Goes through what an answer says that can be looked up: each claim as the digests that all have to stand in the context.
fn each_claim(
    keys: &RandomState,
    answer: &str,
    claim: &mut dyn FnMut(&mut dyn Iterator<Item = u64>),
) {
    for Token { text, begins } in tokens(answer) {
        if is_address(text) {
            claim(&mut std::iter::once(word(keys, &text.to_lowercase())));
        } else if is_claim(text, begins) {
            claim(&mut words(text).map(|it| word(keys, &it)));
        }
    }
    for quotation in quotations(answer) {
        let said: Vec<String> = words(quotation).collect();
        if said.len() >= QUOTED_WORDS_MIN {
            let neighbors = said.iter().zip(said.iter().skip(1));
            claim(&mut neighbors.map(|(left, right)| pair(keys, left, right)));
        }
    }
}

/// Whether a token is something to look up.
fn is_claim(text: &str, begins: bool) -> bool {
    let has_digit = text.bytes().any(|byte| byte.is_ascii_digit());
    // A single digit counts or numbers something.
    if has_digit && text.len() > 1 && !is_item(text, begins) {
        return true;
    }
    let is_name = text.chars().next().is_some_and(char::is_uppercase);
    is_name && !begins && NO_NAMES.binary_search(&text.to_lowercase().as_str()).is_err()
}

// === impl Grounding ===

impl Grounding {
    /// Whether at least so many percent of it stand in the context. What says nothing that can be looked up does.
    #[must_use]
    pub const fn reaches(self, percent: u8) -> bool {
        self.grounded.saturating_mul(100) >= self.claims.saturating_mul(percent as usize)
    }
}

fn is_address(text: &str) -> bool {
    text.contains("://") || text.starts_with("www.") || text.contains('@') && text.contains('.')
}

/// `1.` and `2)` in front of a line.
fn is_item(text: &str, begins: bool) -> bool {
    begins && text.len() <= 2 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The tokens of a text, in its order.
fn tokens(text: &str) -> impl Iterator<Item = Token<'_>> {
    text.lines().flat_map(|line| {
        let mut begins = true;
        line.split_whitespace().filter_map(move |part| {
            let token = part.trim_matches(|mark: char| !mark.is_alphanumeric());
            if token.is_empty() {
                return None;
            }
            let is_first = std::mem::take(&mut begins);
            let marks = part.trim_end_matches(['"', '”', ')', '*', '\'']);
            if marks.ends_with(['.', '!', '?', ':']) {
                begins = true;
            }
            Some(Token { text: token, begins: is_first })
        })
    })
}

/// A token as it is compared: in lower case, its parts apart, a number without the marks between thousands.
fn words(text: &str) -> impl Iterator<Item = String> + use<'_> {
    text.split(|mark: char| !(mark.is_alphanumeric() || matches!(mark, '.' | ',' | '\'' | '’')))
        .flat_map(str::split_whitespace)
        .map(|part| {
            let part = part.trim_matches(|mark: char| !mark.is_alphanumeric());
            let possessed = part.strip_suffix("'s").or_else(|| part.strip_suffix("’s"));
            let part = possessed.unwrap_or(part);
            let is_number = part.starts_with(|first: char| first.is_ascii_digit());
            let part =
                if is_number { part.replace(',', "") } else { part.replace(['\'', '’'], "") };
            // 48,250.00 is 48,250.
            let part =
                part.strip_suffix(".00").or_else(|| part.strip_suffix(".0")).unwrap_or(&part);
            part.to_lowercase()
        })
        .filter(|word| !word.is_empty())
}

/// What stands between quotation marks.
fn quotations(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut open: Option<usize> = None;
    for (at, mark) in text.char_indices().filter(|(_, mark)| matches!(mark, '"' | '“' | '”')) {
        let after = at + mark.len_utf8();
        match open {
            Some(from) if mark != '“' && at - from <= QUOTED_BYTES_MAX => {
                found.extend(text.get(from..at));
                open = None;
            }
            Some(_) | None => open = (mark != '”').then_some(after),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ground(context: &str, answer: &str) -> (usize, usize) {
        let Grounding { claims, grounded } = Context::of([context]).ground(answer);
        (grounded, claims)
    }

    #[test]
    fn the_list_of_words_that_are_no_names_is_sorted() {
        assert!(NO_NAMES.is_sorted());
    }

    #[test]
    fn numbers_names_quotations_and_addresses_are_looked_up() {
        let context = "In March 2021 Acme paid $48,250.00 to Jane O'Neil: \"the bridge is safe to cross\". See https://acme.example/a.";
        for (answer, expected) in [
            ("It paid 48250 dollars.", (1, 1)),
            ("It paid 48,251 dollars.", (0, 1)),
            ("That was in March 2021.", (2, 2)),
            ("That was in April 2021.", (1, 2)),
            ("It went to Jane O’Neil.", (2, 2)),
            ("It went to Joan O'Neil.", (1, 2)),
            ("They said “the bridge is safe”.", (1, 1)),
            ("They said \"the bridge is closed\".", (0, 1)),
            ("See https://acme.example/a", (1, 1)),
            ("See https://acme.example/b", (0, 1)),
            ("Nothing to look up here, and 3 of it.", (0, 0)),
            ("1. First\n2. Second\n10. Tenth", (0, 0)),
            ("Acme's payment. Payments are fine. **Bold** words begin.", (0, 0)),
            ("and Acme's payment", (1, 1)),
        ] {
            assert_eq!(ground(context, answer), expected, "{answer}");
        }
    }

    #[test]
    fn what_is_kept_follows_the_answer_and_not_the_request() {
        let answer =
            "In 2021 Acme paid 48,250 to Jane: \"the bridge is safe\". See w17 and w99999999.";
        let mut sought = Sought::of(answer);
        let room = (sought.found.len(), sought.found.capacity());
        assert!(room.0 <= 2 * answer.split_whitespace().count(), "{room:?}");
        let mut request = String::new();
        for number in 0.. {
            if request.len() >= 1 << 20 {
                break;
            }
            request.push_str(&format!("w{number} "));
        }
        sought.look_in(&request);
        assert_eq!((sought.found.len(), sought.found.capacity()), room);
        let found = sought.found.values().filter(|is_found| **is_found).count();
        assert_eq!(found, 1, "of a request of {} bytes", request.len());
    }

    #[test]
    fn a_share_is_enough_and_nothing_to_look_up_is_all_of_it() {
        let of = |grounded, claims| Grounding { claims, grounded };
        assert!(of(0, 0).reaches(100));
        assert!(of(7, 10).reaches(70) && !of(6, 10).reaches(70));
        assert!(of(0, 10).reaches(0));
    }
}
