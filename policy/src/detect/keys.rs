//! Keys and tokens that begin with what their issuer has chosen, and JSON web tokens.
//!
//! What stands in documentation is none: a key with `EXAMPLE` in it, or one of few different characters.

mod forms;

use kt_contract::gateway_key::GatewayKey;

use forms::{FORMS, Form};

use crate::entity::Entity;
use crate::scan::Match;
use crate::text::{ALNUM, DASHES, DIGIT, HEX, LOCAL_MARKS, Text, is};

const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// What stands behind the id of a token of Terraform's, and where.
const TERRAFORM: &[u8] = b".atlasv1.";
const TERRAFORM_AT: usize = 14;

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

/// Which pairs of bytes a form may begin with. Most words are passed over by one look at it.
const HEADS: [u64; 64] = pairs(0);
/// Which pairs of bytes may follow the first byte of a form.
const SECONDS: [u64; 64] = pairs(1);

const fn pairs(skipped: usize) -> [u64; 64] {
    let mut pairs = [0; 64];
    let mut rest: &[Form] = &FORMS;
    while let Some((form, others)) = rest.split_first() {
        let (_, tail) = form.prefix.split_at(skipped);
        #[expect(
            clippy::indexing_slicing,
            reason = "a word is below 64, and this is known when compiled"
        )]
        if let [first, second, ..] = tail {
            let (word, bit) = place(*first, *second);
            pairs[word] |= bit;
        } else if let [first] = tail {
            pairs[(*first & 63) as usize] = u64::MAX;
        }
        rest = others;
    }
    pairs
}

const fn place(first: u8, second: u8) -> (usize, u64) {
    ((first & 63) as usize, 1 << (second & 63))
}

fn has_pair(pairs: &[u64; 64], first: u8, second: u8) -> bool {
    let (word, bit) = place(first, second);
    pairs.get(word).is_some_and(|pairs| pairs & bit != 0)
}

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
        return find_unprefixed(text, at + 3);
    }
    if text.has(at + TERRAFORM_AT, b'.') && text.has_all(at + TERRAFORM_AT, TERRAFORM) {
        return terraform_token(text, at);
    }
    if is(first, HEX)
        && text.is(at + 8, HEX)
        && let Some(one) = find_unprefixed(text, at)
    {
        return Some(one);
    }
    if matches!(first, b'M' | b'N' | b'O')
        && let Some(one) = discord_token(text, at)
    {
        return Some(one);
    }
    if !has_pair(&HEADS, first, second) || !has_pair(&SECONDS, second, text.get(at + 2)?) {
        return None;
    }
    let may_be = |form: &&Form| form.prefix.starts_with(&[first, second]);
    FORMS.iter().filter(may_be).find_map(|form| of_form(text, at, form))
}

/// Keys that begin with a digit or with nothing in particular: of Telegram's bots, of Google's refresh tokens and of
/// Mailchimp.
pub(super) fn find_unprefixed(text: &Text<'_>, at: usize) -> Option<Match> {
    if text.is_before(at, DASHES | LOCAL_MARKS) {
        return None;
    }
    let is_end = |end: usize| !text.is(end, WORD);
    let of = |end: usize, entity: Entity| Some(Match { start: at, end, entity });
    if text.has_all(at, b"1//0") {
        let end = text.span(at + 3, WORD, 160);
        let is_whole = (40..160).contains(&(end - at)) && is_random(text.slice(at, end));
        return if is_whole { of(end, Entity::AccessToken) } else { None };
    }
    let digits = text.span(at, DIGIT, 11);
    if (8..=10).contains(&(digits - at)) && text.has(digits, b':') {
        let end = text.span(digits + 1, WORD, 36);
        let is_whole = end == digits + 36 && is_end(end);
        return if is_whole && is_random(text.slice(digits, end)) {
            of(end, Entity::ApiKey)
        } else {
            None
        };
    }
    let hex = text.span(at, HEX, 33);
    if hex == at + 32 && text.has_all(hex, b"-us") {
        let end = text.span(hex + 3, DIGIT, 3);
        return if end > hex + 3 && is_end(end) { of(end, Entity::ApiKey) } else { None };
    }
    None
}

/// The token of Terraform's cloud: its id, its kind and the secret.
fn terraform_token(text: &Text<'_>, at: usize) -> Option<Match> {
    let secret = at + TERRAFORM_AT + TERRAFORM.len();
    let end = text.span(secret, WORD, 81);
    let is_id = text.span(at, ALNUM, TERRAFORM_AT + 1) == at + TERRAFORM_AT;
    let is_whole = is_id && (60..=80).contains(&(end - secret));
    (is_whole && is_random(text.slice(secret, end))).then_some(Match {
        start: at,
        end,
        entity: Entity::ApiKey,
    })
}

/// The token of a Discord bot: three parts of base 64.
fn discord_token(text: &Text<'_>, at: usize) -> Option<Match> {
    let user = text.span(at, WORD, 29);
    if !(24..=28).contains(&(user - at)) || !text.has(user, b'.') {
        return None;
    }
    let time = text.span(user + 1, WORD, 7);
    if time != user + 7 || !text.has(time, b'.') {
        return None;
    }
    let end = text.span(time + 1, WORD, 41);
    let is_whole = (27..=40).contains(&(end - time - 1)) && is_random(text.slice(at, end));
    is_whole.then_some(Match { start: at, end, entity: Entity::ApiKey })
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
    (is_whole && is_random(text.slice(rest, end))).then_some(Match {
        start: at,
        end,
        entity: form.entity,
    })
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

/// Whether there are capitals, small letters and digits.
fn is_mixed(part: &[u8]) -> bool {
    part.iter().any(u8::is_ascii_digit)
        && part.iter().any(u8::is_ascii_lowercase)
        && part.iter().any(u8::is_ascii_uppercase)
}

/// Whether these characters look drawn: many different ones, and no word that says otherwise.
pub(super) fn is_random(rest: &[u8]) -> bool {
    let mut seen = 0_u128;
    for byte in rest {
        seen |= 1 << (byte & 0x7F);
    }
    let has_digit = rest.iter().any(u8::is_ascii_digit);
    let is_example = rest.windows(7).any(|part| part.eq_ignore_ascii_case(b"example"));
    // Letters alone, in one case, with dashes or not, are a name.
    let has_cases =
        rest.iter().any(u8::is_ascii_lowercase) && rest.iter().any(u8::is_ascii_uppercase);
    seen.count_ones() >= 8 && !is_example && (has_digit || (has_cases && rest.len() >= 30))
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
