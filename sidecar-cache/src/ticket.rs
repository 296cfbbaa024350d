//! Tickets: the permission to take the lane. Random, single use, short-lived, and bound to the request that
//! admit has seen. A pure table: time and randomness are arguments.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroI32;

use kt_contract::hex::Digest;
use kt_contract::limits::TICKET_TTL;
use kt_contract::time::{Millis, MonoMillis};

/// How many tickets may be open. Beyond it the oldest gives way: its request is told to try again.
pub const TICKETS_MAX: usize = 32_768;

/// A ticket as it travels: 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TicketId([u8; 16]);

/// What a ticket is good for, and in whose hands.
#[derive(Debug)]
pub struct Ticket<G> {
    /// What was admitted.
    pub grant: G,
    /// BLAKE3 of the only body that it is good for.
    pub body: Digest,
    /// The only holder.
    pub holder: Holder,
}

/// Who may use a ticket: the request for which it was given, through the gateway that asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The request's id.
    pub request_id: String,
    /// The process at the other end of the socket: a gateway's Envoy.
    pub peer: Peer,
}

/// The process at the other end of the socket, as far as the platform can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// This one.
    Known(NonZeroI32),
    /// The platform cannot say, or the process lives in a foreign PID namespace, where every process has the
    /// number 0. It is nobody's proof: a ticket is then bound to the request's id, the body and its own
    /// 128 random bits alone, and whoever is known never holds what an unknown one was given.
    Unknown,
}

/// Why a ticket was not taken. Not for the client, who cannot do anything with it; for logs and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Not 32 hexadecimal digits.
    Malformed,
    /// Never given, used already, or pushed out by newer ones.
    Unknown,
    /// Older than [`TICKET_TTL`].
    Expired,
    /// Another request or another gateway holds it.
    OtherHolder,
    /// For another body.
    OtherBody,
}

/// The open tickets.
#[derive(Debug)]
pub struct Tickets<G> {
    open: HashMap<TicketId, Open<G>>,
    /// Oldest first; used ones are still in it until their time comes.
    order: VecDeque<(MonoMillis, TicketId)>,
    tickets_max: usize,
}

#[derive(Debug)]
struct Open<G> {
    ticket: Ticket<G>,
    /// Exclusive.
    until: MonoMillis,
}

// === impl Peer ===

impl Peer {
    /// Reads the PID that the platform tells.
    #[must_use]
    pub const fn from_pid(pid: Option<i32>) -> Self {
        let Some(pid) = pid else { return Self::Unknown };
        match NonZeroI32::new(pid) {
            Some(pid) => Self::Known(pid),
            None => Self::Unknown,
        }
    }
}

// === impl TicketId ===

impl TicketId {
    /// A ticket from random bits.
    #[must_use]
    pub const fn from_random(bits: [u8; 16]) -> Self {
        Self(bits)
    }

    /// Reads 32 lower-case hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let whole_number =
            text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !whole_number {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(|bits| Self(bits.to_be_bytes()))
    }

    /// The 32 digits.
    #[must_use]
    pub fn to_hex(self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.0))
    }
}

impl std::fmt::Debug for TicketId {
    /// A ticket is a right; logs do not get it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TicketId(…)")
    }
}

// === impl Ticket ===

impl<G> Ticket<G> {
    /// What was admitted, if `body` is the digest of the body that came.
    ///
    /// # Errors
    /// [`Refused::OtherBody`]; the ticket is used up all the same.
    pub fn for_body(self, body: Digest) -> Result<G, Refused> {
        if self.body == body { Ok(self.grant) } else { Err(Refused::OtherBody) }
    }
}

// === impl Refused ===

impl Refused {
    /// Every member.
    pub const ALL: [Self; 5] =
        [Self::Malformed, Self::Unknown, Self::Expired, Self::OtherHolder, Self::OtherBody];

    /// The word in logs and metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unknown => "unknown",
            Self::Expired => "expired",
            Self::OtherHolder => "other-holder",
            Self::OtherBody => "other-body",
        }
    }
}

// === impl Tickets ===

