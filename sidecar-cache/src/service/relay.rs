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
use super::tail::Tail;
use super::upstream::{Broken, Pieces, Timeouts};
use crate::attempt::Transport;

/// How many pieces wait for a slow client before the provider has to wait too.
const PIECES_MAX: usize = 8;

/// The body of an answer, with its deadlines.
pub(super) struct Source {
    body: Pin<Box<dyn Pieces>>,
    /// Until when the first byte must have come; `None` once it has.
    first_by: Option<Instant>,
    timeouts: Timeouts,
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
        Self { body, first_by: Some(first_by), timeouts }
    }

    /// The next bytes, in time.
    pub(super) async fn next(&mut self) -> Step {
        loop {
            let next = self.body.as_mut().next();
            let step = match self.first_by {
                Some(first_by) => timeout_at(first_by, next).await,
                None => timeout(self.timeouts.idle, next).await,
            };
            match step {
                Ok(Some(Ok(bytes))) if bytes.is_empty() => {}
                Ok(Some(Ok(bytes))) => {
                    self.first_by = None;
                    return Step::Bytes(bytes);
                }
                Ok(None) => return Step::End,
                Ok(Some(Err(Broken))) | Err(_) => return Step::Broken,
            }
        }
    }

    /// The end, which should follow at once: the dialect has said that it is over.
    async fn ending(&mut self) -> Step {
        let deadline = self.timeouts.ending;
        timeout(deadline, self.next()).await.unwrap_or(Step::Broken)
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
            let is_done = self.stream.as_ref().is_some_and(|stream| stream.tail.is_done());
            let source = &mut self.source;
            let next = async { if is_done { source.ending().await } else { source.next().await } };
            let step = tokio::select! {
                biased;
                // Dropping the source cancels the call; the account says that the client has left.
                () = client.closed() => return,
                step = held(self.order.lease.as_mut(), next) => step,
            };
            match step {
                Step::Bytes(bytes) => self.take(&bytes),
                Step::End => return self.finish(&client, Transport::Clean).await,
                Step::Broken => return self.finish(&client, Transport::Broken).await,
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        match &mut self.stream {
            Some(stream) => stream.push(bytes, &mut self.out),
            None => self.out.extend_from_slice(bytes),
        }
    }

    /// Sends what the client may have. `false`: it has left.
    async fn flush(&mut self, client: &mpsc::Sender<Piece>) -> bool {
        if self.out.is_empty() {
            return !client.is_closed();
        }
        let piece = Piece::Bytes(std::mem::take(&mut self.out).into());
        // A client that reads slowly may take longer than a lease lasts.
        held(self.order.lease.as_mut(), client.send(piece)).await.is_ok()
    }

    async fn finish(mut self, client: &mpsc::Sender<Piece>, transport: Transport) {
        let end = match &mut self.stream {
            None => passed(transport),
            Some(stream) => {
                let candidate = stream.candidate(transport);
                let concluded = self.sidecar.conclude(&mut self.order, candidate).await;
                let is_done = stream.tail.is_done();
                if is_done {
                    stream.finish(&mut self.out);
                }
                end(concluded, transport, is_done)
            }
        };
        let problem = cut_short(&self.order.grant.target);
        if end == Ending::Error {
            self.out.extend_from_slice(&self.order.grant.dialect.error_event(&problem));
        }
        if !self.flush(client).await {
            return;
        }
        match end {
            Ending::Clean => {
                // Before the client can see the end: what it asks next finds this request accounted for.
                self.order.account.exchange.whole();
                drop(self);
                let _ = client.send(Piece::End).await;
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

    fn candidate(&self, transport: Transport) -> Candidate<'_> {
        // Too large to be judged whole, and without its end: that much is known.
        let is_cut = self.bytes.is_none() && !self.tail.is_done();
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
