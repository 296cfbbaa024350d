//! A request that has passed identity and policy and has a plan: what may be forwarded, and how. Only from
//! one of these can a request leave the gateway.

use std::rc::Rc;

use kt_contract::outcome::Reason;
use kt_contract::problem::Problem;
use kt_contract::snapshot::OnSidecarLoss;

use super::Phase;
use super::forwarded::{Direct, OnLane};
use super::opening::Opening;
use crate::action::{Action, Flow, LogLine};
use crate::ask::Ask;
use crate::forward::{Forward, Lane};
use crate::hits::Hit;
use crate::plan::Plan;
use crate::principals::Known;
use crate::turn::{self, Next, Turn};

/// A request, its caller and its plan.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) ask: Ask,
    pub(crate) known: Known,
    pub(crate) plan: Rc<Plan>,
    pub(crate) body_bytes: usize,
}

// === impl Planned ===

impl Planned {
    pub(crate) fn log(&self) -> LogLine {
        LogLine {
            request_id: Some(self.ask.request_id.clone()),
            principal: Some(Rc::clone(&self.known.principal)),
            key_age: self.known.key_age,
            route: Some(Rc::clone(&self.plan.route)),
            codebase: self.ask.codebase.clone(),
            guardrails: self.plan.guardrails.clone(),
            ..LogLine::default()
        }
    }

    /// The request as a hit of the worker's own cache.
    pub(crate) fn hit(&self) -> Hit {
        Hit { principal: Rc::clone(&self.known.principal), route: Rc::clone(&self.plan.route) }
    }

    /// To the sidecar, which serves everything else and says what came of it.
    pub(crate) fn by_lane(self, ticket: String, turn: &mut Turn<'_>) -> Next {
        turn.act(Action::Log(self.log()));
        let idempotency = self.ask.idempotency.clone();
        let request_id = self.forward(Lane::Sidecar { ticket, idempotency }, turn);
        (Phase::OnLane(OnLane { request_id }), Flow::Continue)
    }

    /// Without the sidecar: directly to the target, counted or not, or not at all, as the configuration says. Never for a caller
    /// that the worker would not let in now: the head was checked before the body came, and that may be long ago.
    /// And never with an `Idempotency-Key`: nobody else knows whether the call has been made before.
    pub(crate) fn without_sidecar(self, reason: Reason, turn: &mut Turn<'_>) -> Next {
        if self.ask.wish.control.only_if_cached {
            return self.not_cached(reason, turn);
        }
        let is_covered = turn.worker.principal(turn.now, &self.ask.who.key).is_some();
        let is_keyed = self.ask.idempotency.is_some();
        let Plan { on_sidecar_loss, open_with_cap, .. } = *self.plan;
        match (is_covered && !is_keyed).then_some((on_sidecar_loss, open_with_cap)) {
            Some((OnSidecarLoss::Direct, _)) => self.directly(reason, turn),
            Some((OnSidecarLoss::Unavailable, Some(cap))) => Opening::ask(self, reason, cap, turn),
            Some((OnSidecarLoss::Unavailable, None)) | None => self.unavailable(reason, turn),
        }
    }

    /// Directly to the target.
    pub(crate) fn directly(self, reason: Reason, turn: &mut Turn<'_>) -> Next {
        if let Some(counter) = turn::direct(reason) {
            turn.count(counter);
        }
        turn.act(Action::Log(LogLine { reason: Some(reason), ..self.log() }));
        let target = self.plan.route.target.clone();
        let served_by = self.plan.served_by().to_owned();
        let dialect = self.ask.dialect();
        let request_id = self.forward(Lane::Direct { target: target.clone() }, turn);
        let direct = Direct { request_id, dialect, target, reason, served_by };
        (Phase::Direct(direct), Flow::Continue)
    }

    /// Not at all, as long as the sidecar is lost.
    pub(crate) fn unavailable(self, reason: Reason, turn: &mut Turn<'_>) -> Next {
        let log = LogLine { reason: Some(reason), ..self.log() };
        let problem = if reason == Reason::Draining {
            Problem::Draining
        } else {
            Problem::SidecarUnavailable
        };
        turn.refuse(self.ask.dialect(), &problem, log)
    }

    /// Only a cached answer was wanted, and there is none: the request ends here.
    pub(crate) fn not_cached(self, reason: Reason, turn: &mut Turn<'_>) -> Next {
        let log = LogLine { reason: Some(reason), ..self.log() };
        turn.refuse(self.ask.dialect(), &Problem::NotCached { reason }, log)
    }

    fn forward(self, lane: Lane, turn: &mut Turn<'_>) -> crate::request_id::RequestId {
        let Self { ask, body_bytes, .. } = self;
        turn.act(Action::Forward(Forward {
            lane,
            request_id: ask.request_id.clone(),
            endpoint: ask.endpoint,
            body_bytes,
        }));
        ask.request_id
    }
}