impl<G> Tickets<G> {
    /// No tickets, and at most `tickets_max` at a time.
    #[must_use]
    pub fn new(tickets_max: usize) -> Self {
        Self { open: HashMap::new(), order: VecDeque::new(), tickets_max }
    }

    /// Gives a ticket.
    pub fn issue(&mut self, id: TicketId, ticket: Ticket<G>, now: MonoMillis) {
        self.drop_old(now);
        while self.order.len() >= self.tickets_max.max(1) {
            if let Some((_, oldest)) = self.order.pop_front() {
                self.open.remove(&oldest);
            }
        }
        let until = now.after(TICKET_TTL);
        self.order.push_back((until, id));
        self.open.insert(id, Open { ticket, until });
    }

    /// Takes a ticket back. Whatever the answer, it cannot be used again.
    ///
    /// # Errors
    /// Where the ticket is not open, too old, or in the wrong hands.
    pub fn redeem(
        &mut self,
        id: TicketId,
        holder: &Holder,
        now: MonoMillis,
    ) -> Result<Ticket<G>, Refused> {
        let Open { ticket, until } = self.open.remove(&id).ok_or(Refused::Unknown)?;
        if now >= until {
            Err(Refused::Expired)
        } else if ticket.holder != *holder {
            Err(Refused::OtherHolder)
        } else {
            Ok(ticket)
        }
    }

    /// How many are open.
    #[must_use]
    pub fn count(&self) -> usize {
        self.open.len()
    }

    /// How long the last of them can still be used; `None` where none can.
    #[must_use]
    pub fn usable_for(&self, now: MonoMillis) -> Option<Millis> {
        let last = self.open.values().map(|open| open.until).max()?;
        (now < last).then(|| last.since(now))
    }

