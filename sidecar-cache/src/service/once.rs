//! A request with an `Idempotency-Key`: made once, and told again. It goes the way of every other request; what
//! stands here happens before it begins and before its client has all of its answer.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use kt_contract::idempotency::IdempotencyKey;
use kt_contract::outcome::{Outcome, Reason};
use kt_contract::problem::{Problem, Repeated};
use tokio::task::JoinHandle;

use super::Sidecar;
use super::admit::Grant;
use super::callers::Caller;
use super::flights::Sent;
use super::lane::{Account, Head, Refusal, Reply};
use super::log::Charge;
use super::reader::{Piece, Reader};
use super::replies::{Claim, Looked, Name};
use super::savings::Costs;
use crate::idempotency::record::{Record, ReplyHead};
use crate::idempotency::{Ending, Kept, Memory, REPLY_BYTES_MAX, Verdict, memory, verdict};
use crate::store::StoreError;

/// A streamed answer that is remembered before its client has its end. Dropped before, its key is free.
pub struct Keeping {
    reader: Reader,
    /// `None` once the answer has its end, or has none.
    draft: Option<Draft>,
    /// The last piece that has come, where it may be the last of all.
    held: Option<Bytes>,
    state: State,
}

#[derive(Debug)]
enum State {
    Reading,
    /// What came is being remembered, and then comes the end.
    Keeping(JoinHandle<()>),
    /// It was.
    Kept,
    /// It broke off.
    BrokeOff,
    Over,
}

/// What is going to be remembered.
struct Draft {
    sidecar: Arc<Sidecar>,
    caller: Arc<Caller>,
    claim: Claim,
    head: ReplyHead,
    is_faulty: bool,
    is_unjudged: bool,
    /// As long as they may be kept.
    pieces: Vec<Bytes>,
    bytes: u64,
    charge: Charge,
}

// === impl Sidecar ===

impl Sidecar {
    /// Answers a request with a key: from what is remembered, or as any other and then remembers it.
    pub(super) async fn once(
        self: &Arc<Self>,
        key: &IdempotencyKey,
        grant: Box<Grant>,
        mut account: Account,
        sent: Arc<Sent>,
    ) -> Result<Reply, Refusal> {
        let name = Name::of(key, &grant, &sent);
        let looked = match self.look_up_reply(name, &grant.caller).await {
            Ok(looked) => looked,
            Err(error) => {
                tracing::error!(%error, "what became of an Idempotency-Key cannot be looked up");
                return Err(self.repeated(Repeated::Unknown, &grant, &mut account));
            }
        };
        match (verdict(looked.known(), name.fingerprint), looked) {
            (Verdict::Refuse(repeated), _) => Err(self.repeated(repeated, &grant, &mut account)),
            (Verdict::Make | Verdict::Replay, Looked::Free(claim)) => {
                self.metrics.keyed("made");
                let caller = Arc::clone(&grant.caller);
                let reply = self.answer(grant, account, sent).await?;
                Ok(self.keeping(reply, caller, claim).await)
            }
            (Verdict::Make | Verdict::Replay, Looked::Done(record)) => {
                self.metrics.keyed("replayed");
                Ok(replay(record, &grant, &mut account))
            }
            (Verdict::Make | Verdict::Replay, Looked::InFlight(_)) => {
                Err(self.repeated(Repeated::InFlight, &grant, &mut account))
            }
        }
    }

    async fn look_up_reply(&self, name: Name, caller: &Caller) -> Result<Looked, StoreError> {
        if self.replies.are_shared() && !self.cache.generations().known().is_answering() {
            // Whoever asks does not wait as long as a database may take to say nothing.
            return Err(StoreError::Transient("the shared database does not answer".to_owned()));
        }
        self.replies.look(name, caller).await
    }

    fn repeated(&self, repeated: Repeated, grant: &Grant, account: &mut Account) -> Refusal {
        let problem = Problem::Repeated(repeated);
        self.metrics.keyed(problem.code());
        account.exchange.failed(&problem);
        Refusal {
            dialect: Some(grant.dialect),
            problem,
            request_id: grant.request_id.clone(),
            cache: None,
        }
    }

    /// Remembers an answer: before its client gets it, or where it comes as a stream, before its end.
    async fn keeping(self: &Arc<Self>, reply: Reply, caller: Arc<Caller>, claim: Claim) -> Reply {
        let draft = |head: &Head| Draft {
            sidecar: Arc::clone(self),
            charge: self.logs.charge(&caller.principal.org),
            caller,
            claim,
            head: ReplyHead {
                status: head.status,
                content_type: head.content_type.clone(),
                content_encoding: head.content_encoding.clone(),
                served_by: head.served_by.clone(),
            },
            is_faulty: head.is_faulty,
            is_unjudged: head.is_unjudged,
            pieces: Vec::new(),
            bytes: 0,
        };
        match reply {
            // An older one, for want of a new one: the retry may have that.
            Reply::Whole(Head { cache: (Outcome::Stale, Reason::UpstreamError), .. }, _) => reply,
            Reply::Whole(head, body) => {
                let mut draft = draft(&head);
                draft.push(&body);
                // As a task of its own: a client that leaves by now leaves a key that is done.
                let _ = tokio::spawn(draft.end()).await;
                Reply::Whole(head, body)
            }
            Reply::Stream(head, reader) => {
                let (draft, held, state) = (Some(draft(&head)), None, State::Reading);
                Reply::Kept(head, Box::new(Keeping { reader, draft, held, state }))
            }
            Reply::Kept(..) => reply,
        }
    }
}

