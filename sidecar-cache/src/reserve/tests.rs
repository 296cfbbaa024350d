//! What is reserved, what that covers, and that it does.

use kt_contract::json::{Bounds, parse};
use kt_contract::money::MicroUsdPerMillion;
use kt_contract::pricing::table::PriceTable;
use kt_contract::pricing::{Billable, cost};
use kt_contract::provider::Provider;
use kt_providers::Dialect;
use proptest::prelude::*;

use super::*;

fn price_of(provider: Provider, model: &str) -> Price {
    *PriceTable::published().unwrap().find(provider, model).unwrap()
}

fn gpt_4o() -> Price {
    price_of(Provider::OpenAi, "gpt-4o")
}

fn demand(dialect: Dialect, body: &str) -> Demand {
    dialect.demand(&parse(body.as_bytes(), Bounds { depth_max: 64, nodes_max: 10_000 }).unwrap())
}

/// The hold of a chat, with an expectation where one is said.
fn chat(body: &str, expected: Option<u64>) -> Hold {
    let demand = demand(Dialect::OpenAiChat, body);
    hold(Call {
        demand: &demand,
        body_bytes: body.len() as u64,
        price: &gpt_4o(),
        expected_output: expected.map(Tokens),
        default_output: Tokens(4_096),
    })
    .unwrap()
}

