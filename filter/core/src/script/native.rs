//! The core, played as the glue in `filter/` plays it, on a host that is nothing but this file. It repeats
//! the glue on purpose: what the two do differently is found by comparing them.

use std::collections::VecDeque;

use kt_contract::limits::{ADMIT_TIMEOUT_DEFAULT, FEED_TIMEOUT};
use kt_contract::time::{Millis, MonoMillis};
use kt_contract::wire::PATH_FEED;

use super::{BEGIN_MS, Call, Fields, Reply, SLOTS, Step, Turned, gateway, reply_to};
use crate::action::{Action, Callout, Flow};
use crate::counter::Counter;
use crate::event::{Answer, Event};
use crate::head::Head;
use crate::pairs::Pair;
use crate::peer::Peer;
use crate::till::Spent;
use crate::{Exchange, Worker};

/// How many random ids the glue fetches at a time.
const IDS_AHEAD: usize = 64;

/// What Envoy says of a response that an upstream made.
const DETAILS_OF_UPSTREAM: &str = "via_upstream";

/// Fills a slice with random bytes.
type Entropy = Box<dyn FnMut(&mut [u8])>;

/// A worker, its exchanges and its host.
pub struct Native {
    worker: Worker,
    slots: [Slot; SLOTS],
    /// Oldest first.
    pending: VecDeque<Pending>,
    polling: bool,
    now: MonoMillis,
    random: Entropy,
    ids: Vec<[u8; 16]>,
    counts: Vec<u64>,
    /// The host does nothing that it is asked.
    refuses: bool,
    calls: Vec<Call>,
}

#[derive(Default)]
struct Slot {
    /// Which of the exchanges that were here.
    serial: u64,
    exchange: Exchange,
    head: Fields,
    body: Vec<u8>,
}

struct Pending {
    /// The exchange; `None` is the root.
    of: Option<(usize, u64)>,
    path: &'static str,
    body: Vec<u8>,
}

/// What came of the actions of a turn.
enum Ran {
    All,
    CalloutLost,
    Refused,
    /// A call would pass without the sidecar. No script has data that VMs share, so it cannot be counted.
    Uncountable,
}

// === impl Native ===

impl Native {
    /// A worker that has just started, and has polled. `random` is where its ids come from.
    pub fn start(random: impl FnMut(&mut [u8]) + 'static) -> Self {
        let mut native = Self {
            worker: Worker::new(gateway()),
            slots: std::array::from_fn(|_| Slot::default()),
            pending: VecDeque::new(),
            polling: false,
            now: MonoMillis(BEGIN_MS),
            random: Box::new(random),
            ids: Vec::new(),
            counts: vec![0; Counter::ALL.len()],
            refuses: false,
            calls: Vec::new(),
        };
        let name = native.id();
        native.worker.name(name);
        native.poll();
        native.calls.clear();
        native
    }

    /// Plays a step.
    pub fn play(&mut self, step: &Step) -> Turned {
        let holds = self.step(step);
        if !matches!(step, Step::Refuse) {
            self.refuses = false;
        }
        Turned { calls: std::mem::take(&mut self.calls), holds }
    }

