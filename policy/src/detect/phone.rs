//! Telephone numbers: international ones, and national ones in the forms that people write. Digits alone, and
//! forms that other numbers have as well, need a word nearby that speaks of calling.

use super::near::Words;
use super::number::{Number, Prefix, Separator};
use crate::entity::Entity;
use crate::scan::Match;
use crate::text::{DIGIT, Text};

/// Words that make a number a telephone's.
pub(super) const PHONE: Words = Words {
    ascii: &[
        "aanbellen",
        "anrufen",
        "appelez",
        "bel",
        "bellen",
        "bereikbaar",
        "call",
        "called",
        "calling",
        "cel",
        "cell",
        "cellphone",
        "cellulare",
        "celular",
        "chiama",
        "chiamami",
        "chiamare",
        "chiamate",
        "contact",
        "dial",
        "durchwahl",
        "fax",
        "fon",
        "gsm",
        "handphone",
        "handy",
        "handynummer",
        "hotline",
        "hubungi",
        "komorka",
        "kontakt",
        "ligue",
        "llamame",
        "llamar",
        "llame",
        "mob",
        "mobiel",
        "mobil",
        "mobile",
        "mobileno",
        "mobilenumber",
        "mobilnr",
        "mobilnummer",
        "mobiltelefon",
        "movil",
        "nomor",
        "numara",
        "numer",
        "numero",
        "ph",
        "phone",
        "phoneno",
        "phonenumber",
        "phones",
        "portable",
        "puhelin",
        "puhelinnumero",
        "ring",
        "ruckruf",
        "rueckruf",
        "ruf",
        "rufnummer",
        "signal",
        "sms",
        "tel",
        "telefon",
        "telefonare",
        "telefonata",
        "telefone",
        "telefonico",
        "telefonnr",
        "telefonnummer",
        "telefono",
        "telefonos",
        "telefonszam",
        "telefonu",
        "telefoon",
        "telefoonnummer",
        "telephone",
        "telephones",
        "telno",
        "telnr",
        "thoai",
        "tlf",
        "viber",
        "whatsapp",
        "zadzwon",
    ],
    other: &[
        "тeл",
        "teл",
        "мoб",
        "moб",
        "звoн",
        "Звoн",
        "電話",
        "电话",
        "手机",
        "手機",
        "携帯",
        "전화",
        "휴대폰",
        "连絡",
        "連絡先",
        "फोन",
        "मोबाइल",
        "هاتف",
    ],
};

/// Words that make a number something else.
pub(super) const OTHER: Words = Words {
    ascii: &[
        "account",
        "aktenzeichen",
        "article",
        "artikel",
        "artikelnummer",
        "awb",
        "barcode",
        "batch",
        "bestellnummer",
        "bestellung",
        "bestelnummer",
        "booking",
        "bsn",
        "build",
        "case",
        "claim",
        "commande",
        "commessa",
        "commit",
        "confirmation",
        "cpf",
        "customer",
        "dhl",
        "dni",
        "ean",
        "factura",
        "facture",
        "fattura",
        "fedex",
        "gtin",
        "id",
        "imei",
        "invoice",
        "isbn",
        "issn",
        "item",
        "konto",
        "kontonummer",
        "kundennummer",
        "licence",
        "license",
        "lot",
        "model",
        "nie",
        "nip",
        "order",
        "parcel",
        "parcels",
        "part",
        "patent",
        "pedido",
        "pesel",
        "po",
        "policy",
        "receipt",
        "rechnung",
        "rechnungsnummer",
        "ref",
        "reference",
        "row",
        "serial",
        "siren",
        "siret",
        "sku",
        "ssn",
        "ticket",
        "tracking",
        "transaction",
        "txn",
        "upc",
        "ups",
        "usps",
        "vat",
        "version",
        "vin",
        "waybill",
        "zahlernummer",
        "zip",
    ],
    other: &[],
};

/// Numbers of persons: what stands behind such a word, and is none of its kind, is no telephone either.
pub(super) const IDS: Words = Words {
    ascii: &[
        "bsn",
        "card",
        "carte",
        "cpf",
        "dni",
        "iban",
        "idnr",
        "karte",
        "kartennummer",
        "nie",
        "nif",
        "nino",
        "nir",
        "passport",
        "pesel",
        "ssn",
        "tarjeta",
    ],
    other: &[],
};

