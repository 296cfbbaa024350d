//! What a transaction has read under its locks: the organizations that it has locked, what ids stand for, and
//! accounts. Nothing of it outlives the transaction, for another sidecar may write the next one.

use std::collections::{BTreeSet, HashMap};

use kt_contract::time::{MonoMillis, UnixMillis};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use super::rows::{self, CORRUPT, Found, Which};
use crate::ledger::TransferId;
use crate::ledger::account::{Account, AccountName};
use crate::ledger::clock::{LedgerClock, Marks, Now, Reading};
use crate::store::ledger::Frozen;
use crate::store::postgres::fault::Fault;

/// What there is to find out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) orgs: BTreeSet<String>,
    pub(super) ids: BTreeSet<TransferId>,
    pub(super) accounts: BTreeSet<(String, AccountName)>,
}

/// The answer.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) orgs: HashMap<String, Org>,
    pub(super) known: HashMap<TransferId, Option<Found>>,
    pub(super) accounts: HashMap<(String, AccountName), Account>,
}

/// An organization whose row is locked.
#[derive(Clone, Debug)]
pub(super) struct Org {
    /// The number of its last transfer.
    pub(super) last: u64,
    /// What time it is in its book.
    pub(super) now: Now,
    pub(super) frozen: Option<Frozen>,
}

/// The row of an organization, before anybody knows what time it is.
type OrgRow = (String, u64, Marks, Option<Frozen>);

// === impl Question ===

impl Question {
    pub(super) fn is_empty(&self) -> bool {
        let Self { orgs, ids, accounts } = self;
        orgs.is_empty() && ids.is_empty() && accounts.is_empty()
    }
}

// === impl Facts ===

impl Facts {
    /// Asks, and locks the organizations that it asks about in their order. The questions go out together: the server
    /// answers one after the other, each by what is there when the locks are held. Says whether all of the
    /// organizations had a row that could be locked.
    pub(super) async fn ask(
        &mut self,
        client: &Client,
        question: &Question,
        wall: Option<UnixMillis>,
    ) -> Result<bool, Fault> {
        let (locked, at, known, accounts) = tokio::join!(
            lock(client, &question.orgs),
            clock(client, question.orgs.is_empty(), wall),
            find(client, &question.ids),
            balances(client, &question.accounts),
        );
        let (locked, wall) = (locked?, at?);
        let is_whole = locked.len() == question.orgs.len();
        for (name, last, marks, frozen) in locked {
            self.orgs.insert(name, Org { last, now: moment(marks, wall), frozen });
        }
        let mut known = known?;
        for id in &question.ids {
            self.known.insert(*id, known.remove(id));
        }
        self.accounts.extend(accounts?);
        Ok(is_whole)
    }
}

/// The moment of a book: it follows the database's clock, and never back, by the rule of every other ledger.
fn moment(marks: Marks, wall: UnixMillis) -> Now {
    let reading = Reading { mono: MonoMillis(0), wall };
    LedgerClock::resume(marks, reading).now(reading)
}

/// What time it is for the database, or for who has the clock's hands.
pub(super) async fn clock(
    client: &Client,
    is_needless: bool,
    wall: Option<UnixMillis>,
) -> Result<UnixMillis, Fault> {
    if is_needless || wall.is_some() {
        return Ok(wall.unwrap_or_default());
    }
    let sql = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint";
    let rows = client.query_typed(sql, &[]).await?;
    rows.first().map_or(Err(CORRUPT), |row| rows::unsigned(row, 0).map(UnixMillis))
}

/// Makes rows for organizations that have none, in their order.
pub(super) async fn make(client: &Client, orgs: &BTreeSet<String>) -> Result<(), Fault> {
    let names: Vec<&[u8]> = orgs.iter().map(String::as_bytes).collect();
    let sql = "INSERT INTO orgs (org, last, at, calendar) SELECT unnest($1), 0, 0, 0
        ON CONFLICT DO NOTHING";
    client.query_typed(sql, &[(&names, Type::BYTEA_ARRAY)]).await?;
    Ok(())
}

async fn lock(client: &Client, orgs: &BTreeSet<String>) -> Result<Vec<OrgRow>, Fault> {
    if orgs.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<&[u8]> = orgs.iter().map(String::as_bytes).collect();
    let sql = "SELECT org, last, at, calendar, frozen_since, frozen_reason FROM orgs
        WHERE org = ANY($1) ORDER BY org FOR UPDATE";
    let found = client.query_typed(sql, &[(&names, Type::BYTEA_ARRAY)]).await?;
    found.iter().map(org).collect()
}

fn org(row: &Row) -> Result<OrgRow, Fault> {
    let marks = Marks {
        at: UnixMillis(rows::unsigned(row, 2)?),
        calendar: UnixMillis(rows::unsigned(row, 3)?),
    };
    Ok((rows::text(row, 0)?, rows::unsigned(row, 1)?, marks, frozen(row, 4)?))
}

/// That it is frozen, from two columns.
pub(super) fn frozen(row: &Row, first: usize) -> Result<Option<Frozen>, Fault> {
    let Some(since) = row.try_get::<_, Option<i64>>(first)? else { return Ok(None) };
    let since = UnixMillis(u64::try_from(since).map_err(|_| CORRUPT)?);
    Ok(Some(Frozen { since, reason: rows::text(row, first.saturating_add(1))? }))
}

async fn find(
    client: &Client,
    ids: &BTreeSet<TransferId>,
) -> Result<HashMap<TransferId, Found>, Fault> {
    let ids: Vec<&[u8]> = ids.iter().map(|id| &id.0.0[..]).collect();
    rows::find(client, Which::Ids(&ids)).await
}

async fn balances(
    client: &Client,
    names: &BTreeSet<(String, AccountName)>,
) -> Result<HashMap<(String, AccountName), Account>, Fault> {
    let mut found: HashMap<_, _> =
        names.iter().map(|name| (name.clone(), Account::default())).collect();
    if found.is_empty() {
        return Ok(found);
    }
    let orgs: Vec<&[u8]> = names.iter().map(|(org, _)| org.as_bytes()).collect();
    let texts: Vec<Vec<u8>> = names.iter().map(|(_, name)| name.to_string().into_bytes()).collect();
    // The place in the list tells the account, whose name need not be read.
    let sql = "SELECT nth, debits_pended, debits_cleared, debits_posted,
            credits_pended, credits_cleared, credits_posted
        FROM unnest($1, $2) WITH ORDINALITY AS asked (org, name, nth) JOIN accounts USING (org, name)";
    let typed: [rows::Typed<'_>; 2] = [(&orgs, Type::BYTEA_ARRAY), (&texts, Type::BYTEA_ARRAY)];
    let rows = client.query_typed(sql, &typed).await?;
    let names: Vec<_> = names.iter().collect();
    for row in &rows {
        let nth = usize::try_from(row.try_get::<_, i64>(0)?).map_err(|_| CORRUPT)?;
        let name = names.get(nth.saturating_sub(1)).ok_or(CORRUPT)?;
        found.insert((*name).clone(), rows::account(row, 1)?);
    }
    Ok(found)
}
