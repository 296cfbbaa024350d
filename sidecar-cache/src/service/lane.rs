//! The lane: a request with its ticket and its whole body. In this order: the ticket, the entry, the flight.
//! The call is the flight's business; every client is a reader, the one that leads included.

use std::sync::Arc;

use bytes::Bytes;
use kt_contract::config::Overflow;
use kt_contract::hex::Digest;
use kt_contract::outcome::{Outcome, Reason};
use kt_contract::problem::Problem;
use kt_providers::Dialect;
use tokio::time::timeout;

use super::Sidecar;
use super::admit::{AtAdmit, Found, Grant, Told, told};
use super::cache::Hit;
use super::crowds::Place;
use super::drain::Served;
use super::entered::Entered;
use super::exchange::Exchange;
use super::flights::{Flight, Joined, Sent};
use super::lease::Lease;
use super::once::Keeping;
use super::reader::{Reader, Start, cut_short};
use super::savings::{Costs, Spared};
use super::seat::{Fallback, Seat};
use super::upstream::Advice;
use crate::flight;
use crate::freshness::is_young_enough;
use crate::ticket::Refused;

/// What accompanies a request to its end, whichever task that happens in.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) exchange: Exchange,
    /// A drain waits for it.
    _served: Served,
    /// It is one of those that its organization has under way.
    place: Option<Place>,
}

/// The head of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The status.
    pub status: u16,
    /// The content type.
    pub content_type: Option<String>,
    /// The content encoding, where a provider insists on one.
    pub content_encoding: Option<String>,
    /// What the provider says of retries.
    pub advice: Arc<Advice>,
    /// The request's id.
    pub request_id: String,
    /// What the cache did, and why.
    pub cache: (Outcome, Reason),
    /// Of an entry: its age and its remaining freshness, or how long it has been stale, in seconds.
    pub age_and_ttl_s: Option<(u64, u64)>,
    /// `provider/model`.
    pub served_by: Option<String>,
    /// Whether it is none of the answers that were asked for, whatever its status.
    pub is_faulty: bool,
    /// Whether a policy was to judge it and has not: it is told once.
    pub is_unjudged: bool,
    /// What it has cost and saved.
    pub costs: Costs,
}

/// An answer.
#[derive(Debug)]
pub enum Reply {
    /// All at once.
    Whole(Head, Bytes),
    /// As it comes.
    Stream(Head, Reader),
    /// As it comes, and remembered for its `Idempotency-Key`.
    Kept(Head, Box<Keeping>),
}

/// A refusal, in the client's dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Whose words to use; `None` where the request could not be attributed to a dialect.
    pub dialect: Option<Dialect>,
    /// What is wrong.
    pub problem: Problem,
    /// The request's id.
    pub request_id: String,
    /// What the cache did, where it came to that.
    pub cache: Option<(Outcome, Reason)>,
}

// === impl Account ===

impl Account {
    pub(super) const fn new(exchange: Exchange, served: Served) -> Self {
        Self { exchange, _served: served, place: None }
    }

    /// It has its place among those of its organization.
    pub(super) fn placed(&mut self, place: Place) {
        self.place = Some(place);
    }
}

// === impl Sidecar ===

impl Sidecar {
    /// Answers a request whose whole body has come. `headers` are those that its dialect names.
    ///
    /// # Errors
    /// Another body than the one that was admitted; no answer from the provider.
    pub async fn serve(
        self: &Arc<Self>,
        entered: Entered,
        headers: Vec<(String, Vec<u8>)>,
        body: Bytes,
    ) -> Result<Reply, Refusal> {
        let Entered { ticket, mut account, key, room, no_room: _ } = entered;
        let (dialect, request_id) = (ticket.grant.dialect, ticket.grant.request_id.clone());
        let digest = Digest(*blake3::hash(&body).as_bytes());
        let grant = match ticket.for_body(digest) {
            Ok(grant) => grant,
            Err(refused) => {
                account.exchange.failed(&Problem::TicketRefused);
                return Err(self.ticket_refused(refused, Some(dialect), request_id));
            }
        };
        if self.admit_on_record(&grant).await.is_err() {
            let problem = Problem::AuditUnavailable;
            account.exchange.failed(&problem);
            return Err(Refusal { dialect: Some(dialect), problem, request_id, cache: None });
        }
        let sent = Arc::new(Sent { headers, body, _room: Some(room) });
        match key {
            Some(key) => self.once(&key, grant, account, sent).await,
            None => self.answer(grant, account, sent).await,
        }
    }

