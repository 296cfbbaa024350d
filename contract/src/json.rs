//! Strict JSON for cache identity: what two parsers could read differently is refused.
//!
//! Our own reader, because identity needs what general ones hide: numbers by their lexeme, duplicate keys
//! refused after unescaping, bounds on depth and size, and no special key names. It borrows from the input.

mod canonical;
mod read;

use std::borrow::Cow;

pub use canonical::canonical;
pub use read::{Bounds, Fault, Refused, parse};

/// A JSON value, borrowing from the text it was read from.
#[derive(Clone, Debug, PartialEq)]
pub enum Node<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number exactly as written: `1`, `1.0` and `1e0` are three different requests.
    Number(&'a str),
    /// A string, unescaped.
    String(Cow<'a, str>),
    /// An array.
    Array(Vec<Self>),
    /// An object, sorted by key; no key occurs twice.
    Object(Vec<(Cow<'a, str>, Self)>),
}

// === impl Node ===

impl<'a> Node<'a> {
    /// The value of `key`, if this is an object that has it.
    #[must_use]
    pub fn field(&self, key: &str) -> Option<&Self> {
        let Self::Object(fields) = self else { return None };
        let at = fields.binary_search_by(|(name, _)| name.as_ref().cmp(key)).ok()?;
        fields.get(at).map(|(_, value)| value)
    }

    /// The text of a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// The truth of a boolean.
    #[must_use]
    pub const fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(truth) = self { Some(*truth) } else { None }
    }

    /// A number that is a plain unsigned integer.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        if let Self::Number(lexeme) = self { lexeme.parse().ok() } else { None }
    }

    /// The items of an array.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Self]> {
        if let Self::Array(items) = self { Some(items) } else { None }
    }

    /// The fields of an object, sorted.
    #[must_use]
    pub fn as_object(&self) -> Option<&[(Cow<'a, str>, Self)]> {
        if let Self::Object(fields) = self { Some(fields) } else { None }
    }
}

#[cfg(test)]
mod tests;
