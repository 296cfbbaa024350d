//! The password of a URL.

use super::super::keys;
use crate::entity::Entity;
use crate::scan::Match;
use crate::text::Text;

/// How long user and password are together, at most.
const USER_BYTES_MAX: usize = 160;

/// The password of `scheme://user:password@host`. It ends at the last `@` before the path: `@` in a password should be
/// escaped, and is not always.
pub(super) fn find(text: &Text<'_>, colon: usize) -> Option<Match> {
    if !text.has_all(colon, b"://") {
        return None;
    }
    let user = colon + 3;
    let (mut start, mut end) = (None, None);
    for at in user..user + USER_BYTES_MAX {
        match text.get(at) {
            Some(b':') if start.is_none() => start = Some(at + 1),
            Some(b'@') => end = Some(at),
            None
            | Some(b'/' | b'?' | b' ' | b'"' | b'\'' | b'`' | b'<' | b'>' | b'\n' | b')' | b'\\') =>
            {
                break;
            }
            Some(_) => {}
        }
    }
    let (start, end) = (start?, end?);
    // A key in the place of a password is one: `https://oauth2:glpat-…@host`.
    if let Some(key) = keys::find(text, start).filter(|key| key.end == end) {
        return Some(key);
    }
    let value = text.slice(start, end);
    let is_secret = value.len() >= 3 && !is_reference(value);
    is_secret.then_some(Match { start, end, entity: Entity::Password })
}

fn is_reference(value: &[u8]) -> bool {
    let is_word = |word: &[u8]| value.eq_ignore_ascii_case(word);
    value.iter().any(|byte| matches!(byte, b'{' | b'[' | b'*'))
        || value.first() == Some(&b'$')
        || [&b"password"[..], b"pass", b"pwd", b"secret"].iter().any(|word| is_word(word))
}
