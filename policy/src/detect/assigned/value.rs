//! The values that secrets are: where they end, and whether they only stand in the place of one.

use super::super::keys;
use super::names::NAMES;
use super::{
    Given, KEY_BYTES_MIN, Named, PASSWORD_BYTES_MAX, PASSWORD_BYTES_MIN, Sure, VALUE_BYTES_MAX,
};
use crate::entity::Entity;
use crate::scan::Match;
use crate::text::{ALNUM, ALPHA, BASE64_MARKS, DASHES, DIGIT, LOCAL_MARKS, LOWER, Text, UPPER, is};

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

/// What begins a text of XML in which nothing is markup.
const CDATA: &[u8] = b"<![CDATA[";

/// The quotes of printers, as the fold leaves them.
const OPENING: [&str; 7] = ["“", "‘", "„", "«", "「", "『", "《"];
/// What closes them.
const CLOSING: [&str; 7] = ["”", "’", "“", "»", "」", "』", "》"];

/// The secret that the value is which begins here, behind its quote.
pub(super) fn find(text: &Text<'_>, from: usize, given: Given, named: Named) -> Option<Match> {
    let (mut start, entity) = (from, named.entity);
    while text.has(start, b'\\') && start < from + 2 {
        start += 1;
    }
    let is_escaped = start > from;
    // What some languages write before a quote: `@"…"`, `N'…'`.
    if matches!(text.get(start), Some(b'@' | b'N' | b'b' | b'r' | b'f' | b'u' | b'L'))
        && matches!(text.get(start + 1), Some(b'"' | b'\''))
    {
        start += 1;
    }
    let quote = text.get(start).filter(|byte| matches!(byte, b'"' | b'\'' | b'`'));
    if quote.is_some() {
        start += 1;
    }
    // A field of a file with commas, in which quotes are doubled.
    if quote == Some(b'"') && text.has(start, b'"') && text.is(start + 1, ALNUM) {
        start += 1;
    }
    // Of OpenSSL: `-pass pass:…`.
    if named.entity == Entity::Password && text.has_all(start, b"pass:") {
        start += 5;
    }
    if text.has_all(start, CDATA) {
        start += CDATA.len();
    }
    if let Some(open) = OPENING.iter().find(|open| text.has_all(start, open.as_bytes())) {
        start += open.len();
    }
    if let Some(key) = keys::find(text, start) {
        return Some(key);
    }
    if matches!(entity, Entity::ApiKey | Entity::AccessToken) && text.has_word(start, b"bearer ") {
        start += 7;
    }
    let end = value_end(text, start, quote, (given, is_escaped))?;
    if given == Given::Tagged && !text.has_all(end, b"</") && !text.has_all(end, b"]]>") {
        return None;
    }
    let behind = if quote.is_some() { end + 1 } else { end };
    let is_alone = matches!(text.get(behind), None | Some(b'\n' | b'\r'));
    if given == Given::Below && !is_alone {
        return None;
    }
    let value = text.slice(start, end);
    let is_secret = match entity {
        Entity::Password => {
            value.len() <= PASSWORD_BYTES_MAX && is_password(value, given, quote.is_some())
        }
        Entity::Email
        | Entity::Phone
        | Entity::CreditCard
        | Entity::Iban
        | Entity::NationalId
        | Entity::IpAddress
        | Entity::ApiKey
        | Entity::AccessToken
        | Entity::PrivateKey => is_given_key(value, given, named.sure),
    };
    is_secret.then_some(Match { start, end, entity })
}

