//! What is said of all dialects, and the reference pages.

use std::collections::BTreeSet;

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
