//! Words near a candidate, which make of a bare number what it is. They are written as the fold leaves them.

use crate::text::{ALNUM, LOWER, Text, UPPER, is};

/// How far before a candidate its word may stand.
const BEFORE_BYTES: usize = 64;
/// How far above one, whose checksum few other numbers have.
const ABOVE_BYTES: usize = 128;
/// How far behind it.
const BEHIND_BYTES: usize = 24;

/// Words in lower case: of ASCII, which match as words and are sorted; and of other scripts, which match
/// anywhere, because not all scripts have spaces.
pub(super) struct Words {
    pub(super) ascii: &'static [&'static str],
    pub(super) other: &'static [&'static str],
}

// === impl Words ===

impl Words {
    /// Whether one stands before the candidate or shortly behind it.
    pub(super) fn are_near(&self, text: &Text<'_>, start: usize, end: usize) -> bool {
        self.are_before(text, start, BEFORE_BYTES) || self.are_behind(text, end)
    }

    /// The same, and far enough before it for the head of a table, a row or two above.
    pub(super) fn are_above(&self, text: &Text<'_>, start: usize, end: usize) -> bool {
        self.are_before(text, start, ABOVE_BYTES) || self.are_behind(text, end)
    }

    /// Whether one stands in so many bytes before the candidate.
    pub(super) fn are_before(&self, text: &Text<'_>, start: usize, bytes: usize) -> bool {
        let from = start.saturating_sub(bytes);
        let is_cut = text.is_before(from, ALNUM) || text.before(from) == Some(b'_');
        self.are_in(text.slice(from, start), is_cut)
    }

    fn are_behind(&self, text: &Text<'_>, end: usize) -> bool {
        let mut behind = [0; BEHIND_BYTES];
        let mut length = 0;
        for slot in &mut behind {
            let Some(byte) = text.get(end + length) else { break };
            // Another line is about something else.
            if byte == b'\n' {
                break;
            }
            *slot = byte;
            length += 1;
        }
        let is_cut_off = length == BEHIND_BYTES && text.is(end + length, ALNUM);
        let whole = if is_cut_off {
            behind.iter().rposition(|byte| !is(*byte, ALNUM)).unwrap_or(0)
        } else {
            length
        };
        self.are_in(behind.get(..whole).unwrap_or_default(), false)
    }

    fn are_in(&self, part: &[u8], is_cut: bool) -> bool {
        // A `function_call` calls nobody.
        let mut words = part.split(|byte| !is(*byte, ALNUM) && *byte != b'_');
        if is_cut {
            words.next();
        }
        words.any(|word| self.has_ascii(word) || self.has_part(word))
            || (!part.is_ascii() && self.other.iter().any(|word| contains(part, word.as_bytes())))
    }

    /// Whether a name of programs, `steuer_id` or `phoneNumber`, has one as a part.
    fn has_part(&self, name: &[u8]) -> bool {
        let is_call =
            |part: &[u8]| part.get(..4).is_some_and(|head| head.eq_ignore_ascii_case(b"call"));
        let humps = |one: &u8, next: &u8| !(is(*one, LOWER) && is(*next, UPPER));
        name.split(|byte| *byte == b'_')
            .flat_map(|part| part.chunk_by(humps))
            .any(|part| part.len() < name.len() && !is_call(part) && self.has_ascii(part))
    }

    fn has_ascii(&self, word: &[u8]) -> bool {
        // No word begins with a digit, and numbers stand beside numbers.
        if word.first().is_none_or(u8::is_ascii_digit) {
            return false;
        }
        let lower = word.iter().map(u8::to_ascii_lowercase);
        self.ascii.binary_search_by(|one| one.bytes().cmp(lower.clone())).is_ok()
    }
}

fn contains(part: &[u8], word: &[u8]) -> bool {
    let lower = |given: &[u8]| given.iter().map(u8::to_ascii_lowercase).eq(word.iter().copied());
    part.windows(word.len()).any(lower)
}

#[cfg(test)]
pub(super) fn assert_written_as_folded(words: &Words) {
    assert!(words.ascii.is_sorted(), "sorted: {:?}", {
        let mut sorted = words.ascii.to_vec();
        sorted.sort_unstable();
        sorted
    });
    for word in words.ascii.iter().chain(words.other) {
        let folded = crate::fold::Folded::of(word);
        assert_eq!(folded.as_str().to_ascii_lowercase(), *word);
    }
    assert!(words.ascii.iter().all(|word| word.bytes().all(|byte| is(byte, ALNUM))));
    assert!(words.other.iter().all(|word| !word.is_ascii()));
}
