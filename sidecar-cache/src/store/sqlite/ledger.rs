//! The ledger in SQLite: one thread writes, in groups, and answers when a group is on disk; readers have
//! connections of their own and see the last group that is.

mod bill;
mod book;
pub(super) mod headroom;
mod levels;
mod read;
mod rows;
mod savings;
mod schema;
mod writer;

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use kt_contract::time::UnixMillis;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::database::{Database, make_private};
use crate::ledger::account::Account;
use crate::ledger::audit::Findings;
use crate::ledger::bill::Billed;
use crate::ledger::clock::Reading;
use crate::ledger::{Hold, Operation, Transfer, TransferId};
use crate::store::ledger::memory::Timepiece;
use crate::store::ledger::{Balance, Frozen, LedgerStore, Level, Verdict};
use crate::store::{Answer, StoreError};
use schema::Synchronous;
use writer::{Job, Writer};

/// How many operations may wait. Beyond it callers wait to ask.
const WAITING_MAX: usize = 4_096;

/// A ledger in one file. Dropped, it waits for what is being written, and lets go of the file.
pub struct SqliteLedger {
    /// None while it is dropped: the thread ends when nobody can ask any more.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    reader: Database,
    /// Apart from the other reader, for what takes as long as the history is: audits and bills.
    auditor: Database,
    now: Arc<dyn Fn() -> Reading + Send + Sync>,
    groups: Arc<AtomicU64>,
    // Held for as long as the file is ours.
    _lock: File,
}

/// How a ledger is opened.
pub struct Options {
    /// The file; those beside it begin with its name.
    pub path: PathBuf,
    /// Where the time comes from.
    pub timepiece: Timepiece,
    /// How many pages the file may have, headroom apart. Without a limit, as many as the disk has room for.
    pub pages_max: Option<u32>,
}

// === impl SqliteLedger ===

impl SqliteLedger {
    /// Opens or makes the file, brings it to the current schema, and checks it.
    ///
    /// # Errors
    /// Where another process has it, it cannot be made or read, is damaged, or is of a newer version.
    pub fn open(options: Options) -> Result<Self, StoreError> {
        Self::open_synchronous(options, Synchronous::Full)
    }

    /// The same, but a commit does not wait for the disk, and a power cut loses what was acknowledged. It shows a test
    /// of power cuts that its disk loses what nobody waited for; no configuration leads here.
    ///
    /// # Errors
    /// As [`Self::open`].
    #[cfg(feature = "open-to-lose")]
    pub fn open_to_lose(options: Options) -> Result<Self, StoreError> {
        Self::open_synchronous(options, Synchronous::Normal)
    }

    fn open_synchronous(options: Options, synchronous: Synchronous) -> Result<Self, StoreError> {
        let Options { path, timepiece, pages_max } = options;
        let lock = lock(&path)?;
        make_private(&path)?;
        let connection = Connection::open(&path)?;
        schema::prepare(&connection, synchronous)?;
        let [reader, auditor] = [schema::open_reader(&path)?, schema::open_reader(&path)?];
        let now: Arc<dyn Fn() -> Reading + Send + Sync> = Arc::from(timepiece);
        let groups = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&groups);
        let mut writer = Writer::open(connection, &path, Arc::clone(&now), pages_max)?;
        let (jobs, mut waiting) = mpsc::channel(WAITING_MAX);
        let thread = thread::Builder::new()
            .name("wallet.db".to_owned())
            .spawn(move || writer.run(&mut waiting, &counted))
            .map_err(|error| StoreError::Permanent(error.to_string()))?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
            reader: Database::serve("wallet.db", reader)?,
            auditor: Database::serve("wallet.db", auditor)?,
            now,
            groups,
            _lock: lock,
        })
    }

    /// How many groups of operations have been served since it was opened. What is in one group shares a sync.
    #[must_use]
    pub fn groups(&self) -> u64 {
        self.groups.load(Ordering::Relaxed)
    }

    fn ask<T: Send + 'static>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Job + Send + 'static,
    ) -> Answer<'_, T> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            self.send(job(reply)).await?;
            answer.await.map_err(|_| gone())?
        })
    }

    /// Hands a job over. It is done in its turn, whether or not anybody waits for that.
    async fn send(&self, job: Job) -> Result<(), StoreError> {
        let jobs = self.jobs.as_ref().ok_or_else(gone)?;
        jobs.send(job).await.map_err(|_| gone())
    }
}

