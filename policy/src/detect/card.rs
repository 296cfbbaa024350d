//! Numbers of payment cards: an issuer's range, a length that it issues, and the check digit of Luhn.

use super::ids::luhn;
use super::near::Words;
use super::number::{Number, Prefix, Separator};
use crate::entity::Entity;
use crate::scan::Match;
use crate::text::{ALNUM, ALPHA, DIGIT, Text};

/// Words that say that a number in groups of any length is a card.
pub(super) const CARD: Words = Words {
    ascii: &[
        "amex",
        "bancaire",
        "bancontact",
        "cabal",
        "card",
        "cardno",
        "cardnumber",
        "cards",
        "carta",
        "cartao",
        "carte",
        "cartes",
        "cartoes",
        "cb",
        "cc",
        "ccn",
        "ccnum",
        "ccnumber",
        "credit",
        "creditcard",
        "dankort",
        "debit",
        "debitcard",
        "diners",
        "discover",
        "elo",
        "girocard",
        "hipercard",
        "jcb",
        "kart",
        "karta",
        "karte",
        "karten",
        "kartennummer",
        "kartnummer",
        "kartu",
        "kkn",
        "kort",
        "kortnummer",
        "kredit",
        "kreditkarte",
        "kreditkartennummer",
        "maestro",
        "mastercard",
        "mir",
        "numerocarte",
        "pan",
        "rupay",
        "tarjeta",
        "tarjetas",
        "troy",
        "unionpay",
        "visa",
    ],
    other: &["カード", "卡", "카드", "kapт", "कार्ड", "بطاقة", "כרטיס", "บัตร"],
};

/// Words that say that a long number is something else.
pub(super) const OTHER: Words = Words {
    ascii: &[
        "barcode",
        "bestellnummer",
        "ean",
        "gtin",
        "imei",
        "invoice",
        "isbn",
        "order",
        "parcel",
        "sku",
        "tracking",
        "upc",
    ],
    other: &[],
};

/// The card whose number this begins with.
pub(super) fn find(text: &Text<'_>, number: &Number) -> Option<Match> {
    if number.first_group().is_some_and(|group| group.end - group.start > 19) {
        return None;
    }
    let card = number.prefixes(text).find(|prefix| is_card(text, prefix))?;
    Some(Match { start: card.start, end: card.end, entity: Entity::CreditCard })
}

fn is_card(text: &Text<'_>, prefix: &Prefix<'_>) -> bool {
    let count = prefix.digits.len();
    if !(13..=19).contains(&count) || !is_issued(prefix.digits) || !luhn(prefix.digits) {
        return false;
    }
    let near = |words: &Words| words.are_near(text, prefix.start, prefix.end);
    match prefix.separator() {
        Some(Separator::Nothing) if count == 13 => near(&CARD),
        Some(Separator::Nothing) => !OTHER.are_before(text, prefix.start, 32) || near(&CARD),
        // A card is broken at the end of a line where it says that it is one.
        Some(Separator::Line) => near(&CARD),
        Some(Separator::Space | Separator::Dash | Separator::Dot) => {
            let fours =
                prefix.groups.iter().rev().skip(1).all(|group| group.end - group.start == 4);
            let singles = prefix.is_singles() && !text.is(prefix.end + 1, DIGIT);
            fours
                || singles
                || prefix.is_grouped(&[4, 6, 5])
                || prefix.is_grouped(&[4, 6, 4])
                || near(&CARD)
        }
        // Written by hand: in fours, with now a space and then a dash.
        None => {
            let is_plain = prefix.groups.iter().all(|group| {
                !matches!(group.separator_before, Separator::Slash | Separator::Bracket)
            });
            let fours = prefix.groups.iter().all(|group| group.end - group.start == 4);
            is_plain && (fours || prefix.is_singles() || near(&CARD))
        }
        Some(Separator::Slash) => prefix.is_grouped(&[4, 4, 4, 4]),
        Some(Separator::Bracket) => false,
    }
}

