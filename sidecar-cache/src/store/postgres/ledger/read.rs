//! What readers ask. Each question sees one state of the database: the last that was committed when it began.

use std::collections::{BTreeSet, HashMap};

use futures_util::TryStreamExt;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use super::facts::{self, clock};
use super::group::Writer;
use super::rows::{self, COLUMNS, CORRUPT, Found, Typed, WITH_HOLD, Which, stored};
use crate::ledger::account::{Account, Payer};
use crate::ledger::audit::{Auditor, Findings, RawAccount, RawLive, RawTransfer};
use crate::ledger::rules::Known;
use crate::ledger::{Hold, Operation, Transfer, TransferId};
use crate::store::ledger::{Balance, Frozen, Level, Payers};
use crate::store::postgres::database::Purpose;
use crate::store::postgres::fault::Fault;

const COUNTERS: &str = "debits_pended, debits_cleared, debits_posted,
    credits_pended, credits_cleared, credits_posted";

/// What there is to do by now, and in whose book, the longest overdue first; but for the books of `barred`.
pub(super) async fn due(
    writer: &Writer,
    count_max: usize,
    barred: &BTreeSet<String>,
) -> Result<Vec<(String, Operation)>, Fault> {
    let session = writer.database.begin(Purpose::Read).await?;
    let client = session.client()?;
    let now = clock(client, false, writer.wall()).await?;
    let latest = latest(client).await?.max(stored(now.0));
    // Each book has its own time, which no index on live holds knows: the latest of all bounds how much of it is read.
    let sql = "SELECT t.id, live.is_suspended, org FROM live_holds AS live JOIN orgs USING (org)
            JOIN transfers AS t USING (org, seq)
        WHERE live.next_at <= $3 AND live.next_at <= greatest($1, orgs.at) AND org <> ALL($4)
        ORDER BY live.next_at, t.id LIMIT $2";
    let barred: Vec<&[u8]> = barred.iter().map(String::as_bytes).collect();
    let typed: [Typed<'_>; 4] = [
        (&stored(now.0), Type::INT8),
        (&count(count_max), Type::INT8),
        (&latest, Type::INT8),
        (&barred, Type::BYTEA_ARRAY),
    ];
    let mut due = Vec::new();
    for row in client.query_typed(sql, &typed).await? {
        let hold = rows::id(row.try_get(0)?)?;
        let is_suspended: bool = row.try_get(1)?;
        let next =
            if is_suspended { Operation::Return { hold } } else { Operation::Expire { hold } };
        due.push((rows::text(&row, 2)?, next));
    }
    session.done().await?;
    Ok(due)
}

/// The latest time of any book. The condition is always true and lets an index be used: readers' transactions forbid
/// going through a table as it lies, and what a plan does all the same counts as so dear that it is compiled first.
async fn latest(client: &Client) -> Result<i64, Fault> {
    let sql = "SELECT coalesce(max(at), 0) FROM orgs WHERE org >= ''";
    let rows = client.query_typed(sql, &[]).await?;
    Ok(rows.first().ok_or(CORRUPT)?.try_get(0)?)
}

pub(super) async fn balance(writer: &Writer, org: &str) -> Result<Balance, Fault> {
    let session = writer.database.begin(Purpose::Read).await?;
    let client = session.client()?;
    let sql = "SELECT frozen_since, frozen_reason FROM orgs WHERE org = $1";
    let row = client.query_typed(sql, &[(&org.as_bytes(), Type::BYTEA)]).await?;
    let frozen = row.first().map(|row| facts::frozen(row, 0)).transpose()?.flatten();
    // ';' comes after ':'.
    let among = "name IN ('wallet', 'suspense') OR name >= 'team:' AND name < 'team;'";
    let mut balance = Balance { frozen, ..Balance::default() };
    for (name, account) in named(client, org, among).await? {
        match name.strip_prefix("team:") {
            Some(team) => balance.purses.push((team.to_owned(), account)),
            None if name == "wallet" => balance.wallet = account,
            None => balance.suspense = account,
        }
    }
    let open = some_holds(client, Which::OpenOf(org)).await?;
    balance.shortfall_max = Balance::shortfall_of(&Payer::Wallet, &open);
    session.done().await?;
    Ok(balance)
}

pub(super) async fn payers(writer: &Writer, org: &str) -> Result<Payers, Fault> {
    let session = writer.database.begin(Purpose::Read).await?;
    let accounts =
        named(session.client()?, org, "name = 'wallet' OR name >= 'team:' AND name < 'team;'");
    let accounts = accounts.await?;
    session.done().await?;
    let mut payers = Payers::default();
    for (name, account) in accounts {
        match name.strip_prefix("team:") {
            Some(team) => payers.purses.push((team.to_owned(), account)),
            None => payers.wallet = account,
        }
    }
    Ok(payers)
}

