//! What went wrong, for the person at the terminal: what happened, where, and what to do. No backtraces.

use std::fmt;
use std::io;
use std::path::Path;

/// An end that is not success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    what: String,
    hint: Option<String>,
    findings: Vec<String>,
}

// === impl Failure ===

impl Failure {
    /// Says what happened, and where.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), hint: None, findings: Vec::new() }
    }

    /// Says what to do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Lists what it comes from, each with its own place, e.g. `file:line: field: problem`.
    pub(crate) fn found(mut self, findings: Vec<String>) -> Self {
        self.findings = findings;
        self
    }

    /// What it comes from. [`crate::report::failure`] prints these before the failure itself.
    pub(crate) fn findings(&self) -> &[String] {
        &self.findings
    }

    /// What happened, without what to do.
    pub(crate) fn what(&self) -> &str {
        &self.what
    }

    /// What to do, where that is known.
    pub(crate) fn what_to_do(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Says that the system refused to `do_what` with `path`.
    pub(crate) fn io(do_what: &str, path: &Path, error: &io::Error) -> Self {
        Self::new(format!("cannot {do_what} {}: {error}", path.display()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}
