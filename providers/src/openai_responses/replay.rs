//! Tells a stored answer in the shape that a client wants. A stream ends with the whole response, so that the way
//! to JSON is to take it from there, byte for byte; the way back is in [`super::stream`].

use std::borrow::Cow;

use kt_contract::wire::admit::ReplyShape;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::judge::{ends_stream, judge};
use super::stream;
use crate::answer::{CannotReplay, Recorded, Replay, Terms};
use crate::openai::merge::ambiguous;
use crate::openai::replay::{CONTENT_TYPE_JSON, CONTENT_TYPE_SSE};
use crate::sse::{Data, Reader};

/// The last event of a stream.
#[derive(Deserialize)]
struct Last<'a> {
    #[serde(borrow)]
    response: &'a RawValue,
}

/// See [`crate::Dialect::replay`].
pub(crate) fn replay(
    recorded: Recorded,
    body: &[u8],
    want: ReplyShape,
) -> Result<Replay<'_>, CannotReplay> {
    let (content_type, body) = match (recorded, want) {
        (Recorded::Json, ReplyShape::Json) => (CONTENT_TYPE_JSON, Cow::Borrowed(body)),
        (Recorded::Sse, ReplyShape::Sse { .. }) => (CONTENT_TYPE_SSE, Cow::Borrowed(body)),
        (Recorded::Sse, ReplyShape::Json) => (CONTENT_TYPE_JSON, Cow::Owned(to_json(body)?)),
        (Recorded::Json, ReplyShape::Sse { .. }) => (CONTENT_TYPE_SSE, Cow::Owned(to_sse(body)?)),
    };
    Ok(Replay { content_type, body })
}

fn to_json(body: &[u8]) -> Result<Vec<u8>, CannotReplay> {
    judge(Recorded::Sse, body, Terms::STORED)?;
    let mut reader = Reader::default();
    let mut rest = body;
    while let Some(event) = reader.next(&mut rest) {
        if let Data::Whole(data) = event.data
            && ends_stream(data)
        {
            let last: Last<'_> = serde_json::from_slice(data).map_err(|_| ambiguous("response"))?;
            return Ok(last.response.get().as_bytes().to_vec());
        }
    }
    Err(ambiguous("response"))
}

fn to_sse(body: &[u8]) -> Result<Vec<u8>, CannotReplay> {
    let complete = judge(Recorded::Json, body, Terms::STORED)?;
    stream::stream(body, complete.usage.is_some())
}
