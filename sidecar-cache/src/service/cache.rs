//! Lookups and fills over an entry store: nothing that a store hands out is believed, and what cannot be
//! believed is a miss, removed and counted.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kt_contract::gates::Gates;
use kt_contract::hex::Digest;
use kt_contract::key::{CheckHash, OrgKeys};
use kt_contract::outcome::Reason;
use kt_contract::time::{Millis, UnixMillis};

use super::generations::Generations;
use crate::entry::{Corrupt, Entry, Header, Mismatch};
use crate::flight::LEASE_TTL;
use crate::freshness::lifetime;
use crate::generation::Vector;
use crate::metrics::Metrics;
use crate::store::{
    Address, Bounds, EntryStore, Found, Held, Lifetime, Lookup, NewEntry, StoreError,
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
    /// An entry, verified.
    Hit(Box<Hit>),
    /// None, and why.
    Miss(Reason),
}

/// The answer to a fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Filled {
    /// It is stored.
    Stored,
    /// It was invalidated while it was made, and is not stored.
    Invalidated,
}

/// An entry that its reader may be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// What it is.
    pub entry: Entry,
    /// How long ago it was filled.
    pub age: Millis,
    /// How long it stays fresh.
    pub fresh: Millis,
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
        Self { entries, generations, metrics }
    }

    /// Looks an entry up and verifies all of it: MAC, gates in full, check hash, generations.
    pub async fn lookup(&self, wanted: Wanted<'_>) -> Looked {
        match self.entries.lookup(wanted.at).await {
            Ok(Lookup::Found(found)) => self.verified(wanted, found).await,
            Ok(Lookup::Expired) => Looked::Miss(Reason::Expired),
            Ok(Lookup::Absent) => Looked::Miss(self.nearest(wanted).await.0),
            Err(error) => {
                // A cache that cannot be read is a cache without entries.
                tracing::warn!(%error, "lookup failed");
                Looked::Miss(Reason::Request)
            }
        }
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

    /// Stores an answer for its lifetime, unless it was invalidated while it was made. An invalidation that
    /// comes between this look and the store's work is found by whoever reads.
    ///
    /// # Errors
    /// Where the store did not take it, or not in time.
    pub async fn fill(&self, filling: Filling<'_>) -> Result<Filled, StoreError> {
        let Filling { keys, at, header, body, ttl } = filling;
        if !self.generations.is_current(&header.gates, &at.key, &header.generations) {
            return Ok(Filled::Invalidated);
        }
        let fresh = lifetime(ttl, &at.key);
        let fresh_until = UnixMillis(header.created.0.saturating_add(fresh.0));
        let org = header.gates.org.clone();
        let bytes = Entry::encode(&Header { fresh_until, ..header }, body, keys);
        let lifetime = Lifetime { fresh, stale: Millis(0) };
        let entry = NewEntry { at, org, bytes, lifetime };
        tokio::time::timeout(FILL_TIMEOUT, self.entries.fill(entry))
            .await
            .map_err(|_| StoreError::Transient("took too long".to_owned()))??;
        Ok(Filled::Stored)
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

    async fn verified(&self, wanted: Wanted<'_>, found: Found) -> Looked {
        let entry = match Entry::decode(&found.bytes, wanted.keys) {
            Ok(entry) => entry,
            Err(corrupt) => {
                self.drop_corrupt(wanted.at, corrupt, found.bytes).await;
                return Looked::Miss(Reason::Corrupt);
            }
        };
        if let Err(mismatch) = entry.header.verify(wanted.gates, &wanted.check) {
            return Looked::Miss(self.drop_mismatched(wanted, mismatch, found.bytes).await);
        }
        // Behind equal gates, so that both vectors are of the same tags.
        if entry.header.generations != self.vector(wanted) {
            self.purge(wanted.at, found.bytes).await;
            return Looked::Miss(Reason::Generation);
        }
        Looked::Hit(Box::new(Hit { entry, age: found.age, fresh: found.fresh }))
    }

    async fn drop_corrupt(&self, at: Address, corrupt: Corrupt, seen: Bytes) {
        self.metrics.corrupt();
        tracing::warn!(%corrupt, key = ?at.key, "an entry could not be verified; it is removed");
        self.purge(at, seen).await;
    }

    /// The same key and other gates: that is no accident.
    async fn drop_mismatched(&self, wanted: Wanted<'_>, mismatch: Mismatch, seen: Bytes) -> Reason {
        let (what, reason) = match mismatch {
            Mismatch::Gate(reason) => (reason.as_str(), reason),
            Mismatch::Check => ("check", Reason::Corrupt),
        };
        self.metrics.mismatch(what);
        let org = &wanted.gates.org;
        tracing::warn!(security = true, what, org, key = ?wanted.at.key, "gate mismatch on read");
        self.purge(wanted.at, seen).await;
        reason
    }

    /// Removes what was seen, and not what may have been filled since.
    async fn purge(&self, at: Address, seen: Bytes) {
        if let Err(error) = self.entries.purge(at.key, Some(seen)).await {
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
