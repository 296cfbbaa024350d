//! Whether a secret is given to a name, and which.

use super::names::{FOREIGN, HARMLESS, HARMLESS_KEYS, LOOSE, NAMES, TAILS, may_be_third, thirds};
use super::{NAME_BYTES_MAX, Named, Sure};
use crate::entity::Entity;
use crate::text::{ALNUM, DASHES, DIGIT, LOWER, Text, UPPER, is};

/// So far back the words of a name may go: `clave de API`.
const WORDS_BYTES_MAX: usize = 12;
/// The longest tail of a name with its dash.
const TAIL_BYTES_MAX: usize = 12;

/// Whether a name that secrets are given to may end here.
#[inline]
pub(in super::super) fn may_end_name(text: &Text<'_>, end: usize) -> bool {
    // Nearly all words end here: no two letters of theirs end a name.
    let (Some(last), Some(before)) = (text.before(end), text.before(end - 1)) else { return false };
    match thirds(before, last) {
        0 => false,
        thirds => may_be_third(text.before(end - 2).unwrap_or(b' '), thirds),
    }
}

/// How much before a name is read for what it is of.
pub(super) const BEFORE_BYTES: usize = 48;

/// What a name of this kind is given.
pub(super) fn named(text: &Text<'_>, at: usize, end: usize) -> Option<Named> {
    // Of SQL: `IDENTIFIED BY '…'`.
    if text.has_word(at, b"by") && end == at + 2 {
        let before = text.slice(at.saturating_sub(BEFORE_BYTES), at).to_ascii_lowercase();
        let is_identified = before.windows(10).any(|part| part == b"identified");
        return is_identified.then_some(Named { entity: Entity::Password, sure: Sure::Name });
    }
    if text.has_word(at, b"convertto-securestring") && end == at + 22 {
        return Some(Named { entity: Entity::Password, sure: Sure::Name });
    }
    if is_api_of_foreign(text, at, end) {
        return Some(Named { entity: Entity::ApiKey, sure: Sure::Name });
    }
    let end = without_tail(text, at, end);
    if end < at + 2 || !may_end_name(text, end) {
        return None;
    }
    let mut name = [0; NAME_BYTES_MAX + WORDS_BYTES_MAX];
    let mut length = 0;
    let before = words_before(text, at, end);
    let whole = before.iter().chain(text.slice(at, end));
    for (slot, byte) in name.iter_mut().zip(whole.filter(|byte| is(**byte, ALNUM))) {
        *slot = byte.to_ascii_lowercase();
        length += 1;
    }
    let name = name.get(..length)?;
    let last = name.last();
    let ends_with = |ending: &[u8]| ending.last() == last && name.ends_with(ending);
    if HARMLESS.iter().any(|harmless| ends_with(harmless)) {
        return None;
    }
    // Short endings are names only as a whole word: `compass`, `bypass`.
    let is_word = |short: &[u8]| {
        let from = end.saturating_sub(short.len());
        let is_hump = text.is(from, UPPER) && text.is_before(from, LOWER);
        name == short || from <= at || text.is_before(from, DASHES) || is_hump
    };
    let sure = NAMES
        .iter()
        .filter(|(ending, _)| ends_with(ending))
        .find(|(ending, _)| ending.len() > 5 || is_word(ending))
        .map(|(_, entity)| Named { entity: *entity, sure: Sure::Name });
    sure.or_else(|| {
        let (ending, entity) =
            LOOSE.iter().find(|(ending, _)| ends_with(ending) && is_word(ending))?;
        let head = name.strip_suffix(*ending)?;
        let is_harmless = HARMLESS_KEYS.iter().any(|harmless| head.ends_with(harmless));
        let is_whole = end - at <= ending.len() && ending.starts_with(b"key");
        let sure = if is_whole { Sure::Word } else { Sure::Part };
        (!is_harmless).then_some(Named { entity: *entity, sure })
    })
}

/// The end of a name without what does not say what it is: `PASSWORD_PROD`, `api_key_2`, `__password__`.
fn without_tail(text: &Text<'_>, at: usize, end: usize) -> usize {
    let mut end = end;
    while end > at && text.is_before(end, DASHES) {
        end -= 1;
    }
    if text.is_before(end, DIGIT) {
        let mut from = end;
        while from > at && from + 2 > end && text.is_before(from, DIGIT) {
            from -= 1;
        }
        return if text.is_before(from, DASHES) { from - 1 } else { from };
    }
    let tail = text.slice(end.saturating_sub(TAIL_BYTES_MAX).max(at), end);
    let Some(dash) = tail.iter().rposition(|byte| is(*byte, DASHES)) else { return end };
    let word = tail.get(dash + 1..).unwrap_or_default();
    if TAILS.iter().any(|one| word.eq_ignore_ascii_case(one)) { end - word.len() - 1 } else { end }
}

/// The words before a name that is more than one word: `API key`, `clé API`, `clave de API`.
fn words_before<'a>(text: &Text<'a>, at: usize, end: usize) -> &'a [u8] {
    let may_follow = (end - at == 3 && (text.has_word(at, b"key") || text.has_word(at, b"api")))
        || (end - at == 5 && text.has_word(at, b"token"))
        || (end - at == 4 && text.has_word(at, b"keys"));
    if !may_follow
        || !text
            .before(at)
            .is_some_and(|before| matches!(before, b' ' | b'\'') || !before.is_ascii())
    {
        return &[];
    }
    let before = text.slice(at.saturating_sub(WORDS_BYTES_MAX), at);
    let is_of_words =
        |byte: &u8| is(*byte, ALNUM) || matches!(byte, b' ' | b'\'') || !byte.is_ascii();
    let from = before.iter().rposition(|byte| !is_of_words(byte)).map_or(0, |last| last + 1);
    before.get(from..).unwrap_or_default()
}

/// Whether this is the `API` of `ключ API`.
fn is_api_of_foreign(text: &Text<'_>, at: usize, end: usize) -> bool {
    if end - at != 3 || !text.has_word(at, b"api") || text.before(at) != Some(b' ') {
        return false;
    }
    let before = text.slice(at.saturating_sub(24), at - 1);
    let is_key = |(_, entity): &&(&str, Entity)| *entity == Entity::ApiKey;
    !before.is_ascii()
        && FOREIGN.iter().filter(is_key).any(|(name, _)| before.ends_with(name.as_bytes()))
}