#[test]
fn the_output_is_the_least_that_anybody_allows() {
    for (what, body, expected, output) in [
        ("the client's limit", r#"{"max_tokens":100}"#, Some(7), 100),
        ("the model's", r#"{"max_tokens":100000}"#, None, 16_384),
        ("what was learned", "{}", Some(700), 700),
        ("the default", "{}", None, 4_096),
        ("each of three", r#"{"max_tokens":100,"n":3}"#, None, 300),
        ("never the model's longest unasked", "{}", Some(1 << 40), 16_384),
    ] {
        assert_eq!(chat(body, expected).output, Tokens(output), "{what}");
    }
}

#[test]
fn the_amount_is_what_the_bounds_cost() {
    let body = r#"{"max_tokens":100}"#;
    let input = body.len() as u64 + FRAME_TOKENS;
    // 2.5 and 10 micro-dollars a token.
    let input = (input * 25).div_ceil(10);
    let hold = chat(body, None);
    assert_eq!(hold.amount.micros(), input + 1_000);
    // And what it would be, had the answer so many tokens.
    for (output, cost) in [(0, 0), (50, 500), (1_000, 10_000)] {
        let reached = hold.cost_of(Tokens(output), &gpt_4o()).unwrap();
        assert_eq!(reached.micros(), input + cost, "{output}");
    }
}

#[test]
fn input_is_no_longer_than_its_body_but_for_what_is_no_text_or_not_seen() {
    let price = gpt_4o();
    let bound =
        |body: &str| input_at_most(&demand(Dialect::OpenAiChat, body), body.len() as u64, &price).0;
    let plain = r#"{"messages":[{"role":"user","content":"hi"}]}"#;
    assert_eq!(bound(plain), plain.len() as u64 + FRAME_TOKENS);
    let picture = "A".repeat(100_000);
    let pictured = format!(
        r#"{{"messages":[{{"content":[{{"type":"image_url","image_url":{{"url":"{picture}"}}}}]}}]}}"#
    );
    let around = (pictured.len() - picture.len()) as u64;
    assert_eq!(bound(&pictured), around + FRAME_TOKENS + PICTURE_TOKENS);
    assert_eq!(
        bound(r#"{"messages":[{"content":[{"type":"file"}]}]}"#),
        128_000,
        "the longest input"
    );
    assert_eq!(bound(&format!("[\"{}\"]", "a".repeat(1 << 20))), 128_000, "no model takes more");
    let unknown = Price { max_input_tokens: None, ..price };
    let file = demand(Dialect::OpenAiChat, r#"{"messages":[{"content":[{"type":"file"}]}]}"#);
    assert_eq!(input_at_most(&file, 0, &unknown), Tokens(FRAME_TOKENS + UNSEEN_TOKENS));
}

#[test]
fn what_the_prompt_cache_may_keep_is_reserved_for_at_its_price() {
    let price = price_of(Provider::Anthropic, "claude-sonnet-5");
    let amount = |body: &str| {
        let demand = demand(Dialect::AnthropicMessages, body);
        let call = Call {
            demand: &demand,
            body_bytes: 1_000_000 - FRAME_TOKENS,
            price: &price,
            expected_output: None,
            default_output: Tokens(0),
        };
        hold(call).unwrap().amount.micros()
    };
    assert_eq!(amount("{}"), 2_000_000);
    assert_eq!(amount(r#"{"cache_control":{"type":"ephemeral"}}"#), 2_500_000);
    assert_eq!(amount(r#"{"cache_control":{"type":"ephemeral","ttl":"1h"}}"#), 4_000_000);
}

#[test]
fn a_hold_grows_in_steps_before_it_is_outgrown_and_not_beyond_the_longest() {
    let price = gpt_4o();
    let first = chat("{}", Some(4_000));
    let grown =
        |hold: Hold, produced| hold.grown(Tokens(produced), &price).map(|next| next.unwrap());
    assert_eq!(grown(first, 2_999), None);
    let second = grown(first, 3_000).unwrap();
    assert_eq!(second.output, Tokens(6_000));
    assert_eq!((second.input, second.output_max), (first.input, Some(Tokens(16_384))));
    assert_eq!(grown(first, 3_000), Some(second), "however often it is asked");
    assert_eq!(
        grown(first, 10_000).unwrap().output,
        Tokens(13_500),
        "a leap makes several steps one"
    );
    let last = grown(second, 16_000).unwrap();
    assert_eq!(last.output, Tokens(16_384));
    assert_eq!(grown(last, 20_000), None, "nobody allows more");
    assert!(second.amount > first.amount && second.amount < first.cost_max(&price));
    assert_eq!(first.cost_max(&price), last.amount, "the most is what the longest costs");
    let small = chat("{}", Some(10));
    assert_eq!(grown(small, 8).unwrap().output, Tokens(10 + STEP_TOKENS));
    let limited = chat(r#"{"max_tokens":100}"#, None);
    assert_eq!(grown(limited, 100), None, "the client's limit is reserved already");
}

fn any_call() -> impl Strategy<Value = (Demand, u64, Price, Tokens)> {
    let models = PriceTable::published().unwrap();
    let prices: Vec<Price> = [Provider::OpenAi, Provider::Anthropic]
        .into_iter()
        .flat_map(|provider| models.of(provider).map(|(_, price)| *price).collect::<Vec<_>>())
        .collect();
    let body = (0..3_u8, 1..4_u64, 0..300_u64).prop_map(|(control, answers, limit)| {
        let control = match control {
            0 => "",
            1 => r#","cache_control":{"type":"ephemeral"}"#,
            _ => r#","cache_control":{"type":"ephemeral","ttl":"1h"}"#,
        };
        format!(r#"{{"max_tokens":{limit},"n":{answers}{control}}}"#)
    });
    let price = proptest::sample::select(prices);
    (body, 0..400_000_u64, price, 0..5_000_u64).prop_map(|(body, bytes, price, default)| {
        (demand(Dialect::OpenAiChat, &body), bytes, price, Tokens(default))
    })
}

proptest! {
    /// Whatever an answer within the bounds comes to, its hold covers it.
    #[test]
    fn no_answer_within_its_bounds_costs_more_than_was_reserved(
        (demand, body_bytes, price, default_output) in any_call(),
        shares in proptest::array::uniform5(0..=1_000_u64),
        splits in proptest::array::uniform3(0..=1_000_u64),
    ) {
        let call = Call {
            demand: &demand, body_bytes, price: &price,
            expected_output: None, default_output,
        };
        let hold = hold(call).unwrap();
        let input = hold.input.0 * shares[0] / 1_000;
        let read = input * splits[0] / 1_000;
        let (written, long) = match demand.cache_writes {
            CacheWrites::None => (0, 0),
            CacheWrites::Short => ((input - read) * splits[1] / 1_000, 0),
            CacheWrites::Long => {
                let written = (input - read) * splits[1] / 1_000;
                (written * splits[2] / 1_000, written - written * splits[2] / 1_000)
            }
        };
        let tokens = Billable {
            input: Tokens(input - read - written - long),
            cached_input: Tokens(read),
            cache_write: Tokens(written),
            cache_write_long: Tokens(long),
            output: Tokens(hold.output.0 * shares[1] / 1_000),
        };
        prop_assert!(cost(tokens, &price).unwrap() <= hold.amount);
    }

    #[test]
    fn a_hold_that_grows_costs_more_and_covers_what_has_come(
        (demand, body_bytes, price, default_output) in any_call(), produced in 0..40_000_u64
    ) {
        let mut demand = demand;
        demand.output_max = None;
        let call = Call {
            demand: &demand, body_bytes, price: &price,
            expected_output: None, default_output,
        };
        let first = hold(call).unwrap();
        if let Some(next) = first.grown(Tokens(produced), &price) {
            let next = next.unwrap();
            prop_assert!(next.output > first.output && next.amount >= first.amount);
            let is_longest = Some(next.output) == next.output_max;
            prop_assert!(is_longest || next.output.0 > produced);
            prop_assert_eq!(next.grown(Tokens(produced), &price), None);
        } else {
            let is_longest = Some(first.output) == first.output_max;
            prop_assert!(is_longest || produced * 4 < first.output.0 * 3);
        }
    }
}

#[test]
fn an_answer_longer_than_any_number_ends_the_growth_too() {
    let price = Price { max_output_tokens: None, ..gpt_4o() };
    let demand = demand(Dialect::OpenAiChat, "{}");
    let call = Call {
        demand: &demand,
        body_bytes: 2,
        price: &price,
        expected_output: None,
        default_output: Tokens(1),
    };
    assert_eq!(hold(call).unwrap().grown(Tokens(u64::MAX), &price), Some(Err(BadAmount)));
}

#[test]
fn an_absurd_call_is_an_error_and_not_a_hold() {
    let rate = MicroUsdPerMillion(MicroUsd::MAX);
    let rates = kt_contract::pricing::Rates { input: rate, output: rate, ..gpt_4o().rates };
    let price = Price { rates, max_input_tokens: None, max_output_tokens: None, ..gpt_4o() };
    let demand = demand(Dialect::OpenAiChat, r#"{"max_tokens":18446744073709551615,"n":9}"#);
    let call = Call {
        demand: &demand,
        body_bytes: u64::MAX,
        price: &price,
        expected_output: None,
        default_output: Tokens(1),
    };
    assert_eq!(hold(call), Err(BadAmount));
}
