//! Memory in front of a store that sidecars share. What was filled or found of late is answered from here, and a
//! store that is away takes nothing with it that is here.
//!
//! A copy never lives longer than the store said that the entry is fresh, counted from before it was asked, and
//! what is stale is not copied. What another sidecar has filled or purged since, a copy does not know: an entry
//! that was invalidated is told to nobody, because whoever reads compares its generations, and one that was
//! replaced is fresh all the same.

mod leases;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use kt_contract::hex::Digest;
use kt_contract::key::CacheKey;
use kt_contract::limits;
use kt_contract::time::{Millis, MonoMillis};

use super::health::{Copies, Health};
use super::memory::MemoryEntries;
use super::{
    Address, Answer, Bounds, EntryStore, Found, Held, Lifetime, Lookup, NewEntry, OrgHeld,
};
use crate::clock::Clock;
pub use leases::LayeredLeases;

/// A larger one is no entry of ours.
const COPY_BYTES_MAX: usize = limits::ENTRY_BYTES_MAX + (1 << 20);
/// Before the bytes of a copy stands how old the entry was when it was copied.
const AGE_BYTES: usize = 8;
/// Over how many counters keys are spread. Two that share one cost a copy now and then.
const PLACES: usize = 64;

/// Says whose an entry is, unverified: only the room that a copy takes follows from it. `None`: it is not copied.
pub type Whose = fn(&[u8]) -> Option<String>;

/// A shared store behind memory.
pub struct Layered {
    clock: Clock,
    memory: MemoryEntries,
    shared: Arc<dyn EntryStore>,
    whose: Whose,
    /// How much an organization may have in the shared store, where that is not what it may have in memory.
    shared_org_bytes_max: Option<u64>,
    /// How often entries of a place were filled or purged here: what was found before that is not copied after it.
    changes: [AtomicU64; PLACES],
    hits: AtomicU64,
}

/// What becomes a copy, if the shared store takes the entry.
struct Copy {
    at: Address,
    org: String,
    bytes: Vec<u8>,
    age: Millis,
    fresh: Millis,
    /// When the store was asked, from which its times are counted.
    asked: MonoMillis,
}

// === impl Layered ===

impl Layered {
    /// Nothing in memory yet, and at most `bounds`.
    #[must_use]
    pub fn new(clock: Clock, bounds: Bounds, shared: Arc<dyn EntryStore>, whose: Whose) -> Self {
        Self {
            clock,
            memory: MemoryEntries::new(clock, bounds),
            shared,
            whose,
            shared_org_bytes_max: None,
            changes: [const { AtomicU64::new(0) }; PLACES],
            hits: AtomicU64::new(0),
        }
    }

    /// The same, where the bound on an organization's entries in the shared store stays what it is.
    #[must_use]
    pub fn with_shared_bound(self, org_bytes_max: u64) -> Self {
        Self { shared_org_bytes_max: Some(org_bytes_max), ..self }
    }

    /// What is held in memory.
    #[must_use]
    pub fn copies(&self) -> Copies {
        let Held { entries, bytes, .. } = self.memory.held();
        Copies { entries, bytes, hits: self.hits.load(Ordering::Relaxed) }
    }

    async fn look_up(&self, at: Address) -> Result<Lookup, super::StoreError> {
        if let Lookup::Found(copy) = self.memory.find(&at)
            && let Some(found) = uncopied(copy)
        {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(Lookup::Found(found));
        }
        let before = self.change(&at.key).load(Ordering::SeqCst);
        let asked = self.clock.mono();
        let answer = self.shared.lookup(at).await?;
        if let Lookup::Found(found) = &answer
            && found.bytes.len() <= COPY_BYTES_MAX
            && let Some(org) = (self.whose)(&found.bytes)
        {
            let Found { bytes, age, fresh, stale: _ } = found;
            let bytes = with_room_for_age(bytes);
            self.keep(Copy { at, org, bytes, age: *age, fresh: *fresh, asked });
            // Whoever has changed it meanwhile has looked for a copy before there was one, or will.
            if self.change(&at.key).load(Ordering::SeqCst) != before {
                self.memory.remove(&at.key);
            }
        }
        Ok(answer)
    }

    /// Before the shared store is asked to fill: an older copy must not outlive what comes.
    fn begin_fill(&self, entry: &NewEntry) -> Option<Copy> {
        let NewEntry { at, org, bytes, lifetime } = entry;
        self.memory.remove(&at.key);
        let max = self.shared_org_bytes_max.unwrap_or(u64::MAX);
        // One that is larger, the shared store does not keep either.
        (bytes.len() <= COPY_BYTES_MAX && bytes.len() as u64 <= max).then(|| Copy {
            at: *at,
            org: org.clone(),
            bytes: with_room_for_age(bytes),
            age: Millis(0),
            fresh: lifetime.fresh,
            asked: self.clock.mono(),
        })
    }

    /// The shared store has been asked to fill `key`; `copy`: it has taken this.
    fn end_fill(&self, key: &CacheKey, copy: Option<Copy>) {
        self.changed(key);
        if let Some(copy) = copy {
            self.keep(copy);
        }
    }

