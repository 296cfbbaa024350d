//! Remembered answers in SQLite. One is on disk before it is acknowledged, and so before its client has all of
//! it. The triggers count what each organization holds, so that nobody has to.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use kt_contract::time::{Millis, UnixMillis};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::database::{Database, Schema};
use crate::clock::Clock;
use crate::idempotency::{KEPT, ORG_BOUNDS, OrgBounds, ReplyId};
use crate::ledger::clock::{LedgerClock, Marks, Reading};
use crate::store::replies::{ClaimStore, NewReply, ReplyStore};
use crate::store::{Answer, StoreError};

const SCHEMA: Schema = Schema {
    file: "idempotency.db",
    make: "
    CREATE TABLE replies (
        number  INTEGER PRIMARY KEY,
        id      BLOB NOT NULL UNIQUE CHECK (length(id) = 32),
        org     TEXT NOT NULL,
        made_at INTEGER NOT NULL,
        bytes   BLOB NOT NULL
    ) STRICT;
    CREATE INDEX replies_by_org ON replies (org, number);
    CREATE INDEX replies_by_age ON replies (made_at);
    CREATE TABLE held (
        org     TEXT PRIMARY KEY,
        replies INTEGER NOT NULL,
        bytes   INTEGER NOT NULL
    ) STRICT;
    CREATE TRIGGER kept AFTER INSERT ON replies BEGIN
        INSERT INTO held (org, replies, bytes) VALUES (NEW.org, 1, length(NEW.bytes))
        ON CONFLICT (org) DO UPDATE
        SET replies = replies + excluded.replies, bytes = bytes + excluded.bytes;
    END;
    CREATE TRIGGER forgotten AFTER DELETE ON replies BEGIN
        UPDATE held SET replies = replies - 1, bytes = bytes - length(OLD.bytes)
        WHERE org = OLD.org;
    END;
",
    version: 1,
    changes: &[],
};

/// The remembered answers of one data directory.
#[derive(Debug)]
pub struct SqliteReplies {
    database: Database,
    bounds: OrgBounds,
    clock: Clock,
    /// The store's own time. It goes on from the newest answer's, wherever the wall clock has gone meanwhile.
    time: Mutex<LedgerClock>,
}

// === impl SqliteReplies ===

impl SqliteReplies {
    /// Opens or makes `idempotency.db` in `folder`.
    ///
    /// # Errors
    /// Where the folder or the file cannot be made or opened, or holds something of a newer version.
    pub fn open(folder: &Path, clock: Clock) -> Result<Self, StoreError> {
        Self::open_bounded(folder, clock, ORG_BOUNDS)
    }

    /// The same with other bounds.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_bounded(
        folder: &Path,
        clock: Clock,
        bounds: OrgBounds,
    ) -> Result<Self, StoreError> {
        let connection = super::database::prepare(folder, SCHEMA)?;
        let newest: Option<i64> =
            connection.query_row("SELECT max(made_at) FROM replies", [], |row| row.get(0))?;
        let at = UnixMillis(newest.and_then(|at| u64::try_from(at).ok()).unwrap_or(0));
        let marks = Marks { at, calendar: UnixMillis(0) };
        let time = Mutex::new(LedgerClock::resume(marks, reading(clock)));
        let database = Database::serve(SCHEMA.file, connection)?;
        Ok(Self { database, bounds, clock, time })
    }

    fn now(&self) -> i64 {
        let mut time = self.time.lock().unwrap_or_else(PoisonError::into_inner);
        to_row(time.now(reading(self.clock)).at.0)
    }
}

impl ReplyStore for SqliteReplies {
    fn claims(&self) -> Option<&dyn ClaimStore> {
        None
    }

    fn find(&self, id: ReplyId) -> Answer<'_, Option<Vec<u8>>> {
        let oldest_kept = kept_since(self.now());
        self.database.ask(move |connection| find(connection, id, oldest_kept))
    }

    fn keep(&self, reply: NewReply) -> Answer<'_, ()> {
        let (now, bounds) = (self.now(), self.bounds);
        self.database.ask(move |connection| {
            let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            change.execute("DELETE FROM replies WHERE made_at <= ?1", [kept_since(now)])?;
            keep(&change, &reply, now)?;
            make_room(&change, &reply.org, bounds)?;
            Ok(change.commit()?)
        })
    }

    fn forget_org(&self, org: String) -> Answer<'_, ()> {
        self.database.ask(move |connection| {
            connection.execute("DELETE FROM replies WHERE org = ?1", [org])?;
            Ok(())
        })
    }
}

fn reading(clock: Clock) -> Reading {
    Reading { mono: clock.mono(), wall: clock.wall() }
}

/// What is not younger than this has expired.
fn kept_since(now: i64) -> i64 {
    let Millis(kept) = KEPT;
    now.saturating_sub(to_row(kept))
}

fn to_row(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn find(
    connection: &Connection,
    id: ReplyId,
    oldest_kept: i64,
) -> Result<Option<Vec<u8>>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT bytes FROM replies WHERE id = ?1 AND made_at > ?2")?;
    let found = statement.query_row(params![&id.0.0[..], oldest_kept], |row| row.get(0));
    Ok(found.optional()?)
}

fn keep(change: &Transaction<'_>, reply: &NewReply, now: i64) -> Result<(), StoreError> {
    let NewReply { id, org, bytes } = reply;
    // Not replaced in one statement, which would not be counted.
    change.execute("DELETE FROM replies WHERE id = ?1", [&id.0.0[..]])?;
    change.execute(
        "INSERT INTO replies (id, org, made_at, bytes) VALUES (?1, ?2, ?3, ?4)",
        params![&id.0.0[..], org, now, bytes],
    )?;
    Ok(())
}

/// The organization's oldest go, until the rest is within its bounds. The newest stays, whatever it takes.
fn make_room(change: &Transaction<'_>, org: &str, bounds: OrgBounds) -> Result<(), StoreError> {
    let OrgBounds { replies, bytes } = bounds;
    let mut held = change.prepare_cached(
        "SELECT replies > 1 AND (replies > ?2 OR bytes > ?3) FROM held WHERE org = ?1",
    )?;
    let mut forget = change.prepare_cached(
        "DELETE FROM replies WHERE number = (SELECT min(number) FROM replies WHERE org = ?1)",
    )?;
    while held.query_row(params![org, to_row(replies), to_row(bytes)], |row| row.get(0))? {
        forget.execute([org])?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "replies_tests.rs"]
mod tests;
