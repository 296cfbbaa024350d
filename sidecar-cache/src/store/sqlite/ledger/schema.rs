//! The tables of the ledger. Transfers never change and never go; what a hold ends with, it ends with once: the
//! file itself says so, whatever writes to it.
//!
//! Ids are hashes, so an index of them touches another page for every row, and each page that a group has touched
//! is written to the log. Only ids that somebody chooses are indexed; what ends a hold has an id that follows from
//! the hold's, refers to it by its number, and is found, and kept from coming twice, through that. The index by
//! organization is no such burden: new rows go where the last ones of their organization went.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use crate::store::StoreError;

/// Nobody else writes, but for a person with a shell.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// What each version adds to the one before.
pub(super) const MIGRATIONS: [&str; 3] = [
    "
    CREATE TABLE transfers (
        seq    INTEGER PRIMARY KEY,
        id     BLOB NOT NULL CHECK (length(id) = 32),
        org    TEXT NOT NULL,
        kind   TEXT NOT NULL CHECK (kind IN ('fund', 'pending', 'extend', 'post', 'overage', 'void',
                   'expire', 'late_post', 'late_void', 'return', 'refund', 'adjust_credit',
                   'adjust_debit')),
        hold   INTEGER REFERENCES transfers (seq),
        amount INTEGER NOT NULL CHECK (amount BETWEEN 0 AND 9007199254740991),
        at     INTEGER NOT NULL,
        note   TEXT NOT NULL,
        terms  TEXT CHECK (terms IS NOT NULL OR kind NOT IN ('pending', 'refund'))
    ) STRICT;
    CREATE UNIQUE INDEX by_id ON transfers (id)
        WHERE kind IN ('fund', 'pending', 'refund', 'adjust_credit', 'adjust_debit');
    CREATE UNIQUE INDEX one_end ON transfers (hold) WHERE kind IN ('post', 'void', 'expire');
    CREATE UNIQUE INDEX one_late_end ON transfers (hold) WHERE kind IN ('late_post', 'late_void');
    CREATE UNIQUE INDEX one_return ON transfers (hold) WHERE kind = 'return';
    CREATE INDEX of_hold ON transfers (hold) WHERE kind IN ('extend', 'overage', 'refund');
    CREATE TRIGGER transfers_stay BEFORE DELETE ON transfers
        BEGIN SELECT RAISE(ABORT, 'transfers are never removed'); END;
    CREATE TRIGGER transfers_are_immutable BEFORE UPDATE ON transfers
        BEGIN SELECT RAISE(ABORT, 'transfers are immutable'); END;

    CREATE TABLE accounts (
        org              TEXT NOT NULL,
        name             TEXT NOT NULL,
        debits_pended    INTEGER NOT NULL CHECK (debits_pended >= 0),
        debits_cleared   INTEGER NOT NULL CHECK (debits_cleared BETWEEN 0 AND debits_pended),
        debits_posted    INTEGER NOT NULL CHECK (debits_posted >= 0),
        credits_pended   INTEGER NOT NULL CHECK (credits_pended >= 0),
        credits_cleared  INTEGER NOT NULL CHECK (credits_cleared BETWEEN 0 AND credits_pended),
        credits_posted   INTEGER NOT NULL CHECK (credits_posted >= 0),
        PRIMARY KEY (org, name)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE live_holds (
        seq          INTEGER PRIMARY KEY REFERENCES transfers (seq),
        is_suspended INTEGER NOT NULL CHECK (is_suspended IN (0, 1)),
        next_at      INTEGER NOT NULL
    ) STRICT;

    CREATE TABLE frozen (
        org    TEXT PRIMARY KEY,
        since  INTEGER NOT NULL,
        reason TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE marks (
        only     INTEGER PRIMARY KEY CHECK (only = 1),
        at       INTEGER NOT NULL,
        calendar INTEGER NOT NULL
    ) STRICT;
    INSERT INTO marks (only, at, calendar) VALUES (1, 0, 0);
",
    "
    CREATE TABLE transfers_2 (
        seq    INTEGER PRIMARY KEY,
        id     BLOB NOT NULL CHECK (length(id) = 32),
        org    TEXT NOT NULL,
        kind   TEXT NOT NULL CHECK (kind IN ('fund', 'pending', 'extend', 'post', 'overage', 'void',
                   'expire', 'late_post', 'late_void', 'return', 'refund', 'adjust_credit',
                   'adjust_debit', 'allocate', 'deallocate')),
        hold   INTEGER REFERENCES transfers_2 (seq),
        team   TEXT CHECK (team IS NOT NULL OR kind NOT IN ('allocate', 'deallocate')),
        amount INTEGER NOT NULL CHECK (amount BETWEEN 0 AND 9007199254740991),
        at     INTEGER NOT NULL,
        note   TEXT NOT NULL,
        terms  TEXT CHECK (terms IS NOT NULL OR kind NOT IN ('pending', 'refund'))
    ) STRICT;
    INSERT INTO transfers_2 (seq, id, org, kind, hold, amount, at, note, terms)
        SELECT seq, id, org, kind, hold, amount, at, note, terms FROM transfers ORDER BY seq;
    DROP TABLE transfers;
    ALTER TABLE transfers_2 RENAME TO transfers;
    CREATE UNIQUE INDEX by_id ON transfers (id)
        WHERE kind IN ('fund', 'pending', 'refund', 'adjust_credit', 'adjust_debit', 'allocate',
                       'deallocate');
    CREATE UNIQUE INDEX one_end ON transfers (hold) WHERE kind IN ('post', 'void', 'expire');
    CREATE UNIQUE INDEX one_late_end ON transfers (hold) WHERE kind IN ('late_post', 'late_void');
    CREATE UNIQUE INDEX one_return ON transfers (hold) WHERE kind = 'return';
    CREATE INDEX of_hold ON transfers (hold) WHERE kind IN ('extend', 'overage', 'refund');
    CREATE TRIGGER transfers_stay BEFORE DELETE ON transfers
        BEGIN SELECT RAISE(ABORT, 'transfers are never removed'); END;
    CREATE TRIGGER transfers_are_immutable BEFORE UPDATE ON transfers
        BEGIN SELECT RAISE(ABORT, 'transfers are immutable'); END;
    -- And by seq, which every index ends with.
    CREATE INDEX of_org ON transfers (org);

    CREATE TABLE budgets (
        org    TEXT NOT NULL,
        name   TEXT NOT NULL,
        until  INTEGER NOT NULL,
        charge TEXT NOT NULL,
        PRIMARY KEY (org, name)
    ) STRICT, WITHOUT ROWID;
    -- Windows that are over stay where they are, and are not looked at.
    CREATE INDEX budgets_by_end ON budgets (org, until);

    CREATE TABLE alerted (
        org  TEXT NOT NULL,
        name TEXT NOT NULL,
        PRIMARY KEY (org, name)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE savings (
        day      TEXT NOT NULL,
        org      TEXT NOT NULL,
        team     TEXT NOT NULL,
        user     TEXT NOT NULL,
        model    TEXT NOT NULL,
        codebase TEXT NOT NULL,
        basis    TEXT NOT NULL CHECK (basis IN ('hit', 'coalesced')),
        answers  INTEGER NOT NULL CHECK (answers BETWEEN 0 AND 9007199254740991),
        avoided  INTEGER NOT NULL CHECK (avoided BETWEEN 0 AND 9007199254740991),
        PRIMARY KEY (day, org, team, user, model, codebase, basis)
    ) STRICT, WITHOUT ROWID;
",
    "
    CREATE TABLE transfers_3 (
        seq    INTEGER PRIMARY KEY,
        id     BLOB NOT NULL CHECK (length(id) = 32),
        org    TEXT NOT NULL,
        kind   TEXT NOT NULL CHECK (kind IN ('fund', 'pending', 'extend', 'post', 'overage', 'void',
                   'expire', 'late_post', 'late_void', 'return', 'refund', 'adjust_credit',
                   'adjust_debit', 'allocate', 'deallocate', 'open_calls')),
        hold   INTEGER REFERENCES transfers_3 (seq),
        team   TEXT CHECK (team IS NOT NULL OR kind NOT IN ('allocate', 'deallocate')),
        amount INTEGER NOT NULL CHECK (amount BETWEEN 0 AND 9007199254740991),
        at     INTEGER NOT NULL,
        note   TEXT NOT NULL,
        terms  TEXT CHECK (terms IS NOT NULL OR kind NOT IN ('pending', 'refund'))
    ) STRICT;
    INSERT INTO transfers_3 (seq, id, org, kind, hold, team, amount, at, note, terms)
        SELECT seq, id, org, kind, hold, team, amount, at, note, terms FROM transfers ORDER BY seq;
    DROP TABLE transfers;
    ALTER TABLE transfers_3 RENAME TO transfers;
    CREATE UNIQUE INDEX by_id ON transfers (id)
        WHERE kind IN ('fund', 'pending', 'refund', 'adjust_credit', 'adjust_debit', 'allocate',
                       'deallocate', 'open_calls');
    CREATE UNIQUE INDEX one_end ON transfers (hold) WHERE kind IN ('post', 'void', 'expire');
    CREATE UNIQUE INDEX one_late_end ON transfers (hold) WHERE kind IN ('late_post', 'late_void');
    CREATE UNIQUE INDEX one_return ON transfers (hold) WHERE kind = 'return';
    CREATE INDEX of_hold ON transfers (hold) WHERE kind IN ('extend', 'overage', 'refund');
    CREATE TRIGGER transfers_stay BEFORE DELETE ON transfers
        BEGIN SELECT RAISE(ABORT, 'transfers are never removed'); END;
    CREATE TRIGGER transfers_are_immutable BEFORE UPDATE ON transfers
        BEGIN SELECT RAISE(ABORT, 'transfers are immutable'); END;
    -- And by seq, which every index ends with.
    CREATE INDEX of_org ON transfers (org);
",
];

/// What a commit waits for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Synchronous {
    /// The disk.
    Full,
    /// Nothing, between two checkpoints.
    #[cfg(feature = "open-to-lose")]
    Normal,
}

// === impl Synchronous ===

impl Synchronous {
    /// As SQLite names it.
    fn as_str(self) -> &'static str {
        match self {
            Self::Full => "FULL",
            #[cfg(feature = "open-to-lose")]
            Self::Normal => "NORMAL",
        }
    }
}

/// Makes a connection ready to write.
pub(super) fn prepare(connection: &Connection, synchronous: Synchronous) -> Result<(), StoreError> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", synchronous.as_str())?;
    // Large enough that the indexes of a busy day are not read again and again: 64 MiB.
    connection.pragma_update(None, "cache_size", -65_536)?;
    // A checkpoint for every 16 MiB of log, in which a hot page is written once.
    connection.pragma_update(None, "wal_autocheckpoint", 4_000)?;
    connection.set_prepared_statement_cache_capacity(64);
    // A table that is made anew is dropped first, with others that refer to it.
    connection.pragma_update(None, "foreign_keys", false)?;
    migrate(connection)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    check(connection)
}

/// A connection that only reads.
pub(super) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "cache_size", -8_192)?;
    Ok(connection)
}

fn migrate(connection: &Connection) -> Result<(), StoreError> {
    let found = connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(StoreError::Permanent(format!(
            "the wallet has schema version {found}; this sidecar knows {known}"
        )));
    }
    for (version, migration) in (1_i64..).zip(MIGRATIONS) {
        if version > found {
            connection.execute_batch(&format!(
                "BEGIN IMMEDIATE; {migration} PRAGMA user_version = {version}; COMMIT;"
            ))?;
        }
    }
    Ok(())
}

/// Refuses a damaged file: it is for a person to look at, not to be written to.
fn check(connection: &Connection) -> Result<(), StoreError> {
    let found: String = connection.pragma_query_value(None, "integrity_check", |row| row.get(0))?;
    if found == "ok" { Ok(()) } else { Err(StoreError::Corrupt("the wallet's file")) }
}
