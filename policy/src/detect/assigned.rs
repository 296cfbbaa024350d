//! Secrets that are known by the name that they are given to: `password = …`, `"api_key": "…"`, `Bearer …`, and
//! the password in a URL. Only the value is found; what it is given to stays.
//!
//! A value that shows that it is none is not found: a placeholder, a variable, a call, a word of a sentence.

mod names;
mod url;
mod value;

use super::keys;
use crate::entity::Entity;
use crate::scan::Match;
use crate::text::{ALNUM, ALPHA, BASE64_MARKS, DASHES, LOCAL_MARKS, LOWER, Text, UPPER, is};
use names::{FOREIGN, HARMLESS, NAMES, may_end_with};

const NAME_BYTES_MAX: usize = 48;
const PASSWORD_BYTES_MIN: usize = 6;
const KEY_BYTES_MIN: usize = 16;
const PASSWORD_BYTES_MAX: usize = 128;
const VALUE_BYTES_MAX: usize = 512;
const SPACES_MAX: usize = 16;
/// The longest type between a name and its value.
const TYPE_BYTES_MAX: usize = 24;
/// The longest account whose password is set.
const ACCOUNT_BYTES_MAX: usize = 64;
/// The longest `for the sandbox` between a name and its value.
const WHOSE_BYTES_MAX: usize = 32;
/// The longest prefix of a tag.
const PREFIX_BYTES_MAX: usize = 16;
/// The longest name in another script.
const FOREIGN_BYTES_MAX: usize = 36;

/// How a value is given.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Given {
    /// By a sign: `=`, `:`.
    Assigned,
    /// In a sentence: `is`.
    Told,
    /// By a statement of SQL, in quotes.
    Quoted,
    /// Between tags.
    Tagged,
    /// Alone on the next line.
    Below,
}

/// The secret whose name, scheme or URL begins here.
pub(super) fn find(text: &Text<'_>, at: usize) -> Option<Match> {
    let is_inside = text.is_before(at, DASHES) && at > 0 && text.is_before(at - 1, ALNUM);
    if is_inside {
        return None;
    }
    let end = text.span(at, ALNUM | DASHES, NAME_BYTES_MAX + 1);
    if end - at > NAME_BYTES_MAX || end - at < 2 {
        return None;
    }
    match text.get(end)? {
        b':' if text.has(end + 1, b'/') => url::find(text, end),
        b' ' if end - at <= 7
            && is_scheme(text, at)
            && !matches!(text.get(end + 1), Some(b'=' | b':')) =>
        {
            of_scheme(text, at, end)
        }
        _ => {
            let entity = named(text, at, end)?;
            let (from, given) = value_start(text, at, end)?;
            value::find(text, from, given, entity)
        }
    }
}

/// Whether a name that secrets are given to may end here.
#[inline]
pub(super) fn may_end_name(text: &Text<'_>, end: usize) -> bool {
    let pair = text.before(end - 1).zip(text.before(end));
    pair.is_some_and(|(before, last)| {
        may_end_with(text.before(end - 2).unwrap_or(b' '), before, last)
    })
}

/// The secret behind the sign that stands here, if before it stands a name in another script.
pub(super) fn find_foreign(text: &Text<'_>, at: usize) -> Option<Match> {
    let mut end = at;
    while end + 3 > at && matches!(text.before(end), Some(b' ' | b'"' | b'\'' | b'*')) {
        end -= 1;
    }
    if text.before(end).is_none_or(|before| before.is_ascii()) {
        return None;
    }
    let name = text.slice(end.saturating_sub(FOREIGN_BYTES_MAX), end);
    let (_, entity) = FOREIGN.iter().find(|(one, _)| name.ends_with(one.as_bytes()))?;
    value::find(text, after_spaces(text, at + 1), Given::Assigned, *entity)
}

