//! The HTTP context: one exchange, its callbacks as events, its actions as calls to the host.

use std::rc::Rc;

use kt_filter_core::Exchange;
use kt_filter_core::action::{Action, Flow};
use kt_filter_core::event::{Answer, Event};
use kt_filter_core::forward::Forward;
use kt_filter_core::head::Head;
use kt_filter_core::pairs::{self, Pair};
use kt_filter_core::till::Spent;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types;

use crate::host::{self, Buffer, Map, Refused};
use crate::shared::Shared;

/// One request of one client.
pub(crate) struct HttpExchange {
    shared: Rc<Shared>,
    exchange: Exchange,
}

/// What came of the actions of a turn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ran {
    /// All were done.
    All,
    /// The callout could not be sent.
    CalloutLost,
    /// The host did not do what the exchange relies on.
    Refused,
    /// A call was counted that would pass without the sidecar, or was not.
    Spent(Spent),
}

// === impl HttpExchange ===

impl HttpExchange {
    pub(crate) fn new(shared: Rc<Shared>) -> Self {
        Self { shared, exchange: Exchange::default() }
    }

    /// Hands over what happened, does what is to be done, and hands over what came of that.
    fn turn(&mut self, event: Event<'_>) -> Flow {
        let mut actions = Vec::with_capacity(8);
        let flow = match self.shared.worker.try_borrow_mut() {
            Ok(mut worker) => self.exchange.handle(&mut worker, host::now(), event, &mut actions),
            // Callbacks do not nest. If they ever do, the request is held, and nothing is forwarded.
            Err(_) => return Flow::Pause,
        };
        let flow = match self.run(actions) {
            Ran::All => flow,
            Ran::CalloutLost => self.turn(Event::CalloutAnswered(Answer::Lost)),
            Ran::Refused => self.turn(Event::HostRefused),
            Ran::Spent(spent) => self.turn(Event::Spent(spent)),
        };
        match flow {
            Flow::ReadBody => {
                let body = host::buffer(Buffer::RequestBody);
                self.turn(Event::RequestRead { body: &body })
            }
            Flow::Continue | Flow::Pause => flow,
        }
    }

    fn run(&self, actions: Vec<Action>) -> Ran {
        let mut ran = Ran::All;
        for action in actions {
            let result = match action {
                Action::Count(counter) => {
                    self.shared.count(counter);
                    continue;
                }
                Action::Log(line) => {
                    for (key, value) in line.fields() {
                        // A log field that is not taken is missing from the log and changes nothing else.
                        if let Err(refused) = host::set_property(key, &value) {
                            self.shared.refused(key, refused);
                        }
                    }
                    continue;
                }
                // Of a request that cannot be what was decided, nothing is asked and nothing is spent: what came of that
                // would be taken for what came of the whole turn.
                Action::Callout(_) | Action::Spend(_) if ran == Ran::Refused => continue,
                Action::Callout(callout) => {
                    let id = Some(callout.request_id.as_str());
                    let timeout = self.shared.admit_timeout;
                    if self.shared.post(callout.path, id, &callout.body, timeout).is_none() {
                        ran = Ran::CalloutLost;
                    }
                    continue;
                }
                Action::Spend(spend) => {
                    ran = Ran::Spent(self.shared.spend(&spend));
                    continue;
                }
                Action::Reply(reply) => {
                    let fields: Vec<Pair<'_>> = reply
                        .headers
                        .iter()
                        .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
                        .collect();
                    host::reply(reply.status, fields.iter().copied(), &reply.body)
                }
                Action::Forward(forward) => replace_head(&forward),
                Action::ReplaceBody(body) => host::set_buffer(Buffer::RequestBody, &body),
                Action::ClearTrailers => host::set_header_map(Map::RequestTrailers, []),
                Action::SetResponseHeader(name, value) => {
                    host::set_header(Map::Response, name, &value)
                }
                Action::RemoveResponseHeader(name) => host::remove_header(Map::Response, &name),
            };
            if let Err(refused) = result {
                self.shared.refused("an action of an exchange", refused);
                ran = Ran::Refused;
            }
        }
        ran
    }
}

fn replace_head(forward: &Forward) -> Result<(), Refused> {
    let current = host::header_map(Map::Request)?;
    let current = pairs::parse(&current).unwrap_or_default();
    let fields = forward.head(Head::new(&current));
    host::set_header_map(
        Map::Request,
        fields.iter().map(|(name, value)| (name.as_bytes(), value.as_ref())),
    )
}

/// Reads how a callout ended. No headers at all: the reply was cut off.
pub(crate) fn with_answer<T>(num_headers: usize, take: impl FnOnce(Answer<'_>) -> T) -> T {
    if num_headers == 0 {
        return take(Answer::Lost);
    }
    let fields = host::header_map(Map::CalloutResponse).unwrap_or_default();
    let fields = pairs::parse(&fields).unwrap_or_default();
    let body = host::buffer(Buffer::CalloutResponseBody);
    take(Answer::Came { head: Head::new(&fields), body: &body })
}

const fn action(flow: Flow) -> types::Action {
    match flow {
        Flow::Continue => types::Action::Continue,
        Flow::Pause | Flow::ReadBody => types::Action::Pause,
    }
}

impl Context for HttpExchange {
    fn on_http_call_response(&mut self, _: u32, num_headers: usize, _: usize, _: usize) {
        let flow = with_answer(num_headers, |answer| self.turn(Event::CalloutAnswered(answer)));
        if flow == Flow::Continue
            && let Err(refused) = host::resume_request()
        {
            self.shared.refused("resuming a request", refused);
            let _ = self.turn(Event::HostRefused);
        }
    }
}

impl HttpContext for HttpExchange {
    fn on_http_request_headers(&mut self, _: usize, end: bool) -> types::Action {
        let fields = host::header_map(Map::Request).unwrap_or_default();
        let fields = pairs::parse(&fields).unwrap_or_default();
        let random = self.shared.random();
        let head = Head::new(&fields);
        let reads = self.shared.worker.try_borrow().is_ok_and(|worker| worker.reads_peer(head));
        let found =
            if reads { host::PeerProperties::read() } else { host::PeerProperties::default() };
        action(self.turn(Event::RequestHeaders { head, end, random, peer: found.peer() }))
    }

    fn on_http_request_body(&mut self, bytes: usize, end: bool) -> types::Action {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        action(self.turn(Event::RequestBody { bytes, end }))
    }

    fn on_http_request_trailers(&mut self, _: usize) -> types::Action {
        action(self.turn(Event::RequestTrailers))
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> types::Action {
        if !self.exchange.reads_response() {
            let event = Event::ResponseHeaders { head: Head::default(), by_envoy: false };
            return action(self.turn(event));
        }
        let fields = host::header_map(Map::Response).unwrap_or_default();
        let fields = pairs::parse(&fields).unwrap_or_default();
        let by_envoy = host::is_envoys_response();
        action(self.turn(Event::ResponseHeaders { head: Head::new(&fields), by_envoy }))
    }

    fn on_log(&mut self) {
        let _ = self.turn(Event::Done);
    }
}
