//! Identity numbers that begin with letters: each has a form and a check of its own.

use super::identity_number::dni_letter;
use crate::entity::Entity;
use crate::scan::Match;
use crate::text::{ALNUM, ALPHA, DASHES, DIGIT, Text, is};

/// What the nth character of a code has to be: `A` a letter, `9` a digit, `*` either.
type Form = &'static [u8];

/// Whether a code that has the form is one.
type Check = fn(&[u8]) -> bool;

const CODES: [(Form, Check); 4] = [
    (b"AA999999A", is_nino),
    (b"A9999999A", |code| is_nie(code) || is_nric(code)),
    (b"AAAAAA**A**A***A", is_codice_fiscale),
    (b"AAAA999999AAAAAA*9", is_curp),
];

/// The code that begins here. Single spaces and dashes may stand in a British one and before the last letter.
pub(super) fn find(text: &Text<'_>, at: usize) -> Option<Match> {
    // Words, which are most of what begins with a letter, have no digit among the first characters.
    let token_end = text.span(at, ALNUM, 20);
    let length = token_end - at;
    let has_digit = text.slice(at, token_end).iter().any(u8::is_ascii_digit);
    // A British one may be parted after its first two letters, a foreigner's in Spain after the first.
    let is_parted = (length <= 2 && (text.is(token_end + 1, DIGIT) || text.is(token_end, DIGIT)))
        || (length == 6 && text.has(token_end, b' ') && text.is(token_end + 1, DIGIT))
        || (matches!(length, 3 | 4) && text.has(token_end, b' ') && text.is(token_end + 1, ALPHA));
    if !has_digit && !is_parted {
        return None;
    }
    CODES.iter().find_map(|(form, check)| {
        let (code, end) = read(text, at, form)?;
        let code = code.get(..form.len())?;
        (check(code) && !text.is(end, ALNUM | DASHES)).then_some(Match {
            start: at,
            end,
            entity: Entity::NationalId,
        })
    })
}

/// Reads a code in capitals, without what stands between its characters.
fn read(text: &Text<'_>, at: usize, form: Form) -> Option<([u8; 20], usize)> {
    let mut code = [0; 20];
    let mut from = at;
    for (nth, (slot, kind)) in code.iter_mut().zip(form).enumerate() {
        if nth > 0 && matches!(text.get(from), Some(b' ' | b'-' | b'.')) {
            let may_part = match form.len() {
                9 if form.starts_with(b"AA") => true,
                16 => matches!(nth, 3 | 6 | 11 | 15) || nth % 4 == 0,
                length => nth == 1 || nth + 1 == length,
            };
            if !may_part {
                return None;
            }
            from += 1;
        }
        let class = match kind {
            b'A' => ALPHA,
            b'9' => DIGIT,
            _ => ALNUM,
        };
        *slot = text.get(from).filter(|byte| is(*byte, class))?.to_ascii_uppercase();
        from += 1;
    }
    Some((code, from))
}

/// The British National Insurance number has no check digit, but not every prefix.
fn is_nino(code: &[u8]) -> bool {
    let (Some(first), Some(second), Some(last)) = (code.first(), code.get(1), code.get(8)) else {
        return false;
    };
    let prefix = [*first, *second];
    !b"DFIQUV".contains(first)
        && !b"DFIOQUV".contains(second)
        && ![b"BG", b"GB", b"NK", b"KN", b"TN", b"NT", b"ZZ"].contains(&&prefix)
        && (b'A'..=b'D').contains(last)
}

/// The number of a foreigner in Spain.
fn is_nie(code: &[u8]) -> bool {
    let Some(first) =
        code.first().and_then(|first| first.checked_sub(b'X')).filter(|first| *first < 3)
    else {
        return false;
    };
    let digits = code.get(1..8).unwrap_or_default();
    let value = digits
        .iter()
        .fold(usize::from(first), |value, digit| value * 10 + usize::from(digit - b'0'));
    code.get(8).copied() == dni_letter(value)
}

/// The identity number of Singapore.
fn is_nric(code: &[u8]) -> bool {
    let digits = code.get(1..8).unwrap_or_default();
    let sum: usize = digits
        .iter()
        .zip([2, 7, 6, 5, 4, 3, 2])
        .map(|(digit, weight)| usize::from(digit - b'0') * weight)
        .sum();
    let letter = match code.first() {
        Some(b'S') => b"JZIHGFEDCBA".get(sum % 11),
        Some(b'T') => b"JZIHGFEDCBA".get((sum + 4) % 11),
        Some(b'F') => b"XWUTRQPNMLK".get(sum % 11),
        Some(b'G') => b"XWUTRQPNMLK".get((sum + 4) % 11),
        Some(_) | None => None,
    };
    letter.is_some() && letter == code.get(8)
}

/// The Italian tax code.
fn is_codice_fiscale(code: &[u8]) -> bool {
    const ODD: [usize; 26] = [
        1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24,
        23,
    ];
    let is_month = code.get(8).is_some_and(|month| b"ABCDEHLMPRST".contains(month));
    // Digits may be replaced by these letters where two persons would have the same code.
    let are_digits = [6, 7, 9, 10, 12, 13, 14].iter().all(|nth| {
        code.get(*nth).is_some_and(|byte| byte.is_ascii_digit() || b"LMNPQRSTUV".contains(byte))
    });
    let sum: usize = code
        .iter()
        .take(15)
        .enumerate()
        .map(|(nth, byte)| {
            let value = usize::from(if byte.is_ascii_digit() { byte - b'0' } else { byte - b'A' });
            if nth % 2 == 0 { ODD.get(value).copied().unwrap_or(0) } else { value }
        })
        .sum();
    let check = u8::try_from(sum % 26).ok().map(|check| b'A' + check);
    is_month && are_digits && check == code.get(15).copied()
}

/// The Mexican population registry's code.
fn is_curp(code: &[u8]) -> bool {
    const ORDER: &[u8] = b"0123456789ABCDEFGHIJKLMN#OPQRSTUVWXYZ";
    let value = |byte: &u8| ORDER.iter().position(|one| one == byte).unwrap_or(0);
    let sum: usize =
        code.iter().take(17).zip((2..=18).rev()).map(|(byte, weight)| value(byte) * weight).sum();
    let check = (10 - sum % 10) % 10;
    code.get(10).is_some_and(|sex| b"HMX".contains(sex))
        && code.get(17).is_some_and(|digit| usize::from(digit - b'0') == check)
}
