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

/// The account number that begins here, in one piece or in groups with a space or dash between them.
pub(super) fn find(text: &Text<'_>, at: usize) -> Option<Match> {
    let mut country = [0; 2];
    for (nth, slot) in country.iter_mut().enumerate() {
        *slot = text.get(at + nth).filter(|byte| is(*byte, ALPHA))?.to_ascii_uppercase();
    }
    let check = if text.has(at + 2, b' ') { at + 3 } else { at + 2 };
    if !text.is(check, DIGIT) || !text.is(check + 1, DIGIT) {
        return None;
    }
    let nth = COUNTRIES.binary_search_by_key(&&country, |(code, _)| *code).ok()?;
    let (_, length) = COUNTRIES.get(nth)?;
    let mut remainder = Remainder(0);
    let (mut next, mut taken) = (check + 2, 4);
    while taken < *length {
        if matches!(text.get(next)?, b' ' | b'-') {
            next += 1;
        }
        remainder = remainder.then(text.get(next).filter(|byte| is(*byte, ALNUM))?);
        next += 1;
        taken += 1;
    }
    let head = [text.get(at)?, text.get(at + 1)?, text.get(check)?, text.get(check + 1)?];
    let whole = head.into_iter().fold(remainder, Remainder::then);
    (whole.0 == 1 && !text.is(next, ALNUM | DASHES)).then_some(Match {
        start: at,
        end: next,
        entity: Entity::Iban,
    })
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
