//! A ledger in memory: for tests, and the second opinion of the one that lasts.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::convert::Infallible;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kt_contract::time::UnixMillis;

use super::live::Live;
use super::{Balance, Frozen, LedgerStore, Level, Verdict, closes};
use crate::ledger::account::{Account, AccountName, Payer};
use crate::ledger::audit::{Auditor, Findings, RawAccount, RawLive, RawTransfer};
use crate::ledger::bill::{Bill, Billed, Charged};
use crate::ledger::book::{Change, Rows, perform};
use crate::ledger::clock::{LedgerClock, Marks, Now, Reading};
use crate::ledger::rules::Known;
use crate::ledger::transfer::Charge;
use crate::ledger::{Hold, Operation, State, Transfer, TransferId};
use crate::store::Answer;
use crate::store::savings::{Gathered, Labels, Saved, SavingsStore};

/// Where the time comes from.
pub type Timepiece = Box<dyn Fn() -> Reading + Send + Sync>;

/// A ledger that is gone with its process.
pub struct MemoryLedger {
    read: Timepiece,
    book: Mutex<Book>,
    savings: Mutex<Gathered>,
}

struct Book {
    clock: LedgerClock,
    accounts: HashMap<String, HashMap<AccountName, Account>>,
    known: HashMap<TransferId, Known>,
    transfers: Vec<Transfer>,
    live: Live,
    frozen: HashMap<String, Frozen>,
    /// The last charge of every budget, by organization and the account's name.
    charges: BTreeMap<(String, String), Charge>,
    alerted: HashSet<(String, String)>,
}

// === impl MemoryLedger ===

impl MemoryLedger {
    /// An empty ledger.
    #[must_use]
    pub fn new(read: Timepiece) -> Self {
        let clock = LedgerClock::resume(Marks::default(), read());
        let book = Book {
            clock,
            accounts: HashMap::new(),
            known: HashMap::new(),
            transfers: Vec::new(),
            live: Live::default(),
            frozen: HashMap::new(),
            charges: BTreeMap::new(),
            alerted: HashSet::new(),
        };
        Self { read, book: Mutex::new(book), savings: Mutex::default() }
    }

    fn book(&self) -> (MutexGuard<'_, Book>, Now) {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let now = book.clock.now((self.read)());
        (book, now)
    }
}

impl fmt::Debug for MemoryLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLedger").finish_non_exhaustive()
    }
}

