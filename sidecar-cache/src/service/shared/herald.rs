//! Who tells other sidecars of a flight that this one leads: a task of its own, which has the lease. It renews it,
//! learns who follows, writes what comes into the shared log from the start once somebody does, and ends the lease
//! only when everything has been told that was to be told before: no follower finds it gone and the text missing.
//! Dropped, it gives the lease back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use bytes::Bytes;
use kt_contract::key::CacheKey;
use kt_contract::money::MicroUsd;
use kt_contract::time::Millis;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use super::Group;
use super::telling::Telling;
use crate::flight::{Ending, Failed, FlightId, Held, Token};
use crate::flight_seal::Seal;
use crate::flight_text::{End, Head, Opening};
use crate::generation::Generation;
use crate::store::flight_log::LogAt;
use crate::store::leases::AfterFailure;
use crate::store::{NewEntry, StoreError};

/// How large a piece is.
const PIECE_BYTES_MAX: usize = 64 << 10;

/// The leading side of a shared flight. Its orders are carried out in their order.
pub(crate) struct Herald {
    orders: UnboundedSender<Order>,
    seen: Arc<Seen>,
    token: Token,
    key: CacheKey,
    id: FlightId,
    has_opened: bool,
    is_whole: bool,
}

/// What the task has seen of the store.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) followers: AtomicU32,
    pub(super) is_lost: AtomicBool,
}

pub(super) enum Order {
    Begins(Seal, Bytes),
    Says(Bytes),
    Outgrows,
    Ends(Ending, Generation),
    Fills(NewEntry, oneshot::Sender<Result<Held, StoreError>>),
    Fails(Failed, End, oneshot::Sender<Result<AfterFailure, StoreError>>),
    Finishes(End),
}

// === impl Herald ===

impl Herald {
    /// The lease has been acquired.
    pub(super) fn start(group: &Arc<Group>, key: CacheKey, token: Token, id: FlightId) -> Self {
        let (orders, received) = unbounded_channel();
        let seen = Arc::<Seen>::default();
        let telling = Telling::new(group, LogAt { key, id }, token, Arc::clone(&seen));
        tokio::spawn(telling.run(received));
        Self { orders, seen, token, key, id, has_opened: false, is_whole: false }
    }

    /// The fencing number of the group, for the entry.
    pub(crate) const fn token(&self) -> Token {
        self.token
    }

    pub(crate) const fn id(&self) -> FlightId {
        self.id
    }

    /// How many sidecars follow, as far as is known.
    pub(crate) fn followers(&self) -> u32 {
        self.seen.followers.load(Ordering::Relaxed)
    }

    /// Whether the lease has been lost: nothing can be stored any more.
    pub(crate) fn is_lost(&self) -> bool {
        self.seen.is_lost.load(Ordering::Relaxed)
    }

    pub(crate) fn begins(&self, head: &Head) {
        let seal = Seal::new(&head.gates.org, self.key, self.id);
        self.order(Order::Begins(seal, head.encode()));
    }

    /// How the answer begins.
    pub(crate) fn opens(&mut self, opening: &Opening) {
        if !std::mem::replace(&mut self.has_opened, true) {
            self.order(Order::Says(opening.encode()));
        }
    }

    /// More of the answer.
    pub(crate) fn says(&self, bytes: &Bytes) {
        let mut rest = bytes.clone();
        while !rest.is_empty() {
            self.order(Order::Says(rest.split_to(rest.len().min(PIECE_BYTES_MAX))));
        }
    }

    /// All of the answer has come.
    pub(crate) const fn is_whole(&mut self) {
        self.is_whole = true;
    }

    /// What has come is not kept any more: whoever follows from now on cannot read it.
    pub(crate) fn outgrows(&self) {
        self.order(Order::Outgrows);
    }

    /// The lease ends so, once all is told.
    pub(crate) fn ends(&self, how: Ending, under: Generation) {
        self.order(Order::Ends(how, under));
    }

    /// Stores the entry, and ends the lease.
    pub(crate) async fn fills(&self, entry: NewEntry) -> Result<Held, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.order(Order::Fills(entry, reply));
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    /// The attempt has failed; of those who wait here `failed` says how many.
    pub(crate) async fn fails(
        self,
        failed: Failed,
        cost: Option<MicroUsd>,
    ) -> Result<AfterFailure, StoreError> {
        let (reply, answer) = oneshot::channel();
        let (is_whole, again_after) = (self.is_whole, Millis(0));
        let end = End { is_whole, is_last: false, again_after, cost };
        self.order(Order::Fails(failed, end, reply));
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    /// That was it.
    pub(crate) fn finishes(&self, is_last: bool, cost: Option<MicroUsd>) {
        let (is_whole, again_after) = (self.is_whole, Millis(0));
        self.order(Order::Finishes(End { is_whole, is_last, again_after, cost }));
    }

    fn order(&self, order: Order) {
        // The task ends after this.
        let _ = self.orders.send(order);
    }
}

fn gone() -> StoreError {
    StoreError::Transient("nobody tells of this flight any more".to_owned())
}
