//! A number that may have a fraction: as text, or as YAML has numbers. A fraction is never taken for the binary
//! number that is near it; how it is written stands in the file.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{Deserializer, Error, Unexpected, Visitor};

/// A decimal number of zero or more.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(untagged)]
pub(in super::super) enum Decimal {
    /// A whole number.
    Whole(u64),
    /// A number with a fraction, which the file has.
    #[schemars(with = "f64")]
    Fraction,
    /// A text.
    Text(String),
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(NumberOrText)
    }
}

struct NumberOrText;

impl Visitor<'_> for NumberOrText {
    type Value = Decimal;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of zero or more")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Decimal, E> {
        Ok(Decimal::Whole(number))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Decimal, E> {
        if number < 0.0 {
            return Err(E::invalid_value(Unexpected::Float(number), &self));
        }
        Ok(Decimal::Fraction)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Decimal, E> {
        Ok(Decimal::Text(text.to_owned()))
    }
}
