//! What can happen to an exchange. The glue turns proxy-wasm's callbacks into these and adds nothing.

use crate::head::Head;
use crate::peer::Peer;
use crate::till::Spent;

/// Something that happened. Whatever it lends lives for one turn only: a body is never kept.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// The request's head is here.
    RequestHeaders {
        /// The fields, the pseudo ones included.
        head: Head<'a>,
        /// There is no body.
        end: bool,
        /// Fresh random bytes: the request id.
        random: [u8; 16],
        /// What Envoy says of the client. Only there if [`crate::worker::Worker::reads_peer`] says so.
        peer: Peer<'a>,
    },
    /// Envoy holds more of the request's body, or all of it. Comes twice for the last bytes.
    RequestBody {
        /// How much Envoy holds.
        bytes: u64,
        /// The body is whole.
        end: bool,
    },
    /// The body ended with trailers: the only sign of its end that such a request gives.
    RequestTrailers,
    /// The whole body, as [`crate::action::Flow::ReadBody`] asked for it.
    RequestRead {
        /// Its bytes.
        body: &'a [u8],
    },
    /// The one callout that is under way has ended.
    CalloutAnswered(Answer<'a>),
    /// What became of the one [`crate::action::Action::Spend`].
    Spent(Spent),
    /// The response's head is here: the lane's, a provider's, or one that Envoy made itself. The fields
    /// and who made it are only there if [`crate::Exchange::reads_response`] says so.
    ResponseHeaders {
        /// The fields.
        head: Head<'a>,
        /// Envoy is known to have made it itself, without a word from its upstream.
        by_envoy: bool,
    },
    /// The host did not do what the last actions asked for: the request must not go on as if it had.
    HostRefused,
    /// The exchange is over, whoever ended it.
    Done,
}

/// How a callout ended.
#[derive(Clone, Copy, Debug)]
pub enum Answer<'a> {
    /// It could not be sent, or its reply was cut off.
    Lost,
    /// Somebody replied: a sidecar, if the reply has the marker, and else Envoy for a lost one.
    Came {
        /// The reply's head.
        head: Head<'a>,
        /// The reply's body.
        body: &'a [u8],
    },
}
