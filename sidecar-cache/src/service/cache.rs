//! Lookups and fills over an entry store: nothing that a store hands out is believed, and what cannot be
//! believed is a miss, removed and counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use kt_contract::gates::Gates;
use kt_contract::hex::Digest;
use kt_contract::key::{CacheKey, CheckHash, OrgKeys};
use kt_contract::outcome::Reason;
use kt_contract::time::{Millis, UnixMillis};

use super::generations::Generations;
use crate::entry::{Corrupt, Entry, Header, Mismatch};
use crate::flight::LEASE_TTL;
use crate::freshness::lifetime;
use crate::generation::Vector;
use crate::metrics::Metrics;
use crate::store::health::Health;
use crate::store::{
    Address, Bounds, EntryStore, Found, Held, Lifetime, Lookup, NewEntry, OrgHeld, StoreError,
};

/// How many entries of the same request are looked at to name the gate that differs.
const NEAR_MAX: usize = 8;
/// A store that takes longer than this has not stored: the lease must outlive it.
const FILL_TIMEOUT: Duration = Duration::from_secs(2);

const _: () = assert!(FILL_TIMEOUT.as_millis() < LEASE_TTL.0 as u128);

/// The entries of all organizations.
pub struct Cache {
    entries: Arc<dyn EntryStore>,
    generations: Generations,
    /// How long entries are kept after their time, in milliseconds.
    kept_ms: AtomicU64,
    metrics: Arc<Metrics>,
}

/// Whose entry is looked for, and which.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The hashing keys of the organization.
    pub keys: &'a OrgKeys,
    /// The gates of the request.
    pub gates: &'a Gates,
    /// Where the entry is, if there is one.
    pub at: Address,
    /// The check hash of gates and request.
    pub check: CheckHash,
}

/// An answer to be stored.
#[derive(Clone, Debug)]
pub struct Filling<'a> {
    /// The hashing keys of the organization.
    pub keys: &'a OrgKeys,
    /// Where.
    pub at: Address,
    /// What it is; `fresh_until` follows from `ttl`.
    pub header: Header,
    /// The answer.
    pub body: &'a [u8],
    /// The configured lifetime.
    pub ttl: Millis,
}

/// The answer to a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Looked {
    /// A fresh entry, verified.
    Hit(Box<Hit>),
    /// An entry whose freshness is over, verified. Whether it may be told is not the cache's to decide.
    Stale(Box<Hit>),
    /// None, and why.
    Miss(Reason),
}

/// What is wrong with an entry that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    Corrupt(Corrupt),
    Mismatch(Mismatch),
    Generation,
    /// It was made under generations that are not known here yet.
    Ahead,
}

/// An entry as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// What it is.
    pub entry: Entry,
    /// How long ago it was filled.
    pub age: Millis,
    /// How long it stays fresh.
    pub fresh: Millis,
    /// How long it has been stale.
    pub stale: Millis,
    /// Whether its generations are those of now: only then it is told to anybody.
    pub is_current: bool,
}

/// Why an answer is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It was invalidated while it was made.
    Invalidated,
    /// It may have been.
    Unknown,
}

/// An entry that its reader may be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// What it is.
    pub entry: Entry,
    /// How long ago it was filled.
    pub age: Millis,
    /// How long it stays fresh; nothing where it is stale.
    pub fresh: Millis,
    /// How long it has been stale; nothing where it is fresh.
    pub stale: Millis,
}

// === impl Looked ===

impl Looked {
    fn of(hit: Box<Hit>) -> Self {
        if hit.fresh.0 > 0 { Self::Hit(hit) } else { Self::Stale(hit) }
    }
}

// === impl Flaw ===

impl Flaw {
    /// As its reader learns it.
    const fn reason(self) -> Reason {
        match self {
            Self::Corrupt(_) | Self::Mismatch(Mismatch::Check) => Reason::Corrupt,
            Self::Mismatch(Mismatch::Gate(reason)) => reason,
            Self::Generation | Self::Ahead => Reason::Generation,
        }
    }
}

// === impl Cache ===

