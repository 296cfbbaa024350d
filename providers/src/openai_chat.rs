//! OpenAI chat completions: one file per question. What the files share is here: the path, and what of a
//! request is identity.

mod assemble;
mod error;
mod hide;
mod judge;
mod merge;
mod outline;
mod replay;
mod request;
mod splice;
mod stream;
mod usage;

pub(crate) use error::{error_body, error_event};
pub use hide::UsageHider;
pub(crate) use judge::{is_done, judge};
pub(crate) use replay::replay;
pub(crate) use request::read;
pub(crate) use splice::with_usage;

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

#[cfg(test)]
mod tests;