    /// Answers a request that is what was admitted.
    pub(super) async fn answer(
        self: &Arc<Self>,
        grant: Box<Grant>,
        account: Account,
        sent: Arc<Sent>,
    ) -> Result<Reply, Refusal> {
        if let AtAdmit::Bypass(reason) = grant.found {
            let only_if_cached = grant.control.only_if_cached;
            let seat = Seat::new(grant, account, (Outcome::Bypass, reason));
            if only_if_cached {
                return Err(not_cached(&seat, reason));
            }
            return self.alone(seat, sent, None).await;
        }
        let (reason, fallback) = match self.look(&grant).await {
            Found::Fresh(hit, told) => {
                let seat = Seat::new(grant, account, (Outcome::Hit, Reason::Shared));
                return Ok(hit_reply(&seat, &hit, told));
            }
            Found::Stale(hit, told) if grant.serves_at_once(&hit) => {
                let seat = Seat::new(grant, account, (Outcome::Stale, Reason::Revalidating));
                return Ok(self.while_revalidating(&seat, sent, &hit, told));
            }
            Found::Stale(hit, _) => (Reason::Expired, Some(self.fallback(hit))),
            Found::Nothing(reason) => (reason, None),
        };
        // What admit found wrong with an entry, it has removed.
        let reason = if let AtAdmit::Miss(reason) = grant.found { reason } else { reason };
        if grant.control.only_if_cached {
            let seat = Seat::new(grant, account, (Outcome::Miss, reason));
            return Err(not_cached(&seat, reason));
        }
        let seat = Seat::with_fallback(grant, account, (Outcome::Miss, reason), fallback);
        if seat.grant.settings.single_flight.is_enabled {
            self.together(seat, sent).await
        } else {
            let generations = || self.cache.vector(seat.grant.wanted());
            let lease = self.flights.lead_alone(seat.grant.at.key, generations);
            if lease.is_none() {
                seat.is(Outcome::Miss, Reason::SingleFlightOff);
            }
            self.alone(seat, sent, lease).await
        }
    }

    /// An entry past its time, at once, and a call for its successor, unless one is being made.
    fn while_revalidating(
        self: &Arc<Self>,
        seat: &Arc<Seat>,
        sent: Arc<Sent>,
        hit: &Hit,
        told: Told,
    ) -> Reply {
        let generations = || self.cache.vector(seat.grant.wanted());
        let leads = match seat.grant.control.only_if_cached {
            true => None,
            false => self.flights.lead_unattended(seat, generations, sent),
        };
        let Some((flight, lease)) = leads else { return hit_reply(seat, hit, told) };
        // A call is made in its name: it was spared none.
        let reply = reply_with(seat, hit, told, None);
        self.start(&flight, Some(lease), seat, None);
        reply
    }

    /// An entry past its time, to be kept for the case that no new answer can be had. Whether it may be told is
    /// asked then.
    fn fallback(&self, hit: Box<Hit>) -> Fallback {
        Fallback { hit, looked_at: self.clock.mono() }
    }

    /// The entry that was kept for the case that no new answer can be had, if it may be told by now: while the
    /// request waited, it has become older, and may have been invalidated or switched off.
    fn stale(&self, seat: &Seat) -> Option<Reply> {
        let hit = seat.take_fallback()?.by(self.clock.mono());
        let (grant, settings) = (&seat.grant, &seat.grant.settings);
        let may_serve = settings.snapshot.cache.enabled
            && settings.stale.serves_on_error(hit.stale, grant.control.max_age_s)
            && self.cache.generations().known().has_generations()
            && hit.entry.header.generations == self.cache.vector(grant.wanted());
        let told = told(grant.dialect, &hit, grant.reply).filter(|_| may_serve)?;
        seat.follows_no_more(Outcome::Stale, Reason::UpstreamError);
        Some(hit_reply(seat, &hit, told))
    }

