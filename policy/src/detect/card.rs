//! Numbers of payment cards: an issuer's range, a length that it issues, and the check digit of Luhn.

use super::ids::luhn;
use super::near::Words;
use super::number::{Number, Prefix, Separator};
use crate::entity::Entity;
use crate::scan::Match;
use crate::text::Text;

/// Words that say that a number in groups of any length is a card.
pub(super) const CARD: Words = Words {
    ascii: &[
        "amex",
        "card",
        "carta",
        "cartao",
        "carte",
        "cb",
        "cc",
        "credit",
        "debit",
        "kart",
        "karta",
        "karte",
        "kreditkarte",
        "mastercard",
        "pan",
        "tarjeta",
        "visa",
    ],
    other: &["カード", "卡", "카드", "kapт", "कार्ड"],
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
    if !(13..=19).contains(&count) || !is_issued(prefix) || !luhn(prefix.digits) {
        return false;
    }
    let near = |words: &Words| words.are_near(text, prefix.start, prefix.end);
    match prefix.separator() {
        Some(Separator::Nothing) if count == 13 => near(&CARD),
        Some(Separator::Nothing) => !OTHER.are_before(text, prefix.start, 32) || near(&CARD),
        Some(Separator::Space | Separator::Dash | Separator::Dot) => {
            let fours =
                prefix.groups.iter().rev().skip(1).all(|group| group.end - group.start == 4);
            let singles = prefix.groups.len() == count;
            fours
                || singles
                || prefix.is_grouped(&[4, 6, 5])
                || prefix.is_grouped(&[4, 6, 4])
                || near(&CARD)
        }
        // Written by hand: in fours, with now a space and then a dash.
        None => prefix.groups.iter().all(|group| {
            let is_mark = !matches!(group.separator_before, Separator::Slash | Separator::Bracket);
            group.end - group.start == 4 && is_mark
        }),
        Some(Separator::Slash | Separator::Bracket) => false,
    }
}

/// Whether an issuer has this range and length.
fn is_issued(prefix: &Prefix<'_>) -> bool {
    let count = prefix.digits.len();
    let first = |digits| prefix.value(0, digits);
    match first(4) {
        // Visa.
        4000..=4999 => matches!(count, 13 | 16 | 19),
        // Mastercard.
        5100..=5599 | 2221..=2720 => count == 16,
        // American Express.
        3400..=3499 | 3700..=3799 => count == 15,
        // Diners Club.
        3000..=3059 | 3095 | 3600..=3699 | 3800..=3999 => matches!(count, 14 | 16 | 19),
        // JCB.
        3528..=3589 => (16..=19).contains(&count),
        // Discover and RuPay.
        6011 | 6440..=6599 | 8100..=8299 | 5080..=5089 => (16..=19).contains(&count),
        // UnionPay.
        6200..=6299 => (16..=19).contains(&count),
        // Mir.
        2200..=2204 => (16..=19).contains(&count),
        // Maestro.
        5018 | 5020 | 5038 | 5893 | 6304 | 6759 | 6761..=6763 => (13..=19).contains(&count),
        _ => false,
    }
}
