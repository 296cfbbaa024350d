//! The operations of a group, worked out over what has been read, before anything is written. What has not been read
//! is noted, and stands for plenty meanwhile, so that one run finds all that the next one needs; a sheet with
//! something missing is thrown away.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::convert::Infallible;

use kt_contract::time::UnixMillis;

use super::facts::{Facts, Org, Question};
use super::job::{Done, Job};
use super::rows::Found;
use crate::ledger::account::{Account, AccountName, Side};
use crate::ledger::book::{Change, Rows, perform};
use crate::ledger::clock::{Marks, Now};
use crate::ledger::rules::Known;
use crate::ledger::transfer::Charge;
use crate::ledger::{Kind, State, Transfer, TransferId};
use crate::store::ledger::Frozen;

/// What has to be written.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// New rows with their numbers and those of their holds.
    pub(super) transfers: Vec<(u64, Option<u64>, Transfer)>,
    pub(super) accounts: BTreeMap<(String, AccountName), Account>,
    /// The last charge under a budget.
    pub(super) charges: HashMap<(String, AccountName), Charge>,
    /// Holds by their place, as they are among those that live; none where they go.
    pub(super) live: BTreeMap<(String, u64), Option<Live>>,
    /// Organizations that have changed.
    pub(super) orgs: BTreeMap<String, Org>,
}

/// A hold that is open or lies in suspense.
#[derive(Clone, Copy, Debug)]
pub(super) struct Live {
    pub(super) is_suspended: bool,
    /// Whether it holds more than at first, or less: then there are rows that say so.
    pub(super) is_grown: bool,
    pub(super) next_at: UnixMillis,
}

/// A group's work.
pub(super) struct Sheet<'a> {
    facts: &'a Facts,
    known: HashMap<TransferId, Found>,
    pub(super) changes: Changes,
    pub(super) missing: Question,
    /// Every account that was looked at.
    pub(super) seen: HashSet<(String, AccountName)>,
}

// === impl Sheet ===

impl<'a> Sheet<'a> {
    pub(super) fn over(facts: &'a Facts) -> Self {
        Self {
            facts,
            known: HashMap::new(),
            changes: Changes::default(),
            missing: Question::default(),
            seen: HashSet::new(),
        }
    }

    pub(super) fn job(&mut self, job: &Job) -> Done {
        match job {
            Job::Operate(operation, ..) => {
                let now = self.now_of(operation.org(), operation.hold());
                let Ok(verdict) = perform(self, &now, operation);
                Done::Verdict(verdict)
            }
            Job::Freeze(org, reason, _) => {
                if let Some(mut row) = self.org(org) {
                    let since = row.now.at;
                    row.frozen.get_or_insert(Frozen { since, reason: reason.clone() });
                    self.changes.orgs.insert(org.clone(), row);
                }
                Done::Nothing
            }
            Job::Unfreeze(org, _) => {
                if let Some(row) = self.org(org)
                    && row.frozen.is_some()
                {
                    self.changes.orgs.insert(org.clone(), Org { frozen: None, ..row });
                }
                Done::Nothing
            }
        }
    }

    /// What time it is in the book of an organization, or of the one that has a hold.
    fn now_of(&mut self, org: Option<&str>, hold: Option<TransferId>) -> Now {
        let of_hold = hold.and_then(|hold| self.find(hold)).and_then(|found| match found.known {
            Known::Hold(hold) => Some(hold.org),
            Known::Transfer(_) => None,
        });
        let org = org.map(str::to_owned).or(of_hold);
        let row = org.and_then(|org| self.org(&org));
        // Without a book nothing is decided by the time.
        let never = Marks::default();
        row.map_or(Now { at: never.at, calendar: never.calendar, is_set_back: false }, |row| {
            row.now
        })
    }

    /// An organization that is locked.
    fn org(&mut self, name: &str) -> Option<Org> {
        let row = self.changes.orgs.get(name).or_else(|| self.facts.orgs.get(name));
        if row.is_none() {
            self.missing.orgs.insert(name.to_owned());
        }
        row.cloned()
    }

    fn find(&mut self, id: TransferId) -> Option<Found> {
        if let Some(found) = self.known.get(&id) {
            return Some(found.clone());
        }
        match self.facts.known.get(&id) {
            Some(found) => found.clone(),
            None => {
                self.missing.ids.insert(id);
                None
            }
        }
    }
}

impl Rows for Sheet<'_> {
    type Error = Infallible;

    fn is_frozen(&mut self, org: &str) -> Result<bool, Infallible> {
        Ok(self.org(org).is_some_and(|row| row.frozen.is_some()))
    }

    fn account(&mut self, org: &str, name: &AccountName) -> Result<Account, Infallible> {
        let at = (org.to_owned(), name.clone());
        let found = self.changes.accounts.get(&at).or_else(|| self.facts.accounts.get(&at));
        let account = found.copied();
        if account.is_none() {
            self.missing.accounts.insert(at.clone());
        }
        self.seen.insert(at);
        Ok(account.unwrap_or(PLENTY))
    }

    fn known(&mut self, id: TransferId) -> Result<Option<Known>, Infallible> {
        Ok(self.find(id).map(|found| found.known))
    }

    fn write(&mut self, change: Change) -> Result<(), Infallible> {
        let Some(mut row) = self.org(&change.org) else { return Ok(()) };
        for charge in change.charges() {
            let at = (change.org.clone(), charge.account());
            // Where nothing was set aside, its account is the same as before, and is written for the charge.
            let Ok(account) = self.account(&at.0, &at.1);
            self.changes.accounts.insert(at.clone(), account);
            self.changes.charges.insert(at, charge.clone());
        }
        let Change { org, transfers, accounts, hold } = change;
        for transfer in transfers {
            row.last = row.last.saturating_add(1);
            let of_hold = transfer.hold.and_then(|hold| self.find(hold)).map(|found| found.seq);
            // Ends of holds are found through their hold.
            if is_chosen(transfer.kind) {
                let found = Found { seq: row.last, known: Known::Transfer(transfer.clone()) };
                self.known.insert(transfer.id, found);
            }
            self.changes.transfers.push((row.last, of_hold, transfer));
        }
        if let Some(hold) = hold {
            let seq = self.find(hold.id).map_or(row.last, |found| found.seq);
            let is_suspended = matches!(hold.state, State::Expired { .. });
            let is_grown = hold.held != hold.first;
            let live = hold.next_at().map(|next_at| Live { is_suspended, is_grown, next_at });
            self.changes.live.insert((org.clone(), seq), live);
            self.known.insert(hold.id, Found { seq, known: Known::Hold(hold) });
        }
        for (name, account) in accounts {
            self.changes.accounts.insert((org.clone(), name), account);
        }
        self.changes.orgs.insert(org, row);
        Ok(())
    }
}

/// What stands for an account that has not been read.
const PLENTY: Account = Account {
    debits: Side { pended: 0, cleared: 0, posted: 0 },
    credits: Side { pended: 0, cleared: 0, posted: 1 << 62 },
};

/// Whether somebody has chosen the id of such a row.
fn is_chosen(kind: Kind) -> bool {
    match kind {
        Kind::Fund
        | Kind::Pending
        | Kind::Refund
        | Kind::AdjustCredit
        | Kind::AdjustDebit
        | Kind::Allocate
        | Kind::Deallocate
        | Kind::OpenCalls => true,
        Kind::Extend
        | Kind::Draw
        | Kind::Post
        | Kind::Overage
        | Kind::Void
        | Kind::Expire
        | Kind::LatePost
        | Kind::LateVoid
        | Kind::Return => false,
    }
}
