//! Usage as providers tell it: checked before anybody counts money with it.

use serde_json::Value;

use crate::answer::Usage;

/// The largest integer that every JSON reader can hold exactly.
const TOKENS_MAX: u64 = (1 << 53) - 1;

/// What the chunks of one answer have told so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Told {
    /// Nothing.
    #[default]
    Nothing,
    /// This, once or several times over.
    Believed(Usage),
    /// Something that is no usage, or two that exclude each other.
    Unbelievable,
}

// === impl Told ===

impl Told {
    /// Takes the next `usage` field. Some providers tell it on every chunk, growing: the last one counts.
    pub(crate) fn tell(&mut self, usage: Option<&Value>) {
        let Some(value) = usage else { return };
        *self = match (*self, read(value)) {
            (Self::Unbelievable, _) | (_, None) => Self::Unbelievable,
            (Self::Nothing, Some(next)) => Self::Believed(next),
            (Self::Believed(before), Some(next)) if may_follow(before, next) => {
                Self::Believed(next)
            }
            (Self::Believed(_), Some(_)) => Self::Unbelievable,
        };
    }

    pub(crate) const fn usage(self) -> Option<Usage> {
        match self {
            Self::Believed(usage) => Some(usage),
            Self::Nothing | Self::Unbelievable => None,
        }
    }
}

const fn may_follow(before: Usage, next: Usage) -> bool {
    before.input_tokens == next.input_tokens && before.output_tokens <= next.output_tokens
}

fn read(value: &Value) -> Option<Usage> {
    Some(Usage {
        input_tokens: tokens(value.get("prompt_tokens"))?,
        output_tokens: tokens(value.get("completion_tokens"))?,
    })
}

/// The usage of embeddings, which have no tokens of an answer; some servers say so.
pub(crate) fn of_embeddings(value: &Value) -> Option<Usage> {
    let input_tokens = tokens(value.get("prompt_tokens"))?;
    let output_tokens =
        value.get("completion_tokens").map_or(Some(0), |count| tokens(Some(count)))?;
    Some(Usage { input_tokens, output_tokens })
}

/// The usage of a response.
pub(crate) fn of_response(value: &Value) -> Option<Usage> {
    Some(Usage {
        input_tokens: tokens(value.get("input_tokens"))?,
        output_tokens: tokens(value.get("output_tokens"))?,
    })
}

/// Integers only: `as_u64` refuses floats, strings and what is negative.
fn tokens(value: Option<&Value>) -> Option<u64> {
    value?.as_u64().filter(|count| *count <= TOKENS_MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    fn told(usages: &[Value]) -> Option<(u64, u64)> {
        let mut told = Told::default();
        for usage in usages {
            told.tell(Some(usage));
        }
        told.usage().map(|usage| (usage.input_tokens, usage.output_tokens))
    }

    fn usage(input: u64, output: u64) -> Value {
        json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output})
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn tokens_are_integers_that_every_reader_holds_exactly() {
        let max = (1_u64 << 53) - 1;
        for (tokens, expected) in [
            (json!(0), Some(0)),
            (json!(7), Some(7)),
            (json!(max), Some(max)),
            (json!(max + 1), None),
            (json!(u64::MAX), None),
            (json!(-1), None),
            (json!(1.0), None),
            (json!(1e30), None),
            (json!("7"), None),
            (json!(null), None),
            (json!(true), None),
            (json!([7]), None),
        ] {
            let other_way = json!({"prompt_tokens": 1, "completion_tokens": tokens});
            assert_eq!(told(&[other_way]), expected.map(|count| (1, count)), "output {tokens}");
            let one_way = json!({"prompt_tokens": tokens, "completion_tokens": 1});
            assert_eq!(told(&[one_way]), expected.map(|count| (count, 1)), "input {tokens}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn half_a_usage_is_none() {
        for half in
            [json!({}), json!({"prompt_tokens": 1}), json!({"completion_tokens": 1}), json!([])]
        {
            assert_eq!(told(std::slice::from_ref(&half)), None, "{half}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn usage_told_again_counts_once() {
        assert_eq!(told(&[usage(3, 5), usage(3, 5)]), Some((3, 5)));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn usage_that_grows_counts_as_it_ends() {
        assert_eq!(told(&[usage(3, 0), usage(3, 2), usage(3, 5)]), Some((3, 5)));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn usages_that_exclude_each_other_are_not_believed() {
        assert_eq!(told(&[usage(3, 5), usage(3, 4)]), None, "shrinks");
        assert_eq!(told(&[usage(3, 0), usage(0, 5)]), None, "halves");
        assert_eq!(told(&[usage(3, 5), json!({"prompt_tokens": "3"}), usage(3, 5)]), None, "odd");
    }
}
