//! The book as the writing thread has it: the connection, and what is known of the file without reading it.

use std::collections::{BTreeMap, HashMap, HashSet};

use kt_contract::time::UnixMillis;
use rusqlite::{Connection, params};

use super::levels::{self, Charges};
use super::writer::{Done, Job};
use super::{rows, savings};
use crate::ledger::account::{Account, AccountName};
use crate::ledger::book::{Change, Rows, perform};
use crate::ledger::clock::Now;
use crate::ledger::rules::Known;
use crate::ledger::{Hold, Kind, State, Transfer, TransferId};
use crate::store::StoreError;
use crate::store::ledger::closes;
use crate::store::ledger::live::Live;

/// How many accounts are kept in memory between groups.
const ACCOUNTS_MAX: usize = 16_384;

/// The connection, what of the file is in memory, and what of that is not yet in the file.
pub(super) struct Book {
    pub(super) connection: Connection,
    accounts: HashMap<String, HashMap<AccountName, Cached>>,
    live: Live,
    /// The numbers of live holds.
    numbers: HashMap<TransferId, i64>,
    /// Live holds, by number, whose row is not what it was; none where it goes.
    changed: BTreeMap<i64, Option<(bool, UnixMillis)>>,
    frozen: HashSet<String>,
    charges: Charges,
    /// Whether what is computed may differ from what is on disk: nothing is done before it has been read again.
    must_forget: bool,
}

#[derive(Clone, Copy)]
struct Cached {
    account: Account,
    is_changed: bool,
}

// === impl Book ===

impl Book {
    pub(super) fn open(connection: Connection) -> Result<Self, StoreError> {
        let mut book = Self {
            connection,
            accounts: HashMap::new(),
            live: Live::default(),
            numbers: HashMap::new(),
            changed: BTreeMap::new(),
            frozen: HashSet::new(),
            charges: Charges::default(),
            must_forget: true,
        };
        book.forget()?;
        Ok(book)
    }

    /// Does jobs in one transaction: all are on disk when this returns, or none was done.
    pub(super) fn commit(&mut self, now: &Now, jobs: &[Job]) -> Result<Vec<Done>, StoreError> {
        if self.must_forget {
            self.forget()?;
        }
        let done = self.attempt(now, jobs);
        if done.is_err() {
            // What failed may have ended the transaction already.
            let _ = self.connection.execute_batch("ROLLBACK");
            self.forget()?;
        }
        done
    }

    fn attempt(&mut self, now: &Now, jobs: &[Job]) -> Result<Vec<Done>, StoreError> {
        self.execute("BEGIN IMMEDIATE")?;
        let done = jobs.iter().map(|job| self.job(now, job)).collect::<Result<Vec<_>, _>>()?;
        self.flush(now)?;
        self.execute("COMMIT")?;
        Ok(done)
    }

    fn execute(&self, sql: &str) -> Result<(), StoreError> {
        self.connection.prepare_cached(sql)?.execute([])?;
        Ok(())
    }

    fn job(&mut self, now: &Now, job: &Job) -> Result<Done, StoreError> {
        match job {
            Job::Operate(operation, _) => perform(self, now, operation).map(Done::Verdict),
            Job::ExpireDue(count_max, _) => {
                let mut closed = 0;
                for operation in &self.live.due(now.at, *count_max) {
                    let verdict = perform(self, now, operation)?;
                    closed += usize::from(closes(operation, &verdict));
                }
                Ok(Done::Count(closed))
            }
            Job::Freeze(org, reason, _) => {
                self.connection
                    .prepare_cached(
                        "INSERT INTO frozen (org, since, reason) VALUES (?1, ?2, ?3)
                     ON CONFLICT (org) DO NOTHING",
                    )?
                    .execute(params![org, rows::stored(now.at.0), reason])?;
                self.frozen.insert(org.clone());
                Ok(Done::Nothing)
            }
            Job::Alert(org, name, _) => levels::alert(&self.connection, org, name).map(Done::First),
            Job::Note(saved) => savings::add(&self.connection, saved).map(|()| Done::Nothing),
            Job::Unfreeze(org, _) => {
                self.connection
                    .prepare_cached("DELETE FROM frozen WHERE org = ?1")?
                    .execute([org])?;
                self.frozen.remove(org);
                Ok(Done::Nothing)
            }
        }
    }

    /// Lets go of all that was computed, and begins with what is on disk.
    fn forget(&mut self) -> Result<(), StoreError> {
        // First, whatever of it can be read again: what was rolled back must not be taken for what is there.
        self.must_forget = true;
        self.accounts.clear();
        self.changed.clear();
        self.charges.forget();
        self.numbers.clear();
        self.live = Live::default();
        self.frozen = rows::frozen(&self.connection)?;
        for (number, hold) in rows::live_holds(&self.connection)? {
            self.numbers.insert(hold.id, rows::stored(number));
            self.live.put(hold);
        }
        self.must_forget = false;
        Ok(())
    }

    /// Writes what many operations of a group may have changed, once.
    fn flush(&mut self, now: &Now) -> Result<(), StoreError> {
        self.flush_accounts()?;
        self.flush_holds()?;
        self.charges.flush(&self.connection)?;
        let marks = now.marks();
        self.connection
            .prepare_cached("UPDATE marks SET at = max(at, ?1), calendar = max(calendar, ?2)")?
            .execute([rows::stored(marks.at.0), rows::stored(marks.calendar.0)])?;
        Ok(())
    }

