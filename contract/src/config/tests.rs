//! The configuration file, from text to errors, warnings and values. One module per question.

mod accepted;
mod audit;
mod database;
mod documented;
mod form;
mod judges;
mod meaning;
mod money;
mod open;
mod per_org;
mod policies;
mod rates;
mod restart;
mod secrets;
mod seeds;
mod shared_cache;
mod tenants;
mod to_snapshot;
mod together;

use super::*;

/// The shortest file that may run.
const LEAST: &str = "\
providers:
  targets:
    - id: openai
      provider: openai
      secret_key_ref: {env: OPENAI_API_KEY}
";

/// The errors of a file, as a user sees them.
fn errors(text: &str) -> Vec<String> {
    match load("f.yaml", text) {
        Ok(loaded) => panic!("loaded: {loaded:?}"),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

/// The errors of the shortest file and `more`, which begins in line 6.
fn errors_with(more: &str) -> Vec<String> {
    errors(&format!("{LEAST}{more}"))
}

/// The shortest file and `more`, loaded.
fn loaded_with(more: &str) -> Loaded {
    match load("f.yaml", &format!("{LEAST}{more}")) {
        Ok(loaded) => loaded,
        Err(errors) => panic!("{errors:?}"),
    }
}

/// The warnings of a file, as a user sees them.
fn warnings(loaded: &Loaded) -> Vec<String> {
    loaded.warnings.iter().map(ToString::to_string).collect()
}
