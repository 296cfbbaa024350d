//! The holds to which something still happens by itself, in the order in which it does. As many as there are calls
//! in flight, and those in suspense: they fit into memory, whatever the history has.

use std::collections::{BTreeSet, HashMap};

use kt_contract::time::UnixMillis;

use crate::ledger::{Hold, Operation, State, TransferId};

/// Open holds and those in suspense.
#[derive(Debug, Default)]
pub(in crate::store) struct Live {
    holds: HashMap<TransferId, Hold>,
    due: BTreeSet<(UnixMillis, TransferId)>,
}

// === impl Live ===

impl Live {
    #[cfg(feature = "server")]
    pub(in crate::store) fn find(&self, id: TransferId) -> Option<&Hold> {
        self.holds.get(&id)
    }

    pub(in crate::store) fn of_org(&self, org: &str) -> Vec<Hold> {
        let holds = self.due.iter().filter_map(|(_, id)| self.holds.get(id));
        holds.filter(|hold| hold.org == org).cloned().collect()
    }

    /// Takes in what a hold has become.
    pub(in crate::store) fn put(&mut self, hold: Hold) {
        let before = self.holds.remove(&hold.id);
        if let Some(at) = before.and_then(|before| before.next_at()) {
            self.due.remove(&(at, hold.id));
        }
        if let Some(at) = hold.next_at() {
            self.due.insert((at, hold.id));
            self.holds.insert(hold.id, hold);
        }
    }

    /// What there is to do by now.
    pub(in crate::store) fn due(&self, now: UnixMillis, count_max: usize) -> Vec<Operation> {
        let is_due = |(at, _): &&(UnixMillis, TransferId)| *at <= now;
        let due = self.due.iter().take_while(is_due).take(count_max);
        due.filter_map(|(_, id)| self.holds.get(id)).filter_map(next_of).collect()
    }
}

fn next_of(hold: &Hold) -> Option<Operation> {
    match hold.state {
        State::Open { .. } => Some(Operation::Expire { hold: hold.id }),
        State::Expired { .. } => Some(Operation::Return { hold: hold.id }),
        State::Settled { .. }
        | State::Released
        | State::Returned
        | State::LateSettled { .. }
        | State::LateReleased => None,
    }
}
