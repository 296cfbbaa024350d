//! What a flight knows of those who read it, and what they are told.

use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use kt_contract::outcome::{Outcome, Reason};
use kt_contract::problem::Problem;
use kt_contract::time::MonoMillis;
use kt_contract::wire::admit::ReplyShape;
use kt_providers::{Dialect, Recorded};

use super::admit::{Grant, Told};
use super::cache::Hit;
use super::exchange::Exchange;
use super::flights::Following;
use super::lane::{Account, Head};
use super::lock;
use crate::flight::Overflow;

/// A request on the lane: whose it is, and its account, which is closed once, by whoever ends it.
pub(super) struct Seat {
    pub(super) grant: Box<Grant>,
    state: Mutex<State>,
}

struct State {
    /// `None` once it is closed.
    account: Option<Account>,
    following: Option<Following>,
    /// What it gets where no new answer can be had.
    fallback: Option<Fallback>,
    cache: (Outcome, Reason),
}

/// An entry past its time, as it was when it was looked up.
pub(super) struct Fallback {
    pub(super) hit: Box<Hit>,
    pub(super) looked_at: MonoMillis,
}

/// The head of an answer that several clients may get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Opened {
    pub(super) status: u16,
    pub(super) content_type: Option<String>,
    pub(super) content_encoding: Option<String>,
    pub(super) retry_after: Option<String>,
    pub(super) served_by: String,
    /// `None`: what it is cannot be said, and everybody may read it as it comes.
    pub(super) recorded: Option<Recorded>,
}

/// How an answer ended.
#[derive(Clone, Debug)]
pub(super) enum End {
    /// All of it came.
    Clean,
    /// All of it came and is kept, for those who want it in another shape.
    Whole(Arc<Whole>),
    /// The client has all that its dialect promises, and the transport has no end.
    Cut,
    /// It failed.
    Failed(Arc<Failure>),
    /// It was there already.
    Found(Arc<Hit>),
    /// It was invalidated while it was made, and failed: there is none for those who have nothing of it yet.
    Voided,
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) opened: Arc<Opened>,
    pub(super) recorded: Recorded,
    pub(super) body: Bytes,
    /// Told in each other shape at most once, however many want it.
    told: [OnceLock<Option<Told>>; 3],
}

/// An answer that is none.
#[derive(Debug)]
pub(super) enum Failure {
    /// Our own words.
    Problem(Problem),
    /// The provider's, and ours for those who have read something else already.
    Answer(Opened, Bytes, Problem),
}

// === impl Seat ===

impl Seat {
    pub(super) fn new(grant: Box<Grant>, account: Account, cache: (Outcome, Reason)) -> Arc<Self> {
        Self::with_fallback(grant, account, cache, None)
    }

    pub(super) fn with_fallback(
        grant: Box<Grant>,
        account: Account,
        cache: (Outcome, Reason),
        fallback: Option<Fallback>,
    ) -> Arc<Self> {
        let state = State { account: Some(account), following: None, fallback, cache };
        let seat = Self { grant, state: Mutex::new(state) };
        seat.is(cache.0, cache.1);
        Arc::new(seat)
    }

    /// What the cache does for it.
    pub(super) fn is(&self, outcome: Outcome, reason: Reason) {
        let mut state = lock(&self.state);
        state.cache = (outcome, reason);
        if let Some(account) = &mut state.account {
            account.exchange.cached(outcome, reason);
        }
    }

    /// What it gets where no new answer can be had; once.
    pub(super) fn take_fallback(&self) -> Option<Fallback> {
        lock(&self.state).fallback.take()
    }

    pub(super) fn cache(&self) -> (Outcome, Reason) {
        lock(&self.state).cache
    }

    /// It waits for another request's call.
    pub(super) fn follows(&self, following: Following) {
        lock(&self.state).following = Some(following);
        self.is(Outcome::Coalesced, Reason::InFlight);
    }

    /// It does not wait for another request's call any more.
    pub(super) fn follows_no_more(&self, outcome: Outcome, reason: Reason) {
        // Given back without the lock: the board's comes first.
        let following = lock(&self.state).following.take();
        drop(following);
        self.is(outcome, reason);
    }

    /// Whether it may make its own call after waiting too long. `None`: it does not wait for another's.
    pub(super) fn overflow(&self, limit: Option<u64>) -> Option<Overflow> {
        lock(&self.state).following.as_ref().map(|following| following.overflow(limit))
    }

    /// Writes something into its log line, as long as it is open.
    pub(super) fn note(&self, write: impl FnOnce(&mut Exchange)) {
        if let Some(account) = &mut lock(&self.state).account {
            write(&mut account.exchange);
        }
    }

    /// Closes the account. Whoever is first says how it ended.
    pub(super) fn close(&self, last: impl FnOnce(&mut Exchange)) {
        let mut state = lock(&self.state);
        let (account, following) = (state.account.take(), state.following.take());
        drop(state);
        if let Some(mut account) = account {
            last(&mut account.exchange);
        }
        drop(following);
    }

    /// The head that this client gets.
    pub(super) fn head(&self, opened: &Opened) -> Head {
        Head {
            status: opened.status,
            content_type: opened.content_type.clone(),
            content_encoding: opened.content_encoding.clone(),
            retry_after: opened.retry_after.clone(),
            request_id: self.grant.request_id.clone(),
            cache: self.cache(),
            age_and_ttl_s: None,
            served_by: Some(opened.served_by.clone()),
        }
    }

    /// The shape in which its client's request asks for an answer.
    pub(super) fn asked(&self) -> Recorded {
        match self.grant.reply {
            ReplyShape::Json => Recorded::Json,
            ReplyShape::Sse { .. } => Recorded::Sse,
        }
    }
}

// === impl Fallback ===

impl Fallback {
    /// The entry as it is by now: older than it was.
    pub(super) fn by(self, now: MonoMillis) -> Box<Hit> {
        let Self { mut hit, looked_at } = self;
        let since = now.since(looked_at).0;
        hit.age.0 = hit.age.0.saturating_add(since);
        hit.stale.0 = hit.stale.0.saturating_add(since);
        hit
    }
}

// === impl Whole ===

impl Whole {
    pub(super) fn new(opened: Arc<Opened>, recorded: Recorded, body: Bytes) -> Arc<Self> {
        Arc::new(Self { opened, recorded, body, told: Default::default() })
    }

    /// The answer in another shape than the one that came. `None` where it cannot be told so.
    pub(super) fn told(&self, dialect: Dialect, want: ReplyShape) -> Option<Told> {
        let [json, sse, with_usage] = &self.told;
        let told = match want {
            ReplyShape::Json => json,
            ReplyShape::Sse { include_usage: false } => sse,
            ReplyShape::Sse { include_usage: true } => with_usage,
        };
        let replay = || {
            let replay = dialect.replay(self.recorded, &self.body, want).ok()?;
            let body = replay.body.into_owned().into();
            Some(Told { content_type: replay.content_type, body })
        };
        told.get_or_init(replay).clone()
    }
}

// === impl Failure ===

impl Failure {
    /// Whether no answer could be had, so that an older one is better than none (RFC 5861: what would be
    /// a status from 500 on; and a provider that has had enough).
    pub(super) fn is_outage(&self) -> bool {
        match self {
            Self::Problem(problem) => problem.status() >= 500,
            Self::Answer(opened, _, _) => opened.status >= 500 || opened.status == 429,
        }
    }

    /// In our words.
    pub(super) const fn problem(&self) -> &Problem {
        match self {
            Self::Problem(problem) | Self::Answer(_, _, problem) => problem,
        }
    }
}
