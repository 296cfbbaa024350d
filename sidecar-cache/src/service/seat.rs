//! What a flight knows of those who read it, and what they are told.

use std::sync::atomic::{AtomicU32, Ordering};
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
use super::fault::Whom;
use super::flights::Following;
use super::lane::{Account, Head};
use super::lock;
use super::log::Charge;
use super::reader::cut_short;
use super::savings::Costs;
use super::upstream::Advice;
use crate::flight::Overflow;

/// A request on the lane: whose it is, and its account, which is closed once, by whoever ends it.
pub(super) struct Seat {
    pub(super) grant: Box<Grant>,
    state: Mutex<State>,
    /// How many calls were to be made in its name.
    calls: AtomicU32,
}

struct State {
    /// `None` once it is closed.
    account: Option<Account>,
    place: Place<Following>,
    /// What it gets where no new answer can be had.
    fallback: Option<Fallback>,
    cache: (Outcome, Reason),
}

/// Whose call a request waits for. `F` is its place in the count of those who follow.
enum Place<F> {
    /// Its own, or none.
    Own,
    /// Another's.
    Follows(F),
    /// What was another's and has become its own.
    TookOver,
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
    pub(super) advice: Arc<Advice>,
    pub(super) served_by: String,
    /// `None`: what it is cannot be said, and everybody may read it as it comes.
    pub(super) recorded: Option<Recorded>,
}

/// How an answer ended.
#[derive(Clone, Debug)]
pub(super) enum End {
    /// All of it came.
    Clean,
    /// All of it came, with its end, and it is no answer: a retry may bring one.
    Faulty,
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
    /// For the body.
    _charge: Charge,
}

/// An answer that is none.
#[derive(Debug)]
pub(super) enum Failure {
    /// Our own words.
    Problem(Problem),
    /// There is no money for it, which does not concern everybody who reads it.
    Unpaid(Problem, Whom),
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
        let state = State { account: Some(account), place: Place::Own, fallback, cache };
        let seat = Self { grant, state: Mutex::new(state), calls: AtomicU32::new(0) };
        seat.is(cache.0, cache.1);
        Arc::new(seat)
    }

    /// What the cache does for it.
    pub(super) fn is(&self, outcome: Outcome, reason: Reason) {
        lock(&self.state).is(outcome, reason);
    }

    /// The number of the next call in its name, from 1: each has its own money, whichever flight it is made for.
    pub(super) fn next_call(&self) -> u32 {
        self.calls.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    /// What it gets where no new answer can be had; once.
    pub(super) fn take_fallback(&self) -> Option<Fallback> {
        lock(&self.state).fallback.take()
    }

    pub(super) fn cache(&self) -> (Outcome, Reason) {
        lock(&self.state).cache
    }

    /// It waits for another request's call. Said after it has joined: it may have taken over by now.
    pub(super) fn follows(&self, following: Following) {
        let mut state = lock(&self.state);
        let refused = state.place.follow(following);
        if refused.is_none() {
            state.is(Outcome::Coalesced, Reason::InFlight);
        }
        // Given back without the lock.
        drop(state);
    }

    /// The call that it waits for becomes its own.
    pub(super) fn takes_over(&self) {
        let mut state = lock(&self.state);
        let following = state.place.take_over();
        state.is(Outcome::Miss, Reason::Takeover);
        drop(state);
        drop(following);
    }

    /// It does not wait for another request's call any more.
    pub(super) fn follows_no_more(&self, outcome: Outcome, reason: Reason) {
        // Given back without the lock: the board's comes first.
        let following = lock(&self.state).place.leave();
        drop(following);
        self.is(outcome, reason);
    }

    /// Whether it may make its own call after waiting too long. `None`: it does not wait for another's.
    pub(super) fn overflow(&self, limit: Option<u64>) -> Option<Overflow> {
        match &lock(&self.state).place {
            Place::Follows(following) => Some(following.overflow(limit)),
            Place::Own | Place::TookOver => None,
        }
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
        let (account, following) = (state.account.take(), state.place.leave());
        drop(state);
        if let Some(mut account) = account {
            last(&mut account.exchange);
        }
        drop(following);
    }

    /// Whether another's call serves it.
    pub(super) fn is_coalesced(&self) -> bool {
        self.cache().0 == Outcome::Coalesced
    }

    /// The head that this client gets. What its own call costs is not known by then; another's costs it nothing.
    pub(super) fn head(&self, opened: &Opened) -> Head {
        Head {
            status: opened.status,
            content_type: opened.content_type.clone(),
            content_encoding: opened.content_encoding.clone(),
            advice: Arc::clone(&opened.advice),
            request_id: self.grant.request_id.clone(),
            cache: self.cache(),
            age_and_ttl_s: None,
            served_by: Some(opened.served_by.clone()),
            is_faulty: false,
            is_unjudged: false,
            costs: if self.is_coalesced() { Costs::spared(None) } else { Costs::default() },
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

// === impl State ===

impl State {
    fn is(&mut self, outcome: Outcome, reason: Reason) {
        self.cache = (outcome, reason);
        if let Some(account) = &mut self.account {
            account.exchange.cached(outcome, reason);
        }
    }
}

// === impl Place ===

impl<F> Place<F> {
    /// It waits for another's call; given back where that has become its own.
    fn follow(&mut self, following: F) -> Option<F> {
        match self {
            Self::TookOver => Some(following),
            Self::Own | Self::Follows(_) => self.becomes(Self::Follows(following)),
        }
    }

    fn take_over(&mut self) -> Option<F> {
        self.becomes(Self::TookOver)
    }

    /// It waits for no call, and may follow another.
    fn leave(&mut self) -> Option<F> {
        self.becomes(Self::Own)
    }

    fn becomes(&mut self, next: Self) -> Option<F> {
        match std::mem::replace(self, next) {
            Self::Follows(following) => Some(following),
            Self::Own | Self::TookOver => None,
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
    pub(super) fn new(
        opened: Arc<Opened>,
        recorded: Recorded,
        body: Bytes,
        charge: Charge,
    ) -> Arc<Self> {
        Arc::new(Self { opened, recorded, body, told: Default::default(), _charge: charge })
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
            Self::Problem(problem) | Self::Unpaid(problem, _) => problem.status() >= 500,
            Self::Answer(opened, _, _) => opened.status >= 500 || opened.status == 429,
        }
    }

    /// In our words, for one of those who read it. Another one's purse is nobody's business: to others the answer
    /// broke off.
    pub(super) fn problem_for(&self, seat: &Seat) -> Problem {
        match self {
            Self::Problem(problem) | Self::Answer(_, _, problem) => problem.clone(),
            Self::Unpaid(problem, whom) if whom.reaches(&seat.grant.caller.principal) => {
                problem.clone()
            }
            Self::Unpaid(..) => cut_short(seat),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_taken_over_follows_only_after_it_has_left() {
        let mut place = Place::Own;
        assert_eq!(place.take_over(), None, "before it was told that it follows");
        assert_eq!(place.follow(1), Some(1));
        assert!(matches!(place, Place::TookOver));
        assert_eq!(place.leave(), None);
        assert_eq!(place.follow(2), None, "another flight");
        assert_eq!(place.take_over(), Some(2), "its place is given back");
        assert_eq!(place.leave(), None);
        assert_eq!((place.follow(3), place.leave()), (None, Some(3)));
    }
}
