//! Keys and tokens that begin with what their issuer has chosen, and JSON web tokens.
//!
//! What stands in documentation is none: a key with `EXAMPLE` in it, or one of few different characters.

use kt_contract::gateway_key::GatewayKey;

use crate::entity::Entity;
use crate::scan::Match;
use crate::text::{ALNUM, BASE64_MARKS, DASHES, DIGIT, HEX, LOCAL_MARKS, Text, UPPER};

const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// A key's form: what it begins with, of what and how long the rest is.
struct Form {
    prefix: &'static [u8],
    class: u8,
    bytes_min: usize,
    bytes_max: usize,
    entity: Entity,
}

const WORD: u8 = ALNUM | DASHES;
const DOTTED: u8 = WORD | LOCAL_MARKS;

const fn key(prefix: &'static [u8], class: u8, bytes_min: usize, bytes_max: usize) -> Form {
    Form { prefix, class, bytes_min, bytes_max, entity: Entity::ApiKey }
}

const fn token(prefix: &'static [u8], class: u8, bytes_min: usize, bytes_max: usize) -> Form {
    Form { prefix, class, bytes_min, bytes_max, entity: Entity::AccessToken }
}

/// The forms. Of two that begin alike, the longer prefix first.
const FORMS: [Form; 77] = [
    key(b"sk-ant-", WORD, 24, 200),
    key(b"sk-proj-", WORD, 32, 220),
    key(b"sk-svcacct-", WORD, 32, 220),
    key(b"sk-admin-", WORD, 32, 220),
    key(b"sk-or-v1-", HEX, 64, 64),
    key(b"sk-lf-", WORD, 32, 60),
    key(b"sk-", ALNUM, 32, 128),
    key(b"AKIA", UPPER | DIGIT, 16, 16),
    key(b"ASIA", UPPER | DIGIT, 16, 16),
    key(b"ABIA", UPPER | DIGIT, 16, 16),
    key(b"AIza", WORD, 35, 35),
    key(b"GOCSPX-", WORD, 24, 40),
    key(b"sk_live_", ALNUM, 16, 247),
    key(b"sk_test_", ALNUM, 16, 247),
    key(b"rk_live_", ALNUM, 16, 247),
    key(b"rk_test_", ALNUM, 16, 247),
    key(b"pk_live_", ALNUM, 16, 247),
    key(b"whsec_", ALNUM, 24, 64),
    key(b"SK", HEX, 32, 32),
    key(b"SG.", DOTTED, 50, 90),
    key(b"key-", HEX, 32, 32),
    key(b"gsk_", ALNUM, 40, 60),
    key(b"xai-", ALNUM, 60, 100),
    key(b"pplx-", ALNUM, 40, 64),
    key(b"r8_", ALNUM, 37, 40),
    key(b"tvly-", WORD, 24, 60),
    key(b"nvapi-", WORD, 60, 80),
    key(b"fw_", ALNUM, 22, 32),
    key(b"csk-", ALNUM, 40, 64),
    key(b"dapi", HEX, 32, 34),
    key(b"rnd_", ALNUM, 28, 40),
    key(b"re_", ALNUM | DASHES, 30, 40),
    key(b"lin_api_", ALNUM, 40, 40),
    key(b"PMAK-", WORD, 50, 70),
    key(b"NRAK-", UPPER | DIGIT, 27, 27),
    key(b"sntrys_", DOTTED, 60, 300),
    key(b"phc_", ALNUM, 40, 50),
    key(b"phx_", ALNUM, 40, 50),
    key(b"figd_", WORD, 36, 60),
    key(b"PRIVATE-TOKEN-", WORD, 20, 60),
    key(b"AGE-SECRET-KEY-1", UPPER | DIGIT, 58, 58),
    key(b"xkeysib-", WORD, 70, 100),
    key(b"sq0csp-", WORD, 43, 43),
    key(b"sl.", WORD, 60, 200),
    key(b"lsv2_pt_", WORD, 32, 60),
    key(b"pcsk_", WORD, 50, 90),
    key(b"LTAI", ALNUM, 16, 26),
    key(b"hooks.slack.com/services/", ALNUM | BASE64_MARKS, 40, 80),
    token(b"ghp_", ALNUM, 36, 255),
    token(b"gho_", ALNUM, 36, 255),
    token(b"ghu_", ALNUM, 36, 255),
    token(b"ghs_", ALNUM, 36, 255),
    token(b"ghr_", ALNUM, 36, 255),
    token(b"github_pat_", WORD, 60, 255),
    token(b"glpat-", WORD, 20, 64),
    token(b"gldt-", WORD, 20, 64),
    token(b"glrt-", WORD, 20, 64),
    token(b"glptt-", WORD, 20, 64),
    token(b"xoxb-", WORD, 20, 200),
    token(b"xoxp-", WORD, 20, 200),
    token(b"xoxa-", WORD, 20, 200),
    token(b"xoxr-", WORD, 20, 200),
    token(b"xoxs-", WORD, 20, 200),
    token(b"xoxe-", WORD, 20, 200),
    token(b"xapp-", WORD, 20, 200),
    token(b"npm_", ALNUM, 36, 36),
    token(b"pypi-", WORD, 50, 300),
    token(b"hf_", ALNUM, 30, 40),
    token(b"hvs.", WORD, 24, 200),
    token(b"ya29.", WORD, 20, 300),
    token(b"shpat_", HEX, 32, 32),
    token(b"shpss_", HEX, 32, 32),
    token(b"dop_v1_", HEX, 64, 64),
    token(b"glsa_", WORD, 32, 60),
    token(b"ATATT3", WORD, 60, 300),
    token(b"dckr_pat_", WORD, 24, 60),
    token(b"EAACEdEose0cBA", ALNUM, 20, 300),
];

