//! What is kept, behind small asynchronous traits, so that other engines can join: one conformance suite is
//! stamped over every implementation of [`EntryStore`]. Nothing in here knows about HTTP, or decides
//! whether an answer may be stored or told. The traits and the ledger in memory need no runtime, and are there without
//! the server as well.

pub mod audit_log;
pub mod changes;
#[cfg(feature = "server")]
pub mod flight_log;
pub mod health;
#[cfg(feature = "server")]
pub mod layered;
#[cfg(feature = "server")]
pub mod leases;
pub mod ledger;
#[cfg(feature = "server")]
pub mod memory;
#[cfg(feature = "server")]
pub mod postgres;
#[cfg(feature = "server")]
pub mod rates;
#[cfg(feature = "server")]
pub mod redis;
pub mod replies;
pub mod savings;
#[cfg(feature = "server")]
mod shelf;
pub mod spool;
#[cfg(feature = "server")]
pub mod sqlite;
pub mod versions;

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use kt_contract::hex::Digest;
use kt_contract::key::CacheKey;
use kt_contract::principal::{KeyHash, Principal};
use kt_contract::time::{Millis, UnixMillis};

use crate::generation::{Generation, Tag};
use health::Health;

/// The answer of a store. Boxed, so that the configuration can choose the store at run time.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Why a store has no answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It may have one later.
    #[error("the store is unavailable: {0}")]
    Transient(String),
    /// It is not reached, or left alone because it was not. That it went, and that it came back, the store itself
    /// says, once each.
    #[error("the store is away: {0}")]
    Away(String),
    /// What it holds cannot be read.
    #[error("the store holds something unreadable: {0}")]
    Corrupt(&'static str),
    /// It will not have one.
    #[error("the store failed: {0}")]
    Permanent(String),
}

// === impl StoreError ===

impl StoreError {
    /// Whether somebody should be told. That a store is away has been said when it went.
    #[must_use]
    pub const fn is_news(&self) -> bool {
        match self {
            Self::Away(_) => false,
            Self::Transient(_) | Self::Corrupt(_) | Self::Permanent(_) => true,
        }
    }

    /// Whether asking again may help.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        match self {
            Self::Transient(_) | Self::Away(_) => true,
            Self::Corrupt(_) | Self::Permanent(_) => false,
        }
    }
}

/// Where an entry is: its key, and the request that it shares with the entries behind other gates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// What it is filed under.
    pub key: CacheKey,
    /// The digest of the request, keyed by the organization: equal requests of two organizations differ.
    pub request: Digest,
}

/// The answer to a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// There is an entry, fresh or stale.
    Found(Found),
    /// There was one; its time has passed, and it is gone.
    Expired,
    /// There is none.
    Absent,
}

/// An entry's bytes, unverified, and its times by the store's own clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What was filled.
    pub bytes: Bytes,
    /// How long ago it was filled.
    pub age: Millis,
    /// How long it stays fresh; nothing where it is stale.
    pub fresh: Millis,
    /// How long it has been stale; nothing where it is fresh.
    pub stale: Millis,
}

/// An answer to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEntry {
    /// Where.
    pub at: Address,
    /// Whose room it takes.
    pub org: String,
    /// What it is.
    pub bytes: Vec<u8>,
    /// For how long.
    pub lifetime: Lifetime,
}

/// How long an entry is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifetime {
    /// How long it is fresh.
    pub fresh: Millis,
    /// How long it is kept after that.
    pub stale: Millis,
}

/// How much a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Entries, expired ones that nobody has asked for included.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Entries that went for want of space, since the start.
    pub evicted: u64,
    /// Entries that were found expired, since the start.
    pub expired: u64,
}

/// How much one organization holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrgHeld {
    /// Its name.
    pub org: String,
    /// Its entries, expired ones that nobody has asked for included.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Bounds on what is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// How many entries.
    pub entries_max: u64,
    /// How many bytes in all.
    pub bytes_max: u64,
    /// How many bytes of one organization.
    pub org_bytes_max: u64,
}

/// Entries, as bytes. Expiry is decided by the store's own clock; a lookup refreshes nothing but the order
/// of eviction.
pub trait EntryStore: Send + Sync {
    /// Looks an entry up.
    fn lookup(&self, at: Address) -> Answer<'_, Lookup>;

    /// What a lookup would find. Changes nothing, not even the order of eviction.
    fn peek(&self, at: Address) -> Answer<'_, Lookup>;

