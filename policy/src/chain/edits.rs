//! From what was found in a text to the bytes that are replaced, so that JSON stays JSON.

use kt_contract::policy::Decision;

use super::Hit;
use crate::json::{Edit, Form, Text, Written};

/// The edits of a text, in order and without overlap.
pub(super) fn of(text: &Text<'_>, hits: &[Hit]) -> Vec<Edit> {
    let says = text.says.text();
    match text.form {
        Form::Name => Vec::new(),
        // A number is replaced as a whole, by a string.
        Form::Number => merged(hits)
            .first()
            .map(|(_, _, placeholder)| Edit {
                raw: text.raw.clone(),
                written: Written::Value(placeholder),
            })
            .into_iter()
            .collect(),
        Form::String => {
            let mut inner = Inner::default();
            merged(hits)
                .into_iter()
                .map(|place| {
                    let (start, end, written) = written(says, place, text.is_json, &mut inner);
                    let from = text.raw.start + text.says.raw_at(start);
                    Edit { raw: from..text.raw.start + text.says.raw_at(end), written }
                })
                .collect()
        }
    }
}

/// Where something is redacted: in order, and what overlaps is one, under the first one's name.
fn merged(hits: &[Hit]) -> Vec<(usize, usize, &'static str)> {
    let redacted = hits.iter().filter(|hit| hit.decision == Decision::Redact);
    let mut places: Vec<(usize, usize, &'static str)> =
        redacted.filter_map(|hit| hit.place).collect();
    places.sort_by_key(|(start, end, _)| (*start, std::cmp::Reverse(*end)));
    let mut merged: Vec<(usize, usize, &'static str)> = Vec::with_capacity(places.len());
    for (start, end, placeholder) in places {
        match merged.last_mut() {
            Some((_, until, _)) if start < *until => *until = end.max(*until),
            Some(_) | None => merged.push((start, end, placeholder)),
        }
    }
    merged
}

/// What is written for one place, and the bytes of the text that it replaces.
fn written(
    says: &str,
    (start, end, placeholder): (usize, usize, &'static str),
    is_json: bool,
    inner: &mut Inner,
) -> (usize, usize, Written) {
    if is_json && !inner.is_in_string_at(says, start) {
        // A value of the inner JSON is replaced as a whole, sign and all.
        let is_of_number = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
        let bytes = says.as_bytes();
        let before = bytes.get(..start).unwrap_or_default();
        let after = bytes.get(end..).unwrap_or_default();
        let from = start - before.iter().rev().take_while(|byte| is_of_number(byte)).count();
        let until = end + after.iter().take_while(|byte| is_of_number(byte)).count();
        return (from, until, Written::ValueInString(placeholder));
    }
    ((start + escape_rest(says, start)).min(end), end, Written::Within(placeholder))
}

/// How many bytes at `start` belong to an escape of inner JSON that has begun before: `\nme@x.org` in a text that
/// is itself JSON names `me@x.org`, and without its letter the escape would be none.
pub(crate) fn escape_rest(says: &str, start: usize) -> usize {
    let bytes = says.as_bytes();
    let before = bytes.get(..start).unwrap_or_default();
    let backslashes = before.iter().rev().take_while(|byte| **byte == b'\\').count();
    let letter = bytes.get(start).copied().filter(|_| backslashes % 2 == 1);
    match letter {
        Some(b'b' | b'f' | b'n' | b'r' | b't') => 1,
        Some(b'u') => {
            let digits = bytes.get(start + 1..).unwrap_or_default();
            1 + digits.iter().take(4).take_while(|byte| byte.is_ascii_hexdigit()).count()
        }
        Some(_) | None => 0,
    }
}

/// How far the inner JSON of a text has been read. Places are asked in order.
#[derive(Debug, Default)]
pub(crate) struct Inner {
    at: usize,
    is_in_string: bool,
    is_escaped: bool,
}

// === impl Inner ===

impl Inner {
    /// Whether the byte at `until` stands within a string of the inner JSON.
    pub(crate) fn is_in_string_at(&mut self, says: &str, until: usize) -> bool {
        let bytes = says.as_bytes().get(self.at..until).unwrap_or_default();
        for byte in bytes {
            self.push(*byte);
        }
        self.at = self.at.max(until);
        self.is_in_string
    }

    /// Whether what comes next stands within a string.
    pub(crate) const fn is_in_string(&self) -> bool {
        self.is_in_string
    }

    /// Reads the next byte.
    pub(crate) const fn push(&mut self, byte: u8) {
        if self.is_escaped {
            self.is_escaped = false;
        } else if byte == b'"' {
            self.is_in_string = !self.is_in_string;
        } else if byte == b'\\' {
            self.is_escaped = self.is_in_string;
        }
    }
}
