//! Flights that sidecars share: before a flight makes its call, its sidecar asks the group's store for the key. It
//! leads, and tells the others ([`herald`]), or it reads what another one tells ([`remote`]): one more upstream.

mod following;
pub(super) mod herald;
mod remote;
pub(super) mod role;
mod telling;
mod turn;
pub(super) mod words;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kt_contract::key::CacheKey;
use kt_contract::outcome::Reason;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::drain::Drain;
use crate::flight::{Acquired, FlightId, Held, Token};
use crate::generation::Generation;
use crate::metrics::{Metrics, SharedFlight};
use crate::random;
use crate::store::StoreError;
use crate::store::flight_log::FlightLog;
use crate::store::leases::{Claim, LeaseStore};
use crate::store::rates::RateStore;
use herald::Herald;

/// How long the store may take to say who leads, all in all: after that the sidecar flies for itself.
const ASK_WITHIN: Duration = Duration::from_millis(500);
/// How long it may take to give back what it granted later than that. Then that runs out by itself.
const GIVE_BACK_WITHIN: Duration = Duration::from_secs(2);

/// Where a group of sidecars keeps its leases and the logs of its flights, beside the entries that they are for, and what
/// it counts together.
#[derive(Clone)]
pub struct Shared {
    /// Who leads.
    pub leases: Arc<dyn LeaseStore>,
    /// What comes.
    pub logs: Arc<dyn FlightLog>,
    /// How much came of whom.
    pub rates: Arc<dyn RateStore>,
}

/// A sidecar's side of what is shared.
pub(super) struct Group {
    pub(super) shared: Shared,
    pub(super) metrics: Arc<Metrics>,
    /// A sidecar that ends waits for what it has to tell.
    drain: Drain,
    /// Whether the store had no answer when it was asked last: told when that changes.
    is_away: AtomicBool,
}

/// Whose flight a key is, by the group's store.
pub(super) enum Turn {
    /// This sidecar makes the call. Dropped, the lease is given back.
    Lead(Herald),
    /// Another one does.
    Follow(Place),
    /// This one makes a call of its own, and stores nothing.
    Own(Apart),
}

/// Why a sidecar flies for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Apart {
    /// The store has no answer.
    Unavailable,
    /// What comes for this key cannot be stored: everybody calls.
    HitForMiss,
    /// Another sidecar leads, and this one does not follow it.
    LedElsewhere,
    /// Another sidecar leads, and cannot tell what comes.
    Untold,
    /// What another sidecar tells is not for this request.
    Mismatch,
    /// What another sidecar tells is in words that this one does not know.
    Unreadable,
    /// What others have invalidated is not known.
    Unknown,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking {
    pub(super) key: CacheKey,
    /// The newest generation of what belongs to the key, as far as is known here.
    pub(super) newest: Generation,
    /// Whether it would not follow.
    pub(super) is_alone: bool,
}

/// A place among those who follow another sidecar's flight, given back when dropped.
pub(super) struct Place {
    group: Arc<Group>,
    key: CacheKey,
    pub(super) id: FlightId,
}

// === impl Group ===

impl Group {
    pub(super) fn new(shared: Shared, metrics: Arc<Metrics>, drain: Drain) -> Self {
        Self { shared, metrics, drain, is_away: AtomicBool::new(false) }
    }

    /// Asks for the lease: where `before` was followed, as one who takes it over. In a task of its own: whoever asked may
    /// leave once the store has been told, and then what it grants is given back.
    pub(super) async fn ask(self: &Arc<Self>, asking: Asking, before: Option<FlightId>) -> Turn {
        let (tell, told) = oneshot::channel();
        let (group, served) = (Arc::clone(self), self.drain.enter());
        tokio::spawn(async move {
            // Where nobody hears of it, it is dropped here.
            let _ = tell.send(group.asks_for(asking, before).await);
            drop(served);
        });
        told.await.unwrap_or(Turn::Own(Apart::Unavailable))
    }

