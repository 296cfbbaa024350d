//! What the events of a stream show before the last one, which holds all of it again. Whoever reads the stream has read
//! these; whoever judges it reads the last.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;

use super::judge::ends_stream;
use crate::format::read_strictly;
use crate::sse::{Data, Reader};

/// The fields in which something is said: of an event, of an item and of its parts.
const SAID: [&str; 6] = ["text", "refusal", "arguments", "input", "code", "transcript"];

/// What was shown of each item of the output.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// What came in pieces: by the item, by the type of the events, and by the part of the item.
    pieces: BTreeMap<(Option<u64>, String, Option<u64>), String>,
    /// What came whole.
    whole: Vec<(Option<u64>, String)>,
}

fn index(event: &Value, name: &str) -> Option<u64> {
    event.get(name).and_then(Value::as_u64)
}

/// Every text that is said in a value, however deep.
fn said(value: &Value, to: &mut impl FnMut(&str)) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| said(item, to)),
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::String(text) if SAID.contains(&name.as_str()) => to(text),
                    Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
                    Value::Array(_) | Value::Object(_) => said(field, to),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

// === impl Shown ===

impl Shown {
    /// `None` where an event cannot be read.
    pub(super) fn of(stream: &[u8]) -> Option<Self> {
        let mut shown = Self::default();
        let (mut reader, mut rest) = (Reader::default(), stream);
        while let Some(event) = reader.next(&mut rest) {
            match event.data {
                Data::Absent => {}
                Data::TooLong => return None,
                Data::Whole(data) if ends_stream(data) => return Some(shown),
                Data::Whole(data) => shown.take(&read_strictly(data)?)?,
            }
        }
        Some(shown)
    }

    fn take(&mut self, event: &Value) -> Option<()> {
        let kind = event.get("type").and_then(Value::as_str).unwrap_or_default();
        let item = index(event, "output_index");
        if let Some(delta) = event.get("delta") {
            let part = index(event, "content_index").or_else(|| index(event, "summary_index"));
            let key = (item, kind.to_owned(), part);
            // Pieces of something else than a text are not put together here.
            self.pieces.entry(key).or_default().push_str(delta.as_str()?);
            return Some(());
        }
        let whole = &mut self.whole;
        let mut shows = |text: &str| whole.push((item, text.to_owned()));
        match event.get("response") {
            // What else it has is the request's.
            Some(response) => said(response.get("output").unwrap_or(&Value::Null), &mut shows),
            None => said(event, &mut shows),
        }
        Some(())
    }

    /// Whether each text of it is a text of the same item of a response.
    fn stands_in_items(&self, response: &Value) -> bool {
        let output = response.get("output").and_then(Value::as_array);
        let output = output.map(Vec::as_slice).unwrap_or_default();
        let of_items: Vec<HashSet<String>> = output
            .iter()
            .map(|item| {
                let mut texts = HashSet::new();
                said(item, &mut |text| {
                    texts.insert(text.to_owned());
                });
                texts
            })
            .collect();
        let stands = |item: Option<u64>, text: &str| match item {
            _ if text.is_empty() => true,
            Some(item) => usize::try_from(item)
                .ok()
                .and_then(|item| of_items.get(item))
                .is_some_and(|texts| texts.contains(text)),
            None => of_items.iter().any(|texts| texts.contains(text)),
        };
        self.pieces.iter().all(|((item, ..), text)| stands(*item, text))
            && self.whole.iter().all(|(item, text)| stands(*item, text))
    }

    /// Whether a response says all that was shown of it.
    pub(super) fn stands_in(&self, response: &[u8]) -> bool {
        read_strictly(response).is_some_and(|response| self.stands_in_items(&response))
    }
}
