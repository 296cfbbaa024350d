//! The published list, and what a configuration puts over it.

use std::collections::BTreeSet;

use wasm_bindgen_test::wasm_bindgen_test;

use super::*;
use crate::config::{ANTHROPIC_MODELS, OPENAI_MODELS};
use crate::money::MicroUsd;

const PAGE: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/pricing.md"));

fn published() -> PriceTable {
    PriceTable::published().unwrap()
}

/// Input, cached input and output of a price.
fn rates(price: &Price) -> (u64, u64, u64) {
    let Rates { input, cached_input, output, .. } = price.rates;
    (input.0.micros(), cached_input.0.micros(), output.0.micros())
}

fn rate(micros: u64) -> MicroUsdPerMillion {
    MicroUsdPerMillion(MicroUsd::new(micros).unwrap())
}

fn one(input: u64) -> Price {
    let rate = rate(input);
    let listed = ListedRates {
        input: rate,
        cached_input: None,
        cache_write: None,
        cache_write_long: None,
        output: rate,
    };
    let rates = listed.resolved();
    Price { rates, above: None, max_input_tokens: None, max_output_tokens: None }
}

fn own(model: &str, input: u64) -> OwnPrice {
    OwnPrice { provider: Provider::OpenAi, model: model.to_owned(), price: one(input) }
}