    /// Forgets what ran out a whole lifetime ago, so that a late one is told `Expired` and not `Unknown`.
    fn drop_old(&mut self, now: MonoMillis) {
        while let Some((until, id)) = self.order.front().copied() {
            if now < until.after(TICKET_TTL) {
                return;
            }
            self.order.pop_front();
            self.open.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: MonoMillis = MonoMillis(50);
    const BODY: Digest = Digest([3; 32]);

    fn id(number: u8) -> TicketId {
        TicketId::from_random([number; 16])
    }

    fn holder() -> Holder {
        Holder { request_id: "r-1".to_owned(), peer: Peer::from_pid(Some(41)) }
    }

    fn ticket(grant: u32) -> Ticket<u32> {
        Ticket { grant, body: BODY, holder: holder() }
    }

    fn one_open() -> Tickets<u32> {
        let mut tickets = Tickets::new(4);
        tickets.issue(id(1), ticket(9), T0);
        tickets
    }

    #[test]
    fn a_ticket_is_good_once() {
        let mut tickets = one_open();
        assert_eq!(tickets.redeem(id(1), &holder(), T0).unwrap().for_body(BODY), Ok(9));
        assert_eq!(tickets.redeem(id(1), &holder(), T0).err(), Some(Refused::Unknown));
        assert_eq!(tickets.count(), 0);
    }

    #[test]
    fn a_ticket_lasts_its_time_and_no_longer() {
        let end = T0.after(TICKET_TTL);
        for (now, expected) in [
            (T0, None),
            (MonoMillis(end.0 - 1), None),
            (end, Some(Refused::Expired)),
            (end.after(TICKET_TTL), Some(Refused::Expired)),
        ] {
            assert_eq!(one_open().redeem(id(1), &holder(), now).err(), expected, "{now:?}");
        }
    }

    #[test]
    fn a_ticket_in_other_hands_is_refused_and_spent() {
        for (what, other) in [
            ("request", Holder { request_id: "r-2".to_owned(), ..holder() }),
            ("gateway", Holder { peer: Peer::from_pid(Some(42)), ..holder() }),
            ("unknown gateway", Holder { peer: Peer::Unknown, ..holder() }),
        ] {
            let mut tickets = one_open();
            assert_eq!(
                tickets.redeem(id(1), &other, T0).err(),
                Some(Refused::OtherHolder),
                "{what}"
            );
            assert_eq!(
                tickets.redeem(id(1), &holder(), T0).err(),
                Some(Refused::Unknown),
                "{what}"
            );
        }
    }

    #[test]
    fn a_process_without_a_number_is_unknown() {
        for (pid, expected) in [
            (None, Peer::Unknown),
            (Some(0), Peer::Unknown),
            (Some(7), Peer::Known(NonZeroI32::new(7).unwrap())),
        ] {
            assert_eq!(Peer::from_pid(pid), expected, "{pid:?}");
        }
        let unknown = Holder { peer: Peer::Unknown, ..holder() };
        let mut tickets = Tickets::new(4);
        tickets.issue(id(1), Ticket { holder: unknown.clone(), ..ticket(9) }, T0);
        tickets.issue(id(2), Ticket { holder: unknown.clone(), ..ticket(9) }, T0);
        assert!(tickets.redeem(id(1), &unknown, T0).is_ok(), "no reason to refuse everybody");
        assert_eq!(tickets.redeem(id(2), &holder(), T0).err(), Some(Refused::OtherHolder));
    }

    #[test]
    fn it_is_known_how_long_tickets_can_be_used() {
        let mut tickets = one_open();
        assert_eq!(tickets.usable_for(T0), Some(TICKET_TTL));
        let later = MonoMillis(T0.0 + 500);
        tickets.issue(id(2), ticket(9), later);
        assert_eq!(tickets.usable_for(later), Some(TICKET_TTL));
        assert!(tickets.redeem(id(2), &holder(), later).is_ok());
        assert_eq!(tickets.usable_for(later), Some(Millis(TICKET_TTL.0 - 500)));
        assert_eq!(tickets.usable_for(T0.after(TICKET_TTL)), None, "it is still in the table");
        assert_eq!(Tickets::<u32>::new(1).usable_for(T0), None);
    }

    #[test]
    fn a_ticket_is_good_for_its_body_only() {
        let ticket = one_open().redeem(id(1), &holder(), T0).unwrap();
        assert_eq!(ticket.for_body(Digest([4; 32])), Err(Refused::OtherBody));
    }

    #[test]
    fn the_oldest_gives_way_when_there_are_too_many() {
        let mut tickets = Tickets::new(2);
        for number in 1..=3 {
            tickets.issue(id(number), ticket(u32::from(number)), T0);
        }
        assert_eq!(tickets.redeem(id(1), &holder(), T0).err(), Some(Refused::Unknown));
        assert!(tickets.redeem(id(2), &holder(), T0).is_ok());
        assert!(tickets.redeem(id(3), &holder(), T0).is_ok());
    }

    #[test]
    fn used_and_old_tickets_leave_no_memory_behind() {
        let mut tickets = Tickets::new(1_000);
        let mut now = T0;
        for number in 0..10_000_u32 {
            let id = TicketId(u128::from(number).to_be_bytes());
            tickets.issue(id, ticket(number), now);
            if number % 2 == 0 {
                assert!(tickets.redeem(id, &holder(), now).is_ok());
            }
            now = MonoMillis(now.0 + 100);
        }
        assert!(tickets.order.len() <= 41, "{}", tickets.order.len());
        assert!(tickets.count() <= 41);
    }

    #[test]
    fn an_id_reads_what_it_writes_and_nothing_else() {
        let one = TicketId::from_random(std::array::from_fn(|at| u8::try_from(at).unwrap()));
        assert_eq!(one.to_hex(), "000102030405060708090a0b0c0d0e0f");
        assert_eq!(TicketId::parse(&one.to_hex()), Some(one));
        for bad in ["", "0", "+00102030405060708090a0b0c0d0e0f", &one.to_hex().to_uppercase()] {
            assert_eq!(TicketId::parse(bad), None, "{bad}");
        }
        assert_eq!(format!("{one:?}"), "TicketId(…)");
    }

    #[test]
    fn refusals_have_different_words() {
        let words: std::collections::HashSet<_> = Refused::ALL.map(Refused::as_str).into();
        assert_eq!(words.len(), Refused::ALL.len());
    }
}
