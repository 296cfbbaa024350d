//! A call and what its answer becomes: collected and judged, booked, stored, and only then shown to its end.

use bytes::Bytes;
use kt_contract::time::{Millis, UnixMillis};
use kt_providers::{Delivered, Dialect, Recorded, Terms};
use sidecar_cache::attempt::{
    self, Fate, Finished, Head, Start, Transport, Verdict, fate_without_provider,
};
use sidecar_cache::entry::{Entry, Header};
use sidecar_cache::flight::{Ending, Held, Sharing, sharing};

use crate::event::{Event, LeaseQuestion, Timer, Told};
use crate::fixture::{ENTRY_BYTES_MAX, ENTRY_TOKENS_MAX};
use crate::flight::{After, Concluded, End, Failure, Fault, Phase, Piece, Reached};
use crate::plant::Plant;
use crate::provider::{Call, Made, Says};
use crate::swarm::Sharing as Stores;
use crate::world::World;

/// How long a provider may take to begin.
const FIRST_BYTE: Millis = Millis(60_000);
/// How long it may take to go on.
const IDLE: Millis = Millis(30_000);
/// How long a store may take for a fill.
const FILL: Millis = Millis(2_000);
/// What Envoy says of an answer of the provider.
const VIA_UPSTREAM: &str = "via_upstream";
/// What Envoy says where it did not get through.
const NOT_CONNECTED: &str = "upstream_reset_before_response_started{remote_connection_failure}";

// === impl World ===

