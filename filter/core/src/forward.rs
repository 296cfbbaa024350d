//! What of a request's head is forwarded: an allow-list. What is not in the key does not leave the gateway,
//! so credentials, cookies, client hints and the rest of the query stay behind without anybody naming them.

use std::borrow::Cow;
use std::rc::Rc;

use kt_contract::idempotency::IdempotencyKey;
use kt_contract::wire::headers;
use kt_providers::Endpoint;

use crate::head::Head;
use crate::request_id::RequestId;

/// The `user-agent` towards provider and sidecar. Some providers refuse a request without one.
const USER_AGENT: &str = concat!("kt/", env!("CARGO_PKG_VERSION"));

/// Where a request goes, and with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The way that Envoy's routes take.
    pub lane: Lane,
    /// The minted request id.
    pub request_id: RequestId,
    /// Path and semantic headers.
    pub endpoint: Endpoint,
    /// The exact length of the body, which goes on unchanged.
    pub body_bytes: usize,
}

/// The ways out of the filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lane {
    /// To the sidecar, under a ticket.
    Sidecar {
        /// As the sidecar gave it.
        ticket: String,
        /// The client's name for the request. One call serves many clients, so that no provider gets it.
        idempotency: Option<Rc<IdempotencyKey>>,
    },
    /// Directly to a target, because the sidecar is lost.
    Direct {
        /// The target's id.
        target: String,
    },
}

type Field<'a> = (&'static str, Cow<'a, [u8]>);

// === impl Forward ===

impl Forward {
    /// The head that replaces `current`.
    #[must_use]
    pub fn head<'a>(&'a self, current: Head<'a>) -> Vec<Field<'a>> {
        let text = |value: &'a str| Cow::Borrowed(value.as_bytes());
        let mut fields: Vec<Field<'a>> = Vec::with_capacity(12);
        fields.push((":method", text("POST")));
        fields.push((":path", text(self.endpoint.path())));
        // Without the last one, Envoy finds no route at all.
        for name in [":authority", ":scheme", "x-forwarded-proto"] {
            fields.extend(current.first(name).map(|value| (name, Cow::Borrowed(value))));
        }
        fields.push(("content-type", text("application/json")));
        fields.push(("content-length", Cow::Owned(self.body_bytes.to_string().into_bytes())));
        fields.push(("user-agent", text(USER_AGENT)));
        for name in self.endpoint.dialect().semantic_headers().iter().copied() {
            fields.extend(current.all(name).map(|value| (name, Cow::Borrowed(value))));
        }
        fields.push((headers::REQUEST_ID, text(self.request_id.as_str())));
        match &self.lane {
            Lane::Sidecar { ticket, idempotency } => {
                fields.push((headers::LANE, text(headers::LANE_SIDECAR)));
                fields.push((headers::TICKET, text(ticket)));
                let key = idempotency.as_deref().map(IdempotencyKey::as_bytes);
                fields.extend(key.map(|key| (headers::IDEMPOTENCY_KEY, Cow::Borrowed(key))));
            }
            Lane::Direct { target } => {
                let lane = format!("{}{target}", headers::LANE_DIRECT_PREFIX);
                fields.push((headers::LANE, Cow::Owned(lane.into_bytes())));
            }
        }
        fields
    }
}
