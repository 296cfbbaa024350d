//! What an answer or an event says about itself, whatever its content: its kind, its blocks, its end, its usage.

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Map, Value};

use crate::answer::Incomplete;

/// The outline of a whole JSON answer, or of the message that begins a stream. A field that occurs twice is
/// refused: readers would disagree on it.
#[derive(Debug, Deserialize)]
pub(super) struct Message {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    #[serde(default)]
    pub(super) model: Option<String>,
    #[serde(default)]
    pub(super) content: Option<Vec<Block>>,
    #[serde(default)]
    pub(super) stop_reason: Option<String>,
    #[serde(default)]
    pub(super) usage: Option<Value>,
}

/// The outline of a content block.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub(super) struct Block;

/// The outline of one event of a stream.
#[derive(Debug, Deserialize)]
pub(super) struct Event {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    #[serde(default)]
    pub(super) index: Option<u64>,
    #[serde(default)]
    pub(super) message: Option<Message>,
    #[serde(default)]
    pub(super) content_block: Option<Block>,
    #[serde(default)]
    pub(super) delta: Option<Delta>,
    #[serde(default)]
    pub(super) usage: Option<Value>,
    #[serde(default)]
    pub(super) error: Option<IgnoredAny>,
}

/// The outline of a delta, of a block or of the message.
#[derive(Debug, Deserialize)]
pub(super) struct Delta {
    #[serde(default)]
    pub(super) stop_reason: Option<String>,
}

/// Reads an outline. Refuses what is no object.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Incomplete> {
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

// === impl Block ===

impl TryFrom<Map<String, Value>> for Block {
    type Error = &'static str;

    fn try_from(fields: Map<String, Value>) -> Result<Self, Self::Error> {
        match fields.get("type") {
            Some(Value::String(_)) => Ok(Self),
            Some(_) | None => Err("a content block has a type"),
        }
    }
}
