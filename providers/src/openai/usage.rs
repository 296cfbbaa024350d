//! Usage as OpenAI's dialects tell it. All tokens of the prompt come in one number; of those, the details say
//! which the prompt cache had and which it took.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::answer::Usage;
use crate::outline::Object;
use crate::usage::{Count, Written, read, within_bounds};

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

/// Of a chat or a completion.
#[derive(Deserialize)]
struct Choices {
    prompt_tokens: Count,
    prompt_tokens_details: Option<Object<Details>>,
    completion_tokens: Count,
}

/// Of embeddings, which have no tokens of an answer; some servers say so.
#[derive(Deserialize)]
struct Embeddings {
    prompt_tokens: Count,
    completion_tokens: Option<Count>,
}

/// Of a response.
#[derive(Deserialize)]
struct Response {
    input_tokens: Count,
    input_tokens_details: Option<Object<Details>>,
    output_tokens: Count,
}

/// What the prompt cache did with the prompt.
#[derive(Default, Deserialize)]
struct Details {
    cached_tokens: Option<Count>,
    cache_write_tokens: Option<Count>,
    cache_write_tokens_details: Option<Object<Times>>,
}

/// For how long it keeps what it took.
#[derive(Default, Deserialize)]
struct Times {
    ttl_30m_tokens: Option<Count>,
    ttl_12h_tokens: Option<Count>,
}

// === impl Told ===

