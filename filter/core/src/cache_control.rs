//! What a client's `Cache-Control` asks for (RFC 9111, section 5.2.1), and the `Pragma` of older clients. What
//! a cache must be told is read on the safe side: a word that cannot be read asks for the fresher answer.

use kt_contract::outcome::Reason;
use kt_contract::wire::admit::Control;

use crate::head::{Head, trimmed};

/// The largest age that is told apart (RFC 9111, section 1.2.2).
const AGE_S_MAX: u64 = 1 << 31;

/// What a client wants of the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Why the cache must not be used, if it must not.
    pub bypass: Option<Reason>,
    /// What an entry must be like.
    pub control: Control,
}

/// The members of a list: separated by commas, but for those within quotes.
struct Members<'a> {
    rest: Option<&'a [u8]>,
    /// No quote so far was never closed.
    has_quotes: bool,
}

// === impl Wish ===

impl Wish {
    /// Reads it from a request's head. Directives that are not ours to honor are ignored.
    #[must_use]
    pub fn read(head: Head<'_>) -> Self {
        let mut wish = Self::default();
        let mut is_present = false;
        for value in head.all("cache-control") {
            is_present = true;
            Members::of(value).for_each(|member| wish.add(member));
        }
        if !is_present && head.all("pragma").flat_map(Members::of).any(is_no_cache) {
            wish.bypass = Some(Reason::ClientNoCache);
        }
        wish
    }

    fn add(&mut self, member: &[u8]) {
        let (name, argument) = directive(member);
        if is_no_cache(member) || name.eq_ignore_ascii_case(b"no-store") {
            self.bypass = Some(Reason::ClientNoCache);
        } else if name.eq_ignore_ascii_case(b"only-if-cached") {
            self.control.only_if_cached = true;
        } else if name.eq_ignore_ascii_case(b"max-age") {
            let age_s = argument.map_or(0, seconds);
            // Of several, the strictest.
            self.control.max_age_s =
                Some(self.control.max_age_s.map_or(age_s, |other| other.min(age_s)));
        }
    }
}

fn is_no_cache(member: &[u8]) -> bool {
    directive(member).0.eq_ignore_ascii_case(b"no-cache")
}

/// The name, and what follows its `=`.
fn directive(member: &[u8]) -> (&[u8], Option<&[u8]>) {
    match member.iter().position(|byte| *byte == b'=').and_then(|at| member.split_at_checked(at)) {
        None => (member, None),
        Some((name, argument)) => (trimmed(name), argument.get(1..)),
    }
}

/// A number of seconds, which a sender may have quoted. What is none counts as no time at all.
fn seconds(argument: &[u8]) -> u64 {
    let inner = argument.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    let digits = inner.unwrap_or(argument);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return 0;
    }
    let value = digits.iter().fold(0_u64, |value, digit| {
        value.saturating_mul(10).saturating_add(u64::from(digit.saturating_sub(b'0')))
    });
    value.min(AGE_S_MAX)
}

// === impl Members ===

impl<'a> Members<'a> {
    const fn of(list: &'a [u8]) -> Self {
        Self { rest: Some(list), has_quotes: true }
    }

    /// Where the first member ends. A quote that is never closed is none: nothing hides behind it. Neither is any
    /// that follows, so the list is searched to its end only once, however many there are: who reads on behind
    /// either reads the same.
    fn end(&mut self, list: &[u8]) -> Option<usize> {
        let mut at = 0_usize;
        loop {
            match list.get(at)? {
                b',' => return Some(at),
                b'"' if self.has_quotes => match quote_end(list, at) {
                    Some(end) => at = end,
                    None => self.has_quotes = false,
                },
                _ => {}
            }
            at = at.saturating_add(1);
        }
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        let end = self.end(rest);
        self.rest = end.and_then(|end| rest.get(end.saturating_add(1)..));
        rest.get(..end.unwrap_or(rest.len())).map(trimmed)
    }
}

