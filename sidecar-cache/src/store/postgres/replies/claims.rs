//! Who is answering to which key. A claim is a row without an answer; it holds while its holder lives, which each holder
//! says of itself, for all of its claims at once.

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::{CORRUPT, PostgresReplies, kept_since, now, room, to_row};
use crate::idempotency::{Fingerprint, ReplyId};
use crate::store::Answer;
use crate::store::postgres::database::{Purpose, Typed, until_known};
use crate::store::postgres::fault::Fault;
use crate::store::replies::{ClaimNumber, ClaimStore, Claimed, HELD, NewClaim, NewReply};
use kt_contract::hex::Digest;

/// How many organizations a sweep looks at.
const SWEPT_MAX: i64 = 64;

/// Takes a key that has no row, or the claim of somebody who is gone. One of this holder's own is of no use to it: in
/// one process nobody else is answering.
const TAKE: &str = "INSERT INTO replies AS old (id, org, holder, claim, fingerprint, at)
    VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (id) DO UPDATE SET org = excluded.org, holder = excluded.holder,
        claim = excluded.claim, fingerprint = excluded.fingerprint, at = excluded.at,
        is_void = false
    WHERE old.bytes IS NULL AND (old.holder = excluded.holder OR NOT EXISTS (
        SELECT FROM reply_holders AS holders WHERE holders.id = old.holder AND holders.until > $6))
    RETURNING EXISTS (SELECT FROM reply_holders AS holders WHERE holders.id = $3 AND until > $6)";
const LOOK: &str = "SELECT org, fingerprint, bytes, at FROM replies WHERE id = $1";
const LIVE: &str = "INSERT INTO reply_holders (id, until) VALUES ($1, $2)
    ON CONFLICT (id) DO UPDATE SET until = excluded.until";
const OWN: &str = "SELECT bytes IS NOT NULL, is_void FROM replies
    WHERE id = $1 AND holder = $2 AND claim = $3";
const FREE: &str = "DELETE FROM replies USING unnest($1, $2) AS freed (id, claim)
    WHERE replies.id = freed.id AND replies.claim = freed.claim AND holder = $3 AND bytes IS NULL";

/// What has come of an attempt to take a key.
enum Tried {
    Known(Claimed),
    /// An answer is there that has expired, or is to be replaced: of this organization.
    Over(String),
}

// === impl PostgresReplies ===

impl PostgresReplies {
    async fn claimed(&self, new: &NewClaim) -> Result<Claimed, Fault> {
        let session = self.database.begin(Purpose::Write).await?;
        let tried = self.take(session.client()?, new).await;
        match session.end(tried).await? {
            Tried::Known(claimed) => Ok(claimed),
            Tried::Over(org) => {
                self.cleared(new.id, &org).await?;
                Err(Fault::Again("an answer made room for a claim".to_owned()))
            }
        }
    }

    async fn take(&self, client: &Client, new: &NewClaim) -> Result<Tried, Fault> {
        let id: Typed<'_> = (&&new.id.0.0[..], Type::BYTEA);
        let now = now(client).await?;
        let typed: [Typed<'_>; 6] = [
            (&&new.id.0.0[..], Type::BYTEA),
            (&new.org.as_bytes(), Type::BYTEA),
            (&&self.holder[..], Type::BYTEA),
            (&to_row(new.number.0), Type::INT8),
            (&&new.fingerprint.0.0[..], Type::BYTEA),
            (&now, Type::INT8),
        ];
        if let Some(row) = client.query_typed(TAKE, &typed).await?.first() {
            // Whoever has been away for long must not have its claims taken in the next moment.
            if !row.try_get::<_, bool>(0)? {
                self.live(client, now).await?;
            }
            return Ok(Tried::Known(Claimed::Taken));
        }
        let rows = client.query_typed(LOOK, &[id]).await?;
        let Some(row) = rows.first() else {
            return Err(Fault::Again("a key was freed meanwhile".to_owned()));
        };
        let Some(bytes) = row.try_get::<_, Option<Vec<u8>>>(2)? else {
            let first: &[u8] = row.try_get(1)?;
            let first = Digest(first.try_into().map_err(|_| CORRUPT)?);
            return Ok(Tried::Known(Claimed::InFlight(Fingerprint(first))));
        };
        if new.replaces || row.try_get::<_, i64>(3)? <= kept_since(now) {
            let org = std::str::from_utf8(row.try_get(0)?).map_err(|_| CORRUPT)?;
            return Ok(Tried::Over(org.to_owned()));
        }
        Ok(Tried::Known(Claimed::Done(bytes)))
    }

    /// Removes an answer, in a transaction of its own: its organization is locked before its row.
    async fn cleared(&self, id: ReplyId, org: &str) -> Result<(), Fault> {
        let session = self.database.begin(Purpose::Write).await?;
        let client = session.client()?;
        let cleared = async {
            room::lock(client, org).await?;
            room::remove(client, id, org).await
        };
        let cleared = cleared.await;
        session.end(cleared).await
    }