    /// Stores an entry for its lifetime, in one step: a reader finds the old one, or the new one.
    fn fill(&self, entry: NewEntry) -> Answer<'_, ()>;

    /// Removes an entry, if it is there and, where `seen` is what a lookup found, still that one. Says whether
    /// it was.
    fn purge(&self, key: CacheKey, seen: Option<Bytes>) -> Answer<'_, bool>;

    /// Removes every entry of an organization, and says how many there were.
    fn purge_org(&self, org: String) -> Answer<'_, u64>;

    /// Gives up the room of an entry that another sidecar has purged. Where the store is shared, that one removes it
    /// there, and what is there now may be newer: only what is remembered of it in this process goes.
    fn forget(&self, key: CacheKey) -> Answer<'_, ()> {
        Box::pin(async move { self.purge(key, None).await.map(|_| ()) })
    }

    /// The same, of every entry of an organization.
    fn forget_org(&self, org: String) -> Answer<'_, ()> {
        Box::pin(async move { self.purge_org(org).await.map(|_| ()) })
    }

    /// Fresh entries of the same request behind whatever gates, newest first, at most `count`. May name
    /// entries of another request; omits none but those behind hundreds that have expired.
    fn near(&self, request: Digest, count: usize) -> Answer<'_, Vec<Bytes>>;

    /// Changes the bounds; what is beyond them goes.
    fn bound(&self, bounds: Bounds) -> Answer<'_, ()>;

    /// How much there is.
    fn held(&self) -> Held;

    /// How much each organization holds, by name.
    fn held_by_org(&self) -> Vec<OrgHeld>;

    /// How it is; `None` where it is in this process, and so always well.
    fn health(&self) -> Option<Health>;
}

/// A gateway key as the store knows it: never the key itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// The digest of the key.
    pub hash: KeyHash,
    /// What it stands for.
    pub principal: Principal,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When it was revoked. A revoked key stays known, so that its holder is told so.
    pub revoked_at: Option<UnixMillis>,
    /// When it ends, where another key took its place. From then on it is as good as revoked.
    pub ends_at: Option<UnixMillis>,
    /// The key that took its place.
    pub successor: Option<String>,
}

// === impl KeyRecord ===

impl KeyRecord {
    /// Whether nobody takes it at this moment of the wall clock.
    #[must_use]
    pub fn is_over(&self, now: UnixMillis) -> bool {
        self.revoked_at.is_some() || self.ends_at.is_some_and(|end| end <= now)
    }
}

/// The answer to a revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// The key is revoked, now or since before.
    Done(KeyHash),
    /// No key has that name.
    Unknown,
}

/// The answer to a rotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rotated {
    /// The new key is known, and the old one has an end.
    Done(KeyHash),
    /// No key has that name.
    Unknown,
    /// Nobody takes the old key any more.
    Over,
    /// Another key took its place before, and was not revoked.
    Replaced {
        /// Which.
        successor: String,
    },
}

/// Gateway keys and who stands behind them, durably.
pub trait PrincipalStore: Send + Sync {
    /// The record of a key.
    fn find(&self, hash: KeyHash) -> Answer<'_, Option<KeyRecord>>;

    /// The record of a key by its public name.
    fn find_named(&self, key_id: String) -> Answer<'_, Option<KeyRecord>>;

    /// Adds a key.
    fn add(&self, record: KeyRecord) -> Answer<'_, ()>;

    /// Revokes a key. Durable when answered.
    fn revoke(&self, key_id: String, at: UnixMillis) -> Answer<'_, Revoked>;

    /// Adds `new` in the place of the key of a name, which is valid until `ends_at`; both in one step, durable when
    /// answered. Whether the old one is over, the moment at which the new one was made says.
    fn rotate(&self, key_id: String, new: KeyRecord, ends_at: UnixMillis) -> Answer<'_, Rotated>;

    /// All keys, oldest first.
    fn list(&self) -> Answer<'_, Vec<KeyRecord>>;
}

/// Generations of tags, durably. Who reads entries has them in memory; this is what a start begins with.
pub trait GenerationStore: Send + Sync {
    /// Gives a tag of an organization a generation that nothing has had before. Durable when answered.
    fn bump(&self, org: String, tag: Tag) -> Answer<'_, Generation>;

    /// The generation of every tag that was given one, oldest first; an organization's own covers those
    /// before it.
    fn all(&self) -> Answer<'_, Vec<(String, Tag, Generation)>>;
}
