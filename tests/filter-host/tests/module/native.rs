//! The core run natively, beside the module: the same requests come to the same end, byte for byte. What
//! differs would be the fault of the glue or of the target.

use std::time::Duration;

use kt_contract::time::MonoMillis;
use kt_contract::wire::PATH_FEED;
use kt_contract::wire::admit::AdmitRequest;
use kt_filter_core::action::{Action, Flow};
use kt_filter_core::event::{Answer, Event};
use kt_filter_core::head::Head;
use kt_filter_core::peer::Peer;
use kt_filter_core::{Exchange, Worker};
use kt_filter_host::sidecar::{Mood, Sidecar};
use kt_filter_host::world::{World, chat, constants, question, question_of, sidecar};
use kt_filter_host::{Asked, HeaderMap, Message, Passed, Random, Reply, Stream};

use super::{assert_clean, stored, world_with};

/// How a request ended.
#[derive(Debug, PartialEq)]
enum End {
    Replied { status: u16, headers: Vec<(String, String)>, body: Vec<u8> },
    Forwarded { headers: Vec<(String, String)> },
    Nothing,
}

/// The core, a sidecar of its own, and no Envoy.
struct Native {
    worker: Worker,
    sidecar: Sidecar,
}

/// One request on its way through the core.
struct Walk<'a> {
    native: &'a mut Native,
    exchange: Exchange,
    head: HeaderMap,
    body: Vec<u8>,
    asks: Option<Asked>,
    end: End,
}

#[test]
fn the_module_does_what_the_core_does() {
    let mut random = Random::seeded(7);
    let mut world = world_with(sidecar());
    let mut native = Native { worker: Worker::new(constants("gw-a").gateway), sidecar: sidecar() };
    native.poll();
    let (mut replied, mut forwarded) = (0, 0);
    for at in 0..400 {
        if random.once_in(20) {
            for sidecar in [&mut world.sidecar, &mut native.sidecar] {
                sidecar.purges();
            }
            world.pass(Duration::from_millis(500));
            native.poll();
        }
        let mood = match random.below(8) {
            0 => Mood::Failing(Reply::Truncated),
            1 => Mood::Draining,
            _ => Mood::Serving,
        };
        world.sidecar.mood = mood.clone();
        native.sidecar.mood = mood;
        let request = request(&mut random);
        let in_module = end_of(&world.send(request.clone()));
        let in_core = native.send(&request);
        assert_eq!(in_module, in_core, "request {at}: {request:?}");
        match in_module {
            End::Replied { .. } => replied += 1,
            End::Forwarded { .. } => forwarded += 1,
            End::Nothing => panic!("request {at} has no end"),
        }
        if random.once_in(2) {
            world.sidecar.stores_last(stored("{\"id\":1}"));
            native.sidecar.stores_last(stored("{\"id\":1}"));
        }
        // The feed stays fresh on both sides, and the breaker closed.
        world.sidecar.mood = Mood::Serving;
        native.sidecar.mood = Mood::Serving;
    }
    assert!(replied > 50 && forwarded > 50, "{replied} and {forwarded}");
    assert_eq!(without_ids(&world), native.sidecar.admits);
    assert_clean(&world);
}

fn request(random: &mut Random) -> Message {
    let mut request = match random.below(12) {
        0 => Message::request("GET", "/v1/chat/completions"),
        1 => Message::request("POST", "/v1/chat/completions"),
        _ => chat(),
    };
    let headers = [
        ("openai-beta", "a"),
        ("openai-beta", "b"),
        ("x-kt-codebase", "acme/api"),
        ("x-kt-codebase", "acme/other"),
        ("cache-control", "no-store"),
        ("content-encoding", "br"),
    ];
    while random.once_in(4) {
        let (name, value) = random.pick(&headers).unwrap();
        request = request.header(name, value);
    }
    let text = question(&format!("question {}", random.below(6)));
    request.body(match random.below(8) {
        0 => text.replace("gpt-4o", "gpt-4o-mini"),
        1 => text.replace("gpt-4o", "gpt-0"),
        2 => text.replacen('{', "{\"stream\":true,\"max_tokens\":7,", 1),
        3 => text.replacen('}', "", 1),
        4 => question_of(random.below(40_000)),
        _ => text,
    })
}

fn end_of(stream: &Stream) -> End {
    match (stream.answer(), stream.forwarded()) {
        (Some(answer), _) => {
            let status = answer.status();
            End::Replied { status, headers: fields(&answer.headers), body: answer.body }
        }
        (None, Some(Passed { headers, .. })) => End::Forwarded { headers: fields(&headers) },
        (None, None) => End::Nothing,
    }
}

