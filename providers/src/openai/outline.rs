//! What an answer or a chunk says about itself, whatever its content: its endings, usage, model and errors.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::answer::Incomplete;

/// The outline of a whole JSON answer, or of one chunk of a stream. A field that occurs twice is refused:
/// readers would disagree on it.
#[derive(Debug, Deserialize)]
pub(crate) struct Outline {
    #[serde(default)]
    pub(crate) model: Option<String>,
    #[serde(default)]
    pub(crate) choices: Option<Vec<Ending>>,
    #[serde(default)]
    pub(crate) usage: Option<Value>,
    #[serde(default)]
    pub(crate) error: Option<IgnoredAny>,
}

/// The outline of one choice.
#[derive(Debug, Deserialize)]
pub(crate) struct Ending {
    #[serde(default)]
    pub(crate) index: Option<u64>,
    #[serde(default)]
    pub(crate) finish_reason: Option<String>,
    #[serde(default)]
    pub(crate) message: Option<IgnoredAny>,
    #[serde(default)]
    pub(crate) text: Option<IgnoredAny>,
    #[serde(default)]
    pub(crate) error: Option<IgnoredAny>,
}

// === impl Outline ===

impl Outline {
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Incomplete> {
        // serde_json does not look into strings that it skips; a client's reader will.
        let text = std::str::from_utf8(bytes).map_err(|_| Incomplete::Malformed)?;
        // serde would fill a struct from an array just as well.
        if text.trim_ascii_start().starts_with('[') {
            return Err(Incomplete::Malformed);
        }
        serde_json::from_str(text).map_err(|error| match error.is_eof() {
            true => Incomplete::CutShort,
            false => Incomplete::Malformed,
        })
    }

    /// Whether this is the chunk that `include_usage` adds: no choices, and usage.
    pub(crate) fn is_usage_only(&self) -> bool {
        let has_no_choices = self.choices.as_ref().is_some_and(Vec::is_empty);
        has_no_choices && matches!(self.usage, Some(Value::Object(_)))
    }
}
