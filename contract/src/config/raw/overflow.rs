//! `single_flight_overflow`: a number, or the word `unlimited`.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{Deserializer, Error, Unexpected, Visitor};

/// How many of those who wait too long may go their own way, per flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(untagged)]
pub(in super::super) enum Overflow {
    /// So many.
    Count(u64),
    /// Every one of them.
    Unlimited(Unlimited),
}

/// The word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub(in super::super) enum Unlimited {
    /// Every one of them.
    Unlimited,
}

impl<'de> Deserialize<'de> for Overflow {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(NumberOrWord)
    }
}

struct NumberOrWord;

impl Visitor<'_> for NumberOrWord {
    type Value = Overflow;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number or unlimited")
    }

    fn visit_u64<E: Error>(self, count: u64) -> Result<Overflow, E> {
        Ok(Overflow::Count(count))
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<Overflow, E> {
        match word {
            "unlimited" => Ok(Overflow::Unlimited(Unlimited::Unlimited)),
            other => Err(E::invalid_value(Unexpected::Str(other), &self)),
        }
    }
}