/// Sorted, and without what is minted or added on the way.
fn fields(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut fields: Vec<_> =
        headers.iter().map(|(name, value)| (text(name), text(value))).collect();
    let is_reply = headers.bytes(":status").is_some();
    fields.retain(|(name, _)| {
        name != "x-request-id" && name != ":status" && !(is_reply && name == "content-length")
    });
    fields.sort_unstable();
    fields
}

fn without_ids(world: &World) -> Vec<AdmitRequest> {
    let mut admits = world.sidecar.admits.clone();
    admits.iter_mut().for_each(|asked| asked.request_id = "0".repeat(32));
    admits
}

// === impl Native ===

impl Native {
    fn poll(&mut self) {
        let asked = asked(PATH_FEED, self.worker.poll(NOW).unwrap());
        // Far enough in time that the sidecar does not hold the poll.
        let reply = self.sidecar.answer(&asked, Duration::from_secs(1)).unwrap();
        let mut counters = Vec::new();
        let worker = &mut self.worker;
        assert!(with_answer(reply, |answer| worker.polled(NOW, answer, &mut counters)));
    }

    fn send(&mut self, request: &Message) -> End {
        let mut walk = Walk {
            native: self,
            exchange: Exchange::default(),
            head: request.head().clone(),
            body: request.whole_body(),
            asks: None,
            end: End::Nothing,
        };
        walk.run();
        walk.end
    }
}

/// The core's time stands still: what depends on it has tests of its own.
const NOW: MonoMillis = MonoMillis(0);

// === impl Walk ===

impl Walk<'_> {
    fn run(&mut self) {
        let head = self.head.clone();
        let pairs: Vec<_> = head.iter().collect();
        let mut flow = self.turn(Event::RequestHeaders {
            head: Head::new(&pairs),
            end: false,
            random: [0; 16],
            peer: Peer::default(),
        });
        let bytes = self.body.len() as u64;
        for end in [false, true] {
            if self.end == End::Nothing && flow == Flow::Pause {
                flow = self.turn(Event::RequestBody { bytes, end });
            }
        }
        while let Some(asked) = self.asks.take() {
            let reply = self.native.sidecar.answer(&asked, Duration::ZERO).unwrap();
            let _ = with_answer(reply, |answer| self.turn(Event::CalloutAnswered(answer)));
        }
    }

    fn turn(&mut self, event: Event<'_>) -> Flow {
        let mut actions = Vec::new();
        let flow = self.exchange.handle(&mut self.native.worker, NOW, event, &mut actions);
        for action in actions {
            match action {
                Action::Callout(callout) => {
                    self.asks = Some(asked(callout.path, callout.body));
                }
                Action::Reply(reply) => {
                    let headers = HeaderMap::of(
                        reply.headers.iter().map(|(name, value)| (*name, value.as_bytes())),
                    );
                    let mut headers = fields(&headers);
                    headers.retain(|(name, _)| name != "content-length");
                    self.end =
                        End::Replied { status: reply.status, headers, body: reply.body.to_vec() };
                }
                Action::Forward(forward) => {
                    let pairs: Vec<_> = self.head.iter().collect();
                    let headers = HeaderMap::of(forward.head(Head::new(&pairs)));
                    self.end = End::Forwarded { headers: fields(&headers) };
                }
                Action::ReplaceBody(body) => self.body = body,
                // No snapshot here says so.
                Action::Spend(_)
                | Action::ClearTrailers
                | Action::SetResponseHeader(..)
                | Action::RemoveResponseHeader(_)
                | Action::Log(_)
                | Action::Count(_) => {}
            }
        }
        if flow == Flow::ReadBody {
            let body = self.body.clone();
            return self.turn(Event::RequestRead { body: &body });
        }
        flow
    }
}

fn asked(path: &str, body: Vec<u8>) -> Asked {
    Asked {
        cluster: "kt_sidecar".to_owned(),
        headers: HeaderMap::of([(":path", path)]),
        body,
        trailers: HeaderMap::default(),
        timeout: Duration::ZERO,
        sent_at: Duration::ZERO,
    }
}

fn with_answer<T>(reply: Reply, take: impl FnOnce(Answer<'_>) -> T) -> T {
    let Some((headers, body)) = reply.seen() else { return take(Answer::Lost) };
    let fields: Vec<_> = headers.iter().collect();
    take(Answer::Came { head: Head::new(&fields), body: &body })
}
