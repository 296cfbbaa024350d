//! What is said of all dialects, and the reference pages.

use std::collections::BTreeSet;

use kt_contract::problem::{Problem, Unpaid};
use serde_json::Value;
use wasm_bindgen_test::wasm_bindgen_test;

use super::Dialect;

const CACHE_KEY: &str = include_str!("../../../docs/reference/cache-key.md");
const REPLAY: &str = include_str!("../../../docs/reference/replay.md");

/// The words in code in one cell of a table.
fn words(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[wasm_bindgen_test(unsupported = test)]
fn the_reference_page_names_for_each_dialect_what_is_keyed_and_what_is_not() {
    for dialect in Dialect::ALL {
        let name = dialect.as_str();
        let row = CACHE_KEY.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        let cells: Vec<_> = row.unwrap_or_else(|| panic!("no row of {name}")).split('|').collect();
        assert_eq!(words(cells[2]), dialect.left_out(), "{name}");
        assert_eq!(words(cells[3]), dialect.semantic_headers(), "{name}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn the_reference_page_says_of_each_dialect_how_it_is_replayed() {
    for dialect in Dialect::ALL {
        assert!(REPLAY.contains(&format!("\n## `{}`\n", dialect.as_str())), "{dialect:?}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn names_and_paths_are_unique() {
    for word in [Dialect::as_str, Dialect::path] {
        let all: BTreeSet<_> = Dialect::ALL.iter().map(|dialect| word(*dialect)).collect();
        assert_eq!(all.len(), Dialect::ALL.len());
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn what_the_provider_serves_is_in_another_gate() {
    for dialect in Dialect::ALL {
        assert!(dialect.left_out().contains(&"model"), "{dialect:?}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_refusal_about_money_has_the_apis_word_for_it_as_a_body_and_in_a_stream() {
    let text = || "x".to_owned();
    let spent = Unpaid::BudgetSpent { scope: text(), window: text(), resets_in_s: 1 };
    for (unpaid, openais, anthropics) in [
        (Unpaid::WalletEmpty { team: None }, "insufficient_quota", "billing_error"),
        (Unpaid::WalletFrozen, "insufficient_quota", "billing_error"),
        (spent, "insufficient_quota", "rate_limit_error"),
        (
            Unpaid::NoPrice { provider: text(), model: text() },
            "invalid_request_error",
            "permission_error",
        ),
        (Unpaid::PricedApart { field: text() }, "invalid_request_error", "permission_error"),
        (Unpaid::LedgerUnavailable, "server_error", "overloaded_error"),
    ] {
        let problem = Problem::Unpaid(unpaid);
        for dialect in Dialect::ALL {
            let kind = match dialect {
                Dialect::OpenAiChat
                | Dialect::OpenAiCompletions
                | Dialect::OpenAiResponses
                | Dialect::OpenAiEmbeddings => openais,
                Dialect::AnthropicMessages => anthropics,
            };
            let event = String::from_utf8(dialect.error_event(&problem)).unwrap();
            let (_, data) = event.trim_end().split_once("data: ").unwrap();
            for words in [dialect.error_body(&problem).as_slice(), data.as_bytes()] {
                let words: Value = serde_json::from_slice(words).unwrap();
                assert_eq!(words["error"]["type"], kind, "{dialect:?} {problem:?}");
                assert_eq!(words["error"]["code"], problem.code(), "{dialect:?}");
                assert_eq!(words["error"]["message"], problem.to_string(), "{dialect:?}");
            }
        }
    }
}
