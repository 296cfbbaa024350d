//! What policies find in texts, and what follows: personal data and secrets ([`scan`]), an operator's terms and patterns
//! ([`words`]), and hints of injection and toxicity; the [`Chain`] of them over a JSON body, and over a [`Stream`]. Pure,
//! linear in time, and never a panic: it runs inside Envoy.
#![forbid(unsafe_code)]

mod answer;
mod bytes;
mod chain;
mod detect;
mod disguise;
mod entity;
mod fold;
mod input;
mod json;
mod marks;
mod scan;
mod stream;
mod text;
mod window;

pub mod injection;
#[cfg(feature = "judges")]
pub mod judge;
pub mod toxicity;
pub mod words;

pub use answer::{Policed, police};
pub use chain::{Blocked, Chain, Irreplaceable, Triggered, Verdict};
pub use entity::{Entity, EntitySet, Family, Finding};
pub use input::{Passed, Refused, Request, check};
pub use json::{Edit, Written, said, splice};
pub use scan::{scan, settled};
pub use stream::{Event, Piece, Stream};
pub use window::{HOLD_BYTES_MAX, Settled, Window};
