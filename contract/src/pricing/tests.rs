//! What calls cost, in figures that a person can check, and what must hold of every cost.

use wasm_bindgen_test::wasm_bindgen_test;

use super::*;

const fn rate(micros: u64) -> MicroUsdPerMillion {
    let Ok(micros) = MicroUsd::new(micros) else { panic!("no rate") };
    MicroUsdPerMillion(micros)
}

/// GPT-4o as the first list has it.
const GPT_4O: Price = flat(2_500_000, 1_250_000, 10_000_000);
/// GPT-4o-mini: 0.15 micro-USD a token.
const GPT_4O_MINI: Price = flat(150_000, 75_000, 600_000);

const fn flat(input: u64, cached: u64, output: u64) -> Price {
    let rates = Rates {
        input: rate(input),
        cached_input: rate(cached),
        cache_write: rate(input),
        cache_write_long: rate(input),
        output: rate(output),
    };
    Price { rates, above: None, max_input_tokens: None, max_output_tokens: None }
}

/// Haiku 5.5: a quarter more for what is written to the prompt cache, twice for an hour of it, and five times
/// everything beyond 100,000 tokens of input.
fn with_above() -> Price {
    let times = |factor: u64| Rates {
        input: rate(100_000 * factor),
        cached_input: rate(10_000 * factor),
        cache_write: rate(125_000 * factor),
        cache_write_long: rate(200_000 * factor),
        output: rate(500_000 * factor),
    };
    let above = Above { input_tokens: Tokens(100_000), rates: times(5) };
    Price { rates: times(1), above: Some(above), max_input_tokens: None, max_output_tokens: None }
}

fn tokens(input: u64, output: u64) -> Billable {
    Billable { input: Tokens(input), output: Tokens(output), ..Billable::default() }
}

fn micro_usd(tokens: Billable, price: &Price) -> Option<u64> {
    cost(tokens, price).ok().map(MicroUsd::micros)
}

#[wasm_bindgen_test(unsupported = test)]
fn a_million_tokens_cost_their_rate() {
    assert_eq!(micro_usd(tokens(1_000_000, 1_000_000), &GPT_4O), Some(12_500_000));
    assert_eq!(micro_usd(tokens(1_000_000, 1_000_000), &GPT_4O_MINI), Some(750_000));
}

