//! Generations in Postgres: one row per tag, and its number from the one count of all changes. A number is committed
//! before it is answered, so that an invalidation that was acknowledged reaches every sidecar.

use std::sync::Arc;

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use super::changes::next;
use super::database::{Database, Purpose, Typed, in_time, until_known};
use super::fault::Fault;
use crate::generation::{Generation, Tag};
use crate::store::{Answer, GenerationStore};

const CORRUPT: Fault = Fault::Corrupt("a generation");

/// In the order in which they were given: an organization's forgets the narrower ones before it.
const ALL: &str = "SELECT org, kind, name, generation FROM generations ORDER BY generation";
/// An organization's covers them; see `Table::set`.
const COVER: &str = "DELETE FROM generations WHERE org = $1";
const PUT: &str = "INSERT INTO generations (org, kind, name, generation) VALUES ($1, $2, $3, $4)
    ON CONFLICT (org, kind, name) DO UPDATE SET generation = excluded.generation";

/// The generations of one database.
#[derive(Debug)]
pub struct PostgresGenerations {
    database: Arc<Database>,
}

// === impl PostgresGenerations ===

impl PostgresGenerations {
    /// Those of a database that has its tables.
    #[must_use]
    pub const fn over(database: Arc<Database>) -> Self {
        Self { database }
    }

    async fn bumped(&self, org: &str, tag: &Tag) -> Result<Generation, Fault> {
        let session = self.database.begin(Purpose::Write).await?;
        let bumped = bump(session.client()?, org, tag).await;
        session.end(bumped).await
    }
}

impl GenerationStore for PostgresGenerations {
    fn bump(&self, org: String, tag: Tag) -> Answer<'_, Generation> {
        // Done twice, it has invalidated twice, which is as good.
        Box::pin(async move { Ok(until_known(Purpose::Write, || self.bumped(&org, &tag)).await?) })
    }

    fn all(&self) -> Answer<'_, Vec<(String, Tag, Generation)>> {
        Box::pin(async move {
            let rows = in_time(Purpose::Read, self.database.ask(ALL, &[])).await?;
            Ok(rows.iter().map(|row| generation(row, 0)).collect::<Result<Vec<_>, _>>()?)
        })
    }
}

async fn bump(client: &Client, org: &str, tag: &Tag) -> Result<Generation, Fault> {
    let number = next(client).await?;
    if *tag == Tag::Org {
        client.query_typed(COVER, &[(&org.as_bytes(), Type::BYTEA)]).await?;
    }
    let typed: [Typed<'_>; 4] = [
        (&org.as_bytes(), Type::BYTEA),
        (&tag.kind(), Type::TEXT),
        (&tag.name(), Type::BYTEA),
        (&number, Type::INT8),
    ];
    client.query_typed(PUT, &typed).await?;
    u64::try_from(number).map(Generation).map_err(|_| CORRUPT)
}

/// The generation in four columns from the first on.
pub(super) fn generation(row: &Row, first: usize) -> Result<(String, Tag, Generation), Fault> {
    let at = |nth: usize| first.saturating_add(nth);
    let org = std::str::from_utf8(row.try_get(at(0))?).map_err(|_| CORRUPT)?;
    let tag = Tag::of(row.try_get(at(1))?, row.try_get(at(2))?).ok_or(CORRUPT)?;
    let number = u64::try_from(row.try_get::<_, i64>(at(3))?).map_err(|_| CORRUPT)?;
    Ok((org.to_owned(), tag, Generation(number)))
}
