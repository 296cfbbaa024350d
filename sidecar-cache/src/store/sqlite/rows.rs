//! The rows of the key store and the statements over them.

use kt_contract::hex::Digest;
use kt_contract::principal::{KeyHash, Principal};
use kt_contract::time::UnixMillis;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

use super::database::Schema;
use super::{KeyRecord, Revoked, Rotated, StoreError};

pub(super) const SCHEMA: Schema = Schema {
    file: "keys.db",
    make: "
    CREATE TABLE keys (
        key_id     TEXT PRIMARY KEY,
        hash       BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
        principal  TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        revoked_at INTEGER
    ) STRICT;
",
    version: 1,
    changes: &["
    ALTER TABLE keys ADD COLUMN ends_at INTEGER;
    ALTER TABLE keys ADD COLUMN successor TEXT;
"],
};

const COLUMNS: &str =
    "SELECT hash, principal, created_at, revoked_at, ends_at, successor FROM keys";

pub(super) fn find(
    connection: &Connection,
    hash: &KeyHash,
) -> Result<Option<KeyRecord>, StoreError> {
    let mut statement = connection.prepare_cached(&format!("{COLUMNS} WHERE hash = ?1"))?;
    statement.query_row([&hash.0.0[..]], columns).optional()?.map(record).transpose()
}

pub(super) fn find_named(
    connection: &Connection,
    key_id: &str,
) -> Result<Option<KeyRecord>, StoreError> {
    let mut statement = connection.prepare_cached(&format!("{COLUMNS} WHERE key_id = ?1"))?;
    statement.query_row([key_id], columns).optional()?.map(record).transpose()
}

pub(super) fn add(connection: &Connection, record: &KeyRecord) -> Result<(), StoreError> {
    let principal = serde_json::to_string(&record.principal)
        .map_err(|error| StoreError::Permanent(error.to_string()))?;
    connection.execute(
        "INSERT INTO keys (key_id, hash, principal, created_at, revoked_at, ends_at, successor)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            record.principal.key_id,
            &record.hash.0.0[..],
            principal,
            to_row(record.created_at),
            record.revoked_at.map(to_row),
            record.ends_at.map(to_row),
            record.successor,
        ],
    )?;
    Ok(())
}

/// The first moment stays: a second revocation changes nothing.
pub(super) fn revoke(
    connection: &Connection,
    key_id: &str,
    at: UnixMillis,
) -> Result<Revoked, StoreError> {
    connection.execute(
        "UPDATE keys SET revoked_at = ?2 WHERE key_id = ?1 AND revoked_at IS NULL",
        params![key_id, to_row(at)],
    )?;
    Ok(match find_named(connection, key_id)? {
        Some(record) => Revoked::Done(record.hash),
        None => Revoked::Unknown,
    })
}

/// Old and new in one transaction: nobody finds the one without the other.
pub(super) fn rotate(
    connection: &mut Connection,
    key_id: &str,
    new: &KeyRecord,
    ends_at: UnixMillis,
) -> Result<Rotated, StoreError> {
    let step = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let Some(old) = find_named(&step, key_id)? else { return Ok(Rotated::Unknown) };
    if old.is_over(new.created_at) {
        return Ok(Rotated::Over);
    }
    if let Some(successor) = old.successor {
        let is_taken = find_named(&step, &successor)?.is_some_and(|it| it.revoked_at.is_none());
        if is_taken {
            return Ok(Rotated::Replaced { successor });
        }
    }
    add(&step, new)?;
    step.execute(
        "UPDATE keys SET ends_at = ?2, successor = ?3 WHERE key_id = ?1",
        params![key_id, to_row(ends_at), new.principal.key_id],
    )?;
    step.commit()?;
    Ok(Rotated::Done(old.hash))
}

pub(super) fn list(connection: &Connection) -> Result<Vec<KeyRecord>, StoreError> {
    let mut statement =
        connection.prepare_cached(&format!("{COLUMNS} ORDER BY created_at, key_id"))?;
    let rows = statement.query_map([], columns)?.collect::<Result<Vec<_>, _>>()?;
    rows.into_iter().map(record).collect()
}

type Columns = (Vec<u8>, String, i64, Option<i64>, Option<i64>, Option<String>);

fn columns(row: &Row<'_>) -> rusqlite::Result<Columns> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
}

fn record(columns: Columns) -> Result<KeyRecord, StoreError> {
    let (hash, principal, created_at, revoked_at, ends_at, successor) = columns;
    let hash = hash.try_into().map_err(|_| StoreError::Corrupt("a key's hash"))?;
    let principal: Principal =
        serde_json::from_str(&principal).map_err(|_| StoreError::Corrupt("a key's principal"))?;
    Ok(KeyRecord {
        hash: KeyHash(Digest(hash)),
        principal,
        created_at: from_row(created_at),
        revoked_at: revoked_at.map(from_row),
        ends_at: ends_at.map(from_row),
        successor,
    })
}

fn to_row(at: UnixMillis) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}

fn from_row(at: i64) -> UnixMillis {
    UnixMillis(u64::try_from(at).unwrap_or(0))
}
