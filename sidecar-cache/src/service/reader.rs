//! A client's side of a flight: it waits for the answer to begin, then reads at its own pace. Whoever carries
//! its bytes polls it; there is no task behind it.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use kt_contract::outcome::Reason;
use kt_contract::problem::Problem;
use kt_contract::wire::admit::{ReplyShape, SavedTokens};
use kt_providers::Recorded;

use super::cache::Hit;
use super::flights::Flight;
use super::lane::{Head, Refusal, Reply};
use super::log::{Begun, Next, ReaderId, View};
use super::savings::{Costs, Spared};
use super::seat::{End, Failure, Opened, Seat};
use crate::clock::Clock;
use crate::flight::FlightId;

/// A piece of a streamed answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes.
    Bytes(Bytes),
    /// The end. A stream without it has broken off.
    End,
}

/// A client's place at a flight. Dropped before the end, the client has left.
pub struct Reader {
    flight: Arc<Flight>,
    id: ReaderId,
    seat: Arc<Seat>,
    clock: Clock,
    phase: Phase,
    /// Whether what it reads is an event stream, and can have an error event.
    has_events: bool,
    /// Whether what it has read to its end was no answer.
    is_faulty: bool,
    /// The last bytes that it has read.
    last: [u8; 3],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Reading,
    /// All has been read; the end has not been told.
    Read,
    /// There is no more.
    Over,
    /// The request goes its own way.
    Aside,
}

/// How an answer begins for its client.
pub(super) enum Start {
    /// It can be read.
    Stream(Head),
    /// It is there.
    Whole(Head, Bytes),
    /// It is a refusal.
    Refused(Refusal),
    /// None can be had, and an older one may serve.
    Stale(Box<Reply>),
    /// It was there before.
    Found(Arc<Hit>),
    /// This client cannot have it as it is, and why.
    Apart(Reason),
}

// === impl Reader ===

impl Reader {
    pub(super) fn new(flight: Arc<Flight>, id: ReaderId, seat: Arc<Seat>, clock: Clock) -> Self {
        let (phase, last) = (Phase::Reading, *b"\n\n\n");
        Self { flight, id, seat, clock, phase, has_events: false, is_faulty: false, last }
    }

    /// The next piece; `None` after the end, or where the answer breaks off.
    pub async fn recv(&mut self) -> Option<Piece> {
        poll_fn(|context| self.poll_piece(context)).await
    }

    /// The next piece; `None` after the end, or where the answer breaks off.
    pub fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Piece>> {
        match self.phase {
            Phase::Reading => {}
            Phase::Read => {
                self.phase = Phase::Over;
                return Poll::Ready(Some(Piece::End));
            }
            Phase::Over | Phase::Aside => return Poll::Ready(None),
        }
        let now = self.clock.mono().0;
        Poll::Ready(match ready!(self.flight.log.poll_next(self.id, now, context)) {
            Next::Piece(bytes, end) => {
                // Before the client can see the end: what it asks next finds this request accounted for.
                if let Some(End::Clean | End::Faulty | End::Whole(_)) = &end {
                    self.is_faulty = matches!(end, Some(End::Faulty));
                    self.has_all();
                    self.phase = Phase::Read;
                }
                self.last = last_of(self.last, &bytes);
                Some(Piece::Bytes(bytes))
            }
            Next::End(end @ (End::Clean | End::Faulty | End::Whole(_) | End::Found(_))) => {
                self.is_faulty = matches!(end, End::Faulty);
                self.has_all();
                self.phase = Phase::Over;
                Some(Piece::End)
            }
            // Who has begun to read is told how its own attempt ended.
            Next::End(End::Cut | End::Voided) => {
                self.fail(&cut_short(&self.seat));
                None
            }
            Next::End(End::Failed(failure)) => self.break_off(&failure.problem_for(&self.seat)),
            Next::Behind => self.break_off(&cut_short(&self.seat)),
        })
    }

