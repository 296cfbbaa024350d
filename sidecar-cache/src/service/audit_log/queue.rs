//! What waits to be written, and what is known of the store.

use std::collections::VecDeque;

use kt_contract::time::UnixMillis;
use tokio::sync::oneshot;

use super::Unrecorded;
use crate::audit_log::Fact;

/// How many records wait at most; those of some minutes of a busy sidecar, and some MiB.
const QUEUED_MAX: usize = 16_384;

/// A record on its way.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) fact: Fact,
    /// Who waits for it; nobody, where it is written behind the answer.
    pub(super) reply: Option<oneshot::Sender<Result<(), Unrecorded>>>,
}

/// Records in their order, and whether somebody writes them.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<Waiting>,
    is_writing: bool,
    trouble: Option<Trouble>,
}

/// The store does not take them.
#[derive(Debug)]
struct Trouble {
    since: UnixMillis,
    why: String,
    /// Requests without a record since then.
    lost: u64,
}

// === impl Queue ===

impl Queue {
    /// Takes one more. Says how many requests have lost their record for it.
    pub(super) fn push(&mut self, waiting: Waiting) -> u64 {
        self.waiting.push_back(waiting);
        self.shrink()
    }

    /// Whether whoever asks has to see to it that somebody writes.
    pub(super) fn begins_to_write(&mut self) -> bool {
        !std::mem::replace(&mut self.is_writing, true)
    }

    pub(super) const fn is_writing(&self) -> bool {
        self.is_writing
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The next ones. `None`: there are none, and whoever asks writes no more.
    pub(super) fn take(&mut self, count_max: usize) -> Option<Vec<Waiting>> {
        if self.waiting.is_empty() {
            self.is_writing = false;
            return None;
        }
        let count = self.waiting.len().min(count_max);
        Some(self.waiting.drain(..count).collect())
    }

    /// The store has taken some. If it did not before: how many requests have no record.
    pub(super) fn recover(&mut self) -> Option<u64> {
        self.trouble.take().map(|trouble| trouble.lost)
    }

    /// The store has not taken these. Who waits is told, and does not wait for a better time; the others do. Says
    /// whether that is news, and how many requests have lost their record.
    pub(super) fn fail(&mut self, group: Vec<Waiting>, why: &str, now: UnixMillis) -> (bool, u64) {
        let is_new = self.trouble.is_none();
        let new = || Trouble { since: now, why: String::new(), lost: 0 };
        self.trouble.get_or_insert_with(new).why = why.to_owned();
        let behind = std::mem::take(&mut self.waiting);
        for Waiting { fact, reply } in group.into_iter().chain(behind) {
            match reply {
                // Who has left does not want the answer.
                Some(reply) => drop(reply.send(Err(Unrecorded))),
                None => self.waiting.push_back(Waiting { fact, reply: None }),
            }
        }
        (is_new, self.shrink())
    }

    pub(super) fn fault(&self) -> Option<String> {
        let Trouble { since, why, lost } = self.trouble.as_ref()?;
        let (since, waiting) = (since.0 / 1_000, self.waiting.len());
        Some(format!(
            "audit log: it cannot be written since second {since} of the epoch: {why}; {waiting} records wait, \
             {lost} are lost"
        ))
    }

    /// The oldest go where there is no room. Who waits for one is told by its end.
    fn shrink(&mut self) -> u64 {
        let mut lost = 0_u64;
        while self.waiting.len() > QUEUED_MAX {
            let Some(Waiting { fact, reply }) = self.waiting.pop_front() else { break };
            if reply.is_none() {
                lost = lost.saturating_add(fact.times());
            }
        }
        if let Some(trouble) = &mut self.trouble {
            trouble.lost = trouble.lost.saturating_add(lost);
        }
        lost
    }
}
