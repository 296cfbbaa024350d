//! What an answer or an event says about itself, whatever its content: its kind, its blocks, its end, its usage.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// The outline of a whole JSON answer, or of the message that begins a stream.
#[derive(Debug, Deserialize)]
pub(super) struct Message {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) model: Option<String>,
    pub(super) content: Option<Vec<Block>>,
    pub(super) stop_reason: Option<String>,
    pub(super) usage: Option<Box<RawValue>>,
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
    pub(super) index: Option<u64>,
    pub(super) message: Option<Message>,
    pub(super) content_block: Option<Block>,
    pub(super) delta: Option<Delta>,
    pub(super) usage: Option<Box<RawValue>>,
    pub(super) error: Option<IgnoredAny>,
}

/// The outline of a delta, of a block or of the message.
#[derive(Debug, Deserialize)]
pub(super) struct Delta {
    pub(super) stop_reason: Option<String>,
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
