//! What commands take: `curl -u user:…`, `mysql -p…`, `sshpass -p …`, `redis-cli -a …`.

use super::{Given, Named, Sure, after_spaces, value};
use crate::entity::Entity;
use crate::scan::Match;
use crate::text::{ALNUM, DASHES, LOCAL_MARKS, Text};

/// How far before an option its command may stand.
const COMMAND_BYTES_MAX: usize = 96;
/// The longest user of `-u user:…`.
const USER_BYTES_MAX: usize = 48;

const PASSWORD: Named = Named { entity: Entity::Password, sure: Sure::Name };

/// The password behind the option that begins here.
pub(super) fn find(text: &Text<'_>, at: usize, end: usize) -> Option<Match> {
    let first = text.get(at)?.to_ascii_lowercase();
    let is_user = (first == b'u' && end == at + 1 && text.has(at, b'u'))
        || (end == at + 4 && text.has_word(at, b"user"));
    if is_user {
        return of_user(text, end);
    }
    if !matches!(first, b'p' | b'a') || !text.has(at, first) || text.before(at - 1) == Some(b'-') {
        return None;
    }
    let before = text.slice(at.saturating_sub(COMMAND_BYTES_MAX), at);
    let line = before.rsplit(|byte| *byte == b'\n').next()?;
    let is_of = |command: &[u8]| line.windows(command.len()).any(|part| part == command);
    let start = match first {
        b'p' if is_of(b"mysql") || is_of(b"mariadb") => at + 1,
        b'p' if end == at + 1 && (is_of(b"sshpass") || is_of(b"docker login")) => {
            after_spaces(text, end)
        }
        b'a' if end == at + 1 && is_of(b"redis-cli") => after_spaces(text, end),
        _ => return None,
    };
    value::find(text, start, Given::Told, PASSWORD)
}

/// The password of `user:password`, with quotes or without.
fn of_user(text: &Text<'_>, end: usize) -> Option<Match> {
    let mut user = if text.has(end, b'=') { end + 1 } else { after_spaces(text, end) };
    let quote = text.get(user).filter(|byte| matches!(byte, b'"' | b'\''));
    if quote.is_some() {
        user += 1;
    }
    let colon = text.span(user, ALNUM | DASHES | LOCAL_MARKS, USER_BYTES_MAX);
    if user == end || colon == user || !text.has(colon, b':') {
        return None;
    }
    let one = value::find(text, colon + 1, Given::Told, PASSWORD)?;
    let is_closed = quote.is_none() || text.get(one.end) == quote;
    is_closed.then_some(one)
}
