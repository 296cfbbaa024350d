//! The ledger in Postgres, which several sidecars share. What an operation does is decided by [`crate::ledger::book`]
//! over rows that were read under the lock of their organization; nothing is remembered between transactions but
//! which rows are likely to be needed.
//!
//! Allotments, by which a sidecar reserves without a transaction for each call, are the business of [`crate::allotment`];
//! here one is a hold with [`crate::ledger::request::Purpose::Allotment`]. Ends of calls
//! that the database has not taken lie in a spool ([`crate::store::spool`]) and are asked again with the same ids.

mod bill;
mod facts;
mod flush;
mod group;
mod job;
mod queues;
mod read;
mod rows;
mod savings;
mod sheet;
mod turns;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kt_contract::time::UnixMillis;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::database::{Database, Purpose, in_time};
use super::fault::Fault;
use super::schema;
use crate::ledger::account::Account;
use crate::ledger::audit::Findings;
use crate::ledger::bill::Billed;
use crate::ledger::{Hold, Operation, Transfer, TransferId};
use crate::random;
use crate::store::ledger::memory::Timepiece;
use crate::store::ledger::turns::{Told, Turn};
use crate::store::ledger::{Balance, Frozen, LedgerStore, Level, Payers, Verdict};
use crate::store::{Answer, StoreError};
use group::Writer;
use job::Job;
use queues::{Queues, WAITING_MAX};

/// How many pages of what is due are looked at in one step: each is behind the organizations that were in the way of the
/// others in those before.
const DUE_PAGES: usize = 8;

/// How many may count what was charged or saved at once: each takes a connection for as long as that takes, and calls need
/// some too.
const REPORTS_MAX: usize = 2;

/// A ledger in one database. Dropped, it finishes what it has been asked.
pub struct PostgresLedger {
    writer: Writer,
    jobs: mpsc::Sender<Job>,
    /// Who this is when it is asked who counts the ledger.
    holder: turns::Holder,
    reports: Semaphore,
}

/// What has come of a page of what is due.
#[derive(Default)]
struct Page {
    closed: usize,
    /// Whether there may be more.
    is_full: bool,
    /// Of whom nothing was closed.
    barred: BTreeSet<String>,
    /// Why something could not be closed, of one of them.
    failed: Option<(String, StoreError)>,
}

// === impl PostgresLedger ===

impl PostgresLedger {
    /// Opens the ledger of a database that has its tables. The time is the database's own, or, for tests, the wall
    /// clock of a timepiece.
    ///
    /// # Errors
    /// Where the database cannot be reached or has tables of another version.
    pub async fn open(
        database: Database,
        timepiece: Option<Timepiece>,
    ) -> Result<Self, StoreError> {
        schema::check(&database).await?;
        let database = Arc::new(database);
        let (timepiece, groups) = (timepiece.map(Arc::new), Arc::new(AtomicU64::new(0)));
        let writer = Writer { database, timepiece, groups };
        let (jobs, waiting) = mpsc::channel(WAITING_MAX);
        tokio::spawn(Queues::new(writer.clone()).run(waiting));
        let holder = random::bytes().map_err(|error| StoreError::Permanent(error.to_string()))?;
        Ok(Self { writer, jobs, holder, reports: Semaphore::new(REPORTS_MAX) })
    }

    /// How many groups of operations have been written since it was opened. What is in one group shares a commit.
    #[must_use]
    pub fn groups(&self) -> u64 {
        self.writer.groups.load(Ordering::Relaxed)
    }

    fn ask<T: Send + 'static>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Job + Send + 'static,
    ) -> Answer<'_, T> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            self.jobs.try_send(job(reply)).map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => {
                    StoreError::Transient("too much waits for the database".to_owned())
                }
                mpsc::error::TrySendError::Closed(_) => gone(),
            })?;
            // Nobody knows what has become of it.
            let lost = |_| StoreError::Transient("the question was lost".to_owned());
            answer.await.map_err(lost)?
        })
    }

    /// Closes a page of what is due.
    async fn close_page(
        &self,
        count_max: usize,
        barred: &BTreeSet<String>,
    ) -> Result<Page, StoreError> {
        let due = in_time(Purpose::Read, read::due(&self.writer, count_max, barred)).await?;
        let mut page = Page { is_full: due.len() >= count_max, ..Page::default() };
        page.barred.extend(due.iter().map(|(org, _)| org.clone()));
        let asked = due.into_iter().map(|(org, due)| async move {
            let of = Some(org.clone());
            (org, self.ask(move |reply| Job::Operate(due, of, reply)).await)
        });
        for (org, verdict) in futures_util::future::join_all(asked).await {
            match verdict {
                Ok(Ok(_)) => {
                    page.closed = page.closed.saturating_add(1);
                    page.barred.remove(&org);
                }
                // A refusal is no fault here: its end has come meanwhile, or it lives longer by now.
                Ok(Err(_)) => {}
                Err(error) => page.failed = Some((org, error)),
            }
        }
        Ok(page)
    }

    fn read<'a, T: Send + 'a>(
        purpose: Purpose,
        work: impl Future<Output = Result<T, Fault>> + Send + 'a,
    ) -> Answer<'a, T> {
        Box::pin(async move { Ok(in_time(purpose, work).await?) })
    }

    /// Counts a part of the history for somebody who wants to know, when it is its turn.
    fn report<'a, T: Send + 'a>(
        &'a self,
        work: impl Future<Output = Result<T, Fault>> + Send + 'a,
    ) -> Answer<'a, T> {
        Box::pin(async move {
            let _permit = self.reports.acquire().await.map_err(|_| gone())?;
            Ok(in_time(Purpose::Count, work).await?)
        })
    }
}

