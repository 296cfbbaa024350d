//! What a group has changed, written by one statement, with rows as arrays, in one round trip with the commit.

use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use super::rows::{Typed, stored};
use super::sheet::Changes;
use crate::ledger::account::Account;
use crate::store::postgres::fault::Fault;

/// Parts of one statement, for one after the other costs the server more than what they do. None reads what another
/// one writes.
const WRITE: &str = "WITH written AS (
    INSERT INTO transfers (org, seq, id, kind, hold, team, amount, at, note, terms)
    SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
), counted AS (
    INSERT INTO accounts (org, name, debits_pended, debits_cleared, debits_posted,
        credits_pended, credits_cleared, credits_posted, until, charge)
    SELECT * FROM unnest($11, $12, $13, $14, $15, $16, $17, $18, $19, $20)
    ON CONFLICT (org, name) DO UPDATE SET
        debits_pended = excluded.debits_pended,
        debits_cleared = excluded.debits_cleared,
        debits_posted = excluded.debits_posted,
        credits_pended = excluded.credits_pended,
        credits_cleared = excluded.credits_cleared,
        credits_posted = excluded.credits_posted,
        until = coalesce(excluded.until, accounts.until),
        charge = coalesce(excluded.charge, accounts.charge)
), listed AS (
    INSERT INTO live_holds (org, seq, is_suspended, is_grown, next_at)
    SELECT * FROM unnest($21, $22, $23, $24, $25)
    ON CONFLICT (org, seq) DO UPDATE SET
        is_suspended = excluded.is_suspended,
        is_grown = excluded.is_grown,
        next_at = excluded.next_at
), ended AS (
    DELETE FROM live_holds WHERE (org, seq) IN (SELECT * FROM unnest($26, $27))
)
UPDATE orgs SET last = new.last, at = new.at, calendar = new.calendar,
    frozen_since = new.since, frozen_reason = new.reason
FROM unnest($28, $29, $30, $31, $32, $33) AS new (org, last, at, calendar, since, reason)
WHERE orgs.org = new.org";

/// Values of a column with their type.
type Column<'a> = (Box<dyn ToSql + Sync + Send + 'a>, Type);

/// Writes, and commits. After an error nobody knows whether it was done.
pub(super) async fn flush(client: &Client, changes: &Changes) -> Result<(), Fault> {
    let columns: Vec<Column<'_>> = transfers(changes)?
        .into_iter()
        .chain(accounts(changes)?)
        .chain(live(changes))
        .chain(gone(changes))
        .chain(orgs(changes))
        .collect();
    let typed: Vec<Typed<'_>> =
        columns.iter().map(|(values, of)| (&**values as &(dyn ToSql + Sync), of.clone())).collect();
    // The commit is on its way before the answer to the rest has come; after an error it undoes.
    let (written, committed) =
        tokio::join!(client.query_typed(WRITE, &typed), client.batch_execute("COMMIT"));
    written?;
    committed?;
    Ok(())
}

fn column<'a, T: ToSql + Sync + Send + 'a>(values: Vec<T>, of: Type) -> Column<'a> {
    (Box::new(values), of)
}

fn json<T: serde::Serialize>(value: Option<&T>) -> Result<Option<String>, Fault> {
    let text = value.map(serde_json::to_string).transpose();
    text.map_err(|error| Fault::Never(error.to_string()))
}

fn transfers(changes: &Changes) -> Result<[Column<'_>; 10], Fault> {
    let rows = || changes.transfers.iter().map(|(_, _, row)| row);
    let terms = rows().map(|row| json(row.terms.as_ref())).collect::<Result<Vec<_>, _>>()?;
    let seqs = changes.transfers.iter().map(|(seq, ..)| stored(*seq)).collect();
    let holds = changes.transfers.iter().map(|(_, hold, _)| hold.map(stored)).collect();
    let teams = rows().map(|row| row.team.as_deref().map(str::as_bytes)).collect();
    Ok([
        column(rows().map(|row| row.org.as_bytes()).collect(), Type::BYTEA_ARRAY),
        column::<i64>(seqs, Type::INT8_ARRAY),
        column(rows().map(|row| &row.id.0.0[..]).collect(), Type::BYTEA_ARRAY),
        column(rows().map(|row| row.kind.as_str()).collect(), Type::TEXT_ARRAY),
        column::<Option<i64>>(holds, Type::INT8_ARRAY),
        column::<Option<&[u8]>>(teams, Type::BYTEA_ARRAY),
        column(rows().map(|row| stored(row.amount.micros())).collect(), Type::INT8_ARRAY),
        column(rows().map(|row| stored(row.at.0)).collect(), Type::INT8_ARRAY),
        column(rows().map(|row| row.note.as_bytes()).collect(), Type::BYTEA_ARRAY),
        column(terms, Type::TEXT_ARRAY),
    ])
}

