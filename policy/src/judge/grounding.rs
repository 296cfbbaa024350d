//! Whether what an answer says stands in what it was given. A heuristic, and no more: it looks at what can be looked up,
//! which is numbers, names, quotations, addresses and citations, and whether they occur in the request. An answer that
//! is wrong in plain words is not found, and one that computes a number is. Linear in request and answer.

use std::collections::HashSet;

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

/// What a request carries, ready to be looked up in.
#[derive(Debug, Default)]
pub struct Context {
    words: HashSet<String>,
    pairs: HashSet<(String, String)>,
    count: usize,
}

/// A part of a text between spaces, without the marks around it.
#[derive(Clone, Copy, Debug)]
struct Token<'a> {
    text: &'a str,
    /// Whether a sentence, a line or an item of a list begins with it.
    begins: bool,
}

// === impl Context ===

impl Context {
    /// Of the texts of a request.
    pub fn of<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut context = Self::default();
        for text in texts {
            let mut before: Option<String> = None;
            for token in tokens(text) {
                context.count += 1;
                // An address is looked up whole, and its parts may be named alone.
                if is_address(token.text) {
                    context.words.insert(token.text.to_lowercase());
                }
                for word in words(token.text) {
                    if let Some(before) = before.replace(word.clone()) {
                        context.pairs.insert((before, word.clone()));
                    }
                    context.words.insert(word);
                }
            }
        }
        context
    }

    /// How many words it has.
    #[must_use]
    pub const fn words(&self) -> usize {
        self.count
    }

    /// What of an answer stands in it.
    #[must_use]
    pub fn ground(&self, answer: &str) -> Grounding {
        let mut found = Grounding::default();
        for token in tokens(answer) {
            if let Some(is_grounded) = self.has(token) {
                found.claim(is_grounded);
            }
        }
        for quotation in quotations(answer) {
            let said: Vec<String> = words(quotation).collect();
            if said.len() >= QUOTED_WORDS_MIN {
                // Each word beside the next, as there.
                let mut neighbors = said.iter().zip(said.iter().skip(1));
                found.claim(
                    neighbors
                        .all(|(left, right)| self.pairs.contains(&(left.clone(), right.clone()))),
                );
            }
        }
        found
    }

    /// Whether a word stands in it; `None` where it is none to look up.
    fn has(&self, Token { text, begins }: Token<'_>) -> Option<bool> {
        if is_address(text) {
            return Some(self.words.contains(&text.to_lowercase()));
        }
        let has_digit = text.bytes().any(|byte| byte.is_ascii_digit());
        // A single digit counts or numbers something.
        if has_digit && text.len() > 1 && !is_item(text, begins) {
            return Some(words(text).all(|word| self.words.contains(&word)));
        }
        let is_name = text.chars().next().is_some_and(char::is_uppercase);
        let lower = text.to_lowercase();
        if !is_name || begins || NO_NAMES.binary_search(&lower.as_str()).is_ok() {
            return None;
        }
        Some(words(text).all(|word| self.words.contains(&word)))
    }
}

// === impl Grounding ===

impl Grounding {
    fn claim(&mut self, is_grounded: bool) {
        self.claims += 1;
        self.grounded += usize::from(is_grounded);
    }

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
    fn a_share_is_enough_and_nothing_to_look_up_is_all_of_it() {
        let of = |grounded, claims| Grounding { claims, grounded };
        assert!(of(0, 0).reaches(100));
        assert!(of(7, 10).reaches(70) && !of(6, 10).reaches(70));
        assert!(of(0, 10).reaches(0));
    }
}
