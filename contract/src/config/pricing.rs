//! `pricing`: what calls cost, where it is not what the published list says, and what becomes of a call whose
//! model has no price.

use std::collections::BTreeMap;

use crate::money::{MicroUsdPerMillion, Tokens};
use crate::pricing::table::{ListedRates, OwnPrice, PriceTable};
use crate::pricing::{Above, Price};
use crate::provider::Provider;

use super::raw::{self, Decimal, LongInputs, ModelPrice, UnknownModel};
use super::report::{Bounds, Report, suggestion};
use super::targets::Target;
use super::usd::usd;

/// Beyond ten million tokens somebody meant another unit.
const TOKENS: Bounds<u64> = Bounds { min: 1, max: 10_000_000, default: 1 };
/// How long the name of a set of prices may be: it stands in each reserve.
const VERSION_CHARS_MAX: usize = 64;

/// `pricing`, over the published list.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pricing {
    /// The list, and the own prices over it.
    pub table: PriceTable,
    /// `unknown_model`: the price of a model that has none; without it, such calls are refused.
    pub unknown_model: Option<Price>,
}

/// Which caches a price must speak of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CacheWrites {
    /// The provider prices what is written to its prompt cache apart.
    Needed,
    /// What is not said costs as input.
    Optional,
}

pub(super) fn check(raw: raw::Pricing, report: &mut Report) -> Option<Pricing> {
    let raw::Pricing { version, models, unknown_model } = raw;
    let list =
        PriceTable::published().map_err(|bad| report.error("pricing", bad.to_string())).ok()?;
    if version.as_ref().is_some_and(|version| !is_version(version)) {
        let what = "must be 1 to 64 letters, digits, '-', '_' and '.'";
        report.error("pricing.version", what);
    }
    let mut own = Vec::new();
    for (provider, models) in models.unwrap_or_default() {
        let field = format!("pricing.models.{provider}");
        let Some(provider) = check_provider(&field, &provider, report) else { continue };
        own.extend(check_models(&field, provider, models, &list, report));
    }
    let unknown_model = match unknown_model {
        None | Some(UnknownModel::Refuse(())) => None,
        Some(UnknownModel::Price(price)) => {
            check_price("pricing.unknown_model", *price, CacheWrites::Optional, report)
        }
    };
    Some(Pricing { table: list.with_own(version.as_deref(), own), unknown_model })
}

fn is_version(text: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=VERSION_CHARS_MAX).contains(&text.len()) && text.bytes().all(is_good)
}

fn check_provider(field: &str, name: &str, report: &mut Report) -> Option<Provider> {
    let provider = Provider::named(name);
    if provider.is_none() {
        let known = || Provider::ALL.iter().map(|known| known.as_str());
        let problem = match suggestion(name, known()) {
            Some(near) => format!("is no provider that is known here; did you mean '{near}'?"),
            None => format!(
                "is no provider that is known here; known: {}",
                known().collect::<Vec<_>>().join(", ")
            ),
        };
        report.error(field, problem);
    }
    provider
}

fn check_models(
    at: &str,
    provider: Provider,
    models: BTreeMap<String, ModelPrice>,
    list: &PriceTable,
    report: &mut Report,
) -> Vec<OwnPrice> {
    let writes = match provider {
        Provider::Anthropic => CacheWrites::Needed,
        Provider::OpenAi | Provider::Azure => CacheWrites::Optional,
    };
    let mut own = Vec::with_capacity(models.len());
    for (model, price) in models {
        if let Some(mut price) = check_price(&format!("{at}.{model}"), price, writes, report) {
            let listed = list.find(provider, &model);
            let or_listed = |own: Option<Tokens>, of: fn(&Price) -> Option<Tokens>| {
                own.or_else(|| listed.and_then(of))
            };
            price.max_input_tokens = or_listed(price.max_input_tokens, |it| it.max_input_tokens);
            price.max_output_tokens = or_listed(price.max_output_tokens, |it| it.max_output_tokens);
            own.push(OwnPrice { provider, model, price });
        }
    }
    own
}