impl LedgerStore for MemoryLedger {
    fn operate(&self, operation: Operation) -> Answer<'_, Verdict> {
        Box::pin(async move {
            let (mut book, now) = self.book();
            let Ok(verdict) = perform(&mut *book, &now, &operation);
            Ok(verdict)
        })
    }

    fn expire_due(&self, count_max: usize) -> Answer<'_, usize> {
        Box::pin(async move {
            let (mut book, now) = self.book();
            let mut closed = 0;
            for operation in &book.live.due(now.at, count_max) {
                let Ok(verdict) = perform(&mut *book, &now, operation);
                closed += usize::from(closes(operation, &verdict));
            }
            Ok(closed)
        })
    }

    fn balance(&self, org: String) -> Answer<'_, Balance> {
        Box::pin(async move {
            let (mut book, _) = self.book();
            let Ok(wallet) = book.account(&org, &AccountName::Wallet);
            let Ok(suspense) = book.account(&org, &AccountName::Suspense);
            let purses = book.purses(&org);
            let holds = book.live.of_org(&org);
            let shortfall_max = Balance::shortfall_of(&Payer::Wallet, &holds);
            let frozen = book.frozen.get(&org).cloned();
            Ok(Balance { wallet, purses, suspense, shortfall_max, frozen })
        })
    }

    fn accounts(&self, org: String) -> Answer<'_, Vec<(String, Account)>> {
        Box::pin(async move {
            let (book, _) = self.book();
            let accounts = book.accounts.get(&org).into_iter().flatten();
            let mut accounts: Vec<_> =
                accounts.map(|(name, account)| (name.to_string(), *account)).collect();
            accounts.sort_by(|a, b| a.0.cmp(&b.0));
            Ok(accounts)
        })
    }

    fn hold(&self, id: TransferId) -> Answer<'_, Option<Hold>> {
        Box::pin(async move {
            Ok(match self.book().0.known.get(&id) {
                Some(Known::Hold(hold)) => Some(hold.clone()),
                Some(Known::Transfer(_)) | None => None,
            })
        })
    }

    fn first_holds(&self, org: String, count_max: usize) -> Answer<'_, (Vec<Hold>, u64)> {
        Box::pin(async move {
            let mut holds = self.book().0.live.of_org(&org);
            let total = u64::try_from(holds.len()).unwrap_or(u64::MAX);
            holds.truncate(count_max);
            Ok((holds, total))
        })
    }

    fn transfers(
        &self,
        org: String,
        after: u64,
        count_max: usize,
    ) -> Answer<'_, Vec<(u64, Transfer)>> {
        Box::pin(async move {
            let (book, _) = self.book();
            let numbered = (1..).zip(&book.transfers);
            let newer = numbered.filter(|(number, row)| row.org == org && *number > after);
            Ok(newer.map(|(number, row)| (number, row.clone())).take(count_max).collect())
        })
    }

    fn history(
        &self,
        org: String,
        before: Option<u64>,
        count_max: usize,
    ) -> Answer<'_, Vec<(u64, Transfer)>> {
        Box::pin(async move {
            let (book, _) = self.book();
            let numbered = (1..).zip(&book.transfers);
            let mut rows: Vec<_> = numbered
                .filter(|(number, row)| {
                    row.org == org && before.is_none_or(|before| *number < before)
                })
                .map(|(number, row)| (number, row.clone()))
                .collect();
            rows.reverse();
            rows.truncate(count_max);
            Ok(rows)
        })
    }

    fn billed(
        &self,
        org: Option<String>,
        since: UnixMillis,
        until: UnixMillis,
    ) -> Answer<'_, Vec<Billed>> {
        Box::pin(async move {
            let (book, _) = self.book();
            Ok(book.billed(org.as_deref(), since, until))
        })
    }

    fn levels(&self, org: String) -> Answer<'_, Vec<Level>> {
        Box::pin(async move {
            let (mut book, now) = self.book();
            let is_asked = |((of, _), charge): &(&(String, String), &Charge)| {
                *of == org && charge.until > now.calendar
            };
            let charges: Vec<_> =
                book.charges.iter().filter(is_asked).map(|(_, charge)| charge.clone()).collect();
            let level = |charge: Charge| {
                let Ok(account) = book.account(&org, &charge.account());
                Level::of(charge, &account)
            };
            Ok(charges.into_iter().map(level).collect())
        })
    }

    fn alerted(&self, org: String, account: String) -> Answer<'_, bool> {
        Box::pin(async move { Ok(self.book().0.alerted.insert((org, account))) })
    }

    fn freeze(&self, org: String, reason: String) -> Answer<'_, ()> {
        Box::pin(async move {
            let (mut book, now) = self.book();
            book.frozen.entry(org).or_insert(Frozen { since: now.at, reason });
            Ok(())
        })
    }

    fn unfreeze(&self, org: String) -> Answer<'_, ()> {
        Box::pin(async move {
            self.book().0.frozen.remove(&org);
            Ok(())
        })
    }

    fn frozen(&self) -> Answer<'_, Vec<(String, Frozen)>> {
        Box::pin(async move {
            let frozen = self.book().0.frozen.clone().into_iter();
            let mut frozen: Vec<_> = frozen.collect();
            frozen.sort_by(|a, b| a.0.cmp(&b.0));
            Ok(frozen)
        })
    }

    fn audit(&self) -> Answer<'_, Findings> {
        Box::pin(async move {
            let (book, now) = self.book();
            Ok(book.audit(&now))
        })
    }
}

