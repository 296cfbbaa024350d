//! Private keys in PEM, with their whole block.

use crate::entity::Entity;
use crate::scan::Match;
use crate::text::{ALNUM, BASE64_MARKS, Text, UPPER, is};

/// A longer block is none: a key of 16,384 bits fits in it.
const BLOCK_BYTES_MAX: usize = 16 * 1024;
/// So much between begin and end is no placeholder.
const CLOSED_BYTES_MIN: usize = 16;
/// So much of a block makes it a key, even if its end is missing.
const BODY_BYTES_MIN: usize = 64;

/// The key that begins with this dash.
pub(super) fn find(text: &Text<'_>, at: usize) -> Option<Match> {
    if text.before(at) == Some(b'-') || !text.has_all(at, b"-----BEGIN ") {
        return None;
    }
    let label = label_end(text, at + 11)?;
    let (mut end, mut seen) = (label, 0);
    while end - at < BLOCK_BYTES_MAX {
        match text.get(end) {
            Some(b'-') if text.has_all(end, b"-----END ") => {
                let body = text.slice(label, end);
                let end = label_end(text, end + 9)?;
                let is_drawn = body.iter().any(u8::is_ascii_digit)
                    && body.iter().any(u8::is_ascii_lowercase)
                    && body.iter().any(u8::is_ascii_uppercase);
                return (seen >= CLOSED_BYTES_MIN && is_drawn).then_some(of(at, end));
            }
            Some(b'-') if text.has_all(end, b"--") => break,
            Some(byte) if is(byte, ALNUM | BASE64_MARKS) => seen += 1,
            Some(
                b'\n' | b'\r' | b'\t' | b' ' | b'\\' | b':' | b',' | b'.' | b'(' | b')' | b'-'
                | b'>' | b'"' | b'\'' | b'#' | b'*' | b'|' | b';',
            ) => {}
            // Of a page; `<your key>` is none.
            Some(b'<') if text.has_word(end, b"<br") => {}
            Some(_) | None => break,
        }
        end += 1;
    }
    // The block has no end: what is certainly of it goes with its first line.
    let end = body_end(text, label);
    (end - label >= BODY_BYTES_MIN).then_some(of(at, end))
}

fn of(start: usize, end: usize) -> Match {
    Match { start, end, entity: Entity::PrivateKey }
}

/// The end of `RSA PRIVATE KEY-----` and its like.
fn label_end(text: &Text<'_>, from: usize) -> Option<usize> {
    let mut at = from;
    while at < from + 32 && text.get(at).is_some_and(|byte| byte == b' ' || is(byte, UPPER)) {
        at += 1;
    }
    let label = text.slice(from, at);
    let is_private = label.ends_with(b"PRIVATE KEY") || label.ends_with(b"PRIVATE KEY BLOCK");
    (is_private && text.has_all(at, b"-----")).then_some(at + 5)
}

/// The end of the lines of base 64 that begin here.
fn body_end(text: &Text<'_>, from: usize) -> usize {
    let mut at = from;
    while at - from < BLOCK_BYTES_MAX
        && text.get(at).is_some_and(|byte| {
            is(byte, ALNUM | BASE64_MARKS) || matches!(byte, b'\n' | b'\r' | b'\\')
        })
    {
        at += 1;
    }
    at
}
