//! The spool of a sidecar in SQLite. Whoever comes while a commit is under way shares the next one, so that a database
//! that is away costs a sync for many ends and not one for each.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use tokio::sync::oneshot;

use super::database::{Database, Schema, prepare};
use super::ledger::headroom::Headroom;
use crate::store::spool::{Put, SpoolStore};
use crate::store::{Answer, StoreError};

/// A number is never given again: who forgets one late must not forget another.
const SCHEMA: Schema = Schema {
    file: "spool.db",
    make: "
    CREATE TABLE ends (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        text   TEXT NOT NULL
    ) STRICT;
",
    version: 1,
    changes: &[],
};

/// How many share a commit at most: what one of them waits for is bounded.
const GROUP_MAX: usize = 1_024;

/// Some eight thousand ends of calls, log and file together: twice as many as would wait in memory alone without a spool.
const HEADROOM_BYTES: u64 = 8 << 20;

/// The spool of one data directory.
#[derive(Debug)]
pub struct SqliteSpool {
    database: Database,
    waiting: Arc<Mutex<Vec<Waiting>>>,
    count: Arc<AtomicUsize>,
    margin: Arc<Margin>,
}

/// The room that is kept for ends of what runs, and whether it is in use.
#[derive(Debug)]
struct Margin {
    headroom: Mutex<Headroom>,
    is_spent: AtomicBool,
}

/// One that is to be kept.
#[derive(Debug)]
struct Waiting {
    text: String,
    count_max: usize,
    reply: oneshot::Sender<Result<Put, StoreError>>,
}

// === impl SqliteSpool ===

impl SqliteSpool {
    /// Opens or makes `spool.db` in `folder`.
    ///
    /// # Errors
    /// Where the folder or the file cannot be made or opened, or holds something of a newer version.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        Self::open_bounded(folder, None)
    }

    /// The same, as on a disk that has room for so many pages of the file.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_bounded(folder: &Path, pages_max: Option<u32>) -> Result<Self, StoreError> {
        let connection = prepare(folder, SCHEMA)?;
        let path = folder.join("spool.db.headroom");
        let margin = Margin::of(Headroom::keep(&path, &connection, HEADROOM_BYTES, pages_max)?);
        let count: i64 = connection.query_row("SELECT count(*) FROM ends", [], |row| row.get(0))?;
        let count = Arc::new(AtomicUsize::new(usize::try_from(count).unwrap_or(usize::MAX)));
        let database = Database::serve(SCHEMA.file, connection)?;
        Ok(Self { database, waiting: Arc::default(), count, margin: Arc::new(margin) })
    }
}

// === impl Margin ===

impl Margin {
    fn of(headroom: Headroom) -> Self {
        let is_spent = AtomicBool::new(headroom.is_spent());
        if headroom.is_spent() {
            tracing::warn!(
                "the data folder's disk has no room for ends of calls beyond those that run"
            );
        }
        Self { headroom: Mutex::new(headroom), is_spent }
    }

