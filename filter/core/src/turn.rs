//! One turn of an exchange: what a phase needs while it handles an event, and the ends that all phases share.

use kt_contract::outcome::{Outcome, Reason};
use kt_contract::problem::Problem;
use kt_contract::time::MonoMillis;
use kt_providers::Dialect;

use crate::action::{Action, Flow, LogLine, Reply};
use crate::counter::Counter;
use crate::head::Head;
use crate::identity::Who;
use crate::peer::Peer;
use crate::phase::Phase;
use crate::refusals::refusal;
use crate::reply;
use crate::request_id::RequestId;
use crate::sidecar::NoAnswer;
use crate::worker::Worker;

/// What a turn leads to.
pub(crate) type Next = (Phase, Flow);

/// The worker, the moment, and the actions so far.
pub(crate) struct Turn<'a> {
    pub(crate) worker: &'a mut Worker,
    pub(crate) now: MonoMillis,
    actions: &'a mut Vec<Action>,
}

/// The two callouts of a request, for counting.
#[derive(Clone, Copy)]
pub(crate) enum Call {
    Principal,
    Admit,
}

// === impl Turn ===

impl<'a> Turn<'a> {
    pub(crate) const fn new(
        worker: &'a mut Worker,
        now: MonoMillis,
        actions: &'a mut Vec<Action>,
    ) -> Self {
        Self { worker, now, actions }
    }

    pub(crate) fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    pub(crate) fn count(&mut self, counter: Counter) {
        self.actions.push(Action::Count(counter));
    }

    /// The bound on bodies. Without a snapshot, nothing is taken.
    pub(crate) fn request_bytes_max(&self) -> u64 {
        self.worker.snapshot().map_or(0, |snapshot| snapshot.limits.request_bytes_max)
    }

    /// By what the sidecar is to know who asks.
    pub(crate) fn who(&self, head: Head<'_>, peer: Peer<'_>) -> Result<Who, Problem> {
        Who::read(head, peer, self.worker.wanted())
    }

    /// Ends the exchange with a local reply.
    pub(crate) fn reply(&mut self, reply: Reply, log: LogLine) -> Next {
        self.act(Action::Reply(reply));
        self.act(Action::Log(log));
        (Phase::Replied, Flow::Pause)
    }

    /// Ends the exchange with a refusal of the filter's own, which the sidecar is told for its audit log. What is known of
    /// the request is in `log`.
    pub(crate) fn refuse(&mut self, dialect: Dialect, problem: &Problem, log: LogLine) -> Next {
        if let (Some(refusal), Some(request_id)) = (refusal(problem, &log), &log.request_id) {
            self.worker.refused(self.now, refusal, request_id);
        }
        self.refuse_as_told(dialect, problem, log)
    }

    /// Ends the exchange with a refusal that the sidecar has decided, and has put on record.
    pub(crate) fn refuse_as_told(
        &mut self,
        dialect: Dialect,
        problem: &Problem,
        log: LogLine,
    ) -> Next {
        self.count(Counter::Refused);
        self.count(why(problem));
        if let (Problem::PolicyBlocked { policy, .. }, Some(request_id)) =
            (problem, &log.request_id)
        {
            self.worker.blocked(policy, request_id);
        }
        let reply = reply::problem(dialect, problem, log.request_id.as_ref());
        self.reply(reply, LogLine { code: Some(problem.code()), ..log })
    }

    /// An event that does not belong, while the request is held: it ends here, and nothing is forwarded.
    pub(crate) fn unexpected(&mut self, log: LogLine) -> Next {
        self.count(Counter::Unexpected);
        self.refuse(Dialect::OpenAiChat, &Problem::Internal, log)
    }

    /// An event that does not belong and can do no harm any more.
    pub(crate) fn ignored(&mut self, phase: Phase) -> Next {
        self.count(Counter::Unexpected);
        (phase, Flow::Pause)
    }

    /// Envoy answered a request that the filter held: too large, too slow, or broken off.
    pub(crate) fn envoy_spoke(&mut self, request_id: &RequestId, log: LogLine) -> Next {
        let (name, value) = reply::id(request_id);
        self.act(Action::SetResponseHeader(name, value));
        self.left(log)
    }

    /// The request ended before the filter had decided.
    pub(crate) fn left(&mut self, log: LogLine) -> Next {
        self.count(Counter::Left);
        self.act(Action::Log(log));
        (Phase::Done, Flow::Continue)
    }

    /// A callout, made at `asked_at`, has ended: the breaker and the counters hear of it.
    pub(crate) fn called(&mut self, call: Call, asked_at: MonoMillis, no_answer: Option<NoAnswer>) {
        let answered = no_answer.is_none();
        self.count(match (call, answered) {
            (Call::Principal, true) => Counter::PrincipalAnswered,
            (Call::Principal, false) => Counter::PrincipalLost,
            (Call::Admit, true) => Counter::AdmitAnswered,
            (Call::Admit, false) => Counter::AdmitLost,
        });
        if no_answer == Some(NoAnswer::Unreadable) {
            self.count(Counter::WireError);
        }
        if let Some(counter) = self.worker.called(asked_at, self.now, answered) {
            self.count(counter);
        }
    }
}

/// The counter of an outcome.
pub(crate) const fn outcome(outcome: Outcome) -> Counter {
    match outcome {
        Outcome::Hit => Counter::Hit,
        Outcome::Miss => Counter::Miss,
        Outcome::Coalesced => Counter::Coalesced,
        Outcome::Stale => Counter::Stale,
        Outcome::Bypass => Counter::Bypass,
    }
}

/// The counter of what goes past the sidecar, by why it does. What `wallet.open_with_cap` lets pass is counted as such.
pub(crate) fn direct(reason: Reason) -> Option<Counter> {
    [
        (Reason::SidecarLost, Counter::DirectLost),
        (Reason::BreakerOpen, Counter::DirectBreaker),
        (Reason::Draining, Counter::DirectDraining),
    ]
    .into_iter()
    .find_map(|(why, counter)| (why == reason).then_some(counter))
}

const fn why(problem: &Problem) -> Counter {
    match problem {
        Problem::MissingKey | Problem::InvalidKey | Problem::RevokedKey => Counter::RefusedIdentity,
        Problem::UnknownIdentity | Problem::NoTenant | Problem::CodebaseNotAllowed { .. } => {
            Counter::RefusedIdentity
        }
        Problem::UnknownPath { .. }
        | Problem::WrongMethod { .. }
        | Problem::ModelNotFound { .. }
        | Problem::OtherPath { .. }
        | Problem::InvalidBody { .. }
        | Problem::InvalidField { .. }
        | Problem::UnsupportedMedia { .. }
        | Problem::TooLarge { .. } => Counter::RefusedRequest,
        Problem::PolicyBlocked { .. } => Counter::RefusedPolicy,
        Problem::NotCached { .. } => Counter::RefusedNotCached,
        Problem::NotReady
        | Problem::SidecarUnavailable
        | Problem::AuditUnavailable
        | Problem::Draining
        | Problem::TicketRefused
        | Problem::FlightFull
        | Problem::BodiesFull
        | Problem::RateLimited(_)
        | Problem::OrganizationFull(_)
        | Problem::UpstreamUnreachable { .. }
        | Problem::UpstreamCutShort { .. }
        | Problem::UpstreamUnauthorized { .. }
        | Problem::Unpaid(_)
        | Problem::Repeated(_) => Counter::RefusedUnavailable,
        Problem::Internal => Counter::RefusedInternal,
    }
}