/// The card in groups of four, or as American Express groups, with whatever between them: `_`, `+` of a query, the end
/// of a line. In such an odd form no other number is looked for.
pub(super) fn find_in_groups(text: &Text<'_>, at: usize) -> Option<Match> {
    let first = text.span(at, DIGIT, 5);
    if first != at + 4 || !text.get(first).is_some_and(may_part) || follows_digits(text, at) {
        return None;
    }
    let mut digits = [0; 19];
    let (mut count, mut end, mut from, mut lines) = (0, at, at, 0);
    for group in 0..4 {
        let stop = text.span(from, DIGIT, 7);
        let lengths = if group == 0 { 4..=4 } else { 4..=6 };
        if !lengths.contains(&(stop - from)) || count + stop - from > digits.len() {
            break;
        }
        for (slot, byte) in digits.iter_mut().skip(count).zip(text.slice(from, stop)) {
            *slot = byte - b'0';
        }
        (count, end) = (count + stop - from, stop);
        let mut next = stop;
        while next < stop + 3 && text.get(next).is_some_and(may_part) {
            lines += usize::from(text.has(next, b'\n'));
            next += 1;
        }
        if next == stop {
            break;
        }
        from = next;
    }
    // Numbers of four digits below each other are a column.
    let is_column = lines > 1;
    let digits = digits.get(..count)?;
    let is_whole = matches!(count, 15 | 16) && luhn(digits) && is_issued(digits);
    (is_whole && !is_column && !text.is(end, ALNUM)).then_some(Match {
        start: at,
        end,
        entity: Entity::CreditCard,
    })
}

/// The card behind a word and a dash or slash, where no other number begins: `visa-4111…`.
pub(super) fn find_in_name(text: &Text<'_>, at: usize) -> Option<Match> {
    if !matches!(text.before(at), Some(b'-' | b'/' | b'.')) || !text.is_before(at - 1, ALPHA) {
        return None;
    }
    let one = find(text, &Number::read(text, at)?)?;
    CARD.are_before(text, at, 24).then_some(one)
}

fn may_part(byte: u8) -> bool {
    matches!(byte, b' ' | b'-' | b'.' | b'_' | b'+' | b'*' | b'|' | b'>' | b'\n' | b'\r' | b'\t')
}

/// Whether the digits are not the first of their number.
fn follows_digits(text: &Text<'_>, at: usize) -> bool {
    text.before(at).is_some_and(may_part) && text.is_before(at - 1, DIGIT)
}

/// Whether an issuer has this range and length.
fn is_issued(digits: &[u8]) -> bool {
    let count = digits.len();
    let first = |length: usize| {
        let head = digits.get(..length).unwrap_or_default();
        head.iter().fold(0_u32, |value, digit| value * 10 + u32::from(*digit))
    };
    match first(4) {
        // Visa.
        4000..=4999 => matches!(count, 13 | 16 | 19),
        // Mastercard.
        5100..=5599 | 2221..=2720 => count == 16,
        // American Express.
        3400..=3499 | 3700..=3799 => count == 15,
        // Diners Club, and Hipercard in its range.
        3000..=3059 | 3095 | 3600..=3699 | 3800..=3999 => matches!(count, 14 | 16 | 19),
        // JCB.
        3528..=3589 => (16..=19).contains(&count),
        1800 | 2131 => count == 15,
        // RuPay, Discover and UnionPay.
        8100..=8299 => (16..=19).contains(&count),
        // Mir, Borica.
        2200..=2205 => (16..=19).contains(&count),
        // Maestro, and within its ranges Discover, UnionPay, RuPay, Elo, Hipercard, Dankort, Verve and others.
        5000..=5099 | 5600..=6999 => (16..=19).contains(&count) || is_old_maestro(first(4), count),
        // Uzcard, Humo, Belkart, Napas, Troy.
        8600 | 9860 | 9112 | 9704 | 9792 => count == 16,
        _ => false,
    }
}

/// Maestro has shorter numbers in some ranges.
fn is_old_maestro(first: u32, count: usize) -> bool {
    matches!(first, 5018 | 5020 | 5038 | 5893 | 6304 | 6759 | 6761..=6763)
        && (13..=15).contains(&count)
}
