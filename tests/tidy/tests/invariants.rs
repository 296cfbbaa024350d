//! Pages that say what is held name the tests that show it; they must be there.

use kt_tidy::read;

/// The pages, and how many tests each names at least.
const PAGES: [(&str, usize); 2] =
    [("docs/reference/invariants.md", 20), ("docs/threat-model.md", 40)];

/// The `file::test` words of the page, as path and the beginning of the test. A file of Rust is named with its path
/// where it is to be looked for.
fn named(page: &str) -> Vec<(String, String)> {
    page.split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|word| word.split_once("::"))
        .filter_map(|(file, name)| {
            if file.ends_with(".py") {
                Some((format!("tests/e2e/{file}"), format!("def {name}(")))
            } else if file.ends_with(".rs") && file.contains('/') {
                Some((file.to_owned(), format!("fn {name}(")))
            } else {
                None
            }
        })
        .collect()
}

#[test]
fn every_test_that_a_page_names_exists() {
    for (path, at_least) in PAGES {
        let page = read(path);
        let tests = named(&page);
        assert!(tests.len() > at_least, "{path} names {} tests", tests.len());
        for (file, beginning) in tests {
            assert!(read(&file).contains(&beginning), "{path} names {file}: {beginning}…");
        }
    }
}
