//! Bytes to messages and back, over hyper. It decides nothing about requests; [`problem`] alone knows which
//! refusal has which status.

mod admin;
mod body;
pub mod closing;
mod data;
pub mod egress;
mod external;
mod lane;
mod problem;
mod public;
mod read;
pub mod serve;
pub mod socket;
pub mod traces;

pub use body::ReplyBody;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use kt_contract::wire::{self, headers};
use serde::Serialize;

/// An answer of this sidecar.
pub(crate) type Answer = Response<ReplyBody>;

/// An answer with a body of JSON.
fn json(status: StatusCode, message: &impl Serialize) -> Answer {
    // Our messages are plain structs with text keys; they can be written.
    let body = serde_json::to_vec(message).unwrap_or_default();
    with_type(status, HeaderValue::from_static("application/json"), body.into())
}

fn with_type(status: StatusCode, content_type: HeaderValue, body: Bytes) -> Answer {
    let mut answer = Response::new(ReplyBody::whole(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, content_type);
    answer
}

/// Marks an answer as a sidecar's: what comes without it is Envoy's.
fn mark(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(headers::MARKER, HeaderValue::from(wire::VERSION));
    answer
}

/// Sets a header, unless its value is none that can travel.
fn put(map: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        map.insert(name, value);
    }
}

/// A header's value, where there is one of visible ASCII.
fn text<'a>(map: &'a HeaderMap, name: &str) -> Option<&'a str> {
    map.get(name).and_then(|value| value.to_str().ok())
}
