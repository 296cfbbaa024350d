//! What is counted under the names of OpenTelemetry's conventions for generative AI, as its exporters write them for
//! Prometheus. Labels are those of the `llm_*` metrics and the kind of request, all of them closed sets.

use kt_contract::provider::Provider;
use kt_providers::{Dialect, Usage};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// What was asked of whom, in the words of the metric labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked<'a> {
    /// The dialect's word, as the model gate has it.
    pub dialect: &'a str,
    /// Model and provider as metric labels.
    pub labels: (&'a str, &'a str),
}

/// How long an answer took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Took {
    /// Until the provider's first byte, in seconds, where one came.
    pub first_byte: Option<f64>,
    /// Until its last byte, in seconds.
    pub whole: f64,
    /// The tokens in it, where the provider told them.
    pub output_tokens: Option<u64>,
}

type Histograms<Labels> = Family<Labels, Histogram, fn() -> Histogram>;

/// Calls and answers.
#[derive(Debug)]
pub(super) struct GenAi {
    tokens: Histograms<OfTokens>,
    duration: Histograms<Of>,
    first_token: Histograms<Of>,
    per_token: Histograms<Of>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    gen_ai_operation_name: &'static str,
    gen_ai_provider_name: String,
    gen_ai_request_model: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfTokens {
    gen_ai_operation_name: &'static str,
    gen_ai_provider_name: String,
    gen_ai_request_model: String,
    gen_ai_token_type: &'static str,
}

// === impl Asked ===

impl Asked<'_> {
    /// The conventions' word for the kind of request.
    pub(crate) fn operation(self) -> &'static str {
        if self.dialect == Dialect::OpenAiEmbeddings.as_str() {
            "embeddings"
        } else if self.dialect == Dialect::OpenAiCompletions.as_str() {
            "text_completion"
        } else {
            "chat"
        }
    }

    /// The conventions' word for the provider.
    pub(crate) fn provider(self) -> String {
        let (_, provider) = self.labels;
        let theirs =
            if provider == Provider::Azure.as_str() { "azure.ai.openai" } else { provider };
        theirs.to_owned()
    }

    fn of(self) -> Of {
        Of {
            gen_ai_operation_name: self.operation(),
            gen_ai_provider_name: self.provider(),
            gen_ai_request_model: self.labels.0.to_owned(),
        }
    }
}

// === impl GenAi ===

impl Default for GenAi {
    fn default() -> Self {
        // The buckets that the conventions advise for each: from a token to 67 million, from 10 ms to 82 s, from
        // a millisecond to about 10 s, and from 10 ms to 2.5 s.
        Self {
            tokens: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(1.0, 4.0, 14))
            }),
            duration: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.01, 2.0, 14))
            }),
            first_token: Family::new_with_constructor(|| {
                Histogram::new([
                    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5,
                    5.0, 7.5, 10.0,
                ])
            }),
            per_token: Family::new_with_constructor(|| {
                Histogram::new([
                    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5,
                ])
            }),
        }
    }
}

impl GenAi {
    pub(super) fn register(&self, r: &mut Registry) {
        r.register("gen_ai_client_token_usage", "Tokens of an upstream call", self.tokens.clone());
        r.register(
            "gen_ai_server_request_duration_seconds",
            "An answer on the lane, first to last byte",
            self.duration.clone(),
        );
        r.register(
            "gen_ai_server_time_to_first_token_seconds",
            "An answer on the lane, until the provider's first byte",
            self.first_token.clone(),
        );
        r.register(
            "gen_ai_server_time_per_output_token_seconds",
            "After the first byte, for each output token behind the first",
            self.per_token.clone(),
        );
    }

    /// A provider told what a call has used.
    pub(super) fn used(&self, asked: Asked<'_>, usage: Usage) {
        for (gen_ai_token_type, tokens) in
            [("input", usage.input_tokens()), ("output", usage.output_tokens)]
        {
            let Of { gen_ai_operation_name, gen_ai_provider_name, gen_ai_request_model } =
                asked.of();
            let labels = OfTokens {
                gen_ai_operation_name,
                gen_ai_provider_name,
                gen_ai_request_model,
                gen_ai_token_type,
            };
            self.tokens.get_or_create(&labels).observe(number(tokens));
        }
    }

    /// An answer went to a client over the lane.
    pub(super) fn served(&self, asked: Asked<'_>, took: Took) {
        let of = asked.of();
        self.duration.get_or_create(&of).observe(took.whole);
        let Some(first) = took.first_byte else { return };
        self.first_token.get_or_create(&of).observe(first);
        if let Some(later) =
            took.output_tokens.and_then(|tokens| tokens.checked_sub(1)).filter(|later| *later > 0)
        {
            self.per_token.get_or_create(&of).observe((took.whole - first) / number(later));
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a graph")]
fn number(tokens: u64) -> f64 {
    tokens as f64
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    fn text(gen_ai: &GenAi) -> String {
        let mut registry = Registry::default();
        gen_ai.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn providers_and_operations_have_the_conventions_names() {
        for (dialect, provider, labels) in [
            (
                "openai_chat",
                "openai",
                "gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"openai\"",
            ),
            (
                "openai_embeddings",
                "azure",
                "gen_ai_operation_name=\"embeddings\",gen_ai_provider_name=\"azure.ai.openai\"",
            ),
            (
                "openai_completions",
                "openai",
                "gen_ai_operation_name=\"text_completion\",gen_ai_provider_name=\"openai\"",
            ),
            (
                "anthropic_messages",
                "anthropic",
                "gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"anthropic\"",
            ),
        ] {
            let gen_ai = GenAi::default();
            gen_ai.served(Asked { dialect, labels: ("m", provider) }, Took::default());
            let line = format!(
                "gen_ai_server_request_duration_seconds_count{{{labels},gen_ai_request_model=\"m\"}} 1"
            );
            assert!(text(&gen_ai).contains(&line), "{line}\n{}", text(&gen_ai));
        }
    }

    #[test]
    fn time_per_token_is_that_behind_the_first_and_needs_a_second_one() {
        let asked = Asked { dialect: "openai_chat", labels: ("m", "p") };
        let gen_ai = GenAi::default();
        let took = |output_tokens| Took { first_byte: Some(0.5), whole: 2.5, output_tokens };
        gen_ai.served(asked, took(Some(1)));
        gen_ai.served(asked, took(Some(0)));
        gen_ai.served(asked, took(None));
        assert!(!text(&gen_ai).contains("per_output_token_seconds_sum{"));
        gen_ai.served(asked, took(Some(5)));
        let sum = "gen_ai_server_time_per_output_token_seconds_sum{gen_ai_operation_name=\"chat\",\
                   gen_ai_provider_name=\"p\",gen_ai_request_model=\"m\"} 0.5\n";
        assert!(text(&gen_ai).contains(sum), "{}", text(&gen_ai));
    }

    #[test]
    fn a_call_tells_its_tokens_by_type() {
        let gen_ai = GenAi::default();
        let usage = Usage {
            uncached_input_tokens: 3,
            cache_read_tokens: 10,
            output_tokens: 4,
            ..Usage::default()
        };
        gen_ai.used(Asked { dialect: "openai_chat", labels: ("m", "p") }, usage);
        for sum in ["gen_ai_token_type=\"input\"} 13.0", "gen_ai_token_type=\"output\"} 4.0"] {
            assert!(text(&gen_ai).contains(sum), "{sum}\n{}", text(&gen_ai));
        }
    }
}
