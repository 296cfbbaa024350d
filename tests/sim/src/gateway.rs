//! Gateways: the product's own filter core, played as the glue plays it. Envoy around it is a few lines: it keeps the
//! body, times callouts out, and says so where a lane is lost.

use std::rc::Rc;

use kt_contract::time::MonoMillis;
use kt_contract::wire::headers::{ADMIT, MARKER};
use kt_contract::wire::principal::PrincipalRequest;
use kt_contract::wire::{PATH_PRINCIPAL, VERSION};
use kt_filter_core::Worker;
use kt_filter_core::action::{Action, Flow};
use kt_filter_core::event::{Answer, Event as Happens};
use kt_filter_core::forward::{Forward, Lane};
use kt_filter_core::head::Head;
use kt_filter_core::peer::Peer;

use crate::event::{Event, Hears, Link, Spoken};
use crate::fixture::PATH;
use crate::world::World;

/// How long a callout may take.
const CALLOUT_MS: u64 = 300;
/// How long a poll may take.
const POLL_MS: u64 = 900;
/// When it polls again where nobody has answered.
const TICK_MS: u64 = 200;
/// A gateway polls as long as its last request is not older than this.
const POLLS_FOR_MS: u64 = 1_500;

/// A gateway with one worker.
#[derive(Debug)]
pub(crate) struct Gateway {
    /// What the filter holds across requests.
    pub(crate) worker: Worker,
    /// Whom it asks.
    pub(crate) sidecar: usize,
    /// What its monotonic clock showed in the beginning.
    base_ms: u64,
    poll: u32,
    is_polling: bool,
    asked_at: u64,
}

// === impl Gateway ===

impl Gateway {
    /// One that knows nothing yet.
    pub(crate) fn new(nth: usize, sidecar: usize, base_ms: u64) -> Self {
        let worker = Worker::new(crate::fixture::gateway(nth));
        Self { worker, sidecar, base_ms, poll: 0, is_polling: false, asked_at: 0 }
    }

    const fn mono(&self, now: u64) -> MonoMillis {
        MonoMillis(self.base_ms + now)
    }
}

// === impl World ===

