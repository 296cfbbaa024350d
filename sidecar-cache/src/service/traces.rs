//! Where spans go: to whoever exports them, over a bounded queue. Nobody waits for one, and where there is no room it is
//! counted and gone. A sidecar that nobody asks for traces makes none.

use std::sync::{Arc, Mutex};

use kt_contract::outcome::{Outcome, Reason};
use kt_contract::time::{MonoMillis, UnixMillis};
use kt_contract::trace::TraceParent;
use kt_providers::Usage;
use tokio::sync::{mpsc, oneshot};

use super::{Sidecar, lock};
use crate::clock::Clock;
use crate::metrics::{Asked, Metrics};
use crate::random;
use crate::trace::{Ratio, Span, SpanKind, Traced, Value};

/// How many spans wait for their export.
const WAITING_MAX: usize = 4_096;

/// A way to the exporter.
#[derive(Clone, Debug)]
pub struct Traces {
    to: mpsc::Sender<Export>,
    ratio: Ratio,
}

/// What an exporter is handed.
#[derive(Debug)]
pub enum Export {
    /// A span.
    Span(Box<Span>),
    /// Everything before this is to be sent now; told when it is.
    Flush(oneshot::Sender<()>),
}

/// A span that is under way; it is told when it ends.
#[derive(Clone, Debug)]
pub(super) struct Live {
    traces: Traces,
    metrics: Arc<Metrics>,
    clock: Clock,
    /// Its place.
    pub(super) at: Traced,
    began: MonoMillis,
}

/// The span of the request that leads a flight, where it has one: of the last one, where several did.
#[derive(Debug, Default)]
pub(super) struct Leader(Mutex<Option<TraceParent>>);

/// What every span tells of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Of<'a> {
    /// The request's id.
    pub(super) request_id: &'a str,
    /// The gateway that took it.
    pub(super) gateway: &'a str,
    /// Whose request it is.
    pub(super) org: &'a str,
    /// Dialect, model and provider.
    pub(super) asked: Asked<'a>,
}

/// What is known of one span at its end.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// The request whose call answered it.
    pub(super) link: Option<TraceParent>,
    /// More attributes.
    pub(super) more: Vec<(&'static str, Value)>,
    /// Why it failed, where it did.
    pub(super) error: Option<String>,
}

// === impl Traces ===

impl Traces {
    /// A way, and its end. `ratio`: which share of the traces that begin here is kept.
    #[must_use]
    pub fn new(ratio: Ratio) -> (Self, mpsc::Receiver<Export>) {
        let (to, exports) = mpsc::channel(WAITING_MAX);
        (Self { to, ratio }, exports)
    }
}

// === impl Sidecar ===

impl Sidecar {
    /// From now on there are traces. Only the first call counts.
    pub fn trace_to(&self, traces: Traces) {
        let _ = self.traces.set(traces);
    }

    /// The span of a request that begins, where there is one.
    pub(super) fn trace(&self, parent: Option<TraceParent>) -> Option<Live> {
        let traces = self.traces.get()?;
        // Without randomness there are no traces, and everything else goes on.
        let random = random::bytes().ok()?;
        let at = Traced::of_request(parent, traces.ratio, random, self.clock.wall())?;
        Some(Live {
            traces: traces.clone(),
            metrics: Arc::clone(&self.metrics),
            clock: self.clock,
            at,
            began: self.clock.mono(),
        })
    }

    /// Sends what waits, as far as that takes no longer than an export may.
    pub async fn flush_traces(&self) {
        let Some(traces) = self.traces.get() else { return };
        let (done, is_done) = oneshot::channel();
        if traces.to.send(Export::Flush(done)).await.is_ok() {
            let _ = is_done.await;
        }
    }
}

// === impl Live ===

impl Live {
    /// The trace's id, for log lines.
    pub(super) fn trace_id(&self) -> String {
        random::to_hex(&self.at.trace_id)
    }

    /// As spans that are part of it name it, and spans that link to it.
    pub(super) const fn as_parent(&self) -> TraceParent {
        self.at.as_parent()
    }

    /// A span that is part of it, and begins now.
    pub(super) fn child(&self) -> Option<Self> {
        let random = random::bytes().ok()?;
        let at = self.at.child(random, self.clock.wall());
        Some(Self { at, began: self.clock.mono(), ..self.clone() })
    }

    /// It is over. Its duration is the monotonic clock's, whatever the wall clock has done meanwhile.
    pub(super) fn end(&self, kind: SpanKind, of: Of<'_>, told: Told) {
        let Of { request_id, gateway, org, asked } = of;
        let Told { link, more, error } = told;
        let took = self.clock.mono().since(self.began).0;
        let (model, _) = asked.labels;
        let mut attributes = vec![
            ("gen_ai.operation.name", Value::from(asked.operation())),
            ("gen_ai.provider.name", Value::Text(asked.provider())),
            ("gen_ai.request.model", Value::from(model)),
            ("kt.request_id", Value::from(request_id)),
            ("kt.gateway", Value::from(gateway)),
            ("kt.org", Value::from(org)),
        ];
        attributes.extend(more);
        if let Some(error) = &error {
            attributes.push(("error.type", Value::from(error.as_str())));
        }
        let span = Span {
            at: self.at,
            name: format!("{} {model}", asked.operation()),
            kind,
            ended: UnixMillis(self.at.started.0.saturating_add(took)),
            attributes,
            link,
            error,
        };
        if self.traces.to.try_send(Export::Span(Box::new(span))).is_err() {
            self.metrics.spans_exported("dropped", 1);
        }
    }
}

// === impl Leader ===

impl Leader {
    /// It is this one.
    pub(super) fn is(&self, span: Option<TraceParent>) {
        *lock(&self.0) = span;
    }

    pub(super) fn span(&self) -> Option<TraceParent> {
        *lock(&self.0)
    }
}

/// What the cache did, as attributes.
pub(super) fn cached(
    cache: Option<(Outcome, Reason)>,
) -> impl Iterator<Item = (&'static str, Value)> {
    cache.into_iter().flat_map(|(outcome, reason)| {
        [
            ("kt.cache", Value::from(outcome.as_str())),
            ("kt.cache.reason", Value::from(reason.as_str())),
        ]
    })
}

/// What a provider's usage says, as attributes.
pub(super) fn used(usage: Option<Usage>) -> impl Iterator<Item = (&'static str, Value)> {
    usage.into_iter().flat_map(|usage| {
        [
            ("gen_ai.usage.input_tokens", Value::Number(usage.input_tokens())),
            ("gen_ai.usage.output_tokens", Value::Number(usage.output_tokens)),
        ]
    })
}