    /// Joins the flight of the request's key, or starts it. Where that brings nothing for this client, it asks
    /// once more: of the many to whom that happens at the same time, one leads and the others follow.
    async fn together(
        self: &Arc<Self>,
        seat: Arc<Seat>,
        sent: Arc<Sent>,
    ) -> Result<Reply, Refusal> {
        match self.joined(&seat, sent).await {
            Waited::Begun(reply) => *reply,
            Waited::Own(sent) => self.alone(seat, sent, None).await,
            Waited::Again(sent) => match self.joined(&seat, sent).await {
                Waited::Begun(reply) => *reply,
                Waited::Own(sent) | Waited::Again(sent) => self.alone(seat, sent, None).await,
            },
        }
    }

    async fn joined(self: &Arc<Self>, seat: &Arc<Seat>, sent: Arc<Sent>) -> Waited {
        let generations = || self.cache.vector(seat.grant.wanted());
        let (flight, reader, theirs) = match self.flights.join(seat, generations, &sent) {
            Joined::Lead(flight, reader, lease) => {
                self.start(&flight, Some(lease), seat, Some(reader));
                // Where another sidecar may lead, this one waits like any other.
                let own = self.group.as_ref().and_then(|_| flight.sent());
                (flight, reader, own)
            }
            Joined::Follow(flight, reader, theirs) => (flight, reader, Some(theirs)),
            Joined::HitForMiss => {
                seat.is(Outcome::Miss, Reason::HitForMiss);
                return Waited::Own(sent);
            }
            Joined::Alone => {
                seat.is(Outcome::Miss, Reason::SingleFlightOff);
                return Waited::Own(sent);
            }
            Joined::Full => {
                let stale = self.stale(seat);
                let reply = stale.ok_or_else(|| refused(seat, Problem::FlightFull));
                return Waited::Begun(Box::new(reply));
            }
        };
        // One for all who ask for the same shape: it may be long, and they may be many.
        drop(sent);
        let reader = Reader::new(flight, reader, Arc::clone(seat), self.clock);
        let reason = match self.waited(reader, seat).await {
            Ok(reply) => return Waited::Begun(Box::new(reply)),
            Err(reason) => reason,
        };
        seat.follows_no_more(Outcome::Miss, reason);
        match theirs {
            Some(sent) if reason == Reason::Overflow => Waited::Own(sent),
            Some(sent) => Waited::Again(sent),
            None => Waited::Begun(Box::new(Err(refused(seat, cut_short(seat))))),
        }
    }

    /// A call that nobody else may join.
    async fn alone(
        self: &Arc<Self>,
        seat: Arc<Seat>,
        sent: Arc<Sent>,
        lease: Option<Lease>,
    ) -> Result<Reply, Refusal> {
        let generations = self.cache.vector(seat.grant.wanted());
        let charge = self.logs.charge(&seat.grant.caller.principal.org);
        let flight =
            Arc::new(Flight::new((generations, self.clock.mono()), seat.asked(), sent, charge));
        let reader = flight.log.attach(Arc::clone(&seat), self.clock.mono().0);
        self.start(&flight, lease, &seat, Some(reader));
        let mut reader = Reader::new(flight, reader, Arc::clone(&seat), self.clock);
        let start = reader.begin(|| self.stale(&seat)).await;
        self.begun(start, reader, &seat).unwrap_or_else(|_| Err(refused(&seat, cut_short(&seat))))
    }

    /// Waits for the answer to begin; a follower not for ever. Or why there is none for this client.
    async fn waited(
        &self,
        mut reader: Reader,
        seat: &Seat,
    ) -> Result<Result<Reply, Refusal>, Reason> {
        let settings = seat.grant.settings.single_flight;
        let limit = match settings.overflow {
            Overflow::Count(count) => Some(count),
            Overflow::Unlimited => None,
        };
        let start = timeout(settings.timeout, reader.begin(|| self.stale(seat))).await.ok();
        if start.is_none() {
            // What has begun to come is worth waiting for, whatever shape it is wanted in.
            let goes = reader.waits_in_silence() && self.lets_go(&reader, seat, limit).await;
            if goes {
                self.metrics.overflowed();
                reader.step_aside();
                return Err(Reason::Overflow);
            }
        }
        let start = match start {
            Some(start) => start,
            None => reader.begin(|| self.stale(seat)).await,
        };
        self.begun(start, reader, seat)
    }

