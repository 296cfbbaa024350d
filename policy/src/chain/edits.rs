//! From what was found in a text to the bytes that are replaced, so that JSON stays JSON.

use std::ops::Range;

use crate::json::{Edit, Form, Text, Written};

/// Bytes of a text, and what replaces them.
type Place = (usize, usize, &'static str);

/// Where something is redacted in a text.
#[derive(Debug, Default)]
pub(super) struct Places {
    kept: Vec<Place>,
    most: Option<usize>,
    has_more: bool,
}

// === impl Places ===

impl Places {
    /// No more than so many are of use.
    pub(super) const fn at_most(most: Option<usize>) -> Self {
        Self { kept: Vec::new(), most, has_more: false }
    }

    pub(super) fn push(&mut self, place: Place) {
        if self.has_more {
            return;
        }
        self.kept.push(place);
        // Some may lie in others: that is looked at when there is room for as many again.
        if let Some(most) = self.most
            && self.kept.len() > 2 * most
        {
            merge(&mut self.kept);
            self.has_more = self.kept.len() > most;
        }
    }

    /// Whether there are more than are of use.
    pub(super) const fn has_more(&self) -> bool {
        self.has_more
    }

    fn merged(mut self) -> Vec<Place> {
        merge(&mut self.kept);
        self.kept
    }
}

/// The edits of a text, in order and without overlap.
pub(super) fn of(text: &Text<'_>, places: Places) -> Vec<Edit> {
    let says = text.says.text();
    match text.form {
        Form::Name => Vec::new(),
        // A number is replaced as a whole, by a string.
        Form::Number => places
            .merged()
            .first()
            .map(|(_, _, placeholder)| Edit {
                raw: text.raw.clone(),
                written: Written::Value(placeholder),
            })
            .into_iter()
            .collect(),
        Form::String => {
            let mut writer = Writer { says, is_json: text.is_json, ..Writer::default() };
            let raw_at = |at: usize| text.raw.start + text.says.raw_at(at);
            places
                .merged()
                .into_iter()
                .filter_map(|place| writer.written(place))
                .map(|(at, written)| Edit { raw: raw_at(at.start)..raw_at(at.end), written })
                .collect()
        }
    }
}

/// Puts places in order; what overlaps is one, under the first one's name.
fn merge(places: &mut Vec<Place>) {
    places.sort_by_key(|(start, end, _)| (*start, std::cmp::Reverse(*end)));
    places.dedup_by(|(start, end, _), (_, until, _)| {
        let overlaps = *start < *until;
        if overlaps {
            *until = (*end).max(*until);
        }
        overlaps
    });
}

/// What is written for the places of a text, which are asked for in their order.
#[derive(Debug, Default)]
struct Writer<'a> {
    says: &'a str,
    is_json: bool,
    inner: Inner,
    /// Up to where the text is replaced by what was asked before.
    covered: usize,
}

// === impl Writer ===

impl Writer<'_> {
    /// What is written for the next place, and the bytes of the text that it replaces. Nothing, where the places before
    /// have replaced all of it. No byte is looked at for two places, so that many in one run cost no more than a few.
    fn written(&mut self, (start, end, placeholder): Place) -> Option<(Range<usize>, Written)> {
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
