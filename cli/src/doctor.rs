//! What `kt doctor` knows of the usual mistakes: facts become findings, each with what to do. Pure, but for
//! [`gather`], which finds the facts.

pub(crate) mod envoy_config;
mod envoy_lanes;
mod envoy_tls;
mod envoy_view;
pub(crate) mod finding;
pub(crate) mod gateway;
pub(crate) mod gather;
pub(crate) mod machine;
pub(crate) mod sidecar;
pub(crate) mod stores;
