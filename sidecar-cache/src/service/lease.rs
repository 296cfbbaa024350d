//! The lease of a flight in the hands of its task: renewed while it works, handed on between two attempts,
//! ended exactly once.

use std::sync::Arc;

use kt_contract::key::CacheKey;
use kt_contract::time::Millis;

use super::flights::{Flight, Flights};
use super::log::ReaderId;
use super::seat::Seat;
use crate::flight::{AfterFailure, Cause, Ending, FlightId, Held, Token};
use crate::generation::Generation;

/// What a failed attempt has left of those who wait for its flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Told {
    /// So many wait for another attempt.
    Waiting(usize),
    /// Nobody does: the lease has ended.
    Nobody,
    /// The lease was voided, or is somebody else's: those who wait ask anew.
    Voided,
}

// === impl Told ===

impl Told {
    /// How many wait.
    pub(super) const fn waiting(self) -> usize {
        match self {
            Self::Waiting(waiting) => waiting,
            Self::Nobody | Self::Voided => 0,
        }
    }
}

/// The right, and the duty, to end one flight. Dropped before that, it abandons: whatever made the task
/// stop, the next who asks leads.
#[must_use]
pub(super) struct Lease {
    flights: Arc<Flights>,
    key: CacheKey,
    /// `None` between two attempts, and after the end.
    token: Option<Token>,
    /// `None` where nobody else can take over.
    id: Option<FlightId>,
}

// === impl Lease ===

impl Lease {
    pub(super) fn new(
        flights: &Arc<Flights>,
        key: CacheKey,
        token: Token,
        id: Option<FlightId>,
    ) -> Self {
        Self { flights: Arc::clone(flights), key, token: Some(token), id }
    }

    /// The fencing number, for the entry. `None`: nothing may be stored any more.
    pub(super) const fn token(&self) -> Option<Token> {
        self.token
    }

    /// Whether it is still this flight that may store something: nobody has voided the lease or taken it. One
    /// that has run out, and that nobody wants, still counts.
    pub(super) fn is_current(&self) -> bool {
        self.token.is_some_and(|token| self.flights.holds(&self.key, token))
    }

    /// Extends the lease by a whole lifetime.
    pub(super) fn renew(&self) -> Held {
        self.token.map_or(Held::Superseded, |token| self.flights.renew(&self.key, token))
    }

    /// Ends the flight, whose last attempt began `under` this generation.
    pub(super) fn end(&mut self, how: Ending, under: Generation) -> Held {
        let Some(token) = self.token.take() else { return Held::Superseded };
        let held = self.flights.end(&self.key, token, how, under);
        let lost = how == Ending::Filled && held == Held::Superseded;
        self.flights.metrics.flight_ended(if lost { Ending::NotStored } else { how });
        held
    }

    /// Whether nobody may join the flight.
    pub(super) const fn is_alone(&self) -> bool {
        self.id.is_none()
    }

    /// An attempt has failed, and what follows is not this sidecar's to decide; `tell` says so to those it concerns,
    /// and how many wait for another one. The lease is kept for them.
    pub(super) fn tells(&mut self, tell: impl FnOnce() -> usize) -> Told {
        let Some(token) = self.token else {
            tell();
            return Told::Nobody;
        };
        let told = self.flights.tell(&self.key, token, tell);
        if told != Told::Voided && told.waiting() == 0 {
            self.token = None;
        }
        told
    }

    /// The one that has waited longest is to make the call. `None`: nobody waits any more, and the lease has ended.
    pub(super) fn promote(&mut self, flight: &Flight) -> Option<(ReaderId, Arc<Seat>)> {
        let token = self.token?;
        let promoted = self.flights.promote(&self.key, token, flight);
        if promoted.is_none() {
            self.token = None;
        }
        promoted
    }

    /// Gives the lease back, whose end has been counted.
    pub(super) fn release(&mut self) {
        if let Some(token) = self.token.take() {
            let ended = self.flights.end(&self.key, token, Ending::Failed, Generation::default());
            let _: Held = ended;
        }
    }

    /// The attempt has failed; `tell` says so to those it concerns, and how many wait for another one.
    pub(super) fn fail(
        &mut self,
        cause: Cause,
        retry_after: Option<Millis>,
        tell: impl FnOnce() -> usize,
    ) -> AfterFailure {
        let Some(token) = self.token.take() else {
            tell();
            return AfterFailure::Over;
        };
        self.flights.metrics.flight_ended(match cause {
            Cause::Call => Ending::Failed,
            Cause::Unpaid => Ending::Unpaid,
        });
        self.flights.fail(&self.key, token, (cause, retry_after), tell)
    }

    /// Hands the lease to the one that has waited longest.
    pub(super) fn take_over(
        &mut self,
        cause: Cause,
        flight: &Flight,
    ) -> Option<(ReaderId, Arc<Seat>)> {
        let (token, reader, seat) = self.flights.take_over(&self.key, self.id?, flight)?;
        self.token = Some(token);
        match cause {
            Cause::Call => self.flights.metrics.taken_over(),
            Cause::Unpaid => {}
        }
        Some((reader, seat))
    }

    /// Ends a flight that nobody reads; `false` where somebody does.
    pub(super) fn cancel(&mut self, flight: &Flight) -> bool {
        let is_cancelled = self.flights.cancel(&self.key, (self.token, self.id), flight);
        if is_cancelled && self.token.take().is_some() {
            self.flights.metrics.flight_ended(Ending::Cancelled);
        }
        is_cancelled
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // After an end there is nothing left to abandon.
        if self.token.is_some() {
            let _ = self.end(Ending::Failed, Generation::default());
        } else if let Some(id) = self.id {
            self.flights.give_up(&self.key, id);
        }
    }
}
