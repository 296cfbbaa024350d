//! A place among those who follow a flight, for as long as it is held.

use std::sync::Arc;

use kt_contract::key::CacheKey;

use super::Flights;
use crate::flight::{FlightId, Overflow};

/// A follower's place in the count, given back when dropped.
pub(in crate::service) struct Following {
    pub(super) flights: Arc<Flights>,
    pub(super) key: CacheKey,
    pub(super) id: FlightId,
}

// === impl Following ===

impl Following {
    /// Whether the follower may make its own call after waiting too long.
    pub(in crate::service) fn overflow(&self, limit: Option<u64>) -> Overflow {
        self.flights.board().machine.overflow(&self.key, self.id, limit)
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.flights.board().machine.leave(&self.key, self.id);
    }
}