    async fn asks_for(self: &Arc<Self>, asking: Asking, before: Option<FlightId>) -> Turn {
        let turn = match random::bytes() {
            Ok(bytes) => self.asks(asking, before, Claim(u128::from_be_bytes(bytes))).await,
            Err(error) => Err(StoreError::Transient(error.to_string())),
        };
        match turn {
            Ok(turn) => {
                if self.is_away.swap(false, Ordering::Relaxed) {
                    tracing::info!("flights are shared with other sidecars again");
                }
                turn
            }
            Err(error) => {
                if !self.is_away.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "no shared flights: this sidecar flies for itself");
                }
                self.metrics.shared(SharedFlight::Unavailable);
                Turn::Own(Apart::Unavailable)
            }
        }
    }

    async fn asks(
        self: &Arc<Self>,
        asking: Asking,
        before: Option<FlightId>,
        claim: Claim,
    ) -> Result<Turn, StoreError> {
        let asked = timeout(ASK_WITHIN, self.asked(asking, before, claim)).await;
        let turn = asked.unwrap_or_else(|_| Err(StoreError::Transient("took too long".into())));
        if turn.is_err() {
            // What was granted, and nobody has heard of, would be waited for.
            let group = Arc::clone(self);
            tokio::spawn(async move {
                let given_back = timeout(GIVE_BACK_WITHIN, group.gives_back(asking, claim)).await;
                if !matches!(given_back, Ok(Ok(()))) {
                    tracing::debug!("a lease that was granted too late, if any, runs out");
                }
            });
        }
        turn
    }

    /// Under the same claim, to ask again is to be told again.
    async fn gives_back(&self, asking: Asking, claim: Claim) -> Result<(), StoreError> {
        let Asking { key, is_alone, .. } = asking;
        let leases = &self.shared.leases;
        if is_alone {
            if let Some(token) = leases.acquire_alone(key, claim).await? {
                let _: Held = leases.abandon(key, token).await?;
            }
            return Ok(());
        }
        match leases.acquire(key, claim).await? {
            Acquired::Lead(token, _) => {
                let _: Held = leases.abandon(key, token).await?;
            }
            Acquired::Follow(id) => leases.leave(key, id).await?,
            Acquired::HitForMiss | Acquired::Full | Acquired::Mute => {}
        }
        Ok(())
    }

    async fn asked(
        self: &Arc<Self>,
        asking: Asking,
        before: Option<FlightId>,
        claim: Claim,
    ) -> Result<Turn, StoreError> {
        let Asking { key, newest, is_alone } = asking;
        let leases = &self.shared.leases;
        if is_alone {
            let token = leases.acquire_alone(key, claim).await?;
            return Ok(match token {
                Some(token) => self.leads(key, token, FlightId(token.counter)),
                None => Turn::Own(Apart::LedElsewhere),
            });
        }
        if let Some(id) = before
            && let Some(token) = leases.take_over(key, id, claim).await?
        {
            self.metrics.taken_over();
            return Ok(self.leads(key, token, id));
        }
        let mut acquired = leases.acquire(key, claim).await?;
        if acquired == Acquired::HitForMiss && newest > Generation::default() {
            // Unless that was found before something was invalidated.
            leases.renewed(key, newest).await?;
            acquired = leases.acquire(key, claim).await?;
        }
        Ok(match acquired {
            Acquired::Lead(token, id) => self.leads(key, token, id),
            Acquired::Follow(id) => Turn::Follow(Place { group: Arc::clone(self), key, id }),
            Acquired::HitForMiss => Turn::Own(Apart::HitForMiss),
            Acquired::Full => Turn::Own(Apart::LedElsewhere),
            Acquired::Mute => Turn::Own(Apart::Untold),
        })
    }

    fn leads(self: &Arc<Self>, key: CacheKey, token: Token, id: FlightId) -> Turn {
        Turn::Lead(Herald::start(self, key, token, id))
    }

    /// Whether a follower may make its own call after waiting too long.
    pub(super) async fn lets_go(&self, key: CacheKey, id: FlightId, limit: Option<u64>) -> bool {
        let asked = timeout(ASK_WITHIN, self.shared.leases.overflow(key, id, limit)).await;
        matches!(asked, Ok(Ok(crate::flight::Overflow::Go)))
    }

    /// A flight began before something was invalidated: it is for those who follow it. `false`: nobody knows whether
    /// it was voided.
    pub(super) async fn void(&self, key: CacheKey, id: FlightId) -> bool {
        let voided = timeout(ASK_WITHIN, self.shared.leases.void(key, id)).await;
        let is_known = matches!(voided, Ok(Ok(_)));
        if !is_known {
            tracing::warn!(?key, "a flight that began before an invalidation could not be voided");
            self.metrics.shared(SharedFlight::Unavailable);
        }
        is_known
    }
}

// === impl Apart ===

impl Apart {
    /// Why nothing is stored: the word in logs and metric labels.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "store",
            Self::HitForMiss => "hit-for-miss",
            Self::LedElsewhere | Self::Untold => "led-elsewhere",
            Self::Mismatch => "mismatch",
            Self::Unreadable => "unreadable",
            Self::Unknown => Reason::GenerationsUnknown.as_str(),
        }
    }
}

// === impl Place ===

impl Drop for Place {
    fn drop(&mut self) {
        let (group, key, id) = (Arc::clone(&self.group), self.key, self.id);
        // Without a runtime the process ends, and the store forgets it with the flight.
        let Ok(runtime) = Handle::try_current() else { return };
        runtime.spawn(async move {
            if let Err(error) = group.shared.leases.leave(key, id).await {
                tracing::debug!(%error, "a place at another sidecar's flight is kept too long");
            }
        });
    }
}
