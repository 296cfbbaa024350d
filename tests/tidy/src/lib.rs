//! Reads the tree as text, for the tests beside this file. It never builds or runs anything.

use std::fs;
use std::path::{Path, PathBuf};

/// The repository's root.
#[must_use]
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// Every file of the tree, as a path from the root, without what is built, installed or hidden.
#[must_use]
pub fn files() -> Vec<String> {
    let mut found = Vec::new();
    walk(&root(), "", &mut found);
    found.sort();
    found
}

/// The files whose names end in `ending`.
#[must_use]
pub fn files_ending(ending: &str) -> Vec<String> {
    files().into_iter().filter(|path| path.ends_with(ending)).collect()
}

/// The text of a file; empty if it is not text.
#[must_use]
pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_default()
}

/// The lines of a Rust file before its unit tests.
pub fn code_lines(text: &str) -> impl Iterator<Item = &str> {
    let mut in_tests = false;
    text.lines().filter(move |line| {
        in_tests |= *line == "#[cfg(test)]" || *line == "mod tests {";
        !in_tests
    })
}

fn walk(folder: &Path, prefix: &str, found: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let skipped = ["target", ".git", ".kt", "node_modules", "__pycache__", ".pytest_cache"];
        if skipped.contains(&name.as_str()) {
            continue;
        }
        let path = format!("{prefix}{name}");
        if entry.path().is_dir() {
            walk(&entry.path(), &format!("{path}/"), found);
        } else {
            found.push(path);
        }
    }
}
