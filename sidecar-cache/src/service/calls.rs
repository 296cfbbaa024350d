//! What this process knows of the calls that it has made, for whoever counts the ledger again: each has one hold, which
//! has ended as it was said to (I6). The ledger alone cannot know of a call that it has lost.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use kt_contract::money::MicroUsd;

use super::lock;
use crate::ledger::audit::{Breach, Invariant};
use crate::ledger::request::DrawnEnd;
use crate::ledger::{Hold, Operation, State, TransferId};
use crate::store::StoreError;
use crate::store::ledger::LedgerStore;

/// How many calls are remembered until the next audit. Those that are made beyond it are not checked.
pub(super) const CALLS_MAX: usize = 16_384;
/// How many are looked up at once: a ledger that is a millisecond away is asked some sixty times for all of them.
const PAGE: usize = 256;

/// The calls that were made and not checked yet, by their holds.
#[derive(Debug, Default)]
pub(super) struct Calls {
    made: Mutex<HashMap<TransferId, Made>>,
    /// Whether calls were made since the last audit that there was no room for.
    is_full: AtomicBool,
}

/// A call.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Made {
    org: String,
    /// What the ledger has acknowledged.
    end: Option<End>,
}

/// How the money of a call has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It has cost so much.
    Settled(MicroUsd),
    /// It has cost nothing.
    Released,
}

// === impl Calls ===

impl Calls {
    /// A call is made that this is set aside for. `false`: there is no room for it, and no audit looks it up.
    pub(super) fn made(&self, org: String, hold: TransferId) -> bool {
        let has_room = {
            let mut calls = lock(&self.made);
            let has_room = calls.len() < CALLS_MAX;
            if has_room {
                calls.insert(hold, Made { org, end: None });
            }
            has_room
        };
        // Told once between two audits: whoever makes so many calls makes many more.
        if !has_room && !self.is_full.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                looked_up = CALLS_MAX,
                "so many calls were made since the last audit that the next does not look up the rest (I6)"
            );
        }
        has_room
    }

    /// The ledger has acknowledged an operation that ends a hold.
    pub(super) fn ended(&self, operation: &Operation) {
        let (hold, end) = match operation {
            Operation::Settle { hold, actual, .. } => (hold, End::Settled(*actual)),
            Operation::Release { hold } => (hold, End::Released),
            Operation::Draw(drawn) => match drawn.end {
                Some(DrawnEnd::Settle { actual, .. }) => (&drawn.reserve.id, End::Settled(actual)),
                Some(DrawnEnd::Release) => (&drawn.reserve.id, End::Released),
                None => return,
            },
            Operation::Fund(_)
            | Operation::Reserve(_)
            | Operation::Extend(_)
            | Operation::Expire { .. }
            | Operation::LateSettle { .. }
            | Operation::Return { .. }
            | Operation::Refund(_)
            | Operation::Adjust(_)
            | Operation::Allocate(_)
            | Operation::OpenCalls(_) => return,
        };
        if let Some(made) = lock(&self.made).get_mut(hold) {
            made.end = Some(end);
        }
    }

    /// Looks all of them up, and forgets those that have ended and are there. One that is not there as it should be is
    /// told again with every audit.
    /// Where the ledger has no answer, the rest is looked up by the next audit.
    pub(super) async fn check(
        &self,
        ledger: &dyn LedgerStore,
    ) -> (Vec<Breach>, Option<StoreError>) {
        // What has ended by now was in the ledger before.
        let calls: Vec<_> = lock(&self.made).iter().map(|(id, made)| (*id, made.clone())).collect();
        let mut breaches = Vec::new();
        for page in calls.chunks(PAGE) {
            let found = match look_up(ledger, page).await {
                Ok(found) => found,
                Err(error) => return (breaches, Some(error)),
            };
            for ((id, made), hold) in page.iter().zip(found) {
                match hold {
                    Err(what) => breaches.push(made.breach(*id, what.to_owned())),
                    Ok(hold) => match breach(*id, made, hold.as_ref()) {
                        Some(breach) => breaches.push(breach),
                        None if is_over(made, hold.as_ref()) => {
                            lock(&self.made).remove(id);
                        }
                        None => {}
                    },
                }
            }
        }
        self.is_full.store(false, Ordering::Relaxed);
        breaches.sort_by(|a, b| (&a.org, &a.account).cmp(&(&b.org, &b.account)));
        (breaches, None)
    }
}