/// An answer that was given before.
fn replay(record: Record, grant: &Grant, account: &mut Account) -> Reply {
    let Record { head, body, fingerprint: _, kept: _ } = record;
    let cache = (Outcome::Hit, Reason::Replayed);
    account.exchange.cached(cache.0, cache.1);
    account.exchange.answering(head.status);
    account.exchange.whole();
    let head = Head {
        status: head.status,
        content_type: head.content_type,
        content_encoding: head.content_encoding,
        advice: Arc::default(),
        request_id: grant.request_id.clone(),
        cache,
        age_and_ttl_s: None,
        served_by: head.served_by,
        is_faulty: false,
        is_unjudged: false,
        // It was paid for, and no call was spared: there was one.
        costs: Costs::spared(None),
    };
    Reply::Whole(head, body.into())
}

// === impl Draft ===

impl Draft {
    fn push(&mut self, piece: &Bytes) {
        let length = piece.len() as u64;
        self.bytes = self.bytes.saturating_add(length);
        if self.bytes > REPLY_BYTES_MAX {
            self.pieces = Vec::new();
            self.charge.shrink(self.bytes);
        } else {
            self.pieces.push(piece.clone());
            self.charge.grow(length);
        }
    }

    /// All of the answer is there. Ends when it is on disk, and the key free for those who ask again.
    async fn end(self) {
        let Self { sidecar, caller, claim, head, is_faulty, is_unjudged, pieces, bytes, charge } =
            self;
        let ending = match is_unjudged {
            true => Ending::Unjudged,
            false => Ending::Whole { status: head.status, is_faulty, bytes },
        };
        let Memory::Keep(kept) = memory(ending) else { return };
        let body = match kept {
            Kept::Whole => pieces.concat(),
            Kept::Length(_) => Vec::new(),
        };
        drop((pieces, charge));
        let record = Record { fingerprint: claim.name.fingerprint, head, kept, body };
        if let Err(error) = sidecar.replies.keep(claim, &caller, &record).await {
            // The client has paid for its answer and gets it; its retry would make the call again.
            tracing::error!(%error, "the reply to an Idempotency-Key cannot be kept");
            sidecar.metrics.keyed("not_kept");
        }
    }
}

// === impl Keeping ===

impl Keeping {
    /// The next piece; `None` after the end, or where the answer breaks off.
    pub async fn recv(&mut self) -> Option<Piece> {
        std::future::poll_fn(|context| self.poll_piece(context)).await
    }

    /// The next piece; `None` after the end, or where the answer breaks off.
    pub fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Piece>> {
        loop {
            match &mut self.state {
                State::Reading => {
                    let piece = ready!(self.reader.poll_piece(context));
                    if let Some(bytes) = self.read(piece) {
                        return Poll::Ready(Some(Piece::Bytes(bytes)));
                    }
                }
                State::Keeping(kept) => {
                    // It says itself what went wrong.
                    let _ = ready!(Pin::new(kept).poll(context));
                    self.state = State::Kept;
                }
                State::Kept => match self.held.take() {
                    Some(bytes) => return Poll::Ready(Some(Piece::Bytes(bytes))),
                    None => {
                        self.state = State::Over;
                        return Poll::Ready(Some(Piece::End));
                    }
                },
                State::BrokeOff => {
                    self.state = State::Over;
                    if let Some(bytes) = self.held.take() {
                        return Poll::Ready(Some(Piece::Bytes(bytes)));
                    }
                }
                State::Over => return Poll::Ready(None),
            }
        }
    }

    /// What of it the client gets now.
    fn read(&mut self, piece: Option<Piece>) -> Option<Bytes> {
        match piece {
            Some(Piece::Bytes(bytes)) => {
                if let Some(draft) = &mut self.draft {
                    draft.push(&bytes);
                }
                if self.reader.may_be_the_last() {
                    return self.held.replace(bytes);
                }
                Some(bytes)
            }
            Some(Piece::End) => {
                self.state = match self.draft.take() {
                    Some(mut draft) => {
                        draft.is_faulty |= self.reader.is_faulty();
                        draft.is_unjudged |= self.reader.is_unjudged();
                        State::Keeping(tokio::spawn(draft.end()))
                    }
                    None => State::Kept,
                };
                None
            }
            None => {
                self.draft = None;
                self.state = State::BrokeOff;
                None
            }
        }
    }
}

impl std::fmt::Debug for Keeping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeping").field("reader", &self.reader).field("state", &self.state).finish()
    }
}
