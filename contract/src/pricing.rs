//! What an upstream call costs: rates per million tokens, and one rounding, up, per call. Pure arithmetic in
//! integers; where the rates come from is the business of [`table`].

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

#[cfg(feature = "config")]
pub mod table;

use serde::{Deserialize, Serialize};

use crate::money::{self, BadAmount, MicroUsd, MicroUsdPerMillion, Tokens};

/// What a million tokens of each kind cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// Input that the provider's own prompt cache has nothing to do with.
    pub input: MicroUsdPerMillion,
    /// Input that was read from the provider's prompt cache.
    pub cached_input: MicroUsdPerMillion,
    /// Input that was written to it for as long as the provider keeps it by default.
    pub cache_write: MicroUsdPerMillion,
    /// Input that was written to it for the longer time that a request may ask for.
    pub cache_write_long: MicroUsdPerMillion,
    /// Output, hidden reasoning included.
    pub output: MicroUsdPerMillion,
}

/// Other rates for the whole of a call whose input is longer than a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Above {
    /// The longest input, of every kind together, that does not have these rates.
    pub input_tokens: Tokens,
    /// The rates: none below the ordinary one of its kind.
    pub rates: Rates,
}

/// What a model costs, and how far its calls can go. It can be written down with a reserve, so that the settle
/// has the same one whatever the configuration says by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// The ordinary rates.
    pub rates: Rates,
    /// The rates of long inputs, where they are others.
    pub above: Option<Above>,
    /// The longest input that the model takes, where that is known.
    pub max_input_tokens: Option<Tokens>,
    /// The longest answer that the model gives, where that is known.
    pub max_output_tokens: Option<Tokens>,
}

/// The tokens of one call, by what they cost: each token is in exactly one field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Billable {
    /// At [`Rates::input`].
    pub input: Tokens,
    /// At [`Rates::cached_input`].
    pub cached_input: Tokens,
    /// At [`Rates::cache_write`].
    pub cache_write: Tokens,
    /// At [`Rates::cache_write_long`].
    pub cache_write_long: Tokens,
    /// At [`Rates::output`].
    pub output: Tokens,
}

/// How long input is kept that a call may write to the provider's prompt cache, and so what it may cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum CacheWrites {
    /// The call writes nothing.
    #[default]
    None,
    /// For the shorter time at most.
    Short,
    /// For the longer time.
    Long,
}

/// The cost of one call: the exact sum, rounded up once to the next micro-dollar.
///
/// # Errors
/// The cost is more than any amount: a usage that is absurd, never a cost that wraps.
pub fn cost(tokens: Billable, price: &Price) -> Result<MicroUsd, BadAmount> {
    let rates = price.rates_for(tokens.input_tokens().ok_or(BadAmount)?);
    let Billable { input, cached_input, cache_write, cache_write_long, output } = tokens;
    money::cost([
        (input, rates.input),
        (cached_input, rates.cached_input),
        (cache_write, rates.cache_write),
        (cache_write_long, rates.cache_write_long),
        (output, rates.output),
    ])
}

/// The most that a call can cost whose input and output are no longer than these, whatever of its input the
/// provider finds in its prompt cache.
///
/// # Errors
/// The cost is more than any amount.
pub fn cost_at_most(
    input: Tokens,
    writes: CacheWrites,
    output: Tokens,
    price: &Price,
) -> Result<MicroUsd, BadAmount> {
    let rates = price.rates_for(input);
    let dearest = rates.dearest_input(writes);
    let rates = Rates { input: dearest, ..rates };
    let price = Price { rates, above: None, ..*price };
    cost(Billable { input, output, ..Billable::default() }, &price)
}

// === impl Rates ===

impl Rates {
    /// The dearest that a token of input can be.
    fn dearest_input(&self, writes: CacheWrites) -> MicroUsdPerMillion {
        let Self { input, cached_input, cache_write, cache_write_long, output: _ } = *self;
        let read = input.max(cached_input);
        match writes {
            CacheWrites::None => read,
            CacheWrites::Short => read.max(cache_write),
            CacheWrites::Long => read.max(cache_write).max(cache_write_long),
        }
    }

    /// Whether no rate is below the one of its kind in `ordinary`.
    fn cover(&self, ordinary: &Self) -> bool {
        let Self { input, cached_input, cache_write, cache_write_long, output } = *self;
        input >= ordinary.input
            && cached_input >= ordinary.cached_input
            && cache_write >= ordinary.cache_write
            && cache_write_long >= ordinary.cache_write_long
            && output >= ordinary.output
    }
}

// === impl Price ===

impl Price {
    /// The rates of a call with so much input.
    #[must_use]
    pub const fn rates_for(&self, input: Tokens) -> Rates {
        match self.above {
            Some(Above { input_tokens, rates }) if input.0 > input_tokens.0 => rates,
            Some(_) | None => self.rates,
        }
    }

    /// Whether more tokens never cost less: what a bound on a cost rests on. Every price of a table is so.
    #[must_use]
    pub fn is_monotone(&self) -> bool {
        self.above.is_none_or(|above| above.rates.cover(&self.rates))
    }
}

// === impl Billable ===

impl Billable {
    /// Input of every kind together; `None` where it is beyond any number.
    #[must_use]
    pub fn input_tokens(&self) -> Option<Tokens> {
        let Self { input, cached_input, cache_write, cache_write_long, output: _ } = *self;
        [cached_input, cache_write, cache_write_long]
            .into_iter()
            .try_fold(input.0, |sum, more| sum.checked_add(more.0))
            .map(Tokens)
    }
}

#[cfg(test)]
mod tests;