#[wasm_bindgen_test(unsupported = test)]
fn a_call_is_rounded_up_once_and_not_once_a_token() {
    for (input, output, expected) in [
        (0, 0, 0),
        (1, 0, 1),
        (6, 0, 1),
        (7, 0, 2),
        // 0.15 and 0.6: each rounded for itself would be two.
        (1, 1, 1),
        // A token rounded for itself would cost 1,000.
        (1_000, 0, 150),
        (1_000, 500, 450),
    ] {
        let cost = micro_usd(tokens(input, output), &GPT_4O_MINI);
        assert_eq!(cost, Some(expected), "{input} in, {output} out");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn each_kind_of_token_has_its_rate() {
    let million = Tokens(1_000_000);
    let price = Price { above: None, ..with_above() };
    for (what, tokens, expected) in [
        ("input", Billable { input: million, ..Billable::default() }, 100_000),
        ("cached", Billable { cached_input: million, ..Billable::default() }, 10_000),
        ("written", Billable { cache_write: million, ..Billable::default() }, 125_000),
        ("for long", Billable { cache_write_long: million, ..Billable::default() }, 200_000),
        ("output", Billable { output: million, ..Billable::default() }, 500_000),
    ] {
        assert_eq!(micro_usd(tokens, &price), Some(expected), "{what}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_long_input_makes_the_whole_call_dear_and_cached_tokens_count_to_it() {
    let price = with_above();
    let call = |input, cached| Billable {
        input: Tokens(input),
        cached_input: Tokens(cached),
        output: Tokens(1_000),
        ..Billable::default()
    };
    assert_eq!(micro_usd(call(100_000, 0), &price), Some(10_000 + 500));
    assert_eq!(micro_usd(call(100_001, 0), &price), Some(50_001 + 2_500));
    assert_eq!(micro_usd(call(0, 100_000), &price), Some(1_000 + 500));
    assert_eq!(micro_usd(call(1, 100_000), &price), Some(5_001 + 2_500));
}

#[wasm_bindgen_test(unsupported = test)]
fn a_price_whose_long_inputs_cost_less_in_any_kind_is_not_monotone() {
    let price = with_above();
    assert!(price.is_monotone());
    let less = rate(9_999);
    let lower: [fn(&mut Rates, MicroUsdPerMillion); 5] = [
        |rates, less| rates.input = less,
        |rates, less| rates.cached_input = less,
        |rates, less| rates.cache_write = less,
        |rates, less| rates.cache_write_long = less,
        |rates, less| rates.output = less,
    ];
    for (kind, lower) in lower.into_iter().enumerate() {
        let mut above = price.above.unwrap();
        lower(&mut above.rates, less);
        assert!(!Price { above: Some(above), ..price }.is_monotone(), "kind {kind}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_cost_beyond_every_amount_is_an_error_and_never_wraps() {
    let all = Tokens(u64::MAX);
    let largest = MicroUsd::MAX.micros();
    let most = flat(largest, largest, largest);
    for (what, tokens, price) in [
        (
            "tokens beyond any number",
            Billable { input: all, cached_input: all, ..tokens(0, 0) },
            &GPT_4O,
        ),
        ("two sums beyond 64 bits", Billable { input: all, output: all, ..tokens(0, 0) }, &most),
        ("a sum beyond 64 bits", tokens(u64::MAX, 0), &most),
        ("one more than the largest amount", tokens(0, 900_719_925_474_100), &GPT_4O),
    ] {
        assert_eq!(cost(tokens, price), Err(BadAmount), "{what}");
    }
    let largest = micro_usd(tokens(0, 900_719_925_474_099), &GPT_4O);
    assert_eq!(largest, Some(9_007_199_254_740_990));
}

#[wasm_bindgen_test(unsupported = test)]
fn a_bound_takes_the_dearest_that_the_input_can_become() {
    let price = Price { above: None, ..with_above() };
    for (writes, expected) in
        [(CacheWrites::None, 100_000), (CacheWrites::Short, 125_000), (CacheWrites::Long, 200_000)]
    {
        let bound = cost_at_most(Tokens(1_000_000), writes, Tokens(0), &price);
        assert_eq!(bound.map(MicroUsd::micros), Ok(expected), "{writes:?}");
    }
}

#[cfg(not(target_family = "wasm"))]
mod properties {
    use proptest::prelude::*;

    use super::*;

    fn rates() -> impl Strategy<Value = Rates> {
        // Dear ones, cheap ones and none: the largest that any list has is 600 USD.
        let figure = || prop_oneof![Just(0), 1..1_000_u64, 1_000..600_000_000_u64];
        (figure(), figure(), figure(), figure(), figure()).prop_map(
            |(input, cached, short, long, output)| Rates {
                input: rate(input),
                cached_input: rate(cached),
                cache_write: rate(short),
                cache_write_long: rate(long),
                output: rate(output),
            },
        )
    }

    fn price() -> impl Strategy<Value = Price> {
        let above = (0..400_000_u64, 1..6_u64);
        (rates(), proptest::option::of(above)).prop_map(|(rates, above)| {
            let above = above.map(|(bound, factor)| {
                let times = |rate: MicroUsdPerMillion| super::rate(rate.0.micros() * factor);
                let rates = Rates {
                    input: times(rates.input),
                    cached_input: times(rates.cached_input),
                    cache_write: times(rates.cache_write),
                    cache_write_long: times(rates.cache_write_long),
                    output: times(rates.output),
                };
                Above { input_tokens: Tokens(bound), rates }
            });
            Price { rates, above, max_input_tokens: None, max_output_tokens: None }
        })
    }

    fn call() -> impl Strategy<Value = Billable> {
        let count = || prop_oneof![0..4_u64, 0..200_000_u64, 0..2_000_000_u64].prop_map(Tokens);
        (count(), count(), count(), count(), count()).prop_map(
            |(input, cached, short, long, output)| Billable {
                input,
                cached_input: cached,
                cache_write: short,
                cache_write_long: long,
                output,
            },
        )
    }

    /// The exact cost, in millionths of a micro-dollar, added up in another order.
    fn exact(tokens: Billable, price: &Price) -> u128 {
        let Billable { input, cached_input, cache_write, cache_write_long, output } = tokens;
        let all = input.0 + cached_input.0 + cache_write.0 + cache_write_long.0;
        let rates = match price.above {
            Some(above) if all > above.input_tokens.0 => above.rates,
            _ => price.rates,
        };
        u128::from(output.0) * u128::from(rates.output.0.micros())
            + u128::from(cache_write_long.0) * u128::from(rates.cache_write_long.0.micros())
            + u128::from(cache_write.0) * u128::from(rates.cache_write.0.micros())
            + u128::from(cached_input.0) * u128::from(rates.cached_input.0.micros())
            + u128::from(input.0) * u128::from(rates.input.0.micros())
    }

    proptest! {
        #[test]
        fn a_cost_is_never_below_the_exact_one_and_less_than_a_micro_dollar_above(
            tokens in call(), price in price()
        ) {
            let cost = u128::from(cost(tokens, &price).unwrap().micros()) * 1_000_000;
            let exact = exact(tokens, &price);
            prop_assert!(exact <= cost && cost < exact + 1_000_000);
        }

        #[test]
        fn more_tokens_never_cost_less(tokens in call(), more in call(), price in price()) {
            let sum = |one: Tokens, other: Tokens| Tokens(one.0 + other.0);
            let both = Billable {
                input: sum(tokens.input, more.input),
                cached_input: sum(tokens.cached_input, more.cached_input),
                cache_write: sum(tokens.cache_write, more.cache_write),
                cache_write_long: sum(tokens.cache_write_long, more.cache_write_long),
                output: sum(tokens.output, more.output),
            };
            prop_assert!(cost(tokens, &price).unwrap() <= cost(both, &price).unwrap());
        }

        #[test]
        fn no_call_within_its_bounds_costs_more_than_the_bound(
            tokens in call(), slack in 0..1_000_u64, price in price()
        ) {
            let writes = match (tokens.cache_write.0, tokens.cache_write_long.0) {
                (0, 0) => CacheWrites::None,
                (_, 0) => CacheWrites::Short,
                (_, _) => CacheWrites::Long,
            };
            let input = Tokens(tokens.input_tokens().unwrap().0 + slack);
            let output = Tokens(tokens.output.0 + slack);
            let bound = cost_at_most(input, writes, output, &price).unwrap();
            prop_assert!(cost(tokens, &price).unwrap() <= bound);
        }

        #[test]
        fn no_usage_and_no_price_panics_or_wraps(
            counts in proptest::array::uniform5(any::<u64>()),
            figures in proptest::array::uniform5(0..=MicroUsd::MAX.micros()),
        ) {
            let [input, cached_input, cache_write, cache_write_long, output] = counts.map(Tokens);
            let tokens = Billable { input, cached_input, cache_write, cache_write_long, output };
            let [input, cached_input, cache_write, cache_write_long, output] = figures.map(rate);
            let rates = Rates { input, cached_input, cache_write, cache_write_long, output };
            let price = Price { rates, above: None, max_input_tokens: None, max_output_tokens: None };
            let exact = counts.iter().zip(figures).try_fold(0_u128, |sum, (count, figure)| {
                u128::from(*count).checked_mul(u128::from(figure))?.checked_add(sum)
            });
            if let Ok(cost) = cost(tokens, &price) {
                let exact = exact.unwrap().div_ceil(1_000_000);
                prop_assert_eq!(u128::from(cost.micros()), exact);
            }
        }
    }
}
