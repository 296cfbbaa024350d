//! Tells a stored answer in the shape that a client wants. Where recording and wish have the same shape, the
//! recorded bytes are the answer; the two conversions are in [`super::assemble`] and [`super::stream`].

use std::borrow::Cow;

use kt_contract::wire::admit::ReplyShape;

use super::hide::UsageHider;
use super::{assemble, judge, stream};
use crate::answer::{CannotReplay, Recorded, Replay};

const CONTENT_TYPE_JSON: &str = "application/json";
const CONTENT_TYPE_SSE: &str = "text/event-stream; charset=utf-8";

/// See [`crate::Dialect::replay`].
pub(crate) fn replay(
    recorded: Recorded,
    body: &[u8],
    want: ReplyShape,
) -> Result<Replay<'_>, CannotReplay> {
    let (content_type, body) = match (recorded, want) {
        (Recorded::Json, ReplyShape::Json) => (CONTENT_TYPE_JSON, Cow::Borrowed(body)),
        // Streams are recorded with usage asked for: where none came, a live answer has none either.
        (Recorded::Sse, ReplyShape::Sse { include_usage: true }) => {
            (CONTENT_TYPE_SSE, Cow::Borrowed(body))
        }
        (Recorded::Sse, ReplyShape::Sse { include_usage: false }) => {
            (CONTENT_TYPE_SSE, without_usage(body))
        }
        (Recorded::Sse, ReplyShape::Json) => (CONTENT_TYPE_JSON, Cow::Owned(to_json(body)?)),
        (Recorded::Json, ReplyShape::Sse { include_usage }) => {
            (CONTENT_TYPE_SSE, Cow::Owned(to_sse(body, include_usage)?))
        }
    };
    Ok(Replay { content_type, body })
}

fn without_usage(body: &[u8]) -> Cow<'_, [u8]> {
    let mut kept = Vec::with_capacity(body.len());
    let mut hider = UsageHider::default();
    hider.push(body, &mut kept);
    hider.finish(&mut kept);
    if kept.len() == body.len() { Cow::Borrowed(body) } else { Cow::Owned(kept) }
}

// Whether the client set the length limit was judged when the entry was made, and is in its key.
const CLIENT_LIMITED: bool = true;

fn to_json(body: &[u8]) -> Result<Vec<u8>, CannotReplay> {
    let complete = judge(Recorded::Sse, body, CLIENT_LIMITED)?;
    // A JSON answer always has usage, and SDKs hand it on.
    complete.usage.ok_or(CannotReplay::NoUsage)?;
    Ok(assemble::assemble(body)?.to_string().into_bytes())
}

fn to_sse(body: &[u8], include_usage: bool) -> Result<Vec<u8>, CannotReplay> {
    let complete = judge(Recorded::Json, body, CLIENT_LIMITED)?;
    if include_usage && complete.usage.is_none() {
        return Err(CannotReplay::NoUsage);
    }
    stream::stream(body, include_usage)
}
