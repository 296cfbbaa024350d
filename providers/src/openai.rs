//! What the OpenAI dialects have in common. A dialect's own folder has what is its own.

pub(crate) mod assemble;
pub(crate) mod count;
pub(crate) mod delivered;
mod error;
pub(crate) mod hide;
pub(crate) mod judge;
pub(crate) mod merge;
pub(crate) mod outline;
pub(crate) mod replay;
pub(crate) mod request;
mod splice;
pub(crate) mod tell;
pub(crate) mod usage;

pub(crate) use error::{error_body, error_event};
pub use hide::UsageHider;
pub(crate) use splice::with_usage;

/// Headers that can change the answer.
pub(crate) const SEMANTIC_HEADERS: &[&str] = &["openai-beta"];
