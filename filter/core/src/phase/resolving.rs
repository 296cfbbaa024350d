//! Resolving: the worker does not know the key, so the sidecar is asked. The body may come in meanwhile.

use kt_contract::problem::Problem;
use kt_contract::snapshot::Snapshot;
use kt_contract::time::MonoMillis;
use kt_contract::wire::principal::{PrincipalReply, PrincipalRequest};
use kt_contract::wire::{PATH_PRINCIPAL, VERSION};
use kt_providers::Dialect;

use super::Phase;
use super::buffering::Buffering;
use crate::action::{Action, Callout, Flow, LogLine};
use crate::ask::Ask;
use crate::counter::Counter;
use crate::event::{Answer, Event};
use crate::identity::Who;
use crate::principals::Known;
use crate::reply;
use crate::request_id::RequestId;
use crate::sidecar;
use crate::turn::{Call, Next, Turn};
use crate::worker::Era;

/// A request whose caller is asked for.
#[derive(Debug)]
pub(crate) struct Resolving {
    wants: Wants,
    asked_in: Era,
    asked_at: MonoMillis,
    body_ended: bool,
}

/// What the request wants once its caller is known.
#[derive(Debug)]
pub(crate) enum Wants {
    /// The list of models.
    Models { request_id: RequestId, who: Who, dialect: Dialect },
    /// An answer.
    Answer(Ask),
}

// === impl Wants ===

impl Wants {
    pub(crate) const fn who(&self) -> &Who {
        match self {
            Self::Models { who, .. } => who,
            Self::Answer(ask) => &ask.who,
        }
    }

    const fn request_id(&self) -> &RequestId {
        match self {
            Self::Models { request_id, .. } => request_id,
            Self::Answer(ask) => &ask.request_id,
        }
    }

    const fn dialect(&self) -> Dialect {
        match self {
            Self::Models { dialect, .. } => *dialect,
            Self::Answer(ask) => ask.dialect(),
        }
    }

    pub(crate) fn log(&self) -> LogLine {
        LogLine { request_id: Some(self.request_id().clone()), ..LogLine::default() }
    }
}

// === impl Resolving ===

impl Resolving {
    /// Asks the sidecar, unless the breaker says that it is no use.
    pub(crate) fn ask(wants: Wants, body_ended: bool, turn: &mut Turn<'_>) -> Next {
        if !turn.worker.breaker.permits(turn.now) {
            turn.count(Counter::BreakerSkipped);
            return turn.refuse(wants.dialect(), &Problem::SidecarUnavailable, wants.log());
        }
        let Who { key, identity } = wants.who();
        let identity = identity.as_deref().cloned();
        let question = PrincipalRequest { version: VERSION, key: *key, identity };
        let Ok(body) = serde_json::to_vec(&question) else {
            return turn.unexpected(wants.log());
        };
        let request_id = wants.request_id().clone();
        turn.act(Action::Callout(Callout { path: PATH_PRINCIPAL, request_id, body }));
        let (asked_in, asked_at) = (turn.worker.era(), turn.now);
        (Phase::Resolving(Self { wants, asked_in, asked_at, body_ended }), Flow::Pause)
    }

    pub(crate) fn on(mut self, event: Event<'_>, turn: &mut Turn<'_>) -> Next {
        match event {
            Event::RequestBody { bytes, end } => {
                let bytes_max = turn.request_bytes_max();
                if bytes > bytes_max {
                    let problem = Problem::TooLarge { bytes_max };
                    return turn.refuse(self.wants.dialect(), &problem, self.wants.log());
                }
                self.body_ended |= end;
                (Phase::Resolving(self), Flow::Pause)
            }
            Event::RequestTrailers => {
                turn.act(Action::ClearTrailers);
                self.body_ended = true;
                (Phase::Resolving(self), Flow::Pause)
            }
            Event::CalloutAnswered(answer) => self.answered(answer, turn),
            Event::ResponseHeaders { .. } => {
                turn.envoy_spoke(self.wants.request_id(), self.wants.log())
            }
            Event::Done => turn.left(self.wants.log()),
            Event::RequestHeaders { .. }
            | Event::RequestRead { .. }
            | Event::Spent(_)
            | Event::HostRefused => turn.unexpected(self.wants.log()),
        }
    }

    fn answered(self, answer: Answer<'_>, turn: &mut Turn<'_>) -> Next {
        let reply = sidecar::principal(answer);
        turn.called(Call::Principal, self.asked_at, reply.as_ref().err().copied());
        let problem = match reply {
            Ok(PrincipalReply::Known { principal, key_age_ms }) => {
                let known = Known::new(principal).with_key_age(key_age_ms, turn.now);
                return self.known(known, turn);
            }
            Ok(PrincipalReply::Tenant { principal, key_age_ms, snapshot }) => {
                match turn.worker.rules(*snapshot) {
                    Some(rules) => {
                        let known = Known::of_tenant(principal, rules);
                        return self.known(known.with_key_age(key_age_ms, turn.now), turn);
                    }
                    // Of a policy that cannot be run here, nothing is let pass.
                    None => {
                        turn.count(Counter::WireError);
                        Problem::NotReady
                    }
                }
            }
            Ok(PrincipalReply::NoTenant) => Problem::NoTenant,
            Ok(PrincipalReply::Revoked) => Problem::RevokedKey,
            Ok(PrincipalReply::Unknown) => self.wants.who().unknown(),
            // Without an identity nothing is forwarded, whatever `on_sidecar_loss` says.
            Ok(PrincipalReply::Unavailable) | Err(_) => Problem::SidecarUnavailable,
        };
        turn.refuse(self.wants.dialect(), &problem, self.wants.log())
    }

    fn known(self, known: Known, turn: &mut Turn<'_>) -> Next {
        turn.worker.remember(self.asked_in, self.wants.who().key, &known);
        match (self.wants, turn.worker.snapshot()) {
            (Wants::Answer(ask), Some(_)) => Buffering::enter(ask, known, self.body_ended),
            (Wants::Models { request_id, dialect, .. }, Some(snapshot)) => {
                models(&snapshot, dialect, &known, &request_id, turn)
            }
            // A snapshot never goes away again.
            (wants, None) => turn.unexpected(wants.log()),
        }
    }
}

/// Answers with the model list.
pub(crate) fn models(
    snapshot: &Snapshot,
    dialect: Dialect,
    known: &Known,
    request_id: &RequestId,
    turn: &mut Turn<'_>,
) -> Next {
    turn.count(Counter::Local);
    let snapshot = known.tenant.as_ref().map_or(snapshot, |rules| rules.snapshot.as_ref());
    let log = LogLine {
        request_id: Some(request_id.clone()),
        principal: Some(known.principal.clone()),
        key_age: known.key_age,
        ..LogLine::default()
    };
    turn.reply(reply::models(snapshot, dialect, request_id), log)
}
