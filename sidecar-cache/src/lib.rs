//! The shared cache of a gateway group: it admits requests, owns their flights, stores complete answers, and
//! knows the gateway keys.
//!
//! [`http`] turns bytes into messages and refusals into statuses; [`service`] holds the use cases;
//! [`store`] keeps things. Beside them stand pure modules, where time and randomness are arguments: which
//! request leads ([`flight`]), what sidecars tell each other of it ([`flight_text`]) and how nobody else does ([`flight_seal`]), who may take the lane ([`ticket`]), what an entry is ([`entry`]) and how long
//! it lives ([`freshness`]), what an
//! invalidation voids ([`generation`]), what an upstream answer means ([`attempt`]), what a call may cost
//! ([`reserve`]), what of a shared wallet is reserved in memory ([`allotment`]), what is on record of requests ([`audit_log`]), what an `Idempotency-Key` is worth ([`idempotency`]), who comes too often ([`rate_limit`]), and what a Redis may send ([`resp`]).

pub mod allotment;
pub mod attempt;
pub mod audit_log;
#[cfg(feature = "server")]
pub mod cache_backend;
#[cfg(feature = "server")]
pub mod clock;
#[cfg(feature = "server")]
pub mod config_file;
pub mod confirmed;
pub mod entry;
pub mod flight;
pub mod flight_seal;
pub mod flight_text;
pub mod freshness;
pub mod generation;
#[cfg(feature = "server")]
pub mod http;
pub mod idempotency;
pub mod ledger;
#[cfg(feature = "server")]
pub mod metrics;
#[cfg(feature = "server")]
pub mod random;
pub mod rate_limit;
#[cfg(feature = "server")]
pub mod report;
pub mod reserve;
pub mod resp;
#[cfg(feature = "server")]
pub mod service;
pub mod skew;
pub mod store;
pub mod ticket;
#[cfg(feature = "server")]
pub mod tokens;
#[cfg(feature = "server")]
pub mod trace;
