//! What an answer or a chunk says about itself, whatever its content: its endings, usage, model and errors.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

/// The outline of a whole JSON answer, or of one chunk of a stream.
#[derive(Debug, Deserialize)]
pub(crate) struct Outline {
    pub(crate) model: Option<String>,
    pub(crate) choices: Option<Vec<Ending>>,
    pub(crate) usage: Option<Box<RawValue>>,
    pub(crate) error: Option<IgnoredAny>,
}

/// The outline of one choice.
#[derive(Debug, Deserialize)]
pub(crate) struct Ending {
    pub(crate) index: Option<u64>,
    pub(crate) finish_reason: Option<String>,
    pub(crate) message: Option<IgnoredAny>,
    pub(crate) text: Option<IgnoredAny>,
    pub(crate) error: Option<IgnoredAny>,
}

// === impl Outline ===

impl Outline {
    /// Whether this is the chunk that `include_usage` adds: no choices, and usage.
    pub(crate) fn is_usage_only(&self) -> bool {
        let has_no_choices = self.choices.as_ref().is_some_and(Vec::is_empty);
        // A raw value begins with its own first byte, whatever blanks were before it.
        has_no_choices && self.usage.as_ref().is_some_and(|usage| usage.get().starts_with('{'))
    }
}
