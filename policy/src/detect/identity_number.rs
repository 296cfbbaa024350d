//! Numbers by which states know persons, as far as they are digits alone. A number whose checksum or form many
//! others have too needs its word nearby.

use super::ids::{cpf, ean13, is_day, is_one_digit, luhn, mod_11_10, verhoeff, weighted};
use super::near::Words;
use super::number::{Number, Prefix, Separator};
use crate::entity::Entity;
use crate::scan::Match;
use crate::text::{ALNUM, Text};

type Rule = fn(&Prefix<'_>) -> bool;

/// What tells that a number of nine digits with dashes is no social security number.
pub(super) const OTHER: Words = Words {
    ascii: &[
        "invoice", "isbn", "issn", "lot", "order", "part", "product", "serial", "sku", "ticket",
        "tracking", "zip",
    ],
    other: &[],
};

/// What names a Spanish number.
const DNI: Words = Words { ascii: &["dni", "documento", "identidad", "nie", "nif"], other: &[] };

/// Rules for numbers that need a word, and the words.
pub(super) const NAMED: [(Rule, Words); 16] = [
    (is_ssn, Words { ascii: &["itin", "security", "social", "ssn", "ssns", "ssnum"], other: &[] }),
    (
        is_german,
        Words {
            ascii: &[
                "identifikationsnummer",
                "idnr",
                "steuer",
                "steuerid",
                "steueridentifikationsnummer",
                "steueridnr",
                "steuernummer",
                "tax",
                "taxid",
                "tin",
            ],
            other: &[],
        },
    ),
    // In one piece it needs no word; broken over two lines it does.
    (
        is_nir,
        Words {
            ascii: &["assure", "assuree", "insee", "nir", "secu", "securite", "vitale"],
            other: &[],
        },
    ),
    (is_pesel, Words { ascii: &["pesel"], other: &[] }),
    (|n| cpf(n.digits), Words { ascii: &["cpf"], other: &[] }),
    (
        |n| {
            n.digits.len() == 12
                && n.digits.first().is_some_and(|digit| *digit > 1)
                && verhoeff(n.digits)
        },
        Words {
            ascii: &["aadhaar", "aadhaarnumber", "aadhar", "adhaar", "adhar", "uid", "uidai"],
            other: &["आधार", "আধার"],
        },
    ),
    (
        |n| n.digits.len() == 9 && !matches!(n.digits.first(), Some(0 | 8)) && luhn(n.digits),
        Words { ascii: &["assurance", "insurance", "nas", "sin"], other: &[] },
    ),
    (
        |n| {
            n.digits.len() == 9
                && weighted(n.digits, &[1, 4, 3, 7, 5, 8, 6, 9, 10]).is_multiple_of(11)
        },
        Words { ascii: &["tax", "tfn"], other: &[] },
    ),
    (
        is_bsn,
        Words {
            ascii: &["bsn", "burgerservice", "burgerservicenummer", "sofi", "sofinummer"],
            other: &[],
        },
    ),
    (is_rrn, Words { ascii: &["rrn"], other: &["주민"] }),
    (is_cpr, Words { ascii: &["cpr", "personnummer"], other: &[] }),
    (is_norwegian, Words { ascii: &["fnr", "fodselsnummer", "personnummer"], other: &[] }),
    (is_my_number, Words { ascii: &["mynumber"], other: &["マイナンバー", "個人番号"] }),
    (is_turkish, Words { ascii: &["kimlik", "tc", "tckn"], other: &[] }),
    (
        |n| n.digits.len() == 13 && luhn(n.digits) && is_day(n.value(2, 4), n.value(4, 6)),
        Words { ascii: &["africa", "african", "id", "identity", "rsa"], other: &[] },
    ),
    (|n| n.digits.len() == 9 && is_nif(n), Words { ascii: &["contribuinte", "nif"], other: &[] }),
];

/// The number that can be nothing else: by its form, and by a checksum that few others have.
pub(super) fn find_sure(text: &Text<'_>, number: &Number) -> Option<Match> {
    let lettered = letter_after_digits(text, number).or_else(|| corsican(text, number));
    if let Some(end) = lettered {
        return Some(of(number.start, end));
    }
    let sure = |prefix: &Prefix<'_>| match prefix.digits.len() {
        9 => {
            prefix.is_grouped(&[3, 2, 4])
                && prefix.separator() == Some(Separator::Dash)
                && is_ssn(prefix)
                && !OTHER.are_before(text, prefix.start, 24)
        }
        10 => prefix.is_grouped(&[6, 4]) && is_dashed(prefix) && is_swedish(prefix),
        11 => {
            (prefix.is_grouped(&[2, 3, 3, 3]) && is_german(prefix))
                || (prefix.is_grouped(&[3, 3, 3, 2]) && cpf(prefix.digits))
                || (prefix.is_grouped(&[2, 2, 2, 3, 2]) && is_belgian(prefix))
        }
        12 => {
            prefix.is_grouped(&[8, 4])
                && is_dashed(prefix)
                && luhn_of_ten(prefix)
                && !OTHER.are_before(text, prefix.start, 24)
        }
        13 => {
            (prefix.is_grouped(&[6, 7])
                && is_dashed(prefix)
                && is_rrn(prefix)
                && has_rrn_check(prefix))
                || (prefix.value(0, 3) == 756
                    && ean13(prefix.digits)
                    && !prefix.is_grouped(&[1, 6, 6]))
        }
        15 => is_nir(prefix),
        18 => is_chinese(prefix),
        _ => false,
    };
    let one = number.prefixes(text).find(sure)?;
    Some(of(one.start, one.end))
}

