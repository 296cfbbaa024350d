//! Keys and tokens that begin with what their issuer has chosen, and JSON web tokens.
//!
//! What stands in documentation is none: a key with `EXAMPLE` in it, or one of few different characters.

mod drawn;
mod forms;
mod index;
mod other;
mod unknown;

use kt_contract::gateway_key::GatewayKey;

use drawn::is_mixed;
pub(super) use drawn::{is_random, is_scrambled, is_strewn};
use forms::Form;

use crate::entity::Entity;
use crate::scan::Match;
use crate::text::{ALNUM, DASHES, DIGIT, HEX, LOCAL_MARKS, Text};

const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// The checksum behind a key of Atlassian's.
const CHECKSUM_BYTES: usize = 8;

const WORD: u8 = ALNUM | DASHES;
const DOTTED: u8 = WORD | LOCAL_MARKS;
/// A line break, a backslash before it and what the next line is indented by.
const BREAK_BYTES_MAX: usize = 12;
/// So many lines of one token are read.
const LINES_MAX: usize = 16;
/// Lines are not broken before this: a shorter one is a word.
const LINE_BYTES_MIN: usize = 20;
/// How long the signatures of JSON web tokens are: HMAC, elliptic curves and RSA.
const SIGNATURES: [usize; 6] = [43, 64, 86, 342, 512, 683];

/// The key that begins here.
pub(super) fn find(text: &Text<'_>, at: usize) -> Option<Match> {
    // Inside of a longer word nothing begins; looked for, it would be in every piece of `sk-ant-sk-ant-…`.
    let is_inside =
        text.is_before(at, DASHES | LOCAL_MARKS) && at > 0 && text.is_before(at - 1, ALNUM);
    let (first, second) = (text.get(at)?, text.get(at + 1)?);
    if is_inside {
        return None;
    }
    if (first, second) == (b'k', b't') {
        return gateway_key(text, at);
    }
    if (first, second) == (b'e', b'y') {
        return json_web_token(text, at);
    }
    // Of a bot's URL: `/bot123456789:…/getUpdates`.
    if first == b'b' && text.has_all(at, b"bot") && text.is(at + 3, DIGIT) {
        return other::find(text, at + 3);
    }
    let third = text.get(at + 2)?;
    let of_vendor = index::may_begin_with(first, second, third)
        .then(|| index::beginning_with(first, second).find_map(|form| of_form(text, at, form)))
        .flatten();
    of_vendor.or_else(|| other::find(text, at)).or_else(|| unknown::find(text, at))
}

fn of_form(text: &Text<'_>, at: usize, form: &Form) -> Option<Match> {
    if !text.has_all(at, form.prefix) {
        return None;
    }
    let rest = at + form.prefix.len();
    let (mut end, mut length) = run_over_lines(text, rest, form);
    // Punctuation that a sentence puts behind it.
    while end > rest && text.before(end).is_some_and(|last| matches!(last, b'.' | b'-')) {
        end -= 1;
        length -= 1;
    }
    // Atlassian's have a checksum behind a sign.
    if form.prefix.ends_with(b"TT3")
        && text.has(end, b'=')
        && text.span(end + 1, HEX, CHECKSUM_BYTES + 1) == end + 1 + CHECKSUM_BYTES
    {
        end += 1 + CHECKSUM_BYTES;
    }
    let is_whole = (form.bytes_min..=form.bytes_max).contains(&length) && !text.is(end, ALNUM);
    let drawn = text.slice(rest, end);
    let is_drawn = is_random(drawn) && (!is_short(form) || is_mixed(drawn));
    (is_whole && is_drawn).then_some(Match { start: at, end, entity: form.entity })
}

/// Whether what a form begins with may be that of a word, or of a name with dots: then letters in both cases have to follow.
fn is_short(form: &Form) -> bool {
    let is_word = form.prefix.iter().all(u8::is_ascii_alphanumeric);
    let is_dotted = form.prefix.len() < 5 && form.prefix.ends_with(b".");
    let may_be_word = is_word || is_dotted || matches!(form.prefix, b"md-" | b"ck-" | b"m0-");
    may_be_word && form.class & ALNUM == ALNUM
}