    /// Writes something, in the room that is kept if there is no other.
    fn write<T>(
        &self,
        connection: &mut Connection,
        work: impl Fn(&mut Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let first = work(connection);
        let is_full =
            |error: &rusqlite::Error| error.sqlite_error_code() == Some(ErrorCode::DiskFull);
        let mut headroom = lock(&self.headroom);
        if headroom.is_spent() || !first.as_ref().is_err_and(is_full) {
            return first;
        }
        self.is_spent.store(true, Ordering::Relaxed);
        tracing::error!(
            "the data folder's disk is full: calls that run can end, in room that was kept for them"
        );
        match headroom.spend(connection) {
            Ok(()) => work(connection),
            Err(_) => first,
        }
    }

    /// Takes the room again, if the disk has it.
    fn recover(&self, connection: &Connection) {
        let mut headroom = lock(&self.headroom);
        // Where that fails, it is asked for again with the next look.
        if headroom.is_spent() && headroom.recover(connection).is_ok() && !headroom.is_spent() {
            self.is_spent.store(false, Ordering::Relaxed);
            tracing::info!("the data folder's disk has room for ends of calls again");
        }
    }
}

impl SpoolStore for SqliteSpool {
    fn put(&self, text: String, count_max: usize) -> Answer<'_, Put> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            lock(&self.waiting).push(Waiting { text, count_max, reply });
            let (waiting, count) = (Arc::clone(&self.waiting), Arc::clone(&self.count));
            let margin = Arc::clone(&self.margin);
            // Whoever comes first takes all who wait; those behind it find theirs done.
            self.database
                .ask(move |connection| {
                    let mut group = lock(&waiting);
                    let taken = group.len().min(GROUP_MAX);
                    let taken: Vec<_> = group.drain(..taken).collect();
                    drop(group);
                    keep(connection, taken, &count, &margin);
                    Ok(())
                })
                .await?;
            let gone = || StoreError::Permanent("nobody writes the spool any more".to_owned());
            answer.await.map_err(|_| gone())?
        })
    }

    fn read(&self, after: u64, count_max: usize) -> Answer<'_, Vec<(u64, String)>> {
        let margin = Arc::clone(&self.margin);
        self.database.ask(move |connection| {
            // Whoever looks at what lies here looks from time to time, whatever happens.
            margin.recover(connection);
            let mut statement = connection.prepare_cached(
                "SELECT number, CAST(text AS BLOB) FROM ends WHERE number > ?1 ORDER BY number LIMIT ?2",
            )?;
            let rows = statement.query_map([to_row(after), to_row(count_max as u64)], |row| {
                let (number, text): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
                // What is no text is told as it can be: it is unreadable all the same.
                let text = String::from_utf8_lossy(&text).into_owned();
                Ok((u64::try_from(number).unwrap_or(0), text))
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    fn remove(&self, numbers: Vec<u64>) -> Answer<'_, ()> {
        let (count, margin) = (Arc::clone(&self.count), Arc::clone(&self.margin));
        self.database.ask(move |connection| {
            let removed = margin.write(connection, |connection| forget(connection, &numbers))?;
            // Only this thread changes it.
            count.store(count.load(Ordering::Relaxed).saturating_sub(removed), Ordering::Relaxed);
            Ok(())
        })
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    fn has_room(&self) -> bool {
        !self.margin.is_spent.load(Ordering::Relaxed)
    }
}

/// Forgets these in one commit; says how many were there.
fn forget(connection: &mut Connection, numbers: &[u64]) -> rusqlite::Result<usize> {
    let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut removed = 0_usize;
    {
        let mut forget = change.prepare_cached("DELETE FROM ends WHERE number = ?1")?;
        for number in numbers {
            removed = removed.saturating_add(forget.execute([to_row(*number)])?);
        }
    }
    change.commit()?;
    Ok(removed)
}

/// Keeps all of them in one commit, or tells all of them why not.
fn keep(connection: &mut Connection, group: Vec<Waiting>, count: &AtomicUsize, margin: &Margin) {
    if group.is_empty() {
        return;
    }
    let there = count.load(Ordering::Relaxed);
    match margin.write(connection, |connection| write(connection, &group, there)) {
        Ok((puts, kept)) => {
            count.fetch_add(kept, Ordering::Relaxed);
            for (waiting, put) in group.into_iter().zip(puts) {
                // Who has left does not want the answer.
                let _ = waiting.reply.send(Ok(put));
            }
        }
        Err(error) => {
            let why = error.to_string();
            for waiting in group {
                let _ = waiting.reply.send(Err(StoreError::Transient(why.clone())));
            }
        }
    }
}

fn write(
    connection: &mut Connection,
    group: &[Waiting],
    count: usize,
) -> rusqlite::Result<(Vec<Put>, usize)> {
    let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let (mut puts, mut kept) = (Vec::new(), 0_usize);
    for Waiting { text, count_max, .. } in group {
        if count.saturating_add(kept) >= *count_max {
            puts.push(Put::Full);
            continue;
        }
        change.prepare_cached("INSERT INTO ends (text) VALUES (?1)")?.execute([text])?;
        let number = u64::try_from(change.last_insert_rowid()).unwrap_or(0);
        puts.push(Put::Kept(number));
        kept = kept.saturating_add(1);
    }
    change.commit()?;
    Ok((puts, kept))
}

fn lock<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

fn to_row(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
