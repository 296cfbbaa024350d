//! What a disk and SQLite can do at most: rows of the same size as transfers, so many per sync, and nothing that
//! says whether they may be written.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, params};

use crate::clock::now;

/// What stands in each row beside its numbers: as long as the terms of a hold.
const TERMS_BYTES: usize = 400;

/// Writes `rows_per_sync` rows and syncs, again and again; says how many rows a second that made.
pub(crate) fn rows_per_second(
    path: &Path,
    rows_per_sync: u64,
    length: Duration,
) -> rusqlite::Result<f64> {
    let mut connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", 4_000)?;
    connection.execute_batch(
        "CREATE TABLE rows (seq INTEGER PRIMARY KEY, id BLOB NOT NULL, org TEXT NOT NULL, kind TEXT NOT NULL,
         amount INTEGER NOT NULL, at INTEGER NOT NULL, terms TEXT) STRICT",
    )?;
    let terms = "t".repeat(TERMS_BYTES);
    let began = now();
    let mut rows: u64 = 0;
    while now().duration_since(began) < length {
        let transaction = connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached(
                "INSERT INTO rows (id, org, kind, amount, at, terms) VALUES (?1, 'acme', 'pending', 1, 1, ?2)",
            )?;
            for _ in 0..rows_per_sync {
                rows += 1;
                let mut id = [0_u8; 32];
                id[..8].copy_from_slice(&rows.to_be_bytes());
                // Every other one ends something, and has no terms.
                let terms = rows.is_multiple_of(2).then_some(terms.as_str());
                insert.execute(params![id, terms])?;
            }
        }
        transaction.commit()?;
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    Ok(rows as f64 / now().duration_since(began).as_secs_f64())
}
