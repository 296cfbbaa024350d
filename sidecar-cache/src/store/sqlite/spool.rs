//! The spool of a sidecar in SQLite. Whoever comes while a commit is under way shares the next one, so that a database
//! that is away costs a sync for many ends and not one for each.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::oneshot;

use super::database::{Database, Schema, prepare};
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

/// The spool of one data directory.
#[derive(Debug)]
pub struct SqliteSpool {
    database: Database,
    waiting: Arc<Mutex<Vec<Waiting>>>,
    count: Arc<AtomicUsize>,
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
        let connection = prepare(folder, SCHEMA)?;
        let count: i64 = connection.query_row("SELECT count(*) FROM ends", [], |row| row.get(0))?;
        let count = Arc::new(AtomicUsize::new(usize::try_from(count).unwrap_or(usize::MAX)));
        let database = Database::serve(SCHEMA.file, connection)?;
        Ok(Self { database, waiting: Arc::default(), count })
    }
}

impl SpoolStore for SqliteSpool {
    fn put(&self, text: String, count_max: usize) -> Answer<'_, Put> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            lock(&self.waiting).push(Waiting { text, count_max, reply });
            let (waiting, count) = (Arc::clone(&self.waiting), Arc::clone(&self.count));
            // Whoever comes first takes all who wait; those behind it find theirs done.
            self.database
                .ask(move |connection| {
                    let mut group = lock(&waiting);
                    let taken = group.len().min(GROUP_MAX);
                    let taken: Vec<_> = group.drain(..taken).collect();
                    drop(group);
                    keep(connection, taken, &count);
                    Ok(())
                })
                .await?;
            let gone = || StoreError::Permanent("nobody writes the spool any more".to_owned());
            answer.await.map_err(|_| gone())?
        })
    }

    fn read(&self, after: u64, count_max: usize) -> Answer<'_, Vec<(u64, String)>> {
        self.database.ask(move |connection| {
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
        let count = Arc::clone(&self.count);
        self.database.ask(move |connection| {
            let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut removed = 0_usize;
            {
                let mut forget = change.prepare_cached("DELETE FROM ends WHERE number = ?1")?;
                for number in numbers {
                    removed = removed.saturating_add(forget.execute([to_row(number)])?);
                }
            }
            change.commit()?;
            // Only this thread changes it.
            count.store(count.load(Ordering::Relaxed).saturating_sub(removed), Ordering::Relaxed);
            Ok(())
        })
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

/// Keeps all of them in one commit, or tells all of them why not.
fn keep(connection: &mut Connection, group: Vec<Waiting>, count: &AtomicUsize) {
    if group.is_empty() {
        return;
    }
    match write(connection, &group, count.load(Ordering::Relaxed)) {
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

fn lock(waiting: &Mutex<Vec<Waiting>>) -> std::sync::MutexGuard<'_, Vec<Waiting>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

fn to_row(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