/// Calling codes of countries. Of a zone whose codes have two and three digits, those of two.
const TWO_DIGITS: [u64; 44] = [
    20, 27, 30, 31, 32, 33, 34, 36, 39, 40, 41, 43, 44, 45, 46, 47, 48, 49, 51, 52, 53, 54, 55, 56,
    57, 58, 60, 61, 62, 63, 64, 65, 66, 81, 82, 84, 86, 90, 91, 92, 93, 94, 95, 98,
];

/// The telephone that this number is.
pub(super) fn find(text: &Text<'_>, number: &Number) -> Option<Match> {
    if number.is_longer && !number.has_plus {
        return None;
    }
    if number.has_plus {
        let one = of(&number.prefixes(text).find(is_international)?);
        // A bracket that is not closed within the number is around it: `An (+32 475 61 83 20)`.
        let is_around = number.opens_bracket && !text.slice(one.start, one.end).contains(&b')');
        let start = if is_around { one.start + 1 } else { one.start };
        return Some(Match { start, ..one });
    }
    let mut is_named = None;
    let one = number.prefixes(text).find(|prefix| {
        let count = prefix.digits.len();
        if !(7..=15).contains(&count) || is_date(prefix) {
            return false;
        }
        let is_formed = is_national(number, prefix);
        if !is_formed && !may_be_named(prefix) {
            return false;
        }
        if !is_formed && is_begun(text, prefix) {
            return false;
        }
        let named = *is_named.get_or_insert_with(|| {
            PHONE.are_before(text, prefix.start, 40) && !IDS.are_before(text, prefix.start, 16)
        });
        let is_other = || OTHER.are_before(text, prefix.start, 24) || is_inside(text, prefix);
        named || (is_formed && !is_other())
    })?;
    Some(of(&one))
}

/// Whether more digits follow behind a space: this is the beginning of something longer.
fn is_begun(text: &Text<'_>, prefix: &Prefix<'_>) -> bool {
    let is_spaced = prefix.groups.iter().any(|group| group.separator_before == Separator::Space);
    is_spaced && text.has(prefix.end, b' ') && text.is(prefix.end + 1, DIGIT)
}

/// Whether groups of digits with the same spaces between them stand before: this is the rest of something longer.
fn is_inside(text: &Text<'_>, prefix: &Prefix<'_>) -> bool {
    let is_spaced = prefix.groups.iter().any(|group| group.separator_before == Separator::Space);
    let at = prefix.start;
    is_spaced && text.before(at) == Some(b' ') && text.is_before(at - 1, DIGIT)
}

fn of(prefix: &Prefix<'_>) -> Match {
    Match { start: prefix.start, end: prefix.end, entity: Entity::Phone }
}

/// `+`, the code of a country, and as many digits as E.164 allows.
fn is_international(prefix: &Prefix<'_>) -> bool {
    is_e164(prefix, 0) && prefix.groups.iter().skip(1).all(|group| group.end > group.start)
}

fn is_e164(prefix: &Prefix<'_>, from: usize) -> bool {
    let count = prefix.digits.len().saturating_sub(from);
    let (one, two) = (prefix.value(from, from + 1), prefix.value(from, from + 2));
    match one {
        1 => count == 11 && prefix.value(from + 1, from + 2) >= 2,
        7 => count == 11,
        0 => false,
        _ if TWO_DIGITS.contains(&two) => (9..=14).contains(&count),
        // The rest has three digits.
        _ => {
            (10..=15).contains(&count)
                && matches!(two, 21..=26 | 29 | 35 | 37 | 38 | 42 | 50 | 59 | 67..=69 | 80 | 85 | 88 | 96 | 97 | 99)
        }
    }
}

/// Dates and times in digits.
fn is_date(prefix: &Prefix<'_>) -> bool {
    let lengths = [prefix.length(0), prefix.length(1), prefix.length(2)];
    let value = |nth: usize| {
        let group = prefix.groups.get(nth);
        group.map_or(0, |group| {
            prefix.value(group.digits_before, group.digits_before + group.end - group.start)
        })
    };
    match lengths {
        [4, 2, 2] => (1900..2100).contains(&value(0)) && value(1) <= 12 && value(2) <= 31,
        [2, 2, 4] => value(0) <= 31 && value(1) <= 31 && (1900..2100).contains(&value(2)),
        _ => false,
    }
}

