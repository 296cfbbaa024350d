//! What readers ask. Each question sees one state of the file: the last that was committed.

use kt_contract::time::UnixMillis;
use rusqlite::{Connection, OptionalExtension, Row};

use super::rows;
use crate::ledger::account::{Account, Payer};
use crate::ledger::audit::{Auditor, Findings, RawAccount, RawLive, RawTransfer};
use crate::ledger::{Hold, Kind, Transfer, TransferId};
use crate::store::StoreError;
use crate::store::ledger::{Balance, Frozen};

/// A page of an organization's history.
pub(super) const PAGE: &str = "org = ?1 AND seq < ?2 ORDER BY seq DESC LIMIT ?3";

/// The holds of an organization that are open or lie in suspense: the few live ones are asked whose they are, and not the
/// whole history of the organization whether it is live.
const LIVE: &str = "live_holds JOIN transfers USING (seq) WHERE +org = ?1";
/// Those that are open. What lies in suspense stays for a day, and can be a thousand times as much.
const OPEN: &str = "+org = ?1 AND seq IN (SELECT seq FROM live_holds WHERE NOT is_suspended)";

pub(super) fn balance(connection: &mut Connection, org: &str) -> Result<Balance, StoreError> {
    let view = connection.transaction()?;
    let frozen = view
        .prepare_cached("SELECT since, reason FROM frozen WHERE org = ?1")?
        .query_row([org], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)))
        .optional()?;
    Ok(Balance {
        wallet: rows::find_account(&view, org, "wallet")?,
        purses: purses(&view, org)?,
        suspense: rows::find_account(&view, org, "suspense")?,
        shortfall_max: Balance::shortfall_of(&Payer::Wallet, &of_org(&view, org, OPEN)?),
        frozen: frozen.map(|(since, reason)| since_when(since, reason)),
    })
}

/// Every purse has been given something: nothing else makes the account.
fn purses(view: &Connection, org: &str) -> Result<Vec<(String, Account)>, StoreError> {
    // ';' comes after ':'.
    let accounts = named(view, org, "name >= 'team:' AND name < 'team;'")?;
    let team = |name: String| name.strip_prefix("team:").map(str::to_owned).unwrap_or(name);
    Ok(accounts.into_iter().map(|(name, account)| (team(name), account)).collect())
}

pub(super) fn accounts(
    connection: &Connection,
    org: &str,
) -> Result<Vec<(String, Account)>, StoreError> {
    named(connection, org, "true")
}

/// Accounts of an organization whose names fulfil a condition, by name.
fn named(
    connection: &Connection,
    org: &str,
    condition: &str,
) -> Result<Vec<(String, Account)>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT name, debits_pended, debits_cleared, debits_posted,
                credits_pended, credits_cleared, credits_posted
         FROM accounts WHERE org = ?1 AND {condition} ORDER BY name",
    ))?;
    let mut found = statement.query([org])?;
    let mut accounts = Vec::new();
    while let Some(row) = found.next()? {
        accounts.push((row.get(0)?, rows::account(row, 1)?));
    }
    Ok(accounts)
}

pub(super) fn one_hold(
    connection: &mut Connection,
    id: TransferId,
) -> Result<Option<Hold>, StoreError> {
    let view = connection.transaction()?;
    let found = rows::find_transfer(&view, id)?;
    let pending = found.filter(|(_, transfer)| transfer.kind == Kind::Pending);
    pending.map(|pending| rows::hold(&view, pending)).transpose()
}

pub(super) fn first_holds(
    connection: &mut Connection,
    org: &str,
    count_max: usize,
) -> Result<(Vec<Hold>, u64), StoreError> {
    let view = connection.transaction()?;
    let total = view
        .prepare_cached(&format!("SELECT count(*) FROM {LIVE}"))?
        .query_row([org], |row| row.get::<_, i64>(0))?;
    let count_max = i64::try_from(count_max).unwrap_or(i64::MAX);
    let first = format!("seq IN (SELECT seq FROM {LIVE} ORDER BY next_at, seq LIMIT {count_max})");
    Ok((of_org(&view, org, &first)?, u64::try_from(total).unwrap_or_default()))
}

fn of_org(view: &Connection, org: &str, condition: &str) -> Result<Vec<Hold>, StoreError> {
    Ok(rows::holds(view, condition, [org])?.into_iter().map(|(_, hold)| hold).collect())
}

pub(super) fn history(
    connection: &Connection,
    org: &str,
    before: Option<u64>,
    count_max: usize,
) -> Result<Vec<(u64, Transfer)>, StoreError> {
    let before = rows::stored(before.unwrap_or(u64::MAX));
    let count_max = i64::try_from(count_max).unwrap_or(i64::MAX);
    rows::transfers(connection, PAGE, (org, before, count_max))
}

pub(super) fn frozen(connection: &Connection) -> Result<Vec<(String, Frozen)>, StoreError> {
    let mut all = Vec::new();
    each(connection, "SELECT org, since, reason FROM frozen ORDER BY org", |row| {
        all.push((row.get(0)?, since_when(row.get(1)?, row.get(2)?)));
        Ok(())
    })?;
    Ok(all)
}

fn since_when(since: i64, reason: String) -> Frozen {
    Frozen { since: UnixMillis(u64::try_from(since).unwrap_or_default()), reason }
}

pub(super) fn transfers(
    connection: &Connection,
    org: &str,
    after: u64,
    count_max: usize,
) -> Result<Vec<(u64, Transfer)>, StoreError> {
    let count_max = i64::try_from(count_max).unwrap_or(i64::MAX);
    let condition = "org = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3";
    rows::transfers(connection, condition, (org, rows::stored(after), count_max))
}

/// Reads every row, as it is, in one view of the file.
pub(super) fn audit(connection: &mut Connection) -> Result<Findings, StoreError> {
    let view = connection.transaction()?;
    // The store's own time, as far as it is on disk: what is due by another clock is not overdue by this one.
    let now = rows::marks(&view)?.at;
    let mut auditor = Auditor::default();
    each(
        &view,
        "SELECT id, org, kind, (SELECT id FROM transfers AS held WHERE held.seq = transfers.hold),
                team, amount, at, terms FROM transfers ORDER BY seq",
        |row| {
            auditor.transfer(&RawTransfer {
                id: row.get(0)?,
                org: row.get(1)?,
                kind: row.get(2)?,
                hold: row.get(3)?,
                team: row.get(4)?,
                amount: row.get(5)?,
                at: row.get(6)?,
                terms: row.get(7)?,
            });
            Ok(())
        },
    )?;
    each(
        &view,
        "SELECT org, name, debits_pended, debits_cleared, debits_posted,
                credits_pended, credits_cleared, credits_posted FROM accounts",
        |row| {
            auditor.account(&RawAccount {
                org: row.get(0)?,
                name: row.get(1)?,
                debits: [row.get(2)?, row.get(3)?, row.get(4)?],
                credits: [row.get(5)?, row.get(6)?, row.get(7)?],
            });
            Ok(())
        },
    )?;
    each(
        &view,
        "SELECT org, id, is_suspended FROM live_holds JOIN transfers USING (seq)",
        |row| {
            let (org, hold, is_suspended) = (row.get(0)?, row.get(1)?, row.get(2)?);
            auditor.live(&RawLive { org, hold, is_suspended });
            Ok(())
        },
    )?;
    Ok(auditor.finish(|_| rows::stored(now.0)))
}

fn each(
    view: &Connection,
    sql: &str,
    mut take: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
) -> Result<(), StoreError> {
    let mut statement = view.prepare(sql)?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        take(row)?;
    }
    Ok(())
}
