//! The versions of the configuration in SQLite.

use std::path::Path;

use kt_contract::time::UnixMillis;
use kt_contract::wire::admin::versions::Source;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

use super::database::{Database, Schema};
use crate::store::versions::{VERSIONS_MAX, Version, VersionStore};
use crate::store::{Answer, StoreError};

/// A number is never given again: whoever has noted one must not find another version under it.
const SCHEMA: Schema = Schema {
    file: "versions.db",
    make: "
    CREATE TABLE versions (
        number   INTEGER PRIMARY KEY AUTOINCREMENT,
        digest   TEXT,
        snapshot TEXT,
        text     TEXT,
        at       INTEGER NOT NULL,
        source   TEXT NOT NULL,
        by       TEXT,
        errors   TEXT NOT NULL
    ) STRICT;
",
    version: 1,
    changes: &[],
};

/// What one that was live has in the place of errors.
const NO_ERRORS: &str = "[]";

/// The versions of one data directory.
#[derive(Debug)]
pub struct SqliteVersions {
    database: Database,
}

// === impl SqliteVersions ===

impl SqliteVersions {
    /// Opens or makes `versions.db` in `folder`.
    ///
    /// # Errors
    /// Where the folder or the file cannot be made or opened, or holds something of a newer version.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        Ok(Self { database: Database::open(folder, SCHEMA)? })
    }
}

impl VersionStore for SqliteVersions {
    fn add(&self, version: Version) -> Answer<'_, u64> {
        self.database.ask(move |connection| add(connection, &version))
    }

    fn list(&self) -> Answer<'_, Vec<(u64, Version)>> {
        self.database.ask(|connection| list(connection))
    }

    fn text(&self, number: u64) -> Answer<'_, Option<String>> {
        self.database.ask(move |connection| {
            let number = i64::try_from(number).unwrap_or(i64::MAX);
            let mut statement =
                connection.prepare_cached("SELECT text FROM versions WHERE number = ?1")?;
            let found: Option<Option<String>> =
                statement.query_row([number], |row| row.get(0)).optional()?;
            Ok(found.flatten())
        })
    }
}

fn add(connection: &mut Connection, version: &Version) -> Result<u64, StoreError> {
    let errors = serde_json::to_string(&version.errors)
        .map_err(|error| StoreError::Permanent(error.to_string()))?;
    let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    change.execute(
        "INSERT INTO versions (digest, snapshot, text, at, source, by, errors)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            version.digest,
            version.snapshot,
            version.text,
            i64::try_from(version.at.0).unwrap_or(i64::MAX),
            version.source.as_str(),
            version.by,
            errors,
        ],
    )?;
    let number = change.last_insert_rowid();
    change.execute(
        "DELETE FROM versions WHERE (errors = ?1) = ?2 AND number NOT IN (
             SELECT number FROM versions WHERE (errors = ?1) = ?2 ORDER BY number DESC LIMIT ?3)",
        params![NO_ERRORS, version.was_live(), i64::try_from(VERSIONS_MAX).unwrap_or(i64::MAX)],
    )?;
    change.commit()?;
    u64::try_from(number).map_err(|_| CORRUPT)
}

fn list(connection: &Connection) -> Result<Vec<(u64, Version)>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT number, digest, snapshot, at, source, by, errors FROM versions ORDER BY number DESC",
    )?;
    let rows = statement.query_map([], columns)?.collect::<Result<Vec<_>, _>>()?;
    rows.into_iter().map(version).collect()
}

type Columns = (i64, Option<String>, Option<String>, i64, String, Option<String>, String);

fn columns(row: &Row<'_>) -> rusqlite::Result<Columns> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?))
}

fn version(columns: Columns) -> Result<(u64, Version), StoreError> {
    let (number, digest, snapshot, at, source, by, errors) = columns;
    let version = Version {
        digest,
        snapshot,
        text: None,
        at: UnixMillis(u64::try_from(at).map_err(|_| CORRUPT)?),
        source: Source::ALL.into_iter().find(|it| it.as_str() == source).ok_or(CORRUPT)?,
        by,
        errors: serde_json::from_str(&errors).map_err(|_| CORRUPT)?,
    };
    Ok((u64::try_from(number).map_err(|_| CORRUPT)?, version))
}

const CORRUPT: StoreError = StoreError::Corrupt("a version of the configuration");
