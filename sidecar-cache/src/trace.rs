//! Spans: what a request and the call behind it took, for OpenTelemetry. Pure: moments and random ids are arguments. Names
//! and attributes are those of its semantic conventions for generative AI, and `kt.*` where these have none. Never a prompt,
//! an answer or a key.

pub mod otlp;

use kt_contract::time::UnixMillis;
use kt_contract::trace::TraceParent;

/// A span that has begun: its place in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traced {
    /// The trace.
    pub trace_id: [u8; 16],
    /// The span.
    pub span_id: [u8; 8],
    /// The span that it is part of.
    pub parent: Option<[u8; 8]>,
    /// When it began.
    pub started: UnixMillis,
}

/// A span that is over.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Its place.
    pub at: Traced,
    /// The operation and the model.
    pub name: String,
    /// Whose work it was.
    pub kind: SpanKind,
    /// When it ended.
    pub ended: UnixMillis,
    /// What is known of it.
    pub attributes: Vec<(&'static str, Value)>,
    /// The span of another request whose call answered this one.
    pub link: Option<TraceParent>,
    /// Why it failed, where it did: a code of ours, or a provider's status.
    pub error: Option<String>,
}

/// Whose work a span was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// A request that was served.
    Server,
    /// A call that was made.
    Client,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A number.
    Number(u64),
    /// Yes or no.
    Flag(bool),
}

/// Which share of the traces that begin here is kept: 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Ratio(f64);

// === impl Traced ===

impl Traced {
    /// A request's span: in the client's trace where it has one, else in one of its own. `None` where it is not kept: the
    /// client has decided about its own trace, and `ratio` about ours. `random` are 24 random bytes.
    #[must_use]
    pub fn of_request(
        parent: Option<TraceParent>,
        ratio: Ratio,
        random: [u8; 24],
        now: UnixMillis,
    ) -> Option<Self> {
        let (trace_id, span_id) = split(random);
        match parent {
            Some(TraceParent { is_sampled: false, .. }) => None,
            Some(TraceParent { trace_id, span_id: parent, .. }) => {
                Some(Self { trace_id, span_id, parent: Some(parent), started: now })
            }
            None => ratio.keeps(trace_id).then_some(Self {
                trace_id,
                span_id,
                parent: None,
                started: now,
            }),
        }
    }

    /// A span that is part of this one.
    #[must_use]
    pub fn child(&self, random: [u8; 24], now: UnixMillis) -> Self {
        let (_, span_id) = split(random);
        Self { trace_id: self.trace_id, span_id, parent: Some(self.span_id), started: now }
    }

    /// It, as the one that others are part of.
    #[must_use]
    pub const fn as_parent(&self) -> TraceParent {
        TraceParent { trace_id: self.trace_id, span_id: self.span_id, is_sampled: true }
    }
}

// === impl Ratio ===

impl Ratio {
    /// All of them.
    pub const ALL: Self = Self(1.0);

    /// A share; `None` where it is none.
    #[must_use]
    pub fn new(share: f64) -> Option<Self> {
        (0.0..=1.0).contains(&share).then_some(Self(share))
    }

    /// Whether a trace is kept: by its id, so that whoever sees it decides the same.
    fn keeps(self, trace_id: [u8; 16]) -> bool {
        let [.., a, b, c, d] = trace_id;
        f64::from(u32::from_be_bytes([a, b, c, d])) < self.0 * (f64::from(u32::MAX) + 1.0)
    }
}

/// The ids that random bytes make. All zeros are no id.
fn split(random: [u8; 24]) -> ([u8; 16], [u8; 8]) {
    let (mut trace_id, mut span_id) = ([0; 16], [0; 8]);
    let mut bytes = random.into_iter();
    trace_id.iter_mut().chain(&mut span_id).zip(&mut bytes).for_each(|(place, byte)| *place = byte);
    if trace_id == [0; 16] {
        trace_id = [1; 16];
    }
    if span_id == [0; 8] {
        span_id = [1; 8];
    }
    (trace_id, span_id)
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_764_000_000_000);

    fn random(byte: u8) -> [u8; 24] {
        [byte; 24]
    }

    #[test]
    fn a_request_is_part_of_its_clients_trace_and_its_call_of_the_request() {
        let parent = TraceParent { trace_id: [7; 16], span_id: [8; 8], is_sampled: true };
        let half = Ratio::new(0.0).unwrap();
        let request = Traced::of_request(Some(parent), half, random(9), NOW).unwrap();
        assert_eq!((request.trace_id, request.parent), ([7; 16], Some([8; 8])));
        let call = request.child(random(10), NOW);
        assert_eq!((call.trace_id, call.parent), ([7; 16], Some(request.span_id)));
        assert_ne!(call.span_id, request.span_id);
    }

    #[test]
    fn what_the_client_does_not_keep_is_not_kept() {
        let quiet = TraceParent { trace_id: [7; 16], span_id: [8; 8], is_sampled: false };
        assert_eq!(Traced::of_request(Some(quiet), Ratio::ALL, random(9), NOW), None);
    }

    #[test]
    fn so_many_traces_of_our_own_are_kept() {
        let kept = |share: f64| {
            let ratio = Ratio::new(share).unwrap();
            let of = |byte: u8| Traced::of_request(None, ratio, random(byte), NOW).is_some();
            (0..=255).filter(|byte| of(*byte)).count()
        };
        assert_eq!((kept(0.0), kept(0.5), kept(1.0)), (0, 128, 256));
        assert!(
            Ratio::new(1.1).is_none()
                && Ratio::new(-0.1).is_none()
                && Ratio::new(f64::NAN).is_none()
        );
    }

    #[test]
    fn no_id_is_all_zeros() {
        let traced = Traced::of_request(None, Ratio::ALL, random(0), NOW).unwrap();
        assert!(traced.trace_id != [0; 16] && traced.span_id != [0; 8]);
    }
}