fn gone() -> StoreError {
    StoreError::Permanent("nobody writes the ledger any more".to_owned())
}

impl fmt::Debug for PostgresLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PostgresLedger").field(&self.writer.database).finish()
    }
}

impl LedgerStore for PostgresLedger {
    fn operate(&self, operation: Operation) -> Answer<'_, Verdict> {
        self.ask(|reply| Job::Operate(operation, None, reply))
    }

    fn expire_due(&self, count_max: usize) -> Answer<'_, usize> {
        Box::pin(async move {
            let (mut barred, mut closed, mut failure) = (BTreeSet::new(), 0_usize, None);
            for _ in 0..DUE_PAGES {
                let page = self.close_page(count_max.saturating_sub(closed), &barred).await?;
                closed = closed.saturating_add(page.closed);
                failure = page.failed.or(failure);
                if !page.is_full || page.barred.is_empty() {
                    break;
                }
                // Behind those of whom nothing could be closed, others may wait.
                barred.extend(page.barred);
            }
            let Some((org, error)) = failure else { return Ok(closed) };
            tracing::error!(org, %error, "what is due of an organization cannot be closed");
            if closed == 0 { Err(error) } else { Ok(closed) }
        })
    }

    fn balance(&self, org: String) -> Answer<'_, Balance> {
        Self::read(Purpose::Read, async move { read::balance(&self.writer, &org).await })
    }

    fn payers(&self, org: String) -> Answer<'_, Payers> {
        Self::read(Purpose::Read, async move { read::payers(&self.writer, &org).await })
    }

    fn accounts(&self, org: String) -> Answer<'_, Vec<(String, Account)>> {
        Self::read(Purpose::Read, async move { read::accounts(&self.writer, &org).await })
    }

    fn hold(&self, id: TransferId) -> Answer<'_, Option<Hold>> {
        Self::read(Purpose::Read, read::one_hold(&self.writer, id))
    }

    fn holds_by_id(&self, ids: Vec<TransferId>) -> Answer<'_, HashMap<TransferId, Hold>> {
        Self::read(Purpose::Read, async move { read::holds_by_id(&self.writer, &ids).await })
    }

    fn first_holds(&self, org: String, count_max: usize) -> Answer<'_, (Vec<Hold>, u64)> {
        Self::read(
            Purpose::Read,
            async move { read::first_holds(&self.writer, &org, count_max).await },
        )
    }

    fn transfers(
        &self,
        org: String,
        after: u64,
        count_max: usize,
    ) -> Answer<'_, Vec<(u64, Transfer)>> {
        Self::read(Purpose::Read, async move {
            read::transfers(&self.writer, &org, after, count_max).await
        })
    }

    fn history(
        &self,
        org: String,
        before: Option<u64>,
        count_max: usize,
    ) -> Answer<'_, Vec<(u64, Transfer)>> {
        Self::read(Purpose::Read, async move {
            read::history(&self.writer, &org, before, count_max).await
        })
    }

    fn billed(
        &self,
        org: Option<String>,
        since: UnixMillis,
        until: UnixMillis,
    ) -> Answer<'_, Vec<Billed>> {
        self.report(async move { bill::billed(&self.writer, org.as_deref(), since, until).await })
    }

    fn levels(&self, org: String) -> Answer<'_, Vec<Level>> {
        Self::read(Purpose::Read, async move { read::levels(&self.writer, &org).await })
    }

    fn alerted(&self, org: String, account: String) -> Answer<'_, bool> {
        Self::read(Purpose::Write, async move { self.writer.alert(&org, &account).await })
    }

    fn freeze(&self, org: String, reason: String) -> Answer<'_, ()> {
        self.ask(|reply| Job::Freeze(org, reason, reply))
    }

    fn unfreeze(&self, org: String) -> Answer<'_, ()> {
        self.ask(|reply| Job::Unfreeze(org, reply))
    }

    fn frozen(&self) -> Answer<'_, Vec<(String, Frozen)>> {
        Self::read(Purpose::Read, read::frozen(&self.writer))
    }

    fn audit(&self) -> Answer<'_, Findings> {
        Self::read(Purpose::Count, read::audit(&self.writer))
    }

    fn audit_turn(&self) -> Answer<'_, Turn> {
        Self::read(Purpose::Write, turns::take(&self.writer, &self.holder))
    }

    fn audit_told(&self, told: Told) -> Answer<'_, ()> {
        Self::read(Purpose::Write, turns::tell(&self.writer, &self.holder, told))
    }
}