/// The number that its word, nearby, makes one.
pub(super) fn find_named(text: &Text<'_>, number: &Number) -> Option<Match> {
    let named = |prefix: &Prefix<'_>| {
        (9..=15).contains(&prefix.digits.len())
            && (prefix.groups.len() <= 7 || prefix.is_singles())
            && NAMED.iter().any(|(rule, words)| {
                rule(prefix) && words.are_above(text, prefix.start, prefix.end)
            })
    };
    let one = number.prefixes(text).find(named)?;
    Some(of(one.start, one.end))
}

fn of(start: usize, end: usize) -> Match {
    Match { start, end, entity: Entity::NationalId }
}

fn is_dashed(n: &Prefix<'_>) -> bool {
    n.separator() == Some(Separator::Dash)
}

/// Numbers that end with a letter: the Spanish DNI, the Chinese number with X, the Finnish one.
fn letter_after_digits(text: &Text<'_>, number: &Number) -> Option<usize> {
    let first = number.first_group()?;
    let is_end = |at: usize| !text.is(at, ALNUM) && !text.has(at, b'_');
    if number.digit_count() == 8 {
        let is_form = number.is_whole(&[8]) || number.is_whole(&[2, 3, 3]);
        let (end, value) = (number.end()?, number.prefix_value(8)?);
        let at = if matches!(text.get(end), Some(b'-' | b' ')) { end + 1 } else { end };
        let letter = text.get(at)?.to_ascii_uppercase();
        let is_right = dni_letter(usize::try_from(value).ok()?) == Some(letter) && is_end(at + 1);
        // A letter that stands apart begins the next word.
        let is_near = !text.has(end, b' ') || DNI.are_before(text, number.start, 32);
        return (is_form && is_right && is_near).then_some(at + 1);
    }
    if number.digit_count() == 17 && number.is_whole(&[6, 8, 3]) {
        let end = number.end()?;
        let is_right = matches!(text.get(end), Some(b'X' | b'x')) && is_end(end + 1);
        return (is_right && chinese_check(number.digits()) == 10).then_some(end + 1);
    }
    if !matches!(first.end - first.start, 6 | 17) {
        return None;
    }
    let digits: Vec<u8> =
        text.slice(first.start, first.end).iter().map(|byte| byte - b'0').collect();
    match digits.len() {
        17 => {
            let is_x = matches!(text.get(first.end), Some(b'X' | b'x'));
            (is_x && chinese_check(&digits) == 10 && is_end(first.end + 1)).then_some(first.end + 1)
        }
        6 => {
            let born =
                (digits.get(2)? * 10 + digits.get(3)?, digits.first()? * 10 + digits.get(1)?);
            if !is_day(u64::from(born.0), u64::from(born.1))
                || !matches!(text.get(first.end), Some(b'-' | b'+' | b'A' | b'a'))
            {
                return None;
            }
            let mut value = digits.iter().fold(0, |value, digit| value * 10 + usize::from(*digit));
            for nth in 1..=3 {
                let digit = text.get(first.end + nth).filter(u8::is_ascii_digit)?;
                value = value * 10 + usize::from(digit - b'0');
            }
            let letter = text.get(first.end + 4)?.to_ascii_uppercase();
            let right = b"0123456789ABCDEFHJKLMNPRSTUVWXY".get(value % 31);
            (right == Some(&letter) && is_end(first.end + 5)).then_some(first.end + 5)
        }
        _ => None,
    }
}

