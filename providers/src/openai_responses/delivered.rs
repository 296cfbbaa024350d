//! What has come of a response: see [`crate::delivered`]. Its last event tells the usage; the texts that come in
//! pieces are told again whole, which is not counted.

use serde_json::Value;

use crate::answer::Usage;
use crate::countable::Growing;
use crate::delivered::{Telling, Told};
use crate::openai::usage::of_response;

/// Usage within the response of the last event, or of the JSON answer.
#[derive(Debug, Default)]
pub(crate) struct Response(Option<Usage>);

impl Telling for Response {
    fn take(&mut self, told: &Told<'_>, is_json: bool) {
        let usage = match (&told.response, is_json) {
            (Some(response), false) => response.usage,
            (_, true) => told.usage,
            (None, false) => None,
        };
        self.0 = usage.and_then(of_response).or(self.0);
    }

    fn usage(&self) -> (Option<Usage>, bool) {
        (self.0, true)
    }

    fn words(event: &Value, into: &mut Growing) {
        let kind = event.get("type").and_then(Value::as_str).unwrap_or_default();
        let at = |name: &str| event.get(name).and_then(Value::as_u64).unwrap_or(0);
        let place = format!("{}.{}", at("output_index"), at("content_index"));
        if kind.ends_with(".delta")
            && let Some(delta) = event.get("delta")
        {
            into.take(&format!("{place}.{}.{kind}", at("summary_index")), delta);
        } else if kind == "response.output_item.added" {
            // Of an item that has just begun, only a call says something: its name.
            let name = event.get("item").and_then(|item| item.get("name"));
            into.take(&format!("{place}.name"), name.unwrap_or(&Value::Null));
        } else if let Some(output) = event.get("output") {
            into.take("output", output);
        }
    }
}
