//! What kt knows of provider dialects: is a request ours, what does it ask, is an answer complete, how is a
//! stored answer told again in the shape somebody wants, and how are refusals worded.
//!
//! A pure crate: bytes in, values out; no I/O, no clock, no randomness. It never decides whether an answer
//! is stored or who may see it; it only says what the answer is.

mod answer;
mod anthropic_messages;
mod countable;
mod delivered;
mod demand;
mod dialect;
mod endpoint;
mod format;
#[cfg(test)]
mod golden;
mod openai;
mod openai_chat;
mod openai_completions;
mod openai_embeddings;
mod openai_responses;
mod outline;
mod recognize;
mod spoken;
pub mod sse;
mod usage;

pub use answer::{CannotReplay, Complete, Incomplete, Recorded, Replay, Terms, Usage};
pub use countable::Countable;
pub use delivered::{Delivered, Meter};
pub use demand::Demand;
pub use dialect::{Asked, Dialect};
pub use endpoint::Endpoint;
pub use format::{Form, Formed, Part, Said, Unread, read_strictly};
pub use openai::UsageHider;
pub use recognize::{Recognized, recognize};
pub use spoken::{Piece, Spoken};