impl Cache {
    /// A cache over `entries`.
    #[must_use]
    pub fn new(
        entries: Arc<dyn EntryStore>,
        generations: Generations,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { entries, generations, kept_ms: AtomicU64::new(0), metrics }
    }

    /// Looks an entry up and verifies all of it: MAC, gates in full, check hash, generations. What cannot be
    /// verified is removed. A miss names the gate in which the nearest entry differs, for which several are
    /// read whole.
    pub async fn lookup(&self, wanted: Wanted<'_>) -> Looked {
        match self.found(wanted).await {
            Ok(looked) => looked,
            Err(answer) => self.without_entry(wanted, answer).await,
        }
    }

    /// Looks an entry up for somebody who has been told already why there was none: one that is not there is a
    /// miss for the request.
    pub async fn find(&self, wanted: Wanted<'_>) -> Looked {
        match self.found(wanted).await {
            Ok(looked) => looked,
            Err(Ok(Lookup::Expired)) => Looked::Miss(Reason::Expired),
            Err(Ok(Lookup::Absent | Lookup::Found(_))) => Looked::Miss(Reason::Request),
            Err(Err(error)) => Looked::Miss(unreadable(&error)),
        }
    }

    /// What is found under a key; else the store's answer.
    async fn found(&self, wanted: Wanted<'_>) -> Result<Looked, Result<Lookup, StoreError>> {
        if !self.generations.known().has_generations() {
            return Ok(Looked::Miss(Reason::GenerationsUnknown));
        }
        let mut flawed = None;
        // Twice: what was found may have been a copy of what another sidecar has replaced since.
        for _ in 0..2 {
            let found = match (self.entries.lookup(wanted.at).await, flawed) {
                (Ok(Lookup::Found(found)), _) => found,
                (answer, None) => return Err(answer),
                (_, Some(_)) => break,
            };
            match self.verified(wanted, &found) {
                Ok(hit) => return Ok(Looked::of(hit)),
                Err(flaw) => {
                    self.dropped(wanted, flaw, found.bytes).await;
                    flawed.get_or_insert(flaw);
                }
            }
        }
        let reason = flawed.map_or(Reason::Request, Flaw::reason);
        Ok(Looked::Miss(reason))
    }

    /// What a lookup would say. Changes nothing: neither what is held nor in which order it goes.
    pub async fn peek(&self, wanted: Wanted<'_>) -> Looked {
        if !self.generations.known().has_generations() {
            return Looked::Miss(Reason::GenerationsUnknown);
        }
        match self.entries.peek(wanted.at).await {
            Ok(Lookup::Found(found)) => match self.verified(wanted, &found) {
                Ok(hit) => Looked::of(hit),
                Err(flaw) => Looked::Miss(flaw.reason()),
            },
            answer => self.without_entry(wanted, answer).await,
        }
    }

    async fn without_entry(
        &self,
        wanted: Wanted<'_>,
        answer: Result<Lookup, StoreError>,
    ) -> Looked {
        Looked::Miss(match answer {
            Ok(Lookup::Expired) => Reason::Expired,
            Ok(Lookup::Absent | Lookup::Found(_)) => self.nearest(wanted).await.0,
            Err(error) => unreadable(&error),
        })
    }

    /// An entry as it is stored, for operators; `None` where there is none, or none of this organization.
    /// Changes nothing.
    ///
    /// # Errors
    /// A store that cannot say; an entry that cannot be verified.
    pub async fn inspect(
        &self,
        key: CacheKey,
        keys: &OrgKeys,
    ) -> Result<Option<Inspected>, StoreError> {
        let Some((entry, found)) = stored(&*self.entries, key, keys).await? else {
            return Ok(None);
        };
        let Header { gates, generations, .. } = &entry.header;
        let is_current = self.generations.is_current(gates, &key, generations);
        let Found { bytes: _, age, fresh, stale } = found;
        Ok(Some(Inspected { entry, age, fresh, stale, is_current }))
    }

    /// Removes an entry of an organization, and says how many there were.
    ///
    /// # Errors
    /// A store that cannot say.
    pub async fn drop_entry(&self, org: &str, key: CacheKey) -> Result<u64, StoreError> {
        // A key of another organization is not this one's to remove.
        match self.inspect(key, &OrgKeys::derive(org)).await? {
            Some(_) => Ok(u64::from(self.entries.purge(key, None).await?)),
            None => Ok(0),
        }
    }