    fn flush_accounts(&mut self) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached(
            "INSERT INTO accounts VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (org, name) DO UPDATE SET
                debits_pended = excluded.debits_pended,
                debits_cleared = excluded.debits_cleared,
                debits_posted = excluded.debits_posted,
                credits_pended = excluded.credits_pended,
                credits_cleared = excluded.credits_cleared,
                credits_posted = excluded.credits_posted",
        )?;
        let mut count: usize = 0;
        for (org, accounts) in &mut self.accounts {
            for (name, cached) in accounts {
                count = count.saturating_add(1);
                if !std::mem::take(&mut cached.is_changed) {
                    continue;
                }
                let Account { debits, credits } = cached.account;
                let [given, taken] = [debits, credits]
                    .map(|side| [side.pended, side.cleared, side.posted].map(rows::stored));
                let ([a, b, c], [d, e, f]) = (given, taken);
                statement.execute(params![org, name.to_string(), a, b, c, d, e, f])?;
            }
        }
        drop(statement);
        if count > ACCOUNTS_MAX {
            self.accounts.clear();
            self.charges.forget();
        }
        Ok(())
    }

    fn flush_holds(&mut self) -> Result<(), StoreError> {
        let mut put = self.connection.prepare_cached(
            "INSERT INTO live_holds (seq, is_suspended, next_at) VALUES (?1, ?2, ?3)
             ON CONFLICT (seq) DO UPDATE SET
                is_suspended = excluded.is_suspended, next_at = excluded.next_at",
        )?;
        let mut remove = self.connection.prepare_cached("DELETE FROM live_holds WHERE seq = ?1")?;
        for (number, change) in std::mem::take(&mut self.changed) {
            match change {
                Some((is_suspended, next_at)) => {
                    put.execute(params![number, is_suspended, rows::stored(next_at.0)])?
                }
                None => remove.execute([number])?,
            };
        }
        Ok(())
    }

    fn insert(&mut self, transfer: &Transfer) -> Result<(), StoreError> {
        let hold = transfer.hold.map(|hold| self.number(hold)).transpose()?;
        let terms = transfer.terms.as_ref().map(serde_json::to_string).transpose();
        let terms = terms.map_err(|error| StoreError::Permanent(error.to_string()))?;
        self.connection
            .prepare_cached(
                "INSERT INTO transfers (id, org, kind, hold, team, amount, at, note, terms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?
            .execute(params![
                transfer.id.0.0,
                transfer.org,
                transfer.kind.as_str(),
                hold,
                transfer.team,
                rows::stored(transfer.amount.micros()),
                rows::stored(transfer.at.0),
                transfer.note,
                terms,
            ])?;
        if transfer.kind == Kind::Pending {
            self.numbers.insert(transfer.id, self.connection.last_insert_rowid());
        }
        Ok(())
    }

    /// The number of a hold, live or not.
    fn number(&self, hold: TransferId) -> Result<i64, StoreError> {
        if let Some(number) = self.numbers.get(&hold) {
            return Ok(*number);
        }
        let found = rows::find_transfer(&self.connection, hold)?;
        let (number, _) = found.ok_or(StoreError::Corrupt("a hold without its transfer"))?;
        Ok(rows::stored(number))
    }

    /// Takes in what a hold has become.
    fn note(&mut self, hold: Hold) -> Result<(), StoreError> {
        let is_suspended = matches!(hold.state, State::Expired { .. });
        let next_at = hold.next_at();
        // What has ended for good was live before, or has no row among the live ones.
        self.changed.insert(self.number(hold.id)?, next_at.map(|at| (is_suspended, at)));
        if next_at.is_none() {
            self.numbers.remove(&hold.id);
        }
        self.live.put(hold);
        Ok(())
    }
}

impl Rows for Book {
    type Error = StoreError;

    fn is_frozen(&mut self, org: &str) -> Result<bool, StoreError> {
        Ok(self.frozen.contains(org))
    }

    fn account(&mut self, org: &str, name: &AccountName) -> Result<Account, StoreError> {
        if let Some(cached) = self.accounts.get(org).and_then(|accounts| accounts.get(name)) {
            return Ok(cached.account);
        }
        let account = rows::find_account(&self.connection, org, &name.to_string())?;
        let cached = Cached { account, is_changed: false };
        self.accounts.entry(org.to_owned()).or_default().insert(name.clone(), cached);
        Ok(account)
    }

    fn known(&mut self, id: TransferId) -> Result<Option<Known>, StoreError> {
        if let Some(hold) = self.live.find(id) {
            return Ok(Some(Known::Hold(hold.clone())));
        }
        match rows::find_transfer(&self.connection, id)? {
            Some((number, pending)) if pending.kind == Kind::Pending => {
                rows::hold(&self.connection, (number, pending)).map(Known::Hold).map(Some)
            }
            Some((_, transfer)) => Ok(Some(Known::Transfer(transfer))),
            None => Ok(None),
        }
    }

    fn write(&mut self, change: Change) -> Result<(), StoreError> {
        for transfer in &change.transfers {
            self.insert(transfer)?;
        }
        for charge in change.charges() {
            self.charges.put(&change.org, charge);
        }
        let accounts = self.accounts.entry(change.org).or_default();
        for (name, account) in change.accounts {
            accounts.insert(name, Cached { account, is_changed: true });
        }
        change.hold.map_or(Ok(()), |hold| self.note(hold))
    }
}
