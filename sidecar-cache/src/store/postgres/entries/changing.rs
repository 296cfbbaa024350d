//! What is done to entries: each in a transaction of its own, under the locks of the organizations whose entries change.

use std::sync::atomic::Ordering;

use kt_contract::key::CacheKey;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use super::statements::Statements;
use super::{CORRUPT, LIFETIME_MAX, PostgresEntries, name, number};
use crate::store::NewEntry;
use crate::store::postgres::database::{Session, Typed};
use crate::store::postgres::fault::Fault;

/// How many portions one fill removes to make room; the next one goes on.
const EVICTIONS_MAX: usize = 40;

/// What is changed in one transaction.
#[derive(Clone, Copy)]
pub(super) enum Change<'a> {
    Fill(&'a NewEntry),
    Purge { key: CacheKey, seen: Option<&'a [u8]> },
    PurgeSome { org: &'a str, newest: i64 },
    Sweep,
}

/// What has come of it.
struct Changed {
    /// Of each organization what it now holds, and how many entries have come or gone.
    rows: Vec<Row>,
    /// How many went to make room.
    evicted: u64,
}

// === impl PostgresEntries ===

impl PostgresEntries {
    /// Changes something, and hears what is then held. Says how many entries have come or gone.
    pub(super) async fn change(&self, begin: &str, change: Change<'_>) -> Result<u64, Fault> {
        let _permit = self.shared.writers.acquire().await.map_err(|_| CORRUPT)?;
        let session = self.shared.database.session().await?;
        session.client()?.batch_execute(begin).await?;
        let changed = self.changed(&session, change).await;
        let Changed { rows, evicted } = session.end(changed).await?;
        self.shared.evicted.fetch_add(evicted, Ordering::Relaxed);
        let mut count = 0_u64;
        for row in &rows {
            self.hears(name(row, 0)?, number(row, 1)?, number(row, 2)?);
            count = count.saturating_add(number(row, 3)?);
        }
        match change {
            Change::Sweep => _ = self.shared.expired.fetch_add(count, Ordering::Relaxed),
            Change::Fill(_) | Change::Purge { .. } | Change::PurgeSome { .. } => {}
        }
        Ok(count)
    }

    async fn changed(&self, session: &Session, change: Change<'_>) -> Result<Changed, Fault> {
        let client = session.client()?;
        let rows = match change {
            Change::Fill(entry) => return self.put(client, entry).await,
            Change::Purge { key, seen } => self.remove(client, key, seen).await?,
            Change::PurgeSome { org, newest } => {
                self.lock(client, org.as_bytes()).await?;
                let typed: [Typed<'_>; 2] = [(&org.as_bytes(), Type::BYTEA), (&newest, Type::INT8)];
                client.query_typed(&self.statements().remove_up_to, &typed).await?
            }
            Change::Sweep => self.remove_expired(client).await?,
        };
        Ok(Changed { rows, evicted: 0 })
    }

    async fn put(&self, client: &Client, entry: &NewEntry) -> Result<Changed, Fault> {
        let NewEntry { at, org, bytes, lifetime } = entry;
        let fresh = to_row(lifetime.fresh.0.min(LIFETIME_MAX));
        let stale = to_row(lifetime.stale.0.min(LIFETIME_MAX));
        let max = to_row(self.shared.org_bytes_max.load(Ordering::Relaxed));
        self.lock(client, org.as_bytes()).await?;
        let nothing: Option<&[u8]> = None;
        let key = &at.key.0.0[..];
        let typed: [Typed<'_>; 2] = [(&key, Type::BYTEA), (&nothing, Type::BYTEA)];
        let removed = client.query_typed(&self.statements().remove, &typed).await?;
        let length = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        if fresh.saturating_add(stale) == 0 || length > max {
            // What was there is older.
            return Ok(Changed { rows: removed, evicted: 0 });
        }
        let typed: [Typed<'_>; 6] = [
            (&key, Type::BYTEA),
            (&&at.request.0[..], Type::BYTEA),
            (&org.as_bytes(), Type::BYTEA),
            (&fresh, Type::INT8),
            (&stale, Type::INT8),
            (&&bytes[..], Type::BYTEA),
        ];
        let mut rows = client.query_typed(&self.statements().put, &typed).await?;
        let mut held: i64 = rows.first().ok_or(CORRUPT)?.try_get(2)?;
        let mut evicted = 0_u64;
        for _ in 0..EVICTIONS_MAX {
            if held <= max {
                break;
            }
            let excess = held.saturating_sub(max);
            let typed: [Typed<'_>; 3] =
                [(&org.as_bytes(), Type::BYTEA), (&excess, Type::INT8), (&key, Type::BYTEA)];
            rows = client.query_typed(&self.statements().evict, &typed).await?;
            if rows.is_empty() {
                // It has nothing that could go, so the count is of entries that somebody else has removed.
                let recount = &self.statements().recount;
                rows = client.query_typed(recount, &[(&org.as_bytes(), Type::BYTEA)]).await?;
            }
            let row = rows.first().ok_or(CORRUPT)?;
            held = row.try_get(2)?;
            evicted = evicted.saturating_add(number(row, 3)?);
        }
        Ok(Changed { rows, evicted })
    }

    async fn remove(
        &self,
        client: &Client,
        key: CacheKey,
        seen: Option<&[u8]>,
    ) -> Result<Vec<Row>, Fault> {
        let key = &key.0.0[..];
        let owner = client.query_typed(&self.statements().owner, &[(&key, Type::BYTEA)]).await?;
        let Some(owner) = owner.first() else { return Ok(Vec::new()) };
        self.lock(client, owner.try_get(0)?).await?;
        let typed: [Typed<'_>; 2] = [(&key, Type::BYTEA), (&seen, Type::BYTEA)];
        Ok(client.query_typed(&self.statements().remove, &typed).await?)
    }

    async fn remove_expired(&self, client: &Client) -> Result<Vec<Row>, Fault> {
        let column = |rows: &[Row], column| -> Result<Vec<Vec<u8>>, Fault> {
            rows.iter().map(|row| Ok(row.try_get(column)?)).collect()
        };
        let Statements { due, lock_some, remove_expired, .. } = self.statements();
        let due = client.query_typed(due, &[]).await?;
        let mut orgs = column(&due, 1)?;
        orgs.sort_unstable();
        orgs.dedup();
        let locked = client.query_typed(lock_some, &[(&orgs, Type::BYTEA_ARRAY)]).await?;
        let locked = column(&locked, 0)?;
        let keys = column(&due, 0)?.into_iter().zip(column(&due, 1)?);
        let keys: Vec<_> =
            keys.filter_map(|(key, org)| locked.contains(&org).then_some(key)).collect();
        Ok(client.query_typed(remove_expired, &[(&keys, Type::BYTEA_ARRAY)]).await?)
    }

    /// Locks what an organization holds until the transaction ends.
    async fn lock(&self, client: &Client, org: &[u8]) -> Result<(), Fault> {
        client.query_typed(&self.statements().lock, &[(&org, Type::BYTEA)]).await?;
        Ok(())
    }
}

fn to_row(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