/// The end of a value: its quote, or what no value has without quotes.
fn value_end(
    text: &Text<'_>,
    start: usize,
    quote: Option<u8>,
    (given, is_escaped): (Given, bool),
) -> Option<usize> {
    let mut end = start;
    loop {
        if end - start > VALUE_BYTES_MAX {
            return None;
        }
        match (text.get(end), quote) {
            (None, Some(_)) | (Some(b'\n' | b'\r'), Some(_)) => return None,
            (None, None) => break,
            // A quote that was opened with a backslash is closed with one; else it is one inside.
            (Some(b'\\'), Some(_)) if !text.is(end + 1, ALNUM) => {
                if is_escaped {
                    break;
                }
                end += 1;
            }
            // SQL writes a quote within as two.
            (Some(b'\''), Some(b'\''))
                if given == Given::Quoted && end > start && text.has(end + 1, b'\'') =>
            {
                end += 1;
            }
            (Some(byte), Some(quote)) if byte == quote => break,
            (Some(_), Some(_)) => {}
            (Some(byte), None) => {
                let is_next_field = byte == b'&' && is_field(text, end + 1);
                let is_inside = byte == b')' && text.is(end + 1, ALNUM);
                // Of a string in a string: `'X-API-Key: …\\"`.
                let is_quote =
                    byte == b'\\' && matches!(text.get(end + 1), Some(b'"' | b'\'' | b'\\'));
                let is_end = matches!(
                    byte,
                    b',' | b';' | b'|' | b'"' | b'\'' | b'`' | b'<' | b'>' | b')' | b']' | b'}'
                );
                let is_closed = !byte.is_ascii()
                    && CLOSING.iter().any(|close| text.has_all(end, close.as_bytes()));
                if byte.is_ascii_whitespace()
                    || is_next_field
                    || is_quote
                    || is_closed
                    || (is_end && !is_inside)
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
    // An element: `auth[2]`.
    let is_element = !is_quoted
        && value.windows(2).any(|pair| matches!(pair, [one, b'['] if is(*one, ALNUM | DASHES)));
    if value.len() < PASSWORD_BYTES_MIN || is_element || is_reference(value) {
        return false;
    }
    match given {
        Given::Told | Given::Quoted | Given::Below => {
            letters > 0 && digits > 0 && letters + digits >= 5 && !is_of_method(value)
        }
        Given::Bare => {
            let is_inside = value
                .windows(2)
                .any(|pair| matches!(pair, [one, next] if !is(*one, ALPHA) && is(*next, ALPHA)));
            let is_strong = marks > 0 || (digits >= 2 && value.iter().any(u8::is_ascii_uppercase));
            value.len() >= 8
                && letters > 0
                && digits > 0
                && is_inside
                && is_strong
                && !is_of_method(value)
                && !value.iter().any(|byte| matches!(byte, b'/' | b'=' | b':' | b'.'))
        }
        Given::Assigned | Given::Tagged | Given::Cell | Given::Field => {
            let spaces = value.iter().filter(|byte| **byte == b' ').count();
            let is_mixed = letters > 0 && digits + marks > 0;
            let is_pin = letters == 0 && digits >= 6 && digits == value.len();
            // Words with dashes between them, as generators make.
            let dashes = value.iter().filter(|byte| **byte == b'-').count();
            let is_phrase = dashes >= 3 && letters >= 16 && letters + dashes == value.len();
            ((is_mixed || is_pin || is_phrase)
                && spaces == 0
                && (is_quoted || !is_of_method(value)))
                || (is_quoted && letters >= 8 && spaces <= 5 && spaces != 1 && !is_name(value))
        }
    }
}

/// Whether a value is what passwords are called, as in a file of translations: `"login.password": "Passwort"`.
fn is_name(value: &[u8]) -> bool {
    NAMES.iter().any(|(name, _)| value.eq_ignore_ascii_case(name))
}

/// Whether a value begins with how passwords are kept or sent, and is none: `SHA256`, `bcrypt2b`.
fn is_of_method(value: &[u8]) -> bool {
    let methods: [&[u8]; 14] = [
        b"aes",
        b"argon2",
        b"base64",
        b"bcrypt",
        b"md5",
        b"oauth2",
        b"pbkdf2",
        b"rfc",
        b"scram",
        b"sha",
        b"utf-",
        b"utf8",
        b"varchar",
        b"nvarchar",
    ];
    let has = |method: &&[u8]| {
        let head = value.get(..method.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(method))
    };
    methods.iter().any(has)
}

/// Whether a value looks like a key, as far as its name leaves that open.
fn is_given_key(value: &[u8], given: Given, sure: Sure) -> bool {
    match (sure, given) {
        (Sure::Word, _) => keys::is_scrambled(value) && !is_reference(value),
        (Sure::Part, Given::Bare) => keys::is_scrambled(value),
        (Sure::Part, _) | (Sure::Name, Given::Bare) => {
            keys::is_strewn(value) && !is_reference(value)
        }
        (Sure::Name, _) => is_key(value),
    }
}

/// Whether a value looks like a key.
pub(super) fn is_key(value: &[u8]) -> bool {
    let count = |class: u8| value.iter().filter(|byte| is(**byte, class)).count();
    let is_long = value.len() >= 24 && count(UPPER) > 4 && count(LOWER) > 4;
    is_token(value) && count(DIGIT) >= if is_long { 1 } else { 2 }
}

/// Whether a value looks like what a bearer shows. Names of programs, which are letters in both cases as well, do not
/// stand there.
pub(super) fn is_token(value: &[u8]) -> bool {
    let is_word = value
        .iter()
        .all(|byte| is(*byte, ALNUM | DASHES | LOCAL_MARKS | BASE64_MARKS) || *byte == b'~');
    let has_letter = value.iter().any(u8::is_ascii_alphabetic);
    // Base 64 is filled at its end; anywhere else a sign gives something to a name.
    let filled = value.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
    let is_given = value.iter().take(filled).any(|byte| *byte == b'=');
    value.len() >= KEY_BYTES_MIN
        && is_word
        && !is_given
        && has_letter
        && !is_reference(value)
        && keys::is_random(value)
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
            | [b'$', b'{' | b'(' | b'A'..=b'Z' | b'_', ..]
            | [b'%', ..]
            | [b'*', b'*', ..]
    );
    // A tag of YAML says where the value is kept.
    let is_tag = matches!(value, [b'!', name @ ..] if name.iter().all(u8::is_ascii_lowercase));
    // A variable: `$password`, `$config['db']`, `$this->password`.
    let is_variable = matches!(value, [b'$', name @ ..]
        if name.iter().position(|byte| !is(*byte, ALPHA | DASHES)).is_none_or(|end|
            end > 0 && matches!(name.get(end), Some(b'[' | b'>' | b':' | b'.'))));
    let is_path = matches!(value, [b'/', rest @ ..] if rest.contains(&b'/'));
    let is_call = value.iter().any(|byte| matches!(byte, b'(' | b'{' | b'|'));
    let is_dotted = [
        &b"os."[..],
        b"env.",
        b"process.",
        b"self.",
        b"config.",
        b"secrets.",
        b"args.",
        b"ctx.",
        b"data.",
        b"form.",
        b"input.",
        b"options.",
        b"params.",
        b"props.",
        b"req.",
        b"request.",
        b"state.",
        b"this.",
        b"user.",
        b"settings.",
        b"vault:",
        b"op://",
        b"http:",
        b"https:",
        b"projects/",
    ]
    .iter()
    .any(|head| value.starts_with(head));
    let is_placeholder = PLACEHOLDERS.iter().any(|word| {
        let head = value.get(..word.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(word))
            && (value.len() <= word.len() + 1
                || matches!(*word, b"your" | b"xxxx" | b"example" | b"dummy"))
    });
    seen.count_ones() < 4
        || is_variable
        || is_path
        || is_bracketed
        || is_tag
        || is_call
        || is_dotted
        || is_placeholder
        // A key of our own with a wrong checksum.
        || value.starts_with(b"kt_gk_")
}
