//! What was charged in a window of time. Transfers are numbered as the ledger's clock runs, and that never goes back:
//! a window is a range of numbers, which is found by halving, without an index of times.

use kt_contract::money::MicroUsd;
use kt_contract::time::UnixMillis;
use rusqlite::{Connection, OptionalExtension, Row};

use super::rows;
use crate::ledger::Kind;
use crate::ledger::bill::{Bill, Billed, Charged};
use crate::ledger::transfer::{ESTIMATED, Terms};
use crate::store::StoreError;

const CORRUPT: StoreError = StoreError::Corrupt("a charge of the wallet");

/// A refund has the terms of its hold in its own row.
const CHARGES: &str = "SELECT charge.org, charge.kind, charge.amount, charge.note,
        coalesce(charge.terms, held.terms)
    FROM transfers AS charge JOIN transfers AS held ON held.seq = charge.hold
    WHERE charge.kind IN ('post', 'overage', 'late_post', 'refund')
        AND charge.seq >= ?1 AND charge.seq < ?2";

pub(super) fn billed(
    connection: &mut Connection,
    org: Option<&str>,
    since: UnixMillis,
    until: UnixMillis,
) -> Result<Vec<Billed>, StoreError> {
    let view = connection.transaction()?;
    let (first, end) = (first_at(&view, since)?, first_at(&view, until)?);
    let mut bill = Bill::default();
    let mut statement = view.prepare_cached(&charges(org.is_some()))?;
    let mut found = match org {
        Some(org) => statement.query((first, end, org))?,
        None => statement.query((first, end))?,
    };
    while let Some(row) = found.next()? {
        count(&mut bill, row)?;
    }
    Ok(bill.lines())
}

/// The statement for one organization, or for all.
pub(super) fn charges(of_one: bool) -> String {
    if of_one { format!("{CHARGES} AND charge.org = ?3") } else { CHARGES.to_owned() }
}

fn count(bill: &mut Bill, row: &Row<'_>) -> Result<(), StoreError> {
    let text = |at| row.get_ref(at)?.as_str().map_err(|_| CORRUPT);
    let kind = Kind::from_word(text(1)?).ok_or(CORRUPT)?;
    let amount = u64::try_from(row.get::<_, i64>(2)?).map_err(|_| CORRUPT)?;
    let terms: Terms = serde_json::from_str(text(4)?).map_err(|_| CORRUPT)?;
    bill.count(Charged {
        org: text(0)?,
        kind,
        amount: MicroUsd::new(amount).map_err(|_| CORRUPT)?,
        is_estimated: kind.is_charge() && text(3)? == ESTIMATED,
        purpose: &terms.purpose,
    });
    Ok(())
}

/// The number of the first transfer that was made at a moment or later; beyond the last, where there is none.
fn first_at(view: &Connection, moment: UnixMillis) -> Result<i64, StoreError> {
    let last: Option<i64> =
        view.query_row("SELECT max(seq) FROM transfers", [], |row| row.get(0))?;
    let moment = rows::stored(moment.0);
    let mut next =
        view.prepare_cached("SELECT seq, at FROM transfers WHERE seq >= ?1 ORDER BY seq LIMIT 1")?;
    let (mut low, mut high) = (0, last.unwrap_or_default().saturating_add(1));
    while low < high {
        let middle = low.midpoint(high);
        let found: Option<(i64, i64)> =
            next.query_row([middle], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        match found {
            Some((seq, at)) if at < moment => low = seq.saturating_add(1),
            Some(_) | None => high = middle,
        }
    }
    Ok(low)
}
