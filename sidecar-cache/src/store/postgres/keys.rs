//! Gateway keys in Postgres, and of a key nothing but its hash. Of two sidecars that make the same, the database decides.

use std::sync::Arc;

use kt_contract::hex::Digest;
use kt_contract::principal::{KeyHash, Principal};
use kt_contract::time::UnixMillis;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use super::changes::next;
use super::database::{Database, Purpose, Typed, until_known};
use super::fault::Fault;
use crate::store::{Answer, KeyRecord, PrincipalStore, Revoked, Rotated};

const FIND: &str =
    "SELECT hash, principal, created_at, revoked_at, ends_at, successor FROM keys WHERE hash = $1";
const FIND_NAMED: &str = "SELECT hash, principal, created_at, revoked_at, ends_at, successor FROM keys WHERE key_id = $1";
const LIST: &str = "SELECT hash, principal, created_at, revoked_at, ends_at, successor FROM keys ORDER BY created_at, key_id";
const ADD: &str = "INSERT INTO keys
        (key_id, hash, principal, created_at, revoked_at, ends_at, successor, changed)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING RETURNING true";
/// Two that rotate one key wait for each other.
const LOCK: &str = "SELECT hash, principal, created_at, revoked_at, ends_at, successor FROM keys
    WHERE key_id = $1 FOR UPDATE";
const REPLACE: &str =
    "UPDATE keys SET ends_at = $2, successor = $3, changed = $4 WHERE key_id = $1";
/// The first moment stays: a second revocation changes nothing.
const REVOKE: &str = "UPDATE keys SET revoked_at = $2, changed = $3
    WHERE key_id = $1 AND revoked_at IS NULL";

/// The keys of one database.
#[derive(Debug)]
pub struct PostgresKeys {
    database: Arc<Database>,
}

// === impl PostgresKeys ===

impl PostgresKeys {
    /// Those of a database that has its tables.
    #[must_use]
    pub const fn over(database: Arc<Database>) -> Self {
        Self { database }
    }

    async fn one(&self, sql: &str, name: &[u8]) -> Result<Option<KeyRecord>, Fault> {
        let rows = self.database.ask(sql, &[(&name, Type::BYTEA)]).await?;
        rows.first().map(record).transpose()
    }

    async fn added(&self, new: &KeyRecord) -> Result<(), Fault> {
        let session = self.database.begin(Purpose::Write).await?;
        let added = add(session.client()?, new).await;
        if session.end(added).await? {
            return Ok(());
        }
        // It may have been us, with an answer that was lost.
        match self.one(FIND_NAMED, new.principal.key_id.as_bytes()).await? {
            Some(found) if found == *new => Ok(()),
            Some(_) | None => Err(Fault::Never("a key of this name or hash exists".to_owned())),
        }
    }

    async fn revoked(&self, key_id: &str, at: UnixMillis) -> Result<Revoked, Fault> {
        let Some(found) = self.one(FIND_NAMED, key_id.as_bytes()).await? else {
            return Ok(Revoked::Unknown);
        };
        if found.revoked_at.is_none() {
            let session = self.database.begin(Purpose::Write).await?;
            let revoked = revoke(session.client()?, key_id, at).await;
            session.end(revoked).await?;
        }
        Ok(Revoked::Done(found.hash))
    }

    async fn rotated(
        &self,
        key_id: &str,
        new: &KeyRecord,
        ends_at: UnixMillis,
    ) -> Result<Rotated, Fault> {
        let session = self.database.begin(Purpose::Write).await?;
        let rotated = rotate(session.client()?, key_id, new, ends_at).await;
        session.end(rotated).await
    }

    async fn listed(&self) -> Result<Vec<KeyRecord>, Fault> {
        self.database.ask(LIST, &[]).await?.iter().map(record).collect()
    }
}

impl PrincipalStore for PostgresKeys {
    fn find(&self, hash: KeyHash) -> Answer<'_, Option<KeyRecord>> {
        Box::pin(async move { Ok(until_known(Purpose::Read, || self.one(FIND, &hash.0.0)).await?) })
    }

    fn find_named(&self, key_id: String) -> Answer<'_, Option<KeyRecord>> {
        Box::pin(async move {
            let found = || self.one(FIND_NAMED, key_id.as_bytes());
            Ok(until_known(Purpose::Read, found).await?)
        })
    }

    fn add(&self, record: KeyRecord) -> Answer<'_, ()> {
        Box::pin(async move { Ok(until_known(Purpose::Write, || self.added(&record)).await?) })
    }

    fn revoke(&self, key_id: String, at: UnixMillis) -> Answer<'_, Revoked> {
        Box::pin(
            async move { Ok(until_known(Purpose::Write, || self.revoked(&key_id, at)).await?) },
        )
    }

    fn rotate(&self, key_id: String, new: KeyRecord, ends_at: UnixMillis) -> Answer<'_, Rotated> {
        Box::pin(async move {
            let rotated = || self.rotated(&key_id, &new, ends_at);
            Ok(until_known(Purpose::Write, rotated).await?)
        })
    }

    fn list(&self) -> Answer<'_, Vec<KeyRecord>> {
        Box::pin(async move { Ok(until_known(Purpose::Read, || self.listed()).await?) })
    }
}

