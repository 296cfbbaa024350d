//! The entrance to the lane: a request with its ticket, before its body. Who came too soon, or is beyond what its
//! organization may have under way, is refused here, and nothing more is read of it.

use kt_contract::idempotency::IdempotencyKey;
use kt_contract::problem::Problem;
use kt_contract::wire::admit::ReplyShape;
use kt_providers::Dialect;

use super::Sidecar;
use super::admit::Grant;
use super::bodies::Room;
use super::exchange::Exchange;
use super::lane::{Account, Refusal};
use super::pace::Pace;
use crate::ticket::{Holder, Refused, Ticket, TicketId};

/// A request whose ticket was good so far; its body is still to come.
#[derive(Debug)]
pub struct Entered {
    pub(super) ticket: Ticket<Box<Grant>>,
    pub(super) account: Account,
    pub(super) key: Option<IdempotencyKey>,
    pub(super) room: Room,
    /// Why there was no room for its body.
    pub(super) no_room: Option<Problem>,
}

// === impl Sidecar ===

impl Sidecar {
    /// Takes the ticket of a request whose head has come.
    ///
    /// # Errors
    /// No ticket, or one that is not good here; a request that came too soon.
    pub fn enter(&self, ticket: Option<&str>, holder: &Holder) -> Result<Entered, Refusal> {
        // Counted in before the ticket is used up: a drain sees one or the other.
        let served = self.drain.enter();
        let id = ticket.and_then(TicketId::parse).ok_or(Refused::Malformed);
        let redeemed = id.and_then(|id| self.tickets().redeem(id, holder, self.clock.mono()));
        match redeemed {
            Ok(ticket) => {
                let exchange = Exchange::begin(self, &ticket.grant);
                let account = Account::new(exchange, served);
                let grant = &ticket.grant;
                let of_org = self.crowds.bytes_of(&grant.caller.principal.org);
                let room = self.bodies.room(of_org, grant.settings.per_org.max_bytes);
                let entered = Entered { ticket, account, key: None, room, no_room: None };
                self.place(entered.in_time()?)
            }
            Err(refused) => Err(self.ticket_refused(refused, None, holder.request_id.clone())),
        }
    }

    /// Gives a request its place among those of its organization.
    fn place(&self, mut entered: Entered) -> Result<Entered, Refusal> {
        let grant = &entered.ticket.grant;
        let is_stream = matches!(grant.reply, ReplyShape::Sse { .. });
        let org = &grant.caller.principal.org;
        match self.crowds.enter(org, is_stream, grant.settings.per_org) {
            Ok(place) => {
                entered.account.placed(place);
                Ok(entered)
            }
            Err(crowd) => Err(entered.refuse(Problem::OrganizationFull(crowd))),
        }
    }
}

// === impl Entered ===

impl Entered {
    /// The client's dialect.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.ticket.grant.dialect
    }

    /// The largest body that is read.
    #[must_use]
    pub fn request_bytes_max(&self) -> u64 {
        self.ticket.grant.settings.snapshot.limits.request_bytes_max
    }

    /// The client has a name for its request, by which it is made once.
    #[must_use]
    pub fn keyed(self, key: Option<IdempotencyKey>) -> Self {
        Self { key, ..self }
    }

    /// Unless it came too soon, which admit has said: then its body need not come.
    fn in_time(self) -> Result<Self, Refusal> {
        match self.ticket.grant.pace {
            Pace::Free | Pace::Counted(_) => Ok(self),
            Pace::TooFast(limited) => Err(self.refuse(Problem::RateLimited(limited))),
        }
    }

    /// Whether there is room for a body of so many bytes, as far as is known of it.
    pub fn has_room(&mut self, bytes: u64) -> bool {
        self.no_room = self.room.reaches(bytes).err();
        self.no_room.is_none()
    }

    /// Why there was no room for its body, if that was so.
    #[must_use]
    pub fn no_room(&self) -> Option<Problem> {
        self.no_room.clone()
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
