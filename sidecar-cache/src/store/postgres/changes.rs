//! What has changed in Postgres, by whichever sidecar: generations and keys by their numbers in the one count of
//! changes. One question for all of it, over a connection of its own, so that it waits for nobody.

use kt_contract::hex::Digest;
use kt_contract::principal::KeyHash;
use kt_contract::time::UnixMillis;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::database::{Database, Purpose, in_time};
use super::fault::Fault;
use super::generations::generation;
use crate::store::Answer;
use crate::store::changes::{ChangeStore, Changes};

const CORRUPT: Fault = Fault::Corrupt("a change");

/// From a clock, in microseconds: a standby that takes over without the last changes gives larger numbers than they
/// had, and whoever had seen those is told of what follows.
const NEXT: &str = "UPDATE changes
    SET last = greatest(last + 1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
    RETURNING last";
const NEWEST: &str = "SELECT last FROM changes";
/// One statement sees one state of the database, and so the count and all that it has counted.
const SINCE: &str = "SELECT NULL::bytea, NULL::bytea, NULL::text, NULL::bytea, last,
        (extract(epoch FROM clock_timestamp()) * 1000)::bigint FROM changes
    UNION ALL SELECT NULL, org, kind, name, generation, NULL FROM generations WHERE generation > $1
    UNION ALL SELECT hash, NULL, NULL, NULL, changed, NULL FROM keys
        WHERE changed > $1 AND (revoked_at IS NOT NULL OR ends_at IS NOT NULL)
    ORDER BY 5";
/// No number is given a second time.
const RAISE: &str = "UPDATE changes SET last = $1 WHERE last < $1";

/// The changes of one database.
#[derive(Debug)]
pub struct PostgresChanges {
    database: Database,
}

/// The number of a change. Nobody else takes the next one before this transaction has ended: it must be committed
/// before a larger one can be seen.
pub(super) async fn next(client: &Client) -> Result<i64, Fault> {
    let rows = client.query_typed(NEXT, &[]).await?;
    Ok(rows.first().ok_or(CORRUPT)?.try_get(0)?)
}

// === impl PostgresChanges ===

impl PostgresChanges {
    /// Those of a database that has its tables; one connection to it is enough.
    #[must_use]
    pub const fn over(database: Database) -> Self {
        Self { database }
    }

    async fn changed(&self, seen: u64) -> Result<Changes, Fault> {
        let seen_row = i64::try_from(seen).map_err(|_| CORRUPT)?;
        let mut changes = Changes::default();
        for row in self.database.ask(SINCE, &[(&seen_row, Type::INT8)]).await? {
            let number = u64::try_from(row.try_get::<_, i64>(4)?).map_err(|_| CORRUPT)?;
            if let Some(hash) = row.try_get::<_, Option<&[u8]>>(0)? {
                let hash = hash.try_into().map_err(|_| CORRUPT)?;
                changes.keys.push(KeyHash(Digest(hash)));
            } else if row.try_get::<_, Option<&[u8]>>(1)?.is_some() {
                changes.generations.push(generation(&row, 1)?);
            } else {
                changes.upto = number;
                let at = row.try_get::<_, Option<i64>>(5)?.and_then(|at| u64::try_from(at).ok());
                changes.at = at.map(UnixMillis);
            }
        }
        if changes.upto < seen {
            self.database.ask(RAISE, &[(&seen_row, Type::INT8)]).await?;
            (changes.upto, changes.went_back) = (seen, true);
        }
        Ok(changes)
    }
}

impl ChangeStore for PostgresChanges {
    fn newest(&self) -> Answer<'_, u64> {
        Box::pin(async move {
            let rows = in_time(Purpose::Read, self.database.ask(NEWEST, &[])).await?;
            let row = rows.first().ok_or(CORRUPT)?;
            let last: i64 = row.try_get(0).map_err(Fault::from)?;
            Ok(u64::try_from(last).map_err(|_| CORRUPT)?)
        })
    }

    fn since(&self, seen: u64) -> Answer<'_, Changes> {
        // Not asked again here: who asks does so every moment.
        Box::pin(async move { Ok(in_time(Purpose::Read, self.changed(seen)).await?) })
    }
}
