//! Envoy as `kt` uses it: the binary, its bootstrap configuration, and the credentials that it reads.

pub(crate) mod binary;
pub(crate) mod bootstrap;
mod clusters;
pub(crate) mod credentials;
pub(crate) mod identities;
pub(crate) mod listeners;
mod local_replies;
mod routes;
pub(crate) mod template;
