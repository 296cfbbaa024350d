//! An answer on its way to its client, in a task of its own: recorded where it may be stored, held back at
//! the end until it is, and broken off visibly where the provider's broke off.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use kt_contract::limits::ENTRY_BYTES_MAX;
use kt_contract::wire::admit::ReplyShape;
use kt_providers::{Recorded, UsageHider};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use super::Sidecar;
use super::call::{Candidate, Concluded, Order, cut_short, held};
use super::lane::{Head, Piece, Reply};
use super::tail::{Reached, Tail};
use super::upstream::{Broken, Pieces, Timeouts};
use crate::attempt::Transport;

/// How many pieces wait for a slow client before the provider has to wait too.
const PIECES_MAX: usize = 8;

/// How large a piece may be. Whoever takes one has made progress.
const PIECE_BYTES_MAX: usize = 64 << 10;

/// The body of an answer, with its deadlines.
pub(super) struct Source {
    body: Pin<Box<dyn Pieces>>,
    due: Due,
    timeouts: Timeouts,
}

/// When the next step of a body must have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// The first byte, until then.
    First(Instant),
    /// The next bytes, within the idle time.
    Next,
    /// The end, until then, whatever comes in the meantime.
    End(Instant),
}

/// What came of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Bytes(Bytes),
    End,
    Broken,
}

/// An answer on its way.
pub(super) struct Relay {
    sidecar: Arc<Sidecar>,
    order: Order,
    source: Source,
    /// What the client may have and has not been sent.
    out: Vec<u8>,
    stream: Option<Recording>,
}

/// A stream that may turn out to be storable.
struct Recording {
    /// All of it; `None` once it is beyond the bound.
    bytes: Option<Vec<u8>>,
    tail: Tail,
    /// Where the client has not asked for the usage that we have.
    hider: Option<UsageHider>,
    scratch: Vec<u8>,
}

// === impl Source ===

impl Source {
    pub(super) fn new(body: Pin<Box<dyn Pieces>>, first_by: Instant, timeouts: Timeouts) -> Self {
        Self { body, due: Due::First(first_by), timeouts }
    }

    /// The next bytes, in time.
    pub(super) async fn next(&mut self) -> Step {
        loop {
            let next = self.body.as_mut().next();
            let step = match self.due {
                Due::First(by) | Due::End(by) => timeout_at(by, next).await,
                Due::Next => timeout(self.timeouts.idle, next).await,
            };
            match step {
                Ok(Some(Ok(bytes))) if bytes.is_empty() => {}
                Ok(Some(Ok(bytes))) => {
                    if let Due::First(_) = self.due {
                        self.due = Due::Next;
                    }
                    return Step::Bytes(bytes);
                }
                Ok(None) => return Step::End,
                Ok(Some(Err(Broken))) | Err(_) => return Step::Broken,
            }
        }
    }

    /// The dialect has said that it is over: the end should follow at once.
    fn ends_soon(&mut self) {
        match self.due {
            Due::First(_) | Due::Next => self.due = Due::End(Instant::now() + self.timeouts.ending),
            Due::End(_) => {}
        }
    }
}

// === impl Relay ===

impl Relay {
    /// Passes on what comes; `head` has come already.
    pub(super) fn passing(
        sidecar: Arc<Sidecar>,
        order: Order,
        source: Source,
        head: Vec<u8>,
    ) -> Self {
        Self { sidecar, order, source, out: head, stream: None }
    }

    /// Passes on and records what comes; `first` has come already.
    pub(super) fn recording(
        sidecar: Arc<Sidecar>,
        order: Order,
        source: Source,
        first: &[u8],
    ) -> Self {
        let stream = Recording::new(&order);
        let mut relay = Self { sidecar, order, source, out: Vec::new(), stream: Some(stream) };
        relay.take(first);
        relay
    }

    /// Starts the task. It ends with the stream, or when the client has left.
    pub(super) fn start(mut self, head: Head) -> Reply {
        self.order.account.exchange.answering(head.status);
        let (pieces, client) = mpsc::channel(PIECES_MAX);
        tokio::spawn(self.run(pieces));
        Reply::Stream(head, client)
    }

    async fn run(mut self, client: mpsc::Sender<Piece>) {
        loop {
            if !self.flush(&client).await {
                return;
            }
            match self.reached() {
                Some(Reached::Overrun) => return self.finish(&client, Transport::Broken).await,
                Some(Reached::Done) => self.source.ends_soon(),
                Some(Reached::Events | Reached::LongEvent) | None => {}
            }
            let step = tokio::select! {
                biased;
                // Dropping the source cancels the call; the account says that the client has left.
                () = client.closed() => return,
                step = held(self.order.lease.as_mut(), self.source.next()) => step,
            };
            match step {
                Step::Bytes(bytes) => self.take(&bytes),
                Step::End => return self.finish(&client, Transport::Clean).await,
                Step::Broken => return self.finish(&client, Transport::Broken).await,
            }
        }
    }

    fn reached(&self) -> Option<Reached> {
        self.stream.as_ref().map(|stream| stream.tail.reached())
    }

