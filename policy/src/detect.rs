//! The detectors, and in which order they are asked about one place.

mod address;
mod assigned;
mod card;
mod email;
mod iban;
mod identity_code;
mod identity_number;
mod ids;
mod keys;
mod near;
mod number;
mod pem;
mod phone;
pub(crate) mod plain;

use crate::entity::{Entity, EntitySet, Family};
use crate::scan::Match;
use crate::text::{ALNUM, ALPHA, DIGIT, LOCAL, Text, is};
use number::Number;

/// What begins at a place where something can begin: a letter or digit with none before it, or an opener.
pub(crate) fn begin(text: &Text<'_>, at: usize, wanted: EntitySet) -> Option<Match> {
    let first = text.get(at)?;
    if is(first, ALNUM) {
        let is_first_of_run = !email::continues(text, at);
        if is_first_of_run
            && wanted.has(Entity::Email)
            && let Some(one) = email::find(text, at)
        {
            return Some(one);
        }
        return if is(first, ALPHA) {
            begins_with_letter(text, at, wanted)
        } else {
            begins_with_digit(text, at, wanted)
        };
    }
    match first {
        b'-' if wanted.has(Entity::PrivateKey) => pem::find(text, at),
        b':' | b'=' => {
            let may_be_address = wanted.has(Entity::IpAddress) && text.has(at + 1, b':');
            let address = may_be_address.then(|| address::find_v6(text, at)).flatten();
            address.or_else(|| secret(text, at, wanted, assigned::find_foreign))
        }
        b'+' | b'(' if wanted.has(Entity::Phone) => {
            let next = text.get(at + 1)?;
            let is_number = is(next, DIGIT)
                || (first == b'(' && next == b'+')
                || (first == b'+' && next == b'(');
            // Inside of base 64, of a formula, or of a number that was read from its start.
            let is_inside =
                text.is_before(at, if first == b'+' { LOCAL } else { DIGIT }) && !text.is_seam(at);
            if !is_number || is_inside {
                return None;
            }
            let number = Number::read(text, at)?;
            phone::find(text, &number).or_else(|| {
                let broken = number.read_over_line(text).filter(|number| number.has_plus)?;
                phone::find(text, &broken)
            })
        }
        _ => None,
    }
}

/// What a detector of secrets finds, as far as it is wanted.
fn secret(
    text: &Text<'_>,
    at: usize,
    wanted: EntitySet,
    find: impl Fn(&Text<'_>, usize) -> Option<Match>,
) -> Option<Match> {
    if !wanted.intersects(EntitySet::family(Family::Secret)) {
        return None;
    }
    find(text, at).filter(|one| wanted.has(one.entity))
}

fn begins_with_letter(text: &Text<'_>, at: usize, wanted: EntitySet) -> Option<Match> {
    let found = secret(text, at, wanted, |text, at| {
        let named = || keys::find(text, at).or_else(|| assigned::find(text, at));
        named().or_else(|| assigned::find_in_table(text, at))
    });
    if found.is_some() {
        return found;
    }
    if wanted.has(Entity::Iban)
        && let Some(one) = iban::find(text, at)
    {
        return Some(one);
    }
    if wanted.has(Entity::NationalId)
        && let Some(one) = identity_code::find(text, at)
    {
        return Some(one);
    }
    if wanted.has(Entity::IpAddress) { address::find_v6(text, at) } else { None }
}

fn begins_with_digit(text: &Text<'_>, at: usize, wanted: EntitySet) -> Option<Match> {
    if let Some(one) = secret(text, at, wanted, |text, at| {
        keys::find(text, at).or_else(|| assigned::find_in_table(text, at))
    }) {
        return Some(one);
    }
    if wanted.has(Entity::IpAddress)
        && let Some(one) = address::find_v6(text, at)
    {
        return Some(one);
    }
    if number::is_inside_of_more(text, at) {
        let card = || card::find_in_groups(text, at).or_else(|| card::find_in_name(text, at));
        return wanted.has(Entity::CreditCard).then(card).flatten();
    }
    let number = Number::read(text, at)?;
    if let Some(one) = of_number(text, &number, wanted) {
        return Some(one);
    }
    if wanted.has(Entity::CreditCard)
        && let Some(one) = card::find_in_groups(text, at)
    {
        return Some(one);
    }
    let broken = number.read_over_line(text)?;
    of_broken_number(text, &broken, wanted)
}

/// What goes on on the next line: it has to have a checksum, or its word nearby.
fn of_broken_number(text: &Text<'_>, number: &Number, wanted: EntitySet) -> Option<Match> {
    if wanted.has(Entity::CreditCard)
        && let Some(one) = card::find(text, number)
    {
        return Some(one);
    }
    if wanted.has(Entity::NationalId) { identity_number::find_named(text, number) } else { None }
}

fn of_number(text: &Text<'_>, number: &Number, wanted: EntitySet) -> Option<Match> {
    if number.digit_count() < 4 {
        return None;
    }
    if wanted.has(Entity::NationalId)
        && let Some(one) = identity_number::find_sure(text, number)
    {
        return Some(one);
    }
    if wanted.has(Entity::CreditCard)
        && let Some(one) = card::find(text, number)
    {
        return Some(one);
    }
    if wanted.has(Entity::IpAddress)
        && let Some(one) = address::find_v4(text, number)
    {
        return Some(one);
    }
    if wanted.has(Entity::NationalId)
        && let Some(one) = identity_number::find_named(text, number)
    {
        return Some(one);
    }
    if wanted.has(Entity::Phone) { phone::find(text, number) } else { None }
}
