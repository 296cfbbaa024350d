//! HTTP callouts: what the filter asked a cluster, and every way in which Envoy ends such a call. A callout
//! belongs to the root context of its VM: it outlives the stream that made it.

use std::time::Duration;

use crate::abi::CALLOUT_REPLY_BYTES_MAX;
use crate::headers::HeaderMap;
use crate::message::Message;
use crate::vm::Vm;

/// A call that has not been answered, as the VM's state keeps it.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) token: u32,
    pub(crate) asked: Asked,
    /// When Envoy gives up; `None` where the filter set no timeout.
    pub(crate) until: Option<Duration>,
}

/// What the filter asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The cluster.
    pub cluster: String,
    /// The request's headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
    /// Its trailers.
    pub trailers: HeaderMap,
    /// The timeout; zero means none.
    pub timeout: Duration,
    /// When it was sent.
    pub sent_at: Duration,
}

/// The reply that the VM is shown.
#[derive(Clone, Debug)]
pub(crate) enum Delivered {
    Whole {
        headers: HeaderMap,
        body: Vec<u8>,
        trailers: HeaderMap,
    },
    /// Only `num_headers == 0` tells of it.
    Broken,
}

/// How a callout ends.
#[derive(Clone, Debug)]
pub enum Reply {
    /// The cluster answered.
    Answered(Message),
    /// Nobody listened: a 503 that Envoy made, three headers.
    Refused,
    /// The connection broke before the headers: a 503 that Envoy made.
    Reset,
    /// The time was up: a 504 that Envoy made.
    TimedOut,
    /// The connection broke within the body: no headers at all.
    Truncated,
}

/// A call that waits for its reply, in the hands of a test.
#[derive(Clone, Debug)]
pub struct Callout {
    pub(crate) vm: Vm,
    pub(crate) incarnation: u64,
    pub(crate) token: u32,
    /// What the filter asked.
    pub asked: Asked,
}

// === impl Asked ===

impl Asked {
    /// The path.
    #[must_use]
    pub fn path(&self) -> String {
        self.headers.text(":path").unwrap_or_default()
    }
}

// === impl Reply ===

impl Reply {
    /// The headers and the body that a filter is shown. `None` where it is shown nothing.
    #[must_use]
    pub fn seen(self) -> Option<(HeaderMap, Vec<u8>)> {
        match self.delivered() {
            Delivered::Whole { headers, body, .. } => Some((headers, body)),
            Delivered::Broken => None,
        }
    }

    /// The reply as the VM gets it.
    pub(crate) fn delivered(self) -> Delivered {
        let words = "upstream connect error or disconnect/reset before headers. ";
        match self {
            Self::Answered(message) => answered(message),
            Self::Refused => synthetic(
                503,
                &format!(
                    "{words}reset reason: remote connection failure, transport failure reason: delayed connect error: Connection refused"
                ),
            ),
            Self::Reset => synthetic(503, &format!("{words}reset reason: connection termination")),
            Self::TimedOut => synthetic(504, "upstream request timeout"),
            Self::Truncated => Delivered::Broken,
        }
    }
}

impl From<Message> for Reply {
    fn from(message: Message) -> Self {
        Self::Answered(message)
    }
}

// === impl Callout ===

impl Callout {
    /// Ends the call. Does nothing if its time was up already, or its VM has died.
    pub fn answer(&self, reply: impl Into<Reply>) {
        self.vm.deliver(self.incarnation, self.token, reply.into());
    }
}

/// A reply beyond Envoy's bound looks like a broken one.
fn answered(message: Message) -> Delivered {
    let body = message.chunks.concat();
    if body.len() > CALLOUT_REPLY_BYTES_MAX {
        return Delivered::Broken;
    }
    Delivered::Whole {
        headers: message.headers,
        body,
        trailers: message.trailers.unwrap_or_default(),
    }
}

fn synthetic(status: u16, body: &str) -> Delivered {
    let headers = HeaderMap::of([
        (":status", status.to_string()),
        ("content-length", body.len().to_string()),
        ("content-type", "text/plain".to_owned()),
    ]);
    Delivered::Whole { headers, body: body.as_bytes().to_vec(), trailers: HeaderMap::default() }
}
