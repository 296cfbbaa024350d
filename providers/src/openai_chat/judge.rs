//! Is an answer complete? The body's part of the write rule. In doubt it is not: a refused answer costs one
//! call, a stored half answer is wrong for everybody who asks again.

use std::collections::BTreeMap;

use super::outline::Outline;
use super::usage::Told;
use crate::answer::{Complete, Incomplete, Recorded};
use crate::sse::{Data, Reader};

/// How much of a provider's word is repeated.
const WORD_CHARS_MAX: usize = 40;

/// See [`crate::Dialect::judge`].
pub(crate) fn judge(
    recorded: Recorded,
    body: &[u8],
    client_limited: bool,
) -> Result<Complete, Incomplete> {
    match recorded {
        Recorded::Json => judge_json(body, client_limited),
        Recorded::Sse => judge_sse(body, client_limited),
    }
}

/// Whether data is the stream's last word.
pub(crate) fn is_done(data: &[u8]) -> bool {
    data.trim_ascii() == b"[DONE]"
}

fn judge_json(body: &[u8], client_limited: bool) -> Result<Complete, Incomplete> {
    let outline = Outline::read(body)?;
    let has_all_messages = outline.choices.iter().flatten().all(|choice| choice.message.is_some());
    let mut verdict = Verdict::new(client_limited);
    verdict.take(outline)?;
    let complete = verdict.complete()?;
    if has_all_messages { Ok(complete) } else { Err(Incomplete::Malformed) }
}

fn judge_sse(body: &[u8], client_limited: bool) -> Result<Complete, Incomplete> {
    let mut verdict = Verdict::new(client_limited);
    let mut reader = Reader::default();
    let mut rest = body;
    let mut done = false;
    while let Some(event) = reader.next(&mut rest) {
        match (event.data, event.name) {
            (Data::TooLong, _) => return Err(Incomplete::EventTooLong),
            (Data::Whole(_), b"error") => return Err(Incomplete::ErrorInBand),
            (Data::Absent, _) | (Data::Whole(_), b"ping") => {}
            (Data::Whole(_), _) if done => return Err(Incomplete::AfterDone),
            (Data::Whole(data), _) if is_done(data) => done = true,
            // Within an event whose end has come, half a text is no cut: it came that way.
            (Data::Whole(data), _) => {
                let outline = Outline::read(data).map_err(|_| Incomplete::Malformed)?;
                verdict.take(outline)?;
            }
        }
    }
    if !done || !reader.is_between_events() || ends_within_line_end(body) {
        return Err(Incomplete::CutShort);
    }
    verdict.complete()
}

/// A stream of CRLF lines that ends in a CR lacks its last byte. Readers would not mind; but an entry is all
/// that the provider sent, or it is none.
fn ends_within_line_end(body: &[u8]) -> bool {
    body.ends_with(b"\r") && body.windows(2).any(|pair| pair == b"\r\n")
}

/// What is known of an answer while its chunks go by.
struct Verdict {
    client_limited: bool,
    /// Index → whether the choice has ended.
    choices: BTreeMap<u64, bool>,
    usage: Told,
    model: Option<String>,
}

// === impl Verdict ===

impl Verdict {
    const fn new(client_limited: bool) -> Self {
        Self { client_limited, choices: BTreeMap::new(), usage: Told::Nothing, model: None }
    }

    fn take(&mut self, outline: Outline) -> Result<(), Incomplete> {
        if outline.error.is_some() {
            return Err(Incomplete::ErrorInBand);
        }
        self.usage.tell(outline.usage.as_ref());
        // Azure's first chunk carries an empty model.
        let model = outline.model.filter(|model| !model.is_empty());
        self.model = self.model.take().or(model);
        for choice in outline.choices.into_iter().flatten() {
            if choice.error.is_some() {
                return Err(Incomplete::ErrorInBand);
            }
            let has_ended = self.choices.entry(choice.index.unwrap_or(0)).or_insert(false);
            // Some servers write an empty reason where others write null.
            if let Some(reason) = choice.finish_reason.filter(|reason| !reason.is_empty()) {
                if !is_storable(&reason, self.client_limited) {
                    let reason = reason.chars().take(WORD_CHARS_MAX).collect();
                    return Err(Incomplete::FinishReason { reason });
                }
                *has_ended = true;
            }
        }
        Ok(())
    }

    fn complete(self) -> Result<Complete, Incomplete> {
        if self.choices.is_empty() {
            return Err(Incomplete::NoChoices);
        }
        for (expected, (index, has_ended)) in (0..).zip(self.choices) {
            if expected != index || !has_ended {
                return Err(Incomplete::ChoiceUnfinished { index: expected });
            }
        }
        Ok(Complete { usage: self.usage.usage(), model: self.model })
    }
}

fn is_storable(finish_reason: &str, client_limited: bool) -> bool {
    match finish_reason {
        "stop" | "tool_calls" | "function_call" => true,
        "length" => client_limited,
        _ => false,
    }
}
