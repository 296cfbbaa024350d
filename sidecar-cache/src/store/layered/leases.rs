//! Leases of a shared store behind memory: what is filled under one is in memory as well.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use kt_contract::key::CacheKey;

use super::Layered;
use crate::flight::{Acquired, Failed, FlightId, Held, Overflow, Token};
use crate::generation::Generation;
use crate::store::leases::{AfterFailure, Claim, LeaseStore, Renewed};
use crate::store::{Answer, NewEntry};

/// The leases of the store that is behind a [`Layered`].
pub struct LayeredLeases<L> {
    entries: Arc<Layered>,
    leases: L,
}

// === impl LayeredLeases ===

impl<L: LeaseStore> LayeredLeases<L> {
    /// `leases` store their entries behind `entries`.
    #[must_use]
    pub const fn new(entries: Arc<Layered>, leases: L) -> Self {
        Self { entries, leases }
    }
}

impl<L: LeaseStore> LeaseStore for LayeredLeases<L> {
    fn acquire(&self, key: CacheKey, claim: Claim) -> Answer<'_, Acquired> {
        self.leases.acquire(key, claim)
    }

    fn acquire_alone(&self, key: CacheKey, claim: Claim) -> Answer<'_, Option<Token>> {
        self.leases.acquire_alone(key, claim)
    }

    fn leave(&self, key: CacheKey, id: FlightId) -> Answer<'_, ()> {
        self.leases.leave(key, id)
    }

    fn followed(
        &self,
        key: CacheKey,
        id: FlightId,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.leases.followed(key, id)
    }

    fn renew(&self, key: CacheKey, token: Token) -> Answer<'_, Renewed> {
        self.leases.renew(key, token)
    }

    fn mute(&self, key: CacheKey, token: Token) -> Answer<'_, Held> {
        self.leases.mute(key, token)
    }

    fn holds(&self, key: CacheKey, token: Token) -> Answer<'_, bool> {
        self.leases.holds(key, token)
    }

    fn fill(&self, token: Token, entry: NewEntry) -> Answer<'_, Held> {
        Box::pin(async move {
            let (key, copy) = (entry.at.key, self.entries.begin_fill(&entry));
            let held = self.leases.fill(token, entry).await;
            self.entries.end_fill(&key, copy.filter(|_| matches!(held, Ok(Held::Current))));
            held
        })
    }

    fn abandon(&self, key: CacheKey, token: Token) -> Answer<'_, Held> {
        self.leases.abandon(key, token)
    }

    fn end_uncacheable(&self, key: CacheKey, token: Token, under: Generation) -> Answer<'_, Held> {
        self.leases.end_uncacheable(key, token, under)
    }

    fn fail(&self, key: CacheKey, token: Token, failed: Failed) -> Answer<'_, AfterFailure> {
        self.leases.fail(key, token, failed)
    }

    fn take_over(&self, key: CacheKey, id: FlightId, claim: Claim) -> Answer<'_, Option<Token>> {
        self.leases.take_over(key, id, claim)
    }

    fn give_up(&self, key: CacheKey, id: FlightId) -> Answer<'_, bool> {
        self.leases.give_up(key, id)
    }

    fn overflow(&self, key: CacheKey, id: FlightId, limit: Option<u64>) -> Answer<'_, Overflow> {
        self.leases.overflow(key, id, limit)
    }

    fn void(&self, key: CacheKey, id: FlightId) -> Answer<'_, bool> {
        self.leases.void(key, id)
    }

    fn renewed(&self, key: CacheKey, newest: Generation) -> Answer<'_, ()> {
        self.leases.renewed(key, newest)
    }
}
