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

/// How many digits the largest count has.
const DIGITS_MAX: usize = 20;

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

    /// A count, as servers take it that are lenient: `3`, `3.0`, `3e0` and `"3"` are three, what is between two is the
    /// larger one, and what is beyond all of them the largest. None is negative.
    #[must_use]
    pub fn as_count(&self) -> Option<u64> {
        match self {
            Self::Number(lexeme) => lexeme.parse().ok().or_else(|| rounded_up(lexeme)),
            Self::String(text) => text.trim().parse().ok(),
            Self::Null | Self::Bool(_) | Self::Array(_) | Self::Object(_) => None,
        }
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

/// The next whole number, of one that is not written as such. By its digits: what reads and writes fractions would be
/// forty kilobytes of a module that needs none of it elsewhere.
fn rounded_up(lexeme: &str) -> Option<u64> {
    let (mantissa, exponent) = lexeme.split_once(['e', 'E']).unwrap_or((lexeme, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_small = exponent.starts_with('-');
    let exponent: i32 = exponent.parse().unwrap_or(if is_small { i32::MIN } else { i32::MAX });
    let length = i32::try_from(whole.len()).unwrap_or(i32::MAX);
    // How many digits stand before the point.
    let point = usize::try_from(length.saturating_add(exponent)).unwrap_or(0);
    let (mut count, mut rest, mut digits) = (0_u64, 0, 0);
    for byte in whole.bytes().chain(fraction.bytes()) {
        let digit = char::from(byte).to_digit(10)?;
        match digits < point {
            true => count = count.saturating_mul(10).saturating_add(u64::from(digit)),
            false => rest = rest.max(digit.min(1)),
        }
        digits += 1;
    }
    // As many zeros as change anything.
    for _ in digits..point.min(digits + DIGITS_MAX) {
        count = count.saturating_mul(10);
    }
    Some(count.saturating_add(u64::from(rest)))
}

#[cfg(test)]
mod tests;
