//! Tells a stored answer in the shape that a client wants. Where recording and wish have the same shape, the
//! recorded bytes are the answer; the two conversions are in [`super::assemble`] and [`super::stream`].

use std::borrow::Cow;

use kt_contract::wire::admit::ReplyShape;

use super::{assemble, judge, stream};
use crate::answer::{CannotReplay, Recorded, Replay, Terms};
use crate::openai::replay::{CONTENT_TYPE_JSON, CONTENT_TYPE_SSE};

/// See [`crate::Dialect::replay`].
pub(crate) fn replay(
    recorded: Recorded,
    body: &[u8],
    want: ReplyShape,
) -> Result<Replay<'_>, CannotReplay> {
    let (content_type, body) = match (recorded, want) {
        (Recorded::Json, ReplyShape::Json) => (CONTENT_TYPE_JSON, Cow::Borrowed(body)),
        (Recorded::Sse, ReplyShape::Sse { .. }) => (CONTENT_TYPE_SSE, Cow::Borrowed(body)),
        (Recorded::Sse, ReplyShape::Json) => {
            expect_usage(recorded, body)?;
            (CONTENT_TYPE_JSON, Cow::Owned(assemble::assemble(body)?))
        }
        (Recorded::Json, ReplyShape::Sse { .. }) => {
            expect_usage(recorded, body)?;
            (CONTENT_TYPE_SSE, Cow::Owned(stream::stream(body)?))
        }
    };
    Ok(Replay { content_type, body })
}

/// Both shapes always have usage, and SDKs hand it on.
fn expect_usage(recorded: Recorded, body: &[u8]) -> Result<(), CannotReplay> {
    let complete = judge(recorded, body, Terms::STORED)?;
    complete.usage.map(|_| ()).ok_or(CannotReplay::NoUsage)
}
