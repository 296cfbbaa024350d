//! Entries in Postgres, for those who want them to outlive every process. Who looks one up has a small budget, as with
//! a Redis: a database that is slow or away costs a miss. It decides by its own clock what has expired.
//!
//! What differs from a store in memory: there is no bound on all entries but the disk, of an organization's entries
//! those go first that were filled first, and what is held is what was last heard, here, of each organization.

mod asking;
mod changing;
mod statements;
mod table;
mod watch;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use kt_contract::hex::Digest;
use kt_contract::key::CacheKey;
use kt_contract::time::Millis;
use tokio::sync::Semaphore;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::database::{Database, Typed};
use super::fault::Fault;
use crate::store::health::Health;
use crate::store::{
    Address, Answer, Bounds, EntryStore, Found, Held, Lookup, NewEntry, OrgHeld, StoreError,
};
use changing::Change;
use statements::{BEGIN_FILL, BEGIN_PURGE, PORTION, Statements};
pub use table::{Made, Table};
use watch::Watch;

const CORRUPT: Fault = Fault::Corrupt("an entry");

/// Somebody waits for it, whom a miss would serve as well.
const READ: Duration = Duration::from_millis(150);
/// Nobody waits for it but the flight's task; an entry may be large.
const WRITE: Duration = Duration::from_millis(1_000);
/// How many may change something at once: who looks up finds a connection all the same.
const WRITERS_MAX: usize = 4;
/// No entry lives longer than ten years.
const LIFETIME_MAX: u64 = 10 * 365 * 86_400_000;
/// How many portions of what has expired go at a time.
const SWEEPS_MAX: usize = 20;

/// The backend `postgres`. Clones share what they have heard.
#[derive(Clone)]
pub struct PostgresEntries {
    shared: Arc<Shared>,
}

struct Shared {
    database: Database,
    statements: Statements,
    watch: Watch,
    read: Duration,
    write: Duration,
    writers: Semaphore,
    org_bytes_max: AtomicU64,
    evicted: AtomicU64,
    expired: AtomicU64,
    /// What each organization holds, as last heard.
    heard: Mutex<BTreeMap<String, (u64, u64)>>,
}

// === impl PostgresEntries ===

impl PostgresEntries {
    /// The entries in a table. Of the bounds, that on an organization holds.
    #[must_use]
    pub fn over(database: Database, table: &Table, bounds: Bounds) -> Self {
        Self::over_within(database, table, bounds, READ)
    }

