//! Who waits for whom. Each organization has a queue: what waits in it is done together, in its order and in one
//! transaction, while other queues go on beside it. So many callers of one wallet share one commit, and a lock that
//! somebody holds on one organization keeps nobody else waiting. Queues are for speed alone: what two transactions must
//! not do at once, the locks in the database say.

use std::collections::{HashMap, VecDeque};

use tokio::sync::mpsc;
use tokio::task::JoinSet;

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
    groups: JoinSet<(String, Usual)>,
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
                Some(done) = self.groups.join_next() => self.ended(done.ok()),
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
            self.groups.spawn(async move {
                // The queue without a name is of holds whose organization nobody here knows.
                writer.serve(group, &mut usual, name.is_empty()).await;
                (name, usual)
            });
        }
    }

    fn ended(&mut self, done: Option<(String, Usual)>) {
        let Some((name, usual)) = done else { return };
        let Some(queue) = self.queues.get_mut(&name) else { return };
        queue.is_busy = false;
        queue.usual = usual;
        if !queue.waiting.is_empty() {
            self.ready.push_back(name);
        }
    }
}
