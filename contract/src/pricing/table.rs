//! The price list: dated data, read from `contract/data/prices.json`, which is part of the program; and what a
//! configuration puts over it. A model is found by its exact name or by an alias that the list names; nothing is
//! guessed from a name that is like another.

use std::collections::HashMap;
use std::collections::btree_map::{BTreeMap, Entry};

use serde::{Deserialize, Serialize};

use super::{Above, Price, Rates};
use crate::money::{MicroUsdPerMillion, Tokens};
use crate::provider::Provider;

/// The list, as it is published with the program.
const LIST: &str = include_str!("../../data/prices.json");

/// How much of a digest tells two sets of own prices apart in a version.
const DIGEST_CHARS: usize = 8;

/// Prices by provider and model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceTable {
    version: String,
    prices: HashMap<Provider, BTreeMap<String, Price>>,
}

/// What is wrong with a list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadList {
    /// It is not written as a list is.
    #[error("the price list cannot be read: {0}")]
    Form(String),
    /// It has a provider that nobody knows.
    #[error("the price list has the provider '{0}', which is not known here")]
    Provider(String),
    /// A name of a model has two prices.
    #[error("the price list has '{0}' twice")]
    Twice(String),
    /// The rates of long inputs are below the ordinary ones, so that more tokens could cost less.
    #[error("long inputs of '{0}' cost less than short ones in the price list")]
    Above(String),
}

/// A price that a configuration puts over the list's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnPrice {
    /// Whose model it is.
    pub provider: Provider,
    /// The model's exact name.
    pub model: String,
    /// Its price.
    pub price: Price,
}

/// The file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    version: String,
    #[serde(rename = "about")]
    _about: Vec<String>,
    providers: BTreeMap<String, Vec<Row>>,
}

/// One price and the names that have it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    model: String,
    #[serde(default)]
    aliases: Vec<String>,
    max_input_tokens: Option<Tokens>,
    max_output_tokens: Option<Tokens>,
    rates: ListedRates,
    above: Option<ListedAbove>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListedAbove {
    input_tokens: Tokens,
    rates: ListedRates,
}

/// Rates as somebody writes them: what costs the same as other input need not be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListedRates {
    /// Input.
    pub input: MicroUsdPerMillion,
    /// Input from the provider's prompt cache; as input where nothing is said.
    pub cached_input: Option<MicroUsdPerMillion>,
    /// Input written to it; as input where nothing is said.
    pub cache_write: Option<MicroUsdPerMillion>,
    /// Input written to it for the longer time; as for the shorter one where nothing is said.
    pub cache_write_long: Option<MicroUsdPerMillion>,
    /// Output.
    pub output: MicroUsdPerMillion,
}

// === impl PriceTable ===

impl PriceTable {
    /// The list that is published with the program.
    ///
    /// # Errors
    /// What is wrong with it; a test says that nothing is.
    pub fn published() -> Result<Self, BadList> {
        Self::read(LIST)
    }

    fn read(text: &str) -> Result<Self, BadList> {
        let List { version, _about, providers } =
            serde_json::from_str(text).map_err(|error| BadList::Form(error.to_string()))?;
        let mut prices = HashMap::new();
        for (name, rows) in providers {
            let Some(provider) = Provider::named(&name) else {
                return Err(BadList::Provider(name));
            };
            let mut of_provider = BTreeMap::new();
            for row in rows {
                row.into_prices(&mut of_provider)?;
            }
            prices.insert(provider, of_provider);
        }
        Ok(Self { version, prices })
    }

    /// The table with a configuration's own prices over it. Own prices make a version of their own, whatever
    /// it is called: a settle must be able to tell that a reserve was priced otherwise.
    #[must_use]
    pub fn with_own(mut self, called: Option<&str>, own: Vec<OwnPrice>) -> Self {
        if let Some(called) = called {
            called.clone_into(&mut self.version);
        }
        if own.is_empty() {
            return self;
        }
        let mut hasher = blake3::Hasher::new();
        for OwnPrice { provider, model, price } in own {
            // Only maps with keys that are no text cannot be written; there are none in a price.
            let written = serde_json::to_vec(&(provider.as_str(), &model, &price));
            hasher.update(&written.unwrap_or_default());
            self.prices.entry(provider).or_default().insert(model, price);
        }
        let digest: String = hasher.finalize().to_hex().chars().take(DIGEST_CHARS).collect();
        self.version = format!("{}+{digest}", self.version);
        self
    }

    /// Which prices these are; a reserve keeps it.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The price of a model by this exact name.
    #[must_use]
    pub fn find(&self, provider: Provider, model: &str) -> Option<&Price> {
        self.prices.get(&provider)?.get(model)
    }

    /// Every name that has a price, sorted, with it.
    pub fn of(&self, provider: Provider) -> impl Iterator<Item = (&str, &Price)> {
        let prices = self.prices.get(&provider);
        prices.into_iter().flatten().map(|(model, price)| (model.as_str(), price))
    }
}

// === impl Row ===

impl Row {
    fn into_prices(self, into: &mut BTreeMap<String, Price>) -> Result<(), BadList> {
        let Self { model, aliases, max_input_tokens, max_output_tokens, rates, above } = self;
        let price = Price {
            rates: rates.resolved(),
            above: above.map(|above| Above {
                input_tokens: above.input_tokens,
                rates: above.rates.resolved(),
            }),
            max_input_tokens,
            max_output_tokens,
        };
        if !price.is_monotone() {
            return Err(BadList::Above(model));
        }
        for name in std::iter::once(model).chain(aliases) {
            match into.entry(name) {
                Entry::Vacant(entry) => entry.insert(price),
                Entry::Occupied(entry) => return Err(BadList::Twice(entry.key().clone())),
            };
        }
        Ok(())
    }
}

// === impl ListedRates ===

impl ListedRates {
    /// The rates with what is not said filled in.
    #[must_use]
    pub fn resolved(self) -> Rates {
        let Self { input, cached_input, cache_write, cache_write_long, output } = self;
        let cache_write = cache_write.unwrap_or(input);
        Rates {
            input,
            cached_input: cached_input.unwrap_or(input),
            cache_write,
            cache_write_long: cache_write_long.unwrap_or(cache_write),
            output,
        }
    }
}

#[cfg(test)]
mod tests;
