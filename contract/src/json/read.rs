//! The strict reader (RFC 8259, without the liberties that it leaves).

mod string;

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::Node;

/// Bounds on what is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// How deep arrays and objects may nest.
    pub depth_max: usize,
    /// How many values there may be in all.
    pub nodes_max: usize,
}

/// Why a text was refused, and at which byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault} at byte {at}")]
pub struct Refused {
    /// What is wrong.
    pub fault: Fault,
    /// The offset of the byte at which it was noticed.
    pub at: usize,
}

/// What can be wrong with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not UTF-8.
    #[error("invalid UTF-8")]
    Utf8,
    /// The text ends inside a value.
    #[error("unexpected end")]
    End,
    /// A byte that cannot stand there.
    #[error("unexpected character")]
    Character,
    /// A malformed number.
    #[error("malformed number")]
    Number,
    /// A malformed escape, or a surrogate without its other half.
    #[error("malformed escape in a string")]
    Escape,
    /// A raw control character in a string.
    #[error("control character in a string")]
    Control,
    /// An object has a key twice.
    #[error("duplicate key in an object")]
    DuplicateKey,
    /// Nested too deep.
    #[error("nested too deep")]
    Depth,
    /// Too many values.
    #[error("too many values")]
    Nodes,
    /// Something follows the value.
    #[error("text after the value")]
    Trailing,
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    nodes_left: usize,
}

type Read<T> = Result<T, Refused>;

/// Reads one JSON value that fills the whole of `bytes`.
///
/// # Errors
/// Anything that is not strict JSON within `bounds`, with the byte at which it was noticed.
pub fn parse(bytes: &[u8], bounds: Bounds) -> Read<Node<'_>> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Refused { fault: Fault::Utf8, at: error.valid_up_to() })?;
    let mut reader = Reader { text, at: 0, nodes_left: bounds.nodes_max };
    reader.skip_space();
    let node = reader.value(bounds.depth_max)?;
    reader.skip_space();
    if reader.peek().is_some() { Err(reader.refused(Fault::Trailing)) } else { Ok(node) }
}

// === impl Reader ===

impl<'a> Reader<'a> {
    const fn refused(&self, fault: Fault) -> Refused {
        Refused { fault, at: self.at }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn unexpected(&self) -> Refused {
        self.refused(if self.peek().is_some() { Fault::Character } else { Fault::End })
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn value(&mut self, depth_left: usize) -> Read<Node<'a>> {
        self.nodes_left =
            self.nodes_left.checked_sub(1).ok_or_else(|| self.refused(Fault::Nodes))?;
        match self.peek() {
            Some(b'{') => self.object(self.deeper(depth_left)?),
            Some(b'[') => self.array(self.deeper(depth_left)?),
            Some(b'"') => self.string().map(Node::String),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'n') => self.word("null", Node::Null),
            Some(b't') => self.word("true", Node::Bool(true)),
            Some(b'f') => self.word("false", Node::Bool(false)),
            Some(_) | None => Err(self.unexpected()),
        }
    }

    fn deeper(&self, depth_left: usize) -> Read<usize> {
        depth_left.checked_sub(1).ok_or_else(|| self.refused(Fault::Depth))
    }

    fn word(&mut self, word: &str, node: Node<'a>) -> Read<Node<'a>> {
        if self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            self.at += word.len();
            Ok(node)
        } else {
            Err(self.unexpected())
        }
    }

    fn array(&mut self, depth_left: usize) -> Read<Node<'a>> {
        self.at += 1;
        let mut items = Vec::new();
        self.skip_space();
        if self.take(b']') {
            return Ok(Node::Array(items));
        }
        loop {
            self.skip_space();
            items.push(self.value(depth_left)?);
            self.skip_space();
            if self.take(b']') {
                return Ok(Node::Array(items));
            }
            if !self.take(b',') {
                return Err(self.unexpected());
            }
        }
    }

    fn object(&mut self, depth_left: usize) -> Read<Node<'a>> {
        let start = self.at;
        self.at += 1;
        let mut fields = Vec::new();
        self.skip_space();
        if self.take(b'}') {
            return Ok(Node::Object(fields));
        }
        loop {
            self.skip_space();
            fields.push(self.field(depth_left)?);
            self.skip_space();
            if self.take(b'}') {
                return sorted(fields).ok_or_else(|| Refused {
                    fault: Fault::DuplicateKey,
                    at: self.second(start, depth_left),
                });
            }
            if !self.take(b',') {
                return Err(self.unexpected());
            }
        }
    }

    fn field(&mut self, depth_left: usize) -> Read<(Cow<'a, str>, Node<'a>)> {
        if self.peek() != Some(b'"') {
            return Err(self.unexpected());
        }
        let key = self.string()?;
        self.skip_space();
        if !self.take(b':') {
            return Err(self.unexpected());
        }
        self.skip_space();
        Ok((key, self.value(depth_left)?))
    }

    /// Where the object at `start` has a key again. It is read once more for that: keeping every key's place
    /// would cost each good request.
    fn second(&self, start: usize, depth_left: usize) -> usize {
        let mut again = Self { text: self.text, at: start + 1, nodes_left: usize::MAX };
        let mut seen = BTreeSet::new();
        loop {
            again.skip_space();
            let at = again.at;
            // Nothing is refused that was read before.
            let Ok((key, _)) = again.field(depth_left) else { return start };
            if !seen.insert(key) {
                return at;
            }
            again.skip_space();
            if !again.take(b',') {
                return start;
            }
        }
    }

    fn number(&mut self) -> Read<Node<'a>> {
        let start = self.at;
        self.take(b'-');
        let leading_zero = self.peek() == Some(b'0');
        let digits = self.digits()?;
        if leading_zero && digits > 1 {
            return Err(self.refused(Fault::Number));
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if !self.take(b'+') {
                self.take(b'-');
            }
            self.digits()?;
        }
        let lexeme = self.text.get(start..self.at).ok_or_else(|| self.refused(Fault::Number))?;
        Ok(Node::Number(lexeme))
    }

    fn digits(&mut self) -> Read<usize> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start { Err(self.refused(Fault::Number)) } else { Ok(self.at - start) }
    }
}

/// Sorts the fields of an object; `None` if a key occurs twice.
fn sorted<'a>(mut fields: Vec<(Cow<'a, str>, Node<'a>)>) -> Option<Node<'a>> {
    fields.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
    let twice = fields.windows(2).any(|pair| matches!(pair, [(a, _), (b, _)] if a == b));
    (!twice).then_some(Node::Object(fields))
}
