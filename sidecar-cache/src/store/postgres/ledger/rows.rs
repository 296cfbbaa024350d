//! The rows of the ledger and their types, and the questions that more than one place asks.

use std::collections::HashMap;

use kt_contract::hex::Digest;
use kt_contract::money::MicroUsd;
use kt_contract::time::UnixMillis;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use super::super::fault::Fault;
use crate::ledger::account::{Account, Side};
use crate::ledger::rules::Known;
use crate::ledger::{Hold, Kind, Transfer, TransferId};

pub(super) const CORRUPT: Fault = Fault::Corrupt("a row of the wallet");

pub(super) use crate::store::postgres::database::Typed;

/// What [`transfer`] reads, of a transfer `t` whose hold is `held`.
pub(super) const COLUMNS: &str =
    "t.org, t.seq, t.id, t.kind, held.id, t.team, t.amount, t.at, t.note, t.terms";
/// And how to come by that hold.
pub(super) const WITH_HOLD: &str =
    "LEFT JOIN transfers AS held ON held.org = t.org AND held.seq = t.hold";

/// The transfers whose ids somebody has chosen.
const CHOSEN: &str = "kind IN ('fund', 'pending', 'refund', 'adjust_credit', 'adjust_debit',
    'allocate', 'deallocate', 'open_calls')";

/// Rows that refer to a hold; each condition is that of an index.
const FOLLOWING: [&str; 5] = [
    "kind IN ('post', 'void', 'expire')",
    "kind IN ('late_post', 'late_void')",
    "kind = 'return'",
    "kind IN ('extend', 'overage', 'refund')",
    "kind = 'draw'",
];

/// Which transfers are asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Which<'a> {
    /// Those of these ids.
    Ids(&'a [&'a [u8]]),
    /// Of the holds of an organization that are open or lie in suspense the first so many.
    FirstOf(&'a str, usize),
    /// Those that are open. What lies in suspense stays for a day, and can be a thousand times as much.
    OpenOf(&'a str),
}

/// Something that is known, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) seq: u64,
    pub(super) known: Known,
}

/// A number as Postgres keeps it.
pub(super) fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(row: &Row, at: usize) -> Result<u64, Fault> {
    u64::try_from(row.try_get::<_, i64>(at)?).map_err(|_| CORRUPT)
}

pub(super) fn text(row: &Row, at: usize) -> Result<String, Fault> {
    Ok(words(row.try_get(at)?)?.to_owned())
}

pub(super) fn words(bytes: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(bytes).map_err(|_| CORRUPT)
}

pub(super) fn id(bytes: &[u8]) -> Result<TransferId, Fault> {
    bytes.try_into().map(|id| TransferId(Digest(id))).map_err(|_| CORRUPT)
}

/// The counters in six columns from the first on.
pub(super) fn account(row: &Row, first: usize) -> Result<Account, Fault> {
    let number = |nth: usize| unsigned(row, first.saturating_add(nth));
    Ok(Account {
        debits: Side { pended: number(0)?, cleared: number(1)?, posted: number(2)? },
        credits: Side { pended: number(3)?, cleared: number(4)?, posted: number(5)? },
    })
}

/// A transfer and its number, from [`COLUMNS`].
pub(super) fn transfer(row: &Row) -> Result<(u64, Transfer), Fault> {
    let terms: Option<&str> = row.try_get(9)?;
    let transfer = Transfer {
        id: id(row.try_get(2)?)?,
        org: text(row, 0)?,
        kind: Kind::from_word(row.try_get(3)?).ok_or(CORRUPT)?,
        hold: row.try_get::<_, Option<&[u8]>>(4)?.map(id).transpose()?,
        team: row.try_get::<_, Option<&[u8]>>(5)?.map(words).transpose()?.map(str::to_owned),
        amount: MicroUsd::new(unsigned(row, 6)?).map_err(|_| CORRUPT)?,
        at: UnixMillis(unsigned(row, 7)?),
        note: text(row, 8)?,
        terms: terms.map(serde_json::from_str).transpose().map_err(|_| CORRUPT)?,
    };
    Ok((unsigned(row, 1)?, transfer))
}

