//! What must not get lost, in SQLite. Gateway keys here, and of a key nothing but its hash; each other thing in
//! a file of its own.

mod audit_log;
mod database;
mod generations;
pub mod ledger;
mod replies;
mod rows;
mod spool;
mod versions;

use std::path::Path;

use kt_contract::principal::KeyHash;
use kt_contract::time::UnixMillis;

use super::{Answer, KeyRecord, PrincipalStore, Revoked, Rotated, StoreError};
pub use audit_log::SqliteAuditLog;
use database::Database;
pub use generations::SqliteGenerations;
pub use replies::SqliteReplies;
pub use spool::SqliteSpool;
pub use versions::SqliteVersions;

/// The keys of one data directory.
#[derive(Debug)]
pub struct SqliteKeys {
    database: Database,
}

// === impl SqliteKeys ===

impl SqliteKeys {
    /// Opens or makes `keys.db` in `folder`.
    ///
    /// # Errors
    /// Where the folder or the file cannot be made or opened, or holds something of a newer version.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        Ok(Self { database: Database::open(folder, rows::SCHEMA)? })
    }
}

impl PrincipalStore for SqliteKeys {
    fn find(&self, hash: KeyHash) -> Answer<'_, Option<KeyRecord>> {
        self.database.ask(move |connection| rows::find(connection, &hash))
    }

    fn find_named(&self, key_id: String) -> Answer<'_, Option<KeyRecord>> {
        self.database.ask(move |connection| rows::find_named(connection, &key_id))
    }

    fn add(&self, record: KeyRecord) -> Answer<'_, ()> {
        self.database.ask(move |connection| rows::add(connection, &record))
    }

    fn revoke(&self, key_id: String, at: UnixMillis) -> Answer<'_, Revoked> {
        self.database.ask(move |connection| rows::revoke(connection, &key_id, at))
    }

    fn rotate(&self, key_id: String, new: KeyRecord, ends_at: UnixMillis) -> Answer<'_, Rotated> {
        self.database.ask(move |connection| rows::rotate(connection, &key_id, &new, ends_at))
    }

    fn list(&self) -> Answer<'_, Vec<KeyRecord>> {
        self.database.ask(|connection| rows::list(connection))
    }
}

#[cfg(test)]
#[path = "sqlite_tests.rs"]
mod tests;