impl World<'_> {
    /// The head and the body of a try come to its gateway.
    pub(crate) fn gateway_hears(&mut self, attempt: usize) {
        let Some(tried) = self.tries.get(attempt) else { return };
        let (gateway, ask) = (tried.gateway, tried.ask);
        let Some(asked) = self.asks.get(ask) else { return };
        let Some(caller) = self.fixture.callers.get(asked.caller) else { return };
        let mut fields: Vec<(&[u8], &[u8])> = vec![
            (b":method", b"POST"),
            (b":path", PATH.as_bytes()),
            (b":authority", b"gateway"),
            (b"content-type", b"application/json"),
            (b"authorization", caller.bearer.as_bytes()),
        ];
        let name = asked.name.clone();
        if let Some(name) = &name {
            fields.push((b"idempotency-key", name.as_bytes()));
        }
        if asked.no_cache {
            fields.push((b"cache-control", b"no-cache"));
        }
        let bytes = u64::try_from(asked.body.len()).unwrap_or(u64::MAX);
        let random = self.rng.u128(..).to_be_bytes();
        self.asks_gateway(gateway);
        let head = Head::new(&fields);
        if self
            .turn(
                attempt,
                Happens::RequestHeaders { head, end: false, random, peer: Peer::default() },
            )
            .is_none()
        {
            return;
        }
        let _ = self.turn(attempt, Happens::RequestBody { bytes, end: true });
    }

    /// A gateway has a request, so that it wants to know what is new.
    fn asks_gateway(&mut self, gateway: usize) {
        let now = self.now;
        let Some(of) = self.gateways.get_mut(gateway) else { return };
        of.asked_at = now;
        if !of.is_polling {
            self.polls(gateway);
        }
    }

    /// A worker's first poll, and every next one.
    pub(crate) fn polls(&mut self, gateway: usize) {
        let now = self.now;
        let Some(of) = self.gateways.get_mut(gateway) else { return };
        let Some(body) = of.worker.poll(of.mono(now)) else { return };
        (of.poll, of.is_polling) = (of.poll + 1, true);
        let (serial, at) = (of.poll, of.sidecar);
        let hears = Hears::Poll { gateway, serial, body: body.into() };
        self.send(Link::Gateway(gateway), Event::Sidecar { at, life: None, hears });
        self.push_in(POLL_MS, Event::PollEnds { gateway, serial, spoken: None });
    }

    pub(crate) fn poll_ends(&mut self, gateway: usize, serial: u32, spoken: Option<&Spoken>) {
        let now = self.now;
        let Some(of) = self.gateways.get_mut(gateway) else { return };
        if of.poll != serial || !of.is_polling {
            return;
        }
        of.is_polling = false;
        let mut counters = Vec::new();
        let mono = of.mono(now);
        let is_answered =
            with_answer(spoken, |answer| of.worker.polled(mono, answer, &mut counters));
        // Between two requests there is nobody whom it could serve.
        if of.asked_at + POLLS_FOR_MS <= now {
            return;
        }
        if is_answered {
            self.polls(gateway);
        } else {
            of.is_polling = true;
            self.push_in(TICK_MS, Event::Polls(gateway));
        }
    }

    pub(crate) fn callout_ends(&mut self, attempt: usize, serial: u32, spoken: Option<&Spoken>) {
        let is_asked = self.tries.get(attempt).is_some_and(|tried| tried.callout == Some(serial));
        if !is_asked {
            return;
        }
        if let Some(tried) = self.tries.get_mut(attempt) {
            tried.callout = None;
        }
        with_answer(spoken, |answer| self.turn(attempt, Happens::CalloutAnswered(answer)));
    }

    /// The sidecar has begun to answer on the lane.
    pub(crate) fn lane_head(&mut self, attempt: usize, status: u16) {
        let status = status.to_string();
        let version = VERSION.to_string();
        let fields: [(&[u8], &[u8]); 2] =
            [(b":status", status.as_bytes()), (MARKER.as_bytes(), version.as_bytes())];
        let head = Head::new(&fields);
        let _ = self.turn(attempt, Happens::ResponseHeaders { head, by_envoy: false });
    }

    /// Envoy answers for a sidecar that does not.
    pub(crate) fn envoy_speaks(&mut self, attempt: usize) {
        let fields: [(&[u8], &[u8]); 1] = [(b":status", b"503")];
        let head = Head::new(&fields);
        let _ = self.turn(attempt, Happens::ResponseHeaders { head, by_envoy: true });
    }

    /// The exchange of a try is over.
    pub(crate) fn gateway_done(&mut self, attempt: usize) {
        let _ = self.turn(attempt, Happens::Done);
    }

    /// One turn of the core, and what it wants done. `None` where the filter has answered.
    fn turn(&mut self, attempt: usize, event: Happens<'_>) -> Option<Flow> {
        let now = self.now;
        let tried = self.tries.get_mut(attempt)?;
        let of = self.gateways.get_mut(tried.gateway)?;
        let (mono, mut actions) = (of.mono(now), Vec::new());
        let flow = tried.exchange.handle(&mut of.worker, mono, event, &mut actions);
        let has_replied = self.acts(attempt, actions);
        if has_replied {
            return None;
        }
        if flow == Flow::ReadBody {
            let body = self.keys(attempt)?;
            return self.turn(attempt, Happens::RequestRead { body: body.as_bytes() });
        }
        if flow == Flow::Continue {
            self.forwards(attempt);
        }
        Some(flow)
    }

    /// The body of a try, whose key is counted on the way: it must not depend on the gateway.
    fn keys(&mut self, attempt: usize) -> Option<Rc<str>> {
        let tried = self.tries.get(attempt)?;
        let asked = self.asks.get(tried.ask)?;
        let snapshot = self.gateways.get(tried.gateway)?.worker.snapshot()?;
        let at = (asked.caller, asked.question, snapshot.policy.digest.0);
        let (body, caller) = (Rc::clone(&asked.body), asked.caller);
        let fixture = self.fixture;
        let key = match self.keys.get(&at) {
            Some(key) => *key,
            None => fixture.key(caller, &body, &snapshot)?,
        };
        self.keys.insert(at, key);
        self.tries.get_mut(attempt)?.key = Some(key);
        Some(body)
    }

    /// Does what the core wants done. Whether that was a reply.
    fn acts(&mut self, attempt: usize, actions: Vec<Action>) -> bool {
        let mut has_replied = false;
        for action in actions {
            match action {
                Action::Callout(callout) => self.calls_out(attempt, callout.path, callout.body),
                Action::Reply(reply) => {
                    has_replied = true;
                    self.tally.add(if reply.status == 200 {
                        "hits inline"
                    } else {
                        "refusals of a filter"
                    });
                    self.client_gets(attempt, reply.status, &reply.body);
                }
                Action::Forward(Forward {
                    lane: Lane::Sidecar { ticket, .. }, request_id, ..
                }) => {
                    if let Some(tried) = self.tries.get_mut(attempt) {
                        tried.request_id = request_id.as_str().to_owned();
                        tried.ticket = Some(ticket.into());
                    }
                }
                // No world is configured so.
                Action::Forward(Forward { lane: Lane::Direct { .. }, .. })
                | Action::ReplaceBody(_)
                | Action::Spend(_)
                | Action::ClearTrailers
                | Action::SetResponseHeader(..)
                | Action::RemoveResponseHeader(_)
                | Action::Log(_)
                | Action::Count(_) => {}
            }
        }
        has_replied
    }

    fn calls_out(&mut self, attempt: usize, path: &'static str, body: Vec<u8>) {
        let Some(tried) = self.tries.get_mut(attempt) else { return };
        tried.callouts += 1;
        let (serial, gateway) = (tried.callouts, tried.gateway);
        tried.callout = Some(serial);
        let Some(at) = self.gateways.get(gateway).map(|of| of.sidecar) else { return };
        let hears = if path == PATH_PRINCIPAL {
            let Ok(asked) = serde_json::from_slice::<PrincipalRequest>(&body) else { return };
            Hears::Principal { attempt, serial, key: asked.key }
        } else {
            Hears::Admit { attempt, serial, body: body.into() }
        };
        self.send(Link::Gateway(gateway), Event::Sidecar { at, life: None, hears });
        self.push_in(CALLOUT_MS, Event::CalloutEnds { attempt, serial, spoken: None });
    }

    /// The request goes on to the sidecar, with its ticket.
    fn forwards(&mut self, attempt: usize) {
        let Some(tried) = self.tries.get_mut(attempt) else { return };
        let Some(ticket) = tried.ticket.take() else { return };
        let gateway = tried.gateway;
        let Some(at) = self.gateways.get(gateway).map(|of| of.sidecar) else { return };
        let link = Link::Gateway(gateway);
        if self.is_cut(link) || self.chance(self.swarm.loss / 4) {
            let noticed_in = self.rng.u64(1..3_000);
            self.push_in(noticed_in, Event::LaneBreaks(attempt));
            return;
        }
        let lane = |is_copy| {
            let hears = Hears::Lane { attempt, ticket: Rc::clone(&ticket), is_copy };
            Event::Sidecar { at, life: None, hears }
        };
        let (first, copy) = (lane(false), lane(true));
        let mut length = self.rng.u64(1..=3);
        if self.chance(self.swarm.late / 4) {
            length += self.rng.u64(0..2_500);
        }
        self.push_in(length, first);
        // Whoever sends the same bytes once more has a ticket that is used up.
        if self.chance(self.swarm.double) {
            self.push_in(length + 1, copy);
        }
    }
}

fn with_answer<T>(spoken: Option<&Spoken>, take: impl FnOnce(Answer<'_>) -> T) -> T {
    let Some(Spoken { decision, body }) = spoken else { return take(Answer::Lost) };
    let version = VERSION.to_string();
    let fields: [(&[u8], &[u8]); 3] = [
        (b":status", b"200"),
        (MARKER.as_bytes(), version.as_bytes()),
        (ADMIT.as_bytes(), decision.as_bytes()),
    ];
    take(Answer::Came { head: Head::new(&fields), body })
}
