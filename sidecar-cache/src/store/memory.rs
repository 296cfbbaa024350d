//! Entries in the memory of this process, lost with it, and generations for tests. One short lock around a pure
//! table: an operation under it is two table look-ups and a few links, and never a copy of an entry's bytes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use kt_contract::hex::Digest;
use kt_contract::key::CacheKey;

use super::health::Health;
use super::shelf::{New, Shelf, Taken};
use super::{
    Address, Answer, Bounds, EntryStore, Found, GenerationStore, Held, Lookup, NewEntry, OrgHeld,
};
use crate::clock::Clock;
use crate::generation::{Generation, Tag};

/// How many places are looked at for what has expired, with every fill: everything is, before it is filled
/// twice over.
const SWEPT_PER_FILL: usize = 2;

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

    /// A lookup.
    pub(super) fn find(&self, at: &Address) -> Lookup {
        told(self.shelf().lookup(at, self.clock.mono()))
    }

    /// A fill.
    pub(super) fn put(&self, entry: NewEntry) {
        let NewEntry { at, org, bytes, lifetime } = entry;
        // Copied before the lock is taken.
        let bytes = Arc::from(bytes);
        let now = self.clock.mono();
        let mut shelf = self.shelf();
        shelf.sweep(SWEPT_PER_FILL, now);
        shelf.fill(New { at, org: &org, bytes, lifetime }, now);
    }

    /// Removes an entry, whichever it is.
    pub(super) fn remove(&self, key: &CacheKey) -> bool {
        self.shelf().purge(key, None)
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        // Nothing in the table panics between two steps that belong together.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn told(taken: Taken) -> Lookup {
    match taken {
        Taken::Found { bytes, age, fresh, stale } => {
            Lookup::Found(Found { bytes: Bytes::from_owner(bytes), age, fresh, stale })
        }
        Taken::Expired => Lookup::Expired,
        Taken::Absent => Lookup::Absent,
    }
}

impl EntryStore for MemoryEntries {
    fn lookup(&self, at: Address) -> Answer<'_, Lookup> {
        Box::pin(async move { Ok(self.find(&at)) })
    }

    fn peek(&self, at: Address) -> Answer<'_, Lookup> {
        Box::pin(async move { Ok(told(self.shelf().peek(&at, self.clock.mono()))) })
    }

    fn fill(&self, entry: NewEntry) -> Answer<'_, ()> {
        Box::pin(async move {
            self.put(entry);
            Ok(())
        })
    }

    fn purge(&self, key: CacheKey, seen: Option<Bytes>) -> Answer<'_, bool> {
        Box::pin(async move {
            // The bytes that a lookup hands out are those on the shelf.
            let seen = seen.as_ref().map(|bytes| bytes.as_ptr());
            Ok(self.shelf().purge(&key, seen))
        })
    }

    fn purge_org(&self, org: String) -> Answer<'_, u64> {
        Box::pin(async move { Ok(self.shelf().purge_org(&org)) })
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

    fn held_by_org(&self) -> Vec<OrgHeld> {
        self.shelf().held_by_org()
    }

    fn health(&self) -> Option<Health> {
        None
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