fn check_price(
    at: &str,
    raw: ModelPrice,
    writes: CacheWrites,
    report: &mut Report,
) -> Option<Price> {
    let ModelPrice {
        input_usd_per_million,
        cached_input_usd_per_million,
        cache_write_usd_per_million,
        cache_write_long_usd_per_million,
        output_usd_per_million,
        long_inputs,
        max_input_tokens,
        max_output_tokens,
    } = raw;
    let rates = [
        input_usd_per_million,
        cached_input_usd_per_million,
        cache_write_usd_per_million,
        cache_write_long_usd_per_million,
        output_usd_per_million,
    ];
    let rates = check_rates(at, rates, writes, report);
    let mut tokens = |name: &str, count: Option<u64>| {
        count.map(|count| Tokens(report.within(&format!("{at}.{name}"), Some(count), TOKENS)))
    };
    let max_input_tokens = tokens("max_input_tokens", max_input_tokens);
    let max_output_tokens = tokens("max_output_tokens", max_output_tokens);
    let above = match long_inputs {
        None => None,
        Some(long) => Some(check_long(&format!("{at}.long_inputs"), long, writes, report)?),
    };
    let rates = rates?.resolved();
    let price = Price { rates, above, max_input_tokens, max_output_tokens };
    if !price.is_monotone() {
        report.error(
            format!("{at}.long_inputs"),
            "has a rate below the ordinary one of its kind: more tokens would cost less",
        );
    }
    Some(price)
}

fn check_long(
    at: &str,
    raw: LongInputs,
    writes: CacheWrites,
    report: &mut Report,
) -> Option<Above> {
    let LongInputs {
        above_input_tokens,
        input_usd_per_million,
        cached_input_usd_per_million,
        cache_write_usd_per_million,
        cache_write_long_usd_per_million,
        output_usd_per_million,
    } = raw;
    let rates = [
        input_usd_per_million,
        cached_input_usd_per_million,
        cache_write_usd_per_million,
        cache_write_long_usd_per_million,
        output_usd_per_million,
    ];
    let rates = check_rates(at, rates, writes, report);
    let field = format!("{at}.above_input_tokens");
    if above_input_tokens.is_none() && report.is_whole(&field) {
        report.error(&field, "missing: how long is a long input?");
    }
    let bound = report.within(&field, above_input_tokens, TOKENS);
    Some(Above { input_tokens: Tokens(bound), rates: rates?.resolved() })
}

/// The rates, in the order in which the file's reference has them.
fn check_rates(
    at: &str,
    rates: [Option<Decimal>; 5],
    writes: CacheWrites,
    report: &mut Report,
) -> Option<ListedRates> {
    const WHAT_IS_WRITTEN: &str =
        "missing: this provider prices what is written to its prompt cache apart";
    let mut missing = |needed: Option<&str>, name: &str, rate: Option<Decimal>| {
        let field = format!("{at}.{name}_usd_per_million");
        if let (None, Some(problem)) = (&rate, needed)
            && report.is_whole(&field)
        {
            report.error(&field, problem);
        }
        usd(&field, rate, report).map(MicroUsdPerMillion)
    };
    let of_writes = (writes == CacheWrites::Needed).then_some(WHAT_IS_WRITTEN);
    let [input, cached_input, cache_write, cache_write_long, output] = rates;
    let input = missing(Some("missing: a price has a rate for input"), "input", input);
    let cached_input = missing(None, "cached_input", cached_input);
    let cache_write = missing(of_writes, "cache_write", cache_write);
    let cache_write_long = missing(of_writes, "cache_write_long", cache_write_long);
    let of_output = "missing: a price has a rate for output; 0 for embeddings";
    let output = missing(Some(of_output), "output", output);
    Some(ListedRates {
        input: input?,
        cached_input,
        cache_write,
        cache_write_long,
        output: output?,
    })
}

// === impl Pricing ===

impl Pricing {
    /// What a call of this model costs; `None` where it is to be refused.
    #[must_use]
    pub fn price(&self, provider: Provider, model: &str) -> Option<&Price> {
        self.table.find(provider, model).or(self.unknown_model.as_ref())
    }

    /// Tells of models that a target serves and nobody can pay for.
    pub(super) fn warn_of_unpriced(&self, targets: &[Target], report: &mut Report) {
        for (at, target) in targets.iter().enumerate() {
            let mut unpriced =
                target.models.iter().filter(|model| self.price(target.provider, model).is_none());
            let Some(first) = unpriced.next() else { continue };
            let more = match unpriced.count() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            report.warning(
                format!("providers.targets[{at}].models"),
                format!(
                    "no price is known for '{first}'{more}, so that they are refused; 'pricing' can \
                     have one"
                ),
            );
        }
    }
}
