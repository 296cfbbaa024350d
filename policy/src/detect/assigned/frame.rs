//! Where a value begins that is given to a name: behind a sign, in quotes, between tags, on the next line, in a sentence.

use super::{Given, after_spaces};
use crate::text::{ALNUM, ALPHA, DIGIT, Text, is};

/// How far from its name what says `value` may begin.
const FIELD_BYTES_MAX: usize = 20;
/// The longest type between a name and its value.
const TYPE_BYTES_MAX: usize = 24;
/// The longest account whose password is set.
const ACCOUNT_BYTES_MAX: usize = 64;
/// The longest `for the sandbox` between a name and its value.
const WHOSE_BYTES_MAX: usize = 40;
/// The longest prefix of a tag.
const PREFIX_BYTES_MAX: usize = 16;
/// The longest tag between a name and its value, and how many there may be.
const TAG_BYTES_MAX: usize = 40;
const TAGS_MAX: usize = 4;

/// What a sentence gives by: `is`, in some languages, as the fold leaves it.
const VERBS: [&[u8]; 16] = [
    b"is",
    b"was",
    b"ist",
    b"lautet",
    b"war",
    b"est",
    b"es",
    b"e",
    b"to",
    b"jest",
    b"er",
    b"ar",
    b"je",
    b"sera",
    b"provided",
    b"equals",
];
/// What may stand between that and the value.
const ADVERBS: [&[u8]; 5] = [b"now", b"still", b"currently", b"jetzt", b"set"];
/// Whose or what for: `Passwort für …:`.
const OF: [&[u8]; 32] = [
    b"api", b"at", b"auf", b"d", b"dostepu", b"da", b"de", b"del", b"della", b"der", b"des", b"di",
    b"dla", b"do", b"du", b"for", b"fur", b"im", b"in", b"od", b"of", b"on", b"para", b"per",
    b"pour", b"pro", b"till", b"til", b"vom", b"von", b"voor", b"zum",
];

/// Where the value begins that is given to the name.
pub(super) fn value_start(text: &Text<'_>, at: usize, name_end: usize) -> Option<(usize, Given)> {
    let from = behind_closers(text, name_end)?;
    let from = value_of_field(text, name_end, from).unwrap_or(from);
    let spaced = after_spaces(text, from);
    let is_apart = spaced > from;
    match text.get(spaced)? {
        b':' | b'=' => value_behind(text, spaced),
        b'>' if is_tag(text, at) || from > name_end => {
            Some((behind_tags(text, spaced + 1), Given::Tagged))
        }
        b'<' if text.has(spaced + 1, b'/') => of_next_cell(text, spaced),
        b'<' if is_apart && text.has(spaced + 1, b'-') => quoted(text, spaced + 2),
        b'-' if text.has(spaced + 1, b'>') => Some((after_spaces(text, spaced + 2), Given::Told)),
        b'-' if is_apart && text.has_word(spaced, b"-string ") => quoted(text, spaced + 8),
        b'-' if is_apart && text.has(spaced + 1, b' ') => {
            Some((after_spaces(text, spaced + 1), Given::Told))
        }
        0xE2 if is_dash_or_arrow(text, spaced) => {
            Some((after_spaces(text, spaced + 3), Given::Told))
        }
        b'|' if text.has(spaced + 1, b'|') => quoted(text, spaced + 2),
        b'|' if is_first_cell(text, at) => Some((after_spaces(text, spaced + 1), Given::Cell)),
        b'?' if matches!(text.get(spaced + 1)?, b'?' | b':') => quoted(text, spaced + 2),
        // Of SQL, and of a macro in C.
        b'\'' | b'"' if is_apart => Some((spaced, Given::Quoted)),
        // Of a call that names what it sets: `define('DB_PASSWORD', '…')`.
        b',' if from > name_end && !is_apart => quoted(text, spaced + 1),
        b'(' if !is_apart && matches!(text.get(spaced + 1)?, b'"' | b'\'' | b' ') => {
            quoted(text, spaced + 1)
        }
        b'{' if !is_apart => quoted(text, spaced + 1),
        b'(' | b'[' => behind_brackets(text, spaced),
        b'f' | b'F' if is_apart && text.has_word(spaced, b"for ") => of_account(text, spaced),
        first if is_apart && is(first, ALNUM) => in_words(text, at, name_end, spaced),
        // An option of a command.
        _ if is_apart && text.before(at) == Some(b'-') => Some((spaced, Given::Told)),
        _ => None,
    }
}