pub(super) async fn accounts(writer: &Writer, org: &str) -> Result<Vec<(String, Account)>, Fault> {
    let session = writer.database.begin(Purpose::Read).await?;
    let accounts = named(session.client()?, org, "true").await?;
    session.done().await?;
    Ok(accounts)
}

/// Accounts of an organization whose names fulfil a condition, by name.
async fn named(
    client: &Client,
    org: &str,
    condition: &str,
) -> Result<Vec<(String, Account)>, Fault> {
    let sql = format!(
        "SELECT name, {COUNTERS} FROM accounts WHERE org = $1 AND ({condition}) ORDER BY name"
    );
    let rows = client.query_typed(&sql, &[(&org.as_bytes(), Type::BYTEA)]).await?;
    rows.iter().map(|row| Ok((rows::text(row, 0)?, rows::account(row, 1)?))).collect()
}

pub(super) async fn one_hold(writer: &Writer, id: TransferId) -> Result<Option<Hold>, Fault> {
    Ok(holds_by_id(writer, &[id]).await?.remove(&id))
}

pub(super) async fn holds_by_id(
    writer: &Writer,
    ids: &[TransferId],
) -> Result<HashMap<TransferId, Hold>, Fault> {
    let session = writer.database.begin(Purpose::Read).await?;
    let ids: Vec<&[u8]> = ids.iter().map(|id| &id.0.0[..]).collect();
    let found = rows::find(session.client()?, Which::Ids(&ids)).await?;
    session.done().await?;
    let hold = |(id, found): (TransferId, Found)| match found.known {
        Known::Hold(hold) => Some((id, hold)),
        Known::Transfer(_) => None,
    };
    Ok(found.into_iter().filter_map(hold).collect())
}

pub(super) async fn first_holds(
    writer: &Writer,
    org: &str,
    count_max: usize,
) -> Result<(Vec<Hold>, u64), Fault> {
    let session = writer.database.begin(Purpose::Read).await?;
    let client = session.client()?;
    let sql = "SELECT count(*) FROM live_holds WHERE org = $1";
    let rows = client.query_typed(sql, &[(&org.as_bytes(), Type::BYTEA)]).await?;
    let total = rows::unsigned(rows.first().ok_or(CORRUPT)?, 0)?;
    let holds = some_holds(client, Which::FirstOf(org, count_max)).await?;
    session.done().await?;
    Ok((holds, total))
}

async fn some_holds(client: &Client, which: Which<'_>) -> Result<Vec<Hold>, Fault> {
    let mut holds = Vec::new();
    for found in rows::find(client, which).await?.into_values() {
        match found.known {
            Known::Hold(hold) => holds.push(hold),
            Known::Transfer(_) => return Err(CORRUPT),
        }
    }
    holds.sort_by_key(|hold| (hold.next_at(), hold.id));
    Ok(holds)
}

pub(super) async fn transfers(
    writer: &Writer,
    org: &str,
    after: u64,
    count_max: usize,
) -> Result<Vec<(u64, Transfer)>, Fault> {
    page(writer, "t.seq > $2 ORDER BY t.seq", (org, after, count_max)).await
}

pub(super) async fn history(
    writer: &Writer,
    org: &str,
    before: Option<u64>,
    count_max: usize,
) -> Result<Vec<(u64, Transfer)>, Fault> {
    let before = before.unwrap_or(u64::MAX);
    page(writer, "t.seq < $2 ORDER BY t.seq DESC", (org, before, count_max)).await
}

async fn page(
    writer: &Writer,
    condition: &str,
    (org, seq, count_max): (&str, u64, usize),
) -> Result<Vec<(u64, Transfer)>, Fault> {
    let session = writer.database.begin(Purpose::Read).await?;
    let sql = format!(
        "SELECT {COLUMNS} FROM transfers AS t {WITH_HOLD} WHERE t.org = $1 AND {condition} LIMIT $3"
    );
    let typed: [Typed<'_>; 3] = [
        (&org.as_bytes(), Type::BYTEA),
        (&stored(seq), Type::INT8),
        (&count(count_max), Type::INT8),
    ];
    let rows = session.client()?.query_typed(&sql, &typed).await?;
    session.done().await?;
    rows.iter().map(rows::transfer).collect()
}

fn count(count_max: usize) -> i64 {
    i64::try_from(count_max).unwrap_or(i64::MAX)
}

