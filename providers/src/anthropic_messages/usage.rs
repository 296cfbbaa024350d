//! Usage as the provider tells it: checked before anybody counts money with it.
//!
//! A stream tells it in parts: `message_start` has the input, `message_delta` the output, and again whatever
//! has grown. What is sent to and read from the provider's own prompt cache counts as input, as the API's
//! documentation has it: all input is the sum of the three fields.

use serde_json::Value;

use crate::answer::Usage;

/// The largest integer that every JSON reader can hold exactly.
const TOKENS_MAX: u64 = (1 << 53) - 1;

/// The fields that make up the input.
const INPUT: [&str; 3] = ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"];

/// What an answer has told so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// In the order of [`INPUT`].
    input: [Option<u64>; 3],
    output: Option<u64>,
    is_unbelievable: bool,
}

// === impl Told ===

impl Told {
    /// Takes the next `usage` field. Its numbers are cumulative: the last one counts, and none may shrink.
    pub(super) fn tell(&mut self, usage: Option<&Value>) {
        let Some(usage) = usage else { return };
        if !usage.is_object() {
            self.is_unbelievable = true;
            return;
        }
        let fields =
            INPUT.iter().zip(&mut self.input).chain([(&"output_tokens", &mut self.output)]);
        for (name, told) in fields {
            match read(usage.get(*name)) {
                Ok(None) => {}
                Ok(Some(next)) if told.is_none_or(|before| before <= next) => *told = Some(next),
                Ok(Some(_)) | Err(Unbelievable) => self.is_unbelievable = true,
            }
        }
    }

    /// What it all comes to; `None` where something is missing or cannot be believed.
    pub(super) fn usage(self) -> Option<Usage> {
        let [input, created, read] = self.input;
        let sum = input?.checked_add(created.unwrap_or(0))?.checked_add(read.unwrap_or(0))?;
        let usage = Usage { input_tokens: sum, output_tokens: self.output? };
        (!self.is_unbelievable && sum <= TOKENS_MAX).then_some(usage)
    }
}

struct Unbelievable;

/// Integers only: `as_u64` refuses floats, strings and what is negative.
fn read(value: Option<&Value>) -> Result<Option<u64>, Unbelievable> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            value.as_u64().filter(|count| *count <= TOKENS_MAX).map(Some).ok_or(Unbelievable)
        }
    }
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

    #[wasm_bindgen_test(unsupported = test)]
    fn tokens_of_the_prompt_cache_are_input() {
        let usage = json!({"input_tokens": 3, "cache_creation_input_tokens": 20,
            "cache_read_input_tokens": 100, "output_tokens": 7});
        assert_eq!(told(&[usage]), Some((123, 7)));
        let none =
            json!({"input_tokens": 3, "cache_creation_input_tokens": null, "output_tokens": 7});
        assert_eq!(told(&[none]), Some((3, 7)));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn what_a_stream_ends_with_counts() {
        let start = json!({"input_tokens": 3, "cache_read_input_tokens": 4, "output_tokens": 1});
        assert_eq!(told(&[start.clone(), json!({"output_tokens": 9})]), Some((7, 9)));
        let grown = json!({"input_tokens": 50, "output_tokens": 9});
        assert_eq!(told(&[start, grown]), Some((54, 9)), "a search has added to the input");
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn tokens_are_integers_that_every_reader_holds_exactly() {
        let max = (1_u64 << 53) - 1;
        for (tokens, is_believed) in [
            (json!(0), true),
            (json!(max), true),
            (json!(max + 1), false),
            (json!(-1), false),
            (json!(1.0), false),
            (json!(1e30), false),
            (json!("7"), false),
            (json!([7]), false),
        ] {
            let usage = json!({"input_tokens": 0, "output_tokens": tokens});
            assert_eq!(told(&[usage]).is_some(), is_believed, "output {tokens}");
            let usage = json!({"input_tokens": tokens, "output_tokens": 1});
            assert_eq!(told(&[usage]).is_some(), is_believed, "input {tokens}");
            let usage =
                json!({"input_tokens": 0, "cache_read_input_tokens": tokens, "output_tokens": 1});
            assert_eq!(told(&[usage]).is_some(), is_believed, "cached {tokens}");
        }
        let too_much =
            json!({"input_tokens": max, "cache_read_input_tokens": 1, "output_tokens": 1});
        assert_eq!(told(&[too_much]), None);
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn half_a_usage_is_none_and_what_shrinks_is_not_believed() {
        for half in [json!({}), json!({"input_tokens": 1}), json!({"output_tokens": 1}), json!(7)] {
            assert_eq!(told(std::slice::from_ref(&half)), None, "{half}");
        }
        let [more, less] = [9, 8].map(|it| json!({"input_tokens": 3, "output_tokens": it}));
        assert_eq!(told(&[more.clone(), less, more]), None);
    }
}