/// What the ledger has of some calls, in their order: their holds, or what is wrong with their rows.
async fn look_up(
    ledger: &dyn LedgerStore,
    page: &[(TransferId, Made)],
) -> Result<Vec<Result<Option<Hold>, &'static str>>, StoreError> {
    let ids: Vec<_> = page.iter().map(|(id, _)| *id).collect();
    match ledger.holds_by_id(ids.clone()).await {
        Ok(mut found) => return Ok(ids.iter().map(|id| Ok(found.remove(id))).collect()),
        // One of them is broken; which, each says for itself.
        Err(StoreError::Corrupt(_)) => {}
        Err(error) => return Err(error),
    }
    let mut found = Vec::new();
    for id in ids {
        match ledger.hold(id).await {
            Ok(hold) => found.push(Ok(hold)),
            Err(StoreError::Corrupt(what)) => found.push(Err(what)),
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

fn breach(id: TransferId, made: &Made, found: Option<&Hold>) -> Option<Breach> {
    let found = found.filter(|hold| hold.org == made.org);
    let is_so = match (made.end, found) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(End::Settled(said)), Some(hold)) => hold.charged() == Some(said),
        (Some(End::Released), Some(hold)) => {
            // What time has given back needs no release any more.
            matches!(hold.state, State::Released | State::LateReleased | State::Returned)
        }
    };
    let found = || found.map_or_else(|| "none".to_owned(), |hold| in_words(hold.state));
    (!is_so).then(|| made.breach(id, found()))
}

// === impl Made ===

impl Made {
    fn breach(&self, id: TransferId, found: String) -> Breach {
        Breach {
            invariant: Invariant::EveryCallOnce,
            org: self.org.clone(),
            account: format!("hold {}", id.0.to_hex()),
            expected: match self.end {
                None => "a hold of a call that was made".to_owned(),
                Some(End::Settled(said)) => format!("settled at {} micro-USD", said.micros()),
                Some(End::Released) => "released".to_owned(),
            },
            found,
        }
    }
}

/// Whether nothing more is to be looked up of a call: it has ended as was said, or time has ended it. One whose end nobody
/// knows lies in suspense for a day, and all audits count what does: it takes no other's place here for so long.
fn is_over(made: &Made, hold: Option<&Hold>) -> bool {
    let by_time = |hold: &Hold| matches!(hold.state, State::Expired { .. } | State::Returned);
    made.end.is_some() || hold.is_some_and(by_time)
}

fn in_words(state: State) -> String {
    match state {
        State::Open { .. } => "open".to_owned(),
        State::Settled { actual } | State::LateSettled { actual } => {
            format!("settled at {} micro-USD", actual.micros())
        }
        State::Released | State::LateReleased => "released".to_owned(),
        State::Expired { .. } => "in suspense".to_owned(),
        State::Returned => "returned".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(number: usize) -> TransferId {
        let mut id = [0; 16];
        id[8..].copy_from_slice(&(number as u64).to_be_bytes());
        TransferId::from_128(id)
    }

    #[test]
    fn calls_beyond_the_bound_are_not_remembered_and_whoever_made_them_knows() {
        let calls = Calls::default();
        for number in 0..CALLS_MAX {
            assert!(calls.made("acme".to_owned(), hold(number)), "{number}");
        }
        assert!(!calls.is_full.load(Ordering::Relaxed));
        assert!(!calls.made("acme".to_owned(), hold(CALLS_MAX)));
        assert_eq!(lock(&calls.made).len(), CALLS_MAX);
        assert!(calls.is_full.load(Ordering::Relaxed), "and it is not told again");
    }
}
