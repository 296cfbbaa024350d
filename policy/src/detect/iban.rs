//! International bank account numbers: a country, the length that it uses, and the checksum of ISO 7064.

use crate::entity::Entity;
use crate::scan::Match;
use crate::text::{ALNUM, ALPHA, DASHES, DIGIT, Text, is};

/// The registry of SWIFT: countries and lengths. Sorted.
const COUNTRIES: [(&[u8; 2], usize); 89] = [
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BH", 22),
    (b"BI", 27),
    (b"BR", 29),
    (b"BY", 28),
    (b"CH", 21),
    (b"CR", 22),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DJ", 27),
    (b"DK", 18),
    (b"DO", 28),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FK", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GR", 27),
    (b"GT", 28),
    (b"HN", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MK", 19),
    (b"MN", 20),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"NI", 28),
    (b"NL", 18),
    (b"NO", 15),
    (b"OM", 23),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"RU", 33),
    (b"SA", 24),
    (b"SC", 31),
    (b"SD", 18),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"SO", 23),
    (b"ST", 25),
    (b"SV", 28),
    (b"TL", 23),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
    (b"VA", 22),
    (b"VG", 24),
    (b"XK", 20),
    (b"YE", 30),
];

/// Countries whose account numbers have no letter but those of the country.
#[rustfmt::skip]
const DIGITS_ALONE: [&[u8; 2]; 40] = [
    b"AE", b"AT", b"BA", b"BE", b"BI", b"CR", b"CZ", b"DE", b"DJ", b"DK", b"EE", b"EG", b"ES", b"FI", b"FO", b"GL", b"HR", b"HU",
    b"IL", b"IS", b"LT", b"LY", b"ME", b"MN", b"MR", b"NO", b"OM", b"PL", b"PT", b"RS", b"SD", b"SE", b"SI", b"SK", b"SO", b"ST",
    b"TL", b"TN", b"VA", b"XK",
];

/// So much may stand between two characters: the end of a line and an indent, a space with marks of emphasis around it.
const SEPARATOR_BYTES_MAX: usize = 5;

/// The account number that begins here, in one piece or in groups.
pub(super) fn find(text: &Text<'_>, at: usize) -> Option<Match> {
    let mut country = [0; 2];
    // The country may stand apart as well, where every character does.
    let second = if text.is(at + 1, ALPHA) { at + 1 } else { after_separator(text, at + 1) };
    for (slot, at) in country.iter_mut().zip([at, second]) {
        *slot = text.get(at).filter(|byte| is(*byte, ALPHA))?.to_ascii_uppercase();
    }
    if !text.is(after_separator(text, second + 1), DIGIT) {
        return None;
    }
    let nth = COUNTRIES.binary_search_by_key(&&country, |(code, _)| *code).ok()?;
    let (_, length) = COUNTRIES.get(nth)?;
    let mut remainder = Remainder(0);
    let mut check = [0; 2];
    let (mut next, mut taken, mut digits, mut in_fours) = (second + 1, 2, 0, true);
    while taken < *length {
        let start = after_separator(text, next);
        in_fours &= start == next || taken % 4 == 0;
        next = start;
        let byte = text.get(next).filter(|byte| is(*byte, ALNUM))?;
        match check.get_mut(taken - 2) {
            Some(slot) if is(byte, DIGIT) => *slot = byte,
            Some(_) => return None,
            None => {
                remainder = remainder.then(byte);
                digits += usize::from(is(byte, DIGIT));
            }
        }
        next += 1;
        taken += 1;
    }
    let whole = country.into_iter().chain(check).fold(remainder, Remainder::then);
    // Letters in groups of other lengths are words behind a number: one sentence of a hundred has the checksum.
    let is_number = if DIGITS_ALONE.contains(&&country) {
        digits == length - 4
    } else {
        in_fours || digits * 2 >= length - 4
    };
    // A dash with nothing behind it is emphasis: `_DE82 …_`.
    let is_within = text.is(next, ALNUM) || (text.is(next, DASHES) && text.is(next + 1, ALNUM));
    (whole.0 == 1 && is_number && (!is_within || text.is_seam(next))).then_some(Match {
        start: at,
        end: next,
        entity: Entity::Iban,
    })
}

/// What stands between two characters of an account number is passed over: a mark, the end of a line.
fn after_separator(text: &Text<'_>, from: usize) -> usize {
    let is_mark = |nth: &usize| {
        matches!(
            text.get(from + nth),
            Some(
                b' ' | b'-'
                    | b'.'
                    | b'_'
                    | b'*'
                    | b'+'
                    | b'/'
                    | b'|'
                    | b'>'
                    | b'\n'
                    | b'\r'
                    | b'\t'
            )
        )
    };
    from + (0..SEPARATOR_BYTES_MAX).take_while(is_mark).count()
}

/// What remains of a number modulo 97, in which letters count from 10.
#[derive(Clone, Copy)]
struct Remainder(u32);

// === impl Remainder ===

impl Remainder {
    fn then(self, char: u8) -> Self {
        match char {
            b'0'..=b'9' => Self((self.0 * 10 + u32::from(char - b'0')) % 97),
            _ => {
                let letter = u32::from(char.to_ascii_uppercase().saturating_sub(b'A')) + 10;
                Self((self.0 * 100 + letter) % 97)
            }
        }
    }
}
