//! The way to providers, as a trait: one call through some gateway's egress listener. How bytes travel is
//! the business of [`crate::http`].

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kt_contract::config::{SecretRef, ServiceUrl};
use kt_contract::trace::TraceParent;

use super::tenants::Credential;

/// One upstream call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The egress sockets to try, best first. Another one is tried only where a connection failed.
    pub egress: Vec<String>,
    /// The target's id.
    pub target: String,
    /// The path, without a query: what is not in the key is not forwarded.
    pub path: String,
    /// Headers that are in the key: lower-case names, from the dialect's list.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The credential that the target wants, where Envoy has none for it.
    pub credential: Option<Credential>,
    /// The request's id.
    pub request_id: String,
    /// The span of the call, where it has one.
    pub trace: Option<TraceParent>,
    /// The body.
    pub body: Bytes,
}

/// The head of an answer, and its body as it comes. Text that is no visible ASCII counts as absent.
pub struct Answered {
    /// The status.
    pub status: u16,
    /// Envoy's response code details.
    pub details: Option<String>,
    /// The content type.
    pub content_type: Option<String>,
    /// The content encoding.
    pub content_encoding: Option<String>,
    /// What it says of retries.
    pub advice: Arc<Advice>,
    /// `Cache-Control`.
    pub cache_control: Option<String>,
    /// The body. Dropped before its end, the call is cancelled.
    pub body: Pin<Box<dyn Pieces>>,
}

/// What a provider says of retries, as its SDKs read it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advice {
    /// `Retry-After`.
    pub after: Option<String>,
    /// `Retry-After-Ms`, which is finer.
    pub after_ms: Option<String>,
    /// `X-Should-Retry`.
    pub should: Option<String>,
}

/// A body as it comes.
pub trait Pieces: Send {
    /// The next piece; `None` after the announced end.
    fn next(self: Pin<&mut Self>) -> Coming<'_, Option<Result<Bytes, Broken>>>;
}

/// The transport broke off, or timed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// Why there was no answer, not even a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallFailed {
    /// No egress listener took the connection: no byte was sent.
    NoEgress,
    /// The connection broke before a head came.
    Broken,
}

/// A question to a service that a policy of the configuration asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Where it is asked.
    pub url: ServiceUrl,
    /// Where the token is that goes with it.
    pub secret: Option<SecretRef>,
    /// The id of the request in question.
    pub request_id: String,
    /// The body, JSON.
    pub body: Bytes,
    /// How long the answer may be.
    pub answer_bytes_max: usize,
}

/// Why a service has not answered a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskFailed {
    /// It took no connection, or the connection broke.
    Unreachable,
    /// It answered with another status than 200.
    Status(u16),
    /// Its answer is too long.
    TooLong,
    /// The token that it is sent cannot be read.
    NoToken,
}

/// Something to wait for.
pub type Coming<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The way to providers, and to the services that policies ask.
pub trait Upstream: Send + Sync {
    /// Makes one call. Dropped before its end, the call is cancelled.
    fn call(&self, call: Call) -> Coming<'_, Result<Answered, CallFailed>>;

    /// Asks a service. Dropped before its end, the question is taken back. By default there is no way to any.
    fn ask(&self, _: Question) -> Coming<'_, Result<Bytes, AskFailed>> {
        Box::pin(async { Err(AskFailed::Unreachable) })
    }
}

/// How long to wait for providers and clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For some gateway to be there.
    pub gateway: Duration,
    /// Between two bytes of an answer's body. How long the first may take is a target's own.
    pub idle: Duration,
    /// From the first byte of a body to its last: far longer than answers take, so that a provider that sends a byte
    /// now and then does not hold a flight, its log and its money for ever.
    pub whole: Duration,
    /// For the end of the transport, once the dialect has said that it is over.
    pub ending: Duration,
    /// Between two pieces of a request's body.
    pub upload_idle: Duration,
    /// For a client to take the next piece of its answer, before it counts as gone.
    pub download_idle: Duration,
    /// For a flight that nobody reads any more to bring its answer home.
    pub detached: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            gateway: Duration::from_secs(2),
            idle: Duration::from_secs(30),
            whole: Duration::from_secs(3_600),
            ending: Duration::from_secs(1),
            upload_idle: Duration::from_secs(30),
            download_idle: Duration::from_secs(30),
            detached: Duration::from_secs(60),
        }
    }
}