    /// The same, with another budget for who looks up, and at least that for who changes something.
    #[must_use]
    pub fn over_within(database: Database, table: &Table, bounds: Bounds, read: Duration) -> Self {
        let write = read.max(WRITE);
        let shared = Shared {
            database,
            statements: Statements::about(table, read),
            read,
            write,
            watch: Watch::default(),
            writers: Semaphore::new(WRITERS_MAX),
            org_bytes_max: AtomicU64::new(bounds.org_bytes_max),
            evicted: AtomicU64::new(0),
            expired: AtomicU64::new(0),
            heard: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Asks whether the database is there. Whoever does it every second knows within two that it is not, and that it
    /// is again, whether or not anybody wants something of it.
    ///
    /// # Errors
    /// [`StoreError`] where it does not answer.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.within(self.shared.read, || self.read("SELECT 1", &[])).await.map(drop)
    }

    /// Asks what every organization holds, those included that this process has not heard of.
    ///
    /// # Errors
    /// [`StoreError`] where the database does not say.
    pub async fn measure(&self) -> Result<(), StoreError> {
        let rows =
            self.within(self.shared.write, || self.read(&self.statements().held, &[])).await?;
        let held: Result<BTreeMap<_, _>, Fault> = rows
            .iter()
            .map(|row| Ok((name(row, 0)?, (number(row, 1)?, number(row, 2)?))))
            .collect();
        *self.heard() = held?;
        Ok(())
    }

    /// Removes what has expired, as much as is due for one turn, and says how many that were. What another sidecar is
    /// at is left to it.
    ///
    /// # Errors
    /// [`StoreError`] where the database does not do it.
    pub async fn sweep(&self) -> Result<u64, StoreError> {
        let mut swept = 0_u64;
        for _ in 0..SWEEPS_MAX {
            let portion =
                self.within(self.shared.write, || self.change(BEGIN_FILL, Change::Sweep)).await?;
            swept = swept.saturating_add(portion);
            if portion < PORTION.unsigned_abs() {
                break;
            }
        }
        Ok(swept)
    }

    fn statements(&self) -> &Statements {
        &self.shared.statements
    }

    async fn find(&self, at: Address) -> Result<Lookup, Fault> {
        let typed: [Typed<'_>; 1] = [(&&at.key.0.0[..], Type::BYTEA)];
        let rows = self.read(&self.statements().lookup, &typed).await?;
        let Some(row) = rows.first() else { return Ok(Lookup::Absent) };
        let Some(bytes) = row.try_get::<_, Option<Vec<u8>>>(0)? else {
            return Ok(Lookup::Expired);
        };
        let fresh: i64 = row.try_get(2)?;
        let millis = |number: i64| Millis(u64::try_from(number).unwrap_or(0));
        Ok(Lookup::Found(Found {
            bytes: bytes.into(),
            age: millis(row.try_get(1)?),
            fresh: millis(fresh),
            stale: millis(fresh.saturating_neg()),
        }))
    }

    async fn nearest(&self, request: Digest, count: usize) -> Result<Vec<Bytes>, Fault> {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let typed: [Typed<'_>; 2] = [(&&request.0[..], Type::BYTEA), (&count, Type::INT8)];
        let rows = self.read(&self.statements().near, &typed).await?;
        rows.iter().map(|row| Ok(row.try_get::<_, Vec<u8>>(0)?.into())).collect()
    }

    async fn purge_all(&self, org: &str) -> Result<u64, StoreError> {
        // What is filled meanwhile is not meant.
        let org_row = org.as_bytes();
        let newest = || async {
            let typed: [Typed<'_>; 1] = [(&org_row, Type::BYTEA)];
            let rows = self.read(&self.statements().newest, &typed).await?;
            Ok(rows.first().ok_or(CORRUPT)?.try_get::<_, Option<i64>>(0)?)
        };
        let Some(newest) = self.within(self.shared.write, newest).await? else { return Ok(0) };
        let mut purged = 0_u64;
        loop {
            let some = Change::PurgeSome { org, newest };
            let portion = self.within(self.shared.write, || self.change(BEGIN_PURGE, some)).await?;
            purged = purged.saturating_add(portion);
            if portion < PORTION.unsigned_abs() {
                return Ok(purged);
            }
        }
    }

    fn hears(&self, org: String, entries: u64, bytes: u64) {
        let mut heard = self.heard();
        if entries == 0 {
            heard.remove(&org);
        } else {
            heard.insert(org, (entries, bytes));
        }
    }

    fn heard(&self) -> MutexGuard<'_, BTreeMap<String, (u64, u64)>> {
        self.shared.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for PostgresEntries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PostgresEntries").field(&self.shared.database).finish()
    }
}

impl EntryStore for PostgresEntries {
    fn lookup(&self, at: Address) -> Answer<'_, Lookup> {
        Box::pin(self.within(self.shared.read, move || self.find(at)))
    }

    fn peek(&self, at: Address) -> Answer<'_, Lookup> {
        self.lookup(at)
    }

    fn fill(&self, entry: NewEntry) -> Answer<'_, ()> {
        Box::pin(async move {
            self.within(self.shared.write, || self.change(BEGIN_FILL, Change::Fill(&entry)))
                .await
                .map(drop)
        })
    }

    fn purge(&self, key: CacheKey, seen: Option<Bytes>) -> Answer<'_, bool> {
        Box::pin(async move {
            let one = Change::Purge { key, seen: seen.as_deref() };
            Ok(self.within(self.shared.write, || self.change(BEGIN_PURGE, one)).await? > 0)
        })
    }

    fn purge_org(&self, org: String) -> Answer<'_, u64> {
        Box::pin(async move { self.purge_all(&org).await })
    }

    fn near(&self, request: Digest, count: usize) -> Answer<'_, Vec<Bytes>> {
        Box::pin(self.within(self.shared.read, move || self.nearest(request, count)))
    }

    fn bound(&self, bounds: Bounds) -> Answer<'_, ()> {
        // What an organization holds beyond it goes with its next fill.
        self.shared.org_bytes_max.store(bounds.org_bytes_max, Ordering::Relaxed);
        Box::pin(async { Ok(()) })
    }

    fn held(&self) -> Held {
        let (entries, bytes) = self.heard().values().fold((0_u64, 0_u64), |sum, held| {
            (sum.0.saturating_add(held.0), sum.1.saturating_add(held.1))
        });
        let evicted = self.shared.evicted.load(Ordering::Relaxed);
        let expired = self.shared.expired.load(Ordering::Relaxed);
        Held { entries, bytes, evicted, expired }
    }

    fn held_by_org(&self) -> Vec<OrgHeld> {
        let heard = self.heard();
        let held = heard.iter();
        held.map(|(org, (entries, bytes))| OrgHeld {
            org: org.clone(),
            entries: *entries,
            bytes: *bytes,
        })
        .collect()
    }

    fn health(&self) -> Option<Health> {
        let Shared { database, watch, .. } = &*self.shared;
        let now = database.clock().mono();
        Some(watch.health(database.to_string(), database.connections(), now))
    }
}

fn name(row: &Row, column: usize) -> Result<String, Fault> {
    let name = std::str::from_utf8(row.try_get(column)?).map_err(|_| CORRUPT)?;
    Ok(name.to_owned())
}

fn number(row: &Row, column: usize) -> Result<u64, Fault> {
    u64::try_from(row.try_get::<_, i64>(column)?).map_err(|_| CORRUPT)
}