    /// Whether a client that has waited too long makes its own call: so many of a flight, in the whole group.
    async fn lets_go(&self, reader: &Reader, seat: &Seat, limit: Option<u64>) -> bool {
        match seat.overflow(limit) {
            Some(flight::Overflow::Go) => {}
            Some(flight::Overflow::WaitOn) => return false,
            // Its own call, unless it is another sidecar's.
            None if seat.is_coalesced() => {}
            None => return false,
        }
        match (&self.group, reader.in_group()) {
            (Some(group), Some(id)) => group.lets_go(seat.grant.at.key, id, limit).await,
            (Some(_) | None, _) => true,
        }
    }

    /// The beginning of an answer as its client gets it, or why there is none for it.
    fn begun(
        &self,
        start: Start,
        reader: Reader,
        seat: &Seat,
    ) -> Result<Result<Reply, Refusal>, Reason> {
        let reason = match start {
            Start::Stream(head) => return Ok(Ok(Reply::Stream(head, reader))),
            Start::Whole(head, body) => return Ok(Ok(Reply::Whole(head, body))),
            Start::Refused(refusal) => return Ok(Err(refusal)),
            Start::Stale(reply) => return Ok(Ok(*reply)),
            // It was young enough for the leader.
            Start::Found(hit) if !is_young_enough(hit.age, seat.grant.control.max_age_s) => {
                Reason::MaxAge
            }
            Start::Found(hit) => match told(seat.grant.dialect, &hit, seat.grant.reply) {
                Some(told) => {
                    seat.follows_no_more(Outcome::Hit, Reason::Shared);
                    return Ok(Ok(hit_reply(seat, &hit, told)));
                }
                // It can be told in the leader's shape.
                None => Reason::Shape,
            },
            Start::Apart(reason) => reason,
        };
        reader.step_aside();
        Err(reason)
    }

    pub(super) fn ticket_refused(
        &self,
        refused: Refused,
        dialect: Option<Dialect>,
        request_id: String,
    ) -> Refusal {
        self.metrics.ticket_refused(refused);
        tracing::warn!(why = refused.as_str(), request_id, "ticket refused");
        Refusal { dialect, problem: Problem::TicketRefused, request_id, cache: None }
    }
}

/// How waiting for a flight ended.
enum Waited {
    /// With an answer, or the beginning of one.
    Begun(Box<Result<Reply, Refusal>>),
    /// With the need for a call of its own.
    Own(Arc<Sent>),
    /// With a flight that is over, and that had nothing for this client.
    Again(Arc<Sent>),
}

/// What the cache has, for nothing.
fn hit_reply(seat: &Seat, hit: &Hit, told: Told) -> Reply {
    reply_with(seat, hit, told, Some(seat.grant.spared_by(hit)))
}

fn refused(seat: &Seat, problem: Problem) -> Refusal {
    seat.close(|exchange| exchange.failed(&problem));
    Refusal {
        dialect: Some(seat.grant.dialect),
        problem,
        request_id: seat.grant.request_id.clone(),
        cache: Some(seat.cache()),
    }
}

/// Only a stored answer was wanted, and admit's is gone.
fn not_cached(seat: &Seat, reason: Reason) -> Refusal {
    let refusal = refused(seat, Problem::NotCached { reason });
    Refusal { cache: None, ..refusal }
}

fn reply_with(seat: &Seat, hit: &Hit, told: Told, spared: Option<Spared>) -> Reply {
    seat.close(|exchange| {
        exchange.answering(200);
        if let Some(spared) = spared {
            exchange.spared(spared);
        }
        exchange.whole();
    });
    let head = Head {
        status: 200,
        content_type: Some(told.content_type.to_owned()),
        content_encoding: None,
        advice: Arc::default(),
        request_id: seat.grant.request_id.clone(),
        cache: seat.cache(),
        age_and_ttl_s: Some((hit.age.0 / 1_000, ttl_s(hit))),
        served_by: Some(hit.entry.header.served_by.clone()),
        is_faulty: false,
        is_unjudged: false,
        costs: Costs::spared(spared.and_then(|spared| spared.cost)),
    };
    Reply::Whole(head, told.body)
}

/// How long an entry stays fresh, or how long it has been stale, in seconds.
fn ttl_s(hit: &Hit) -> u64 {
    hit.fresh.max(hit.stale).0 / 1_000
}
