//! Secrets that are known by the name that they are given to: `password = …`, `"api_key": "…"`, `Bearer …`, and
//! the password in a URL. Only the value is found; what it is given to stays.
//!
//! A value that shows that it is none is not found: a placeholder, a variable, a call, a word of a sentence.

mod command;
mod frame;
mod named;
mod names;
mod table;
mod url;
mod value;

use super::keys;
use crate::entity::Entity;
use crate::scan::Match;
use crate::text::{ALNUM, BASE64_MARKS, DASHES, LOCAL_MARKS, Text};
pub(super) use named::may_end_name;
use named::named;
use names::FOREIGN;
pub(super) use table::find as find_in_table;

const NAME_BYTES_MAX: usize = 64;
const PASSWORD_BYTES_MIN: usize = 6;
const KEY_BYTES_MIN: usize = 16;
const PASSWORD_BYTES_MAX: usize = 128;
const VALUE_BYTES_MAX: usize = 512;
const SPACES_MAX: usize = 16;
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
    /// In a cell of a table, between bars.
    Cell,
    /// In a line of fields.
    Field,
    /// By nothing: it stands right behind its name.
    Bare,
}

/// What a name is given, and what is asked of it.
#[derive(Clone, Copy)]
struct Named {
    entity: Entity,
    sure: Sure,
}

/// How sure a name says that a key is given to it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sure {
    /// Nothing else is.
    Name,
    /// Other things are as well: digits have to be strewn among letters.
    Part,
    /// Most often something else is: `key`.
    Word,
}

/// The secret whose name, scheme or URL begins here.
pub(super) fn find(text: &Text<'_>, at: usize) -> Option<Match> {
    let is_inside = text.is_before(at, DASHES) && at > 0 && text.is_before(at - 1, ALNUM);
    if is_inside {
        return None;
    }
    let end = text.span(at, ALNUM | DASHES, NAME_BYTES_MAX + 1);
    if end - at > NAME_BYTES_MAX {
        return None;
    }
    if text.before(at) == Some(b'-')
        && let Some(one) = command::find(text, at, end)
    {
        return Some(one);
    }
    if end - at < 2 {
        return None;
    }
    let next = text.get(end)?;
    if next == b':' && text.has(end + 1, b'/') {
        return url::find(text, end);
    }
    if next == b' '
        && end - at <= 8
        && let Some(entity) = scheme(text, at)
        && !matches!(text.get(end + 1), Some(b'=' | b':'))
        && let Some(one) = of_scheme(text, at, end, entity)
    {
        return Some(one);
    }
    let mut named = named(text, at, end)?;
    // In Spanish a `clave` is a password, and a `clave de API` is none.
    if text.has_word(at, b"clave")
        && (text.has_word(end, b" api") || text.has_word(end, b" de api"))
    {
        named.entity = Entity::ApiKey;
    }
    let (from, given) = frame::value_start(text, at, end)?;
    value::find(text, from, given, named)
}

/// The secret behind the sign that stands here, if before it stands a name in another script.
pub(super) fn find_foreign(text: &Text<'_>, at: usize) -> Option<Match> {
    let mut end = at;
    while end + 3 > at && matches!(text.before(end), Some(b' ' | b'"' | b'\'' | b'*')) {
        end -= 1;
    }
    // The fold may have made its last letters ASCII.
    let is_foreign = |byte: Option<u8>| byte.is_some_and(|byte| !byte.is_ascii());
    if !(0..4).any(|back| is_foreign(text.before(end.saturating_sub(back)))) {
        return None;
    }
    let name = text.slice(end.saturating_sub(FOREIGN_BYTES_MAX), end);
    let (_, entity) = FOREIGN.iter().find(|(one, _)| name.ends_with(one.as_bytes()))?;
    let named = Named { entity: *entity, sure: Sure::Name };
    value::find(text, after_spaces(text, at + 1), Given::Assigned, named)
}

fn after_spaces(text: &Text<'_>, from: usize) -> usize {
    let is_space = |nth: &usize| matches!(text.get(from + nth), Some(b' ' | b'\t'));
    from + (0..SPACES_MAX).take_while(is_space).count()
}

/// Schemes of `Authorization`, and what is shown by them.
const SCHEMES: [(&[u8], Entity); 8] = [
    (b"bearer ", Entity::AccessToken),
    (b"basic ", Entity::AccessToken),
    (b"token ", Entity::AccessToken),
    (b"apikey ", Entity::ApiKey),
    (b"api-key ", Entity::ApiKey),
    (b"key ", Entity::ApiKey),
    (b"ssws ", Entity::ApiKey),
    (b"geniekey ", Entity::ApiKey),
];

fn scheme(text: &Text<'_>, at: usize) -> Option<Entity> {
    SCHEMES.iter().find(|(word, _)| text.has_word(at, word)).map(|(_, entity)| *entity)
}

/// `Bearer …`, and `Basic …` or `ApiKey …` where a header says so.
fn of_scheme(text: &Text<'_>, at: usize, end: usize, entity: Entity) -> Option<Match> {
    let is_bearer = text.has_word(at, b"bearer");
    if !is_bearer {
        let before = text.slice(at.saturating_sub(24), at).to_ascii_lowercase();
        let is_given = before
            .iter()
            .rfind(|byte| !matches!(byte, b' ' | b'f'))
            .is_some_and(|byte| matches!(byte, b':' | b'=' | b'"' | b'\'' | b',' | b'('));
        if !is_given || !before.windows(13).any(|part| part == b"authorization") {
            return None;
        }
    }
    let start = after_spaces(text, end);
    if let Some(key) = keys::find(text, start) {
        return Some(key);
    }
    let stop = text.span(start, ALNUM | DASHES | LOCAL_MARKS | BASE64_MARKS, TOKEN_BYTES_MAX);
    let value = text.slice(start, stop);
    let value = value.strip_suffix(b".").unwrap_or(value);
    let is_given = if is_bearer {
        value::is_token(value)
    } else if text.has_word(at, b"basic") || entity == Entity::ApiKey {
        value.len() >= 8 && !text.has_word(at, b"key") || value::is_key(value)
    } else {
        value::is_key(value)
    };
    is_given.then_some(Match { start, end: start + value.len(), entity })
}

const TOKEN_BYTES_MAX: usize = 2048;
