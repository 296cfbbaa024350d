//! The lane: a request with its ticket and its whole body. In this order: the ticket, the entry, the flight,
//! the call. A reserve will stand between flight and call, so that hits never touch it.

use std::sync::Arc;

use bytes::Bytes;
use kt_contract::hex::Digest;
use kt_contract::outcome::{Outcome, Reason};
use kt_contract::problem::Problem;
use kt_providers::Dialect;
use tokio::sync::mpsc;

use super::Sidecar;
use super::admit::{AtAdmit, Grant, Told};
use super::cache::Hit;
use super::drain::Served;
use super::exchange::Exchange;
use super::lease::Lease;
use crate::ticket::{Holder, Refused, Ticket, TicketId};

/// A request whose ticket was good so far; its body is still to come.
#[derive(Debug)]
pub struct Entered {
    ticket: Ticket<Box<Grant>>,
    account: Account,
}

/// What accompanies a request to its end, whichever task that happens in.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) exchange: Exchange,
    /// A drain waits for it.
    _served: Served,
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
    /// `Retry-After`.
    pub retry_after: Option<String>,
    /// The request's id.
    pub request_id: String,
    /// What the cache did, and why.
    pub cache: (Outcome, Reason),
    /// Of a hit: its age and its remaining freshness, in seconds.
    pub age_and_ttl_s: Option<(u64, u64)>,
    /// `provider/model`.
    pub served_by: Option<String>,
}

/// An answer.
#[derive(Debug)]
pub enum Reply {
    /// All at once.
    Whole(Head, Bytes),
    /// As it comes.
    Stream(Head, mpsc::Receiver<Piece>),
}

/// A piece of a streamed answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes.
    Bytes(Bytes),
    /// The end. A stream without it has broken off.
    End,
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

// === impl Sidecar ===

impl Sidecar {
    /// Takes the ticket of a request whose head has come.
    ///
    /// # Errors
    /// No ticket, or one that is not good here.
    pub fn enter(&self, ticket: Option<&str>, holder: &Holder) -> Result<Entered, Refusal> {
        // Counted in before the ticket is used up: a drain sees one or the other.
        let served = self.drain.enter();
        let id = ticket.and_then(TicketId::parse).ok_or(Refused::Malformed);
        let redeemed = id.and_then(|id| self.tickets().redeem(id, holder, self.clock.mono()));
        match redeemed {
            Ok(ticket) => {
                let exchange = Exchange::begin(self, &ticket.grant);
                let account = Account { exchange, _served: served };
                Ok(Entered { ticket, account })
            }
            Err(refused) => Err(self.ticket_refused(refused, None, holder.request_id.clone())),
        }
    }

    /// The largest body that is read.
    #[must_use]
    pub fn request_bytes_max(&self) -> u64 {
        self.feed.settings().snapshot.limits.request_bytes_max
    }

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
        let Entered { ticket, mut account } = entered;
        let (dialect, request_id) = (ticket.grant.dialect, ticket.grant.request_id.clone());
        let digest = Digest(*blake3::hash(&body).as_bytes());
        let grant = match ticket.for_body(digest) {
            Ok(grant) => grant,
            Err(refused) => {
                account.exchange.failed(&Problem::TicketRefused);
                return Err(self.ticket_refused(refused, Some(dialect), request_id));
            }
        };
        // Before the lease: what is invalidated from now on must not be stored.
        let generations = self.cache.vector(grant.wanted());
        let (lease, cache) = match self.entry_or_lease(&grant).await {
            Found::Entry(hit, told) => return Ok(hit_reply(&grant, account, &hit, told)),
            Found::Lease(lease, reason) => (Some(lease), (Outcome::Miss, reason)),
            Found::Nothing(outcome, reason) => (None, (outcome, reason)),
        };
        account.exchange.cached(cache.0, cache.1);
        self.attempt(super::call::Order {
            grant,
            headers,
            body,
            cache,
            generations,
            lease,
            account,
        })
        .await
    }

    /// The entry, or the lease to make it, or neither.
    async fn entry_or_lease(&self, grant: &Grant) -> Found {
        if let AtAdmit::Bypass(reason) = grant.found {
            return Found::Nothing(Outcome::Bypass, reason);
        }
        let reason = match (self.entry(grant).await, grant.found) {
            (Ok((hit, told)), _) => return Found::Entry(hit, told),
            (Err(_), AtAdmit::Miss(reason)) => reason,
            (Err(reason), AtAdmit::Hit | AtAdmit::Bypass(_)) => reason,
        };
        let Some(lease) = Lease::acquire(&self.flights, self.clock, grant.at.key) else {
            return Found::Nothing(Outcome::Miss, Reason::InFlight);
        };
        // A flight that ended between the two steps has left an entry: nobody calls for what is there.
        match self.entry(grant).await {
            Ok((hit, told)) => Found::Entry(hit, told),
            Err(_) => Found::Lease(lease, reason),
        }
    }

    fn ticket_refused(
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

/// What was found for a request.
enum Found {
    Entry(Box<Hit>, Told),
    Lease(Lease, Reason),
    Nothing(Outcome, Reason),
}

fn hit_reply(grant: &Grant, mut account: Account, hit: &Hit, told: Told) -> Reply {
    let cache = (Outcome::Hit, Reason::Shared);
    account.exchange.cached(cache.0, cache.1);
    account.exchange.answering(200);
    account.exchange.whole();
    let head = Head {
        status: 200,
        content_type: Some(told.content_type.to_owned()),
        content_encoding: None,
        retry_after: None,
        request_id: grant.request_id.clone(),
        cache,
        age_and_ttl_s: Some((hit.age.0 / 1_000, hit.fresh.0 / 1_000)),
        served_by: Some(hit.entry.header.served_by.clone()),
    };
    Reply::Whole(head, told.body)
}

// === impl Entered ===

impl Entered {
    /// The client's dialect.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.ticket.grant.dialect
    }

    /// The body did not come as it should.
    #[must_use]
    pub fn refuse(mut self, problem: Problem) -> Refusal {
        self.account.exchange.failed(&problem);
        Refusal {
            dialect: Some(self.dialect()),
            problem,
            request_id: self.ticket.grant.request_id,
            cache: None,
        }
    }
}
