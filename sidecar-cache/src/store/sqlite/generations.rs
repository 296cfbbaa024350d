//! Generations in SQLite: one row per tag, and the last number that was given. A number is on disk before it
//! is answered, so that an invalidation that was acknowledged holds whatever happens next.

use std::path::Path;

use rusqlite::{Connection, params};

use super::database::{Database, Schema};
use crate::generation::{Generation, Tag};
use crate::store::{Answer, GenerationStore, StoreError};

const SCHEMA: Schema = Schema {
    file: "generations.db",
    make: "
    CREATE TABLE generations (
        org        TEXT NOT NULL,
        kind       TEXT NOT NULL,
        name       BLOB NOT NULL,
        generation INTEGER NOT NULL UNIQUE,
        PRIMARY KEY (org, kind, name)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE given (
        only INTEGER PRIMARY KEY CHECK (only = 1),
        last INTEGER NOT NULL
    ) STRICT;
    INSERT INTO given (only, last) VALUES (1, 0);
",
    version: 1,
    changes: &[],
};

/// The generations of one data directory.
#[derive(Debug)]
pub struct SqliteGenerations {
    database: Database,
}

// === impl SqliteGenerations ===

impl SqliteGenerations {
    /// Opens or makes `generations.db` in `folder`.
    ///
    /// # Errors
    /// Where the folder or the file cannot be made or opened, or holds something of a newer version.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        Ok(Self { database: Database::open(folder, SCHEMA)? })
    }
}

impl GenerationStore for SqliteGenerations {
    fn bump(&self, org: String, tag: Tag) -> Answer<'_, Generation> {
        self.database.ask(move |connection| bump(connection, &org, &tag))
    }

    fn all(&self) -> Answer<'_, Vec<(String, Tag, Generation)>> {
        self.database.ask(|connection| all(connection))
    }
}

fn bump(connection: &mut Connection, org: &str, tag: &Tag) -> Result<Generation, StoreError> {
    let change = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let number: i64 =
        change
            .query_row("UPDATE given SET last = last + 1 RETURNING last", [], |row| row.get(0))?;
    if *tag == Tag::Org {
        // It covers them; see `Table::set`.
        change.execute("DELETE FROM generations WHERE org = ?1", [org])?;
    }
    change.execute(
        "INSERT INTO generations (org, kind, name, generation) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (org, kind, name) DO UPDATE SET generation = excluded.generation",
        params![org, tag.kind(), tag.name(), number],
    )?;
    change.commit()?;
    u64::try_from(number).map(Generation).map_err(|_| CORRUPT)
}

fn all(connection: &Connection) -> Result<Vec<(String, Tag, Generation)>, StoreError> {
    // In the order in which they were given: an organization's forgets the narrower ones before it.
    let mut statement = connection
        .prepare("SELECT org, kind, name, generation FROM generations ORDER BY generation")?;
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
        .collect::<Result<Vec<(String, String, Vec<u8>, i64)>, _>>()?;
    rows.into_iter()
        .map(|(org, kind, name, number)| {
            let tag = Tag::of(&kind, &name).ok_or(CORRUPT)?;
            let number = u64::try_from(number).map_err(|_| CORRUPT)?;
            Ok((org, tag, Generation(number)))
        })
        .collect()
}

const CORRUPT: StoreError = StoreError::Corrupt("a generation");