    /// Removes all entries of an organization, and says how many there were.
    ///
    /// # Errors
    /// A store that does not do it.
    pub async fn drop_org(&self, org: &str) -> Result<u64, StoreError> {
        self.entries.purge_org(org.to_owned()).await
    }

    /// Gives up the room of what another sidecar has purged, in a task of its own: nobody reads it any more, and nobody
    /// waits until it has gone.
    pub fn forget(&self, purged: Vec<(String, Option<CacheKey>)>) {
        if purged.is_empty() {
            return;
        }
        let entries = Arc::clone(&self.entries);
        tokio::spawn(async move {
            for (org, key) in purged {
                let forgotten = match key {
                    Some(key) => match stored(&*entries, key, &OrgKeys::derive(&org)).await {
                        // A key of another organization is not this one's to remove.
                        Ok(Some(_)) => entries.forget(key).await,
                        there => there.map(|_| ()),
                    },
                    None => entries.forget_org(org).await,
                };
                if let Err(error) = forgotten {
                    tracing::warn!(%error, "what was invalidated elsewhere is not removed here");
                }
            }
        });
    }

    /// Why there is no entry: the gate in which the nearest entry of the same request differs, and its
    /// gates. The nearest is the one whose first difference comes last.
    pub async fn nearest(&self, wanted: Wanted<'_>) -> (Reason, Option<Gates>) {
        self.others(wanted.at.request, wanted.keys)
            .await
            .into_iter()
            .filter_map(|gates| Some((wanted.gates.first_difference(&gates)?, gates)))
            .max_by_key(|(reason, _)| *reason)
            .map_or((Reason::Request, None), |(reason, gates)| (reason, Some(gates)))
    }

    /// Whether an organization holds an entry for a request. For operators only.
    pub async fn has_request(&self, request: Digest, keys: &OrgKeys) -> bool {
        !self.others(request, keys).await.is_empty()
    }

    /// What has been invalidated.
    #[must_use]
    pub const fn generations(&self) -> &Generations {
        &self.generations
    }

    /// The generations of an entry's tags: to be taken when its lease is acquired, before anybody is called.
    #[must_use]
    pub fn vector(&self, wanted: Wanted<'_>) -> Vector {
        self.generations.vector(wanted.gates, &wanted.at.key)
    }

    /// An answer as it is stored for its lifetime, unless it was invalidated while it was made. An invalidation
    /// that comes between this look and the store's work is found by whoever reads.
    ///
    /// # Errors
    /// Where it was, or may have been.
    pub fn entry_of(&self, filling: Filling<'_>) -> Result<NewEntry, Unfit> {
        let Filling { keys, at, header, body, ttl } = filling;
        if !self.generations.known().has_generations() {
            return Err(Unfit::Unknown);
        }
        if !self.generations.is_current(&header.gates, &at.key, &header.generations) {
            return Err(Unfit::Invalidated);
        }
        let fresh = lifetime(ttl, &at.key);
        let fresh_until = UnixMillis(header.created.0.saturating_add(fresh.0));
        let org = header.gates.org.clone();
        let bytes = Entry::encode(&Header { fresh_until, ..header }, body, keys);
        let lifetime = Lifetime { fresh, stale: Millis(self.kept_ms.load(Ordering::Relaxed)) };
        Ok(NewEntry { at, org, bytes, lifetime })
    }

    /// Stores an entry.
    ///
    /// # Errors
    /// Where the store did not take it, or not in time.
    pub async fn store(&self, entry: NewEntry) -> Result<(), StoreError> {
        tokio::time::timeout(FILL_TIMEOUT, self.entries.fill(entry))
            .await
            .map_err(|_| StoreError::Transient("took too long".to_owned()))?
    }

    /// Changes how long entries are kept after their time: those that are filled from now on.
    pub fn keep_stale(&self, length: Millis) {
        self.kept_ms.store(length.0, Ordering::Relaxed);
    }

