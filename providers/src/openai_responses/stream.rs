//! JSON → SSE: tells a complete response as the stream that the provider would have sent, in few events: the
//! response as it was when it began, each item from its start to its end, and the response whole.

use serde_json::value::to_raw_value;
use serde_json::{Value, json};

use super::items::Item;
use crate::answer::{CannotReplay, Usage};
use crate::openai::merge::{Fields, ambiguous};
use crate::openai::usage::of_response;

/// Tells a response that [`super::judge()`] has found complete, and whose usage it believes or not.
pub(super) fn stream(body: &[u8], is_usage_believed: bool) -> Result<Vec<u8>, CannotReplay> {
    let response: Value = serde_json::from_slice(body).map_err(|_| ambiguous("response"))?;
    let Value::Object(response) = response else { return Err(ambiguous("response")) };
    let Some(Value::Array(items)) = response.get("output") else {
        return Err(ambiguous("output"));
    };
    // A count that was told twice would be told once, and be believed.
    if !is_usage_believed && usage(&response).is_some() {
        return Err(CannotReplay::NoUsage);
    }
    let mut teller = Teller::default();
    let begun = begun(&response);
    for kind in ["response.created", "response.in_progress"] {
        teller.tell(kind, [("response", Value::Object(begun.clone()))]);
    }
    for (index, item) in (0..).zip(items) {
        let Value::Object(item) = item else { return Err(ambiguous("output")) };
        Item { index, item, to: &mut teller }.tell()?;
    }
    let last = match response.get("status").and_then(Value::as_str) {
        Some("incomplete") => "response.incomplete",
        Some(_) | None => "response.completed",
    };
    teller.tell(last, [("response", Value::Object(response))]);
    Ok(teller.told)
}

/// The usage as it would be told.
fn usage(response: &Fields) -> Option<Usage> {
    to_raw_value(response.get("usage")?).ok().and_then(|usage| of_response(&usage))
}

/// The response as it was before it had any output.
fn begun(response: &Fields) -> Fields {
    let mut begun = response.clone();
    for (field, value) in begun.iter_mut() {
        match field.as_str() {
            "status" => *value = "in_progress".into(),
            "output" => *value = json!([]),
            "usage" | "completed_at" | "incomplete_details" => *value = Value::Null,
            _ => {}
        }
    }
    begun
}

/// Writes events, and numbers them.
#[derive(Default)]
pub(super) struct Teller {
    sequence_number: u64,
    told: Vec<u8>,
}

// === impl Teller ===

impl Teller {
    pub(super) fn tell<'a>(
        &mut self,
        kind: &str,
        fields: impl IntoIterator<Item = (&'a str, Value)>,
    ) {
        let mut event = Fields::new();
        event.insert("type".into(), kind.into());
        event.insert("sequence_number".into(), self.sequence_number.into());
        event.extend(fields.into_iter().map(|(field, value)| (field.to_owned(), value)));
        self.sequence_number = self.sequence_number.saturating_add(1);
        self.told.extend_from_slice(b"event: ");
        self.told.extend_from_slice(kind.as_bytes());
        self.told.extend_from_slice(b"\ndata: ");
        self.told.extend_from_slice(Value::Object(event).to_string().as_bytes());
        self.told.extend_from_slice(b"\n\n");
    }
}
