//! Is an answer complete? The body's part of the write rule. In doubt it is not: a refused answer costs one
//! call, a stored half answer is wrong for everybody who asks again.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::outline::{Event, Message};
use super::usage::Told;
use crate::answer::{Complete, Incomplete, Recorded, Terms};
use crate::openai::judge::{is_error, may_be_error, shortened};
use crate::outline::{each_event, read, read_event};

/// See [`crate::Dialect::judge`].
pub(crate) fn judge(recorded: Recorded, body: &[u8], terms: Terms) -> Result<Complete, Incomplete> {
    match recorded {
        Recorded::Json => judge_json(body, terms),
        Recorded::Sse => judge_sse(body, terms),
    }
}

/// Whether data is the stream's last word, `message_stop`.
pub(crate) fn ends_stream(data: &[u8]) -> bool {
    is_kind("message_stop", data)
}

/// Whether an event is an error: by its name, by its type, or by an `error` among its outermost fields.
pub(crate) fn fails_stream(name: &[u8], data: &[u8]) -> bool {
    is_error(name, data) || may_be_error(data) && is_kind("error", data)
}

fn is_kind(expected: &str, data: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Kind<'a> {
        #[serde(rename = "type", borrow)]
        kind: &'a str,
    }
    serde_json::from_slice(data).is_ok_and(|Kind { kind }| kind == expected)
}

fn judge_json(body: &[u8], terms: Terms) -> Result<Complete, Incomplete> {
    let message: Message = read(body)?;
    match message.kind.as_deref() {
        Some("message") => {}
        Some("error") => return Err(Incomplete::ErrorInBand),
        Some(_) | None => return Err(Incomplete::Malformed),
    }
    if message.content.is_none() {
        return Err(Incomplete::Malformed);
    }
    let reason = message.stop_reason.ok_or(Incomplete::NoStopReason)?;
    storable(&reason, terms)?;
    let mut usage = Told::default();
    usage.tell(message.usage.as_deref());
    Ok(Complete { usage: usage.usage(), model: message.model })
}

fn judge_sse(body: &[u8], terms: Terms) -> Result<Complete, Incomplete> {
    let mut verdict = Verdict::new(terms);
    each_event(body, |name, data| {
        if verdict.is_done {
            return Err(Incomplete::AfterDone);
        }
        let event: Event = read_event(data)?;
        // SDKs go by the name, other readers by the type: they must mean the same.
        if event.kind.as_deref().map(str::as_bytes) != Some(name) {
            return Err(match event.kind.as_deref() {
                Some("error") => Incomplete::ErrorInBand,
                Some(_) | None => Incomplete::Malformed,
            });
        }
        verdict.take(event)
    })?;
    if verdict.is_done { verdict.complete() } else { Err(Incomplete::CutShort) }
}

/// What is known of an answer while its events go by.
struct Verdict {
    terms: Terms,
    has_started: bool,
    /// Index → whether the block is closed.
    blocks: BTreeMap<u64, bool>,
    has_ended: bool,
    /// How the message ended, where that is not stored. It counts when all has come: a stream that breaks off
    /// behind it is cut short as any other.
    ended_badly: Option<Incomplete>,
    is_done: bool,
    usage: Told,
    /// Whether the end has told usage. Until then its output is what there was at the start.
    has_last_usage: bool,
    model: Option<String>,
}

// === impl Verdict ===

impl Verdict {
    fn new(terms: Terms) -> Self {
        Self {
            terms,
            has_started: false,
            blocks: BTreeMap::new(),
            has_ended: false,
            ended_badly: None,
            is_done: false,
            usage: Told::default(),
            has_last_usage: false,
            model: None,
        }
    }

    fn take(&mut self, event: Event) -> Result<(), Incomplete> {
        if event.error.is_some() {
            return Err(Incomplete::ErrorInBand);
        }
        let kind = event.kind.as_deref().unwrap_or_default();
        if self.has_started == (kind == "message_start") {
            return Err(Incomplete::Malformed);
        }
        match kind {
            "message_start" => self.start(event),
            "content_block_start" => match (event.index, event.content_block) {
                (Some(index), Some(_)) if self.blocks.insert(index, false).is_none() => Ok(()),
                (Some(_) | None, Some(_) | None) => Err(Incomplete::Malformed),
            },
            "content_block_delta" if event.delta.is_none() => Err(Incomplete::Malformed),
            "content_block_delta" => self.open_block(event.index).map(|_| ()),
            "content_block_stop" => {
                *self.open_block(event.index)? = true;
                Ok(())
            }
            "message_delta" => self.end(event),
            "message_stop" => {
                self.is_done = true;
                Ok(())
            }
            // The API reserves itself the right to new events; SDKs skip them.
            _ => Ok(()),
        }
    }

    fn start(&mut self, event: Event) -> Result<(), Incomplete> {
        let message = event.message.ok_or(Incomplete::Malformed)?;
        if message.kind.as_deref() != Some("message") {
            return Err(Incomplete::Malformed);
        }
        self.has_started = true;
        self.usage.tell(message.usage.as_deref());
        self.model = message.model;
        Ok(())
    }

    /// A block that has been opened and not closed.
    fn open_block(&mut self, index: Option<u64>) -> Result<&mut bool, Incomplete> {
        let block = index.and_then(|index| self.blocks.get_mut(&index));
        block.filter(|is_closed| !**is_closed).ok_or(Incomplete::Malformed)
    }

    fn end(&mut self, event: Event) -> Result<(), Incomplete> {
        let delta = event.delta.ok_or(Incomplete::Malformed)?;
        self.usage.tell(event.usage.as_deref());
        self.has_last_usage |= event.usage.is_some();
        if let Some(reason) = delta.stop_reason {
            match storable(&reason, self.terms) {
                Ok(()) => self.has_ended = true,
                Err(bad_end) => _ = self.ended_badly.get_or_insert(bad_end),
            }
        }
        Ok(())
    }

    fn complete(self) -> Result<Complete, Incomplete> {
        if let Some(bad_end) = self.ended_badly {
            return Err(bad_end);
        }
        for (expected, (index, is_closed)) in (0..).zip(self.blocks) {
            if expected != index || !is_closed {
                return Err(Incomplete::BlockUnfinished { index: expected });
            }
        }
        if !self.has_ended {
            return Err(Incomplete::NoStopReason);
        }
        let usage = self.usage.usage().filter(|_| self.has_last_usage);
        Ok(Complete { usage, model: self.model })
    }
}

fn storable(stop_reason: &str, terms: Terms) -> Result<(), Incomplete> {
    match stop_reason {
        "end_turn" | "tool_use" | "stop_sequence" => Ok(()),
        "max_tokens" if terms.client_limited => Ok(()),
        // `pause_turn` waits for more, `refusal` is for this moment, and a full context window is nobody's wish.
        _ => Err(Incomplete::FinishReason { reason: shortened(stop_reason) }),
    }
}
