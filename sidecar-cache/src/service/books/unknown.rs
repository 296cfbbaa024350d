//! Ends in the spool whose hold the ledger does not know. It may not be the ledger that has it, or have lost what it
//! knew: what was spent is not forgotten for that.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;

use kt_contract::time::MonoMillis;

use super::super::bill::HOLD_TTL;
use super::super::lock;
use crate::clock::Clock;
use crate::ledger::{Operation, Refused};
use crate::store::ledger::Verdict;

/// What is to be done with an end that the ledger has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nobody needs it any more.
    Forget,
    /// A charge that this ledger never takes. It stays.
    Stay,
    /// The release of a reserve that may still become visible. It is told again.
    TellAgain,
}

/// Those whose hold is not known.
pub(super) struct Unknown {
    /// Charges. They are told once by each process.
    charges: Mutex<BTreeSet<u64>>,
    clock: Clock,
    /// When this process began, for releases that were there before.
    since: MonoMillis,
    /// When this process put releases there.
    releases: Mutex<HashMap<u64, MonoMillis>>,
}

// === impl Unknown ===

impl Unknown {
    pub(super) fn new(clock: Clock) -> Self {
        Self { charges: Mutex::default(), clock, since: clock.mono(), releases: Mutex::default() }
    }

    /// How many charges stay.
    pub(super) fn count(&self) -> usize {
        lock(&self.charges).len()
    }

    /// Whether a charge stays, and is not told again.
    pub(super) fn has(&self, number: u64) -> bool {
        lock(&self.charges).contains(&number)
    }

    /// An end was put there.
    pub(super) fn kept(&self, number: u64, operation: &Operation) {
        if operation.is_release() {
            lock(&self.releases).insert(number, self.clock.mono());
        }
    }

    /// These are not there any more.
    pub(super) fn forgotten(&self, numbers: &[u64]) {
        let mut releases = lock(&self.releases);
        for number in numbers {
            releases.remove(number);
        }
    }

    /// What is to be done with an end, by what the ledger says.
    pub(super) fn fate(&self, number: u64, operation: &Operation, verdict: &Verdict) -> Fate {
        match (verdict, operation.is_release()) {
            (Err(Refused::NotFound), true) => {
                // The reserve may be in a commit that nobody sees yet.
                let since = lock(&self.releases).get(&number).copied().unwrap_or(self.since);
                let age = self.clock.mono().0.saturating_sub(since.0);
                if age < HOLD_TTL.0 { Fate::TellAgain } else { Fate::Forget }
            }
            (Err(Refused::NotFound), false) => {
                lock(&self.charges).insert(number);
                Fate::Stay
            }
            _ => Fate::Forget,
        }
    }

    /// What is wrong, and what to do.
    pub(super) fn fault(&self) -> Option<String> {
        let charges = lock(&self.charges);
        let (count, number) = (charges.len(), charges.first()?);
        Some(format!(
            "spool: {count} ends of calls are of holds that the ledger does not know, and stay; the first is \
             number {number}. Start the sidecar with the wallet.url of the database that knows them; if there \
             is none any more, stop it, move spool.db away and keep it"
        ))
    }
}
