//! Is an answer complete? A response is that says so, whose items all say so, and whose stream has told each of
//! them from its start to its end. In doubt it is not: a refused answer costs one call, a stored half answer is
//! wrong for everybody who asks again.

use std::collections::BTreeMap;

use super::outline::{Kind, Response, Told};
use crate::answer::{Complete, Incomplete, Recorded, Terms};
use crate::openai::judge::{is_done, is_error, shortened};
use crate::openai::usage;
use crate::outline::{each_event, read, read_event};

/// The events of which one ends a stream, each with a whole response.
const LAST: &[&str] = &["response.completed", "response.incomplete", "response.failed"];

/// The event that breaks a stream off. A response that has failed has ended, and says so itself.
const FAILED: &[&str] = &["error"];

/// See [`crate::Dialect::judge`].
pub(crate) fn judge(recorded: Recorded, body: &[u8], terms: Terms) -> Result<Complete, Incomplete> {
    match recorded {
        Recorded::Json => judge_response(&read(body)?, terms),
        Recorded::Sse => judge_sse(body, terms),
    }
}

/// Whether an event's data is the last word of a stream.
pub(crate) fn ends_stream(data: &[u8]) -> bool {
    is_one_of(LAST, data)
}

/// Whether an event says that the stream has failed.
pub(crate) fn fails_stream(name: &[u8], data: &[u8]) -> bool {
    is_error(name, data) || is_one_of(FAILED, data)
}

fn is_one_of(kinds: &[&str], data: &[u8]) -> bool {
    // Providers write the type first; reading every event as JSON would cost more than all else that is done
    // with it.
    let first = data.strip_prefix(br#"{"type":""#);
    match first.and_then(|rest| rest.split(|byte| *byte == b'"').next()) {
        Some(kind) if !kind.contains(&b'\\') => kinds.iter().any(|known| known.as_bytes() == kind),
        Some(_) | None => serde_json::from_slice::<Kind<'_>>(data)
            .is_ok_and(|event| kinds.contains(&event.kind.as_ref())),
    }
}

fn judge_response(response: &Response, terms: Terms) -> Result<Complete, Incomplete> {
    if response.error.is_some() {
        return Err(Incomplete::ErrorInBand);
    }
    let limited = is_limited(response, terms)?;
    let items = response.output.as_deref().unwrap_or_default();
    if items.is_empty() {
        return Err(Incomplete::NoOutput);
    }
    for (index, item) in (0..).zip(items) {
        let has_ended = match item.status.as_deref() {
            // Reasoning and some others have no status: they come whole.
            None | Some("completed") => true,
            Some("incomplete") => limited,
            Some(_) => false,
        };
        if !has_ended || item.error.is_some() {
            return Err(Incomplete::ItemUnfinished { index });
        }
    }
    let model = response.model.clone().filter(|model| !model.is_empty());
    Ok(Complete { usage: response.usage.as_deref().and_then(usage::of_response), model })
}

/// Whether a response that may be stored ended by the client's own limit, and not by itself.
fn is_limited(response: &Response, terms: Terms) -> Result<bool, Incomplete> {
    let reason = response.incomplete_details.as_ref().map(|details| details.reason.as_deref());
    match (response.status.as_deref(), reason) {
        (Some("completed"), None) => Ok(false),
        (Some("incomplete"), Some(Some("max_output_tokens"))) if terms.client_limited => Ok(true),
        (Some("completed" | "incomplete"), reason) => {
            let reason = shortened(reason.flatten().unwrap_or("incomplete"));
            Err(Incomplete::FinishReason { reason })
        }
        (Some("failed"), _) => Err(Incomplete::ErrorInBand),
        (status, _) => Err(Incomplete::Status { status: shortened(status.unwrap_or_default()) }),
    }
}

fn judge_sse(body: &[u8], terms: Terms) -> Result<Complete, Incomplete> {
    let mut telling = Telling::default();
    let mut done = false;
    each_event(body, |name, data| {
        if name == b"keepalive" {
            return Ok(());
        }
        // Not OpenAI's; some gateways end every stream so.
        if is_done(data) && !done {
            done = true;
            return Ok(());
        }
        if done || telling.last.is_some() {
            return Err(Incomplete::AfterDone);
        }
        telling.take(name, read_event(data)?)
    })?;
    telling.complete(terms)
}

/// What is known of an answer while its events go by.
#[derive(Default)]
struct Telling {
    /// Output index → whether the item has ended.
    items: BTreeMap<u64, bool>,
    last: Option<Response>,
}

// === impl Telling ===

impl Telling {
    fn take(&mut self, name: &[u8], told: Told) -> Result<(), Incomplete> {
        let Told { kind, response, output_index, error } = told;
        if error.is_some() {
            return Err(Incomplete::ErrorInBand);
        }
        // Who reads names and who reads types must read the same.
        let kind = kind.ok_or(Incomplete::Malformed)?;
        if !name.is_empty() && name != kind.as_bytes() {
            return Err(Incomplete::Malformed);
        }
        match kind.as_str() {
            "error" | "response.failed" => return Err(Incomplete::ErrorInBand),
            "response.completed" | "response.incomplete" => {
                let response = response.ok_or(Incomplete::Malformed)?;
                if response.status.as_deref() != kind.strip_prefix("response.") {
                    return Err(Incomplete::Malformed);
                }
                self.last = Some(response);
            }
            "response.output_item.added" => {
                let index = output_index.ok_or(Incomplete::Malformed)?;
                if self.items.insert(index, false).is_some() {
                    return Err(Incomplete::Malformed);
                }
            }
            "response.output_item.done" => {
                let index = output_index.ok_or(Incomplete::Malformed)?;
                if self.items.insert(index, true) != Some(false) {
                    return Err(Incomplete::Malformed);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn complete(self, terms: Terms) -> Result<Complete, Incomplete> {
        let last = self.last.ok_or(Incomplete::CutShort)?;
        let complete = judge_response(&last, terms)?;
        if let Some((index, _)) = self.items.iter().find(|(_, has_ended)| !**has_ended) {
            return Err(Incomplete::ItemUnfinished { index: *index });
        }
        // What the last event holds is what the stream has told.
        if self.items.len() != last.output.map_or(0, |items| items.len()) {
            return Err(Incomplete::Malformed);
        }
        Ok(complete)
    }
}