fn accounts(changes: &Changes) -> Result<[Column<'_>; 10], Fault> {
    let names = || changes.accounts.keys();
    let counter = |of: fn(&Account) -> u64| {
        let numbers = changes.accounts.values().map(|account| stored(of(account))).collect();
        column::<i64>(numbers, Type::INT8_ARRAY)
    };
    let charges = || names().map(|name| changes.charges.get(name));
    let until = charges().map(|charge| charge.map(|charge| stored(charge.until.0))).collect();
    let texts = charges().map(json).collect::<Result<Vec<_>, _>>()?;
    Ok([
        column(names().map(|(org, _)| org.as_bytes()).collect(), Type::BYTEA_ARRAY),
        column(names().map(|(_, name)| name.to_string().into_bytes()).collect(), Type::BYTEA_ARRAY),
        counter(|account| account.debits.pended),
        counter(|account| account.debits.cleared),
        counter(|account| account.debits.posted),
        counter(|account| account.credits.pended),
        counter(|account| account.credits.cleared),
        counter(|account| account.credits.posted),
        column::<Option<i64>>(until, Type::INT8_ARRAY),
        column(texts, Type::TEXT_ARRAY),
    ])
}

fn live(changes: &Changes) -> [Column<'_>; 5] {
    let (mut orgs, mut seqs) = (Vec::new(), Vec::new());
    let (mut suspended, mut grown, mut next_at) = (Vec::new(), Vec::new(), Vec::new());
    for ((org, seq), live) in &changes.live {
        if let Some(live) = live {
            orgs.push(org.as_bytes());
            seqs.push(stored(*seq));
            suspended.push(live.is_suspended);
            grown.push(live.is_grown);
            next_at.push(stored(live.next_at.0));
        }
    }
    [
        column(orgs, Type::BYTEA_ARRAY),
        column(seqs, Type::INT8_ARRAY),
        column(suspended, Type::BOOL_ARRAY),
        column(grown, Type::BOOL_ARRAY),
        column(next_at, Type::INT8_ARRAY),
    ]
}

fn gone(changes: &Changes) -> [Column<'_>; 2] {
    let gone = || changes.live.iter().filter(|(_, live)| live.is_none()).map(|(at, _)| at);
    [
        column(gone().map(|(org, _)| org.as_bytes()).collect(), Type::BYTEA_ARRAY),
        column(gone().map(|(_, seq)| stored(*seq)).collect(), Type::INT8_ARRAY),
    ]
}

fn orgs(changes: &Changes) -> [Column<'_>; 6] {
    let rows = || changes.orgs.values();
    let frozen = || rows().map(|org| org.frozen.as_ref());
    let since = frozen().map(|frozen| frozen.map(|frozen| stored(frozen.since.0))).collect();
    let reasons = frozen().map(|frozen| frozen.map(|frozen| frozen.reason.as_bytes())).collect();
    [
        column(changes.orgs.keys().map(String::as_bytes).collect(), Type::BYTEA_ARRAY),
        column(rows().map(|org| stored(org.last)).collect(), Type::INT8_ARRAY),
        column(rows().map(|org| stored(org.now.at.0)).collect(), Type::INT8_ARRAY),
        column(rows().map(|org| stored(org.now.calendar.0)).collect(), Type::INT8_ARRAY),
        column::<Option<i64>>(since, Type::INT8_ARRAY),
        column::<Option<&[u8]>>(reasons, Type::BYTEA_ARRAY),
    ]
}
