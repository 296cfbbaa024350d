//! The phases of an exchange. Each owns what it needs and nothing else; each has a file that says what it
//! does about every event.

pub(crate) mod admitting;
pub(crate) mod buffering;
pub(crate) mod forwarded;
pub(crate) mod opening;
pub(crate) mod planned;
pub(crate) mod resolving;
pub(crate) mod start;

use admitting::Admitting;
use buffering::Buffering;
use forwarded::{Direct, OnLane};
use opening::Opening;
use resolving::Resolving;

/// Where an exchange is.
#[derive(Debug, Default)]
pub(crate) enum Phase {
    /// Nothing has come yet.
    #[default]
    Start,
    /// The sidecar is asked who stands behind the key.
    Resolving(Resolving),
    /// The caller is known; the body comes in.
    Buffering(Buffering),
    /// The sidecar is asked for the answer, or for a ticket.
    Admitting(Box<Admitting>),
    /// The sidecar is lost, and the call is being counted.
    Opening(Box<Opening>),
    /// The filter has answered.
    Replied,
    /// The sidecar serves the request.
    OnLane(OnLane),
    /// A provider serves the request, because the sidecar is lost.
    Direct(Direct),
    /// Nothing is left to do.
    Done,
}
