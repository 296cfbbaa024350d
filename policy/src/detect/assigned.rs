//! Secrets that are known by the name that they are given to: `password = …`, `"api_key": "…"`, `Bearer …`, and
//! the password in a URL. Only the value is found; what it is given to stays.
//!
//! A value that shows that it is none is not found: a placeholder, a variable, a call, a word of a sentence.

use super::keys;
use crate::entity::Entity;
use crate::scan::Match;
use crate::text::{ALNUM, ALPHA, BASE64_MARKS, DASHES, DIGIT, LOCAL_MARKS, Text, is};

const NAME_BYTES_MAX: usize = 48;
const PASSWORD_BYTES_MIN: usize = 6;
const KEY_BYTES_MIN: usize = 16;
const VALUE_BYTES_MAX: usize = 128;

/// Ends of names, without dashes and in lower case, and what is given to such a name.
const NAMES: [(&[u8], Entity); 37] = [
    (b"password", Entity::Password),
    (b"passwd", Entity::Password),
    (b"pwd", Entity::Password),
    (b"passphrase", Entity::Password),
    (b"passcode", Entity::Password),
    (b"passwort", Entity::Password),
    (b"kennwort", Entity::Password),
    (b"contrasena", Entity::Password),
    (b"wachtwoord", Entity::Password),
    (b"senha", Entity::Password),
    (b"haslo", Entity::Password),
    (b"passe", Entity::Password),
    (b"dbpass", Entity::Password),
    (b"userpass", Entity::Password),
    (b"pass", Entity::Password),
    (b"pw", Entity::Password),
    (b"apikey", Entity::ApiKey),
    (b"secretkey", Entity::ApiKey),
    (b"accesskey", Entity::ApiKey),
    (b"accountkey", Entity::ApiKey),
    (b"authkey", Entity::ApiKey),
    (b"signingkey", Entity::ApiKey),
    (b"encryptionkey", Entity::ApiKey),
    (b"subscriptionkey", Entity::ApiKey),
    (b"functionskey", Entity::ApiKey),
    (b"masterkey", Entity::ApiKey),
    (b"clientsecret", Entity::ApiKey),
    (b"appsecret", Entity::ApiKey),
    (b"apisecret", Entity::ApiKey),
    (b"secret", Entity::ApiKey),
    (b"accesstoken", Entity::AccessToken),
    (b"authtoken", Entity::AccessToken),
    (b"refreshtoken", Entity::AccessToken),
    (b"sessiontoken", Entity::AccessToken),
    (b"bearertoken", Entity::AccessToken),
    (b"bottoken", Entity::AccessToken),
    (b"token", Entity::AccessToken),
];
/// Names of other tokens.
const HARMLESS: [&[u8]; 7] = [
    b"pagetoken",
    b"nexttoken",
    b"continuationtoken",
    b"maxtoken",
    b"csrftoken",
    b"synctoken",
    b"resumetoken",
];
/// What is written where a password would be.
const PLACEHOLDERS: [&[u8]; 14] = [
    b"changeit",
    b"changeme",
    b"dummy",
    b"example",
    b"hidden",
    b"password",
    b"placeholder",
    b"redacted",
    b"required",
    b"secret",
    b"string",
    b"undefined",
    b"your",
    b"xxxx",
];

/// How a value is given.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Given {
    /// By a sign: `=`, `:`.
    Assigned,
    /// In a sentence: `is`.
    Told,
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
        b':' if text.has(end + 1, b'/') => in_url(text, end),
        b' ' if end - at <= 6 && (text.has_word(at, b"bearer") || text.has_word(at, b"basic")) => {
            of_scheme(text, at, end)
        }
        _ => {
            let (value, given) = value_start(text, at, end)?;
            let entity = named(text, at, end)?;
            of_value(text, value, given, entity)
        }
    }
}

/// What a name of this kind is given.
fn named(text: &Text<'_>, at: usize, end: usize) -> Option<Entity> {
    let last = text.before(end)?.to_ascii_lowercase();
    if !matches!(last, b'd' | b'e' | b't' | b'a' | b'o' | b's' | b'w' | b'y' | b'n') {
        return None;
    }
    let mut name = [0; NAME_BYTES_MAX + 6];
    let mut length = 0;
    // The name may be two words: `API key`.
    let is_key = end - at == 3 && text.has_word(at, b"key");
    let before: &[u8] = if is_key { text.slice(at.saturating_sub(7), at) } else { &[] };
    let word =
        before.strip_suffix(b" ").and_then(|words| words.rsplit(|byte| !is(*byte, ALNUM)).next());
    let whole = word.unwrap_or_default().iter().chain(text.slice(at, end));
    for (slot, byte) in name.iter_mut().zip(whole.filter(|byte| is(**byte, ALNUM))) {
        *slot = byte.to_ascii_lowercase();
        length += 1;
    }
    let name = name.get(..length)?;
    if HARMLESS.iter().any(|harmless| name.ends_with(harmless)) {
        return None;
    }
    // Short endings are names only as a whole word: `compass`, `bypass`.
    let is_word = |short: &[u8]| name == short || text.is_before(end - short.len(), DASHES);
    NAMES
        .iter()
        .find(|(ending, _)| name.ends_with(ending) && (ending.len() > 5 || is_word(ending)))
        .map(|(_, entity)| *entity)
}

