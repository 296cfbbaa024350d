//! The exchange of one request as a sans-IO state machine, and what a worker holds across requests. Events
//! in, actions out: no proxy-wasm, no clock, no randomness. `filter/` translates for Envoy.
//!
//! A request's way: [`Exchange`] in `phase/start.rs` (head, identity) → `resolving.rs` (principal callout) →
//! `buffering.rs` (body, plan, L1) → `admitting.rs` (admit callout) → a reply, the lane, or directly to the
//! provider (`forwarded.rs`), counted where the sidecar is lost and a cap lets calls pass (`opening.rs`).

pub mod action;
mod ask;
pub mod breaker;
pub mod cache_control;
pub mod counter;
pub mod doorkeeper;
pub mod event;
mod exchange;
pub mod feed;
pub mod forward;
pub mod head;
pub mod hits;
pub mod identity;
pub mod l1;
pub mod lru;
pub mod pairs;
pub mod peer;
mod phase;
mod plan;
pub mod principals;
mod quoted;
pub mod refusals;
mod reply;
pub mod request_id;
#[cfg(feature = "script")]
pub mod script;
pub mod sidecar;
pub mod till;
mod turn;
pub mod worker;

pub use exchange::Exchange;
pub use worker::Worker;

#[cfg(test)]
mod tests;