/// Windows that are over stay where they are, and are not looked at.
pub(super) async fn levels(writer: &Writer, org: &str) -> Result<Vec<Level>, Fault> {
    let session = writer.database.begin(Purpose::Read).await?;
    let client = session.client()?;
    let now = clock(client, false, writer.wall()).await?;
    let sql = format!(
        "SELECT charge, {COUNTERS} FROM accounts JOIN orgs USING (org)
         WHERE org = $1 AND until > greatest($2, orgs.calendar) ORDER BY name"
    );
    let typed: [Typed<'_>; 2] = [(&org.as_bytes(), Type::BYTEA), (&stored(now.0), Type::INT8)];
    let rows = client.query_typed(&sql, &typed).await?;
    session.done().await?;
    let level = |row: &Row| {
        let charge = serde_json::from_str(row.try_get(0)?).map_err(|_| CORRUPT)?;
        Ok(Level::of(charge, &rows::account(row, 1)?))
    };
    rows.iter().map(level).collect()
}

pub(super) async fn frozen(writer: &Writer) -> Result<Vec<(String, Frozen)>, Fault> {
    let session = writer.database.begin(Purpose::Read).await?;
    let sql = "SELECT org, frozen_since, frozen_reason FROM orgs WHERE frozen_since IS NOT NULL
        ORDER BY org";
    let rows = session.client()?.query_typed(sql, &[]).await?;
    session.done().await?;
    let mut all = Vec::new();
    for row in &rows {
        all.push((rows::text(row, 0)?, facts::frozen(row, 1)?.ok_or(CORRUPT)?));
    }
    Ok(all)
}

/// Reads every row, as it is, in one view of the database.
pub(super) async fn audit(writer: &Writer) -> Result<Findings, Fault> {
    let session = writer.database.begin(Purpose::Count).await?;
    let client = session.client()?;
    let times = times(client, stored(clock(client, false, writer.wall()).await?.0)).await?;
    let mut auditor = Auditor::default();
    let sql = format!("SELECT {COLUMNS} FROM transfers AS t {WITH_HOLD} ORDER BY t.org, t.seq");
    each(client, &sql, |row| {
        auditor.transfer(&RawTransfer {
            id: bytes(row.try_get(2)?)?,
            org: rows::text(row, 0)?,
            kind: row.try_get(3)?,
            hold: row.try_get::<_, Option<&[u8]>>(4)?.map(bytes).transpose()?,
            team: row
                .try_get::<_, Option<&[u8]>>(5)?
                .map(rows::words)
                .transpose()?
                .map(str::to_owned),
            amount: row.try_get(6)?,
            at: row.try_get(7)?,
            terms: row.try_get(9)?,
        });
        Ok(())
    })
    .await?;
    each(client, &format!("SELECT org, name, {COUNTERS} FROM accounts"), |row| {
        auditor.account(&RawAccount {
            org: rows::text(row, 0)?,
            name: rows::text(row, 1)?,
            debits: [row.try_get(2)?, row.try_get(3)?, row.try_get(4)?],
            credits: [row.try_get(5)?, row.try_get(6)?, row.try_get(7)?],
        });
        Ok(())
    })
    .await?;
    let sql = "SELECT org, id, is_suspended FROM live_holds JOIN transfers USING (org, seq)";
    each(client, sql, |row| {
        let (org, hold) = (rows::text(row, 0)?, bytes(row.try_get(1)?)?);
        auditor.live(&RawLive { org, hold, is_suspended: row.try_get(2)? });
        Ok(())
    })
    .await?;
    session.done().await?;
    Ok(auditor.finish(|org| times.get(org).copied().unwrap_or_default()))
}

/// What time it is in each book: its own, or the latest of any, as far as the clock has come. Nothing moves the time of one in which
/// nobody does anything, and one that was ahead once says nothing of the others.
async fn times(client: &Client, now: i64) -> Result<HashMap<String, i64>, Fault> {
    let sql = "SELECT org, greatest(at, least(max(at) OVER (), $1)) FROM orgs";
    let mut times = HashMap::new();
    for row in client.query_typed(sql, &[(&now, Type::INT8)]).await? {
        times.insert(rows::text(&row, 0)?, row.try_get(1)?);
    }
    Ok(times)
}

fn bytes(id: &[u8]) -> Result<[u8; 32], Fault> {
    id.try_into().map_err(|_| CORRUPT)
}

/// Takes row by row, as they come.
async fn each(
    client: &Client,
    sql: &str,
    mut take: impl FnMut(&Row) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let none: [(&(dyn ToSql + Sync), Type); 0] = [];
    let stream = client.query_typed_raw(sql, none).await?;
    let mut stream = std::pin::pin!(stream);
    while let Some(row) = stream.try_next().await? {
        take(&row)?;
    }
    Ok(())
}
