//! Usage as providers tell it, checked before anybody counts money with it. A dialect says which fields it
//! wants and what they mean; a number that is odd makes the whole usage one that nobody believes, because a
//! sum with a guess in it is a guess.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::answer::Usage;
use crate::outline::Object;

/// The largest integer that every JSON reader can hold exactly.
const TOKENS_MAX: u64 = (1 << 53) - 1;

/// Tokens as they were told: an integer from 0 to 2^53−1. A float, a text or what is negative is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "u64")]
pub(crate) struct Count(pub(crate) u64);

/// What the provider's prompt cache took of a prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// For as long as it keeps them by default.
    pub(crate) short: u64,
    /// For the longer time that a request may ask for.
    pub(crate) long: u64,
}

/// Reads the fields that a dialect wants; `None` where one of them is odd, missing or told twice.
pub(crate) fn read<'a, T: Deserialize<'a>>(told: &'a RawValue) -> Option<T> {
    serde_json::from_str(told.get()).ok().map(|Object(fields)| fields)
}

/// `usage`, if all of it together is a number that can be.
pub(crate) fn within_bounds(usage: Usage) -> Option<Usage> {
    let sum = usage.input_tokens().checked_add(usage.output_tokens)?;
    (sum <= TOKENS_MAX).then_some(usage)
}

// === impl Count ===

impl Count {
    /// What was told, or nothing of it.
    pub(crate) fn or_zero(told: Option<Self>) -> u64 {
        told.unwrap_or_default().0
    }
}

impl TryFrom<u64> for Count {
    type Error = &'static str;

    fn try_from(count: u64) -> Result<Self, Self::Error> {
        if count <= TOKENS_MAX { Ok(Self(count)) } else { Err("more tokens than can be") }
    }
}

// === impl Written ===

impl Written {
    /// From what was told in sum, and of it for how long. What nobody told the time of is kept by default;
    /// parts that are more than their sum are not believed.
    pub(crate) fn of(
        sum: Option<Count>,
        short: Option<Count>,
        long: Option<Count>,
    ) -> Option<Self> {
        let (short, long) = (Count::or_zero(short), Count::or_zero(long));
        let parts = short.checked_add(long)?;
        let untold = sum.map_or(Some(0), |Count(sum)| sum.checked_sub(parts))?;
        Some(Self { short: short.checked_add(untold)?, long })
    }
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    #[wasm_bindgen_test(unsupported = test)]
    fn counts_are_integers_that_every_reader_holds_exactly() {
        #[derive(Deserialize)]
        struct One {
            it: Count,
        }
        for (told, expected) in [
            ("0", Some(0)),
            ("7", Some(7)),
            ("9007199254740991", Some(TOKENS_MAX)),
            ("9007199254740992", None),
            ("18446744073709551615", None),
            ("18446744073709551616", None),
            ("-1", None),
            ("-0", None),
            ("1.0", None),
            ("1e3", None),
            ("1e999", None),
            (r#""7""#, None),
            ("null", None),
            ("true", None),
            ("[7]", None),
            (r#"7,"it":7"#, None),
        ] {
            let usage = RawValue::from_string(format!(r#"{{"it":{told}}}"#)).unwrap();
            assert_eq!(read(&usage).map(|One { it: Count(it) }| it), expected, "{told}");
        }
        for odd in ["[7]", "7", "null", r#""it""#, "{}"] {
            let usage = RawValue::from_string(odd.to_owned()).unwrap();
            assert!(read::<One>(&usage).is_none(), "{odd}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn what_was_written_for_no_told_time_is_kept_by_default() {
        for (sum, short, long, expected) in [
            (None, None, None, Some((0, 0))),
            (Some(9), None, None, Some((9, 0))),
            (Some(9), Some(4), Some(5), Some((4, 5))),
            (Some(9), None, Some(5), Some((4, 5))),
            (Some(9), Some(1), Some(5), Some((4, 5))),
            (None, Some(4), Some(5), Some((4, 5))),
            (Some(9), Some(5), Some(5), None),
            (Some(0), None, Some(1), None),
        ] {
            let [sum, short, long] = [sum, short, long].map(|told| told.map(Count));
            let written = Written::of(sum, short, long);
            let written = written.map(|Written { short, long }| (short, long));
            assert_eq!(written, expected, "{sum:?} = {short:?} + {long:?}");
        }
    }
}