#[wasm_bindgen_test(unsupported = test)]
fn the_seeds_models_have_the_seeds_prices() {
    let table = published();
    for (provider, model, input, output) in [
        (Provider::OpenAi, "gpt-4o", 2_500_000, 10_000_000),
        (Provider::OpenAi, "gpt-4o-mini", 150_000, 600_000),
        (Provider::Anthropic, "claude-sonnet-4-5", 3_000_000, 15_000_000),
        (Provider::Anthropic, "claude-3-haiku-20240307", 250_000, 1_250_000),
    ] {
        let (found_input, _, found_output) = rates(table.find(provider, model).unwrap());
        assert_eq!((found_input, found_output), (input, output), "{model}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_model_is_found_by_its_name_or_a_listed_alias_and_by_nothing_like_it() {
    let table = published();
    let find = |model| table.find(Provider::OpenAi, model);
    assert_eq!(find("gpt-4o-2024-08-06"), find("gpt-4o"));
    assert_ne!(find("gpt-4o-2024-05-13"), find("gpt-4o"), "it had another price");
    for unlike in ["", "GPT-4o", "gpt-4o ", "gpt-4o-2030-01-01", "gpt", "openai/gpt-4o"] {
        assert_eq!(find(unlike), None, "{unlike:?}");
    }
    assert_eq!(table.find(Provider::Azure, "gpt-4o"), None, "a deployment says nothing of a model");
    assert_eq!(table.find(Provider::Anthropic, "gpt-4o"), None);
}

#[wasm_bindgen_test(unsupported = test)]
fn every_model_of_the_catalogues_has_a_price_or_is_named_on_the_page() {
    let table = published();
    let (_, without) = PAGE.split_once("## Models without a price").unwrap();
    let without: BTreeSet<&str> = without.split('`').skip(1).step_by(2).collect();
    for (provider, models) in
        [(Provider::OpenAi, OPENAI_MODELS), (Provider::Anthropic, ANTHROPIC_MODELS)]
    {
        for model in models {
            let has_price = table.find(provider, model).is_some();
            assert_ne!(has_price, without.contains(model), "{model}");
        }
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn the_page_has_the_version_and_every_price_of_the_list_and_no_other() {
    let table = published();
    assert!(PAGE.contains(&format!("`{}`", table.version())));
    let mut expected = Vec::new();
    for provider in Provider::ALL {
        for (model, price) in table.of(*provider) {
            let row = |name: &str, rates: Rates| {
                let Rates { input, cached_input, cache_write, cache_write_long, output } = rates;
                let figures = [input, cached_input, cache_write, cache_write_long, output];
                let figures = figures.map(|rate| rate.0.to_string()).join(" | ");
                format!("| `{model}`{name} | {} | {figures} |", provider.as_str())
            };
            expected.push(row("", price.rates));
            if let Some(above) = price.above {
                let bound = above.input_tokens.0 / 1_000;
                expected.push(row(&format!(" > {bound}k"), above.rates));
            }
        }
    }
    let (_, rows) = PAGE.split_once("## The list").unwrap();
    let (rows, _) = rows.split_once("## Models without a price").unwrap();
    let found: Vec<&str> = rows.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(found, expected, "the rows must be:\n{}", expected.join("\n"));
}

#[wasm_bindgen_test(unsupported = test)]
fn what_a_list_does_not_say_of_the_prompt_cache_costs_as_input() {
    let rates = one(7).rates;
    assert_eq!((rates.cached_input, rates.cache_write), (rates.input, rates.input));
    let listed = ListedRates {
        input: rate(4),
        cached_input: None,
        cache_write: Some(rate(5)),
        cache_write_long: None,
        output: rate(0),
    };
    assert_eq!(listed.resolved().cache_write_long, rate(5));
}

#[wasm_bindgen_test(unsupported = test)]
fn own_prices_win_over_the_list_under_exactly_their_name() {
    let table = published().with_own(None, vec![own("gpt-4o", 1), own("my-model", 2)]);
    let find = |model| table.find(Provider::OpenAi, model);
    assert_eq!((find("gpt-4o"), find("my-model")), (Some(&one(1)), Some(&one(2))));
    assert_eq!(find("gpt-4o-2024-08-06"), published().find(Provider::OpenAi, "gpt-4o"));
}

#[wasm_bindgen_test(unsupported = test)]
fn own_prices_make_a_version_of_their_own() {
    let version = |called, own| published().with_own(called, own).version().to_owned();
    let list = published().version().to_owned();
    assert_eq!(version(None, vec![]), list);
    assert_eq!(version(Some("ours-1"), vec![]), "ours-1");
    let versions: BTreeSet<String> = [
        version(None, vec![own("m", 1)]),
        version(None, vec![own("m", 2)]),
        version(None, vec![own("k", 1)]),
        version(Some("ours-1"), vec![own("m", 1)]),
    ]
    .into();
    assert_eq!(versions.len(), 4, "{versions:?}");
    assert!(
        versions.iter().all(|version| version.starts_with(&list) || version.starts_with("ours-1+"))
    );
    assert_eq!(version(None, vec![own("m", 1)]), version(None, vec![own("m", 1)]));
}

#[wasm_bindgen_test(unsupported = test)]
fn a_list_that_could_be_read_in_two_ways_is_refused() {
    let list = |provider: &str, rows: &str| {
        PriceTable::read(&format!(
            r#"{{"version":"v","about":[],"providers":{{"{provider}":[{rows}]}}}}"#
        ))
    };
    let row = |model: &str, more: &str| {
        format!(r#"{{"model":"{model}","rates":{{"input":2,"output":3}}{more}}}"#)
    };
    assert!(list("openai", &row("m", "")).is_ok());
    for (what, provider, rows, expected) in [
        (
            "a name twice",
            "openai",
            [row("m", ""), row("m", "")].join(","),
            BadList::Twice("m".into()),
        ),
        (
            "an alias that is a name",
            "openai",
            [row("m", ""), row("k", r#","aliases":["m"]"#)].join(","),
            BadList::Twice("m".into()),
        ),
        ("a provider nobody knows", "acme", row("m", ""), BadList::Provider("acme".into())),
        (
            "long inputs that cost less",
            "openai",
            row("m", r#","above":{"input_tokens":9,"rates":{"input":1,"output":3}}"#),
            BadList::Above("m".into()),
        ),
    ] {
        assert_eq!(list(provider, &rows), Err(expected), "{what}");
    }
    for (what, rows) in [
        ("a field nobody knows", row("m", r#","price":1"#)),
        ("a fraction", row("m", "").replace('2', "2.5")),
        ("a negative rate", row("m", "").replace('2', "-2")),
        ("a fraction in a text", row("m", "").replace('2', "\"2.5\"")),
        ("no output", r#"{"model":"m","rates":{"input":2}}"#.to_owned()),
    ] {
        assert!(matches!(list("openai", &rows), Err(BadList::Form(_))), "{what}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn no_published_price_is_for_nothing_and_none_is_absurd() {
    for provider in Provider::ALL {
        for (model, price) in published().of(*provider) {
            let Rates { input, cached_input, cache_write, cache_write_long, output } = price.rates;
            assert!(
                !input.0.is_zero() && !cached_input.0.is_zero() && cached_input <= input,
                "{model}"
            );
            assert!(input <= cache_write && cache_write <= cache_write_long, "{model}");
            assert!(output >= input || model.starts_with("text-embedding-"), "{model}");
            assert!(output <= rate(600_000_000), "{model}");
            let is_named = provider == &Provider::Anthropic;
            assert!(!is_named || cache_write > input, "{model}: what is written costs more there");
        }
    }
}
