//! The generations in use: in memory for whoever reads an entry, in a store before anybody is told of one.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use kt_contract::gates::Gates;
use kt_contract::key::CacheKey;
use kt_contract::wire::feed::Event;

use super::known::Known;
use super::{Sidecar, lock};
use crate::clock::Clock;
use crate::generation::{Generation, Table, Tag, Vector};
use crate::store::changes::{ChangeStore, Changes};
use crate::store::memory::MemoryGenerations;
use crate::store::{GenerationStore, StoreError};

/// The generations of all organizations.
pub struct Generations {
    store: Arc<dyn GenerationStore>,
    table: RwLock<Table>,
    /// One change at a time, so that the table has what the store has, in the same order.
    change: tokio::sync::Mutex<()>,
    known: Known,
    /// Where others change something, too.
    elsewhere: Option<Elsewhere>,
}

/// A store that several sidecars share.
struct Elsewhere {
    changes: Arc<dyn ChangeStore>,
    /// The number of the newest change that was told.
    seen: Mutex<u64>,
}

// === impl Generations ===

impl Generations {
    /// What a store holds.
    ///
    /// # Errors
    /// A store that cannot be read: nobody would know what has been invalidated.
    pub async fn load(store: Arc<dyn GenerationStore>) -> Result<Self, StoreError> {
        Self::loaded(store, Known::always(), None).await
    }

    /// What a store holds that other sidecars change, too.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub async fn load_shared(
        store: Arc<dyn GenerationStore>,
        changes: Arc<dyn ChangeStore>,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        let begun = clock.mono();
        // Before the rest is read: what is told twice changes nothing, and nothing is left out.
        let seen = Mutex::new(changes.newest().await?);
        let elsewhere = Some(Elsewhere { changes, seen });
        Self::loaded(store, Known::by_look(clock, begun), elsewhere).await
    }

    async fn loaded(
        store: Arc<dyn GenerationStore>,
        known: Known,
        elsewhere: Option<Elsewhere>,
    ) -> Result<Self, StoreError> {
        let mut table = Table::default();
        for (org, tag, generation) in store.all().await? {
            table.set(&org, tag, generation);
        }
        let (table, change) = (RwLock::new(table), tokio::sync::Mutex::default());
        Ok(Self { store, table, change, known, elsewhere })
    }

    /// None yet, and none that outlives the process.
    #[must_use]
    pub fn in_memory() -> Self {
        Self {
            store: Arc::new(MemoryGenerations::default()),
            table: RwLock::default(),
            change: tokio::sync::Mutex::default(),
            known: Known::always(),
            elsewhere: None,
        }
    }

    /// The generations of an entry's tags. Taken when its lease is acquired, and compared whenever it is read.
    #[must_use]
    pub fn vector(&self, gates: &Gates, key: &CacheKey) -> Vector {
        self.read(|table| table.vector(gates, key))
    }

    /// Whether nothing that an entry belongs to was invalidated since `vector` was taken.
    #[must_use]
    pub fn is_current(&self, gates: &Gates, key: &CacheKey, vector: &Vector) -> bool {
        self.vector(gates, key) == *vector
    }

    /// How many tags have a generation, and the newest of these.
    #[must_use]
    pub fn count_and_newest(&self) -> (usize, Generation) {
        self.read(|table| (table.count(), table.newest()))
    }

    /// Gives a tag another generation: durably first, then for every reader.
    ///
    /// # Errors
    /// A store that does not take it. Nothing has changed then, unless the store has taken it without
    /// saying so, which the next start finds.
    pub async fn bump(&self, org: &str, tag: Tag) -> Result<Generation, StoreError> {
        let _one_at_a_time = self.change.lock().await;
        let generation = self.store.bump(org.to_owned(), tag.clone()).await?;
        if !self.table.write().unwrap_or_else(PoisonError::into_inner).set(org, tag, generation) {
            let what = "the store has given a generation a second time; ask again";
            return Err(StoreError::Transient(what.to_owned()));
        }
        Ok(generation)
    }

    /// Whether other sidecars invalidate something, too.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        self.elsewhere.is_some()
    }

    /// Whether it is known what was invalidated.
    #[must_use]
    pub const fn known(&self) -> &Known {
        &self.known
    }

    /// Asks what has changed elsewhere; for every reader that is so when this returns. What is returned was not known
    /// before. That all is known again, whoever asks says once it has done the rest.
    ///
    /// # Errors
    /// A store that does not say.
    pub async fn look(&self) -> Result<Changes, StoreError> {
        let Some(Elsewhere { changes, seen }) = &self.elsewhere else {
            return Ok(Changes::default());
        };
        let last = *lock(seen);
        let mut news = changes.since(last).await?;
        // After a change of this sidecar that the store has taken and the table has not.
        let _one_at_a_time = self.change.lock().await;
        {
            let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
            news.generations
                .retain(|(org, tag, generation)| table.set(org, tag.clone(), *generation));
        }
        *lock(seen) = news.upto;
        Ok(news)
    }

    fn read<T>(&self, of: impl FnOnce(&Table) -> T) -> T {
        of(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }
}

// === impl Sidecar ===

impl Sidecar {
    /// Invalidates a tag of an organization: durably, then for every reader here, then on every gateway.
    ///
    /// # Errors
    /// A store that does not take it.
    pub async fn bump(&self, org: &str, tag: Tag) -> Result<Generation, StoreError> {
        let generation = self.cache.generations().bump(org, tag).await?;
        self.feed.publish(Event::Purged);
        Ok(generation)
    }
}