/// Where the quote that opens at `at` closes.
fn quote_end(list: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at = at.saturating_add(1);
        match list.get(at)? {
            b'"' => return Some(at),
            b'\\' => at = at.saturating_add(1),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    fn read(fields: &[(&str, &str)]) -> Wish {
        let fields: Vec<(&[u8], &[u8])> =
            fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        Wish::read(Head::new(&fields))
    }

    /// One line: whether the cache is left alone, the age, and whether no call is to be made.
    fn line(value: &str) -> (bool, Option<u64>, bool) {
        let Wish { bypass, control } = read(&[("cache-control", value)]);
        (bypass.is_some(), control.max_age_s, control.only_if_cached)
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn directives_are_read_as_the_standard_spells_them() {
        for (value, expected) in [
            ("", (false, None, false)),
            ("no-cache", (true, None, false)),
            ("No-Store", (true, None, false)),
            ("max-age=60", (false, Some(60), false)),
            ("MAX-AGE=\"60\"", (false, Some(60), false)),
            (" only-if-cached ,\tmax-age=0 ", (false, Some(0), true)),
            (",, no-cache ,", (true, None, false)),
            ("max-age=60, max-age=5, max-age=7", (false, Some(5), false)),
            ("max-age=99999999999999999999999", (false, Some(AGE_S_MAX), false)),
        ] {
            assert_eq!(line(value), expected, "{value}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn what_is_not_known_is_ignored() {
        for value in [
            "no-transform, min-fresh=5, max-stale=3, stale-if-error=9",
            "private=\"no-cache, max-age=1\", x=\"a\\\", no-store\"",
            "no-cachex, xmax-age=1, max-age-s=1, =no-cache, \"no-cache\"",
        ] {
            assert_eq!(line(value), (false, None, false), "{value}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn what_cannot_be_read_asks_for_the_fresher_answer() {
        for value in [
            "max-age",
            "max-age=",
            "max-age=-1",
            "max-age=1.5",
            "max-age=x",
            "max-age= 60",
            "max-age=\"60",
            "max-age=60\"",
            "max-age=\"\"",
            "max-age=٣",
            "max-age=+1",
        ] {
            assert_eq!(line(value), (false, Some(0), false), "{value}");
        }
        assert_eq!(line("x=\"a, no-cache"), (true, None, false), "a quote that is never closed");
        assert_eq!(line("no-cache=\"set-cookie\""), (true, None, false), "an argument");
        assert_eq!(line("only-if-cached=0"), (false, None, true), "an argument");
        assert_eq!(line("max-age =60"), (false, Some(60), false));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn every_line_counts() {
        let wish = read(&[
            ("cache-control", "max-age=9"),
            ("x-other", "no-store"),
            ("cache-control", "only-if-cached"),
        ]);
        let control = Control { max_age_s: Some(9), only_if_cached: true };
        assert_eq!(wish, Wish { bypass: None, control });
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn pragma_counts_only_where_there_is_no_cache_control() {
        for (fields, bypass) in [
            (&[("pragma", "No-Cache")][..], true),
            (&[("pragma", "x=\"no-cache\", no-cache")], true),
            (&[("pragma", "x=\"no-cache\"")], false),
            (&[("pragma", "no-store")], false),
            (&[("pragma", "no-cache"), ("cache-control", "max-age=60")], false),
            (&[("cache-control", ""), ("pragma", "no-cache")], false),
        ] {
            assert_eq!(read(fields).bypass.is_some(), bypass, "{fields:?}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn any_bytes_are_read_to_their_end() {
        let fields: [(&[u8], &[u8]); 3] = [
            (b"cache-control", b"\xff\"\\"),
            (b"cache-control", b"\"\\\",no-cache"),
            (b"cache-control", b"\"\"\"=,=\","),
        ];
        assert!(Wish::read(Head::new(&fields)).bypass.is_some());
    }

    /// The square of its length would not be read within a day.
    #[wasm_bindgen_test(unsupported = test)]
    fn a_long_line_of_open_quotes_is_searched_once() {
        let open = "\\\"".repeat(2 << 20);
        assert_eq!(line(&format!("\"{open}, max-age=5")), (false, Some(5), false));
        assert_eq!(line(&format!("\"{open}")), (false, None, false));
    }
}
