//! The generations in use: in memory for whoever reads an entry, in a store before anybody is told of one.

use std::sync::{Arc, PoisonError, RwLock};

use kt_contract::gates::Gates;
use kt_contract::key::CacheKey;
use kt_contract::wire::feed::Event;

use super::Sidecar;
use crate::generation::{Generation, Table, Tag, Vector};
use crate::store::memory::MemoryGenerations;
use crate::store::{GenerationStore, StoreError};

/// The generations of all organizations.
pub struct Generations {
    store: Arc<dyn GenerationStore>,
    table: RwLock<Table>,
    /// One change at a time, so that the table has what the store has, in the same order.
    change: tokio::sync::Mutex<()>,
}

// === impl Generations ===

impl Generations {
    /// What a store holds.
    ///
    /// # Errors
    /// A store that cannot be read: nobody would know what has been invalidated.
    pub async fn load(store: Arc<dyn GenerationStore>) -> Result<Self, StoreError> {
        let mut table = Table::default();
        for (org, tag, generation) in store.all().await? {
            table.set(&org, tag, generation);
        }
        Ok(Self { store, table: RwLock::new(table), change: tokio::sync::Mutex::default() })
    }

    /// None yet, and none that outlives the process.
    #[must_use]
    pub fn in_memory() -> Self {
        Self {
            store: Arc::new(MemoryGenerations::default()),
            table: RwLock::default(),
            change: tokio::sync::Mutex::default(),
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
        self.table.write().unwrap_or_else(PoisonError::into_inner).set(org, tag, generation);
        Ok(generation)
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
