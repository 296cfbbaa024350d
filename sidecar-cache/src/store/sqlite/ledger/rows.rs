//! The rows of the ledger and their types: every statement that more than one place needs.

use std::collections::HashSet;

use kt_contract::hex::Digest;
use kt_contract::money::MicroUsd;
use kt_contract::time::UnixMillis;
use rusqlite::{Connection, OptionalExtension, Row};

use crate::ledger::account::{Account, Side};
use crate::ledger::clock::Marks;
use crate::ledger::{Hold, Kind, Transfer, TransferId};
use crate::store::StoreError;

const CORRUPT: StoreError = StoreError::Corrupt("a row of the wallet");

/// A transfer's columns; the hold that it refers to, by its id.
const COLUMNS: &str = "seq, id, org, kind,
    (SELECT id FROM transfers AS held WHERE held.seq = transfers.hold), team, amount, at, note,
    terms";

/// The transfers whose ids are indexed.
const CHOSEN: &str =
    "kind IN ('fund', 'pending', 'refund', 'adjust_credit', 'adjust_debit', 'allocate',
    'deallocate', 'open_calls')";

/// A number as SQLite keeps it.
pub(super) fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(row: &Row<'_>, at: usize) -> Result<u64, StoreError> {
    u64::try_from(row.get::<_, i64>(at)?).map_err(|_| CORRUPT)
}

/// The counters in six columns from the first on.
pub(super) fn account(row: &Row<'_>, first: usize) -> Result<Account, StoreError> {
    let number = |nth: usize| unsigned(row, first.saturating_add(nth));
    Ok(Account {
        debits: Side { pended: number(0)?, cleared: number(1)?, posted: number(2)? },
        credits: Side { pended: number(3)?, cleared: number(4)?, posted: number(5)? },
    })
}

pub(super) fn find_account(
    connection: &Connection,
    org: &str,
    name: &str,
) -> Result<Account, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT debits_pended, debits_cleared, debits_posted,
                credits_pended, credits_cleared, credits_posted
         FROM accounts WHERE org = ?1 AND name = ?2",
    )?;
    let mut rows = statement.query([org, name])?;
    rows.next()?.map_or_else(|| Ok(Account::default()), |row| account(row, 0))
}

/// A transfer and its number, from [`COLUMNS`].
fn transfer(row: &Row<'_>) -> Result<(u64, Transfer), StoreError> {
    let kind = Kind::from_word(row.get_ref(3)?.as_str().map_err(|_| CORRUPT)?).ok_or(CORRUPT)?;
    let terms: Option<String> = row.get(9)?;
    let terms = terms.map(|terms| serde_json::from_str(&terms)).transpose();
    let transfer = Transfer {
        id: TransferId(Digest(row.get(1)?)),
        org: row.get(2)?,
        kind,
        hold: row.get::<_, Option<[u8; 32]>>(4)?.map(|hold| TransferId(Digest(hold))),
        team: row.get(5)?,
        amount: MicroUsd::new(unsigned(row, 6)?).map_err(|_| CORRUPT)?,
        at: UnixMillis(unsigned(row, 7)?),
        note: row.get(8)?,
        terms: terms.map_err(|_| CORRUPT)?,
    };
    Ok((unsigned(row, 0)?, transfer))
}

/// The transfer of an id that somebody has chosen, and its number.
pub(super) fn find_transfer(
    connection: &Connection,
    id: TransferId,
) -> Result<Option<(u64, Transfer)>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM transfers WHERE id = ?1 AND {CHOSEN}");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([id.0.0])?;
    rows.next()?.map(transfer).transpose()
}

/// Transfers that a query finds by its parameters, in its order.
pub(super) fn transfers(
    connection: &Connection,
    condition: &str,
    parameters: impl rusqlite::Params,
) -> Result<Vec<(u64, Transfer)>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM transfers WHERE {condition}");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(parameters)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(transfer(row)?);
    }
    Ok(found)
}

/// The hold of a pending transfer with its number, from all rows that refer to it.
pub(super) fn hold(
    connection: &Connection,
    (seq, pending): (u64, Transfer),
) -> Result<Hold, StoreError> {
    let seq = stored(seq);
    let mut rows = Vec::new();
    // Each condition is that of an index.
    for kinds in [
        "kind IN ('post', 'void', 'expire')",
        "kind IN ('late_post', 'late_void')",
        "kind = 'return'",
        "kind IN ('extend', 'overage', 'refund')",
    ] {
        rows.extend(transfers(connection, &format!("hold = ?1 AND {kinds}"), [seq])?);
    }
    rows.sort_by_key(|(seq, _)| *seq);
    let rows: Vec<_> = rows.into_iter().map(|(_, row)| row).collect();
    let next_at: Option<i64> = connection
        .prepare_cached("SELECT next_at FROM live_holds WHERE seq = ?1")?
        .query_row([seq], |row| row.get(0))
        .optional()?;
    let next_at = next_at.and_then(|at| u64::try_from(at).ok()).map(UnixMillis);
    Hold::from_rows(pending, &rows, next_at).ok_or(CORRUPT)
}

/// Every hold that is open or lies in suspense, with its number, the next to change first.
pub(super) fn live_holds(connection: &Connection) -> Result<Vec<(u64, Hold)>, StoreError> {
    holds(connection, "seq IN (SELECT seq FROM live_holds)", [])
}

/// The holds that a query finds by its parameters, the next to change first.
pub(super) fn holds(
    connection: &Connection,
    condition: &str,
    parameters: impl rusqlite::Params,
) -> Result<Vec<(u64, Hold)>, StoreError> {
    let mut holds = Vec::new();
    for (seq, pending) in transfers(connection, condition, parameters)? {
        holds.push((seq, hold(connection, (seq, pending))?));
    }
    holds.sort_by_key(|(_, hold)| (hold.next_at(), hold.id));
    Ok(holds)
}

pub(super) fn frozen(connection: &Connection) -> Result<HashSet<String>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT org FROM frozen")?;
    let orgs = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(orgs)
}

pub(super) fn marks(connection: &Connection) -> Result<Marks, StoreError> {
    let mut statement = connection.prepare_cached("SELECT at, calendar FROM marks")?;
    let mut rows = statement.query([])?;
    let row = rows.next()?.ok_or(CORRUPT)?;
    Ok(Marks { at: UnixMillis(unsigned(row, 0)?), calendar: UnixMillis(unsigned(row, 1)?) })
}