    /// Leaves the flight, and the request's account open: it makes its own call.
    pub(super) fn step_aside(mut self) {
        self.phase = Phase::Aside;
    }

    /// Whether the provider has not begun to answer.
    pub(super) fn waits_in_silence(&self) -> bool {
        self.flight.is_silent()
    }

    /// Which of its group's flights it is that is waited for.
    pub(super) fn in_group(&self) -> Option<FlightId> {
        self.flight.in_group()
    }

    /// Whether what was read last may be the last of the answer. Of an event stream that is known.
    pub(super) fn may_be_the_last(&self) -> bool {
        !self.has_events || self.phase == Phase::Read
    }

    /// Whether what was read to its end was no answer.
    pub(super) fn is_faulty(&self) -> bool {
        self.is_faulty
    }

    /// Whether somebody was to judge what was read and has not.
    pub(super) fn is_unjudged(&self) -> bool {
        self.flight.is_unjudged()
    }

    /// Waits for the answer to begin. `stale` is an older one, if there is one for the case that none can be
    /// had, and if it may be told at that moment.
    pub(super) async fn begin(&mut self, stale: impl FnOnce() -> Option<Reply>) -> Start {
        let begun = poll_fn(|context| {
            let view = |opened: &Arc<Opened>| self.view(opened);
            self.flight.log.poll_begin(self.id, view, self.clock.mono().0, context)
        });
        match begun.await {
            Begun::Live(opened) => {
                self.has_events = opened.recorded == Some(Recorded::Sse);
                self.seat.note(|exchange| exchange.answering(opened.status));
                // It has begun, and is not held for as long as this one takes.
                drop(self.seat.take_fallback());
                Start::Stream(self.seat.head(&opened))
            }
            Begun::Apart => Start::Apart(Reason::Shape),
            Begun::Behind => Start::Refused(self.refuse(&cut_short(&self.seat))),
            Begun::Ended(End::Whole(whole)) => {
                let head = Head { costs: self.costs(), ..self.seat.head(&whole.opened) };
                if self.reads_as_asked() {
                    return self.whole(head, whole.body.clone());
                }
                let grant = &self.seat.grant;
                let Some(told) = whole.told(grant.dialect, grant.reply) else {
                    return Start::Apart(Reason::Shape);
                };
                let content_type = Some(told.content_type.to_owned());
                self.whole(Head { content_type, ..head }, told.body)
            }
            Begun::Ended(End::Failed(failure)) => {
                if failure.is_outage()
                    && let Some(reply) = stale()
                {
                    return Start::Stale(Box::new(reply));
                }
                self.failed(&failure)
            }
            Begun::Ended(End::Found(hit)) => Start::Found(hit),
            // It came and was not kept.
            Begun::Ended(End::Clean | End::Faulty | End::Cut) => Start::Apart(Reason::Shape),
            Begun::Ended(End::Voided) => Start::Apart(Reason::Generation),
        }
    }

    fn failed(&self, failure: &Failure) -> Start {
        match failure {
            Failure::Problem(_) | Failure::Unpaid(..) => {
                Start::Refused(self.refuse(&failure.problem_for(&self.seat)))
            }
            // A success that is no answer, in a shape that this client has not asked for.
            Failure::Answer(opened, _, problem)
                if opened.status == 200 && !self.reads_as_asked() =>
            {
                Start::Refused(self.refuse(problem))
            }
            Failure::Answer(opened, body, _) => {
                let head = Head { is_faulty: true, ..self.seat.head(opened) };
                self.whole(head, body.clone())
            }
        }
    }

    /// What the answer has cost, which is whole: whoever follows pays nothing.
    fn costs(&self) -> Costs {
        let cost = self.flight.cost();
        if self.seat.is_coalesced() { Costs::spared(cost) } else { Costs { cost, saved: None } }
    }

