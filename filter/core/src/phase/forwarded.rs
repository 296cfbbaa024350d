//! After the decision: the response of the lane or of a provider passes by on its way to the client, and only
//! its head is looked at. What comes after a reply, or after the end, is none of the filter's business.

use kt_contract::outcome::{Outcome, Reason};
use kt_contract::problem::Problem;
use kt_contract::wire::headers;
use kt_providers::Dialect;

use super::Phase;
use crate::action::{Action, Flow, LogLine};
use crate::counter::Counter;
use crate::event::Event;
use crate::head::Head;
use crate::reply;
use crate::request_id::RequestId;
use crate::turn::{self, Next, Turn};

/// What of ours a client may see. Everything else with our prefix is internal.
const PUBLIC: [&str; 3] = [headers::SERVED_BY, headers::COST_USD, headers::SAVED_USD];

/// What Envoy frames a body by, and the moment of the answer, as HTTP wants it.
const FRAMING: [&str; 3] = ["content-length", "transfer-encoding", "date"];

/// The statuses that speak of a credential: on the way to a provider, the gateway's.
const UNAUTHORIZED: [&[u8]; 2] = [b"401", b"403"];

/// The sidecar serves the request.
#[derive(Debug)]
pub(crate) struct OnLane {
    pub(crate) request_id: RequestId,
}

/// A provider serves the request.
#[derive(Debug)]
pub(crate) struct Direct {
    pub(crate) request_id: RequestId,
    pub(crate) dialect: Dialect,
    pub(crate) target: String,
    pub(crate) reason: Reason,
    /// Who answers, if anybody does.
    pub(crate) served_by: String,
}

// === impl OnLane ===

impl OnLane {
    pub(crate) fn on(self, event: Event<'_>, turn: &mut Turn<'_>) -> Next {
        match event {
            Event::ResponseHeaders { head, by_envoy: _ } => {
                if head.first(headers::MARKER).is_some() {
                    served(head, turn);
                } else {
                    self.lost(turn);
                }
                (Phase::Done, Flow::Continue)
            }
            Event::Done => turn.left(LogLine::default()),
            Event::RequestBody { .. } | Event::RequestTrailers => {
                (Phase::OnLane(self), Flow::Continue)
            }
            Event::RequestHeaders { .. }
            | Event::RequestRead { .. }
            | Event::CalloutAnswered(_)
            | Event::Spent(_) => turn.ignored(Phase::OnLane(self)),
            Event::HostRefused => not_forwarded(self.request_id, turn),
        }
    }

    /// Envoy spoke for a sidecar that is gone. Its words are mapped to the dialect elsewhere.
    fn lost(&self, turn: &mut Turn<'_>) {
        turn.count(Counter::LaneLost);
        turn.count(Counter::Bypass);
        for (name, value) in reply::bypass_fields(Reason::SidecarLost, &self.request_id) {
            turn.act(Action::SetResponseHeader(name, value));
        }
        turn.act(Action::Log(LogLine {
            outcome: Some(Outcome::Bypass),
            reason: Some(Reason::SidecarLost),
            code: Some(Problem::SidecarUnavailable.code()),
            ..LogLine::default()
        }));
    }
}

/// The sidecar has said everything that the client is to see; what is ours alone goes.
fn served(head: Head<'_>, turn: &mut Turn<'_>) {
    remove(head, |name| is_internal(name, &PUBLIC), turn);
    let outcome = word(head, headers::CACHE_STATUS_SHORT)
        .and_then(|word| Outcome::ALL.iter().copied().find(|outcome| outcome.as_str() == word));
    let reason = word(head, headers::CACHE_STATUS)
        .and_then(|value| value.rsplit_once("detail="))
        .and_then(|(_, word)| Reason::ALL.iter().copied().find(|reason| reason.as_str() == word));
    turn.count(outcome.map_or(Counter::Refused, turn::outcome));
    turn.act(Action::Log(LogLine { outcome, reason, ..LogLine::default() }));
}

fn word<'a>(head: Head<'a>, name: &str) -> Option<&'a str> {
    head.first(name).and_then(|value| std::str::from_utf8(value).ok())
}

fn is_internal(name: &[u8], but: &[&str]) -> bool {
    name.starts_with(headers::INTERNAL_PREFIX.as_bytes())
        && !but.iter().any(|public| public.as_bytes() == name)
}

/// Whether a field of a provider's head may reach the client. What else a provider says is about its account
/// or in our name.
fn may_pass(name: &[u8]) -> bool {
    let is = |allowed: &&str| allowed.as_bytes() == name;
    name.starts_with(b":") || FRAMING.iter().any(is) || headers::FROM_PROVIDER.iter().any(is)
}

