//! What detectors need not be asked about: words and small numbers behind which stands what shows that they are nothing
//! else. Most of a text is passed over here, so nothing here may look further than two bytes behind a word.
//!
//! Each rule leaves out what some detector begins with: what an address may go on with (`@`, `(at)`), a key (digits,
//! dashes), an account or identity number (digits, spaces before digits), a card in groups, and the names of secrets, which
//! a sign, a quote, `is` or a field `value` may follow. A property test of `scan` holds it against the detectors alone.

use super::assigned::may_end_name;
use crate::text::{ALPHA, DIGIT, HEX, LOCAL, Text, UPPER, is};

/// A longer word is looked at closely.
const WORD_BYTES_MAX: usize = 24;
/// More digits beside each other are looked at closely.
const GROUP_DIGITS_MAX: usize = 4;
/// The longest number with a point in it: telephones have seven digits.
const DECIMAL_BYTES_MAX: usize = 7;

/// The end of the word or number that begins here, if nothing is to be looked for in it.
#[inline]
pub(crate) fn end(text: &Text<'_>, at: usize) -> Option<usize> {
    let first = text.get(at)?;
    if is(first, ALPHA) {
        word_end(text, at)
    } else if is(first, DIGIT) {
        number_end(text, at)
    } else {
        None
    }
}

#[inline]
fn word_end(text: &Text<'_>, at: usize) -> Option<usize> {
    let end = text.span(at, ALPHA, WORD_BYTES_MAX + 1);
    let length = end - at;
    if length > WORD_BYTES_MAX || text.before(at) == Some(b'-') {
        return None;
    }
    // An Italian tax code may begin with three letters that stand apart, or four.
    if matches!(length, 3 | 4) && text.span(at, UPPER, 4) == end {
        return None;
    }
    let next = text.get(end)?;
    let is_plain = match next {
        b' ' => is_before_space(text, at, end),
        b';' | b'!' | b'?' | b')' | b'}' => true,
        b'<' => length <= 2 || is_no_name(text, at, end),
        // `{name: password, value: …}`, and where YAML says it on two lines.
        b',' => length == 1 || !may_end_name(text, end),
        // The first line of a key may end here: `AIza`, `AKIA`.
        b'\n' => !text.is(at + 1, UPPER) && is_no_name(text, at, end),
        b'.' => length >= 3 && matches!(text.get(end + 1)?, b' ' | b'\n'),
        // Of an address, `(at)`.
        // And of a call that is given a secret.
        b'(' | b'[' | b'{' => {
            let may_go_on = matches!(text.get(end + 1)?, b'a' | b'A');
            !may_go_on && (length == 1 || is_no_name(text, at, end))
        }
        b'"' | b'`' | b']' | b'=' => length == 1 || is_no_name(text, at, end),
        b'\'' | b'>' => is_no_name(text, at, end),
        b':' => {
            let is_group = length <= 4 && text.span(at, HEX, 4) == end;
            text.get(end + 1)? != b'/' && !is_group && (length == 1 || is_no_name(text, at, end))
        }
        _ => false,
    };
    is_plain.then_some(end)
}

fn is_before_space(text: &Text<'_>, at: usize, end: usize) -> bool {
    let (length, Some(next)) = (end - at, text.get(end + 1)) else { return false };
    // `Bearer` and `ApiKey` before a token.
    let may_be_scheme = || {
        matches!(length, 5..=7)
            && [&b"be"[..], b"ba", b"ap"].iter().any(|head| text.has_word(at, head))
    };
    if is(next, ALPHA) {
        // `password is`, `password value`, `PASSWORD FOR`; and letters of which each stands alone may be a country's.
        let is_given =
            (length > 1 && may_end_name(text, end)) || is_identified_by(text, at, length);
        let is_apart = length == 1 && !text.is(end + 2, ALPHA);
        return !is_given && !is_apart && !may_be_scheme();
    }
    if is(next, DIGIT) {
        let may_be_named = may_be_scheme() || may_end_name(text, end);
        return length > 3 && length != 6 && !may_be_named;
    }
    !matches!(next, b'@' | b'(' | b'[' | b'{') && is_no_name(text, at, end) && !may_be_scheme()
}

/// Whether this is the `BY` of `IDENTIFIED BY`, as far as it can be told without looking far.
fn is_identified_by(text: &Text<'_>, at: usize, length: usize) -> bool {
    length == 2
        && text.has_word(at, b"by")
        && matches!(text.before(at.saturating_sub(1)), Some(b'd' | b'D'))
}

/// Whether nothing secret is given to this word.
fn is_no_name(text: &Text<'_>, at: usize, end: usize) -> bool {
    end - at >= 3 && !may_end_name(text, end)
}

/// Of a number with so few digits, with a point in it or none, the shortest that is looked for has more.
fn number_end(text: &Text<'_>, at: usize) -> Option<usize> {
    let short = |from: usize| {
        let end = text.span(from, DIGIT, GROUP_DIGITS_MAX + 1);
        (end <= from + GROUP_DIGITS_MAX).then_some(end)
    };
    let mut end = short(at)?;
    if text.has(end, b'.') && text.is(end + 1, DIGIT) {
        end = short(end + 1).filter(|end| end - at <= DECIMAL_BYTES_MAX)?;
    }
    let is_plain = !text.is_before(at, LOCAL)
        && match text.get(end)? {
            b',' | b';' | b']' | b'}' | b'"' | b'<' | b'!' | b'?' => true,
            b' ' => is(text.get(end + 1)?, ALPHA),
            // The first four of a card may be parted from the next by more than one sign.
            b'.' => end - at != 4 && matches!(text.get(end + 1)?, b' ' | b'\n'),
            _ => false,
        };
    is_plain.then_some(end)
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    fn is_plain(text: &str) -> bool {
        end(&Text::new(text, &[]), 0).is_some()
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn words_of_prose_programs_and_json_are_passed_over() {
        for text in [
            "committee met",
            "on Tuesday",
            "a man",
            "year. N",
            "that!",
            "name\":",
            "main()",
            "list: x",
        ] {
            assert!(is_plain(text), "{text}");
        }
        for text in [
            "12, 3",
            "3]",
            "7 days",
            "2. First",
            "Tuesday 12,",
            "list = 1",
            "1998 to",
            "12.50,",
            "x\":",
        ] {
            assert!(is_plain(text), "{text}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn what_something_may_begin_with_is_not() {
        for text in [
            "password: x",
            "password is x",
            "jane@x",
            "jane (at) x",
            "jane(at)x",
            "http://x",
            "dead:beef",
            "Bearer x",
            "D E 8",
            "DE 8",
            "RSS MRA",
            "AKIA\n",
            "word",
            "word ",
            "12 34",
            "12",
            "12345,",
            "12.3.4,",
            "X. 1",
            "4111. 1111",
            "password,",
            "password\n",
            "password value",
            "D>E",
            "12-",
            "12.3",
            "sk-",
            "key_a",
        ] {
            assert!(!is_plain(text), "{text}");
        }
    }
}