/// Where the value begins that is given to the name.
fn value_start(text: &Text<'_>, at: usize, name_end: usize) -> Option<(usize, Given)> {
    let mut from = name_end;
    // Of JSON, with or without escapes.
    while matches!(text.get(from)?, b'"' | b'\'' | b'`' | b'\\' | b']') {
        from += 1;
        if from > name_end + 3 {
            return None;
        }
    }
    let spaced = after_spaces(text, from);
    let sign = text.get(spaced)?;
    match sign {
        b':' | b'=' => {
            let next =
                if matches!(text.get(spaced + 1)?, b'=' | b'>') { spaced + 2 } else { spaced + 1 };
            Some((after_spaces(text, next), Given::Assigned))
        }
        b'>' if text.before(at) == Some(b'<') => Some((spaced + 1, Given::Assigned)),
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

fn after_spaces(text: &Text<'_>, from: usize) -> usize {
    let spaces = (0..3).take_while(|nth| text.has(from + nth, b' ')).count();
    from + spaces
}

fn of_value(text: &Text<'_>, from: usize, given: Given, entity: Entity) -> Option<Match> {
    let mut start = from;
    while text.has(start, b'\\') && start < from + 2 {
        start += 1;
    }
    let quote = text.get(start).filter(|byte| matches!(byte, b'"' | b'\'' | b'`'));
    if quote.is_some() {
        start += 1;
    }
    if let Some(key) = keys::find(text, start) {
        return Some(key);
    }
    if matches!(entity, Entity::ApiKey | Entity::AccessToken) && text.has_word(start, b"bearer ") {
        start += 7;
    }
    let end = value_end(text, start, quote)?;
    let value = text.slice(start, end);
    let is_secret = match entity {
        Entity::Password => is_password(value, given, quote.is_some()),
        Entity::Email
        | Entity::Phone
        | Entity::CreditCard
        | Entity::Iban
        | Entity::NationalId
        | Entity::IpAddress
        | Entity::ApiKey
        | Entity::AccessToken
        | Entity::PrivateKey => is_key(value),
    };
    is_secret.then_some(Match { start, end, entity })
}

/// The end of a value: its quote, or what no value has without quotes.
fn value_end(text: &Text<'_>, start: usize, quote: Option<u8>) -> Option<usize> {
    let mut end = start;
    loop {
        if end - start > VALUE_BYTES_MAX {
            return None;
        }
        match (text.get(end), quote) {
            (None, Some(_)) | (Some(b'\n' | b'\r'), Some(_)) => return None,
            (None, None) => break,
            (Some(b'\\'), Some(_)) if !text.is(end + 1, ALNUM) => break,
            (Some(byte), Some(quote)) if byte == quote => break,
            (Some(_), Some(_)) => {}
            (Some(byte), None) => {
                let is_next_field = byte == b'&' && is_field(text, end + 1);
                if byte.is_ascii_whitespace()
                    || matches!(
                        byte,
                        b',' | b';' | b'"' | b'\'' | b'`' | b'<' | b'>' | b')' | b']' | b'}'
                    )
                    || is_next_field
                {
                    break;
                }
            }
        }
        end += 1;
    }
    while quote.is_none() && end > start && matches!(text.before(end), Some(b'.' | b'?' | b':')) {
        end -= 1;
    }
    Some(end)
}

/// Whether `name=` stands here, as in a query.
fn is_field(text: &Text<'_>, at: usize) -> bool {
    let name = text.span(at, ALNUM | DASHES, 24);
    name > at && text.has(name, b'=')
}

fn is_password(value: &[u8], given: Given, is_quoted: bool) -> bool {
    let count = |class: u8| value.iter().filter(|byte| is(**byte, class)).count();
    let (letters, digits) = (count(ALPHA), count(DIGIT));
    let marks = value
        .iter()
        .filter(|byte| {
            matches!(
                byte,
                b'!' | b'@' | b'#' | b'$' | b'%' | b'^' | b'&' | b'*' | b'?' | b'+' | b'~'
            )
        })
        .count();
    if value.len() < PASSWORD_BYTES_MIN || is_reference(value) {
        return false;
    }
    match given {
        Given::Told => letters > 0 && digits > 0 && letters + digits >= 5,
        Given::Assigned => {
            let spaces = value.iter().filter(|byte| **byte == b' ').count();
            let is_mixed = letters > 0 && digits + marks > 0;
            let is_pin = letters == 0 && digits >= 6 && digits == value.len();
            ((is_mixed || is_pin) && spaces == 0)
                || (is_quoted && letters >= 8 && spaces <= 5 && spaces != 1)
        }
    }
}

fn is_key(value: &[u8]) -> bool {
    let is_word = value
        .iter()
        .all(|byte| is(*byte, ALNUM | DASHES | LOCAL_MARKS | BASE64_MARKS) || *byte == b'~');
    let has_letter = value.iter().any(u8::is_ascii_alphabetic);
    value.len() >= KEY_BYTES_MIN
        && is_word
        && has_letter
        && !is_reference(value)
        && keys::is_random(value)
        && value.iter().filter(|byte| byte.is_ascii_digit()).count() >= 2
}

/// Whether the value only names a secret, or stands in the place of one.
fn is_reference(value: &[u8]) -> bool {
    let mut seen = 0_u128;
    for byte in value {
        seen |= 1 << (byte & 0x7F);
    }
    let is_bracketed = matches!(
        value,
        [b'<' | b'[' | b'{' | b'(', ..]
            | [b'$', b'{' | b'(' | b'A'..=b'Z', ..]
            | [b'%', ..]
            | [b'*', b'*', ..]
    );
    let is_call = value.iter().any(|byte| matches!(byte, b'(' | b'{' | b'|'));
    let is_dotted = [
        &b"os."[..],
        b"env.",
        b"process.",
        b"self.",
        b"config.",
        b"secrets.",
        b"settings.",
        b"vault:",
        b"http:",
        b"https:",
    ]
    .iter()
    .any(|head| value.starts_with(head));
    let is_placeholder = PLACEHOLDERS.iter().any(|word| {
        let head = value.get(..word.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(word))
            && (value.len() <= word.len() + 1
                || matches!(*word, b"your" | b"xxxx" | b"example" | b"dummy"))
    });
    seen.count_ones() < 4 || is_bracketed || is_call || is_dotted || is_placeholder
}

/// `Bearer …` and `Basic …`, the latter only where a header says so.
fn of_scheme(text: &Text<'_>, at: usize, end: usize) -> Option<Match> {
    let start = after_spaces(text, end);
    if let Some(key) = keys::find(text, start) {
        return Some(key);
    }
    let stop = text.span(start, ALNUM | DASHES | LOCAL_MARKS | BASE64_MARKS, TOKEN_BYTES_MAX);
    let value = text.slice(start, stop);
    let value = value.strip_suffix(b".").unwrap_or(value);
    let is_basic = end - at == 5;
    if is_basic {
        let before = text.slice(at.saturating_sub(24), at).to_ascii_lowercase();
        let is_header = before.windows(13).any(|part| part == b"authorization");
        if !is_header || value.len() < 8 {
            return None;
        }
    } else if !is_key(value) {
        return None;
    }
    Some(Match { start, end: start + value.len(), entity: Entity::AccessToken })
}

const TOKEN_BYTES_MAX: usize = 2048;

/// The password of `scheme://user:password@host`.
fn in_url(text: &Text<'_>, colon: usize) -> Option<Match> {
    if !text.has_all(colon, b"://") {
        return None;
    }
    let user = colon + 3;
    let mut start = None;
    for at in user..user + VALUE_BYTES_MAX {
        match text.get(at)? {
            b':' if start.is_none() => start = Some(at + 1),
            b'@' => {
                let start = start?;
                let value = text.slice(start, at);
                let is_secret = value.len() >= 3 && !is_reference_in_url(value);
                return is_secret.then_some(Match { start, end: at, entity: Entity::Password });
            }
            b'/' | b'?' | b' ' | b'"' | b'\'' | b'<' | b'>' | b'\n' | b')' => return None,
            _ => {}
        }
    }
    None
}

fn is_reference_in_url(value: &[u8]) -> bool {
    let is_word = |word: &[u8]| value.eq_ignore_ascii_case(word);
    value.iter().any(|byte| matches!(byte, b'{' | b'[' | b'*'))
        || value.first() == Some(&b'$')
        || [&b"password"[..], b"pass", b"pwd", b"secret"].iter().any(|word| is_word(word))
}
