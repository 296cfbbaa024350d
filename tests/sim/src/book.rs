//! The ledger's rows in maps, durable as a disk is: they outlive their sidecar. What an operation does is decided by
//! the product; here it is only kept, and counted again by the product's own audit.

use std::collections::BTreeMap;
use std::convert::Infallible;

use sidecar_cache::ledger::account::{Account, AccountName};
use sidecar_cache::ledger::audit::{Auditor, Findings, RawAccount, RawLive, RawTransfer};
use sidecar_cache::ledger::book::{Change, Rows, perform};
use sidecar_cache::ledger::clock::{LedgerClock, Marks, Now, Reading};
use sidecar_cache::ledger::rules::Known;
use sidecar_cache::ledger::{Hold, Kind, Operation, Receipt, Refused, State, Transfer, TransferId};

use crate::plant::Plant;
use crate::till::{Till, Wrong};

/// A book.
#[derive(Debug)]
pub(crate) struct Book {
    clock: LedgerClock,
    marks: Marks,
    accounts: BTreeMap<String, BTreeMap<AccountName, Account>>,
    known: BTreeMap<TransferId, Known>,
    transfers: Vec<Transfer>,
    live: BTreeMap<TransferId, Hold>,
    /// When a hold last got more time, in true time, and in which life of the store.
    given: BTreeMap<TransferId, (u64, u32)>,
    life: u32,
    now: u64,
    /// A second opinion of what everybody has.
    till: Till,
    wrong: Option<Wrong>,
    plant: Option<Plant>,
    /// Whether money is being moved to a purse or from one.
    allocates: bool,
}

// === impl Book ===

impl Book {
    /// An empty one.
    #[must_use]
    pub(crate) fn new(reading: Reading, plant: Option<Plant>) -> Self {
        Self {
            clock: LedgerClock::resume(Marks::default(), reading),
            marks: Marks::default(),
            accounts: BTreeMap::new(),
            known: BTreeMap::new(),
            transfers: Vec::new(),
            live: BTreeMap::new(),
            given: BTreeMap::new(),
            life: 0,
            now: 0,
            till: Till::default(),
            wrong: None,
            plant,
            allocates: false,
        }
    }

    /// Its process was started anew: what was on disk is there.
    pub(crate) fn resume(&mut self, reading: Reading) {
        self.clock = LedgerClock::resume(self.marks, reading);
        self.life += 1;
    }

    /// Does an operation at a moment, which is `now` in true time.
    ///
    /// # Errors
    /// The rule that refuses it.
    pub(crate) fn operate(
        &mut self,
        (reading, now): (Reading, u64),
        operation: &Operation,
    ) -> Result<Receipt, Refused> {
        let moment = self.moment(reading, now);
        self.performs(&moment, operation)
    }

    /// What must not be and was found since this was asked.
    pub(crate) fn wrong(&mut self) -> Option<Wrong> {
        self.wrong.take()
    }

    fn performs(&mut self, moment: &Now, operation: &Operation) -> Result<Receipt, Refused> {
        self.allocates = matches!(operation, Operation::Allocate(_));
        let Ok(verdict) = perform(self, moment, operation);
        self.allocates = false;
        let of = subject(operation).and_then(|id| self.hold(id));
        let charges = of.map_or_else(Vec::new, |hold| hold.terms.charges.clone());
        let org = operation.org().or_else(|| of.map(|hold| hold.org.as_str())).map(str::to_owned);
        let found = self.till.hears(operation, &verdict, &charges).or_else(|| {
            let org = org?;
            self.till.reckons(&org, self.accounts.get(&org)?)
        });
        self.wrong = self.wrong.take().or(found);
        verdict
    }

    /// Expires and returns what is due. The second says which hold has ended earlier than it may.
    pub(crate) fn expire_due(
        &mut self,
        (reading, now): (Reading, u64),
        ttl_min: u64,
    ) -> (usize, Option<TransferId>) {
        let moment = self.moment(reading, now);
        let due: Vec<(TransferId, bool)> = self
            .live
            .values()
            .filter(|hold| hold.next_at().is_some_and(|at| at <= moment.at))
            .map(|hold| (hold.id, matches!(hold.state, State::Open { .. })))
            .collect();
        let mut early = None;
        for (hold, is_open) in &due {
            let operation = if *is_open {
                let given = self.given.get(hold).filter(|(_, life)| *life == self.life);
                if given.is_some_and(|(at, _)| at + ttl_min > now) {
                    early = Some(*hold);
                }
                Operation::Expire { hold: *hold }
            } else {
                Operation::Return { hold: *hold }
            };
            let _ = self.performs(&moment, &operation);
        }
        (due.len(), early)
    }

    /// What became of a hold.
    #[must_use]
    pub(crate) fn hold(&self, id: TransferId) -> Option<&Hold> {
        match self.known.get(&id) {
            Some(Known::Hold(hold)) => Some(hold),
            Some(Known::Transfer(_)) | None => None,
        }
    }

    /// Every hold.
    pub(crate) fn holds(&self) -> impl Iterator<Item = &Hold> {
        self.known.values().filter_map(|known| match known {
            Known::Hold(hold) => Some(hold),
            Known::Transfer(_) => None,
        })
    }

