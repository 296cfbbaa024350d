//! Buffering: the caller is known and the body comes in. When it is whole it is read once, planned, looked
//! up in the worker's own cache, and forgotten; what goes on is its digest.

use std::rc::Rc;

use kt_contract::hex::Digest;
use kt_contract::outcome::{Outcome, Reason};
use kt_contract::policy::Decision;
use kt_contract::problem::Problem;

use super::Phase;
use super::admitting::Admitting;
use super::planned::Planned;
use crate::action::{Action, Flow, LogLine};
use crate::ask::Ask;
use crate::counter::Counter;
use crate::event::Event;
use crate::plan::{Caller, Plan, Unplanned, fingerprint};
use crate::principals::Known;
use crate::reply;
use crate::turn::{Next, Turn};

/// A request whose body comes in.
#[derive(Debug)]
pub(crate) struct Buffering {
    ask: Ask,
    known: Known,
    ended: bool,
}

// === impl Buffering ===

impl Buffering {
    /// Waits for the body, or has it read if it is there.
    pub(crate) fn enter(ask: Ask, known: Known, ended: bool) -> Next {
        let flow = if ended { Flow::ReadBody } else { Flow::Pause };
        (Phase::Buffering(Self { ask, known, ended }), flow)
    }

    pub(crate) fn on(mut self, event: Event<'_>, turn: &mut Turn<'_>) -> Next {
        match event {
            Event::RequestBody { bytes, end } => {
                if let Some(problem) = over(bytes, turn) {
                    return turn.refuse(self.ask.dialect(), &problem, self.log());
                }
                self.ended |= end;
                Self::enter(self.ask, self.known, self.ended)
            }
            Event::RequestTrailers => {
                turn.act(Action::ClearTrailers);
                Self::enter(self.ask, self.known, true)
            }
            // Half a body is never planned.
            Event::RequestRead { body } if self.ended => self.read(body, turn),
            Event::ResponseHeaders { .. } => turn.envoy_spoke(&self.ask.request_id, self.log()),
            Event::Done => turn.left(self.log()),
            Event::RequestHeaders { .. }
            | Event::RequestRead { .. }
            | Event::CalloutAnswered(_)
            | Event::Spent(_)
            | Event::HostRefused => turn.unexpected(self.log()),
        }
    }

    fn log(&self) -> LogLine {
        LogLine {
            request_id: Some(self.ask.request_id.clone()),
            principal: Some(Rc::clone(&self.known.principal)),
            key_age: self.known.key_age,
            codebase: self.ask.codebase.clone(),
            ..LogLine::default()
        }
    }

    fn read(mut self, body: &[u8], turn: &mut Turn<'_>) -> Next {
        // The caller was looked up when the head came, and the body may have taken any time since.
        let current = turn.worker.principal(turn.now, &self.ask.who.key);
        let is_covered = current.is_some();
        if let Some(current) = current {
            self.known = current;
        }
        let digest = Digest(*blake3::hash(body).as_bytes());
        let bytes = u64::try_from(body.len()).unwrap_or(u64::MAX);
        let plan = match over(bytes, turn) {
            Some(problem) => Err(problem.into()),
            None => self.plan(body, &digest, is_covered, turn),
        };
        let plan = match plan {
            Ok(plan) => plan,
            Err(Unplanned { problem, model, guardrails }) => {
                let log = LogLine { model, guardrails, ..self.log() };
                return turn.refuse(self.ask.dialect(), &problem, log);
            }
        };
        for decision in plan.triggered().iter().map(|triggered| triggered.decision) {
            turn.count(match decision {
                Decision::Monitor => Counter::Monitored,
                Decision::Redact | Decision::Block => Counter::Redacted,
            });
        }
        let (digest, body_bytes) = match plan.redact(body) {
            None => (digest, body.len()),
            Some(redacted) => {
                let digest = Digest(*blake3::hash(&redacted).as_bytes());
                let body_bytes = redacted.len();
                turn.act(Action::ReplaceBody(redacted));
                (digest, body_bytes)
            }
        };
        let rules = self.known.tenant.as_ref().map(|rules| Rc::clone(&rules.snapshot));
        let snapshot = rules.or_else(|| turn.worker.snapshot());
        let disabled = snapshot.is_none_or(|snapshot| !snapshot.cache.enabled);
        let bypass = disabled.then_some(Reason::Disabled).or(self.ask.wish.bypass).or(plan.bypass);
        let Self { ask, known, ended: _ } = self;
        let planned = Planned { ask, known, plan, body_bytes };
        match bypass {
            Some(reason) if planned.ask.wish.control.only_if_cached => {
                planned.not_cached(reason, turn)
            }
            None if is_covered && planned.ask.idempotency.is_none() => {
                lookup(planned, digest, turn)
            }
            // Who is not known any more is served from no memory: the sidecar has the word on who asks. And it
            // alone remembers what an `Idempotency-Key` has been answered.
            None | Some(_) => Admitting::ask(planned, digest, bypass, turn),
        }
    }

    /// The plan of the body: made, or remembered from the same request before. One that is made for a caller who
    /// is not known any more is not remembered: the next of that key may be somebody else.
    fn plan(
        &self,
        body: &[u8],
        digest: &Digest,
        is_covered: bool,
        turn: &mut Turn<'_>,
    ) -> Result<Rc<Plan>, Unplanned> {
        let fingerprint = fingerprint(&self.ask, digest);
        if let Some(plan) = turn.worker.planned(&fingerprint) {
            return Ok(plan);
        }
        let (snapshot, chain) = match &self.known.tenant {
            Some(rules) => (Rc::clone(&rules.snapshot), Rc::clone(&rules.chain)),
            None => (turn.worker.snapshot().ok_or(Problem::NotReady)?, turn.worker.chain()),
        };
        let caller = Caller {
            ask: &self.ask,
            known: &self.known,
            gateway: turn.worker.gateway(),
            snapshot: &snapshot,
            chain: &chain,
        };
        let plan = Rc::new(Plan::make(caller, body)?);
        if is_covered && plan.is_small() {
            let era = turn.worker.era();
            turn.worker.remember_plan(era, fingerprint, Rc::clone(&plan));
        }
        Ok(plan)
    }
}

fn over(bytes: u64, turn: &Turn<'_>) -> Option<Problem> {
    let bytes_max = turn.request_bytes_max();
    (bytes > bytes_max).then_some(Problem::TooLarge { bytes_max })
}

/// Answers from the worker's own cache, or asks the sidecar.
fn lookup(planned: Planned, digest: Digest, turn: &mut Turn<'_>) -> Next {
    let Some(entry) = turn.worker.hit(turn.now, &planned) else {
        return Admitting::ask(planned, digest, None, turn);
    };
    turn.count(Counter::Hit);
    turn.count(Counter::HitL1);
    let reply = reply::hit(turn.now, &entry, Reason::L1, &planned.ask.request_id);
    let log = LogLine { outcome: Some(Outcome::Hit), reason: Some(Reason::L1), ..planned.log() };
    turn.reply(reply, log)
}
