//! What has come of a message: see [`crate::delivered`]. Its first event tells the input, its last but one the
//! output.

use serde_json::Value;

use super::usage;
use crate::answer::Usage;
use crate::countable::Growing;
use crate::delivered::{Telling, Told};

/// Usage in parts, growing.
#[derive(Debug, Default)]
pub(crate) struct Message {
    told: usage::Told,
    is_final: bool,
}

impl Telling for Message {
    fn take(&mut self, told: &Told<'_>, _: bool) {
        if let Some(message) = &told.message {
            self.told.tell(message.usage);
        }
        self.told.tell(told.usage);
        // Outermost, it is that of the message's end.
        self.is_final |= told.usage.is_some();
    }

    fn usage(&self) -> (Option<Usage>, bool) {
        (self.told.usage(), self.is_final)
    }

    fn words(event: &Value, into: &mut Growing) {
        let index = event.get("index").and_then(Value::as_u64).unwrap_or(0);
        for field in ["content_block", "delta"] {
            // `input` is empty where a block begins, and comes in pieces.
            if let Some(Value::Object(fields)) = event.get(field) {
                for (name, value) in fields.iter().filter(|(_, value)| value.is_string()) {
                    if !["type", "id", "signature", "stop_reason", "stop_sequence", "data"]
                        .contains(&name.as_str())
                    {
                        into.take(&format!("{index}.{name}"), value);
                    }
                }
            }
        }
        if let Some(content) = event.get("content") {
            into.take("content", content);
        }
    }
}