    /// Changes the bounds of the store.
    pub async fn bound(&self, bounds: Bounds) {
        if let Err(error) = self.entries.bound(bounds).await {
            tracing::warn!(%error, "the store keeps its old bounds");
        }
    }

    /// How much there is.
    #[must_use]
    pub fn held(&self) -> Held {
        self.entries.held()
    }

    /// How much each organization holds.
    #[must_use]
    pub fn held_by_org(&self) -> Vec<OrgHeld> {
        self.entries.held_by_org()
    }

    /// How the store is, where it is somewhere else.
    #[must_use]
    pub fn health(&self) -> Option<Health> {
        self.entries.health()
    }

    /// How many entries an organization holds.
    #[must_use]
    pub fn held_by(&self, org: &str) -> u64 {
        self.held_by_org().iter().find(|held| held.org == org).map_or(0, |held| held.entries)
    }

    /// An entry that its reader may be told, or what is wrong with it. Changes nothing.
    fn verified(&self, wanted: Wanted<'_>, found: &Found) -> Result<Box<Hit>, Flaw> {
        let entry = Entry::decode(&found.bytes, wanted.keys).map_err(Flaw::Corrupt)?;
        entry.header.verify(wanted.gates, &wanted.check).map_err(Flaw::Mismatch)?;
        // Behind equal gates, so that both vectors are of the same tags.
        let (theirs, ours) = (&entry.header.generations, self.vector(wanted));
        if *theirs != ours {
            let is_ahead = theirs.is_ahead_of(&ours);
            return Err(if is_ahead { Flaw::Ahead } else { Flaw::Generation });
        }
        let Found { bytes: _, age, fresh, stale } = *found;
        Ok(Box::new(Hit { entry, age, fresh, stale }))
    }

    /// Removes and counts what must not be told.
    async fn dropped(&self, wanted: Wanted<'_>, flaw: Flaw, seen: Bytes) {
        let (org, key) = (&wanted.gates.org, &wanted.at.key);
        match flaw {
            Flaw::Corrupt(corrupt) => {
                self.metrics.corrupt();
                tracing::warn!(%corrupt, ?key, "an entry could not be verified; it is removed");
            }
            // The same key and other gates: that is no accident.
            Flaw::Mismatch(mismatch) => {
                let what = match mismatch {
                    Mismatch::Gate(reason) => reason.as_str(),
                    Mismatch::Check => "check",
                };
                self.metrics.mismatch(what);
                tracing::warn!(security = true, what, org, ?key, "gate mismatch on read");
            }
            Flaw::Generation => {}
            // Good, for those who know what its sidecar has known.
            Flaw::Ahead => return,
        }
        // What was seen, and not what may have been filled since.
        if let Err(error) = self.entries.purge(wanted.at.key, Some(seen)).await
            && error.is_news()
        {
            tracing::warn!(%error, "an entry could not be removed");
        }
    }

    async fn others(&self, request: Digest, keys: &OrgKeys) -> Vec<Gates> {
        let near = self.entries.near(request, NEAR_MAX).await.unwrap_or_default();
        near.iter()
            .filter_map(|bytes| Entry::decode(bytes, keys).ok())
            .map(|entry| entry.header.gates)
            .collect()
    }
}

/// An entry as it is stored; `None` where there is none, or none of this organization.
async fn stored(
    entries: &dyn EntryStore,
    key: CacheKey,
    keys: &OrgKeys,
) -> Result<Option<(Entry, Found)>, StoreError> {
    // Of an address only the key finds an entry.
    let at = Address { key, request: Digest([0; 32]) };
    let Lookup::Found(found) = entries.peek(at).await? else { return Ok(None) };
    match Entry::decode(&found.bytes, keys) {
        Ok(entry) => Ok(Some((entry, found))),
        // Most likely another organization's, which is nobody's business.
        Err(Corrupt::Mac) => Ok(None),
        Err(_) => Err(StoreError::Corrupt("an entry")),
    }
}

/// A cache that cannot be read is a cache without entries.
fn unreadable(error: &StoreError) -> Reason {
    if error.is_news() {
        tracing::warn!(%error, "lookup failed");
    }
    Reason::StoreUnavailable
}