/// Says whether it is new.
async fn add(client: &Client, record: &KeyRecord) -> Result<bool, Fault> {
    let principal =
        serde_json::to_vec(&record.principal).map_err(|error| Fault::Never(error.to_string()))?;
    let changed = next(client).await?;
    let successor = record.successor.as_ref().map(String::as_bytes);
    let typed: [Typed<'_>; 8] = [
        (&record.principal.key_id.as_bytes(), Type::BYTEA),
        (&&record.hash.0.0[..], Type::BYTEA),
        (&principal, Type::BYTEA),
        (&to_row(record.created_at), Type::INT8),
        (&record.revoked_at.map(to_row), Type::INT8),
        (&record.ends_at.map(to_row), Type::INT8),
        (&successor, Type::BYTEA),
        (&changed, Type::INT8),
    ];
    Ok(!client.query_typed(ADD, &typed).await?.is_empty())
}

async fn revoke(client: &Client, key_id: &str, at: UnixMillis) -> Result<(), Fault> {
    let changed = next(client).await?;
    let typed: [Typed<'_>; 3] =
        [(&key_id.as_bytes(), Type::BYTEA), (&to_row(at), Type::INT8), (&changed, Type::INT8)];
    client.query_typed(REVOKE, &typed).await?;
    Ok(())
}

async fn rotate(
    client: &Client,
    key_id: &str,
    new: &KeyRecord,
    ends_at: UnixMillis,
) -> Result<Rotated, Fault> {
    let name = key_id.as_bytes();
    let rows = client.query_typed(LOCK, &[(&name, Type::BYTEA)]).await?;
    let Some(old) = rows.first().map(record).transpose()? else { return Ok(Rotated::Unknown) };
    // It may have been us, with an answer that was lost: also where it ended at once.
    if old.successor.as_deref() == Some(new.principal.key_id.as_str()) {
        return Ok(Rotated::Done(old.hash));
    }
    if old.is_over(new.created_at) {
        return Ok(Rotated::Over);
    }
    if let Some(successor) = old.successor {
        let rows = client.query_typed(FIND_NAMED, &[(&successor.as_bytes(), Type::BYTEA)]).await?;
        let found = rows.first().map(record).transpose()?;
        if found.is_some_and(|found| found.revoked_at.is_none()) {
            return Ok(Rotated::Replaced { successor });
        }
    }
    if !add(client, new).await? {
        return Err(Fault::Never("a key of this name or hash exists".to_owned()));
    }
    let changed = next(client).await?;
    let typed: [Typed<'_>; 4] = [
        (&name, Type::BYTEA),
        (&to_row(ends_at), Type::INT8),
        (&new.principal.key_id.as_bytes(), Type::BYTEA),
        (&changed, Type::INT8),
    ];
    client.query_typed(REPLACE, &typed).await?;
    Ok(Rotated::Done(old.hash))
}

fn record(row: &Row) -> Result<KeyRecord, Fault> {
    let hash: &[u8] = row.try_get(0)?;
    let principal: Principal =
        serde_json::from_slice(row.try_get(1)?).map_err(|_| Fault::Corrupt("a key's principal"))?;
    Ok(KeyRecord {
        hash: KeyHash(Digest(hash.try_into().map_err(|_| Fault::Corrupt("a key's hash"))?)),
        principal,
        created_at: from_row(row.try_get(2)?),
        revoked_at: row.try_get::<_, Option<i64>>(3)?.map(from_row),
        ends_at: row.try_get::<_, Option<i64>>(4)?.map(from_row),
        successor: row.try_get::<_, Option<&[u8]>>(5)?.map(text).transpose()?,
    })
}

fn text(bytes: &[u8]) -> Result<String, Fault> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Fault::Corrupt("a key's successor"))
}

fn to_row(at: UnixMillis) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}

fn from_row(at: i64) -> UnixMillis {
    UnixMillis(u64::try_from(at).unwrap_or(0))
}
