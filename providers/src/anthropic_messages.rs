//! Anthropic messages: one file per question. What the files share is here: the path, and what of a request
//! is identity.

mod assemble;
mod block;
mod delivered;
mod error;
mod judge;
mod outline;
mod replay;
mod request;
mod stream;
mod tools;
mod usage;

use kt_contract::pricing::CacheWrites;

use crate::demand::Manner;

pub(crate) use assemble::assembled;
pub(crate) use delivered::Message;
pub(crate) use error::{error_body, error_event};
pub(crate) use judge::{ends_stream, fails_stream, judge};
pub(crate) use replay::replay;
pub(crate) use request::read;

/// The path, here and at the provider.
pub(crate) const PATH: &str = "/v1/messages";

/// Outermost fields that are not in the key. `model` is in the model gate, as it is served; `metadata` says
/// on whose behalf a request is made and cannot change the answer.
pub(crate) const LEFT_OUT: &[&str] = &["model", "stream", "metadata"];

/// Headers that can change the answer. A request without `anthropic-version` goes on without it: the provider
/// refuses that, and says how to mend it.
pub(crate) const SEMANTIC_HEADERS: &[&str] = &["anthropic-version", "anthropic-beta"];

/// Where [`crate::demand::Demand`] looks.
pub(crate) const MANNER: Manner = Manner {
    content: &["system", "messages"],
    limits: &["max_tokens"],
    cache_writes: CacheWrites::None,
};

#[cfg(test)]
mod tests;
