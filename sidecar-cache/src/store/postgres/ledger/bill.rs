//! What was charged in a window of time, row by row as they come.

use futures_util::TryStreamExt;
use kt_contract::money::MicroUsd;
use kt_contract::time::UnixMillis;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::group::Writer;
use super::rows::{self, CORRUPT, stored};
use crate::ledger::Kind;
use crate::ledger::bill::{Bill, Billed, Charged};
use crate::ledger::transfer::{ESTIMATED, Terms};
use crate::store::postgres::database::Purpose;
use crate::store::postgres::fault::Fault;

/// A refund has the terms of its hold in its own row.
const CHARGES: &str = "SELECT charge.org, charge.kind, charge.amount, charge.note,
        coalesce(charge.terms, held.terms)
    FROM transfers AS charge
        JOIN transfers AS held ON held.org = charge.org AND held.seq = charge.hold
    WHERE charge.kind IN ('post', 'overage', 'late_post', 'refund')
        AND charge.at >= $1 AND charge.at < $2 AND ($3 IS NULL OR charge.org = $3)";

pub(super) async fn billed(
    writer: &Writer,
    org: Option<&str>,
    since: UnixMillis,
    until: UnixMillis,
) -> Result<Vec<Billed>, Fault> {
    let session = writer.database.begin(Purpose::Count).await?;
    let (since, until, org) = (stored(since.0), stored(until.0), org.map(str::as_bytes));
    let typed: [(&(dyn ToSql + Sync), Type); 3] =
        [(&since, Type::INT8), (&until, Type::INT8), (&org, Type::BYTEA)];
    let mut bill = Bill::default();
    let rows = session.client()?.query_typed_raw(CHARGES, typed).await?;
    let mut rows = std::pin::pin!(rows);
    while let Some(row) = rows.try_next().await? {
        count(&mut bill, &row)?;
    }
    session.done().await?;
    Ok(bill.lines())
}

fn count(bill: &mut Bill, row: &Row) -> Result<(), Fault> {
    let kind = Kind::from_word(row.try_get(1)?).ok_or(CORRUPT)?;
    let terms: Terms = serde_json::from_str(row.try_get(4)?).map_err(|_| CORRUPT)?;
    let note: &[u8] = row.try_get(3)?;
    bill.count(Charged {
        org: rows::words(row.try_get(0)?)?,
        kind,
        amount: MicroUsd::new(rows::unsigned(row, 2)?).map_err(|_| CORRUPT)?,
        is_estimated: kind.is_charge() && note == ESTIMATED.as_bytes(),
        purpose: &terms.purpose,
    });
    Ok(())
}
