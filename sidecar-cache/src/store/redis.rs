//! Redis, as far as it can be decided without one: what it may send, and whether it is asked at all.

pub mod breaker;
pub mod resp;
