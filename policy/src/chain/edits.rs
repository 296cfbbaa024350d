//! From what was found in a text to the bytes that are replaced, so that JSON stays JSON.

use std::ops::Range;

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
            let mut places = Places { says, is_json: text.is_json, ..Places::default() };
            let raw_at = |at: usize| text.raw.start + text.says.raw_at(at);
            merged(hits)
                .into_iter()
                .filter_map(|place| places.written(place))
                .map(|(at, written)| Edit { raw: raw_at(at.start)..raw_at(at.end), written })
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

/// The places of a text, in their order.
#[derive(Debug, Default)]
struct Places<'a> {
    says: &'a str,
    is_json: bool,
    inner: Inner,
    /// Up to where the text is replaced by what was asked before.
    covered: usize,
}

// === impl Places ===

impl Places<'_> {
    /// What is written for the next place, and the bytes of the text that it replaces. Nothing, where the places before
    /// have replaced all of it. No byte is looked at for two places, so that many in one run cost no more than a few.
    fn written(
        &mut self,
        (start, end, placeholder): (usize, usize, &'static str),
    ) -> Option<(Range<usize>, Written)> {
        if end <= self.covered {
            return None;
        }
        let bytes = self.says.as_bytes();
        let before = bytes.get(self.covered..start).unwrap_or_default();
        let from = start.max(self.covered);
        let (at, written) = if self.is_json && !self.inner.is_in_string_at(self.says, start) {
            // A value of the inner JSON is replaced as a whole, sign and all.
            let is_of_number = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
            let after = bytes.get(end..).unwrap_or_default();
            let from = from - before.iter().rev().take_while(|byte| is_of_number(byte)).count();
            let until = end + after.iter().take_while(|byte| is_of_number(byte)).count();
            (from..until, Written::ValueInString(placeholder))
        } else {
            let from = from + escape_rest(before, bytes.get(from..).unwrap_or_default());
            (from.min(end)..end, Written::Within(placeholder))
        };
        self.covered = at.end;
        Some((at, written))
    }
}

/// How many bytes of `rest` belong to an escape of inner JSON that has begun in `before`: `\nme@x.org` in a text that
/// is itself JSON names `me@x.org`, and without its letter the escape would be none.
pub(crate) fn escape_rest(before: &[u8], rest: &[u8]) -> usize {
    let backslashes = before.iter().rev().take_while(|byte| **byte == b'\\').count();
    let (letter, digits) = match rest.split_first() {
        Some((letter, digits)) if backslashes % 2 == 1 => (*letter, digits),
        Some(_) | None => return 0,
    };
    match letter {
        b'b' | b'f' | b'n' | b'r' | b't' => 1,
        b'u' => 1 + digits.iter().take(4).take_while(|byte| byte.is_ascii_hexdigit()).count(),
        _ => 0,
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
