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
use crate::store::{Answer, KeyRecord, PrincipalStore, Revoked};

const FIND: &str = "SELECT hash, principal, created_at, revoked_at FROM keys WHERE hash = $1";
const FIND_NAMED: &str =
    "SELECT hash, principal, created_at, revoked_at FROM keys WHERE key_id = $1";
const LIST: &str =
    "SELECT hash, principal, created_at, revoked_at FROM keys ORDER BY created_at, key_id";
const ADD: &str = "INSERT INTO keys (key_id, hash, principal, created_at, revoked_at, changed)
    VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING RETURNING true";
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

    fn list(&self) -> Answer<'_, Vec<KeyRecord>> {
        Box::pin(async move { Ok(until_known(Purpose::Read, || self.listed()).await?) })
    }
}

/// Says whether it is new.
async fn add(client: &Client, record: &KeyRecord) -> Result<bool, Fault> {
    let principal =
        serde_json::to_vec(&record.principal).map_err(|error| Fault::Never(error.to_string()))?;
    let changed = next(client).await?;
    let typed: [Typed<'_>; 6] = [
        (&record.principal.key_id.as_bytes(), Type::BYTEA),
        (&&record.hash.0.0[..], Type::BYTEA),
        (&principal, Type::BYTEA),
        (&to_row(record.created_at), Type::INT8),
        (&record.revoked_at.map(to_row), Type::INT8),
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

fn record(row: &Row) -> Result<KeyRecord, Fault> {
    let hash: &[u8] = row.try_get(0)?;
    let principal: Principal =
        serde_json::from_slice(row.try_get(1)?).map_err(|_| Fault::Corrupt("a key's principal"))?;
    Ok(KeyRecord {
        hash: KeyHash(Digest(hash.try_into().map_err(|_| Fault::Corrupt("a key's hash"))?)),
        principal,
        created_at: from_row(row.try_get(2)?),
        revoked_at: row.try_get::<_, Option<i64>>(3)?.map(from_row),
    })
}

fn to_row(at: UnixMillis) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}

fn from_row(at: i64) -> UnixMillis {
    UnixMillis(u64::try_from(at).unwrap_or(0))
}