/// The letter that belongs to the digits of a Spanish DNI or NIE.
pub(super) fn dni_letter(value: usize) -> Option<u8> {
    b"TRWAGMYFPDXBNJZSQVHLCKE".get(value % 23).copied()
}

/// Where a French number has been given in Corsica, its department has a letter: `2A` counts as 19, `2B` as 18.
fn corsican(text: &Text<'_>, number: &Number) -> Option<usize> {
    let head = number.prefix_value(6)?;
    let department = match (head % 10, text.get(number.end()?)) {
        (2, Some(b'A' | b'a')) => 19,
        (2, Some(b'B' | b'b')) => 18,
        _ => return None,
    };
    let mut value = head / 10 * 100 + department;
    let mut at = number.end()? + 1;
    let mut check = 0;
    for nth in 0..8 {
        if matches!(text.get(at), Some(b' ' | b'.' | b'-')) {
            at += 1;
        }
        let digit = u64::from(text.get(at).filter(u8::is_ascii_digit)? - b'0');
        if nth < 6 {
            value = value * 10 + digit
        } else {
            check = check * 10 + digit
        }
        at += 1;
    }
    (97 - value % 97 == check && !text.is(at, ALNUM)).then_some(at)
}

fn is_german(n: &Prefix<'_>) -> bool {
    n.digits.len() == 11 && n.digits.first() != Some(&0) && mod_11_10(n.digits) && repeats_one(n)
}

fn is_ssn(n: &Prefix<'_>) -> bool {
    let (area, group, serial) = (n.value(0, 3), n.value(3, 5), n.value(5, 9));
    let is_form = n.groups.len() == 1 || n.is_grouped(&[3, 2, 4]) || n.is_singles();
    let is_itin = area >= 900 && (50..=99).contains(&group) && n.groups.len() == 3;
    n.digits.len() == 9
        && is_form
        && group != 0
        && serial != 0
        && ((area != 0 && area != 666 && area < 900) || is_itin)
}

/// The first ten digits of a German tax number have one digit twice or three times.
fn repeats_one(n: &Prefix<'_>) -> bool {
    let ten = n.digits.get(..10).unwrap_or_default();
    let count = |digit: u8| ten.iter().filter(|one| **one == digit).count();
    (0..10).filter(|digit| count(*digit) > 1).count() == 1 && (0..10).all(|digit| count(digit) <= 3)
}

fn is_pesel(n: &Prefix<'_>) -> bool {
    let month = n.value(2, 4) % 20;
    n.digits.len() == 11
        && is_day(month, n.value(4, 6))
        && weighted(n.digits, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1]).is_multiple_of(10)
}

fn is_bsn(n: &Prefix<'_>) -> bool {
    let (body, check) = (weighted(n.digits, &[9, 8, 7, 6, 5, 4, 3, 2]), n.value(8, 9));
    n.digits.len() == 9 && !is_one_digit(n.digits) && u64::from(body % 11) == check
}

/// Since October 2020 Korean numbers have no check digit.
fn is_rrn(n: &Prefix<'_>) -> bool {
    let is_new = matches!(n.value(6, 7), 3 | 4 | 7 | 8) && n.value(0, 4) >= 2010;
    n.digits.len() == 13
        && is_day(n.value(2, 4), n.value(4, 6))
        && (1..=8).contains(&n.value(6, 7))
        && (is_new || has_rrn_check(n))
}

