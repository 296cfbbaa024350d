//! Amounts, prices and costs at their edges, and, for every amount, that what is written is what is read.

use wasm_bindgen_test::wasm_bindgen_test;

use super::*;

const MAX: u64 = 9_007_199_254_740_991;

fn usd(micros: u64) -> MicroUsd {
    MicroUsd::new(micros).unwrap()
}

fn price(micros: u64) -> MicroUsdPerMillion {
    MicroUsdPerMillion(usd(micros))
}

#[wasm_bindgen_test(unsupported = test)]
fn an_amount_ends_at_2_to_the_53_less_1() {
    assert_eq!(MicroUsd::MAX.micros(), MAX);
    assert_eq!(MicroUsd::new(MAX), Ok(MicroUsd::MAX));
    for beyond in [MAX + 1, u64::MAX] {
        assert_eq!(MicroUsd::new(beyond), Err(BadAmount), "{beyond}");
    }
    assert_eq!(usd(MAX - 1).checked_add(usd(1)), Some(MicroUsd::MAX));
    assert_eq!(MicroUsd::MAX.checked_add(usd(1)), None);
    assert_eq!(usd(3).checked_sub(usd(3)), Some(MicroUsd::ZERO));
    assert_eq!(usd(3).checked_sub(usd(4)), None);
    assert_eq!((usd(3).less(usd(4)), usd(4).less(usd(3))), (MicroUsd::ZERO, usd(1)));
    assert!(MicroUsd::ZERO.is_zero() && !usd(1).is_zero());
}

#[wasm_bindgen_test(unsupported = test)]
fn json_holds_integers_or_their_digits() {
    for (json, micros) in [
        ("0", 0),
        ("\"0\"", 0),
        ("12", 12),
        ("\"12\"", 12),
        ("9007199254740991", MAX),
        ("\"9007199254740991\"", MAX),
    ] {
        assert_eq!(serde_json::from_str::<MicroUsd>(json).unwrap(), usd(micros), "{json}");
    }
    assert_eq!(serde_json::to_string(&usd(12)).unwrap(), "12");
}

#[wasm_bindgen_test(unsupported = test)]
fn whatever_else_json_holds_is_no_amount() {
    for json in [
        "-1",
        "1.0",
        "1.5",
        "1e3",
        "9007199254740992",
        "18446744073709551616",
        "\"9007199254740992\"",
        "\"18446744073709551616\"",
        "\"\"",
        "\"-1\"",
        "\"+1\"",
        "\" 1\"",
        "\"1 \"",
        "\"01\"",
        "\"00\"",
        "\"1.0\"",
        "\"1e3\"",
        "\"0x1\"",
        "\"NaN\"",
        "\"1_000\"",
        "\"\u{661}\"",
        "null",
        "true",
        "[1]",
        "{}",
    ] {
        let error = serde_json::from_str::<MicroUsd>(json).unwrap_err().to_string();
        assert!(
            error.contains("micro-dollars") || error.contains("out of range"),
            "{json}: {error}"
        );
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn people_write_dollars() {
    for (text, micros, written) in [
        ("0", 0, "0.00"),
        ("12", 12_000_000, "12.00"),
        ("12.5", 12_500_000, "12.50"),
        ("12.50", 12_500_000, "12.50"),
        ("0.15", 150_000, "0.15"),
        ("0.000001", 1, "0.000001"),
        ("0.0001", 100, "0.0001"),
        ("007.10", 7_100_000, "7.10"),
        ("9007199254.740991", MAX, "9007199254.740991"),
    ] {
        assert_eq!(MicroUsd::parse_usd(text), Ok(usd(micros)), "{text}");
        assert_eq!(usd(micros).to_string(), written);
    }
    assert_eq!(format!("{:>8}|{:<8}|", usd(500_000), usd(500_000)), "    0.50|0.50    |");
}

#[wasm_bindgen_test(unsupported = test)]
fn dollars_are_exact_or_refused() {
    for text in [
        "",
        ".",
        "1.",
        ".5",
        "-1",
        "+1",
        "1.-5",
        "1.+5",
        "1,5",
        "1,000.00",
        "1_000",
        "$1",
        "1 ",
        " 1",
        "1e3",
        "0.0000001",
        "1.2.3",
        "NaN",
        "inf",
        "9007199254.740992",
        "99999999999999999999",
        "18446744073709551615",
        "\u{661}",
    ] {
        assert_eq!(MicroUsd::parse_usd(text), Err(BadUsd), "{text:?}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_request_is_rounded_once_and_up() {
    // GPT-4o mini: 0.15 dollars for a million tokens, which is 0.15 micro-dollars for one.
    let (input, output) = (price(150_000), price(600_000));
    for (tokens, micros) in [(0, 0), (1, 1), (6, 1), (7, 2), (20, 3), (1_000_000, 150_000)] {
        assert_eq!(input.cost(Tokens(tokens)), Ok(usd(micros)), "{tokens}");
    }
    // 0.15 + 0.60 is 0.75 and costs 1; rounded apart it would be 2.
    assert_eq!(cost([(Tokens(1), input), (Tokens(1), output)]), Ok(usd(1)));
    assert_eq!(cost([]), Ok(MicroUsd::ZERO));
    assert_eq!(price(0).cost(Tokens(u64::MAX)), Ok(MicroUsd::ZERO));
}

#[wasm_bindgen_test(unsupported = test)]
fn a_cost_beyond_all_bounds_is_refused_and_never_wraps() {
    assert_eq!(price(1_000_000).cost(Tokens(MAX)), Ok(MicroUsd::MAX));
    assert_eq!(price(1_000_000).cost(Tokens(MAX + 1)), Err(BadAmount));
    let most = (Tokens(u64::MAX), price(MAX));
    assert_eq!(cost([most]), Err(BadAmount));
    assert_eq!(cost(std::iter::repeat_n(most, 4_000)), Err(BadAmount));
    assert_eq!(Tokens(u64::MAX).checked_add(Tokens(1)), None);
    assert_eq!(Tokens(1).checked_add(Tokens(2)), Some(Tokens(3)));
}

#[cfg(not(target_family = "wasm"))]
mod properties {
    //! What must hold of every amount.

    #![allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails")]

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn dollars_read_what_they_write(micros in 0..=MAX) {
            let amount = usd(micros);
            prop_assert_eq!(MicroUsd::parse_usd(&amount.to_string()), Ok(amount));
            prop_assert_eq!(MicroUsd::parse_micros(&micros.to_string()), Ok(amount));
            let json = serde_json::to_string(&amount).unwrap();
            prop_assert_eq!(serde_json::from_str::<MicroUsd>(&json).unwrap(), amount);
        }

        #[test]
        fn a_text_of_any_kind_is_an_amount_or_refused(text in "\\PC{0,24}|[0-9.+-]{0,24}") {
            if let Ok(amount) = MicroUsd::parse_usd(&text) {
                let again = MicroUsd::parse_usd(&amount.to_string());
                prop_assert_eq!(again, Ok(amount));
            }
        }

        #[test]
        fn a_cost_is_the_least_amount_that_covers_it(
            parts in proptest::collection::vec((0_u64..1 << 30, 0_u64..1 << 30), 0..5)
        ) {
            let exact: u128 = parts.iter().map(|(t, p)| u128::from(*t) * u128::from(*p)).sum();
            let paid = cost(parts.iter().map(|(t, p)| (Tokens(*t), price(*p)))).unwrap();
            let paid = u128::from(paid.micros()) * 1_000_000;
            prop_assert!(exact <= paid && paid < exact + 1_000_000);
        }
    }
}
