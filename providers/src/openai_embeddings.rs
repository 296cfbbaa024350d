//! OpenAI embeddings: texts in, vectors out, always as one JSON object.

mod judge;
mod outline;
mod request;

use std::borrow::Cow;

use kt_contract::pricing::CacheWrites;
use kt_contract::wire::admit::ReplyShape;

use crate::answer::{CONTENT_TYPE_JSON, CannotReplay, Recorded, Replay};
use crate::demand::Manner;

pub(crate) use judge::judge;
pub(crate) use request::read;

/// The path, here and at the provider.
pub(crate) const PATH: &str = "/v1/embeddings";

/// Outermost fields that are not in the key. `encoding_format` stays: a vector in base64 is not told as numbers.
pub(crate) const LEFT_OUT: &[&str] = &["model", "user"];

/// See [`crate::Dialect::replay`].
pub(crate) const fn replay(
    recorded: Recorded,
    body: &[u8],
    want: ReplyShape,
) -> Result<Replay<'_>, CannotReplay> {
    match (recorded, want) {
        (Recorded::Json, ReplyShape::Json) => {
            Ok(Replay { content_type: CONTENT_TYPE_JSON, body: Cow::Borrowed(body) })
        }
        (Recorded::Sse, _) | (Recorded::Json, ReplyShape::Sse { .. }) => {
            Err(CannotReplay::NoStream)
        }
    }
}

/// Where [`crate::demand::Demand`] looks.
pub(crate) const MANNER: Manner =
    Manner { content: &[], limits: &[], cache_writes: CacheWrites::None };

#[cfg(test)]
mod tests;