/// The end of the quotes and brackets that a name is in, of JSON with or without escapes.
fn behind_closers(text: &Text<'_>, name_end: usize) -> Option<usize> {
    let mut from = name_end;
    while matches!(text.get(from)?, b'"' | b'\'' | b'`' | b'\\' | b']' | b'*') {
        from += 1;
        if from > name_end + 4 {
            return None;
        }
    }
    // Of an array in C.
    if from == name_end && text.has(from, b'[') {
        let close = text.span(from + 1, DIGIT, 6);
        if text.has(close, b']') {
            return Some(close + 1);
        }
    }
    Some(from)
}

/// The value that stands in quotes here.
fn quoted(text: &Text<'_>, from: usize) -> Option<(usize, Given)> {
    let value = after_spaces(text, from);
    matches!(text.get(value)?, b'"' | b'\'').then_some((value, Given::Quoted))
}

/// Whether a dash as printers have it stands here, or an arrow.
fn is_dash_or_arrow(text: &Text<'_>, at: usize) -> bool {
    ["→", "⇒", "–", "—"].iter().any(|sign| text.has_all(at, sign.as_bytes()))
}

/// Whether a cell of a table begins before this name.
fn is_first_cell(text: &Text<'_>, at: usize) -> bool {
    let mut from = at;
    while from + 4 > at && matches!(text.before(from), Some(b' ' | b'*' | b'`')) {
        from -= 1;
    }
    text.before(from) == Some(b'|')
}

/// The value behind `(admin):`.
fn behind_brackets(text: &Text<'_>, open: usize) -> Option<(usize, Given)> {
    let is_within =
        |nth: &usize| text.get(open + nth).is_some_and(|byte| !matches!(byte, b')' | b']' | b'\n'));
    let close = open + 1 + (1..WHOSE_BYTES_MAX).take_while(is_within).count();
    if !matches!(text.get(close)?, b')' | b']') {
        return None;
    }
    let sign = after_spaces(text, close + 1);
    let is_sign = text.has(sign, b':') || (text.has(sign, b'=') && text.has(open, b'('));
    is_sign.then(|| (after_spaces(text, sign + 1), Given::Told))
}

/// What stands behind a name and a space: a type, a word for *is*, whose it is, or the value itself.
fn in_words(text: &Text<'_>, at: usize, name_end: usize, from: usize) -> Option<(usize, Given)> {
    if let Some(value) = behind_type(text, from) {
        return Some((value, Given::Assigned));
    }
    let is_option = text.before(at) == Some(b'-')
        || text.has_word(at, b"requirepass")
        || text.has_word(at, b"masterauth");
    let end = text.span(from, ALPHA, 9);
    let word = text.slice(from, end);
    let is_one_of =
        |words: &[&[u8]], word: &[u8]| words.iter().any(|one| word.eq_ignore_ascii_case(one));
    if !is_option && is_one_of(&VERBS, word) {
        let value = after_spaces(text, if text.has(end, b':') { end + 1 } else { end });
        let next = text.span(value, ALPHA, 10);
        let is_adverb = text.has(next, b' ') && is_one_of(&ADVERBS, text.slice(value, next));
        let value = if is_adverb { after_spaces(text, next) } else { value };
        return (value > end).then_some((value, Given::Told));
    }
    if !is_option && is_one_of(&OF, word) {
        return behind_whose(text, end);
    }
    // `password 0 …`, as routers have it.
    let value = if text.has_all(from, b"0 ") { from + 2 } else { from };
    let is_command = is_option && name_end == from - 1;
    Some((value, if is_command { Given::Told } else { Given::Bare }))
}

/// The value behind the sign of `for the sandbox:`.
fn behind_whose(text: &Text<'_>, from: usize) -> Option<(usize, Given)> {
    let is_within = |nth: &usize| {
        text.get(from + nth).is_some_and(|byte| {
            is(byte, ALNUM) || !byte.is_ascii() || matches!(byte, b' ' | b'-' | b'_' | b'\'')
        })
    };
    let sign = from + (0..WHOSE_BYTES_MAX).take_while(is_within).count();
    let value = after_spaces(text, sign + 1);
    (text.has(sign, b':') && value > sign + 1).then_some((value, Given::Told))
}

/// The value in the next cell of a table, or in the next element, of a page: `</td><td>`.
fn of_next_cell(text: &Text<'_>, from: usize) -> Option<(usize, Given)> {
    let value = behind_tags(text, from);
    let is_next = value > from && !text.has(value, b'<');
    is_next.then_some((value, Given::Tagged))
}

