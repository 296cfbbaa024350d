//! The patterns that a configuration may have: regular expressions that are searched for in linear time, within a bound
//! of memory. Checked where the file is read, and compiled where texts are.

use regex::{Error, Regex, RegexBuilder};

use crate::limits::PATTERN_BYTES_MAX;

/// How deep the groups of a pattern may nest.
const NEST_MAX: u32 = 50;

/// Why a pattern cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    /// It is no regular expression, or one that needs to look back or around.
    #[error("is no pattern that can be searched for in linear time: {0}")]
    Unreadable(String),
    /// It would match the empty text, and so every one.
    #[error("matches the empty text, and would be found everywhere")]
    MatchesAll,
    /// It is too large.
    #[error(
        "is too large: compiled it would take more than {PATTERN_BYTES_MAX} bytes; use smaller repetitions"
    )]
    TooLarge,
}

/// Compiles a pattern. It matches in either case unless it says `(?-i)`.
///
/// # Errors
/// It cannot be searched for in linear time, or within its bound of memory, or would be found everywhere.
pub fn compile(pattern: &str) -> Result<Regex, BadPattern> {
    let built = RegexBuilder::new(pattern)
        .case_insensitive(true)
        .size_limit(PATTERN_BYTES_MAX)
        .dfa_size_limit(PATTERN_BYTES_MAX)
        .nest_limit(NEST_MAX)
        .build();
    match built {
        Ok(regex) if regex.is_match("") => Err(BadPattern::MatchesAll),
        Ok(regex) => Ok(regex),
        Err(Error::CompiledTooBig(_)) => Err(BadPattern::TooLarge),
        // The last line says what is wrong; those before it draw where.
        Err(error) => {
            let told = error.to_string();
            let line = told.lines().last().unwrap_or_default();
            let what = line.strip_prefix("error: ").unwrap_or(line);
            Err(BadPattern::Unreadable(what.to_owned()))
        }
    }
}