/// What ids stand for; a hold is put together from all rows that refer to it.
pub(super) async fn find(
    client: &Client,
    which: Which<'_>,
) -> Result<HashMap<TransferId, Found>, Fault> {
    let chosen = match which {
        Which::Ids(_) => format!("t.id = ANY($1) AND t.{CHOSEN}"),
        Which::FirstOf(_, count_max) => format!(
            "(t.org, t.seq) IN (SELECT org, seq FROM live_holds WHERE org = $1
                ORDER BY next_at, seq LIMIT {})",
            stored(u64::try_from(count_max).unwrap_or(u64::MAX))
        ),
        Which::OpenOf(_) => "(t.org, t.seq) IN (SELECT org, seq FROM live_holds
            WHERE org = $1 AND NOT is_suspended)"
            .to_owned(),
    };
    let sql = format!(
        "SELECT {COLUMNS}, live.next_at, coalesce(live.is_suspended OR live.is_grown, true)
         FROM transfers AS t {WITH_HOLD}
            LEFT JOIN live_holds AS live ON live.org = t.org AND live.seq = t.seq
         WHERE {chosen}"
    );
    let rows = match which {
        Which::Ids([]) => return Ok(HashMap::new()),
        Which::Ids(ids) => client.query_typed(&sql, &[(&ids, Type::BYTEA_ARRAY)]).await?,
        Which::FirstOf(org, _) | Which::OpenOf(org) => {
            client.query_typed(&sql, &[(&org.as_bytes(), Type::BYTEA)]).await?
        }
    };
    let (mut found, mut followed) = (HashMap::new(), Vec::new());
    for row in &rows {
        let (seq, transfer) = transfer(row)?;
        let next_at: Option<i64> = row.try_get(10)?;
        let next_at = next_at.and_then(|at| u64::try_from(at).ok()).map(UnixMillis);
        if transfer.kind != Kind::Pending {
            let known = Known::Transfer(transfer);
            found.insert(id(row.try_get(2)?)?, Found { seq, known });
        } else if row.try_get(11)? {
            followed.push((seq, transfer, next_at));
        } else {
            // It is open as it was made: no row refers to it yet.
            found.insert(transfer.id, Found::hold(seq, transfer, &[], next_at)?);
        }
    }
    let mut following = follow(client, &followed).await?;
    for (seq, transfer, next_at) in followed {
        let rows = following.remove(&transfer.id).unwrap_or_default();
        found.insert(transfer.id, Found::hold(seq, transfer, &rows, next_at)?);
    }
    Ok(found)
}

/// The rows that refer to holds, in their order.
async fn follow(
    client: &Client,
    holds: &[(u64, Transfer, Option<UnixMillis>)],
) -> Result<HashMap<TransferId, Vec<Transfer>>, Fault> {
    let mut following: HashMap<TransferId, Vec<Transfer>> = HashMap::new();
    if holds.is_empty() {
        return Ok(following);
    }
    let orgs: Vec<&[u8]> = holds.iter().map(|(_, hold, _)| hold.org.as_bytes()).collect();
    let seqs: Vec<i64> = holds.iter().map(|(seq, ..)| stored(*seq)).collect();
    let ids: Vec<&[u8]> = holds.iter().map(|(_, hold, _)| &hold.id.0.0[..]).collect();
    let each = FOLLOWING.map(|kinds| {
        format!(
            "SELECT {COLUMNS} FROM unnest($1, $2, $3) AS held (org, seq, id)
                JOIN transfers AS t ON t.org = held.org AND t.hold = held.seq AND t.{kinds}"
        )
    });
    let sql = format!("{} ORDER BY 1, 2", each.join(" UNION ALL "));
    let typed: [Typed<'_>; 3] =
        [(&orgs, Type::BYTEA_ARRAY), (&seqs, Type::INT8_ARRAY), (&ids, Type::BYTEA_ARRAY)];
    for row in client.query_typed(&sql, &typed).await? {
        let (_, row) = transfer(&row)?;
        following.entry(row.hold.ok_or(CORRUPT)?).or_default().push(row);
    }
    Ok(following)
}

// === impl Found ===

impl Found {
    fn hold(
        seq: u64,
        pending: Transfer,
        rows: &[Transfer],
        next_at: Option<UnixMillis>,
    ) -> Result<Self, Fault> {
        let hold = Hold::from_rows(pending, rows, next_at).ok_or(CORRUPT)?;
        Ok(Self { seq, known: Known::Hold(hold) })
    }
}
