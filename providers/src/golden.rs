//! Golden files of the tests: compared here, and written anew by `KT_GOLDEN=write` (`make golden`).

/// Compares `actual` with the file at `path` below `tests/fixtures`, which the caller has embedded so that
/// the same test runs as Wasm; or writes the file, where that was asked for.
pub(crate) fn check(path: &str, embedded: &str, actual: &str) {
    #[cfg(not(target_family = "wasm"))]
    if std::env::var_os("KT_GOLDEN").is_some_and(|mode| mode == "write") {
        let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/");
        std::fs::write(format!("{fixtures}{path}"), actual).unwrap();
        return;
    }
    assert_eq!(actual, embedded, "{path} is out of date; if the change is meant: make golden");
}
