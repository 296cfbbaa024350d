//! OpenAI responses: output items instead of choices, and streams of named, numbered events, of which the last
//! one holds the whole answer.

mod delivered;
mod error;
mod items;
mod judge;
mod objects;
mod outline;
mod replay;
mod request;
mod shown;
mod stream;
mod tools;

use kt_contract::pricing::CacheWrites;

use crate::demand::Manner;

pub(crate) use delivered::Response;
pub(crate) use error::error_event;
pub(crate) use judge::{ends_stream, fails_stream, judge};
pub(crate) use replay::{assembled, replay};
pub(crate) use request::read;

/// The path, here and at the provider.
pub(crate) const PATH: &str = "/v1/responses";

/// Outermost fields that are not in the key. Other than in chat, `user`, `metadata`, `safety_identifier` and
/// `prompt_cache_key` stay: a response repeats them, and nobody may be told another's.
pub(crate) const LEFT_OUT: &[&str] = &["model", "stream", "stream_options"];

/// Where [`crate::demand::Demand`] looks.
pub(crate) const MANNER: Manner = Manner {
    content: &["input"],
    limits: &["max_output_tokens"],
    cache_writes: CacheWrites::Short,
};

#[cfg(test)]
mod tests;
