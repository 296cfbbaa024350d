//! How much an organization's answers take. Whoever changes that has locked its count before.

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::{CORRUPT, to_row};
use crate::idempotency::{OrgBounds, ReplyId};
use crate::store::postgres::database::Typed;
use crate::store::postgres::fault::Fault;

/// How many that have expired are removed along with a new one.
const EXPIRED_MAX: i64 = 256;

/// How much is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    replies: i64,
    bytes: i64,
}

/// Locks the count of an organization until the transaction ends.
pub(super) async fn lock(client: &Client, org: &str) -> Result<(), Fault> {
    let sql = "INSERT INTO reply_orgs AS held (org, replies, bytes) VALUES ($1, 0, 0)
        ON CONFLICT (org) DO UPDATE SET replies = held.replies";
    client.query_typed(sql, &[(&org.as_bytes(), Type::BYTEA)]).await?;
    Ok(())
}

/// Counts what has come, or what has gone.
pub(super) async fn add(
    client: &Client,
    org: &str,
    replies: i64,
    bytes: i64,
) -> Result<Held, Fault> {
    let sql = "UPDATE reply_orgs SET replies = replies + $2, bytes = bytes + $3 WHERE org = $1
        RETURNING replies, bytes";
    let typed: [Typed<'_>; 3] =
        [(&org.as_bytes(), Type::BYTEA), (&replies, Type::INT8), (&bytes, Type::INT8)];
    let rows = client.query_typed(sql, &typed).await?;
    let row = rows.first().ok_or(CORRUPT)?;
    Ok(Held { replies: row.try_get(0)?, bytes: row.try_get(1)? })
}

/// Nothing is held any more.
pub(super) async fn empty(client: &Client, org: &str) -> Result<(), Fault> {
    let sql = "UPDATE reply_orgs SET replies = 0, bytes = 0 WHERE org = $1";
    client.query_typed(sql, &[(&org.as_bytes(), Type::BYTEA)]).await?;
    Ok(())
}

/// Removes the row of a key of this organization, its claim or its answer.
pub(super) async fn remove(client: &Client, id: ReplyId, org: &str) -> Result<(), Fault> {
    let sql = "DELETE FROM replies WHERE id = $1 AND org = $2 RETURNING length(bytes)::bigint";
    let typed: [Typed<'_>; 2] = [(&&id.0.0[..], Type::BYTEA), (&org.as_bytes(), Type::BYTEA)];
    let rows = client.query_typed(sql, &typed).await?;
    if let Some(length) = rows.first().map(|row| row.try_get::<_, Option<i64>>(0)).transpose()?
        && let Some(length) = length
    {
        add(client, org, -1, length.saturating_neg()).await?;
    }
    Ok(())
}

/// Removes some of an organization's answers that have expired, and says how many.
pub(super) async fn expire(client: &Client, org: &str, kept_since: i64) -> Result<i64, Fault> {
    let sql = "DELETE FROM replies WHERE id IN (SELECT id FROM replies
            WHERE org = $1 AND bytes IS NOT NULL AND at <= $2 ORDER BY nth LIMIT $3)
        RETURNING length(bytes)::bigint";
    let typed: [Typed<'_>; 3] =
        [(&org.as_bytes(), Type::BYTEA), (&kept_since, Type::INT8), (&EXPIRED_MAX, Type::INT8)];
    let (mut replies, mut bytes) = (0_i64, 0_i64);
    for row in client.query_typed(sql, &typed).await? {
        replies = replies.saturating_add(1);
        bytes = bytes.saturating_add(row.try_get(0)?);
    }
    if replies > 0 {
        add(client, org, replies.saturating_neg(), bytes.saturating_neg()).await?;
    }
    Ok(replies)
}

/// The organization's oldest go, until the rest is within its bounds. The newest stays, whatever it takes.
pub(super) async fn make(
    client: &Client,
    org: &str,
    mut held: Held,
    bounds: OrgBounds,
) -> Result<(), Fault> {
    let sql = "DELETE FROM replies WHERE id = (SELECT id FROM replies
            WHERE org = $1 AND bytes IS NOT NULL ORDER BY nth LIMIT 1)
        RETURNING length(bytes)::bigint";
    while held.replies > 1
        && (held.replies > to_row(bounds.replies) || held.bytes > to_row(bounds.bytes))
    {
        let rows = client.query_typed(sql, &[(&org.as_bytes(), Type::BYTEA)]).await?;
        let length: i64 = rows.first().ok_or(CORRUPT)?.try_get(0)?;
        held = add(client, org, -1, length.saturating_neg()).await?;
    }
    Ok(())
}
