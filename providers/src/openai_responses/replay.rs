//! Tells a stored answer in the shape that a client wants. A stream ends with the whole response, so that the way
//! to JSON is to take it from there, byte for byte; the way back is in [`super::stream`].

use kt_contract::wire::admit::ReplyShape;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::judge::{ends_stream, judge};
use super::shown::Shown;
use super::stream;
use crate::answer::{CannotReplay, Recorded, Replay, Terms};
use crate::openai::merge::ambiguous;
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
    Replay::of((recorded, body), want, to_json, to_sse)
}

fn to_json(body: &[u8]) -> Result<Vec<u8>, CannotReplay> {
    judge(Recorded::Sse, body, Terms::STORED)?;
    last(body).ok_or_else(|| ambiguous("response"))
}

/// See [`crate::Dialect::assembled`]. The last event says it all again; where that is not what the events before it have
/// shown, nobody can tell what was said.
pub(crate) fn assembled(body: &[u8]) -> Option<Vec<u8>> {
    let last = last(body)?;
    Shown::of(body)?.stands_in(&last).then_some(last)
}

fn last(body: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader::default();
    let mut rest = body;
    while let Some(event) = reader.next(&mut rest) {
        if let Data::Whole(data) = event.data
            && ends_stream(data)
        {
            let last: Last<'_> = serde_json::from_slice(data).ok()?;
            return Some(last.response.get().as_bytes().to_vec());
        }
    }
    None
}

fn to_sse(body: &[u8]) -> Result<Vec<u8>, CannotReplay> {
    let complete = judge(Recorded::Json, body, Terms::STORED)?;
    stream::stream(body, complete.usage.is_some())
}