    fn step(&mut self, step: &Step) -> Option<bool> {
        let event_at = |flow: Option<Flow>| flow.map(|flow| flow != Flow::Continue);
        match step {
            Step::Begin { at } => {
                let _ = self.turn(*at, Event::Done);
                let slot = self.slots.get_mut(*at)?;
                *slot = Slot { serial: slot.serial.saturating_add(1), ..Slot::default() };
                None
            }
            Step::Head { at, fields, end } => {
                self.slots.get_mut(*at)?.head.clone_from(fields);
                let random = self.id();
                let pairs = pairs(fields);
                let head = Head::new(&pairs);
                event_at(self.turn(
                    *at,
                    Event::RequestHeaders { head, end: *end, random, peer: Peer::default() },
                ))
            }
            Step::Body { at, piece, end } => {
                let held = &mut self.slots.get_mut(*at)?.body;
                held.extend_from_slice(piece);
                let bytes = u64::try_from(held.len()).unwrap_or(u64::MAX);
                event_at(self.turn(*at, Event::RequestBody { bytes, end: *end }))
            }
            Step::Trailers { at } => event_at(self.turn(*at, Event::RequestTrailers)),
            Step::Response { at, fields, details } => {
                let reads = self.slots.get(*at)?.exchange.reads_response();
                let fields = if reads { pairs(fields) } else { Vec::new() };
                let by_envoy = reads && !details.is_empty() && *details != DETAILS_OF_UPSTREAM;
                let head = Head::new(&fields);
                event_at(self.turn(*at, Event::ResponseHeaders { head, by_envoy }))
            }
            Step::Answer { which, reply } => {
                self.answer(*which, reply);
                None
            }
            Step::Tick => {
                self.poll();
                self.flush();
                None
            }
            Step::Wait { ms } => {
                self.now = self.now.after(Millis(*ms));
                None
            }
            Step::Refuse => {
                self.refuses = true;
                None
            }
        }
    }

    fn turn(&mut self, at: usize, event: Event<'_>) -> Option<Flow> {
        let mut actions = Vec::new();
        let slot = self.slots.get_mut(at)?;
        let flow = slot.exchange.handle(&mut self.worker, self.now, event, &mut actions);
        let flow = match self.run(at, actions) {
            Ran::All => flow,
            Ran::CalloutLost => self.turn(at, Event::CalloutAnswered(Answer::Lost))?,
            Ran::Refused => self.turn(at, Event::HostRefused)?,
            Ran::Uncountable => self.turn(at, Event::Spent(Spent::Uncountable))?,
        };
        if flow == Flow::ReadBody {
            let body = self.slots.get(at)?.body.clone();
            return self.turn(at, Event::RequestRead { body: &body });
        }
        Some(flow)
    }

    fn run(&mut self, at: usize, actions: Vec<Action>) -> Ran {
        let mut ran = Ran::All;
        for action in actions {
            let is_done = match action {
                Action::Count(counter) => {
                    self.count(counter);
                    continue;
                }
                Action::Log(line) => {
                    for (key, value) in line.fields() {
                        self.calls.push(Call::Property(key.to_owned(), value.into_owned()));
                        if self.refuses {
                            self.count(Counter::HostRefused);
                        }
                    }
                    continue;
                }
                Action::Callout(callout) => {
                    if !self.asks(at, callout) {
                        ran = Ran::CalloutLost;
                    }
                    continue;
                }
                Action::Spend(_) => {
                    ran = Ran::Uncountable;
                    continue;
                }
                Action::Reply(reply) => self.call(Call::Reply {
                    status: reply.status,
                    fields: reply
                        .headers
                        .iter()
                        .map(|(name, value)| ((*name).into(), value.as_bytes().to_vec()))
                        .collect(),
                    body: reply.body.to_vec(),
                }),
                Action::Forward(forward) => {
                    let slot = self.slots.get(at);
                    let current = slot.map(|slot| slot.head.clone()).unwrap_or_default();
                    let head: Fields = forward
                        .head(Head::new(&pairs(&current)))
                        .into_iter()
                        .map(|(name, value)| (name.into(), value.into_owned()))
                        .collect();
                    let is_done = self.call(Call::SetRequestHead(head.clone()));
                    if let (true, Some(slot)) = (is_done, self.slots.get_mut(at)) {
                        slot.head = head;
                    }
                    is_done
                }
                Action::ReplaceBody(body) => {
                    let is_done = self.call(Call::SetRequestBody(body.clone()));
                    if let (true, Some(slot)) = (is_done, self.slots.get_mut(at)) {
                        slot.body = body;
                    }
                    is_done
                }
                Action::ClearTrailers => self.call(Call::ClearTrailers),
                Action::SetResponseHeader(name, value) => {
                    self.call(Call::SetResponseHeader(name.into(), value.as_bytes().to_vec()))
                }
                Action::RemoveResponseHeader(name) => {
                    self.call(Call::RemoveResponseHeader(name.to_vec()))
                }
            };
            if !is_done {
                self.count(Counter::HostRefused);
                ran = Ran::Refused;
            }
        }
        ran
    }

