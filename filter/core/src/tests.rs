//! The whole machine under test: one worker, one exchange at a time, and every callout answered by hand.

mod answers;
mod behaviors;
mod endpoints;
mod feed;
mod freshness;
mod hits;
mod identities;
mod keyed;
mod loss;
mod open;
mod policies;
mod rig;
mod scripts;
mod slow;
