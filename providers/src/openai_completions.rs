//! OpenAI completions, the older sister of chat: a prompt in, text out.

mod assemble;
mod judge;
mod replay;
mod request;
mod stream;

use kt_contract::pricing::CacheWrites;

use crate::demand::Manner;

pub(crate) use assemble::assembled;
pub(crate) use judge::judge;
pub(crate) use replay::replay;
pub(crate) use request::{answers_made, read};

/// The path, here and at the provider.
pub(crate) const PATH: &str = "/v1/completions";

/// Outermost fields that are not in the key: those of chat completions, for the same reasons.
pub(crate) const LEFT_OUT: &[&str] = crate::openai_chat::LEFT_OUT;

/// Where [`crate::demand::Demand`] looks.
pub(crate) const MANNER: Manner =
    Manner { content: &[], limits: &["max_tokens"], cache_writes: CacheWrites::Short };

#[cfg(test)]
mod tests;
