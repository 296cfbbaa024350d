//! Counts and bounds over recorded exchanges whose usage the provider told. They are not part of the project: they
//! are looked for beside the repository, or where `KT_RECORDINGS` says. Where there are none, one line says so.
//! With `KT_RECORDINGS_REPORT=1` the errors are printed, as `docs/reference/pricing.md` has them.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "helpers of tests are tests too"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use kt_contract::json::{Bounds, parse};
use kt_contract::pricing::Price;
use kt_contract::pricing::table::PriceTable;
use kt_contract::provider::Provider;
use kt_providers::{Dialect, Recorded, Usage};
use serde_json::Value;
use sidecar_cache::reserve::input_at_most;
use sidecar_cache::tokens::Tokenizer;

/// An exchange whose usage was told.
struct Exchange {
    name: String,
    dialect: Dialect,
    provider: Provider,
    model: String,
    request: String,
    recorded: Recorded,
    answer: Vec<u8>,
    usage: Usage,
}

fn folder() -> Option<PathBuf> {
    if let Ok(named) = std::env::var("KT_RECORDINGS") {
        return Some(named.into());
    }
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/provider-recordings");
    let beside = PathBuf::from(beside);
    beside.is_dir().then_some(beside)
}

fn exchanges() -> Vec<Exchange> {
    let Some(folder) = folder() else {
        // Not `eprintln!`, which a passing test swallows.
        let missing = b"no KT_RECORDINGS: the recorded set was not run\n";
        std::io::stderr().write_all(missing).unwrap();
        return Vec::new();
    };
    let mut names: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".json") && !name.ends_with(".body.json"))
        .collect();
    names.sort();
    let found: Vec<Exchange> =
        names.iter().filter_map(|name| Exchange::read(&folder, name)).collect();
    assert!(found.len() > 20, "{} exchanges", found.len());
    found
}

impl Exchange {
    fn read(folder: &Path, name: &str) -> Option<Self> {
        let told: Value = serde_json::from_slice(&fs::read(folder.join(name)).unwrap()).unwrap();
        let path = told["path"].as_str().unwrap();
        let dialect = [
            ("chat/completions", Dialect::OpenAiChat),
            ("/completions", Dialect::OpenAiCompletions),
            ("/responses", Dialect::OpenAiResponses),
            ("/embeddings", Dialect::OpenAiEmbeddings),
            ("/messages", Dialect::AnthropicMessages),
        ]
        .into_iter()
        .find_map(|(end, dialect)| path.contains(end).then_some(dialect))?;
        let provider = if dialect == Dialect::AnthropicMessages {
            Provider::Anthropic
        } else if path.starts_with("/openai/") {
            Provider::Azure
        } else {
            Provider::OpenAi
        };
        let response = told["response"].as_str().unwrap();
        let answer = fs::read(folder.join(response)).unwrap();
        let recorded = if response.ends_with(".sse") { Recorded::Sse } else { Recorded::Json };
        let delivered = dialect.delivered(recorded, &answer);
        let usage = delivered.usage.filter(|_| delivered.is_final)?;
        Some(Self {
            name: name.to_owned(),
            dialect,
            provider,
            model: told["request"]["model"].as_str().unwrap_or_default().to_owned(),
            request: told["request"].to_string(),
            recorded,
            answer,
            usage,
        })
    }

    /// Whose tokens they are: OpenAI's models, Anthropic's, or others behind OpenAI's dialects.
    fn group(&self) -> &'static str {
        let own = ["gpt-", "davinci-", "openllmetry-testing", "text-embedding-"];
        if self.provider == Provider::Anthropic {
            "anthropic"
        } else if own.iter().any(|own| self.model.starts_with(own)) {
            "openai"
        } else {
            "others"
        }
    }

    /// Counted and told: input, output.
    fn counts(&self) -> [(u64, u64); 2] {
        let tokenizer = Tokenizer::of(self.provider, &self.model);
        let body = parse(self.request.as_bytes(), Bounds { depth_max: 64, nodes_max: 100_000 });
        let input = tokenizer.count(&self.dialect.countable(&body.unwrap()));
        let delivered = self.dialect.delivered(self.recorded, &self.answer);
        let output = tokenizer.count(&delivered.text);
        [(input.0, self.usage.input_tokens()), (output.0, self.usage.output_tokens)]
    }
}

#[test]
fn no_recorded_request_had_more_tokens_than_its_bound() {
    let table = PriceTable::published().unwrap();
    let price = *table.find(Provider::OpenAi, "gpt-4o").unwrap();
    let price = Price { max_input_tokens: None, ..price };
    for exchange in exchanges() {
        let request = exchange.request.as_bytes();
        let body = parse(request, Bounds { depth_max: 64, nodes_max: 100_000 }).unwrap();
        let bound = input_at_most(&exchange.dialect.demand(&body), request.len() as u64, &price);
        assert!(exchange.usage.input_tokens() <= bound.0, "{}: {bound:?}", exchange.name);
    }
}

#[test]
fn counts_are_near_what_the_provider_told() {
    let mut errors: BTreeMap<(&str, &str), Vec<i64>> = BTreeMap::new();
    for exchange in exchanges() {
        for (what, (counted, told)) in ["input", "output"].into_iter().zip(exchange.counts()) {
            // What a filter has withheld was paid for, and nobody can count it.
            let is_withheld =
                String::from_utf8_lossy(&exchange.answer).contains("\"content_filter\"");
            if told == 0 || (is_withheld && what == "output") {
                continue;
            }
            // In thousandths of what was told.
            let error = i64::try_from(counted * 1_000 / told).unwrap() - 1_000;
            errors.entry((exchange.group(), what)).or_default().push(error);
            if exchange.group() == "anthropic" {
                assert!(counted >= told, "{}: {what} {counted} of {told}", exchange.name);
            }
            if exchange.group() == "openai" {
                let near = told.div_ceil(20).max(2);
                assert!(
                    counted.abs_diff(told) <= near,
                    "{}: {what} {counted} of {told}",
                    exchange.name
                );
            }
        }
    }
    if std::env::var("KT_RECORDINGS_REPORT").is_err() {
        return;
    }
    for ((group, what), mut errors) in errors {
        errors.sort_unstable();
        let at = |part: usize| errors[(errors.len() * part).div_ceil(100).max(1) - 1];
        let mut sizes: Vec<i64> = errors.iter().map(|error| error.abs()).collect();
        sizes.sort_unstable();
        let size = |part: usize| sizes[(sizes.len() * part).div_ceil(100).max(1) - 1];
        println!(
            "{group} {what}: {} exchanges, {} to {} permille, median {}, absolute: median {}, p99 {}, max {}",
            errors.len(),
            at(0),
            at(100),
            at(50),
            size(50),
            size(99),
            size(100)
        );
    }
}