fn gone() -> StoreError {
    StoreError::Permanent("the thread of the ledger has ended".to_owned())
}

impl Drop for SqliteLedger {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A thread that has panicked has written nothing since.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for SqliteLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteLedger").finish_non_exhaustive()
    }
}

impl LedgerStore for SqliteLedger {
    fn operate(&self, operation: Operation) -> Answer<'_, Verdict> {
        if matches!(operation, Operation::Draw(_)) {
            // Its rows are not written here: whoever has the file alone needs no allotment of it.
            let why = "allotments are for a ledger that several sidecars share";
            return Box::pin(async { Err(StoreError::Permanent(why.to_owned())) });
        }
        self.ask(|reply| Job::Operate(operation, reply))
    }

    fn expire_due(&self, count_max: usize) -> Answer<'_, usize> {
        self.ask(move |reply| Job::ExpireDue(count_max, reply))
    }

    fn balance(&self, org: String) -> Answer<'_, Balance> {
        self.reader.ask(move |connection| read::balance(connection, &org))
    }

    fn accounts(&self, org: String) -> Answer<'_, Vec<(String, Account)>> {
        self.reader.ask(move |connection| read::accounts(connection, &org))
    }

    fn hold(&self, id: TransferId) -> Answer<'_, Option<Hold>> {
        self.reader.ask(move |connection| read::one_hold(connection, id))
    }

    fn first_holds(&self, org: String, count_max: usize) -> Answer<'_, (Vec<Hold>, u64)> {
        self.reader.ask(move |connection| read::first_holds(connection, &org, count_max))
    }

    fn transfers(
        &self,
        org: String,
        after: u64,
        count_max: usize,
    ) -> Answer<'_, Vec<(u64, Transfer)>> {
        self.reader.ask(move |connection| read::transfers(connection, &org, after, count_max))
    }

    fn history(
        &self,
        org: String,
        before: Option<u64>,
        count_max: usize,
    ) -> Answer<'_, Vec<(u64, Transfer)>> {
        self.reader.ask(move |connection| read::history(connection, &org, before, count_max))
    }

    fn billed(
        &self,
        org: Option<String>,
        since: UnixMillis,
        until: UnixMillis,
    ) -> Answer<'_, Vec<Billed>> {
        self.auditor.ask(move |connection| bill::billed(connection, org.as_deref(), since, until))
    }

    fn levels(&self, org: String) -> Answer<'_, Vec<Level>> {
        let reading = (self.now)();
        self.reader.ask(move |connection| levels::levels(connection, &org, reading.wall))
    }

    fn alerted(&self, org: String, account: String) -> Answer<'_, bool> {
        self.ask(|reply| Job::Alert(org, account, reply))
    }

    fn freeze(&self, org: String, reason: String) -> Answer<'_, ()> {
        self.ask(|reply| Job::Freeze(org, reason, reply))
    }

    fn unfreeze(&self, org: String) -> Answer<'_, ()> {
        self.ask(|reply| Job::Unfreeze(org, reply))
    }

    fn frozen(&self) -> Answer<'_, Vec<(String, Frozen)>> {
        self.reader.ask(|connection| read::frozen(connection))
    }

    fn audit(&self) -> Answer<'_, Findings> {
        self.auditor.ask(read::audit)
    }
}

/// Claims the file for this process; the system lets go of a dead one's claim.
fn lock(path: &Path) -> Result<File, StoreError> {
    let beside = beside(path, ".lock");
    make_private(&beside)?;
    let failed = |error| StoreError::Permanent(format!("{}: {error}", beside.display()));
    let file = OpenOptions::new().write(true).mode(0o600).open(&beside).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Permanent(format!(
            "another sidecar has the wallet in {}; one file has one sidecar",
            path.display()
        ))),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// `path` with something behind its last name.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut text = path.as_os_str().to_owned();
    text.push(ending);
    text.into()
}

#[cfg(test)]
#[path = "ledger/ledger_tests.rs"]
mod tests;