    /// Sends a question of an exchange.
    fn asks(&mut self, at: usize, callout: Callout) -> bool {
        let id = callout.request_id.as_str().to_owned();
        let of = self.slots.get(at).map(|slot| (at, slot.serial));
        let pending = Pending { of, path: callout.path, body: callout.body };
        self.post(Some(id), pending, ADMIT_TIMEOUT_DEFAULT)
    }

    /// Asks the host. Says whether it does it.
    fn call(&mut self, call: Call) -> bool {
        self.calls.push(call);
        !self.refuses
    }

    fn post(&mut self, request_id: Option<String>, asked: Pending, timeout: Millis) -> bool {
        let sent = self.call(Call::Callout {
            path: asked.path.to_owned(),
            request_id,
            body: asked.body.clone(),
            timeout_ms: timeout.0,
        });
        if sent {
            self.pending.push_back(asked);
        }
        sent
    }

    fn answer(&mut self, which: usize, reply: &Reply) {
        let count = self.pending.len();
        let from_newest = which.checked_rem(count).unwrap_or(0);
        let at = count.checked_sub(from_newest.saturating_add(1));
        let Some(pending) = at.and_then(|at| self.pending.remove(at)) else { return };
        let came = reply_to(pending.path, &pending.body, reply);
        let fields = came.as_ref().map(|(fields, _)| pairs(fields)).unwrap_or_default();
        let answer = match &came {
            None => Answer::Lost,
            Some((_, body)) => Answer::Came { head: Head::new(&fields), body },
        };
        match pending.of {
            None => {
                self.polling = false;
                if self.polled(answer) {
                    self.poll();
                }
            }
            Some((at, serial)) => {
                let is_there = self.slots.get(at).is_some_and(|slot| slot.serial == serial);
                let flow =
                    is_there.then(|| self.turn(at, Event::CalloutAnswered(answer))).flatten();
                if flow == Some(Flow::Continue) && !self.call(Call::Resume) {
                    self.count(Counter::HostRefused);
                    let _ = self.turn(at, Event::HostRefused);
                }
            }
        }
    }

    fn poll(&mut self) {
        if self.polling {
            return;
        }
        let body = self.worker.poll(self.now);
        let pending = body.map(|body| Pending { of: None, path: PATH_FEED, body });
        let sent = pending.is_some_and(|pending| self.post(None, pending, FEED_TIMEOUT));
        self.polling = sent;
        if !sent {
            self.polled(Answer::Lost);
        }
    }

    fn polled(&mut self, answer: Answer<'_>) -> bool {
        let mut counters = Vec::new();
        let answered = self.worker.polled(self.now, answer, &mut counters);
        counters.into_iter().for_each(|counter| self.count(counter));
        answered
    }

    fn count(&mut self, counter: Counter) {
        if let Some(count) = self.counts.get_mut(counter.index()) {
            *count = count.saturating_add(1);
        }
    }

    fn flush(&mut self) {
        for (counter, count) in Counter::ALL.iter().zip(&mut self.counts) {
            let news = std::mem::take(count);
            if news > 0 {
                self.calls.push(Call::Count(counter.name().to_owned(), news));
            }
        }
    }

    fn id(&mut self) -> [u8; 16] {
        if self.ids.is_empty() {
            let mut bytes = [0; IDS_AHEAD * 16];
            (self.random)(&mut bytes);
            let (chunks, _) = bytes.as_chunks::<16>();
            self.ids.extend_from_slice(chunks);
        }
        self.ids.pop().unwrap_or_default()
    }
}

impl std::fmt::Debug for Native {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Native").field("worker", &self.worker).finish_non_exhaustive()
    }
}

fn pairs(fields: &Fields) -> Vec<Pair<'_>> {
    fields.iter().map(|(name, value)| (name.as_slice(), value.as_slice())).collect()
}
