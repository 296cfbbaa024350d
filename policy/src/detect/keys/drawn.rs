//! Whether characters look drawn.

use crate::text::{ALNUM, BASE64_MARKS, DASHES, DIGIT, HEX, LOWER, UPPER, is};

/// What is mixed and shorter is a word.
const MIXED_BYTES_MIN: usize = 20;
/// What has letters in one case only has to be so long.
const PLAIN_BYTES_MIN: usize = 24;

/// Whether there are capitals, small letters and digits.
pub(super) fn is_mixed(part: &[u8]) -> bool {
    part.iter().any(u8::is_ascii_digit)
        && part.iter().any(u8::is_ascii_lowercase)
        && part.iter().any(u8::is_ascii_uppercase)
}

/// Whether these characters look drawn: many different ones, and no word that says otherwise.
pub(in super::super) fn is_random(rest: &[u8]) -> bool {
    let has_digit = rest.iter().any(u8::is_ascii_digit);
    // Letters alone, in one case, with dashes or not, are a name.
    let has_cases =
        rest.iter().any(u8::is_ascii_lowercase) && rest.iter().any(u8::is_ascii_uppercase);
    is_of_many(rest) && (has_digit || (has_cases && rest.len() >= 30))
}

/// Whether there are eight different characters, and no word that says that this is an example.
fn is_of_many(rest: &[u8]) -> bool {
    let seen = rest.iter().fold(0_u128, |seen, byte| seen | 1 << (byte & 0x7F));
    let is_example = rest.windows(7).any(|part| part.eq_ignore_ascii_case(b"example"));
    seen.count_ones() >= 8 && !is_example
}

/// Whether nobody has written this: capitals, small letters and digits follow each other as they do not in names of
/// programs, which are small letters with a capital or a number here and there.
pub(in super::super) fn is_scrambled(value: &[u8]) -> bool {
    let count = |class: u8| value.iter().filter(|byte| is(**byte, class)).count();
    let is_of_key = value.iter().all(|byte| is(*byte, ALNUM | DASHES | BASE64_MARKS));
    value.len() >= MIXED_BYTES_MIN
        && is_of_key
        && count(LOWER) >= 3
        && count(UPPER) >= 3
        && count(DIGIT) >= 2
        && odd_pairs(value) * 4 >= value.len()
        && is_of_many(value)
}

/// The same, or a long run of letters in one case among which digits are strewn, as the digits of base 16 are.
pub(in super::super) fn is_strewn(value: &[u8]) -> bool {
    let digits = value.iter().filter(|byte| byte.is_ascii_digit()).count();
    let is_run = value.iter().all(|byte| is(*byte, ALNUM));
    let is_plain = value.len() >= PLAIN_BYTES_MIN
        && is_run
        && digits * 8 >= value.len()
        && digits < value.len()
        && changes(value) * 5 >= value.len()
        && is_of_many(value);
    is_plain || is_scrambled(value)
}

/// Whether this is a number of base 16 of so many digits and more.
pub(super) fn is_hex(value: &[u8], digits_min: usize) -> bool {
    value.len() >= digits_min && value.iter().all(|byte| is(*byte, HEX)) && is_strewn(value)
}

/// How often digits and letters change places.
fn changes(value: &[u8]) -> usize {
    let is_change =
        |pair: &&[u8]| matches!(pair, [one, next] if one.is_ascii_digit() != next.is_ascii_digit());
    value.windows(2).filter(is_change).count()
}

/// How many letters and digits are followed by one that does not follow them within a word, or where one begins.
fn odd_pairs(value: &[u8]) -> usize {
    let is_odd = |pair: &&[u8]| {
        matches!(pair, [one, next] if is(*one, ALNUM)
            && is(*next, ALNUM)
            && ((is(*one, UPPER) && !is(*next, LOWER)) || is(*one, DIGIT) || is(*next, DIGIT)))
    };
    value.windows(2).filter(is_odd).count()
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    #[wasm_bindgen_test(unsupported = test)]
    fn names_that_people_write_are_not_scrambled() {
        for name in [
            "MyVeryLongClassName2Handler",
            "getUserById2AndCloseSession1",
            "release-2024-11-30-Candidate3",
            "SomeComponentV2Props17Extra",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaA1B2C",
        ] {
            assert!(!is_scrambled(name.as_bytes()), "{name}");
        }
        assert!(is_scrambled(b"uhGslAE1CXLFE8rEHmELGjGk"));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn digits_are_strewn_among_letters_only_where_they_are_many() {
        assert!(is_strewn(b"4dc90792f3246ee72fd40663e78da107"));
        for name in [
            "translationmessagekey1234",
            "backup20241130databaseprimary",
            "1234567890123456789012345",
        ] {
            assert!(!is_strewn(name.as_bytes()), "{name}");
        }
    }
}