    async fn fulfilled(&self, number: i64, reply: &NewReply) -> Result<bool, Fault> {
        let session = self.database.begin(Purpose::Write).await?;
        let client = session.client()?;
        let fulfilled = async {
            room::lock(client, &reply.org).await?;
            let typed: [Typed<'_>; 3] = [
                (&&reply.id.0.0[..], Type::BYTEA),
                (&&self.holder[..], Type::BYTEA),
                (&number, Type::INT8),
            ];
            let rows = client.query_typed(&format!("{OWN} FOR UPDATE"), &typed).await?;
            let Some(row) = rows.first() else { return Ok(false) };
            // It was us, with an answer that was lost.
            if row.try_get(0)? {
                return Ok(true);
            }
            if row.try_get(1)? {
                return Ok(false);
            }
            room::remove(client, reply.id, &reply.org).await?;
            self.put(client, reply, number).await?;
            Ok(true)
        };
        let fulfilled = fulfilled.await;
        session.end(fulfilled).await
    }

    async fn freed(&self, claims: &[(ReplyId, ClaimNumber)]) -> Result<(), Fault> {
        let ids: Vec<&[u8]> = claims.iter().map(|(id, _)| &id.0.0[..]).collect();
        let numbers: Vec<i64> = claims.iter().map(|(_, number)| to_row(number.0)).collect();
        let typed: [Typed<'_>; 3] = [
            (&ids, Type::BYTEA_ARRAY),
            (&numbers, Type::INT8_ARRAY),
            (&&self.holder[..], Type::BYTEA),
        ];
        self.database.ask(FREE, &typed).await?;
        Ok(())
    }

    async fn live(&self, client: &Client, now: i64) -> Result<(), Fault> {
        let until = now.saturating_add(to_row(HELD.0));
        let typed: [Typed<'_>; 2] = [(&&self.holder[..], Type::BYTEA), (&until, Type::INT8)];
        client.query_typed(LIVE, &typed).await?;
        Ok(())
    }

    async fn renewed(&self) -> Result<(), Fault> {
        let session = self.database.begin(Purpose::Write).await?;
        let client = session.client()?;
        let renewed = async {
            let now = now(client).await?;
            self.live(client, now).await
        };
        let renewed = renewed.await;
        session.end(renewed).await
    }

    async fn left(&self) -> Result<(), Fault> {
        const ROWS: &str = "DELETE FROM replies WHERE holder = $1 AND bytes IS NULL";
        const HOLDER: &str = "DELETE FROM reply_holders WHERE id = $1";
        for sql in [HOLDER, ROWS] {
            self.database.ask(sql, &[(&&self.holder[..], Type::BYTEA)]).await?;
        }
        Ok(())
    }

    async fn swept(&self) -> Result<(), Fault> {
        const GONE: &str = "DELETE FROM replies WHERE bytes IS NULL AND NOT EXISTS (
            SELECT FROM reply_holders WHERE id = replies.holder AND until > $1)";
        const HOLDERS: &str = "DELETE FROM reply_holders WHERE until <= $1";
        const ORGS: &str = "SELECT DISTINCT org FROM replies
            WHERE bytes IS NOT NULL AND at <= $1 LIMIT $2";
        let rows = self.database.ask(super::NOW, &[]).await?;
        let now: i64 = rows.first().ok_or(CORRUPT)?.try_get(0)?;
        for sql in [GONE, HOLDERS] {
            self.database.ask(sql, &[(&now, Type::INT8)]).await?;
        }
        let old = kept_since(now);
        let typed: [Typed<'_>; 2] = [(&old, Type::INT8), (&SWEPT_MAX, Type::INT8)];
        for row in self.database.ask(ORGS, &typed).await? {
            let org = std::str::from_utf8(row.try_get(0)?).map_err(|_| CORRUPT)?;
            let session = self.database.begin(Purpose::Write).await?;
            let client = session.client()?;
            let expired = async {
                room::lock(client, org).await?;
                room::expire(client, org, old).await
            };
            let expired = expired.await;
            session.end(expired).await?;
        }
        Ok(())
    }
}

impl ClaimStore for PostgresReplies {
    fn claim(&self, new: NewClaim) -> Answer<'_, Claimed> {
        Box::pin(async move { Ok(until_known(Purpose::Write, || self.claimed(&new)).await?) })
    }

    fn fulfil(&self, number: ClaimNumber, reply: NewReply) -> Answer<'_, bool> {
        let number = to_row(number.0);
        Box::pin(async move {
            Ok(until_known(Purpose::Write, || self.fulfilled(number, &reply)).await?)
        })
    }

    fn free(&self, claims: Vec<(ReplyId, ClaimNumber)>) -> Answer<'_, ()> {
        Box::pin(async move { Ok(until_known(Purpose::Write, || self.freed(&claims)).await?) })
    }

    fn renew(&self) -> Answer<'_, ()> {
        Box::pin(async move { Ok(until_known(Purpose::Write, || self.renewed()).await?) })
    }

    fn leave(&self) -> Answer<'_, ()> {
        Box::pin(async move { Ok(until_known(Purpose::Write, || self.left()).await?) })
    }

    fn sweep(&self) -> Answer<'_, ()> {
        Box::pin(async move { Ok(until_known(Purpose::Write, || self.swept()).await?) })
    }
}