fn remove(head: Head<'_>, goes: impl Fn(&[u8]) -> bool, turn: &mut Turn<'_>) {
    let mut removed: Vec<&[u8]> = Vec::new();
    for (name, _) in head.iter() {
        if goes(name) && !removed.contains(&name) {
            removed.push(name);
            turn.act(Action::RemoveResponseHeader(name.into()));
        }
    }
}

// === impl Direct ===

impl Direct {
    pub(crate) fn on(self, event: Event<'_>, turn: &mut Turn<'_>) -> Next {
        match event {
            Event::ResponseHeaders { head, by_envoy } => {
                if by_envoy {
                    // Envoy's own words are ours: they have their advice, and nobody has served.
                    remove(head, |name| is_internal(name, &[]), turn);
                } else if UNAUTHORIZED.map(Some).contains(&head.first(":status")) {
                    return self.unauthorized(turn);
                } else {
                    remove(head, |name| !may_pass(name), turn);
                    let served_by = self.served_by.clone().into();
                    turn.act(Action::SetResponseHeader(headers::SERVED_BY, served_by));
                }
                self.answered(turn);
                (Phase::Done, Flow::Continue)
            }
            Event::Done => turn.left(LogLine::default()),
            Event::RequestBody { .. } | Event::RequestTrailers => {
                (Phase::Direct(self), Flow::Continue)
            }
            Event::RequestHeaders { .. }
            | Event::RequestRead { .. }
            | Event::CalloutAnswered(_)
            | Event::Spent(_) => turn.ignored(Phase::Direct(self)),
            Event::HostRefused => not_forwarded(self.request_id, turn),
        }
    }

    /// The provider refused the gateway's own credential. The client would take that for a word about its key,
    /// and the rest of it may repeat the credential: the answer is replaced.
    fn unauthorized(self, turn: &mut Turn<'_>) -> Next {
        let Self { request_id, dialect, target, reason, served_by: _ } = self;
        turn.count(Counter::Bypass);
        let problem = Problem::UpstreamUnauthorized { target };
        let mut reply = reply::problem(dialect, &problem, None);
        reply.headers.extend(reply::bypass_fields(reason, &request_id));
        let log = LogLine {
            outcome: Some(Outcome::Bypass),
            reason: Some(reason),
            code: Some(problem.code()),
            ..LogLine::default()
        };
        turn.reply(reply, log)
    }

    fn answered(&self, turn: &mut Turn<'_>) {
        turn.count(Counter::Bypass);
        for (name, value) in reply::bypass_fields(self.reason, &self.request_id) {
            turn.act(Action::SetResponseHeader(name, value));
        }
        turn.act(Action::Log(LogLine {
            outcome: Some(Outcome::Bypass),
            reason: Some(self.reason),
            ..LogLine::default()
        }));
    }
}

/// The filter has answered. The rest of the request, its own reply on the way out, and a late answer of the
/// sidecar may still come by.
pub(crate) fn replied(event: Event<'_>, turn: &mut Turn<'_>) -> Next {
    match event {
        Event::RequestBody { .. } | Event::RequestTrailers => (Phase::Replied, Flow::Pause),
        Event::ResponseHeaders { .. } => (Phase::Replied, Flow::Continue),
        Event::CalloutAnswered(_) => (Phase::Replied, Flow::Pause),
        Event::Done => (Phase::Done, Flow::Continue),
        Event::RequestHeaders { .. }
        | Event::RequestRead { .. }
        | Event::Spent(_)
        | Event::HostRefused => {
            turn.count(Counter::Unexpected);
            (Phase::Replied, Flow::Pause)
        }
    }
}

/// Nothing is left to do. A request that Envoy has ended itself is never resumed from here.
pub(crate) fn done(event: Event<'_>, turn: &mut Turn<'_>) -> Next {
    match event {
        Event::ResponseHeaders { .. } | Event::Done => (Phase::Done, Flow::Continue),
        // The answer to a question of a request that is over.
        Event::RequestBody { .. } | Event::RequestTrailers | Event::CalloutAnswered(_) => {
            (Phase::Done, Flow::Pause)
        }
        // A response whose head could not be edited goes out as it is: its body may be on the way.
        Event::HostRefused => {
            turn.count(Counter::Unexpected);
            (Phase::Done, Flow::Continue)
        }
        Event::RequestHeaders { .. } | Event::RequestRead { .. } | Event::Spent(_) => {
            turn.count(Counter::Unexpected);
            (Phase::Done, Flow::Pause)
        }
    }
}

/// The head could not be replaced, so the client's own would go out, key and all: the request ends here.
fn not_forwarded(request_id: RequestId, turn: &mut Turn<'_>) -> Next {
    turn.unexpected(LogLine { request_id: Some(request_id), ..LogLine::default() })
}
