//! What a group has changed, written in one round trip together with the commit: a statement for each table, with
//! its rows as arrays.

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::rows::{Typed, stored};
use super::sheet::Changes;
use crate::ledger::account::Account;
use crate::store::postgres::fault::Fault;

const TRANSFERS: &str = "INSERT INTO transfers
        (org, seq, id, kind, hold, team, amount, at, note, terms)
    SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

const ACCOUNTS: &str = "INSERT INTO accounts (org, name, debits_pended, debits_cleared,
        debits_posted, credits_pended, credits_cleared, credits_posted, until, charge)
    SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
    ON CONFLICT (org, name) DO UPDATE SET
        debits_pended = excluded.debits_pended,
        debits_cleared = excluded.debits_cleared,
        debits_posted = excluded.debits_posted,
        credits_pended = excluded.credits_pended,
        credits_cleared = excluded.credits_cleared,
        credits_posted = excluded.credits_posted,
        until = coalesce(excluded.until, accounts.until),
        charge = coalesce(excluded.charge, accounts.charge)";

const LIVE: &str = "INSERT INTO live_holds (org, seq, is_suspended, next_at)
    SELECT * FROM unnest($1, $2, $3, $4)
    ON CONFLICT (org, seq) DO UPDATE SET
        is_suspended = excluded.is_suspended, next_at = excluded.next_at";

const GONE: &str = "DELETE FROM live_holds WHERE (org, seq) IN (SELECT * FROM unnest($1, $2))";

const ORGS: &str = "UPDATE orgs SET last = new.last, at = new.at, calendar = new.calendar,
        frozen_since = new.since, frozen_reason = new.reason
    FROM unnest($1, $2, $3, $4, $5, $6) AS new (org, last, at, calendar, since, reason)
    WHERE orgs.org = new.org";

/// Writes, and commits. After an error nobody knows whether it was done.
pub(super) async fn flush(client: &Client, changes: &Changes) -> Result<(), Fault> {
    // Each is on its way before the answer to the one before has come. The first that fails says why.
    let (transfers, accounts, put, removed, orgs, committed) = tokio::join!(
        transfers(client, changes),
        accounts(client, changes),
        live(client, changes),
        gone(client, changes),
        orgs(client, changes),
        commit(client),
    );
    transfers.and(accounts).and(put).and(removed).and(orgs).and(committed)
}

async fn commit(client: &Client) -> Result<(), Fault> {
    Ok(client.batch_execute("COMMIT").await?)
}

