//! The audit log of a sidecar in SQLite. Who writes has a connection, and who reads another: a verification of a year
//! keeps nobody from being put on record.

use std::collections::BTreeMap;
use std::path::Path;

use kt_contract::hex::Digest;
use kt_contract::time::UnixMillis;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior};

use super::database::{Database, Schema, prepare};
use crate::audit_log::{Chain, Fact, Head, Link};
use crate::store::audit_log::{AuditStore, Expiry};
use crate::store::{Answer, StoreError};

/// Triggers keep everybody from changing a record, whoever opens the file. What retention removes goes after the
/// chain's row has said so, in the same commit. `INSERT OR REPLACE` deletes without a trigger, so it is refused where
/// there is something to replace.
const SCHEMA: Schema = Schema {
    file: "audit.db",
    make: "
    CREATE TABLE chains (
        org       TEXT NOT NULL PRIMARY KEY,
        base      INTEGER NOT NULL CHECK (base >= 0),
        base_hash BLOB NOT NULL CHECK (length(base_hash) = 32),
        head      INTEGER NOT NULL CHECK (head >= base),
        head_hash BLOB NOT NULL CHECK (length(head_hash) = 32)
    ) STRICT, WITHOUT ROWID;
    CREATE TRIGGER chains_only_grow BEFORE UPDATE ON chains
        WHEN NEW.org <> OLD.org OR NEW.base < OLD.base OR NEW.head < OLD.head
        BEGIN SELECT RAISE(ABORT, 'a chain of the audit log only grows'); END;
    CREATE TRIGGER chains_stay BEFORE DELETE ON chains
        BEGIN SELECT RAISE(ABORT, 'a chain of the audit log is never removed'); END;
    CREATE TRIGGER chains_are_not_replaced BEFORE INSERT ON chains
        WHEN EXISTS (SELECT 1 FROM chains WHERE org = NEW.org)
        BEGIN SELECT RAISE(ABORT, 'a chain of the audit log is never replaced'); END;

    CREATE TABLE records (
        org   TEXT NOT NULL,
        seq   INTEGER NOT NULL CHECK (seq > 0),
        at    INTEGER NOT NULL,
        bytes BLOB NOT NULL,
        hash  BLOB NOT NULL CHECK (length(hash) = 32),
        PRIMARY KEY (org, seq)
    ) STRICT, WITHOUT ROWID;
    CREATE TRIGGER records_do_not_change BEFORE UPDATE ON records
        BEGIN SELECT RAISE(ABORT, 'a record of the audit log never changes'); END;
    CREATE TRIGGER records_stay BEFORE DELETE ON records
        WHEN OLD.seq > coalesce((SELECT base FROM chains WHERE org = OLD.org), 0)
        BEGIN SELECT RAISE(ABORT, 'a record of the audit log is removed by retention only'); END;
    CREATE TRIGGER records_are_not_replaced BEFORE INSERT ON records
        WHEN EXISTS (SELECT 1 FROM records WHERE org = NEW.org AND seq = NEW.seq)
        BEGIN SELECT RAISE(ABORT, 'a record of the audit log is never replaced'); END;
",
    version: 1,
    changes: &[],
};

const CORRUPT: StoreError = StoreError::Corrupt("the audit log");

/// The audit log of one data directory.
#[derive(Debug)]
pub struct SqliteAuditLog {
    writer: Database,
    reader: Database,
}

// === impl SqliteAuditLog ===

impl SqliteAuditLog {
    /// Opens or makes `audit.db` in `folder`.
    ///
    /// # Errors
    /// Where the folder or the file cannot be made or opened, or holds something of a newer version.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let writer = Database::open(folder, SCHEMA)?;
        let reader = prepare(folder, SCHEMA)?;
        reader.pragma_update(None, "query_only", true)?;
        Ok(Self { writer, reader: Database::serve(SCHEMA.file, reader)? })
    }
}