/// The forms that are known without a word.
fn is_national(number: &Number, prefix: &Prefix<'_>) -> bool {
    let count = prefix.digits.len();
    // Russia and Turkey: the trunk prefix stands apart from the area in brackets.
    let is_area_apart =
        prefix.groups.get(1).is_some_and(|area| area.separator_before == Separator::Bracket);
    if is_area_apart
        && matches!(prefix.digits.first(), Some(0 | 8))
        && prefix.is_grouped(&[1, 3, 3, 2, 2])
    {
        return true;
    }
    let Some(separator) = rest_separator(prefix) else { return false };
    if prefix.value(0, 2) == 0 && prefix.digits.starts_with(&[0, 0]) {
        return prefix.groups.len() >= 2 && is_e164(prefix, 2);
    }
    if is_north_american(number, prefix, separator) {
        return true;
    }
    // Mobile numbers in China.
    if prefix.is_grouped(&[3, 4, 4]) && (13..=19).contains(&prefix.value(0, 2)) {
        return true;
    }
    let is_grouped = prefix.groups.len() >= 2;
    let no_small = prefix.groups.iter().all(|group| group.end - group.start >= 2);
    if prefix.digits.first() == Some(&0) {
        // A trunk prefix: Europe, Japan, Korea, Australia, ...
        let is_slashed = separator == Separator::Slash && prefix.groups.len() > 2;
        let is_france = prefix.is_grouped(&[2, 2, 2, 2, 2]);
        let is_dotted = separator == Separator::Dot && !is_france && prefix.length(0) < 3;
        return is_grouped
            && no_small
            && !is_slashed
            && !is_dotted
            && prefix.digits.get(1) != Some(&0)
            && (2..=6).contains(&prefix.length(0))
            && (9..=12).contains(&count)
            && prefix.groups.len() <= 6;
    }
    // Brazil, with the area in brackets.
    number.opens_bracket
        && prefix.length(0) == 2
        && matches!(count, 10 | 11)
        && matches!(separator, Separator::Dash | Separator::Space | Separator::Bracket)
}

/// The separator of all groups but the first two, which may be parted otherwise: by a slash or bracket. Two
/// groups, or one, have what parts them.
fn rest_separator(prefix: &Prefix<'_>) -> Option<Separator> {
    let mut rest = prefix.groups.iter().skip(2).map(|group| group.separator_before);
    let Some(first) = rest.next() else {
        return Some(
            prefix.groups.get(1).map_or(Separator::Nothing, |group| group.separator_before),
        );
    };
    let mixed = prefix.groups.get(1)?.separator_before;
    let may_mix =
        matches!(mixed, Separator::Bracket | Separator::Slash | Separator::Space | Separator::Dash);
    (rest.all(|separator| separator == first) && (mixed == first || may_mix)).then_some(first)
}

/// Area, exchange and number, with or without the 1 before them.
fn is_north_american(number: &Number, prefix: &Prefix<'_>, separator: Separator) -> bool {
    let (is_form, area) = match prefix.digits.len() {
        10 => (
            prefix.is_grouped(&[3, 3, 4]) || (number.opens_bracket && prefix.is_grouped(&[3, 7])),
            0,
        ),
        11 if prefix.digits.first() == Some(&1) => (prefix.is_grouped(&[1, 3, 3, 4]), 1),
        _ => return false,
    };
    is_form
        && separator != Separator::Slash
        && prefix.value(area, area + 1) >= 2
        && prefix.value(area + 3, area + 4) >= 2
        && prefix.value(area + 1, area + 3) != 11
}

/// The forms that need a word.
fn may_be_named(prefix: &Prefix<'_>) -> bool {
    let count = prefix.digits.len();
    let is_short = prefix.is_grouped(&[3, 4]) && prefix.value(0, 1) >= 2;
    let groups = prefix.groups.len();
    let is_even = prefix.separator().is_some_and(|separator| separator != Separator::Slash)
        || rest_separator(prefix).is_some();
    // Ten or thirteen digits after a 1 are a moment of our time, in seconds or milliseconds.
    let is_moment = groups == 1 && matches!(count, 10 | 13) && prefix.digits.first() == Some(&1);
    // Russia: an 8 in the place of +7.
    let is_russian = count == 11
        && matches!(prefix.digits.first(), Some(7 | 8))
        && (prefix.length(0), prefix.length(1)) == (1, 3);
    is_short
        || is_russian
        || (!is_moment
            && (8..=13).contains(&count)
            && is_even
            && (groups == 1 || prefix.length(0) <= 5))
}
