//! Usage as the provider tells it. A stream tells it in parts: `message_start` has the input, `message_delta`
//! the output, and again whatever has grown. What the provider's prompt cache had and took is told beside
//! `input_tokens`, not in it.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::answer::Usage;
use crate::outline::Object;
use crate::usage::{Count, Written, read, within_bounds};

/// What an answer has told so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// In the order of [`Fields::counts`].
    counts: [Option<Count>; 6],
    is_unbelievable: bool,
}

#[derive(Deserialize)]
struct Fields {
    input_tokens: Option<Count>,
    cache_read_input_tokens: Option<Count>,
    cache_creation_input_tokens: Option<Count>,
    cache_creation: Option<Object<Times>>,
    output_tokens: Option<Count>,
}

/// For how long the prompt cache keeps what it took.
#[derive(Default, Deserialize)]
struct Times {
    ephemeral_5m_input_tokens: Option<Count>,
    ephemeral_1h_input_tokens: Option<Count>,
}

// === impl Told ===

impl Told {
    /// Takes the next `usage` field. Its numbers are cumulative: the last one counts, and none may shrink.
    pub(super) fn tell(&mut self, usage: Option<&RawValue>) {
        let Some(told) = usage else { return };
        let Some(fields) = read(told) else {
            self.is_unbelievable = true;
            return;
        };
        for (told, next) in self.counts.iter_mut().zip(Fields::counts(fields)) {
            if next.is_some() {
                self.is_unbelievable |= next < *told;
                *told = next;
            }
        }
    }

    /// What it all comes to; `None` where something is missing or cannot be believed.
    pub(super) fn usage(self) -> Option<Usage> {
        let [input, read, written, short, long, output] = self.counts;
        let written = Written::of(written, short, long)?;
        let usage = Usage {
            uncached_input_tokens: input?.0,
            cache_read_tokens: Count::or_zero(read),
            cache_write_tokens: written.short,
            cache_write_long_tokens: written.long,
            output_tokens: output?.0,
        };
        within_bounds(usage).filter(|_| !self.is_unbelievable)
    }
}

// === impl Fields ===

impl Fields {
    fn counts(self) -> [Option<Count>; 6] {
        let Object(times) = self.cache_creation.unwrap_or_default();
        [
            self.input_tokens,
            self.cache_read_input_tokens,
            self.cache_creation_input_tokens,
            times.ephemeral_5m_input_tokens,
            times.ephemeral_1h_input_tokens,
            self.output_tokens,
        ]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    fn told(usages: &[Value]) -> Option<Usage> {
        let mut told = Told::default();
        for usage in usages {
            told.tell(Some(&RawValue::from_string(usage.to_string()).unwrap()));
        }
        told.usage()
    }

    /// Of 3 tokens that the prompt cache has nothing to do with, and an answer of 7.
    fn cached(read: u64, written: u64, written_long: u64) -> Usage {
        Usage {
            uncached_input_tokens: 3,
            cache_read_tokens: read,
            cache_write_tokens: written,
            cache_write_long_tokens: written_long,
            output_tokens: 7,
        }
    }

    fn with(fields: Value) -> Value {
        let mut usage = json!({"input_tokens": 3, "output_tokens": 7});
        usage.as_object_mut().unwrap().extend(fields.as_object().cloned().unwrap());
        usage
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn what_the_prompt_cache_had_and_took_is_told_beside_the_input() {
        for (fields, expected) in [
            (json!({}), cached(0, 0, 0)),
            (json!({"cache_creation_input_tokens": null, "cache_creation": null}), cached(0, 0, 0)),
            (json!({"cache_read_input_tokens": 100}), cached(100, 0, 0)),
            (
                json!({"cache_read_input_tokens": 100, "cache_creation_input_tokens": 20}),
                cached(100, 20, 0),
            ),
            (
                json!({"cache_creation_input_tokens": 20, "cache_creation":
                    {"ephemeral_5m_input_tokens": 8, "ephemeral_1h_input_tokens": 12}}),
                cached(0, 8, 12),
            ),
            (json!({"cache_creation": {"ephemeral_1h_input_tokens": 12}}), cached(0, 0, 12)),
        ] {
            assert_eq!(told(&[with(fields.clone())]), Some(expected), "{fields}");
        }
        assert_eq!(cached(100, 8, 12).input_tokens(), 123);
        let too_long = json!({"cache_creation_input_tokens": 20, "cache_creation":
            {"ephemeral_5m_input_tokens": 9, "ephemeral_1h_input_tokens": 12}});
        assert_eq!(told(&[with(too_long)]), None, "parts that are more than their sum");
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn what_a_stream_ends_with_counts() {
        let start = json!({"input_tokens": 3, "cache_read_input_tokens": 4, "output_tokens": 1});
        let end = json!({"output_tokens": 7});
        assert_eq!(told(&[start.clone(), end]), Some(cached(4, 0, 0)));
        let grown = json!({"input_tokens": 50, "output_tokens": 7});
        let searched = Usage { uncached_input_tokens: 50, ..cached(4, 0, 0) };
        assert_eq!(told(&[start, grown]), Some(searched), "a search has added to the input");
        let start = with(json!({"cache_creation_input_tokens": 12, "cache_creation":
            {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 12}}));
        let end = json!({"cache_creation_input_tokens": 20, "output_tokens": 7});
        assert_eq!(told(&[start, end]), Some(cached(0, 8, 12)), "times are told at the start");
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn one_odd_count_spoils_the_whole() {
        for odd in [json!(-1), json!(1.0), json!(1e30), json!("7"), json!(1_u64 << 53), json!([7])]
        {
            for of in [
                "input_tokens",
                "output_tokens",
                "cache_read_input_tokens",
                "cache_creation_input_tokens",
                "cache_creation",
            ] {
                assert_eq!(told(&[with(json!({of: odd}))]), None, "{of}: {odd}");
            }
            let times = json!({"cache_creation": {"ephemeral_1h_input_tokens": odd}});
            assert_eq!(told(&[with(times)]), None, "{odd}");
            let later = json!({"cache_read_input_tokens": odd});
            assert_eq!(told(&[with(json!({})), later, with(json!({}))]), None, "later: {odd}");
        }
        let max = (1_u64 << 53) - 1;
        assert_eq!(told(&[with(json!({"cache_read_input_tokens": max}))]), None, "in sum");
        let twice = r#"{"input_tokens":3,"output_tokens":7,"output_tokens":7}"#;
        let mut once = Told::default();
        once.tell(Some(&RawValue::from_string(twice.to_owned()).unwrap()));
        assert_eq!(once.usage(), None, "twice");
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn half_a_usage_is_none_and_what_shrinks_is_not_believed() {
        for half in [json!({}), json!({"input_tokens": 1}), json!({"output_tokens": 1}), json!(7)] {
            assert_eq!(told(std::slice::from_ref(&half)), None, "{half}");
        }
        for of in ["output_tokens", "input_tokens", "cache_read_input_tokens"] {
            let [more, less] = [9, 8].map(|it| with(json!({of: it})));
            assert_eq!(told(&[more.clone(), less, more]), None, "{of}");
        }
    }
}
