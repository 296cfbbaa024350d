//! E-mail addresses, written out or with `(at)` and `(dot)` in brackets.

use crate::entity::Entity;
use crate::scan::Match;
use crate::text::{ALNUM, ALPHA, DASHES, LOCAL, Text};

const LOCAL_BYTES_MAX: usize = 64;
const DOMAIN_BYTES_MAX: usize = 253;
/// Names of pictures for screens of high density look like addresses: `logo@2x.png`.
const PICTURES: [&[u8]; 6] = [b"png", b"jpg", b"jpeg", b"gif", b"svg", b"webp"];
/// Names of units of systemd too: `wg-quick@wg0.service`. No top-level domain is called so.
const UNITS: [&[u8]; 5] = [b"service", b"socket", b"timer", b"mount", b"slice"];

/// Whether the run that an address could begin with has begun before.
#[inline]
pub(super) fn continues(text: &Text<'_>, at: usize) -> bool {
    // A mark of emphasis alone is none of it: `_jane@example.com_`.
    text.is_before(at, LOCAL)
        && (text.before(at) != Some(b'_') || (at > 1 && text.is_before(at - 1, LOCAL)))
}

/// The address whose local part begins here.
pub(super) fn find(text: &Text<'_>, at: usize) -> Option<Match> {
    let mut local_end = text.span(at, LOCAL, LOCAL_BYTES_MAX + 1);
    // Of the apostrophes only that of O'Neill and D'Angelo: one in quotes begins after the quote.
    let is_name = local_end == at + 1 || text.before(local_end - 1) == Some(b'.');
    if text.has(local_end, b'\'')
        && is_name
        && matches!(text.before(local_end), Some(b'O' | b'o' | b'D' | b'd'))
    {
        local_end = text.span(local_end + 1, LOCAL, LOCAL_BYTES_MAX - 1);
    }
    if local_end - at > LOCAL_BYTES_MAX {
        return None;
    }
    let domain = sign(text, local_end, b'@', b"at").or_else(|| apart(text, at, local_end))?;
    // A long line may be broken behind the sign, and the next one begin with a space, as in cards of addresses.
    let domain = match (text.get(domain), text.get(domain + 1)) {
        (Some(b'\n'), Some(b' ')) => domain + 2,
        (Some(b'\n'), _) => domain + 1,
        _ => domain,
    };
    if !text.is_before(local_end, ALNUM | DASHES) && !text.has(local_end - 1, b'+') {
        return None;
    }
    let end = domain_end(text, domain)?;
    let is_remote = text.has_word(at, b"git") && local_end == at + 3;
    // The user of a URL.
    let is_user = text.before(at) == Some(b'/') && at > 0 && text.before(at - 1) == Some(b'/');
    // The password in a URL, where it is a variable: `$USER:$PASSWORD@host`.
    let is_variable = text.before(at) == Some(b'$');
    (!is_remote && !is_user && !is_variable && !is_file(text, domain, end)).then_some(Match {
        start: at,
        end,
        entity: Entity::Email,
    })
}

/// What comes after ` @ `, if before it stands no word of a sentence: that somebody is `@ home` is said of words.
fn apart(text: &Text<'_>, at: usize, local_end: usize) -> Option<usize> {
    let is_word = text.span(at, ALPHA, LOCAL_BYTES_MAX) == local_end;
    (text.has_all(local_end, b" @ ") && !is_word).then_some(local_end + 3)
}

/// What comes after a sign that is written as such or as a word in brackets.
fn sign(text: &Text<'_>, at: usize, plain: u8, word: &[u8]) -> Option<usize> {
    let first = text.get(at)?;
    if first == plain {
        return Some(at + 1);
    }
    let open = if first == b' ' { at + 1 } else { at };
    let close = match text.get(open)? {
        b'(' => b')',
        b'[' => b']',
        b'{' => b'}',
        _ => return None,
    };
    let after = open + 1 + word.len();
    if !text.has_word(open + 1, word) || !text.has(after, close) {
        return None;
    }
    Some(if text.has(after + 1, b' ') { after + 2 } else { after + 1 })
}

/// The end of the longest name of a host with a top-level domain that begins here.
fn domain_end(text: &Text<'_>, from: usize) -> Option<usize> {
    let (mut label, mut end, mut labels) = (from, None, 0);
    while label < from + DOMAIN_BYTES_MAX {
        let whole = text.span(label, ALNUM | DASHES, 64);
        // Marks of emphasis behind it: `_jane@example.com_`.
        let marks = (0..2).take_while(|nth| text.before(whole - nth) == Some(b'_')).count();
        let label_end = whole - marks;
        let length = label_end - label;
        if length == 0 || length > 63 || text.has(label, b'-') || !text.is_before(label_end, ALNUM)
        {
            break;
        }
        labels += 1;
        let is_top = length >= 2
            && (text.span(label, ALPHA, 64) == label_end || text.has_word(label, b"xn--"));
        if labels >= 2 && is_top {
            end = Some(label_end);
        }
        let Some(next) = sign(text, label_end, b'.', b"dot") else { break };
        label = next;
    }
    end
}

/// Whether the name of a host is that of a picture or a unit.
fn is_file(text: &Text<'_>, domain: usize, end: usize) -> bool {
    let name = text.slice(domain, end);
    let mut parts = name.rsplitn(2, |byte| *byte == b'.');
    let (Some(ending), Some(scale)) = (parts.next(), parts.next()) else { return false };
    let is_scale = matches!(scale, [b'1'..=b'9', .., b'x' | b'X']) && scale.len() <= 4;
    (is_scale && PICTURES.contains(&ending)) || UNITS.contains(&ending)
}