    fn take(&mut self, bytes: &[u8]) {
        match &mut self.stream {
            Some(stream) => stream.push(bytes, &mut self.out),
            None => self.out.extend_from_slice(bytes),
        }
    }

    /// Sends what the client may have. `false`: it has left, or does not read.
    async fn flush(&mut self, client: &mpsc::Sender<Piece>) -> bool {
        if self.out.is_empty() {
            return !client.is_closed();
        }
        let mut out = Bytes::from(std::mem::take(&mut self.out));
        while !out.is_empty() {
            let piece = Piece::Bytes(out.split_to(out.len().min(PIECE_BYTES_MAX)));
            let sent = timeout(self.source.timeouts.download_idle, client.send(piece));
            // A client that reads slowly may take longer than a lease lasts.
            match held(self.order.lease.as_mut(), sent).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return false,
            }
        }
        true
    }

    async fn finish(mut self, client: &mpsc::Sender<Piece>, transport: Transport) {
        let end = match &mut self.stream {
            None => passed(transport),
            Some(stream) => {
                let candidate = stream.candidate(transport);
                let concluded = self.sidecar.conclude(&mut self.order, candidate).await;
                let is_done = stream.is_done();
                if is_done {
                    stream.finish(&mut self.out);
                }
                end(concluded, transport, is_done)
            }
        };
        let problem = cut_short(&self.order.grant.target);
        if end == Ending::Error {
            if self.reached() == Some(Reached::LongEvent) {
                // Ends the event whose start has passed: the error is none of its lines.
                self.out.extend_from_slice(b"\n\n");
            }
            self.out.extend_from_slice(&self.order.grant.dialect.error_event(&problem));
        }
        if !self.flush(client).await {
            return;
        }
        match end {
            Ending::Clean => {
                // Before the client can see the end: what it asks next finds this request accounted for.
                self.order.account.exchange.whole();
                let patience = self.source.timeouts.download_idle;
                drop(self);
                let _ = timeout(patience, client.send(Piece::End)).await;
            }
            Ending::Error | Ending::Cut => self.order.account.exchange.failed(&problem),
        }
    }
}

/// How an answer ends for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// With its end.
    Clean,
    /// With the dialect's error event, and without an end.
    Error,
    /// Without an end.
    Cut,
}

fn passed(transport: Transport) -> Ending {
    match transport {
        Transport::Clean => Ending::Clean,
        Transport::Broken => Ending::Cut,
    }
}

/// A client that has all that its dialect promises is not told of an error.
fn end(concluded: Concluded, transport: Transport, is_done: bool) -> Ending {
    match (concluded, transport, is_done) {
        (Concluded::Served, Transport::Clean | Transport::Broken, true) => Ending::Clean,
        (Concluded::CutShort, Transport::Clean | Transport::Broken, true) => Ending::Cut,
        (Concluded::Served | Concluded::CutShort, Transport::Clean | Transport::Broken, false) => {
            Ending::Error
        }
    }
}

// === impl Recording ===

impl Recording {
    fn new(order: &Order) -> Self {
        let hides = order.grant.reply == ReplyShape::Sse { include_usage: false };
        Self {
            bytes: Some(Vec::new()),
            tail: Tail::new(order.grant.dialect),
            hider: hides.then(UsageHider::default),
            scratch: Vec::new(),
        }
    }

    fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if let Some(recorded) = &mut self.bytes {
            if recorded.len() + bytes.len() > ENTRY_BYTES_MAX {
                self.bytes = None;
            } else {
                recorded.extend_from_slice(bytes);
            }
        }
        match &mut self.hider {
            None => self.tail.push(bytes, out),
            Some(hider) => {
                self.tail.push(bytes, &mut self.scratch);
                hider.push(&self.scratch, out);
                self.scratch.clear();
            }
        }
    }

    /// The last of it, which was held back.
    fn finish(&mut self, out: &mut Vec<u8>) {
        match &mut self.hider {
            None => self.tail.finish(out),
            Some(hider) => {
                self.tail.finish(&mut self.scratch);
                hider.push(&self.scratch, out);
                hider.finish(out);
            }
        }
    }

    fn is_done(&self) -> bool {
        match self.tail.reached() {
            Reached::Events | Reached::LongEvent => false,
            Reached::Done | Reached::Overrun => true,
        }
    }

    fn candidate(&self, transport: Transport) -> Candidate<'_> {
        // Too large to be judged whole, and without its end: that much is known.
        let is_cut = self.bytes.is_none() && !self.is_done();
        let transport = if is_cut { Transport::Broken } else { transport };
        Candidate { recorded: Recorded::Sse, body: self.bytes.as_deref(), transport }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ending() {
        use Concluded::{CutShort, Served};
        use Transport::{Broken, Clean};
        for (concluded, transport, is_done, expected) in [
            (Served, Clean, true, Ending::Clean),
            (CutShort, Broken, true, Ending::Cut),
            (CutShort, Clean, true, Ending::Cut),
            (CutShort, Clean, false, Ending::Error),
            (CutShort, Broken, false, Ending::Error),
            (Served, Clean, false, Ending::Error),
        ] {
            let ending = end(concluded, transport, is_done);
            assert_eq!(ending, expected, "{concluded:?} {transport:?} done: {is_done}");
        }
    }
}
