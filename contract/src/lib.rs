//! What the filter and the sidecar agree on: who asks ([`principal`]), what an answer is filed under
//! ([`gates`], [`key`]), what they say to each other ([`wire`]), what came of a request
//! ([`outcome`], [`problem`]), what it costs ([`money`]), and, behind the feature `config`, the
//! configuration file.
//!
//! A pure crate: no I/O, no clock, no randomness. It knows nothing of HTTP servers, Envoy or stores.

#[cfg(feature = "config")]
pub mod config;
pub mod constants;
mod fields;
pub mod gates;
pub mod gateway_key;
#[cfg(test)]
mod golden;
pub mod hex;
pub mod id;
pub mod idempotency;
pub mod identify;
pub mod identity;
pub mod json;
pub mod key;
pub mod limits;
pub mod money;
pub mod outcome;
pub mod policy;
pub mod pricing;
pub mod principal;
pub mod problem;
#[cfg(test)]
#[cfg(not(target_family = "wasm"))]
mod properties;
pub mod provider;
pub mod rate;
pub mod snapshot;
pub mod time;
pub mod trace;
pub mod wire;