    fn keep(&self, copy: Copy) {
        let Copy { at, org, mut bytes, age, fresh, asked } = copy;
        // The store's times are of a moment between asking and now.
        let taken = self.clock.mono().since(asked).0;
        let lifetime = Lifetime { fresh: Millis(fresh.0.saturating_sub(taken)), stale: Millis(0) };
        if lifetime.fresh == Millis(0) {
            return;
        }
        let age = age.0.saturating_add(taken).to_be_bytes();
        bytes.iter_mut().zip(age).for_each(|(to, from)| *to = from);
        self.memory.put(NewEntry { at, org, bytes, lifetime });
    }

    /// Whatever was found of a key until now is not copied, and no copy of it stays.
    fn changed(&self, key: &CacheKey) {
        self.change(key).fetch_add(1, Ordering::SeqCst);
        self.memory.remove(key);
    }

    fn change(&self, key: &CacheKey) -> &AtomicU64 {
        let [first, ..] = key.0.0;
        let [only, ..] = &self.changes;
        self.changes.get(usize::from(first) % PLACES).unwrap_or(only)
    }

    /// What was seen may be a copy; the shared store has the same bytes, or others by now.
    async fn purge_seen(&self, key: CacheKey, seen: Bytes) -> Result<bool, super::StoreError> {
        // Of an address only the key finds an entry.
        let at = Address { key, request: Digest([0; 32]) };
        match self.shared.peek(at).await? {
            Lookup::Found(found) if found.bytes == seen => {
                self.shared.purge(key, Some(found.bytes)).await
            }
            Lookup::Found(_) | Lookup::Expired | Lookup::Absent => Ok(false),
        }
    }
}

impl EntryStore for Layered {
    fn lookup(&self, at: Address) -> Answer<'_, Lookup> {
        Box::pin(self.look_up(at))
    }

    fn peek(&self, at: Address) -> Answer<'_, Lookup> {
        Box::pin(async move {
            if let Lookup::Found(copy) = self.memory.peek(at).await?
                && let Some(found) = uncopied(copy)
            {
                return Ok(Lookup::Found(found));
            }
            self.shared.peek(at).await
        })
    }

    fn fill(&self, entry: NewEntry) -> Answer<'_, ()> {
        Box::pin(async move {
            let (key, copy) = (entry.at.key, self.begin_fill(&entry));
            let filled = self.shared.fill(entry).await;
            self.end_fill(&key, copy.filter(|_| filled.is_ok()));
            filled
        })
    }

    fn purge(&self, key: CacheKey, seen: Option<Bytes>) -> Answer<'_, bool> {
        Box::pin(async move {
            // Here at once, whatever becomes of it there.
            self.changed(&key);
            let purged = match seen {
                Some(seen) => self.purge_seen(key, seen).await,
                None => self.shared.purge(key, None).await,
            };
            self.changed(&key);
            purged
        })
    }

    fn purge_org(&self, org: String) -> Answer<'_, u64> {
        Box::pin(async move {
            self.memory.purge_org(org.clone()).await?;
            let purged = self.shared.purge_org(org.clone()).await;
            for change in &self.changes {
                change.fetch_add(1, Ordering::SeqCst);
            }
            self.memory.purge_org(org).await?;
            purged
        })
    }

    fn forget(&self, key: CacheKey) -> Answer<'_, ()> {
        Box::pin(async move {
            self.changed(&key);
            Ok(())
        })
    }

    fn forget_org(&self, org: String) -> Answer<'_, ()> {
        Box::pin(async move {
            for change in &self.changes {
                change.fetch_add(1, Ordering::SeqCst);
            }
            self.memory.purge_org(org).await.map(|_| ())
        })
    }

    fn near(&self, request: Digest, count: usize) -> Answer<'_, Vec<Bytes>> {
        Box::pin(async move {
            match self.shared.near(request, count).await {
                Ok(near) => Ok(near),
                // Some are better than none.
                Err(_) => {
                    let copies = self.memory.near(request, count).await?;
                    Ok(copies.iter().map(|copy| copy.slice(AGE_BYTES.min(copy.len())..)).collect())
                }
            }
        })
    }

    fn bound(&self, bounds: Bounds) -> Answer<'_, ()> {
        Box::pin(async move {
            self.memory.bound(bounds).await?;
            let org_bytes_max = self.shared_org_bytes_max.unwrap_or(bounds.org_bytes_max);
            self.shared.bound(Bounds { org_bytes_max, ..bounds }).await
        })
    }

    fn held(&self) -> Held {
        self.shared.held()
    }

    fn held_by_org(&self) -> Vec<OrgHeld> {
        self.shared.held_by_org()
    }

    fn health(&self) -> Option<Health> {
        Some(Health { copies: self.copies(), ..self.shared.health()? })
    }
}

fn with_room_for_age(bytes: &[u8]) -> Vec<u8> {
    [&[0; AGE_BYTES], bytes].concat()
}

/// The entry that a copy is of.
fn uncopied(copy: Found) -> Option<Found> {
    let Found { bytes, age, fresh, stale } = copy;
    let (before, _) = bytes.split_first_chunk::<AGE_BYTES>()?;
    let age = Millis(u64::from_be_bytes(*before).saturating_add(age.0));
    Some(Found { bytes: bytes.slice(AGE_BYTES..), age, fresh, stale })
}
