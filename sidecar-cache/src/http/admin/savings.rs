//! What the admin socket is asked about savings.

use http::request;
use percent_encoding::percent_decode_str;

use crate::service::spending::SavingsAsked;

/// The question of a query.
pub(super) fn asked(head: &request::Parts) -> SavingsAsked {
    let field = |name: &str| field(head, name);
    let (org, by) = (field("org"), field("by"));
    SavingsAsked { org, by, since: field("since"), until: field("until") }
}

/// A field of the query, decoded.
pub(super) fn field(head: &request::Parts, name: &str) -> Option<String> {
    let query = head.uri.query().unwrap_or_default();
    let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    value.map(|value| percent_decode_str(value).decode_utf8_lossy().into_owned())
}