/// Where the characters of a form end, and how many they are. A terminal, a mail or a script may have broken the line:
/// what stands on the next one belongs to the key if it would be too short without, or if it looks drawn as well.
fn run_over_lines(text: &Text<'_>, from: usize, form: &Form) -> (usize, usize) {
    let mut end = text.span(from, form.class, form.bytes_max + 1);
    let mut length = end - from;
    for _ in 0..LINES_MAX {
        let is_short = length < form.bytes_min;
        if length < 4 || length >= form.bytes_max || (!is_short && length < LINE_BYTES_MIN) {
            break;
        }
        let Some(next) = over_break(text, end) else { break };
        let stop = text.span(next, form.class, form.bytes_max - length + 1);
        let more = stop - next;
        let is_rest = if is_short {
            more > 0 && (length + more >= form.bytes_min || more >= LINE_BYTES_MIN)
        } else {
            more >= 8 && is_mixed(text.slice(next, stop))
        };
        let is_name = matches!(text.get(stop), Some(b'=' | b':' | b'(')) || text.is(stop, ALNUM);
        if !is_rest || is_name || length + more > form.bytes_max {
            break;
        }
        (end, length) = (stop, length + more);
    }
    (end, length)
}

/// Where the next line begins, behind its indent, if the line ends here.
fn over_break(text: &Text<'_>, at: usize) -> Option<usize> {
    let mut from = at;
    // A shell's sign that the line goes on, and that of a mail.
    if matches!(text.get(from), Some(b'\\' | b'=')) {
        from += 1;
    }
    if text.has(from, b'\r') {
        from += 1;
    }
    if !text.has(from, b'\n') {
        return None;
    }
    from += 1;
    while from < at + BREAK_BYTES_MAX && matches!(text.get(from), Some(b' ' | b'\t')) {
        from += 1;
    }
    Some(from)
}

/// A key of our own, which has a checksum.
fn gateway_key(text: &Text<'_>, at: usize) -> Option<Match> {
    if !text.has_all(at, b"kt_gk_") {
        return None;
    }
    let end = text.span(at + 6, ALNUM, 39);
    let key = std::str::from_utf8(text.slice(at, end)).ok()?;
    GatewayKey::parse(key)?;
    Some(Match { start: at, end, entity: Entity::ApiKey })
}

/// Three parts of base 64, the first of which begins an object. Each may go on on the next line.
fn json_web_token(text: &Text<'_>, at: usize) -> Option<Match> {
    if !text.has_all(at, b"eyJ") {
        return None;
    }
    let head = part_over_lines(text, at);
    if head < at + 12 || !text.has(head, b'.') {
        return None;
    }
    let claims_from = over_break(text, head + 1).unwrap_or(head + 1);
    let claims = part_over_lines(text, claims_from);
    if claims < head + 8 || !text.has(claims, b'.') {
        return None;
    }
    let signature = over_break(text, claims + 1).filter(|next| text.is(*next, WORD));
    let signature = signature.unwrap_or(claims + 1);
    let mut end = signature_over_lines(text, signature);
    let is_signed = end >= signature + 16;
    if !is_signed && !text.has_all(claims_from, b"eyJ") {
        return None;
    }
    // An encrypted one has two parts more.
    for _ in 0..2 {
        let next = text.span(end + 1, WORD, TOKEN_BYTES_MAX);
        if is_signed && text.has(end, b'.') && next > end + 12 {
            end = next;
        }
    }
    Some(Match { start: at, end, entity: Entity::AccessToken })
}

/// The end of a part of a token behind which a dot has to come.
fn part_over_lines(text: &Text<'_>, from: usize) -> usize {
    let mut end = text.span(from, WORD, TOKEN_BYTES_MAX);
    let mut line = from;
    for _ in 0..LINES_MAX {
        if end < line + LINE_BYTES_MIN {
            break;
        }
        match over_break(text, end) {
            Some(next) if text.is(next, WORD) => {
                (line, end) = (next, text.span(next, WORD, TOKEN_BYTES_MAX));
            }
            Some(next) if text.has(next, b'.') => return next,
            Some(_) | None => break,
        }
    }
    end
}

/// The end of a signature. It goes on on the next line if with it, and only so, it has the length of one.
fn signature_over_lines(text: &Text<'_>, from: usize) -> usize {
    let first = text.span(from, WORD, TOKEN_BYTES_MAX);
    let (mut end, mut length) = (first, first - from);
    for _ in 0..LINES_MAX {
        if SIGNATURES.contains(&length) {
            return end;
        }
        let Some(next) = over_break(text, end).filter(|next| text.is(*next, WORD)) else { break };
        let stop = text.span(next, WORD, TOKEN_BYTES_MAX);
        (end, length) = (stop, length + stop - next);
    }
    if SIGNATURES.contains(&length) { end } else { first }
}
