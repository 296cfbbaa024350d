//! What filter and sidecar say to each other, over HTTP on the sidecar's Unix socket.
//!
//! Every request and reply names [`VERSION`]; a reply without the marker header did not come from a
//! sidecar (Envoy answers for a lost one), and one of another version is treated as a lost sidecar.
//! Golden files in `tests/fixtures/wire` hold samples of every message.

pub mod admin;
pub mod admit;
pub mod explain;
pub mod feed;
pub mod headers;
pub mod open_calls;
pub mod principal;

/// The version of everything in here. Changes with any change of meaning.
pub const VERSION: u16 = 10;
/// The same, as the header of every reply says it.
pub const VERSION_TEXT: &str = "10";

/// The path of the admit callout.
pub const PATH_ADMIT: &str = "/v1/admit";
/// The path of the change feed.
pub const PATH_FEED: &str = "/v1/feed";
/// The path on which gateways tell what they have let pass without the sidecar.
pub const PATH_OPEN_CALLS: &str = "/v1/open-calls";
/// The path of the principal lookup.
pub const PATH_PRINCIPAL: &str = "/v1/principal";

#[cfg(test)]
mod tests;