impl Told {
    /// Takes the next `usage` field. Some providers tell it on every chunk, growing: the last one counts.
    pub(crate) fn tell(&mut self, usage: Option<&RawValue>) {
        let Some(told) = usage else { return };
        *self = match (*self, of_choices(told)) {
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

/// The prompt is what it was; what is known of it and of the answer grows.
const fn may_follow(before: Usage, next: Usage) -> bool {
    before.input_tokens() == next.input_tokens()
        && before.cache_read_tokens <= next.cache_read_tokens
        && before.cache_write_tokens <= next.cache_write_tokens
        && before.cache_write_long_tokens <= next.cache_write_long_tokens
        && before.output_tokens <= next.output_tokens
}

fn of_choices(told: &RawValue) -> Option<Usage> {
    let Choices { prompt_tokens, prompt_tokens_details, completion_tokens } = read(told)?;
    usage(prompt_tokens, prompt_tokens_details, completion_tokens)
}

/// The usage of embeddings.
pub(crate) fn of_embeddings(told: &RawValue) -> Option<Usage> {
    let Embeddings { prompt_tokens, completion_tokens } = read(told)?;
    usage(prompt_tokens, None, completion_tokens.unwrap_or_default())
}

/// The usage of a response.
pub(crate) fn of_response(told: &RawValue) -> Option<Usage> {
    let Response { input_tokens, input_tokens_details, output_tokens } = read(told)?;
    usage(input_tokens, input_tokens_details, output_tokens)
}

/// `input` are all tokens of the prompt; details that are more than it are not believed.
fn usage(input: Count, details: Option<Object<Details>>, output: Count) -> Option<Usage> {
    let Object(details) = details.unwrap_or_default();
    let Object(times) = details.cache_write_tokens_details.unwrap_or_default();
    let written =
        Written::of(details.cache_write_tokens, times.ttl_30m_tokens, times.ttl_12h_tokens)?;
    let cached = Count::or_zero(details.cached_tokens);
    let uncached = input.0.checked_sub(cached)?.checked_sub(written.short)?;
    within_bounds(Usage {
        uncached_input_tokens: uncached.checked_sub(written.long)?,
        cache_read_tokens: cached,
        cache_write_tokens: written.short,
        cache_write_long_tokens: written.long,
        output_tokens: output.0,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    fn raw(value: &Value) -> Box<RawValue> {
        RawValue::from_string(value.to_string()).unwrap()
    }

    fn told(usages: &[Value]) -> Option<Usage> {
        let mut told = Told::default();
        for usage in usages {
            told.tell(Some(&raw(usage)));
        }
        told.usage()
    }

    fn usage(input: u64, output: u64) -> Value {
        json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output})
    }

    fn cached(input: u64, details: Value) -> Value {
        let mut usage = usage(input, 5);
        usage["prompt_tokens_details"] = details;
        usage
    }

    fn plain(uncached_input_tokens: u64, output_tokens: u64) -> Option<Usage> {
        Some(Usage { uncached_input_tokens, output_tokens, ..Usage::default() })
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn one_odd_count_spoils_the_whole() {
        for odd in [json!(-1), json!(1.0), json!(1e30), json!("7"), json!(1_u64 << 53), json!([7])]
        {
            for of in ["prompt_tokens", "completion_tokens"] {
                let mut usage = usage(3, 5);
                usage[of] = odd.clone();
                assert_eq!(told(&[usage]), None, "{of}: {odd}");
            }
            for of in ["cached_tokens", "cache_write_tokens"] {
                assert_eq!(told(&[cached(9, json!({of: odd}))]), None, "{of}: {odd}");
            }
            let times = json!({"cache_write_tokens": 9,
                "cache_write_tokens_details": {"ttl_12h_tokens": odd}});
            assert_eq!(told(&[cached(9, times)]), None, "{odd}");
        }
        for odd in [json!(7), json!([7]), json!("7")] {
            assert_eq!(told(&[cached(9, odd.clone())]), None, "details: {odd}");
        }
        let max = (1_u64 << 53) - 1;
        assert_eq!(told(&[json!({"prompt_tokens": max, "completion_tokens": 1})]), None, "in sum");
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_count_told_twice_is_not_believed() {
        for twice in [
            r#"{"prompt_tokens":3,"prompt_tokens":3,"completion_tokens":5}"#,
            r#"{"prompt_tokens":3,"completion_tokens":5,"completion_tokens":1}"#,
            r#"{"prompt_tokens":3,"prompt_tokens_details":{"cached_tokens":1,"cached_tokens":2},"completion_tokens":5}"#,
        ] {
            let mut told = Told::default();
            told.tell(Some(&RawValue::from_string(twice.to_owned()).unwrap()));
            assert_eq!(told.usage(), None, "{twice}");
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
    fn what_the_prompt_cache_had_and_took_is_part_of_the_prompt() {
        for (details, expected) in [
            (json!(null), (100, 0, 0, 0)),
            (json!({}), (100, 0, 0, 0)),
            (json!({"cached_tokens": null, "audio_tokens": 7}), (100, 0, 0, 0)),
            (json!({"cached_tokens": 64}), (36, 64, 0, 0)),
            (json!({"cached_tokens": 100}), (0, 100, 0, 0)),
            (json!({"cached_tokens": 64, "cache_write_tokens": 30}), (6, 64, 30, 0)),
            (
                json!({"cached_tokens": 1, "cache_write_tokens": 30,
                    "cache_write_tokens_details": {"ttl_30m_tokens": 10, "ttl_12h_tokens": 20}}),
                (69, 1, 10, 20),
            ),
        ] {
            let (uncached, cache_read_tokens, cache_write_tokens, cache_write_long_tokens) =
                expected;
            let expected = Usage {
                uncached_input_tokens: uncached,
                cache_read_tokens,
                cache_write_tokens,
                cache_write_long_tokens,
                output_tokens: 5,
            };
            let chat = cached(100, details.clone());
            assert_eq!(told(&[chat]), Some(expected), "{details}");
            assert_eq!(expected.input_tokens(), 100);
            let response =
                json!({"input_tokens": 100, "input_tokens_details": details, "output_tokens": 5});
            assert_eq!(of_response(&raw(&response)), Some(expected), "{response}");
        }
        for absurd in [
            json!({"cached_tokens": 101}),
            json!({"cached_tokens": 64, "cache_write_tokens": 37}),
            json!({"cache_write_tokens": 3, "cache_write_tokens_details": {"ttl_12h_tokens": 4}}),
        ] {
            assert_eq!(told(&[cached(100, absurd.clone())]), None, "{absurd}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn usage_told_again_counts_once() {
        assert_eq!(told(&[usage(3, 5), usage(3, 5)]), plain(3, 5));
        let details = json!({"cached_tokens": 2});
        let all = Usage {
            uncached_input_tokens: 1,
            cache_read_tokens: 2,
            output_tokens: 5,
            ..Usage::default()
        };
        assert_eq!(told(&[usage(3, 1), cached(3, details.clone())]), Some(all), "details at last");
        assert_eq!(told(&[cached(3, details), usage(3, 5)]), None, "details are gone");
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn usage_that_grows_counts_as_it_ends() {
        assert_eq!(told(&[usage(3, 0), usage(3, 2), usage(3, 5)]), plain(3, 5));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn usages_that_exclude_each_other_are_not_believed() {
        assert_eq!(told(&[usage(3, 5), usage(3, 4)]), None, "shrinks");
        assert_eq!(told(&[usage(3, 0), usage(0, 5)]), None, "halves");
        assert_eq!(told(&[usage(3, 5), json!({"prompt_tokens": "3"}), usage(3, 5)]), None, "odd");
    }
}
