//! Admitting: the sidecar is asked for the answer, or for a ticket to the lane.

use kt_contract::hex::Digest;
use kt_contract::outcome::{Outcome, Reason};
use kt_contract::problem::Problem;
use kt_contract::time::{Millis, MonoMillis};
use kt_contract::wire::PATH_ADMIT;
use kt_contract::wire::admit::Admitted;

use super::Phase;
use super::planned::Planned;
use crate::action::{Action, Callout, Flow, LogLine};
use crate::counter::Counter;
use crate::event::{Answer, Event};
use crate::l1::Entry;
use crate::reply;
use crate::sidecar::{self, NoAnswer};
use crate::turn::{Call, Next, Turn};
use crate::worker::Era;

/// A request that waits for the sidecar's decision.
#[derive(Debug)]
pub(crate) struct Admitting {
    planned: Planned,
    bypass: Option<Reason>,
    asked_in: Era,
    asked_at: MonoMillis,
}

// === impl Admitting ===

impl Admitting {
    /// Asks the sidecar, unless the breaker says that it is no use.
    pub(crate) fn ask(
        planned: Planned,
        body: Digest,
        bypass: Option<Reason>,
        turn: &mut Turn<'_>,
    ) -> Next {
        if !turn.worker.breaker.permits(turn.now) {
            turn.count(Counter::BreakerSkipped);
            return planned.without_sidecar(Reason::BreakerOpen, turn);
        }
        let question = planned.plan.admit(&planned.ask, turn.worker.gateway(), body, bypass);
        let Ok(body) = serde_json::to_vec(&question) else {
            return turn.unexpected(planned.log());
        };
        let request_id = planned.ask.request_id.clone();
        turn.act(Action::Callout(Callout { path: PATH_ADMIT, request_id, body }));
        let (asked_in, asked_at) = (turn.worker.era(), turn.now);
        (Phase::Admitting(Box::new(Self { planned, bypass, asked_in, asked_at })), Flow::Pause)
    }

    pub(crate) fn on(self, event: Event<'_>, turn: &mut Turn<'_>) -> Next {
        match event {
            Event::CalloutAnswered(answer) => self.answered(answer, turn),
            Event::ResponseHeaders { .. } => {
                turn.envoy_spoke(&self.planned.ask.request_id, self.planned.log())
            }
            Event::Done => turn.left(self.planned.log()),
            // The body was whole when the question was asked; more of it would not be in the key.
            Event::RequestHeaders { .. }
            | Event::RequestBody { .. }
            | Event::RequestTrailers
            | Event::RequestRead { .. }
            | Event::Spent(_)
            | Event::HostRefused => turn.unexpected(self.planned.log()),
        }
    }

    fn answered(self, answer: Answer<'_>, turn: &mut Turn<'_>) -> Next {
        let decision = match sidecar::admitted(answer) {
            // Whoever asked past the cache is not served from it, and what nobody remembers is no answer to an
            // `Idempotency-Key`.
            Ok((Admitted::Hit { .. }, _)) if self.bypass.is_some() || self.is_keyed() => {
                Err(NoAnswer::Unreadable)
            }
            // Nobody asked for that.
            Ok((Admitted::NotCached { .. }, _)) if !self.only_if_cached() => {
                Err(NoAnswer::Unreadable)
            }
            other => other,
        };
        turn.called(Call::Admit, self.asked_at, decision.as_ref().err().copied());
        match decision {
            Ok((
                Admitted::Hit {
                    content_type,
                    age_s,
                    fresh_ms,
                    served_by,
                    saved_micro_usd,
                    saved_tokens,
                },
                body,
            )) => {
                let entry = Entry {
                    body: body.into(),
                    content_type: content_type.into(),
                    served_by: served_by.into(),
                    saved: saved_micro_usd,
                    saved_tokens,
                    age_s,
                    // The sidecar looked at its clock after the question was sent, not when the answer came.
                    came_at: self.asked_at,
                    fresh_until: self.asked_at.after(Millis(fresh_ms)),
                };
                self.hit(entry, turn)
            }
            Ok((Admitted::Lane { ticket, reason: _ }, _)) => self.planned.by_lane(ticket, turn),
            Ok((Admitted::Unauthenticated { revoked }, _)) => {
                turn.worker.forget(&self.planned.ask.who.key);
                let unknown = self.planned.ask.who.unknown();
                let problem = if revoked { Problem::RevokedKey } else { unknown };
                turn.refuse(self.planned.ask.dialect(), &problem, self.planned.log())
            }
            Ok((Admitted::NoTenant, _)) => {
                turn.worker.forget(&self.planned.ask.who.key);
                turn.refuse(self.planned.ask.dialect(), &Problem::NoTenant, self.planned.log())
            }
            Ok((Admitted::NotCached { reason }, _)) => {
                let problem = Problem::NotCached { reason };
                let log = LogLine { reason: Some(reason), ..self.planned.log() };
                turn.refuse_as_told(self.planned.ask.dialect(), &problem, log)
            }
            Ok((Admitted::Draining, _)) => self.planned.without_sidecar(Reason::Draining, turn),
            Err(_) => self.planned.without_sidecar(Reason::SidecarLost, turn),
        }
    }

    const fn is_keyed(&self) -> bool {
        self.planned.ask.idempotency.is_some()
    }

    const fn only_if_cached(&self) -> bool {
        self.planned.ask.wish.control.only_if_cached
    }

    fn hit(self, entry: Entry, turn: &mut Turn<'_>) -> Next {
        let Self { planned, asked_in, bypass: _, asked_at: _ } = self;
        turn.count(Counter::Hit);
        turn.count(Counter::HitShared);
        let reply = reply::hit(turn.now, &entry, Reason::Shared, &planned.ask.request_id);
        if turn.worker.fill(asked_in, &planned.plan, entry) {
            turn.count(Counter::L1Filled);
        }
        let log =
            LogLine { outcome: Some(Outcome::Hit), reason: Some(Reason::Shared), ..planned.log() };
        turn.reply(reply, log)
    }
}
