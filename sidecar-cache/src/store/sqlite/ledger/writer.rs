//! The thread that writes. It takes all that waits, does it in one transaction, and answers when that is on disk:
//! the more callers wait, the more share one sync. Where something of a group cannot be written, nothing of it
//! was, and each of its operations is done again alone; so a group needs no savepoints.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::book::Book;
use super::headroom::{BYTES, Headroom};
use super::{beside, rows};
use crate::ledger::Operation;
use crate::ledger::clock::{LedgerClock, Now, Reading};
use crate::store::StoreError;
use crate::store::ledger::Verdict;
use crate::store::savings::Saved;

/// How many jobs share a transaction at most: what one of them waits for is bounded.
const GROUP_MAX: usize = 1_024;

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the thread is asked to do.
#[expect(clippy::large_enum_variant, reason = "the largest is asked for with every call")]
pub(super) enum Job {
    Operate(Operation, Reply<Verdict>),
    ExpireDue(usize, Reply<usize>),
    Freeze(String, String, Reply<()>),
    Unfreeze(String, Reply<()>),
    Alert(String, String, Reply<bool>),
    /// Nobody waits for it.
    Note(Vec<Saved>),
}

/// What a job has come to, before it is on disk.
pub(super) enum Done {
    Verdict(Verdict),
    Count(usize),
    First(bool),
    Nothing,
}

/// A book, and what decides when something is written into it.
pub(super) struct Writer {
    now: Arc<dyn Fn() -> Reading + Send + Sync>,
    clock: LedgerClock,
    headroom: Headroom,
    book: Book,
}

// === impl Writer ===

impl Writer {
    pub(super) fn open(
        connection: Connection,
        path: &Path,
        now: Arc<dyn Fn() -> Reading + Send + Sync>,
        pages_max: Option<u32>,
    ) -> Result<Self, StoreError> {
        let clock = LedgerClock::resume(rows::marks(&connection)?, now());
        let headroom = Headroom::keep(&beside(path, ".headroom"), &connection, BYTES, pages_max)?;
        Ok(Self { now, clock, headroom, book: Book::open(connection)? })
    }

    /// Serves what comes, and counts its groups, until nobody can ask any more.
    pub(super) fn run(&mut self, waiting: &mut mpsc::Receiver<Job>, groups: &AtomicU64) {
        let mut group = Vec::new();
        while let Some(first) = waiting.blocking_recv() {
            group.push(first);
            while group.len() < GROUP_MAX
                && let Ok(next) = waiting.try_recv()
            {
                group.push(next);
            }
            groups.fetch_add(1, Ordering::Relaxed);
            self.serve(&mut group);
        }
    }

    /// Does a group, and answers.
    fn serve(&mut self, group: &mut Vec<Job>) {
        let now = self.clock.now((self.now)());
        // Where the room cannot be taken again, it is asked for again with the next group.
        let _ = self.headroom.recover(&self.book.connection);
        let is_spent = self.headroom.is_spent();
        if !is_spent && let Ok(done) = self.book.commit(&now, group) {
            for (job, done) in group.drain(..).zip(done) {
                job.answer(Ok(done));
            }
            return;
        }
        for job in group.drain(..) {
            let done = self.alone(&now, &job);
            job.answer(done);
        }
    }

    /// Does a job in a transaction of its own, on the headroom if there is nothing else.
    fn alone(&mut self, now: &Now, job: &Job) -> Result<Done, StoreError> {
        if self.headroom.is_spent() && !job.is_ending() {
            return Err(full());
        }
        let first = self.book.commit(now, std::slice::from_ref(job));
        // In SQLite's own words; that somebody else has a lock is transient too.
        let is_full =
            matches!(&first, Err(StoreError::Transient(why)) if why.contains("disk is full"));
        if is_full && !self.headroom.is_spent() {
            self.headroom.spend(&self.book.connection)?;
            return self.alone(now, job);
        }
        first?.pop().ok_or_else(|| StoreError::Permanent("a job without an answer".to_owned()))
    }
}

fn full() -> StoreError {
    StoreError::Transient(
        "the disk is full: calls that run can settle, nothing new is reserved".to_owned(),
    )
}

// === impl Job ===

impl Job {
    fn is_ending(&self) -> bool {
        match self {
            Self::Operate(operation, _) => operation.is_ending(),
            Self::ExpireDue(..) | Self::Freeze(..) | Self::Unfreeze(..) => true,
            Self::Note(_) | Self::Alert(..) => false,
        }
    }

    fn answer(self, done: Result<Done, StoreError>) {
        // A caller that has left does not want the answer.
        let _ = match self {
            Self::Operate(_, reply) => reply.send(done.and_then(Done::verdict)).is_ok(),
            Self::ExpireDue(_, reply) => reply.send(done.and_then(Done::count)).is_ok(),
            Self::Alert(_, _, reply) => reply.send(done.and_then(Done::first)).is_ok(),
            Self::Note(saved) => {
                if let Err(error) = done {
                    tracing::warn!(%error, lines = saved.len(), "savings are not counted");
                }
                true
            }
            Self::Freeze(_, _, reply) | Self::Unfreeze(_, reply) => {
                reply.send(done.map(|_| ())).is_ok()
            }
        };
    }
}

// === impl Done ===

impl Done {
    fn verdict(self) -> Result<Verdict, StoreError> {
        match self {
            Self::Verdict(verdict) => Ok(verdict),
            Self::Count(_) | Self::First(_) | Self::Nothing => Err(other()),
        }
    }

    fn count(self) -> Result<usize, StoreError> {
        match self {
            Self::Count(count) => Ok(count),
            Self::Verdict(_) | Self::First(_) | Self::Nothing => Err(other()),
        }
    }

    fn first(self) -> Result<bool, StoreError> {
        match self {
            Self::First(is_first) => Ok(is_first),
            Self::Verdict(_) | Self::Count(_) | Self::Nothing => Err(other()),
        }
    }
}

fn other() -> StoreError {
    StoreError::Permanent("an answer to another question".to_owned())
}
