//! Gateway keys in SQLite: WAL, every commit on disk before it is answered, the file readable by its owner
//! only, and of a key nothing but its hash. One thread owns the connection; callers wait for it without
//! blocking theirs.

mod rows;

use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::thread;
use std::time::Duration;

use kt_contract::principal::KeyHash;
use kt_contract::time::UnixMillis;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{Answer, KeyRecord, PrincipalStore, Revoked, StoreError};

/// How many questions may wait. Beyond it callers wait to ask.
const WAITING_MAX: usize = 1_024;
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// The keys of one data directory.
#[derive(Debug)]
pub struct SqliteKeys {
    ask: mpsc::Sender<Question>,
}

/// A question and where its answer goes.
type Question = Box<dyn FnOnce(&mut Connection) + Send>;

// === impl SqliteKeys ===

impl SqliteKeys {
    /// Opens or makes `keys.db` in `folder`.
    ///
    /// # Errors
    /// Where the folder or the file cannot be made or opened, or holds something of a newer version.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let mut connection = prepare(folder)?;
        let (ask, mut questions) = mpsc::channel::<Question>(WAITING_MAX);
        thread::Builder::new()
            .name("keys".to_owned())
            .spawn(move || {
                while let Some(question) = questions.blocking_recv() {
                    question(&mut connection);
                }
            })
            .map_err(|error| StoreError::Permanent(error.to_string()))?;
        Ok(Self { ask })
    }

    fn ask<T, F>(&self, question: F) -> Answer<'_, T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            let question: Question = Box::new(move |connection| {
                // A caller that has left does not want the answer.
                let _ = reply.send(question(connection));
            });
            let gone = || StoreError::Permanent("the thread of the key store has ended".to_owned());
            self.ask.send(question).await.map_err(|_| gone())?;
            answer.await.map_err(|_| gone())?
        })
    }
}

impl PrincipalStore for SqliteKeys {
    fn find(&self, hash: KeyHash) -> Answer<'_, Option<KeyRecord>> {
        self.ask(move |connection| rows::find(connection, &hash))
    }

    fn find_named(&self, key_id: String) -> Answer<'_, Option<KeyRecord>> {
        self.ask(move |connection| rows::find_named(connection, &key_id))
    }

    fn add(&self, record: KeyRecord) -> Answer<'_, ()> {
        self.ask(move |connection| rows::add(connection, &record))
    }

    fn revoke(&self, key_id: String, at: UnixMillis) -> Answer<'_, Revoked> {
        self.ask(move |connection| rows::revoke(connection, &key_id, at))
    }

    fn list(&self) -> Answer<'_, Vec<KeyRecord>> {
        self.ask(|connection| rows::list(connection))
    }
}

fn prepare(folder: &Path) -> Result<Connection, StoreError> {
    let failed = |error: std::io::Error| {
        StoreError::Permanent(format!("{}: {error}", folder.join("keys.db").display()))
    };
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    let path = folder.join("keys.db");
    // Made by us and not by SQLite, so that it is never readable for others; -wal and -shm follow its mode.
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    file.set_permissions(PermissionsExt::from_mode(0o600)).map_err(failed)?;
    let connection = Connection::open(&path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    rows::migrate(&connection)?;
    Ok(connection)
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked, DiskFull};
        match error.sqlite_error_code() {
            Some(DatabaseBusy | DatabaseLocked | DiskFull) => Self::Transient(error.to_string()),
            Some(_) | None => Self::Permanent(error.to_string()),
        }
    }
}

#[cfg(test)]
#[path = "sqlite_tests.rs"]
mod tests;
