//! Remembered answers in Postgres, and who is answering. A key is one row: its claim first, then its answer in the same
//! place. Whoever answers has the row's number, and what others do to the row meanwhile voids it.
//!
//! What an organization holds is counted in a row of its own, which is locked before any answer of it is touched.

mod claims;
mod room;

use std::fmt;
use std::sync::Arc;

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::database::{Database, Purpose, Typed, until_known};
use super::fault::Fault;
use super::schema;
use crate::idempotency::{KEPT, ORG_BOUNDS, OrgBounds, ReplyId};
use crate::random;
use crate::store::replies::{ClaimStore, NewReply, ReplyStore};
use crate::store::{Answer, StoreError};

const CORRUPT: Fault = Fault::Corrupt("a reply");

/// By the database's own clock.
const NOW: &str = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint";
const FIND: &str = "SELECT bytes FROM replies WHERE id = $1 AND bytes IS NOT NULL
    AND at > floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint - $2";
/// What is in flight stays so, for who asks again; what it brings is not kept.
const VOID: &str = "UPDATE replies SET is_void = true WHERE org = $1 AND bytes IS NULL";
const FORGET: &str = "DELETE FROM replies WHERE org = $1 AND bytes IS NOT NULL";

/// The remembered answers of one database.
pub struct PostgresReplies {
    database: Arc<Database>,
    bounds: OrgBounds,
    /// Who this sidecar is, among those that answer.
    holder: [u8; 16],
}

// === impl PostgresReplies ===

impl PostgresReplies {
    /// Those of a database that has its tables, for one sidecar since its start.
    ///
    /// # Errors
    /// Where the database cannot be reached or has tables of another version, or there is no randomness for a name.
    pub async fn open(database: Arc<Database>) -> Result<Self, StoreError> {
        Self::open_bounded(database, ORG_BOUNDS).await
    }

    /// The same with other bounds.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_bounded(
        database: Arc<Database>,
        bounds: OrgBounds,
    ) -> Result<Self, StoreError> {
        schema::check(&database).await?;
        let holder = random::bytes().map_err(|error| StoreError::Permanent(error.to_string()))?;
        let replies = Self { database, bounds, holder };
        replies.renew().await?;
        Ok(replies)
    }

    async fn found(&self, id: ReplyId) -> Result<Option<Vec<u8>>, Fault> {
        let typed: [Typed<'_>; 2] = [(&&id.0.0[..], Type::BYTEA), (&to_row(KEPT.0), Type::INT8)];
        let rows = self.database.ask(FIND, &typed).await?;
        Ok(rows.first().map(|row| row.try_get(0)).transpose()?)
    }

    async fn kept(&self, reply: &NewReply) -> Result<(), Fault> {
        let session = self.database.begin(Purpose::Write).await?;
        let client = session.client()?;
        let kept = async {
            room::lock(client, &reply.org).await?;
            room::remove(client, reply.id, &reply.org).await?;
            self.put(client, reply, 0).await
        };
        let kept = kept.await;
        session.end(kept).await
    }

    /// Stores an answer where there is none, and makes room. The organization is locked.
    async fn put(&self, client: &Client, reply: &NewReply, claim: i64) -> Result<(), Fault> {
        const PUT: &str = "INSERT INTO replies (id, org, holder, claim, at, bytes)
            VALUES ($1, $2, $3, $4, $5, $6)";
        let now = now(client).await?;
        let typed: [Typed<'_>; 6] = [
            (&&reply.id.0.0[..], Type::BYTEA),
            (&reply.org.as_bytes(), Type::BYTEA),
            (&&self.holder[..], Type::BYTEA),
            (&claim, Type::INT8),
            (&now, Type::INT8),
            (&&reply.bytes[..], Type::BYTEA),
        ];
        client.query_typed(PUT, &typed).await?;
        room::expire(client, &reply.org, kept_since(now)).await?;
        let length = i64::try_from(reply.bytes.len()).unwrap_or(i64::MAX);
        let held = room::add(client, &reply.org, 1, length).await?;
        room::make(client, &reply.org, held, self.bounds).await
    }

    async fn forgotten(&self, org: &str) -> Result<(), Fault> {
        let session = self.database.begin(Purpose::Write).await?;
        let client = session.client()?;
        let forgotten = async {
            room::lock(client, org).await?;
            client.query_typed(VOID, &[(&org.as_bytes(), Type::BYTEA)]).await?;
            client.query_typed(FORGET, &[(&org.as_bytes(), Type::BYTEA)]).await?;
            room::empty(client, org).await
        };
        let forgotten = forgotten.await;
        session.end(forgotten).await
    }
}

impl fmt::Debug for PostgresReplies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PostgresReplies").field(&self.database).finish()
    }
}

impl ReplyStore for PostgresReplies {
    fn claims(&self) -> Option<&dyn ClaimStore> {
        Some(self)
    }

    fn find(&self, id: ReplyId) -> Answer<'_, Option<Vec<u8>>> {
        Box::pin(async move { Ok(until_known(Purpose::Read, || self.found(id)).await?) })
    }

    fn keep(&self, reply: NewReply) -> Answer<'_, ()> {
        Box::pin(async move { Ok(until_known(Purpose::Write, || self.kept(&reply)).await?) })
    }

    fn forget_org(&self, org: String) -> Answer<'_, ()> {
        Box::pin(async move { Ok(until_known(Purpose::Write, || self.forgotten(&org)).await?) })
    }
}

async fn now(client: &Client) -> Result<i64, Fault> {
    let rows = client.query_typed(NOW, &[]).await?;
    Ok(rows.first().ok_or(CORRUPT)?.try_get(0)?)
}

/// What is not younger than this has expired.
fn kept_since(now: i64) -> i64 {
    now.saturating_sub(to_row(KEPT.0))
}

fn to_row(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