fn has_rrn_check(n: &Prefix<'_>) -> bool {
    let sum = weighted(n.digits, &[2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5]);
    u64::from((11 - sum % 11) % 10) == n.value(12, 13)
}

fn is_cpr(n: &Prefix<'_>) -> bool {
    n.digits.len() == 10 && n.length(0) >= 6 && is_day(n.value(2, 4), n.value(0, 2))
}

fn is_norwegian(n: &Prefix<'_>) -> bool {
    let first = weighted(n.digits, &[3, 7, 6, 1, 8, 9, 4, 5, 2, 1]);
    let second = weighted(n.digits, &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1]);
    n.digits.len() == 11 && first.is_multiple_of(11) && second.is_multiple_of(11)
}

fn is_my_number(n: &Prefix<'_>) -> bool {
    let sum = weighted(n.digits, &[6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2]);
    let check = if sum % 11 <= 1 { 0 } else { 11 - sum % 11 };
    n.digits.len() == 12 && u64::from(check) == n.value(11, 12)
}

fn is_turkish(n: &Prefix<'_>) -> bool {
    let odd = weighted(n.digits, &[1, 0, 1, 0, 1, 0, 1, 0, 1]);
    let even = weighted(n.digits, &[0, 1, 0, 1, 0, 1, 0, 1]);
    let all = weighted(n.digits, &[1; 10]);
    n.digits.len() == 11
        && n.digits.first() != Some(&0)
        && u64::from((odd * 7 + 90 - even) % 10) == n.value(9, 10)
        && u64::from(all % 10) == n.value(10, 11)
}

fn is_nif(n: &Prefix<'_>) -> bool {
    let rest = weighted(n.digits, &[9, 8, 7, 6, 5, 4, 3, 2]) % 11;
    let check = if rest <= 1 { 0 } else { 11 - rest };
    u64::from(check) == n.value(8, 9) && matches!(n.digits.first(), Some(1..=3 | 5..=6 | 8..=9))
}

fn is_swedish(n: &Prefix<'_>) -> bool {
    luhn(n.digits) && is_day(n.value(2, 4), n.value(4, 6))
}

fn luhn_of_ten(n: &Prefix<'_>) -> bool {
    luhn(n.digits.get(2..).unwrap_or_default())
        && matches!(n.value(0, 2), 19 | 20)
        && is_day(n.value(4, 6), n.value(6, 8))
}

fn is_belgian(n: &Prefix<'_>) -> bool {
    let (body, check) = (n.value(0, 9), n.value(9, 11));
    let is_check = 97 - body % 97 == check || 97 - (2_000_000_000 + body) % 97 == check;
    is_check && is_day(n.value(2, 4), n.value(4, 6))
}

fn is_nir(n: &Prefix<'_>) -> bool {
    matches!(n.value(0, 1), 1 | 2)
        && matches!(n.value(3, 5), 1..=12 | 20..=42 | 50..=99)
        && 97 - n.value(0, 13) % 97 == n.value(13, 15)
}

fn is_chinese(n: &Prefix<'_>) -> bool {
    let body = n.digits.get(..17).unwrap_or_default();
    n.groups.len() <= 4 && u64::from(chinese_check(body)) == n.value(17, 18)
}

/// The check digit of a Chinese number, 10 for X; 11 if the date of birth cannot be.
fn chinese_check(body: &[u8]) -> u32 {
    let value = |from: usize, until: usize| {
        let part = body.get(from..until).unwrap_or_default();
        part.iter().fold(0, |value, digit| value * 10 + u64::from(*digit))
    };
    if !(1900..2100).contains(&value(6, 10)) || !is_day(value(10, 12), value(12, 14)) {
        return 11;
    }
    let sum = weighted(body, &[7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]);
    (12 - sum % 11) % 11
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_written_as_the_fold_leaves_them() {
        for (_, words) in &NAMED {
            super::super::near::assert_written_as_folded(words);
        }
        for words in [
            &OTHER,
            &super::super::card::CARD,
            &super::super::card::OTHER,
            &super::super::address::ADDRESS,
            &super::super::address::VERSION,
            &super::super::phone::PHONE,
            &super::super::phone::IDS,
            &super::super::phone::OTHER,
        ] {
            super::super::near::assert_written_as_folded(words);
        }
    }
}
