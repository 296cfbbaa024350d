//! One database file and the thread that owns its connection: WAL, every commit on disk before it is answered,
//! the file readable by its owner only. Callers wait for the thread without blocking theirs.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::thread;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::store::{Answer, StoreError};

/// How many questions may wait. Beyond it callers wait to ask.
const WAITING_MAX: usize = 1_024;
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// A question and where its answer goes.
type Question = Box<dyn FnOnce(&mut Connection) + Send>;

/// What makes a database: its file, its schema in the oldest version that is known, and what has changed since.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schema {
    /// The file's name within the data folder.
    pub(super) file: &'static str,
    /// Makes the tables of `version`.
    pub(super) make: &'static str,
    pub(super) version: i64,
    /// What makes each next version of the one before.
    pub(super) changes: &'static [&'static str],
}

/// A database and its thread. The thread ends when this is dropped.
#[derive(Debug)]
pub(super) struct Database {
    file: &'static str,
    ask: mpsc::Sender<Question>,
}

// === impl Database ===

impl Database {
    pub(super) fn open(folder: &Path, schema: Schema) -> Result<Self, StoreError> {
        Self::serve(schema.file, prepare(folder, schema)?)
    }

    /// A thread for a connection that is ready.
    pub(super) fn serve(
        file: &'static str,
        mut connection: Connection,
    ) -> Result<Self, StoreError> {
        let (ask, mut questions) = mpsc::channel::<Question>(WAITING_MAX);
        thread::Builder::new()
            .name(file.to_owned())
            .spawn(move || {
                while let Some(question) = questions.blocking_recv() {
                    question(&mut connection);
                }
            })
            .map_err(|error| StoreError::Permanent(error.to_string()))?;
        Ok(Self { file, ask })
    }

    pub(super) fn ask<T, F>(&self, question: F) -> Answer<'_, T>
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
            let gone = || StoreError::Permanent(format!("the thread of {} has ended", self.file));
            self.ask.send(question).await.map_err(|_| gone())?;
            answer.await.map_err(|_| gone())?
        })
    }
}

pub(super) fn prepare(folder: &Path, schema: Schema) -> Result<Connection, StoreError> {
    let path = folder.join(schema.file);
    make_private(&path)?;
    let connection = Connection::open(&path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    migrate(&connection, schema)?;
    Ok(connection)
}

/// Makes a file, and the folder that it is in, for their owner only.
pub(super) fn make_private(path: &Path) -> Result<(), StoreError> {
    let failed = |error: io::Error| StoreError::Permanent(format!("{}: {error}", path.display()));
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        sync_names(folder).map_err(failed)?;
    }
    // Made by us and not by SQLite, so that it is never readable for others; -wal and -shm follow its mode.
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    file.set_permissions(PermissionsExt::from_mode(0o600)).map_err(failed)
}

/// Puts the folder's name on the disk, and those of the folders above it up to the file system's root. Any of them
/// may just have been made, and what is synced in a folder that is not is lost with the folder. The names in it
/// are SQLite's business. A folder that we may not read is none that we have made.
fn sync_names(folder: &Path) -> io::Result<()> {
    let folder = folder.canonicalize()?;
    let device = folder.metadata()?.dev();
    for above in folder.ancestors().skip(1) {
        match File::open(above) {
            Ok(holder) if holder.metadata()?.dev() == device => holder.sync_all()?,
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn migrate(connection: &Connection, schema: Schema) -> Result<(), StoreError> {
    let Schema { file, make, version, changes } = schema;
    let known = version + i64::try_from(changes.len()).unwrap_or(0);
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    let found = connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))?;
    if found == known {
        return Ok(());
    }
    if found > known || (1..version).contains(&found) {
        return Err(StoreError::Permanent(format!(
            "{file} has schema version {found}; this sidecar knows {known}"
        )));
    }
    let make = if found == 0 { make } else { "" };
    let done = usize::try_from(found.saturating_sub(version)).unwrap_or(0);
    let changes = changes.get(done..).unwrap_or_default().concat();
    Ok(connection.execute_batch(&format!(
        "BEGIN IMMEDIATE; {make} {changes} PRAGMA user_version = {known}; COMMIT;"
    ))?)
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{
            CannotOpen, DatabaseBusy, DatabaseLocked, DiskFull, OutOfMemory, SystemIoFailure,
        };
        match error.sqlite_error_code() {
            // A disk that fails once, or has no more descriptors, may not the next time: what was asked is asked again.
            Some(
                DatabaseBusy | DatabaseLocked | DiskFull | SystemIoFailure | CannotOpen
                | OutOfMemory,
            ) => Self::Transient(error.to_string()),
            Some(_) | None => Self::Permanent(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn what_may_pass_is_asked_again_and_a_file_that_is_broken_is_not() {
        let rows = [
            (ffi::SQLITE_BUSY, true),
            (ffi::SQLITE_FULL, true),
            (ffi::SQLITE_IOERR_FSYNC, true),
            (ffi::SQLITE_CANTOPEN, true),
            (ffi::SQLITE_NOMEM, true),
            (ffi::SQLITE_CORRUPT, false),
            (ffi::SQLITE_NOTADB, false),
            (ffi::SQLITE_READONLY, false),
        ];
        for (code, may_pass) in rows {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            assert_eq!(StoreError::from(error).may_pass(), may_pass, "{code}");
        }
    }
}