impl SavingsStore for MemoryLedger {
    fn note(&self, saved: Vec<Saved>) -> Answer<'_, ()> {
        Box::pin(async move {
            let mut savings = self.savings.lock().unwrap_or_else(PoisonError::into_inner);
            saved.into_iter().for_each(|saved| savings.add(saved));
            Ok(())
        })
    }

    fn saved(
        &self,
        org: Option<String>,
        since_day: String,
        until_day: String,
    ) -> Answer<'_, Vec<Saved>> {
        Box::pin(async move {
            let savings = self.savings.lock().unwrap_or_else(PoisonError::into_inner);
            let is_asked = |saved: &Saved| {
                let Labels { day, org: of, .. } = &saved.labels;
                *day >= since_day && *day < until_day && org.as_ref().is_none_or(|org| org == of)
            };
            Ok(savings.iter().filter(is_asked).collect())
        })
    }
}

// === impl Book ===

impl Book {
    fn purses(&self, org: &str) -> Vec<(String, Account)> {
        let mut purses = Vec::new();
        for (name, account) in self.accounts.get(org).into_iter().flatten() {
            if let AccountName::Team(team) = name {
                purses.push((team.clone(), *account));
            }
        }
        purses.sort_by(|a, b| a.0.cmp(&b.0));
        purses
    }

    fn billed(&self, org: Option<&str>, since: UnixMillis, until: UnixMillis) -> Vec<Billed> {
        let mut bill = Bill::default();
        let is_asked = |row: &&Transfer| {
            org.is_none_or(|org| org == row.org) && (since..until).contains(&row.at)
        };
        for row in self.transfers.iter().filter(is_asked) {
            if let Some(Known::Hold(hold)) = row.hold.and_then(|hold| self.known.get(&hold)) {
                bill.count(Charged {
                    org: &row.org,
                    kind: row.kind,
                    amount: row.amount,
                    is_estimated: row.is_estimated(),
                    purpose: &hold.terms.purpose,
                });
            }
        }
        bill.lines()
    }

    fn audit(&self, now: &Now) -> Findings {
        let mut auditor = Auditor::default();
        for row in &self.transfers {
            auditor.transfer(&RawTransfer {
                id: row.id.0.0,
                org: row.org.clone(),
                kind: row.kind.as_str().to_owned(),
                hold: row.hold.map(|hold| hold.0.0),
                team: row.team.clone(),
                amount: i64::try_from(row.amount.micros()).unwrap_or(i64::MAX),
                at: i64::try_from(row.at.0).unwrap_or(i64::MAX),
                terms: row.terms.as_ref().and_then(|terms| serde_json::to_string(terms).ok()),
            });
        }
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        for (org, accounts) in &self.accounts {
            for (name, account) in accounts {
                let [debits, credits] = [account.debits, account.credits]
                    .map(|side| [side.pended, side.cleared, side.posted].map(number));
                let (org, name) = (org.clone(), name.to_string());
                auditor.account(&RawAccount { org, name, debits, credits });
            }
        }
        for org in self.accounts.keys() {
            for hold in self.live.of_org(org) {
                let is_suspended = matches!(hold.state, State::Expired { .. });
                auditor.live(&RawLive { org: org.clone(), hold: hold.id.0.0, is_suspended });
            }
        }
        auditor.finish(|_| number(now.at.0))
    }
}

impl Rows for Book {
    type Error = Infallible;

    fn is_frozen(&mut self, org: &str) -> Result<bool, Infallible> {
        Ok(self.frozen.contains_key(org))
    }

    fn account(&mut self, org: &str, name: &AccountName) -> Result<Account, Infallible> {
        let account = self.accounts.get(org).and_then(|accounts| accounts.get(name));
        Ok(account.copied().unwrap_or_default())
    }

    fn known(&mut self, id: TransferId) -> Result<Option<Known>, Infallible> {
        Ok(self.known.get(&id).cloned())
    }

    fn write(&mut self, change: Change) -> Result<(), Infallible> {
        for charge in change.charges() {
            let at = (change.org.clone(), charge.account().to_string());
            self.charges.insert(at, charge.clone());
        }
        let Change { org, transfers, accounts, hold } = change;
        for transfer in transfers {
            self.known.insert(transfer.id, Known::Transfer(transfer.clone()));
            self.transfers.push(transfer);
        }
        // After the row that made it, whose id it has.
        if let Some(hold) = hold {
            self.known.insert(hold.id, Known::Hold(hold.clone()));
            self.live.put(hold);
        }
        self.accounts.entry(org).or_default().extend(accounts);
        Ok(())
    }
}
