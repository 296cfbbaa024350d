//! Who waits for whom. Each organization has a queue: what waits in it is done together, in its order and in one
//! transaction, while other queues go on beside it. So many callers of one wallet share one commit, and a lock that
//! somebody holds on one organization keeps nobody else waiting. Queues are for speed alone: what two transactions must
//! not do at once, the locks in the database say.

use std::collections::{HashMap, VecDeque};

use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};

use super::group::{Usual, Writer};
use super::job::Job;
use crate::ledger::request::Draw;
use crate::ledger::{Operation, TransferId};

/// How many jobs share a transaction at most: what one of them waits for is bounded.
const GROUP_MAX: usize = 512;
/// How many jobs may wait. Beyond it callers are told to come again.
pub(super) const WAITING_MAX: usize = 4_096;
/// How many transactions are under way at once.
pub(super) const GROUPS_MAX: usize = 4;
/// How often everybody else who can go on does so before a group begins.
const YIELDS: usize = 8;
/// How many organizations' queues are kept, for what they have touched of late, while nothing waits in them.
const QUEUES_MAX: usize = 1_024;
/// How many holds' organizations are remembered. Others are found when their row is read.
const HOLDS_MAX: usize = 65_536;

/// What waits for one organization.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<Job>,
    usual: Usual,
    is_busy: bool,
}

/// All queues.
pub(super) struct Queues {
    writer: Writer,
    queues: HashMap<String, Queue>,
    /// Queues in which something waits and that nobody works on, the longest-waiting first.
    ready: VecDeque<String>,
    waiting: usize,
    groups: JoinSet<Usual>,
    /// Of which queue each group is: one that fails frees its queue like any other.
    queues_of: HashMap<Id, String>,
    orgs_of: HashMap<TransferId, String>,
}

// === impl Queues ===

impl Queues {
    pub(super) fn new(writer: Writer) -> Self {
        Self {
            writer,
            queues: HashMap::new(),
            ready: VecDeque::new(),
            waiting: 0,
            groups: JoinSet::new(),
            queues_of: HashMap::new(),
            orgs_of: HashMap::new(),
        }
    }

    /// Serves what comes, until nobody can ask any more and all is done.
    pub(super) async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut is_open = true;
        while is_open || self.waiting > 0 || !self.groups.is_empty() {
            tokio::select! {
                job = jobs.recv(), if is_open && self.waiting < WAITING_MAX => match job {
                    Some(job) => self.take(job),
                    None => is_open = false,
                },
                Some(done) = self.groups.join_next_with_id() => self.ended(done),
            }
            // All that is there already is in the same group, and what those ask who have just been answered.
            for _ in 0..YIELDS {
                while self.waiting < WAITING_MAX
                    && let Ok(job) = jobs.try_recv()
                {
                    self.take(job);
                }
                tokio::task::yield_now().await;
            }
            self.start();
        }
    }

    fn take(&mut self, job: Job) {
        let name = self.queue_of(&job);
        let queue = self.queues.entry(name.clone()).or_default();
        if queue.waiting.is_empty() && !queue.is_busy {
            self.ready.push_back(name);
        }
        queue.waiting.push_back(job);
        self.waiting = self.waiting.saturating_add(1);
    }

    /// The organization of a job, or a queue for those of which only the row of their hold tells it.
    fn queue_of(&mut self, job: &Job) -> String {
        let hold = match job {
            Job::Operate(
                Operation::Reserve(asked) | Operation::Draw(Draw { reserve: asked, .. }),
                ..,
            ) => {
                if self.orgs_of.len() >= HOLDS_MAX {
                    self.orgs_of.clear();
                }
                self.orgs_of.insert(asked.id, asked.org.clone());
                None
            }
            Job::Operate(operation, ..) => operation.hold(),
            Job::Freeze(..) | Job::Unfreeze(..) => None,
        };
        let of_hold = || hold.and_then(|hold| self.orgs_of.get(&hold)).cloned();
        job.org().map(str::to_owned).or_else(of_hold).unwrap_or_default()
    }

    fn start(&mut self) {
        while self.groups.len() < GROUPS_MAX
            && let Some(name) = self.ready.pop_front()
        {
            let Some(queue) = self.queues.get_mut(&name) else { continue };
            let count = queue.waiting.len().min(GROUP_MAX);
            let group: Vec<_> = queue.waiting.drain(..count).collect();
            self.waiting = self.waiting.saturating_sub(count);
            queue.is_busy = true;
            let (writer, mut usual) = (self.writer.clone(), std::mem::take(&mut queue.usual));
            // The queue without a name is of holds whose organization nobody here knows.
            let is_mixed = name.is_empty();
            let task = self.groups.spawn(async move {
                writer.serve(group, &mut usual, is_mixed).await;
                usual
            });
            self.queues_of.insert(task.id(), name);
        }
    }

    fn ended(&mut self, done: Result<(Id, Usual), JoinError>) {
        let (task, usual) = match done {
            Ok(done) => done,
            // Those who wait for its answers are told that there are none.
            Err(error) => {
                tracing::error!(%error, "a group of operations has failed");
                (error.id(), Usual::default())
            }
        };
        let Some(name) = self.queues_of.remove(&task) else { return };
        let Some(queue) = self.queues.get_mut(&name) else { return };
        queue.is_busy = false;
        queue.usual = usual;
        if !queue.waiting.is_empty() {
            self.ready.push_back(name);
        }
        if self.queues.len() > QUEUES_MAX {
            self.queues.retain(|_, queue| queue.is_busy || !queue.waiting.is_empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    use super::*;
    use crate::clock::Clock;
    use crate::store::postgres::{Address, Database};

    /// Queues over a database that is not there.
    fn queues() -> Queues {
        let address = Address::parse("postgres://kt@127.0.0.1:1/kt").unwrap();
        let database = Arc::new(Database::at(address, 1, Clock::start()).unwrap());
        Queues::new(Writer { database, timepiece: None, groups: Arc::new(AtomicU64::new(0)) })
    }

    #[tokio::test]
    async fn organizations_that_were_served_are_not_kept_for_ever() {
        let mut queues = queues();
        for number in 0..QUEUES_MAX * 2 {
            queues.take(Job::Unfreeze(format!("org-{number}"), tokio::sync::oneshot::channel().0));
            queues.start();
            let done = queues.groups.join_next_with_id().await.unwrap();
            queues.ended(done);
        }
        assert!(queues.queues.len() <= QUEUES_MAX, "{}", queues.queues.len());
        assert!(queues.queues_of.is_empty() && queues.ready.is_empty());
    }
}
