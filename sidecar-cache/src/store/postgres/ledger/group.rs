//! A group of operations in one transaction: lock, read, work out, write. All of it is on disk when this returns, or
//! nothing was done, or nobody knows; done again with the same ids, it finds out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kt_contract::time::UnixMillis;

use super::facts::{self, Facts, Question};
use super::flush::flush;
use super::job::{Done, Job};
use super::sheet::Sheet;
use crate::ledger::TransferId;
use crate::ledger::account::AccountName;
use crate::store::ledger::memory::Timepiece;
use crate::store::postgres::Database;
use crate::store::postgres::database::{PAUSES, Purpose, Session, in_time};
use crate::store::postgres::fault::Fault;

/// How many accounts are asked for before anybody has named them.
const USUAL_MAX: usize = 256;

/// Accounts that groups of a queue have touched of late: the next one is likely to.
pub(super) type Usual = BTreeSet<(String, AccountName)>;

/// Where groups are written, and by whose clock.
#[derive(Clone)]
pub(super) struct Writer {
    pub(super) database: Arc<Database>,
    /// Instead of the database's own clock.
    pub(super) timepiece: Option<Arc<Timepiece>>,
    /// How many groups were written.
    pub(super) groups: Arc<AtomicU64>,
}

/// What has come of a try.
enum Tried {
    Done(Vec<Done>),
    /// Holds of other organizations are in it, which have to be locked as well, and in their order.
    Wider(BTreeSet<String>),
}

/// What is known of the tries before.
#[derive(Default)]
struct Before {
    /// Organizations that are not waited for again.
    barred: BTreeSet<String>,
    /// Those whose locks were asked for last.
    asked: BTreeSet<String>,
    /// Reserves of which a commit was asked and not heard of. Each call has an id of its own: one that is there by now was
    /// made here, and nobody was told.
    unheard: BTreeSet<TransferId>,
}

/// Whether a group may fail for one of its jobs alone.
const fn is_one_in_the_way(fault: &Fault, is_mixed: bool) -> bool {
    match fault {
        Fault::Never(_) | Fault::Failed(_) => true,
        Fault::Later(_) | Fault::Corrupt(_) => is_mixed,
        Fault::Again(_) | Fault::ReadOnly(_) => false,
    }
}

// === impl Writer ===

impl Writer {
    /// What time it is, if not the database is asked.
    pub(super) fn wall(&self) -> Option<UnixMillis> {
        self.timepiece.as_ref().map(|read| read().wall)
    }

    /// Does a group and answers, or says to each caller why not. `is_mixed`: nobody knows yet whose books it is about.
    pub(super) async fn serve(&self, group: Vec<Job>, usual: &mut Usual, is_mixed: bool) {
        let mut before = Before::default();
        match self.until_known(&group, usual, &mut before).await {
            Ok(done) => {
                for (job, done) in group.into_iter().zip(done) {
                    job.answer(Ok(done));
                }
            }
            // One of them cannot be written, or the book of one is locked or broken. The others can.
            Err(fault) if group.len() > 1 && is_one_in_the_way(&fault, is_mixed) => {
                self.one_by_one(group, usual, before).await;
            }
            Err(fault) => group.into_iter().for_each(|job| job.answer(Err(fault.clone()))),
        }
    }

    /// Does each alone. A lock on an organization is waited for once, and nothing is where the database has no answer
    /// for anybody.
    async fn one_by_one(&self, group: Vec<Job>, usual: &mut Usual, mut before: Before) {
        let mut for_all = None;
        for job in group {
            if let Some(fault) = &for_all {
                job.answer(Err(Fault::clone(fault)));
                continue;
            }
            let alone = self.until_known(std::slice::from_ref(&job), usual, &mut before).await;
            if let Err(fault @ (Fault::Later(_) | Fault::Again(_) | Fault::ReadOnly(_))) = &alone {
                let asked = std::mem::take(&mut before.asked);
                if asked.is_empty() {
                    for_all = Some(fault.clone());
                }
                before.barred.extend(asked);
            }
            let done = alone
                .and_then(|mut done| done.pop().ok_or(Fault::Corrupt("a job without an answer")));
            job.answer(done);
        }
    }

    /// Tries again where that may help at once.
    async fn until_known(
        &self,
        group: &[Job],
        usual: &mut Usual,
        before: &mut Before,
    ) -> Result<Vec<Done>, Fault> {
        let mut pauses = PAUSES.iter();
        loop {
            match in_time(Purpose::Write, Box::pin(self.attempt(group, usual, before))).await {
                Err(Fault::Again(why)) => match pauses.next() {
                    Some(pause) => tokio::time::sleep(*pause).await,
                    None => return Err(Fault::Again(why)),
                },
                known => return known,
            }
        }
    }

    async fn attempt(
        &self,
        group: &[Job],
        usual: &mut Usual,
        before: &mut Before,
    ) -> Result<Vec<Done>, Fault> {
        let mut question = Question::default();
        group.iter().for_each(|job| job.ask(&mut question));
        question.accounts.clone_from(usual);
        before.asked.clone_from(&question.orgs);
        loop {
            let session = self.database.session().await?;
            let tried = self.once(&session, group, &question, (usual, &mut before.unheard)).await;
            match tried {
                Ok(Tried::Done(done)) => {
                    session.ended();
                    return Ok(done);
                }
                Ok(Tried::Wider(orgs)) => {
                    session.undo().await;
                    if !orgs.is_disjoint(&before.barred) {
                        before.asked.clone_from(&before.barred);
                        return Err(Fault::Later("somebody waits for its organization".to_owned()));
                    }
                    question.orgs.extend(orgs);
                    before.asked.clone_from(&question.orgs);
                }
                Err(fault) => return Err(session.undo_after(fault).await),
            }
        }
    }

    async fn once(
        &self,
        session: &Session,
        group: &[Job],
        question: &Question,
        (usual, unheard): (&mut Usual, &mut BTreeSet<TransferId>),
    ) -> Result<Tried, Fault> {
        let client = session.client()?;
        let mut facts = Facts::default();
        let (begun, asked) = tokio::join!(
            async { Ok::<_, Fault>(client.batch_execute(Purpose::Write.begin()).await?) },
            facts.ask(client, question, self.wall()),
        );
        begun?;
        if !asked? {
            facts::make(client, &question.orgs).await?;
            facts = Facts::default();
            facts.ask(client, question, self.wall()).await?;
        }
        loop {
            let mut sheet = Sheet::over(&facts);
            let mut done: Vec<_> = group.iter().map(|job| sheet.job(job)).collect();
            let Sheet { changes, missing, seen, .. } = sheet;
            if !missing.orgs.is_empty() {
                return Ok(Tried::Wider(missing.orgs));
            }
            if !missing.is_empty() {
                facts.ask(client, &missing, self.wall()).await?;
                continue;
            }
            let mut owed = unheard.clone();
            for (job, done) in group.iter().zip(&mut done) {
                job.is_told_at_last(done, &mut owed);
            }
            if changes.orgs.is_empty() {
                // Nothing but refusals and what was done before.
                client.batch_execute("ROLLBACK").await?;
            } else {
                unheard
                    .extend(group.iter().zip(&done).filter_map(|(job, done)| job.reserved(done)));
                flush(client, &changes).await?;
                self.groups.fetch_add(1, Ordering::Relaxed);
            }
            *usual = seen.into_iter().take(USUAL_MAX).collect();
            return Ok(Tried::Done(done));
        }
    }
}
