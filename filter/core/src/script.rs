//! Lives of a worker as scripts, for tests: what happens to the filter, callback by callback, and what the
//! filter asks of its host meanwhile. Behind the feature `script`; no product has it.
//!
//! [`Script::decode`] makes a script of any bytes, so that a fuzzer or a seeded generator can write one. It
//! steers: most bytes lead to whole requests and to answers that fit, some to what no Envoy does.
//! [`Native`] plays a script into this crate and behaves as the glue in `filter/` does; `tests/filter-host`
//! plays the same script into the built module and compares each [`Turned`]. A target that only looks for
//! panics needs no more than
//!
//! ```
//! use kt_filter_core::script::{Native, Script};
//!
//! let script = Script::decode(b"any bytes");
//! let mut native = Native::start(|bytes| bytes.fill(7));
//! for step in &script.steps {
//!     let turned = native.play(step);
//!     assert!(turned.calls.len() < 1_000);
//! }
//! ```

mod choices;
mod decode;
mod native;
mod replies;

pub use native::Native;
pub use replies::{gateway, reply_to};

/// How many exchanges a script has at a time.
pub const SLOTS: usize = 3;
/// When scripts begin.
pub const BEGIN_MS: u64 = 50_000;

/// Header fields.
pub type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// What happens to a filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// In this order.
    pub steps: Vec<Step>,
}

/// Something that happens. `at` is the exchange, below [`SLOTS`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The exchange that was there ends, and another one begins.
    Begin {
        /// Which.
        at: usize,
    },
    /// The request's head comes.
    Head {
        /// Whose.
        at: usize,
        /// The fields.
        fields: Fields,
        /// Whether that is all.
        end: bool,
    },
    /// More of the request's body comes, and is held with what came before.
    Body {
        /// Whose.
        at: usize,
        /// The piece.
        piece: Vec<u8>,
        /// Whether it is the last.
        end: bool,
    },
    /// The request's trailers come.
    Trailers {
        /// Whose.
        at: usize,
    },
    /// The response's head comes.
    Response {
        /// Whose.
        at: usize,
        /// The fields.
        fields: Fields,
        /// What Envoy says of who made it.
        details: &'static str,
    },
    /// A callout ends. Nothing happens where none is under way.
    Answer {
        /// Which of those under way, counted from the newest and around.
        which: usize,
        /// How.
        reply: Reply,
    },
    /// The timer fires.
    Tick,
    /// Time passes.
    Wait {
        /// How much.
        ms: u64,
    },
    /// The host does nothing of what the next step asks for.
    Refuse,
}

/// How a callout ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It is lost.
    Lost,
    /// As a sidecar may answer that very question; the number chooses how. See [`reply_to`].
    Fitting(u8),
    /// With these fields and this body.
    Came(Fields, Vec<u8>),
}

/// What came of a step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turned {
    /// What the host was asked, in order, whether it did it or not.
    pub calls: Vec<Call>,
    /// Whether the callback held the message; `None` where no callback says so.
    pub holds: Option<bool>,
}

/// Something that the host is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Send a callout.
    Callout {
        /// Its path.
        path: String,
        /// The request that it is for.
        request_id: Option<String>,
        /// Its body.
        body: Vec<u8>,
        /// Its budget.
        timeout_ms: u64,
    },
    /// Answer the client.
    Reply {
        /// The status.
        status: u16,
        /// The fields.
        fields: Fields,
        /// The body.
        body: Vec<u8>,
    },
    /// Replace the request's head.
    SetRequestHead(Fields),
    /// Replace the request's body.
    SetRequestBody(Vec<u8>),
    /// Remove the request's trailers.
    ClearTrailers,
    /// Set a response header.
    SetResponseHeader(Vec<u8>, Vec<u8>),
    /// Remove a response header.
    RemoveResponseHeader(Vec<u8>),
    /// Leave something for the access log.
    Property(String, String),
    /// Let a held request go on.
    Resume,
    /// Add to a counter.
    Count(String, u64),
}
