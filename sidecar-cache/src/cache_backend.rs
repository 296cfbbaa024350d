//! Where entries are, as the configuration has it: in memory, or in a Redis or a Postgres with memory in front. From an
//! address to stores that can be used.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior};

use crate::clock::Clock;
use crate::entry::Entry;
use crate::service::Shared;
use crate::store::layered::{Layered, LayeredLeases};
use crate::store::memory::MemoryEntries;
use crate::store::postgres::entries::Table;
use crate::store::postgres::{Database, PostgresEntries};
use crate::store::rates::RememberedRefusals;
use crate::store::redis::{
    Noted, Redis, RedisEntries, RedisLeases, RedisLogs, RedisRates, Servers, Unchecked,
};
use crate::store::{Bounds, EntryStore, StoreError};

/// How often a store is asked whether it is there.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Every so many of these times a Postgres is asked how much it holds, and a Redis how it is set up.
const LOOKS_PER_MEASURE: u32 = 10;

/// Where entries are to be.
#[derive(Debug)]
pub enum Place {
    /// In the memory of this process.
    Memory,
    /// In a Redis.
    Redis {
        /// Where it is.
        servers: Servers,
        /// What its keys begin with.
        prefix: String,
        /// How many bytes an organization may have there.
        org_bytes_max: u64,
    },
    /// In a Postgres.
    Postgres {
        /// Where it is.
        database: Database,
        /// In which of its tables.
        table: Table,
        /// How many bytes an organization may have there.
        org_bytes_max: u64,
    },
}

/// Stores, opened.
pub struct Backend {
    /// The entries.
    pub entries: Arc<dyn EntryStore>,
    /// Where several sidecars share the entries: what they can share flights through. What is filled by a lease
    /// is found by `entries` at once.
    pub shared: Option<Shared>,
    /// What looks after a store that is somewhere else, for as long as it is polled.
    pub keeper: Option<Keeper>,
}

/// Looks after a store that is somewhere else.
pub struct Keeper(Kept);

enum Kept {
    Redis(RedisKeeper),
    Postgres(PostgresEntries),
}

/// Looks after a Redis.
struct RedisKeeper {
    redis: Redis,
    entries: RedisEntries,
    /// Whether it was looked at since it came.
    is_known: bool,
}

/// Opens the stores. A Redis that is away is no reason not to: the cache is no condition for serving. The entries of a
/// Postgres are in the database of keys and generations, without which nobody is served.
///
/// # Errors
/// A prefix that is none; a Redis that is there and will not do, with what to do; a Postgres without the table.
pub async fn open(place: Place, bounds: Bounds, clock: Clock) -> Result<Backend, StoreError> {
    let (redis, org_bytes_max) = match place {
        Place::Memory => {
            let entries = Arc::new(MemoryEntries::new(clock, bounds));
            return Ok(Backend { entries, shared: None, keeper: None });
        }
        Place::Postgres { database, table, org_bytes_max } => {
            table.check(&database).await?;
            let bounds_there = Bounds { org_bytes_max, ..bounds };
            let entries = PostgresEntries::over(database, &table, bounds_there);
            // What is held is for people: without an answer it is what is heard of from now on.
            drop(entries.measure().await);
            let keeper = Some(Keeper(Kept::Postgres(entries.clone())));
            let layered = Layered::new(clock, bounds, Arc::new(entries), Entry::whose)
                .with_shared_bound(org_bytes_max);
            // There are no leases: every sidecar leads its own flights.
            return Ok(Backend { entries: Arc::new(layered), shared: None, keeper });
        }
        Place::Redis { servers, prefix, org_bytes_max } => {
            (Redis::new(servers, &prefix, clock)?, org_bytes_max)
        }
    };
    let entries = RedisEntries::new(redis.clone(), Bounds { org_bytes_max, ..bounds });
    let mut keeper =
        RedisKeeper { redis: redis.clone(), entries: entries.clone(), is_known: false };
    match keeper.look_whole().await {
        // The second time in a row: it has told so itself.
        Err(Unchecked::Away(_)) => drop(redis.ping().await),
        Err(Unchecked::Unfit(why)) => {
            return Err(StoreError::Permanent(format!("{}: {why}", redis.place())));
        }
        Ok(()) => keeper.is_known = true,
    }
    let leases = RedisLeases::new(redis.clone(), entries.clone());
    let layered = Layered::new(clock, bounds, Arc::new(entries), Entry::whose)
        .with_shared_bound(org_bytes_max);
    let layered = Arc::new(layered);
    let leases = LayeredLeases::new(Arc::clone(&layered), leases);
    let rates = Arc::new(RememberedRefusals::new(RedisRates::new(redis.clone()), clock));
    let logs = Arc::new(RedisLogs::new(redis));
    let shared = Shared { leases: Arc::new(leases), logs, rates };
    let keeper = Some(Keeper(Kept::Redis(keeper)));
    Ok(Backend { entries: layered, shared: Some(shared), keeper })
}

// === impl Keeper ===

impl Keeper {
    /// Looks every second whether it is there, and what it is when it comes back: it may be another one. Removes what
    /// has expired, where that is left to us.
    pub async fn keep(self) {
        match self.0 {
            Kept::Redis(redis) => redis.keep().await,
            Kept::Postgres(entries) => keep_postgres(entries).await,
        }
    }
}

async fn keep_postgres(entries: PostgresEntries) {
    let mut looks = looks();
    for look in (0..LOOKS_PER_MEASURE).cycle() {
        looks.tick().await;
        // What went wrong is counted and told already, and comes up again with the next look.
        if entries.ping().await.is_ok() {
            drop(entries.sweep().await);
            if look == 0 {
                drop(entries.measure().await);
            }
        }
    }
}

fn looks() -> Interval {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    looks
}

// === impl RedisKeeper ===

impl RedisKeeper {
    async fn keep(mut self) {
        let mut looks = looks();
        for look in (0..LOOKS_PER_MEASURE).cycle() {
            looks.tick().await;
            let is_there = self.redis.ping().await.is_ok();
            if is_there && self.is_known && look == 0 {
                // Its owner may have set it up otherwise since; what it is now, its health says.
                drop(self.redis.check().await);
                drop(self.entries.name_again().await);
            }
            if is_there && !self.is_known {
                self.is_known = match self.look_whole().await {
                    Ok(()) => true,
                    Err(Unchecked::Unfit(why)) => {
                        let place = self.redis.place();
                        tracing::error!(place, why, "the shared store is back, and will not do");
                        true
                    }
                    Err(Unchecked::Away(_)) => false,
                };
            }
            self.is_known &= self.redis.health().away.is_none();
        }
    }

    /// What it is, and how much it holds.
    async fn look_whole(&self) -> Result<(), Unchecked> {
        let noted = self.redis.check().await?;
        let (place, advice) = (self.redis.place(), noted.advice());
        let Noted { version, memory_max, policy } = noted;
        tracing::info!(place, version, memory_max, policy, "the shared store");
        if let Some(advice) = advice {
            tracing::warn!(place, advice, "the shared store could be set up better");
        }
        // What is held is for people: without an answer it is what is heard of from now on.
        drop(self.entries.measure().await);
        Ok(())
    }
}