async fn execute(client: &Client, sql: &str, typed: &[Typed<'_>]) -> Result<(), Fault> {
    client.query_typed(sql, typed).await?;
    Ok(())
}

async fn transfers(client: &Client, changes: &Changes) -> Result<(), Fault> {
    let rows = &changes.transfers;
    if rows.is_empty() {
        return Ok(());
    }
    let orgs: Vec<&[u8]> = rows.iter().map(|(_, _, row)| row.org.as_bytes()).collect();
    let seqs: Vec<i64> = rows.iter().map(|(seq, ..)| stored(*seq)).collect();
    let ids: Vec<&[u8]> = rows.iter().map(|(_, _, row)| &row.id.0.0[..]).collect();
    let kinds: Vec<&str> = rows.iter().map(|(_, _, row)| row.kind.as_str()).collect();
    let holds: Vec<Option<i64>> = rows.iter().map(|(_, hold, _)| hold.map(stored)).collect();
    let teams: Vec<Option<&[u8]>> =
        rows.iter().map(|(_, _, row)| row.team.as_deref().map(str::as_bytes)).collect();
    let amounts: Vec<i64> = rows.iter().map(|(_, _, row)| stored(row.amount.micros())).collect();
    let moments: Vec<i64> = rows.iter().map(|(_, _, row)| stored(row.at.0)).collect();
    let notes: Vec<&[u8]> = rows.iter().map(|(_, _, row)| row.note.as_bytes()).collect();
    let terms: Vec<Option<String>> = rows
        .iter()
        .map(|(_, _, row)| row.terms.as_ref().map(serde_json::to_string).transpose())
        .collect::<Result<_, _>>()
        .map_err(|error| Fault::Never(error.to_string()))?;
    let typed: [Typed<'_>; 10] = [
        (&orgs, Type::BYTEA_ARRAY),
        (&seqs, Type::INT8_ARRAY),
        (&ids, Type::BYTEA_ARRAY),
        (&kinds, Type::TEXT_ARRAY),
        (&holds, Type::INT8_ARRAY),
        (&teams, Type::BYTEA_ARRAY),
        (&amounts, Type::INT8_ARRAY),
        (&moments, Type::INT8_ARRAY),
        (&notes, Type::BYTEA_ARRAY),
        (&terms, Type::TEXT_ARRAY),
    ];
    execute(client, TRANSFERS, &typed).await
}

async fn accounts(client: &Client, changes: &Changes) -> Result<(), Fault> {
    if changes.accounts.is_empty() {
        return Ok(());
    }
    let names = || changes.accounts.keys();
    let orgs: Vec<&[u8]> = names().map(|(org, _)| org.as_bytes()).collect();
    let texts: Vec<Vec<u8>> = names().map(|(_, name)| name.to_string().into_bytes()).collect();
    let column = |of: fn(&Account) -> u64| -> Vec<i64> {
        changes.accounts.values().map(|account| stored(of(account))).collect()
    };
    let [given, taken] = [
        [
            column(|account| account.debits.pended),
            column(|account| account.debits.cleared),
            column(|account| account.debits.posted),
        ],
        [
            column(|account| account.credits.pended),
            column(|account| account.credits.cleared),
            column(|account| account.credits.posted),
        ],
    ];
    let charges = || names().map(|name| changes.charges.get(name));
    let until: Vec<Option<i64>> =
        charges().map(|charge| charge.map(|charge| stored(charge.until.0))).collect();
    let charges: Vec<Option<String>> = charges()
        .map(|charge| charge.map(serde_json::to_string).transpose())
        .collect::<Result<_, _>>()
        .map_err(|error| Fault::Never(error.to_string()))?;
    let ([a, b, c], [d, e, f]) = (&given, &taken);
    let typed: [Typed<'_>; 10] = [
        (&orgs, Type::BYTEA_ARRAY),
        (&texts, Type::BYTEA_ARRAY),
        (a, Type::INT8_ARRAY),
        (b, Type::INT8_ARRAY),
        (c, Type::INT8_ARRAY),
        (d, Type::INT8_ARRAY),
        (e, Type::INT8_ARRAY),
        (f, Type::INT8_ARRAY),
        (&until, Type::INT8_ARRAY),
        (&charges, Type::TEXT_ARRAY),
    ];
    execute(client, ACCOUNTS, &typed).await
}

async fn live(client: &Client, changes: &Changes) -> Result<(), Fault> {
    let (mut orgs, mut seqs) = (Vec::<&[u8]>::new(), Vec::new());
    let (mut suspended, mut next_at) = (Vec::new(), Vec::new());
    for ((org, seq), hold) in &changes.live {
        if let Some((is_suspended, at)) = hold {
            orgs.push(org.as_bytes());
            seqs.push(stored(*seq));
            suspended.push(*is_suspended);
            next_at.push(stored(at.0));
        }
    }
    if orgs.is_empty() {
        return Ok(());
    }
    let typed: [Typed<'_>; 4] = [
        (&orgs, Type::BYTEA_ARRAY),
        (&seqs, Type::INT8_ARRAY),
        (&suspended, Type::BOOL_ARRAY),
        (&next_at, Type::INT8_ARRAY),
    ];
    execute(client, LIVE, &typed).await
}

async fn gone(client: &Client, changes: &Changes) -> Result<(), Fault> {
    let gone = || changes.live.iter().filter(|(_, hold)| hold.is_none());
    let orgs: Vec<&[u8]> = gone().map(|((org, _), _)| org.as_bytes()).collect();
    let seqs: Vec<i64> = gone().map(|((_, seq), _)| stored(*seq)).collect();
    if orgs.is_empty() {
        return Ok(());
    }
    execute(client, GONE, &[(&orgs, Type::BYTEA_ARRAY), (&seqs, Type::INT8_ARRAY)]).await
}

async fn orgs(client: &Client, changes: &Changes) -> Result<(), Fault> {
    let rows = || changes.orgs.values();
    let names: Vec<&[u8]> = changes.orgs.keys().map(String::as_bytes).collect();
    let last: Vec<i64> = rows().map(|org| stored(org.last)).collect();
    let at: Vec<i64> = rows().map(|org| stored(org.now.at.0)).collect();
    let calendar: Vec<i64> = rows().map(|org| stored(org.now.calendar.0)).collect();
    let frozen = || rows().map(|org| org.frozen.as_ref());
    let since: Vec<Option<i64>> =
        frozen().map(|frozen| frozen.map(|frozen| stored(frozen.since.0))).collect();
    let reasons: Vec<Option<&[u8]>> =
        frozen().map(|frozen| frozen.map(|frozen| frozen.reason.as_bytes())).collect();
    let typed: [Typed<'_>; 6] = [
        (&names, Type::BYTEA_ARRAY),
        (&last, Type::INT8_ARRAY),
        (&at, Type::INT8_ARRAY),
        (&calendar, Type::INT8_ARRAY),
        (&since, Type::INT8_ARRAY),
        (&reasons, Type::BYTEA_ARRAY),
    ];
    execute(client, ORGS, &typed).await
}
