//! What a response or an event says about itself, whatever its content.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;

use crate::answer::Incomplete;

/// The outline of a response. A field that occurs twice is refused: readers would disagree on it.
#[derive(Debug, Deserialize)]
pub(super) struct Response {
    #[serde(default)]
    pub(super) status: Option<String>,
    #[serde(default)]
    pub(super) model: Option<String>,
    #[serde(default)]
    pub(super) output: Option<Vec<Item>>,
    #[serde(default)]
    pub(super) usage: Option<Value>,
    #[serde(default)]
    pub(super) error: Option<IgnoredAny>,
    #[serde(default)]
    pub(super) incomplete_details: Option<Details>,
}

/// Why a response is incomplete.
#[derive(Debug, Deserialize)]
pub(super) struct Details {
    #[serde(default)]
    pub(super) reason: Option<String>,
}

/// The outline of an output item.
#[derive(Debug, Deserialize)]
pub(super) struct Item {
    #[serde(rename = "type")]
    _kind: String,
    #[serde(default)]
    pub(super) status: Option<String>,
    #[serde(default)]
    pub(super) error: Option<IgnoredAny>,
}

/// The outline of an event.
#[derive(Debug, Deserialize)]
pub(super) struct Told {
    #[serde(rename = "type", default)]
    pub(super) kind: Option<String>,
    #[serde(default)]
    pub(super) response: Option<Response>,
    #[serde(default)]
    pub(super) output_index: Option<u64>,
    #[serde(default)]
    pub(super) error: Option<IgnoredAny>,
}

/// An event's type and nothing else of it.
#[derive(Debug, Deserialize)]
pub(super) struct Kind<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Cow<'a, str>,
}

/// Reads an outline.
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
