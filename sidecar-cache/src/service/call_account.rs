//! The account of one upstream call: its log line, written once, when the call ends, however it ends. A client's
//! line ends with the client; what was paid for may end later, or be nobody's. Never a prompt, an answer or a key.

use kt_contract::time::MonoMillis;
use kt_contract::trace::TraceParent;
use kt_providers::Usage;

use super::admit::Grant;
use super::bill::Cost;
use super::traces::{self, Live, Of, Told};
use crate::clock::Clock;
use crate::ledger::TransferId;
use crate::metrics::Asked;
use crate::trace::{SpanKind, Value};

/// What becomes of one upstream call. Dropped, it is written down.
#[derive(Debug)]
pub(super) struct CallAccount {
    clock: Clock,
    started: MonoMillis,
    who: Who,
    what: What,
    trace: Option<Live>,
}

/// In whose name it is made.
#[derive(Debug)]
struct Who {
    request_id: String,
    attempt: u32,
    gateway: String,
    org: String,
    user: Option<String>,
    key_id: String,
    target: String,
    model: String,
    provider: String,
    dialect: String,
}

/// What is known so far.
#[derive(Debug, Default)]
struct What {
    status: Option<u16>,
    first_byte_ms: Option<u64>,
    usage: Option<Usage>,
    answer_bytes: u64,
    is_stored: bool,
    not_stored: Option<&'static str>,
    readers: usize,
    end: CallEnd,
    hold: Option<String>,
    cost: Option<Cost>,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum CallEnd {
    /// Its task was stopped.
    #[default]
    Stopped,
    /// Its answer came to its end.
    Served,
    /// There was none, or one that is none.
    Failed,
    /// Nobody wanted it any more.
    Cancelled,
}

// === impl CallAccount ===

impl CallAccount {
    /// The call is made for the request of `grant`, as the flight's `attempt`, counted from 1.
    pub(super) fn begin(clock: Clock, grant: &Grant, attempt: u32) -> Self {
        let (principal, model) = (&grant.caller.principal, &grant.gates.model);
        Self {
            clock,
            started: clock.mono(),
            who: Who {
                request_id: grant.request_id.clone(),
                attempt,
                gateway: grant.gateway.clone(),
                org: principal.org.clone(),
                user: principal.user.clone(),
                key_id: principal.key_id.clone(),
                target: grant.target.clone(),
                model: model.served_model.clone(),
                provider: model.provider.clone(),
                dialect: model.dialect.clone(),
            },
            what: What::default(),
            trace: grant.trace.as_ref().and_then(Live::child),
        }
    }

    /// Its span, for the provider.
    pub(super) fn as_parent(&self) -> Option<TraceParent> {
        self.trace.as_ref().map(|trace| trace.at.as_parent())
    }

    /// The head has come.
    pub(super) const fn answering(&mut self, status: u16) {
        self.what.status = Some(status);
    }

    /// The first byte of the answer has come.
    pub(super) fn first_byte(&mut self) {
        self.what.first_byte_ms = Some(self.clock.mono().since(self.started).0);
    }

    /// The provider told its usage.
    pub(super) const fn used(&mut self, usage: Option<Usage>) {
        self.what.usage = usage;
    }

    /// The answer was stored.
    pub(super) const fn stored(&mut self) {
        self.what.is_stored = true;
    }

    /// The answer was not stored. The first reason is the one that decided it.
    pub(super) fn not_stored(&mut self, reason: &'static str) {
        self.what.not_stored.get_or_insert(reason);
    }

    /// So many clients are there at its end.
    pub(super) const fn read_by(&mut self, readers: usize) {
        self.what.readers = readers;
    }

    /// The money that was set aside for it has ended.
    pub(super) fn paid(&mut self, hold: TransferId, cost: Option<Cost>) {
        self.what.hold = Some(hold.0.to_hex());
        self.what.cost = cost;
    }

    /// It has cost something, and nobody accounts for it.
    pub(super) const fn cost(&mut self, cost: Cost) {
        self.what.cost = Some(cost);
    }

    /// It is over; so many bytes of an answer have come.
    pub(super) fn ended(mut self, end: CallEnd, answer_bytes: u64) {
        (self.what.end, self.what.answer_bytes) = (end, answer_bytes);
    }
}

impl CallAccount {
    /// Its span is over.
    fn end_trace(&self) {
        let Some(trace) = &self.trace else { return };
        let Who { request_id, attempt, gateway, org, target, model, provider, dialect, .. } =
            &self.who;
        let What { status, usage, end, answer_bytes, .. } = &self.what;
        let mut more = vec![
            ("kt.attempt", Value::Number((*attempt).into())),
            ("kt.target", Value::from(target.as_str())),
            ("kt.answer_bytes", Value::Number(*answer_bytes)),
        ];
        more.extend(
            status.map(|status| ("http.response.status_code", Value::Number(status.into()))),
        );
        more.extend(traces::used(*usage));
        let refused = status.filter(|status| *status >= 400).map(|status| status.to_string());
        let error = match end {
            CallEnd::Served => refused,
            CallEnd::Failed => refused.or_else(|| Some(end.as_str().to_owned())),
            CallEnd::Stopped | CallEnd::Cancelled => Some(end.as_str().to_owned()),
        };
        let asked = Asked { dialect, labels: (model, provider) };
        let of = Of { request_id, gateway, org, asked };
        trace.end(SpanKind::Client, of, Told { link: None, more, error });
    }
}

impl Drop for CallAccount {
    fn drop(&mut self) {
        self.end_trace();
        let Who {
            request_id, attempt, gateway, org, user, key_id, target, model, provider, ..
        } = &self.who;
        let What { status, first_byte_ms, usage, answer_bytes, .. } = &self.what;
        let What { is_stored, not_stored, readers, end, hold, cost, .. } = &self.what;
        tracing::info!(
            target: "kt::call",
            request_id,
            trace_id = self.trace.as_ref().map(Live::trace_id),
            attempt,
            gateway,
            org,
            user_id = user,
            key_id,
            target_id = target,
            model,
            provider,
            http_status = status,
            first_byte_ms,
            latency_ms = self.clock.mono().since(self.started).0,
            input_tokens = usage.map(Usage::input_tokens),
            cache_read_tokens = usage.map(|usage| usage.cache_read_tokens),
            cache_write_tokens = usage.map(|usage| usage.cache_write_tokens),
            cache_write_long_tokens = usage.map(|usage| usage.cache_write_long_tokens),
            output_tokens = usage.map(|usage| usage.output_tokens),
            hold,
            cost_micro_usd = cost.map(|cost| cost.amount.micros()),
            cost_estimated = cost.map(|cost| cost.is_estimated),
            answer_bytes,
            stored = is_stored,
            not_stored,
            readers,
            end = end.as_str(),
            "upstream call"
        );
    }
}

// === impl CallEnd ===

impl CallEnd {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Served => "served",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}