/// What a name of this kind is given.
fn named(text: &Text<'_>, at: usize, end: usize) -> Option<Entity> {
    // Of SQL: `IDENTIFIED BY '…'`.
    if text.has_word(at, b"by") && end == at + 2 {
        let before = text.slice(at.saturating_sub(11), at);
        let is_identified = before.eq_ignore_ascii_case(b"identified ");
        return is_identified.then_some(Entity::Password);
    }
    if !may_end_name(text, end) {
        return None;
    }
    let mut name = [0; NAME_BYTES_MAX + 6];
    let mut length = 0;
    // The name may be two words: `API key`, `clé API`.
    let may_follow = (end - at == 3 && (text.has_word(at, b"key") || text.has_word(at, b"api")))
        || (end - at == 5 && text.has_word(at, b"token"));
    let before: &[u8] = if may_follow { text.slice(at.saturating_sub(7), at) } else { &[] };
    let word =
        before.strip_suffix(b" ").and_then(|words| words.rsplit(|byte| !is(*byte, ALNUM)).next());
    let whole = word.unwrap_or_default().iter().chain(text.slice(at, end));
    for (slot, byte) in name.iter_mut().zip(whole.filter(|byte| is(**byte, ALNUM))) {
        *slot = byte.to_ascii_lowercase();
        length += 1;
    }
    let name = name.get(..length)?;
    let last = name.last();
    if HARMLESS.iter().any(|harmless| harmless.last() == last && name.ends_with(harmless)) {
        return None;
    }
    // Short endings are names only as a whole word: `compass`, `bypass`.
    let is_word = |short: &[u8]| {
        let from = end - short.len();
        let is_hump = text.is(from, UPPER) && text.is_before(from, LOWER);
        name == short || text.is_before(from, DASHES) || is_hump
    };
    NAMES
        .iter()
        .filter(|(ending, _)| ending.last() == last && name.ends_with(ending))
        .find(|(ending, _)| ending.len() > 5 || is_word(ending))
        .map(|(_, entity)| *entity)
}

/// Where the value begins that is given to the name.
fn value_start(text: &Text<'_>, at: usize, name_end: usize) -> Option<(usize, Given)> {
    let mut from = name_end;
    // Of JSON, with or without escapes.
    while matches!(text.get(from)?, b'"' | b'\'' | b'`' | b'\\' | b']' | b'*') {
        from += 1;
        if from > name_end + 3 {
            return None;
        }
    }
    let from = value_of_field(text, name_end, from).unwrap_or(from);
    let spaced = after_spaces(text, from);
    let sign = text.get(spaced)?;
    match sign {
        b':' | b'=' => value_behind(text, spaced),
        b'>' if is_tag(text, at) => Some((spaced + 1, Given::Tagged)),
        // Of SQL, and of a macro in C.
        b'\'' | b'"' if spaced > from => Some((spaced, Given::Quoted)),
        // Of a call that names what it sets: `define('DB_PASSWORD', '…')`.
        b',' if from > name_end && from == spaced => {
            let value = after_spaces(text, spaced + 1);
            matches!(text.get(value)?, b'"' | b'\'').then_some((value, Given::Quoted))
        }
        b'f' | b'F' if spaced > from && text.has_word(spaced, b"for ") => of_account(text, spaced),
        b'i' | b'I' if spaced > from && text.has_word(spaced, b"is") => {
            let next = spaced + 2;
            let value = after_spaces(text, if text.has(next, b':') { next + 1 } else { next });
            (value > next).then_some((value, Given::Told))
        }
        // An option of a command.
        _ if spaced > from && text.before(at) == Some(b'-') => Some((spaced, Given::Told)),
        _ => None,
    }
}

/// The value behind a sign: on its line, alone on the next one, or behind the type that the name has.
fn value_behind(text: &Text<'_>, sign: usize) -> Option<(usize, Given)> {
    let mut next = if matches!(text.get(sign + 1)?, b'=' | b'>') { sign + 2 } else { sign + 1 };
    // The end of what is bold.
    while next < sign + 4 && text.has(next, b'*') {
        next += 1;
    }
    let value = after_spaces(text, next);
    if matches!(text.get(value)?, b'\n' | b'\r') {
        let line = if text.has_all(value, b"\r\n") { value + 2 } else { value + 1 };
        return Some((after_spaces(text, line), Given::Below));
    }
    let typed = text.has(sign, b':').then(|| behind_type(text, value)).flatten();
    Some((typed.unwrap_or(value), Given::Assigned))
}

