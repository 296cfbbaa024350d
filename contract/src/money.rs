//! Money as whole micro-dollars, counts of tokens, and prices between the two. No float comes near it, no
//! amount is negative, and what is rounded is rounded once, up: a price per token would be a fraction of a
//! micro-dollar for most models.

#![deny(clippy::arithmetic_side_effects)]

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Micro-dollars in a dollar.
const MICROS_PER_USD: u64 = 1_000_000;
/// The decimals of a dollar that a micro-dollar has.
const DECIMALS_MAX: usize = 6;
/// What a price is for.
const TOKENS_PER_PRICE: u128 = 1_000_000;

/// An amount of US dollars in millionths: 0 to 2^53 - 1, which every JSON reader takes without loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MicroUsd(u64);

/// What is not an amount: negative, fractional, beyond 2^53 - 1, or written in another way than ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an amount is a whole number of micro-dollars from 0 to 9007199254740991")]
pub struct BadAmount;

/// A text that is not a sum of dollars with at most six decimals, within the bounds of an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a sum of dollars is digits with at most 6 decimals, like 12.50, up to 9007199254.740991")]
pub struct BadUsd;

/// A count of tokens.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Tokens(pub u64);

/// A price: micro-dollars for a million tokens, which is the number of dollars that price lists print, with six
/// more digits.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct MicroUsdPerMillion(pub MicroUsd);

/// What `parts` cost together, rounded up once.
///
/// # Errors
/// Where it is more than an amount can be.
pub fn cost(
    parts: impl IntoIterator<Item = (Tokens, MicroUsdPerMillion)>,
) -> Result<MicroUsd, BadAmount> {
    let mut exact = 0_u128;
    for (tokens, price) in parts {
        let part = u128::from(tokens.0).checked_mul(u128::from(price.0.0)).ok_or(BadAmount)?;
        exact = exact.checked_add(part).ok_or(BadAmount)?;
    }
    u64::try_from(exact.div_ceil(TOKENS_PER_PRICE)).map_err(|_| BadAmount).and_then(MicroUsd::new)
}

// === impl MicroUsd ===

impl MicroUsd {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount.
    pub const MAX: Self = Self((1 << 53) - 1);

    /// An amount of so many micro-dollars.
    ///
    /// # Errors
    /// Beyond [`Self::MAX`].
    pub const fn new(micros: u64) -> Result<Self, BadAmount> {
        if micros <= Self::MAX.0 { Ok(Self(micros)) } else { Err(BadAmount) }
    }

    /// So many whole dollars: whatever fits into 32 bits is less than [`Self::MAX`].
    #[must_use]
    pub const fn from_usd(dollars: u32) -> Self {
        Self((dollars as u64).saturating_mul(MICROS_PER_USD))
    }

    /// The number of micro-dollars.
    #[must_use]
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// Whether it is nothing.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Both together, unless that is more than an amount can be.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).and_then(|micros| Self::new(micros).ok())
    }

    /// Both together; the largest amount where that is more.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.checked_add(other).unwrap_or(Self::MAX)
    }

    /// What is left of it without `other`, unless that is more.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// What is left of it without `other`; nothing where `other` is more.
    #[must_use]
    pub fn less(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// Reads whole micro-dollars: digits, without sign, space or leading zero.
    ///
    /// # Errors
    /// Anything else: one amount has one spelling.
    pub fn parse_micros(text: &str) -> Result<Self, BadAmount> {
        let is_spelled = is_digits(text) && (text == "0" || !text.starts_with('0'));
        let micros = text.parse().ok().filter(|_| is_spelled).ok_or(BadAmount)?;
        Self::new(micros)
    }

    /// Reads dollars as people write them: `12`, `12.5`, `0.000001`.
    ///
    /// # Errors
    /// A sign, a space, an exponent, a separator of thousands, no digit before or behind the point, or more
    /// than six behind it: it is exact or refused.
    pub fn parse_usd(text: &str) -> Result<Self, BadUsd> {
        let (dollars, decimals) = match text.split_once('.') {
            Some((dollars, decimals)) if is_digits(decimals) => (dollars, decimals),
            Some(_) => return Err(BadUsd),
            None => (text, ""),
        };
        if !is_digits(dollars) || decimals.len() > DECIMALS_MAX {
            return Err(BadUsd);
        }
        let dollars: u64 = dollars.parse().map_err(|_| BadUsd)?;
        let micros: u64 = format!("{decimals:0<DECIMALS_MAX$}").parse().map_err(|_| BadUsd)?;
        dollars
            .checked_mul(MICROS_PER_USD)
            .and_then(|whole| whole.checked_add(micros))
            .and_then(|micros| Self::new(micros).ok())
            .ok_or(BadUsd)
    }
}

impl fmt::Display for MicroUsd {
    /// Dollars, exactly, with two decimals at least: `12.50`, `0.000001`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (dollars, micros) = (self.0 / MICROS_PER_USD, self.0 % MICROS_PER_USD);
        let micros = format!("{micros:06}");
        let (cents, rest) = micros.split_at(2);
        f.pad(&format!("{dollars}.{cents}{}", rest.trim_end_matches('0')))
    }
}

impl Serialize for MicroUsd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for MicroUsd {
    /// A JSON integer, or a string of its digits. `1.0` and `1e3` are floats and refused.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Amount;
        impl de::Visitor<'_> for Amount {
            type Value = MicroUsd;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{BadAmount}")
            }

            fn visit_u64<E: de::Error>(self, micros: u64) -> Result<MicroUsd, E> {
                MicroUsd::new(micros).map_err(E::custom)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<MicroUsd, E> {
                MicroUsd::parse_micros(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Amount)
    }
}

// === impl Tokens ===

impl Tokens {
    /// Both together, unless that does not fit.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }
}

// === impl MicroUsdPerMillion ===

impl MicroUsdPerMillion {
    /// The cost of `tokens` alone, rounded up. Where a request has tokens of several prices, [`cost`] rounds
    /// once for all of them.
    ///
    /// # Errors
    /// Where it is more than an amount can be.
    pub fn cost(self, tokens: Tokens) -> Result<MicroUsd, BadAmount> {
        cost([(tokens, self)])
    }
}

/// One ASCII digit or more. `u64::from_str` alone would take a plus.
fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
#[path = "money/tests.rs"]
mod tests;
