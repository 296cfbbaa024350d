//! Telling the ledger what lies in the spool: what a process before this one has left there, and what the ledger did
//! not take when it was asked.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{sleep, timeout};

use super::Books;
use super::ends::AGAIN;
use super::spool::{Page, Spool};
use super::unknown::Fate;
use crate::ledger::{Operation, Refused};
use crate::metrics::Spooling;
use crate::store::StoreError;

/// How long is waited at most before a ledger that takes nothing is told again: it is to know all soon after it is back.
const STUCK_MAX: Duration = Duration::from_secs(2);

/// What has come of going through the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::service) enum Round {
    /// The ledger has all that can be read.
    Done,
    /// It has taken some of it.
    Moved,
    /// It has answered to all of it; what is left is told again some time later.
    Later,
    /// It has taken nothing.
    Stuck,
}

/// How far the spool was gone through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::service) struct Walk {
    /// The last number that was looked at.
    from: u64,
    /// Whether something up to there was left.
    has_left: bool,
    /// Whether something was left that is told again some time later, and nothing is amiss.
    has_later: bool,
}

/// What has come of one page.
struct Told {
    numbers: Vec<u64>,
    /// What became of them.
    became: Vec<Spooling>,
    /// Whether some are told again later, though the ledger has answered.
    has_later: bool,
    has_answers: bool,
    /// Why the rest was not taken.
    fault: Option<StoreError>,
    /// Whether all that was not taken failed for want of the ledger, as others would, and not for what it is.
    is_for_all: bool,
}

// === impl Books ===

impl Books {
    /// How many ends lie in the spool that the ledger has not taken. What was reserved out of allotments always comes by
    /// there: it counts once the ledger was told of it in vain.
    pub(in crate::service) fn spooled(&self) -> usize {
        let count = self.spool.as_ref().map_or(0, |spool| spool.count());
        count.saturating_sub(self.allotted.in_hand())
    }

    /// How many of them the ledger can be told.
    pub(in crate::service) fn waiting(&self) -> usize {
        self.spool.as_ref().map_or(0, |spool| spool.waiting())
    }

    /// What is wrong with the spool, in sentences.
    pub(in crate::service) fn spool_faults(&self) -> Vec<String> {
        self.spool.as_ref().map_or_else(Vec::new, |spool| spool.faults())
    }

    /// Tells the ledger what is left in the spool, for as long as it is polled.
    pub(in crate::service) async fn keep_telling(&self) {
        let Some(spool) = &self.spool else { return };
        let (mut pause, mut walk) = (AGAIN.0, Walk::default());
        loop {
            match self.tell(&mut walk, false).await {
                Round::Done => {
                    pause = AGAIN.0;
                    while timeout(AGAIN.1, spool.until_left()).await.is_err()
                        && !spool.needs_a_look()
                    {}
                    continue;
                }
                Round::Moved => pause = AGAIN.0,
                Round::Later => {}
                Round::Stuck => pause = pause.min(STUCK_MAX),
            }
            sleep(pause).await;
            pause = pause.saturating_mul(2).min(AGAIN.1);
        }
    }

    /// Tells the ledger once what lies in the spool. Where it takes nothing of a page it is left alone, and the next
    /// round begins behind that page: what is in the way of one organization is not in that of others.
    pub(in crate::service) async fn tell(
        &self,
        walk: &mut Walk,
        with_those_in_hand: bool,
    ) -> Round {
        let Some(spool) = &self.spool else { return Round::Done };
        let (mut is_from_start, mut told) = (walk.from == 0, 0_usize);
        let moved = |told: usize| if told == 0 { Round::Stuck } else { Round::Moved };
        loop {
            let Some(Page { ends, last }) = spool.page(walk.from, with_those_in_hand).await else {
                // Why was said.
                return Round::Stuck;
            };
            let Some(last) = last else {
                let Walk { has_left, has_later, .. } = std::mem::take(walk);
                if told > 0 {
                    let left = spool.count();
                    tracing::info!(told, left, "the ledger was told what lay in the spool");
                }
                if !has_left {
                    spool.is_stuck.store(false, Ordering::Relaxed);
                    return match (has_later, told) {
                        (false, _) => Round::Done,
                        (true, 0) => Round::Later,
                        (true, _) => Round::Moved,
                    };
                }
                if is_from_start {
                    return moved(told);
                }
                is_from_start = true;
                continue;
            };
            walk.from = last;
            let page = self.tell_page(ends, spool).await;
            let is_refused_all = !page.has_answers && page.is_for_all;
            walk.has_later |= page.has_later;
            let count = page.numbers.len();
            if !spool.forget(page.numbers).await {
                walk.has_left = true;
                return Round::Stuck;
            }
            // What is still there is told again, and counts when it is not.
            told = told.saturating_add(count);
            page.became.into_iter().for_each(|what| spool.counts(what));
            if let Some(error) = page.fault {
                walk.has_left = true;
                says_stuck(spool, &error);
                if is_refused_all {
                    return moved(told);
                }
            }
        }
    }

    async fn tell_page(&self, ends: Vec<(u64, Operation)>, spool: &Spool) -> Told {
        let asked = ends.into_iter().map(|(number, operation)| async move {
            let answer = timeout(AGAIN.1, self.ask_quietly(operation.clone())).await;
            let answer = answer.unwrap_or_else(|_| Err(late(AGAIN.1)));
            if let Ok(verdict) = &answer {
                self.ended(&operation, verdict);
            }
            (number, operation, answer)
        });
        let mut told = Told {
            numbers: Vec::new(),
            became: Vec::new(),
            has_later: false,
            has_answers: false,
            fault: None,
            is_for_all: true,
        };
        for (number, operation, answer) in join_all(asked).await {
            match answer {
                Ok(verdict) => {
                    told.has_answers = true;
                    match spool.fate(number, &operation, &verdict) {
                        Fate::Forget => told.numbers.push(number),
                        Fate::TellAgain => {
                            told.has_later = true;
                            continue;
                        }
                        Fate::Stay => continue,
                    }
                    // Of a reserve that was not done nothing is held, and nothing is amiss.
                    let is_vain = matches!(verdict, Err(Refused::NotFound));
                    let is_taken = verdict.is_ok() || is_vain;
                    let what = if is_taken { Spooling::Replayed } else { Spooling::Refused };
                    told.became.push(what);
                }
                Err(error) => {
                    told.is_for_all &=
                        matches!(error, StoreError::Transient(_) | StoreError::Away(_));
                    told.fault = Some(error);
                }
            }
        }
        told
    }
}

pub(super) fn late(after: Duration) -> StoreError {
    StoreError::Transient(format!("no answer within {} s", after.as_secs()))
}

/// Said once, until the ledger has all of it.
fn says_stuck(spool: &Spool, error: &StoreError) {
    if !spool.is_stuck.swap(true, Ordering::Relaxed) {
        let waiting = spool.waiting();
        tracing::warn!(waiting, %error, "the ledger does not take what lies in the spool; it is told again");
    }
}
