//! What a response or an event says about itself, whatever its content.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

/// The outline of a response.
#[derive(Debug, Deserialize)]
pub(super) struct Response {
    pub(super) status: Option<String>,
    pub(super) model: Option<String>,
    pub(super) output: Option<Vec<Item>>,
    pub(super) usage: Option<Box<RawValue>>,
    pub(super) error: Option<IgnoredAny>,
    pub(super) incomplete_details: Option<Details>,
}

/// Why a response is incomplete.
#[derive(Debug, Deserialize)]
pub(super) struct Details {
    pub(super) reason: Option<String>,
}

/// The outline of an output item.
#[derive(Debug, Deserialize)]
pub(super) struct Item {
    #[serde(rename = "type")]
    _kind: String,
    pub(super) status: Option<String>,
    pub(super) error: Option<IgnoredAny>,
}

/// The outline of an event.
#[derive(Debug, Deserialize)]
pub(super) struct Told {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) response: Option<Response>,
    pub(super) output_index: Option<u64>,
    pub(super) error: Option<IgnoredAny>,
}

/// An event's type and nothing else of it.
#[derive(Debug, Deserialize)]
pub(super) struct Kind<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Cow<'a, str>,
}