impl AuditStore for SqliteAuditLog {
    fn append(&self, facts: Vec<Fact>) -> Answer<'_, ()> {
        self.writer.ask(move |connection| {
            let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut chains: BTreeMap<String, Chain> = BTreeMap::new();
            for Fact { org, at, event } in facts {
                let chain = match chains.remove(&org) {
                    Some(chain) => chain,
                    None => begun(&change, &org)?,
                };
                let chain = chains.entry(org).or_insert(chain);
                let link = chain.append(at, event);
                put(&change, &chain.org, &link)?;
            }
            for chain in chains.values() {
                set(&change, chain)?;
            }
            Ok(change.commit()?)
        })
    }

    fn chains(&self) -> Answer<'_, Vec<Chain>> {
        self.reader.ask(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT org, base, base_hash, head, head_hash FROM chains ORDER BY org",
            )?;
            let rows = statement.query_map([], |row| Ok(chain(row)))?;
            rows.map(|row| row?).collect()
        })
    }

    fn chain(&self, org: String) -> Answer<'_, Option<Chain>> {
        self.reader.ask(move |connection| find(connection, &org))
    }

    fn read(&self, org: String, after: u64, count_max: usize) -> Answer<'_, Vec<Link>> {
        self.reader.ask(move |connection| links(connection, &org, after, count_max))
    }

    fn expire(&self, expiry: Expiry) -> Answer<'_, u64> {
        self.writer.ask(move |connection| {
            let Expiry { org, before, now, count_max } = expiry;
            let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let Some(mut chain) = find(&change, &org)? else { return Ok(0) };
            let oldest = links(&change, &org, chain.base.seq, count_max)?;
            let due = oldest.into_iter().take_while(|link| link.at < before);
            let Some(Link { seq, hash, .. }) = due.last() else { return Ok(0) };
            let removed = seq.saturating_sub(chain.base.seq);
            let checkpoint = chain.forget(Head { seq, hash }, now);
            put(&change, &org, &checkpoint)?;
            set(&change, &chain)?;
            change
                .prepare_cached("DELETE FROM records WHERE org = ?1 AND seq <= ?2")?
                .execute((&org, to_row(seq)))?;
            change.commit()?;
            Ok(removed)
        })
    }
}

/// The chain of an organization, which may have none yet.
fn begun(change: &Transaction<'_>, org: &str) -> Result<Chain, StoreError> {
    if let Some(chain) = find(change, org)? {
        return Ok(chain);
    }
    let chain = Chain::new(org.to_owned());
    let Chain { base, head, .. } = &chain;
    change
        .prepare_cached(
            "INSERT INTO chains (org, base, base_hash, head, head_hash) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute((org, to_row(base.seq), &base.hash.0, to_row(head.seq), &head.hash.0))?;
    Ok(chain)
}

fn set(change: &Transaction<'_>, chain: &Chain) -> Result<(), StoreError> {
    let Chain { org, base, head } = chain;
    change
        .prepare_cached(
            "UPDATE chains SET base = ?2, base_hash = ?3, head = ?4, head_hash = ?5 WHERE org = ?1",
        )?
        .execute((org, to_row(base.seq), &base.hash.0, to_row(head.seq), &head.hash.0))?;
    Ok(())
}

fn put(change: &Transaction<'_>, org: &str, link: &Link) -> Result<(), StoreError> {
    let Link { seq, at, bytes, hash } = link;
    change
        .prepare_cached(
            "INSERT INTO records (org, seq, at, bytes, hash) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute((org, to_row(*seq), to_row(at.0), bytes, &hash.0))?;
    Ok(())
}

fn find(connection: &Connection, org: &str) -> Result<Option<Chain>, StoreError> {
    let sql = "SELECT org, base, base_hash, head, head_hash FROM chains WHERE org = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    statement.query_row([org], |row| Ok(chain(row))).optional()?.transpose()
}

fn chain(row: &Row<'_>) -> Result<Chain, StoreError> {
    Ok(Chain { org: row.get(0)?, base: head(row, 1)?, head: head(row, 3)? })
}

/// The place in two columns.
fn head(row: &Row<'_>, first: usize) -> Result<Head, StoreError> {
    let seq = from_row(row.get(first)?)?;
    Ok(Head { seq, hash: Digest(row.get(first.saturating_add(1))?) })
}

fn links(
    connection: &Connection,
    org: &str,
    after: u64,
    count_max: usize,
) -> Result<Vec<Link>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT seq, at, bytes, hash FROM records WHERE org = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3",
    )?;
    let rows = statement.query_map((org, to_row(after), to_row(count_max as u64)), |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
    })?;
    rows.map(|row| {
        let (seq, at, bytes, hash) = row?;
        let at = UnixMillis(from_row(at)?);
        Ok(Link { seq: from_row(seq)?, at, bytes, hash: Digest(hash) })
    })
    .collect()
}

fn to_row(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn from_row(number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_| CORRUPT)
}
