//! OpenAI chat completions: one file per question. What the files share is here: the path, and what of a
//! request is identity.

mod error;
mod request;

pub(crate) use error::{error_body, error_event};
pub(crate) use request::read;

/// The path, here and at the provider.
pub(crate) const PATH: &str = "/v1/chat/completions";

/// Outermost fields that are not in the key. `model` is in the model gate, as it is served. The rest cannot
/// change the answer. `store` stays in the key although it does not change the answer either: it asks the
/// provider for a side effect, so a request with it is another request.
pub(crate) const LEFT_OUT: &[&str] = &[
    "model",
    "stream",
    "stream_options",
    "user",
    "metadata",
    "safety_identifier",
    "prompt_cache_key",
];

/// Headers that can change the answer.
pub(crate) const SEMANTIC_HEADERS: &[&str] = &["openai-beta"];

// Until judge, replay, splice and hide have their files: nothing is complete, nothing is told in another
// shape than its own, nothing is hidden. Nothing false is said.

use kt_contract::wire::admit::ReplyShape;

use crate::answer::{CannotReplay, Complete, Incomplete, Recorded, Replay};

pub(crate) fn judge(_: Recorded, _: &[u8], _: bool) -> Result<Complete, Incomplete> {
    Err(Incomplete::CutShort)
}

pub(crate) fn replay(_: Recorded, _: &[u8], _: ReplyShape) -> Result<Replay<'_>, CannotReplay> {
    Err(CannotReplay::NoUsage)
}

pub(crate) const fn with_usage(_: &[u8]) -> Option<Vec<u8>> {
    None
}

/// Drops the usage chunk of a live stream for a client that did not ask for it.
#[derive(Debug, Default)]
pub struct UsageHider(());

impl UsageHider {
    /// Takes the next bytes of the stream and appends to `out` what the client may have.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(bytes);
    }

    /// Takes the end of the stream and appends to `out` what was held back.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let _ = out;
    }
}