/// Which pairs of bytes a form may begin with. Most words are passed over by one look at it.
const HEADS: [u64; 64] = heads();

const fn heads() -> [u64; 64] {
    let mut heads = [0; 64];
    let mut rest: &[Form] = &FORMS;
    while let Some((form, others)) = rest.split_first() {
        if let [first, second, ..] = form.prefix {
            let (word, bit) = place(*first, *second);
            #[expect(
                clippy::indexing_slicing,
                reason = "a word is below 64, and this is known when compiled"
            )]
            {
                heads[word] |= bit;
            }
        }
        rest = others;
    }
    heads
}

const fn place(first: u8, second: u8) -> (usize, u64) {
    ((first & 63) as usize, 1 << (second & 63))
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
    let (word, bit) = place(first, second);
    if HEADS.get(word).is_none_or(|heads| heads & bit == 0) {
        return None;
    }
    let may_be = |form: &&Form| form.prefix.starts_with(&[first, second]);
    FORMS.iter().filter(may_be).find_map(|form| of_form(text, at, form))
}

fn of_form(text: &Text<'_>, at: usize, form: &Form) -> Option<Match> {
    if !text.has_all(at, form.prefix) {
        return None;
    }
    let rest = at + form.prefix.len();
    let mut end = text.span(rest, form.class, form.bytes_max + 1);
    // Punctuation that a sentence puts behind it.
    while end > rest && text.before(end).is_some_and(|last| matches!(last, b'.' | b'-')) {
        end -= 1;
    }
    let length = end - rest;
    let is_whole = (form.bytes_min..=form.bytes_max).contains(&length) && !text.is(end, ALNUM);
    (is_whole && is_random(text.slice(rest, end))).then_some(Match {
        start: at,
        end,
        entity: form.entity,
    })
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

/// Three parts of base 64, the first of which begins an object.
fn json_web_token(text: &Text<'_>, at: usize) -> Option<Match> {
    if !text.has_all(at, b"eyJ") {
        return None;
    }
    let head = text.span(at, WORD, TOKEN_BYTES_MAX);
    if head < at + 12 || !text.has(head, b'.') {
        return None;
    }
    let claims = text.span(head + 1, WORD, TOKEN_BYTES_MAX);
    if claims < head + 8 || !text.has(claims, b'.') {
        return None;
    }
    let mut end = text.span(claims + 1, WORD, TOKEN_BYTES_MAX);
    let is_signed = end >= claims + 17;
    if !is_signed && !text.has_all(head + 1, b"eyJ") {
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