/// The quote behind `&str =`, where that stands.
fn behind_type(text: &Text<'_>, from: usize) -> Option<usize> {
    let is_of_type = |byte: u8| is(byte, ALPHA) || matches!(byte, b'&' | b'?' | b' ' | b'\'');
    let length = (0..TYPE_BYTES_MAX).take_while(|nth| text.get(from + nth).is_some_and(is_of_type));
    let sign = from + length.count();
    if sign == from || !text.has(sign, b'=') || text.before(sign) != Some(b' ') {
        return None;
    }
    let value = after_spaces(text, sign + 1);
    matches!(text.get(value)?, b'"' | b'\'').then_some(value)
}

/// The value in `SET PASSWORD FOR 'account' = '…'`, and in `API key for the sandbox: …`.
fn of_account(text: &Text<'_>, from: usize) -> Option<(usize, Given)> {
    let is_within = |byte: u8| !matches!(byte, b'=' | b':' | b'.' | b'\n');
    let length = (0..ACCOUNT_BYTES_MAX)
        .take_while(|nth| text.get(from + nth).is_some_and(is_within))
        .count();
    let sign = from + length;
    let value = after_spaces(text, sign + 1);
    match text.get(sign)? {
        b'=' if text.has(value, b'\'') => Some((value, Given::Quoted)),
        b':' if value > sign + 1 && length <= WHOSE_BYTES_MAX => Some((value, Given::Told)),
        _ => None,
    }
}

/// Whether the name is that of a tag, `<Password>` or `<wsse:Password>`.
fn is_tag(text: &Text<'_>, at: usize) -> bool {
    match text.before(at) {
        Some(b'<') => true,
        Some(b':') => {
            let before = text.slice(at.saturating_sub(PREFIX_BYTES_MAX), at - 1);
            before.iter().rev().find(|byte| !is(**byte, ALNUM)) == Some(&b'<')
        }
        Some(_) | None => false,
    }
}

/// The end of `value` in `{"name": "DB_PASSWORD", "value": "…"}`, and where YAML and XML say the same.
fn value_of_field(text: &Text<'_>, name_end: usize, from: usize) -> Option<usize> {
    let mut at = from;
    while at < name_end + SPACES_MAX
        && matches!(text.get(at), Some(b' ' | b',' | b'"' | b'\n' | b'\r' | b'\t'))
    {
        at += 1;
    }
    let is_apart = at > name_end && text.has_word(at, b"value");
    let end = if text.has(at + 5, b'"') { at + 6 } else { at + 5 };
    is_apart.then_some(end)
}

fn after_spaces(text: &Text<'_>, from: usize) -> usize {
    let is_space = |nth: &usize| matches!(text.get(from + nth), Some(b' ' | b'\t'));
    from + (0..SPACES_MAX).take_while(is_space).count()
}

fn is_scheme(text: &Text<'_>, at: usize) -> bool {
    [&b"bearer "[..], b"basic ", b"apikey ", b"api-key "].iter().any(|word| text.has_word(at, word))
}

/// `Bearer …`, and `Basic …` or `ApiKey …` where a header says so.
fn of_scheme(text: &Text<'_>, at: usize, end: usize) -> Option<Match> {
    let start = after_spaces(text, end);
    if let Some(key) = keys::find(text, start) {
        return Some(key);
    }
    let stop = text.span(start, ALNUM | DASHES | LOCAL_MARKS | BASE64_MARKS, TOKEN_BYTES_MAX);
    let value = text.slice(start, stop);
    let value = value.strip_suffix(b".").unwrap_or(value);
    let is_bearer = text.has_word(at, b"bearer");
    let entity = if end - at > 5 && !is_bearer { Entity::ApiKey } else { Entity::AccessToken };
    if !is_bearer {
        let before = text.slice(at.saturating_sub(24), at).to_ascii_lowercase();
        let is_header = before.windows(13).any(|part| part == b"authorization");
        if !is_header || value.len() < 8 {
            return None;
        }
    } else if !value::is_token(value) {
        return None;
    }
    Some(Match { start, end: start + value.len(), entity })
}

const TOKEN_BYTES_MAX: usize = 2048;
