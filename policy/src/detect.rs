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

use crate::entity::{Entity, EntitySet, Family};
use crate::scan::Match;
use crate::text::{ALNUM, ALPHA, DIGIT, LOCAL, Text, is};
use number::Number;

/// A longer word is looked at closely.
const WORD_BYTES_MAX: usize = 24;

/// What begins at a place where something can begin: a letter or digit with none before it, or an opener.
pub(crate) fn begin(text: &Text<'_>, at: usize, wanted: EntitySet) -> Option<Match> {
    let first = text.get(at)?;
    if is(first, ALPHA) && is_word(text, at) {
        return None;
    }
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
        b':' if wanted.has(Entity::IpAddress) => address::find_v6(text, at),
        b'+' | b'(' if wanted.has(Entity::Phone) => {
            let next = text.get(at + 1)?;
            let is_number = is(next, DIGIT)
                || (first == b'(' && next == b'+')
                || (first == b'+' && next == b'(');
            // Inside of base 64, of a formula, or of a number that was read from its start.
            let is_inside = text.is_before(at, if first == b'+' { LOCAL } else { DIGIT });
            if !is_number || is_inside {
                return None;
            }
            phone::find(text, &Number::read(text, at)?)
        }
        _ => None,
    }
}

/// Whether this is a word of prose: letters, and behind them what begins another word. Nothing is looked for in it;
/// most of a text is passed over here.
#[inline]
fn is_word(text: &Text<'_>, at: usize) -> bool {
    let end = text.span(at, ALPHA, WORD_BYTES_MAX + 1);
    let length = end - at;
    if !(3..=WORD_BYTES_MAX).contains(&length) || text.before(at) == Some(b'-') {
        return false;
    }
    match text.get(end) {
        Some(b' ') => {
            // `password is`, and `Bearer` before a token.
            let next = text.get(end + 1);
            let may_be_scheme =
                matches!(length, 5 | 6) && matches!(text.get(at), Some(b'b' | b'B'));
            next.is_some_and(|next| is(next, ALPHA) && !matches!(next, b'i' | b'I'))
                && !may_be_scheme
        }
        Some(b',' | b';' | b'!' | b'?' | b'\n' | b')') => true,
        Some(b'.') => matches!(text.get(end + 1), Some(b' ' | b'\n')),
        Some(_) | None => false,
    }
}

fn begins_with_letter(text: &Text<'_>, at: usize, wanted: EntitySet) -> Option<Match> {
    let secrets = EntitySet::family(Family::Secret);
    if wanted.intersects(secrets) {
        let secret = keys::find(text, at).or_else(|| assigned::find(text, at));
        if let Some(one) = secret.filter(|one| wanted.has(one.entity)) {
            return Some(one);
        }
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
    if wanted.has(Entity::IpAddress)
        && let Some(one) = address::find_v6(text, at)
    {
        return Some(one);
    }
    if number::is_inside_of_more(text, at) {
        return None;
    }
    let number = Number::read(text, at)?;
    if number.digit_count() < 4 {
        return None;
    }
    if wanted.has(Entity::NationalId)
        && let Some(one) = identity_number::find_sure(text, &number)
    {
        return Some(one);
    }
    if wanted.has(Entity::CreditCard)
        && let Some(one) = card::find(text, &number)
    {
        return Some(one);
    }
    if wanted.has(Entity::IpAddress)
        && let Some(one) = address::find_v4(text, &number)
    {
        return Some(one);
    }
    if wanted.has(Entity::NationalId)
        && let Some(one) = identity_number::find_named(text, &number)
    {
        return Some(one);
    }
    if wanted.has(Entity::Phone) { phone::find(text, &number) } else { None }
}