    /// Whether a hold was settled at an estimate.
    #[must_use]
    pub(crate) fn is_estimated(&self, id: TransferId) -> bool {
        self.transfers.iter().any(|row| row.hold == Some(id) && row.is_estimated())
    }

    /// How many holds are open, and how many in suspense.
    #[must_use]
    pub(crate) fn open_and_suspended(&self) -> (usize, usize) {
        let open =
            self.live.values().filter(|hold| matches!(hold.state, State::Open { .. })).count();
        (open, self.live.len() - open)
    }

    /// What a careless ledger would do: the last post once more.
    pub(crate) fn post_again(&mut self, hold: TransferId) {
        let is_post = |row: &&Transfer| row.hold == Some(hold) && row.kind == Kind::Post;
        if let Some(row) = self.transfers.iter().find(is_post).cloned() {
            self.transfers.push(Transfer { id: row.id.of_step("again", 0), ..row });
        }
    }

    /// Counts everything again.
    pub(crate) fn audit(&mut self, (reading, now): (Reading, u64)) -> Findings {
        let moment = self.moment(reading, now);
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let mut auditor = Auditor::default();
        for row in &self.transfers {
            auditor.transfer(&RawTransfer {
                id: row.id.0.0,
                org: row.org.clone(),
                kind: row.kind.as_str().to_owned(),
                hold: row.hold.map(|hold| hold.0.0),
                team: row.team.clone(),
                amount: number(row.amount.micros()),
                at: number(row.at.0),
                terms: row.terms.as_ref().and_then(|terms| serde_json::to_string(terms).ok()),
            });
        }
        for (org, accounts) in &self.accounts {
            for (name, account) in accounts {
                let [debits, credits] = [account.debits, account.credits]
                    .map(|side| [side.pended, side.cleared, side.posted].map(number));
                let (org, name) = (org.clone(), name.to_string());
                auditor.account(&RawAccount { org, name, debits, credits });
            }
        }
        for hold in self.live.values() {
            let is_suspended = matches!(hold.state, State::Expired { .. });
            auditor.live(&RawLive { org: hold.org.clone(), hold: hold.id.0.0, is_suspended });
        }
        auditor.finish(|_| number(moment.at.0))
    }

    fn moment(&mut self, reading: Reading, now: u64) -> Now {
        self.now = now;
        let moment = self.clock.now(reading);
        // With every change, as the store on disk does.
        self.marks = moment.marks();
        moment
    }
}

impl Rows for Book {
    type Error = Infallible;

    fn is_frozen(&mut self, _org: &str) -> Result<bool, Infallible> {
        Ok(false)
    }

    fn account(&mut self, org: &str, name: &AccountName) -> Result<Account, Infallible> {
        let account = self.accounts.get(org).and_then(|accounts| accounts.get(name));
        let mut account = account.copied().unwrap_or_default();
        if self.allocates && self.plant == Some(Plant::MoveHeld) {
            account.debits.cleared = account.debits.pended;
        }
        Ok(account)
    }

    fn known(&mut self, id: TransferId) -> Result<Option<Known>, Infallible> {
        Ok(self.known.get(&id).cloned())
    }

    fn write(&mut self, change: Change) -> Result<(), Infallible> {
        let Change { org, transfers, accounts, hold } = change;
        for transfer in transfers {
            self.known.insert(transfer.id, Known::Transfer(transfer.clone()));
            self.transfers.push(transfer);
        }
        // After the row that made it, whose id it has.
        if let Some(hold) = hold {
            // What is drawn from an allotment gives it no time.
            let is_new = self.hold(hold.id).is_none_or(|before| before.state != hold.state);
            if is_new && matches!(hold.state, State::Open { .. }) {
                self.given.insert(hold.id, (self.now, self.life));
            }
            match hold.next_at() {
                Some(_) => _ = self.live.insert(hold.id, hold.clone()),
                None => _ = self.live.remove(&hold.id),
            }
            self.known.insert(hold.id, Known::Hold(hold));
        }
        let kept = self.accounts.entry(org).or_default();
        for (name, mut account) in accounts {
            let is_careless = self.allocates && self.plant == Some(Plant::MoveFromNowhere);
            if is_careless && name == AccountName::Wallet {
                continue;
            }
            if self.allocates && self.plant == Some(Plant::MoveHeld) {
                account.debits.cleared = kept.get(&name).map_or(0, |before| before.debits.cleared);
            }
            kept.insert(name, account);
        }
        Ok(())
    }
}

/// The hold that is made, changed or ended.
const fn subject(operation: &Operation) -> Option<TransferId> {
    match operation {
        Operation::Reserve(asked) => Some(asked.id),
        Operation::Extend(asked) => Some(asked.hold),
        Operation::Refund(asked) => Some(asked.hold),
        Operation::Settle { hold, .. }
        | Operation::Release { hold }
        | Operation::Expire { hold }
        | Operation::LateSettle { hold, .. }
        | Operation::Return { hold } => Some(*hold),
        Operation::Fund(_)
        | Operation::Adjust(_)
        | Operation::Allocate(_)
        | Operation::Draw(_)
        | Operation::OpenCalls(_) => None,
    }
}
