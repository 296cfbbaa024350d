//! The output policy within a flight: before its log, its entry and every reader. What it blocks ends the flight for
//! everybody, paid for and not stored; what it replaces is replaced for everybody.

use std::sync::Arc;

use bytes::Bytes;
use kt_contract::json::{self, Bounds};
use kt_contract::limits::{JSON_NODES_MAX, SSE_LINE_BYTES_MAX};
use kt_contract::policy::{Decision, Phase};
use kt_contract::problem::Problem;
use kt_policy::{Blocked, Chain, Event, Piece, Policed, Stream, Triggered, police};
use kt_providers::sse::{Data, Reader};
use kt_providers::{self as spoken, Dialect, Spoken};

use super::call::read;
use super::fault::Failed;
use super::judging::{READ_IN_PASSING_BYTES_MAX, Sentence};
use super::pilot::Pilot;
use super::seat::{End, Failure};
use crate::flight::{Ending, Held};

/// Answers nest deeper than requests: arguments in them are the model's.
pub(super) const BOUNDS: Bounds = Bounds { depth_max: 256, nodes_max: JSON_NODES_MAX };
/// How long an event may be, with all of its lines.
const BEGUN_BYTES_MAX: usize = 2 * SSE_LINE_BYTES_MAX + (64 << 10);
/// How much may wait for what is said in it.
const HELD_BYTES_MAX: usize = 4 << 20;
/// What ends a stream and is no JSON.
const DONE: &[u8] = b"[DONE]";
/// What is told of an answer that policies were to watch and could not read.
const UNREAD: Triggered =
    Triggered { policy: "output", found: "unread", decision: Decision::Monitor };

/// A stream on its way through the policies: from its bytes to events, and back.
pub(super) struct Patrol {
    dialect: Dialect,
    reader: Reader,
    /// The start of an event whose end has not come.
    begun: Vec<u8>,
    stream: Stream,
    /// Whether what it finds changes something.
    may_change: bool,
    /// It came in a form that cannot be read, and is not: all only watch.
    is_unread: bool,
}

/// Why an answer does not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// A policy has said so.
    Blocked(Blocked),
    /// A policy that judges as a whole has said so, of the answer or of the request.
    Judged(Sentence),
    /// It comes in a form, or at a length, in which no policy can read it.
    Unreadable,
}

// === impl Pilot ===

impl Pilot {
    /// The policies that an answer has to pass. Another sidecar's has passed them, and nothing is said in numbers.
    pub(super) fn output_chain(&self) -> Option<Arc<Chain>> {
        self.chain_of_words().filter(|_| self.seat.grant.dialect != Dialect::OpenAiEmbeddings)
    }

    /// The policies for what a provider says in words.
    fn chain_of_words(&self) -> Option<Arc<Chain>> {
        if self.standing.role.follows() {
            return None;
        }
        let output = self.seat.grant.settings.output.as_ref();
        output.map(|output| Arc::clone(&output.chain))
    }

    /// A whole JSON answer, as it goes on. It is paid for by what the provider has said, whatever becomes of that.
    pub(super) async fn polices(
        &mut self,
        body: Vec<u8>,
    ) -> Result<Result<Bytes, Stopped>, Failed> {
        let Some(chain) = self.output_chain() else { return Ok(Ok(body.into())) };
        let may_change = chain.enforces();
        let body = Bytes::from(body);
        let is_long = body.len() > READ_IN_PASSING_BYTES_MAX;
        let whole = body.clone();
        let polices = move || {
            let is_readable = json::parse(&whole, BOUNDS).is_ok();
            is_readable.then(|| police(&chain, &whole))
        };
        // What could not be done is as good as what cannot be read.
        let policed = if is_long { self.apart(polices).await?.flatten() } else { polices() };
        let Some(Policed { verdict, replaced }) = policed else {
            if may_change {
                return Ok(Err(Stopped::Unreadable));
            }
            self.goes_unread();
            return Ok(Ok(body));
        };
        self.found(&verdict.triggered);
        if verdict.blocked.is_some() || replaced.is_some() {
            let delivered = read(self.seat.grant.dialect, &body);
            // What is not booked is not stored.
            self.may_store &= self.pays(delivered).await;
        }
        Ok(match verdict.blocked {
            Some(blocked) => Err(Stopped::Blocked(blocked)),
            None => Ok(replaced.map_or(body, Bytes::from)),
        })
    }

    /// A provider's refusal, as it goes on: in its words may stand what was asked. What would block an answer takes its
    /// words from it.
    pub(super) fn polices_refusal(&mut self, body: Vec<u8>) -> Bytes {
        let Some(chain) = self.chain_of_words() else { return body.into() };
        let Policed { verdict, replaced } = police(&chain, &body);
        self.found(&verdict.triggered);
        match verdict.blocked {
            None => replaced.unwrap_or(body).into(),
            Some(blocked) => {
                let status = self.seat.grant.settings.snapshot.policy.block_status;
                let problem = Stopped::Blocked(blocked).problem(status);
                self.seat.grant.dialect.error_body(&problem).into()
            }
        }
    }

    /// What a stream has to pass.
    pub(super) fn patrol(&self) -> Option<Patrol> {
        Some(Patrol::new(self.seat.grant.dialect, self.output_chain()?))
    }

    /// What policies have found in the answer, for logs and metrics.
    pub(super) fn found(&mut self, triggered: &[Triggered]) {
        for triggered in triggered {
            self.sidecar.metrics.guardrail(triggered.policy, Phase::Output, triggered.decision);
            self.seat.note(|exchange| exchange.triggered(triggered.to_string()));
        }
    }

    /// An answer in a form, or at a length, in which no policy can read it goes on, because all of them only watch.
    pub(super) fn goes_unread(&mut self) {
        if self.output_chain().is_some() {
            self.found(&[UNREAD]);
        }
    }