    /// The client has all of the answer.
    fn has_all(&self) {
        let (cost, tokens) = (self.flight.cost(), self.flight.usage().map(SavedTokens::from));
        self.seat.close(|exchange| {
            exchange.spared(Spared { cost, tokens });
            exchange.whole();
        });
    }

    fn whole(&self, head: Head, body: Bytes) -> Start {
        self.seat.note(|exchange| exchange.answering(head.status));
        let head = Head { is_unjudged: self.is_unjudged(), ..head };
        match head.is_faulty {
            true => self.seat.close(super::exchange::Exchange::whole),
            false => self.has_all(),
        }
        Start::Whole(head, body)
    }

    fn refuse(&self, problem: &Problem) -> Refusal {
        let refusal = Refusal {
            dialect: Some(self.seat.grant.dialect),
            problem: problem.clone(),
            request_id: self.seat.grant.request_id.clone(),
            cache: Some(self.seat.cache()),
        };
        self.seat.close(|exchange| exchange.failed(problem));
        refusal
    }

    /// Whether the answer is asked for in the shape in which this client wants it. Then it gets what comes,
    /// whatever that is.
    fn reads_as_asked(&self) -> bool {
        self.seat.asked() == self.flight.comes()
    }

    /// How an answer can be read while it comes.
    fn view(&self, opened: &Opened) -> Option<View> {
        let is_stream = opened.recorded == Some(Recorded::Sse);
        let hides = self.seat.grant.reply == ReplyShape::Sse { include_usage: false };
        let fits = opened.recorded.is_none_or(|recorded| recorded == self.seat.asked());
        let view = if is_stream && hides { View::Shown } else { View::All };
        (fits || self.reads_as_asked()).then_some(view)
    }

    /// The dialect's error event, and no end behind it.
    fn break_off(&mut self, problem: &Problem) -> Option<Piece> {
        self.fail(problem);
        // Ends the event whose start has been read: the error is none of its lines.
        let start = if ends_event(self.last) { "" } else { "\n\n" };
        let event = || [start.as_bytes(), &self.seat.grant.dialect.error_event(problem)].concat();
        self.has_events.then(|| Piece::Bytes(event().into()))
    }

    fn fail(&mut self, problem: &Problem) {
        self.seat.close(|exchange| exchange.failed(problem));
        self.phase = Phase::Over;
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("id", &self.id).field("phase", &self.phase).finish()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.flight.log.detach(self.id);
        if self.phase != Phase::Aside {
            // Still open, it says that the client has left.
            self.seat.close(|_| {});
        }
    }
}

/// The answer to this request broke off.
pub(super) fn cut_short(seat: &Seat) -> Problem {
    Problem::UpstreamCutShort { target: seat.grant.target.clone() }
}

/// The last bytes, after more of them.
fn last_of(last: [u8; 3], bytes: &[u8]) -> [u8; 3] {
    bytes.iter().skip(bytes.len().saturating_sub(3)).fold(last, |[_, a, b], next| [a, b, *next])
}

/// Whether an event stream that ends so is between two events.
const fn ends_event(last: [u8; 3]) -> bool {
    matches!(last, [_, b'\n', b'\n' | b'\r'] | [_, b'\r', b'\r'] | [b'\n', b'\r', b'\n'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_ends_with_a_blank_line_however_it_is_cut() {
        for (text, expected) in [
            ("", true),
            ("data: x", false),
            ("data: x\n", false),
            ("data: x\r\n", false),
            ("data: x\r", false),
            ("data: x\n\n", true),
            ("data: x\r\n\r\n", true),
            ("data: x\r\r", true),
            ("data: x\n\ndata: y", false),
        ] {
            for at in 0..=text.len() {
                let (first, second) = text.as_bytes().split_at(at);
                let last = last_of(last_of(*b"\n\n\n", first), second);
                assert_eq!(ends_event(last), expected, "{text:?} cut at {at}");
            }
        }
    }
}
