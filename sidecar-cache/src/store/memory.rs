//! Entries in the memory of this process, lost with it, and generations for tests. One short lock around a pure table: an operation
//! under it is two table look-ups and a few links, and never a copy of an entry's bytes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use kt_contract::hex::Digest;
use kt_contract::time::Millis;

use super::shelf::{Shelf, Taken};
use super::{Address, Answer, Bounds, EntryStore, Found, GenerationStore, Held, Lookup};
use crate::clock::Clock;
use crate::generation::{Generation, Tag};

/// The backend `memory`.
#[derive(Debug)]
pub struct MemoryEntries {
    clock: Clock,
    shelf: Mutex<Shelf>,
}

// === impl MemoryEntries ===

impl MemoryEntries {
    /// An empty store.
    #[must_use]
    pub fn new(clock: Clock, bounds: Bounds) -> Self {
        Self { clock, shelf: Mutex::new(Shelf::new(bounds)) }
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        // Nothing in the table panics between two steps that belong together.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self, at: &Address) -> Lookup {
        let taken = self.shelf().lookup(at, self.clock.mono());
        match taken {
            Taken::Found { bytes, age, fresh } => {
                Lookup::Found(Found { bytes: Bytes::from_owner(bytes), age, fresh })
            }
            Taken::Expired => Lookup::Expired,
            Taken::Absent => Lookup::Absent,
        }
    }
}

impl EntryStore for MemoryEntries {
    fn lookup(&self, at: Address) -> Answer<'_, Lookup> {
        Box::pin(async move { Ok(self.look(&at)) })
    }

    fn fill(&self, at: Address, bytes: Vec<u8>, fresh: Millis) -> Answer<'_, ()> {
        Box::pin(async move {
            // Copied before the lock is taken.
            let bytes = Arc::from(bytes);
            self.shelf().fill(&at, bytes, fresh, self.clock.mono());
            Ok(())
        })
    }

    fn purge(&self, at: Address) -> Answer<'_, ()> {
        Box::pin(async move {
            self.shelf().purge(&at);
            Ok(())
        })
    }

    fn near(&self, request: Digest, count: usize) -> Answer<'_, Vec<Bytes>> {
        Box::pin(async move {
            let near = self.shelf().near(&request, count, self.clock.mono());
            Ok(near.into_iter().map(Bytes::from_owner).collect())
        })
    }

    fn bound(&self, bounds: Bounds) -> Answer<'_, ()> {
        Box::pin(async move {
            self.shelf().bound(bounds);
            Ok(())
        })
    }

    fn held(&self) -> Held {
        self.shelf().held()
    }
}

/// Generations in memory: as the durable ones, for as long as the process lives.
#[derive(Debug, Default)]
pub struct MemoryGenerations {
    given: Mutex<Vec<(String, Tag, Generation)>>,
    last: AtomicU64,
}

impl GenerationStore for MemoryGenerations {
    fn bump(&self, org: String, tag: Tag) -> Answer<'_, Generation> {
        Box::pin(async move {
            let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
            let generation = Generation(self.last.fetch_add(1, Ordering::Relaxed) + 1);
            given.retain(|(of, other, _)| *of != org || (tag != Tag::Org && *other != tag));
            given.push((org, tag, generation));
            Ok(generation)
        })
    }

    fn all(&self) -> Answer<'_, Vec<(String, Tag, Generation)>> {
        Box::pin(
            async move { Ok(self.given.lock().unwrap_or_else(PoisonError::into_inner).clone()) },
        )
    }
}