    /// The answer does not pass: everybody is told the same, whether they have read something of it or not, and
    /// nobody tries again.
    pub(super) async fn stops(&mut self, stopped: Stopped, is_open: bool) -> Result<(), Failed> {
        let phase = stopped.phase();
        let problem = stopped.problem(self.seat.grant.settings.snapshot.policy.block_status);
        self.not_stored(problem.code());
        self.pays(None).await;
        if let Problem::PolicyBlocked { policy, .. } = &problem {
            self.sidecar.metrics.guardrail_blocked(policy, phase, 1);
        }
        let _: Held = self.end(Ending::Blocked);
        if let Some(herald) = self.standing.role.herald()
            && is_open
        {
            // Who reads it elsewhere has begun to: what ends it there is what ends it here.
            herald.says(&self.seat.grant.dialect.error_event(&problem).into());
        }
        self.finish(End::Failed(Arc::new(Failure::Problem(problem))));
        Ok(())
    }
}

// === impl Patrol ===

impl Patrol {
    fn new(dialect: Dialect, chain: Arc<Chain>) -> Self {
        let may_change = chain.enforces();
        let (reader, stream) = (Reader::default(), Stream::new(chain));
        Self { dialect, reader, begun: Vec::new(), stream, may_change, is_unread: false }
    }

    /// Takes the next bytes and appends to `out` what may go on.
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Stopped> {
        let mut rest = bytes;
        if !self.is_unread {
            match self.reads(&mut rest, out) {
                Err(Stopped::Unreadable) if !self.may_change => {
                    // What was read goes on before what cannot be.
                    self.end(out)?;
                    out.append(&mut self.begun);
                    self.is_unread = true;
                }
                read => return read,
            }
        }
        out.extend_from_slice(rest);
        Ok(())
    }

    fn reads(&mut self, rest: &mut &[u8], out: &mut Vec<u8>) -> Result<(), Stopped> {
        loop {
            let before = *rest;
            let read = self.reader.next(rest).map(|event| match event.data {
                Data::Whole(data) => Ok((event.name.to_vec(), data.to_vec())),
                Data::Absent => Ok((Vec::new(), Vec::new())),
                Data::TooLong => Err(Stopped::Unreadable),
            });
            let taken = before.get(..before.len().saturating_sub(rest.len())).unwrap_or_default();
            self.begun.extend_from_slice(taken);
            let Some(read) = read else {
                let is_bounded = self.begun.len() <= BEGUN_BYTES_MAX
                    && self.stream.held_bytes() <= HELD_BYTES_MAX;
                return if is_bounded { Ok(()) } else { Err(Stopped::Unreadable) };
            };
            let (name, data) = read?;
            let is_json = data == DONE || data.is_empty() || json::parse(&data, BOUNDS).is_ok();
            if !is_json {
                return Err(Stopped::Unreadable);
            }
            let event = self.event(&name, &data);
            let is_last = self.dialect.ends_stream(&data);
            if is_last {
                // All that was said has been said: nothing is held behind it.
                self.stream.end(out).map_err(Stopped::Blocked)?;
            }
            self.stream.push(event, out).map_err(Stopped::Blocked)?;
            if is_last {
                self.stream.end(out).map_err(Stopped::Blocked)?;
            }
        }
    }

    /// Nothing more will come: appends what is left, but for an event whose end is missing.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) -> Result<(), Stopped> {
        self.stream.end(out).map_err(Stopped::Blocked)
    }

    /// What was found so far.
    pub(super) fn triggered(&self) -> Vec<Triggered> {
        let unread = self.is_unread.then_some(UNREAD);
        self.stream.triggered().into_iter().chain(unread).collect()
    }

    /// The event that has come, with what is said in it.
    fn event(&mut self, name: &[u8], data: &[u8]) -> Event {
        let mut bytes = std::mem::take(&mut self.begun);
        if data.is_empty() {
            return Event { bytes, ..Event::default() };
        }
        let found = bytes.windows(data.len()).rposition(|part| part == data);
        let start = found.unwrap_or_else(|| {
            // Data in several lines is written anew, in one: between JSON's tokens a line's end says nothing.
            let mut event = Vec::with_capacity(bytes.len());
            if !name.is_empty() {
                event.extend_from_slice(b"event: ");
                event.extend_from_slice(name);
                event.push(b'\n');
            }
            event.extend_from_slice(b"data: ");
            let start = event.len();
            event.extend(data.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }));
            event.extend_from_slice(b"\n\n");
            bytes = event;
            start
        });
        let Spoken { pieces, ends, .. } = self.dialect.spoken(data);
        let pieces = pieces.into_iter();
        Event {
            data: start..start + data.len(),
            pieces: pieces
                .map(|spoken::Piece { text: channel, raw, is_json }| Piece {
                    channel,
                    raw,
                    is_json,
                })
                .collect(),
            ends,
            bytes,
        }
    }
}

// === impl Stopped ===

impl Stopped {
    fn problem(self, status: u16) -> Problem {
        let (policy, what) = match self {
            Self::Blocked(blocked) => (blocked.policy.to_owned(), blocked.what(Phase::Output)),
            Self::Judged(Sentence { policy, what, .. }) => (policy, what),
            Self::Unreadable => (
                "output".to_owned(),
                "the model's answer comes in a form that policies cannot read".to_owned(),
            ),
        };
        Problem::PolicyBlocked { policy, status, what }
    }

    /// What does not pass: a request, or an answer.
    const fn phase(&self) -> Phase {
        match self {
            Self::Judged(sentence) => sentence.phase,
            Self::Blocked(_) | Self::Unreadable => Phase::Output,
        }
    }
}
