//! OpenAI chat completions: one file per question. What the files share is here: the path, and what of a
//! request is identity.

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

/// Where [`crate::demand::Demand`] looks.
pub(crate) const MANNER: Manner = Manner {
    content: &["messages"],
    limits: &["max_tokens", "max_completion_tokens"],
    cache_writes: CacheWrites::Short,
};

#[cfg(test)]
mod tests;
