//! The page of the invariants names tests; they must be there.

use kt_tidy::read;

const PAGE: &str = "docs/reference/invariants.md";

/// The `file.py::test` words of the page, as file and name.
fn named(page: &str) -> Vec<(&str, &str)> {
    page.split('`').skip(1).step_by(2).filter_map(|word| word.split_once(".py::")).collect()
}

#[test]
fn every_test_that_the_page_of_invariants_names_exists() {
    let page = read(PAGE);
    let tests = named(&page);
    assert!(tests.len() > 20, "{PAGE} names {} tests", tests.len());
    for (file, name) in tests {
        let source = read(&format!("tests/e2e/{file}.py"));
        assert!(source.contains(&format!("def {name}(")), "{PAGE} names {file}.py::{name}");
    }
}
