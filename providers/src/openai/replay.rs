//! Tells a stored answer in the shape that a client wants, in the dialects whose streams end with `[DONE]` and
//! hide their usage chunk. Where recording and wish have the same shape, the recorded bytes are the answer.

use std::borrow::Cow;

use kt_contract::wire::admit::ReplyShape;
use serde_json::Value;

use super::hide::UsageHider;
use crate::answer::{CannotReplay, Complete, Incomplete, Recorded, Replay, Terms};

/// What a dialect can do with its answers.
#[derive(Clone, Copy)]
pub(crate) struct Tongue {
    pub(crate) judge: fn(Recorded, &[u8], Terms) -> Result<Complete, Incomplete>,
    pub(crate) assemble: fn(&[u8]) -> Result<Value, CannotReplay>,
    pub(crate) stream: fn(&[u8], bool) -> Result<Vec<u8>, CannotReplay>,
}

/// See [`crate::Dialect::replay`].
pub(crate) fn replay(
    tongue: Tongue,
    recorded: Recorded,
    body: &[u8],
    want: ReplyShape,
) -> Result<Replay<'_>, CannotReplay> {
    // Streams are recorded with usage asked for: where none came, a live answer has none either.
    let include_usage = want == ReplyShape::Sse { include_usage: true };
    let to_sse = |body: &[u8]| tongue.to_sse(body, include_usage);
    let mut replay = Replay::of((recorded, body), want, |body| tongue.to_json(body), to_sse)?;
    if recorded == Recorded::Sse && want == (ReplyShape::Sse { include_usage: false }) {
        replay.body = without_usage(body);
    }
    Ok(replay)
}

fn without_usage(body: &[u8]) -> Cow<'_, [u8]> {
    let mut kept = Vec::with_capacity(body.len());
    let mut hider = UsageHider::default();
    hider.push(body, &mut kept);
    hider.finish(&mut kept);
    if kept.len() == body.len() { Cow::Borrowed(body) } else { Cow::Owned(kept) }
}

// === impl Tongue ===

impl Tongue {
    fn to_json(self, body: &[u8]) -> Result<Vec<u8>, CannotReplay> {
        let complete = (self.judge)(Recorded::Sse, body, Terms::STORED)?;
        // A JSON answer always has usage, and SDKs hand it on.
        complete.usage.ok_or(CannotReplay::NoUsage)?;
        Ok((self.assemble)(body)?.to_string().into_bytes())
    }

    fn to_sse(self, body: &[u8], include_usage: bool) -> Result<Vec<u8>, CannotReplay> {
        let complete = (self.judge)(Recorded::Json, body, Terms::STORED)?;
        if include_usage && complete.usage.is_none() {
            return Err(CannotReplay::NoUsage);
        }
        (self.stream)(body, include_usage)
    }
}
