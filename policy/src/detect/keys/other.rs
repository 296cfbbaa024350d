//! Keys and tokens that are certain by their form, but not by what they begin with.

use super::drawn::{is_hex, is_mixed, is_random};
use super::{DOTTED, WORD};
use crate::entity::Entity;
use crate::scan::Match;
use crate::text::{ALNUM, BASE64_MARKS, DASHES, DIGIT, HEX, LOCAL_MARKS, Text};

/// What stands behind the id of a token of Terraform's, and where.
const TERRAFORM: &[u8] = b".atlasv1.";
const TERRAFORM_AT: usize = 14;
/// The longest run of letters and digits that says by its length what it is.
const RUN_BYTES_MAX: usize = 84;
/// How far before the secret of AWS its id may stand.
const PAIR_BYTES_MAX: usize = 96;
const AWS_SECRET_BYTES: usize = 40;

/// The key or token that begins here with a letter or digit.
pub(super) fn find(text: &Text<'_>, at: usize) -> Option<Match> {
    if text.is_before(at, DASHES | LOCAL_MARKS) {
        return None;
    }
    let first = text.get(at)?;
    let run = text.span(at, ALNUM, RUN_BYTES_MAX + 1);
    let of = |end: usize, entity: Entity| Some(Match { start: at, end, entity });
    let key = |end: usize| of(end, Entity::ApiKey);
    let is_end = |end: usize| !text.is(end, WORD);
    let next = text.get(run);
    match (run - at, next) {
        (1, Some(b'/')) if first == b'1' && text.has_all(at, b"1//0") => {
            let end = text.span(at + 3, WORD, 160);
            let is_whole = (40..160).contains(&(end - at)) && is_random(text.slice(at, end));
            if is_whole { of(end, Entity::AccessToken) } else { None }
        }
        // Of Zoho: the number of its kind and two numbers of base 16.
        (4, Some(b'.')) if text.has_all(at, b"1000.") => {
            let half = text.span(run + 1, HEX, 33);
            let end = text.span(half + 1, HEX, 33);
            let is_whole = half == run + 33 && text.has(half, b'.') && end == half + 33;
            if is_whole && is_end(end) { of(end, Entity::AccessToken) } else { None }
        }
        // Of an application in Azure: `abc8Q~…`.
        (5, Some(b'~')) if text.has(run - 1, b'Q') && text.is(run - 2, DIGIT) => {
            let end = text.span(run + 1, DOTTED, 36);
            let is_whole = (31..=35).contains(&(end - run - 1));
            if is_whole && is_random(text.slice(run, end)) { key(end) } else { None }
        }
        // Of MaxMind: `…_mmk`.
        (6, Some(b'_')) => {
            let end = text.span(run + 1, ALNUM, 30);
            let is_whole = end == run + 30 && text.has_all(end, b"_mmk") && is_end(end + 4);
            if is_whole { key(end + 4) } else { None }
        }
        (8..=10, Some(b':')) if text.span(at, DIGIT, 11) == run => {
            let end = text.span(run + 1, WORD, 36);
            let is_whole = end == run + 36 && is_end(end);
            if is_whole && is_random(text.slice(run, end)) { key(end) } else { None }
        }
        // Of DeepL: a UUID with what says that it is free.
        (8, Some(b'-')) => {
            let end = text.span(at, HEX | DASHES, 37);
            let is_whole = end == at + 36 && text.has_all(end, b":fx") && is_end(end + 3);
            if is_whole { key(end + 3) } else { None }
        }
        (14, Some(b'.')) if text.has_all(run, TERRAFORM) => terraform_token(text, at),
        (15 | 18, Some(b'!')) if text.has_all(at, b"00D") => {
            let end = text.span(run + 1, DOTTED, 140);
            let is_whole = (80..140).contains(&(end - run)) && is_mixed(text.slice(run, end));
            if is_whole { of(end, Entity::AccessToken) } else { None }
        }
        (20..=28, _) if matches!(first, b'M' | b'N' | b'O') => discord_token(text, at),
        (32, Some(mark @ (b'-' | b'.'))) if is_hex(text.slice(at, run), 32) => {
            behind_hex(text, run, mark).and_then(key)
        }
        (40, _) if text.has_all(run - 4, b"NRAL") => key(run).filter(|_| is_end(run)),
        // What Azure issues has a mark in its middle.
        (RUN_BYTES_MAX, _) => {
            let value = text.slice(at, run);
            let is_azure = value.windows(6).any(|part| part == b"JQQJ99");
            if is_azure && is_end(run) { key(run) } else { None }
        }
        (AWS_SECRET_BYTES, _) | (_, Some(b'+' | b'/')) => aws_secret(text, at),
        _ => None,
    }
}

/// The end of a key of Mailchimp, Mailgun or Zhipu, of which the first part is a number of base 16.
fn behind_hex(text: &Text<'_>, hex: usize, mark: u8) -> Option<usize> {
    let is_end = |end: usize| !text.is(end, WORD);
    if mark == b'.' {
        let end = text.span(hex + 1, ALNUM, 17);
        return (end == hex + 17 && is_end(end) && is_mixed(text.slice(hex, end))).then_some(end);
    }
    if text.has_all(hex, b"-us") {
        let end = text.span(hex + 3, DIGIT, 3);
        return (end > hex + 3 && is_end(end)).then_some(end);
    }
    let half = text.span(hex + 1, HEX, 9);
    let end = text.span(half + 1, HEX, 9);
    let is_whole = half == hex + 9 && text.has(half, b'-') && end == half + 9;
    (is_whole && is_end(end)).then_some(end)
}

/// The secret of AWS that stands behind its id: forty characters of base 64.
fn aws_secret(text: &Text<'_>, at: usize) -> Option<Match> {
    let end = text.span(at, ALNUM | BASE64_MARKS, AWS_SECRET_BYTES + 1);
    let is_whole = end == at + AWS_SECRET_BYTES && !text.is(end, WORD);
    let before = text.slice(at.saturating_sub(PAIR_BYTES_MAX), at);
    let is_id = |part: &[u8]| matches!(part, [b'A', b'K' | b'S', b'I', b'A', ..]);
    let is_pair = is_whole
        && is_mixed(text.slice(at, end))
        && before.windows(20).any(|part| is_id(part) && part.iter().all(u8::is_ascii_alphanumeric));
    is_pair.then_some(Match { start: at, end, entity: Entity::ApiKey })
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