impl World<'_> {
    /// Makes the call.
    pub(crate) fn calls(&mut self, flight: usize) {
        let call = self.calls.len();
        let Some(flown) = self.flights.get_mut(flight) else { return };
        flown.phase = Phase::Calling;
        (flown.call, flown.calls) = (Some(call), flown.calls + 1);
        if let Some(bill) = &mut flown.bill {
            bill.fate = Fate::Sent;
        }
        let local = flown.lease.and_then(|lease| lease.leased);
        let made = Made {
            by: (flown.sidecar, flown.life),
            attempt: flown.seat,
            flight,
            key: flown.key,
            leased: local.map(|leased| (flown.sidecar, leased)),
            shared: flown.shared,
            hold: flown.bill.as_ref().map(|bill| bill.hold),
            under_at: flown.under_at,
            question: flown.grant.question,
            asked: flown.asked,
        };
        let (at, attempt) = (flown.sidecar, flown.attempt);
        self.judge_call(call, &made);
        let says = Says::new(&mut self.rng, &self.swarm, call, made.question, made.asked);
        self.say(|| {
            let Says { manner, status, .. } = &says;
            format!("flight {flight}: call {call} will be {manner:?} {status}")
        });
        self.calls.push(Call {
            made,
            came_at: None,
            says,
            told: 0,
            is_left: false,
            is_head_read: false,
            is_read: false,
        });
        self.wake_in(at, FIRST_BYTE, Timer::Idle { flight, attempt, heard: 0 });
        let length = self.rng.u64(1..50);
        if self.chance(self.swarm.loss / 3) {
            self.tells_in(length, call, Told::Unreached(NOT_CONNECTED));
        } else {
            self.push_in(length, Event::CallComes(call));
        }
    }

    /// Something of a call's answer has come.
    pub(crate) fn told(&mut self, call: usize, told: Told) {
        let Some(flight) = self.calls.get(call).map(|called| called.made.flight) else { return };
        let Some(flown) = self.flights.get_mut(flight) else { return };
        if flown.call != Some(call) || !matches!(flown.phase, Phase::Calling) {
            return;
        }
        flown.answer.heard += 1;
        self.trace.say(self.now, || format!("flight {flight}: call {call} tells {told:?}"));
        let (at, heard, attempt) = (flown.sidecar, flown.answer.heard, flown.attempt);
        match told {
            Told::Unreached(details) => {
                flown.call = None;
                if let Some(bill) = &mut flown.bill {
                    bill.fate = fate_without_provider(Some(details));
                }
                self.fails(flight, 502);
            }
            Told::Head => self.head_comes(flight, call),
            Told::Bytes(bytes) => self.bytes_come(flight, bytes),
            Told::End | Told::Broken => {
                flown.call = None;
                if let Some(called) = self.calls.get_mut(call) {
                    called.is_read = true;
                }
                let is_broken = matches!(told, Told::Broken);
                self.answer_ends(flight, call, is_broken);
            }
        }
        let still_calls = self
            .flights
            .get(flight)
            .is_some_and(|flown| flown.attempt == attempt && matches!(flown.phase, Phase::Calling));
        if still_calls {
            self.wake_in(at, IDLE, Timer::Idle { flight, attempt, heard });
        }
    }

    fn head_comes(&mut self, flight: usize, call: usize) {
        let Some(called) = self.calls.get_mut(call) else { return };
        called.is_head_read = true;
        let (status, no_store) = (called.says.status, called.says.no_store);
        let Some(flown) = self.flights.get_mut(flight) else { return };
        flown.answer.status = status;
        flown.answer.may_store = attempt::may_store(no_store.then_some("no-store"));
        let content_type = match flown.asked {
            Recorded::Json => "application/json",
            Recorded::Sse => "text/event-stream; charset=utf-8",
        };
        if let Some(bill) = &mut flown.bill {
            bill.fate = if status < 300 { Fate::Answered } else { Fate::Refused };
        }
        let start = attempt::start(Head {
            status,
            details: Some(VIA_UPSTREAM),
            content_type: Some(content_type),
            content_encoding: None,
        });
        match start {
            // Whose credential that is about is not the client's business.
            Start::NotReached | Start::Unauthorized => {
                flown.call = None;
                if let Some(called) = self.calls.get_mut(call) {
                    called.is_left = true;
                }
                self.fails(flight, 502);
            }
            Start::Pass(_) | Start::Record(_) => {}
        }
    }

    fn bytes_come(&mut self, flight: usize, bytes: Bytes) {
        let Some(flown) = self.flights.get_mut(flight) else { return };
        let (status, is_stream) = (flown.answer.status, flown.asked == Recorded::Sse);
        flown.answer.body.extend_from_slice(&bytes);
        if status != 200 {
            return;
        }
        flown.answer.has_begun = true;
        flown.answer.produced.bytes += u64::try_from(bytes.len()).unwrap_or(0);
        if is_stream {
            self.event_comes(flight, bytes);
        }
        let may_end = self
            .flights
            .get(flight)
            .is_some_and(|flown| flown.slots.is_empty() && matches!(flown.phase, Phase::Calling));
        if may_end && !self.is_storable(flight) {
            self.cancels(flight);
        }
    }

    /// The provider sends event by event.
    fn event_comes(&mut self, flight: usize, bytes: Bytes) {
        let Some(flown) = self.flights.get_mut(flight) else { return };
        if let Some(bill) = &mut flown.bill {
            bill.meter.get_or_insert_with(|| Dialect::OpenAiChat.meter()).push(&bytes);
        }
        let answer = &mut flown.answer;
        answer.produced.events += 1;
        let data = bytes.strip_prefix(b"data: ").and_then(|rest| rest.strip_suffix(b"\n\n"));
        if data.is_some_and(|data| Dialect::OpenAiChat.ends_stream(data)) {
            if answer.reached == Reached::Events {
                answer.reached = Reached::Done;
                answer.held = Some(bytes);
            }
            return;
        }
        if data.is_some_and(|data| Dialect::OpenAiChat.fails_stream(b"", data)) {
            answer.reached = Reached::Failed;
        }
        let mut shown = Vec::new();
        match &mut answer.hider {
            Some(hider) => hider.push(&bytes, &mut shown),
            None => shown.extend_from_slice(&bytes),
        }
        flown.text.head = Some((200, Recorded::Sse));
        flown.text.pieces.push(Piece { all: bytes, shown: shown.into() });
        self.grows(flight);
        self.wakes_readers(flight);
    }

    fn answer_ends(&mut self, flight: usize, call: usize, is_broken: bool) {
        let Some(flown) = self.flights.get_mut(flight) else { return };
        let status = flown.answer.status;
        let is_empty = flown.answer.body.is_empty();
        if status != 200 {
            if is_broken {
                return self.fails(flight, 502);
            }
            let body = Bytes::from(std::mem::take(&mut flown.answer.body));
            let retry_after = self.calls.get(call).and_then(|called| called.says.retry_after);
            return self.pays(flight, None, After::Refused { status, body, retry_after });
        }
        if is_empty
            || is_broken && flown.asked == Recorded::Json && !self.has(Plant::CacheTruncated)
        {
            return self.fails(flight, 502);
        }
        self.concludes(flight, call, is_broken);
    }

    /// Judges an answer.
    fn concludes(&mut self, flight: usize, call: usize, is_broken: bool) {
        let is_careless = self.has(Plant::CacheTruncated);
        let Some(flown) = self.flights.get_mut(flight) else { return };
        let (recorded, reached) = (flown.asked, flown.answer.reached);
        let body = Bytes::from(std::mem::take(&mut flown.answer.body));
        let is_cut = is_broken || recorded == Recorded::Sse && reached == Reached::Failed;
        let grant = &flown.grant;
        let mut verdict = attempt::verdict(Finished {
            dialect: Dialect::OpenAiChat,
            recorded,
            body: Some(&body),
            transport: if is_cut { Transport::Broken } else { Transport::Clean },
            may_store: flown.answer.may_store,
            terms: Terms {
                client_limited: grant.client_limited,
                answers: Dialect::OpenAiChat.answers_asked(grant.body.as_bytes()),
            },
            entry_tokens_max: ENTRY_TOKENS_MAX,
            entry_bytes_max: ENTRY_BYTES_MAX,
        });
        self.trace.say(self.now, || format!("flight {flight}: {verdict:?}, {reached:?}"));
        if is_careless && verdict == Verdict::CutShort {
            verdict = Verdict::Fill { usage: None };
        }
        let delivered = (recorded == Recorded::Json).then(|| {
            let delivered = Dialect::OpenAiChat.delivered(recorded, &body);
            (delivered != Delivered::default()).then_some(delivered)
        });
        let concluded = Concluded { verdict, recorded, body, reached, call };
        self.pays(flight, delivered.flatten(), After::Conclude(concluded));
    }

    /// The money of an attempt has ended, or the ledger has not said so in time.
    pub(crate) fn paid(&mut self, flight: usize, after: After, is_booked: bool) {
        match after {
            After::Land => self.lands(flight),
            After::Fail(fault) => self.passes_on(flight, fault),
            After::Refused { status, body, retry_after } => {
                let failure = Failure::Answer(status, body);
                match sharing(status) {
                    Sharing::Leader => {
                        let fault = Fault { retry_after, ..Fault::of(failure) };
                        self.passes_on(flight, fault);
                    }
                    Sharing::Everybody => {
                        let _ = self.ends(flight, Ending::Refused);
                        self.finishes(flight, End::Failed(failure));
                    }
                }
            }
            After::Conclude(concluded) => match concluded.verdict {
                Verdict::CutShort => self.is_no_answer(flight, concluded, false),
                Verdict::Serve { reason: kt_contract::outcome::Reason::Incomplete, .. } => {
                    self.is_no_answer(flight, concluded, true);
                }
                Verdict::Serve { .. } => {
                    let _ = self.ends(flight, Ending::Uncacheable);
                    self.serves(flight, concluded);
                }
                Verdict::Fill { usage } => {
                    let bytes = u64::try_from(concluded.body.len()).unwrap_or(0);
                    let at = self.flights.get(flight).map_or(0, |flown| flown.sidecar);
                    self.learns(at, concluded.recorded, bytes);
                    self.was_long(flight, usage);
                    if is_booked {
                        self.fills(flight, concluded);
                    } else {
                        let _ = self.ends(flight, Ending::NotStored);
                        self.serves(flight, concluded);
                    }
                }
            },
        }
    }

    /// Stores an answer under the lease, if there is one and it still counts.
    fn fills(&mut self, flight: usize, concluded: Concluded) {
        let Some((bytes, at)) = self.entry(flight, &concluded) else {
            let _ = self.ends(flight, Ending::NotStored);
            return self.serves(flight, concluded);
        };
        let (key, call) = (self.flights.get(flight).map(|flown| flown.key), concluded.call);
        let Some(key) = key else { return };
        if self.swarm.sharing == Stores::Shared {
            let Some(leased) = self.shared(flight) else {
                let _ = self.ends(flight, Ending::NotStored);
                return self.serves(flight, concluded);
            };
            let Some(flown) = self.flights.get_mut(flight) else { return };
            flown.phase = Phase::Filling(Box::new(concluded));
            let attempt = flown.attempt;
            self.asks_lease(flight, LeaseQuestion::Fill { leased, bytes: bytes.into(), call });
            return self.wake_in(at, FILL, Timer::LeaseSilent { flight, attempt, asked: 0 });
        }
        let mono = self.mono(at);
        let leased = self.flights.get(flight).and_then(|flown| flown.lease?.leased);
        let is_current = self
            .sidecars
            .get(at)
            .zip(leased)
            .is_some_and(|(sidecar, leased)| sidecar.leases.is_current(&key, leased, mono));
        let store = self.sidecars.get(at).map_or(0, |sidecar| sidecar.store);
        self.stores_entry(store, (key, bytes), (call, is_current));
        let _ = self.ends(flight, Ending::Filled);
        self.serves(flight, concluded);
    }

    /// The entry as bytes, if its lease and its generations still count.
    fn entry(&mut self, flight: usize, concluded: &Concluded) -> Option<(Vec<u8>, usize)> {
        let flown = self.flights.get(flight)?;
        let (at, key, grant) = (flown.sidecar, flown.key, std::rc::Rc::clone(&flown.grant));
        let leased = flown.lease?.leased?;
        let (generations, is_known) = (flown.generations.clone(), flown.is_known);
        let shared = flown.shared;
        let mono = self.mono(at);
        let held = self.sidecars.get_mut(at)?.leases.renew(&key, leased, mono);
        if held != Held::Current && !self.has(Plant::NoFence) {
            self.tally.add("fills refused: superseded");
            return None;
        }
        let (vector, knows) = self.vector(at, &grant);
        let is_same = is_known && knows && vector == generations;
        if !is_same && !self.has(Plant::FillAfterInvalidation) {
            self.tally.add("fills refused: invalidated");
            return None;
        }
        let usage = match concluded.verdict {
            Verdict::Fill { usage } => usage,
            Verdict::Serve { .. } | Verdict::CutShort => None,
        };
        let header = Header {
            gates: grant.gates.clone(),
            check: grant.check,
            generations,
            token: shared.unwrap_or(leased).token,
            created: UnixMillis(0),
            fresh_until: UnixMillis(0),
            recorded: concluded.recorded,
            usage,
            served_by: grant.gates.model.served_by(),
        };
        let keys = self.fixture.keys_of(grant.org)?;
        Some((Entry::encode(&header, &concluded.body, keys), at))
    }

    /// The shared store has answered a fill, or not.
    pub(crate) fn filled(&mut self, flight: usize, is_stored: bool) {
        let Some(flown) = self.flights.get_mut(flight) else { return };
        let Phase::Filling(concluded) = std::mem::replace(&mut flown.phase, Phase::Over) else {
            return;
        };
        let how = if is_stored { Ending::Filled } else { Ending::NotStored };
        if !is_stored {
            self.tally.add("fills refused: by the shared store");
        }
        let _ = self.ends(flight, how);
        self.serves(flight, *concluded);
    }

    /// Everybody may have it to its end.
    fn serves(&mut self, flight: usize, concluded: Concluded) {
        let Concluded { recorded, body, reached, .. } = concluded;
        if recorded == Recorded::Json {
            return self.finishes(flight, End::Whole { recorded, body });
        }
        // Whatever it was taken for, without its last event it has no end.
        match reached {
            Reached::Done => {}
            Reached::Events => {
                return self.passes_on(flight, Fault { leader: None, ..Fault::problem(502) });
            }
            Reached::Failed => {
                let begun = Some(End::Cut);
                return self
                    .passes_on(flight, Fault { begun, leader: None, ..Fault::problem(502) });
            }
        }
        let Some(flown) = self.flights.get_mut(flight) else { return };
        let waits = flown.promote().is_some();
        self.shows_last(flight);
        let end = if waits { End::Whole { recorded, body } } else { End::Clean };
        self.finishes(flight, end);
    }

    /// What was held back is shown.
    fn shows_last(&mut self, flight: usize) {
        let Some(flown) = self.flights.get_mut(flight) else { return };
        let Some(last) = flown.answer.held.take() else { return };
        let mut shown = Vec::new();
        match &mut flown.answer.hider {
            Some(hider) => {
                hider.push(&last, &mut shown);
                hider.finish(&mut shown);
            }
            None => shown.extend_from_slice(&last),
        }
        flown.text.pieces.push(Piece { all: last, shown: shown.into() });
    }

    /// It is cut short, or whole and no answer: nobody waits for it who has nothing of it yet.
    fn is_no_answer(&mut self, flight: usize, concluded: Concluded, is_whole: bool) {
        let Concluded { recorded, body, reached, .. } = concluded;
        let fault = match (recorded, reached) {
            (Recorded::Json, _) if is_whole => Fault::of(Failure::Answer(200, body)),
            (Recorded::Json, _) => Fault::problem(502),
            (Recorded::Sse, Reached::Done) => {
                self.shows_last(flight);
                let begun = if is_whole { End::Faulty } else { End::Cut };
                Fault { begun: Some(begun), leader: None, ..Fault::problem(502) }
            }
            (Recorded::Sse, Reached::Failed) => {
                Fault { begun: Some(End::Cut), leader: None, ..Fault::problem(502) }
            }
            (Recorded::Sse, Reached::Events) => Fault { leader: None, ..Fault::problem(502) },
        };
        self.passes_on(flight, fault);
    }

    /// Nothing more has come in time.
    pub(crate) fn idle(&mut self, flight: usize, attempt: u32, heard: usize) {
        let Some(flown) = self.flights.get_mut(flight) else { return };
        let is_idle = flown.attempt == attempt
            && flown.answer.heard == heard
            && matches!(flown.phase, Phase::Calling);
        let Some(call) = flown.call.filter(|_| is_idle) else { return };
        flown.call = None;
        if let Some(called) = self.calls.get_mut(call) {
            called.is_left = true;
        }
        if heard == 0 { self.fails(flight, 504) } else { self.answer_ends(flight, call, true) }
    }
}
