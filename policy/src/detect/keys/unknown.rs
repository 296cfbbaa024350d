//! Keys of vendors that are on no list: words that say what it is, as `live`, `sk` or `secret`, and behind them what
//! nobody has written.

use super::drawn;
use crate::entity::Entity;
use crate::scan::Match;
use crate::text::{ALNUM, DASHES, Text};

/// The longest word before what is drawn.
const WORD_BYTES_MAX: usize = 12;
/// So many words may stand there.
const WORDS_MAX: usize = 4;
const REST_BYTES_MAX: usize = 200;
/// So many digits of base 16, behind a word that says that they are secret, are more than somebody's number.
const HEX_DIGITS_MIN: usize = 32;

/// Words that a key may begin with, and whether what follows may have letters in one case only.
const KINDS: [(&[u8], bool); 24] = [
    (b"access", false),
    (b"admin", false),
    (b"api", false),
    (b"apikey", true),
    (b"auth", false),
    (b"cred", false),
    (b"key", false),
    (b"live", false),
    (b"oauth", false),
    (b"pat", true),
    (b"priv", true),
    (b"private", true),
    (b"prod", false),
    (b"production", false),
    (b"refresh", false),
    (b"rk", true),
    (b"sandbox", false),
    (b"sat", false),
    (b"sec", true),
    (b"secret", true),
    (b"sk", true),
    (b"svcacct", true),
    (b"test", false),
    (b"token", false),
];

/// Words that say that it is nobody's secret, or the number of something.
const HARMLESS: [&[u8]; 19] = [
    b"acct",
    b"cs",
    b"cus",
    b"evt",
    b"id",
    b"idempotency",
    b"img",
    b"kid",
    b"pi",
    b"pk",
    b"prj",
    b"pub",
    b"public",
    b"publishable",
    b"req",
    b"run",
    b"session",
    b"site",
    b"txn",
];

/// The key that begins here with a word.
pub(super) fn find(text: &Text<'_>, at: usize) -> Option<Match> {
    let (mut from, mut is_kind, mut is_sure, mut is_token) = (at, false, false, false);
    for _ in 0..WORDS_MAX {
        let end = text.span(from, ALNUM, WORD_BYTES_MAX + 1);
        if end == from || end - from > WORD_BYTES_MAX || !text.is(end, DASHES) {
            break;
        }
        let word = text.slice(from, end);
        if HARMLESS.iter().any(|harmless| word.eq_ignore_ascii_case(harmless)) {
            return None;
        }
        if let Some((kind, is_secret)) =
            KINDS.iter().find(|(kind, _)| word.eq_ignore_ascii_case(kind))
        {
            is_kind = true;
            is_sure |= is_secret;
            is_token |= matches!(*kind, b"oauth" | b"refresh" | b"access");
        } else if word.iter().any(u8::is_ascii_digit) && word.len() > 3 {
            // What is drawn may have dashes within.
            break;
        }
        from = end + 1;
    }
    if !is_kind {
        return None;
    }
    let end = text.span(from, ALNUM | DASHES, REST_BYTES_MAX + 1);
    let rest = text.slice(from, end);
    // Of an address of a page, or of a file.
    let is_name =
        matches!(text.get(end), Some(b'.' | b'/' | b'(' | b'@')) && text.is(end + 1, ALNUM);
    let longest = rest.split(|byte| !byte.is_ascii_alphanumeric()).map(<[u8]>::len).max()?;
    let is_drawn = (longest >= 16 && drawn::is_scrambled(rest))
        || (is_sure && drawn::is_hex(rest, HEX_DIGITS_MIN));
    let is_key = is_drawn && !is_name && rest.len() <= REST_BYTES_MAX;
    let entity = if is_token { Entity::AccessToken } else { Entity::ApiKey };
    is_key.then_some(Match { start: at, end, entity })
}