/// The end of tags that follow each other.
fn behind_tags(text: &Text<'_>, from: usize) -> usize {
    let mut at = from;
    for _ in 0..TAGS_MAX {
        let open = after_line(text, at);
        if !text.has(open, b'<') || text.has(open + 1, b'!') {
            break;
        }
        let is_within = |nth: &usize| {
            text.get(open + nth).is_some_and(|byte| !matches!(byte, b'>' | b'<' | b'\n'))
        };
        let close = open + 1 + (1..TAG_BYTES_MAX).take_while(is_within).count();
        if !text.has(close, b'>') {
            break;
        }
        at = close + 1;
    }
    at
}

/// Behind spaces and one end of a line.
fn after_line(text: &Text<'_>, from: usize) -> usize {
    let at = after_spaces(text, from);
    if text.has(at, b'\n') { after_spaces(text, at + 1) } else { at }
}

/// The value behind a sign: on its line, alone on the next one, or behind the type that the name has.
fn value_behind(text: &Text<'_>, sign: usize) -> Option<(usize, Given)> {
    let mut next = match text.get(sign + 1)? {
        // Compared is with names as well.
        b'=' if text.has(sign, b'=') => return quoted(text, sign + 2),
        b'=' | b'>' => sign + 2,
        // What a shell takes if there is none: `${DB_PASSWORD:-…}`.
        b'-' if text.has(sign, b':') && text.is(sign + 2, ALNUM) => sign + 2,
        _ => sign + 1,
    };
    // The end of what is bold.
    while next < sign + 4 && matches!(text.get(next), Some(b'*' | b'_')) {
        next += 1;
    }
    let mut value = after_spaces(text, next);
    // A block of YAML, and a line of a shell that goes on.
    if matches!(text.get(value)?, b'|' | b'>' | b'\\') {
        let mark =
            if matches!(text.get(value + 1), Some(b'-' | b'+')) { value + 2 } else { value + 1 };
        if matches!(text.get(mark)?, b'\n' | b'\r') {
            value = mark;
        }
    }
    if matches!(text.get(value)?, b'\n' | b'\r') {
        let line = if text.has_all(value, b"\r\n") { value + 2 } else { value + 1 };
        let below = after_spaces(text, line);
        let item = if text.has_all(below, b"- ") { after_spaces(text, below + 2) } else { below };
        return Some((item, Given::Below));
    }
    // The first of a list.
    if text.has(value, b'[') && matches!(text.get(value + 1)?, b'"' | b'\'') {
        return Some((value + 1, Given::Assigned));
    }
    // What a call gives: `PASSWORD('…')`.
    if text.has_word(value, b"password(") && matches!(text.get(value + 9)?, b'"' | b'\'') {
        return Some((value + 9, Given::Quoted));
    }
    if text.has(value, b'<') && !text.has(sign, b'=') {
        let inner = behind_tags(text, value);
        if inner > value {
            return Some((inner, Given::Tagged));
        }
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
        b'=' if text.has_word(value, b"password('") => Some((value + 9, Given::Quoted)),
        b'=' if text.has(value, b'\'') => Some((value, Given::Quoted)),
        b':' if value > sign + 1 && length <= WHOSE_BYTES_MAX => Some((value, Given::Told)),
        _ => {
            let whose = text.slice(from, sign);
            let is = whose.windows(4).take(WHOSE_BYTES_MAX).position(|part| part == b" is ")?;
            Some((from + is + 4, Given::Told))
        }
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

/// The end of `value` in `{"name": "DB_PASSWORD", "value": "…"}`, and where YAML, XML and HCL say the same.
fn value_of_field(text: &Text<'_>, name_end: usize, from: usize) -> Option<usize> {
    let mut at = from;
    while at < name_end + FIELD_BYTES_MAX
        && matches!(text.get(at), Some(b' ' | b',' | b'"' | b'\n' | b'\r' | b'\t' | b'{'))
    {
        at += 1;
    }
    // A variable of Terraform, with its type before what it is.
    if text.has_word(at, b"type = string") || text.has_word(at, b"type  ") {
        let line = (at..at + 32).find(|place| text.get(*place).is_none_or(|byte| byte == b'\n'))?;
        at = after_spaces(text, line + 1);
    }
    let space = if text.has_word(at, b"android:") { at + 8 } else { at };
    if space > name_end && text.has_word(space, b"default ") {
        return Some(space + 7);
    }
    let is_apart = space > name_end && text.has_word(space, b"value");
    let end = if text.has(space + 5, b'"') { space + 6 } else { space + 5 };
    is_apart.then_some(end)
}
