//! A content block of an answer whose tool input is kept as it is written: a number in it means what its
//! digits say, to every reader.

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::answer::CannotReplay;
use crate::openai::merge::{Fields, ambiguous};

/// A content block.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) fields: Fields,
    /// What `input` is, where the block has one.
    pub(super) input: Option<Box<RawValue>>,
}

// === impl Block ===

impl Block {
    /// Reads a block as it is written in a JSON answer.
    pub(super) fn read(written: &RawValue) -> Result<Self, CannotReplay> {
        #[derive(Deserialize)]
        struct Input {
            #[serde(default)]
            input: Option<Box<RawValue>>,
        }
        let unreadable = |_| ambiguous("content");
        let fields: Fields = serde_json::from_str(written.get()).map_err(unreadable)?;
        let Input { input } = serde_json::from_str(written.get()).map_err(unreadable)?;
        Ok(Self { fields, input })
    }
}

impl Serialize for Block {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.fields.len()))?;
        for (key, value) in &self.fields {
            match &self.input {
                Some(input) if key == "input" => map.serialize_entry(key, input)?,
                Some(_) | None => map.serialize_entry(key, value)?,
            }
        }
        map.end()
    }
}
