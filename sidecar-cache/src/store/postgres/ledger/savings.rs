//! What was saved, and about what an alert has gone out: rows that are no money, each a transaction of its own.

use kt_contract::money::MicroUsd;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::PostgresLedger;
use super::group::Writer;
use super::rows::{self, CORRUPT, Typed, stored};
use crate::store::Answer;
use crate::store::postgres::database::Purpose;
use crate::store::postgres::fault::Fault;
use crate::store::savings::{Basis, Gathered, Labels, Saved, SavingsStore};

/// What a caller has not is the empty text here: no name is.
const ADD: &str = "INSERT INTO savings AS old
        (day, org, team, caller, model, codebase, basis, answers, avoided)
    SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9)
    ON CONFLICT (day, org, team, caller, model, codebase, basis) DO UPDATE SET
        answers = least(old.answers + excluded.answers, 9007199254740991),
        avoided = least(old.avoided + excluded.avoided, 9007199254740991)";

impl SavingsStore for PostgresLedger {
    fn note(&self, saved: Vec<Saved>) -> Answer<'_, ()> {
        Self::read(Purpose::Write, async move { self.writer.note(saved).await })
    }

    fn saved(
        &self,
        org: Option<String>,
        since_day: String,
        until_day: String,
    ) -> Answer<'_, Vec<Saved>> {
        self.report(async move { self.writer.saved(org.as_deref(), &since_day, &until_day).await })
    }
}

// === impl Writer ===

impl Writer {
    /// Notes an alert; says whether it is the first.
    pub(super) async fn alert(&self, org: &str, name: &str) -> Result<bool, Fault> {
        let session = self.database.begin(Purpose::Write).await?;
        let sql = "INSERT INTO alerted (org, name) VALUES ($1, $2) ON CONFLICT DO NOTHING
            RETURNING true";
        let typed: [Typed<'_>; 2] =
            [(&org.as_bytes(), Type::BYTEA), (&name.as_bytes(), Type::BYTEA)];
        let is_first = !session.client()?.query_typed(sql, &typed).await?.is_empty();
        session.done().await?;
        Ok(is_first)
    }

    /// Adds to the rows of these labels, in their order: another sidecar may do the same.
    async fn note(&self, saved: Vec<Saved>) -> Result<(), Fault> {
        // One statement cannot change a row twice.
        let mut gathered = Gathered::default();
        saved.into_iter().for_each(|saved| gathered.add(saved));
        let saved = gathered.take();
        if saved.is_empty() {
            return Ok(());
        }
        let column = |of: fn(&Labels) -> &[u8]| -> Vec<&[u8]> {
            saved.iter().map(|saved| of(&saved.labels)).collect()
        };
        let days: Vec<&str> = saved.iter().map(|saved| saved.labels.day.as_str()).collect();
        let bases: Vec<&str> = saved.iter().map(|saved| saved.labels.basis.as_str()).collect();
        let orgs = column(|labels| labels.org.as_bytes());
        let teams = column(|labels| labels.team.as_deref().unwrap_or_default().as_bytes());
        let callers = column(|labels| labels.user.as_deref().unwrap_or_default().as_bytes());
        let models = column(|labels| labels.model.as_bytes());
        let codebases = column(|labels| labels.codebase.as_deref().unwrap_or_default().as_bytes());
        let answers: Vec<i64> = saved.iter().map(|saved| stored(saved.answers)).collect();
        let avoided: Vec<i64> = saved.iter().map(|saved| stored(saved.avoided.micros())).collect();
        let typed: [Typed<'_>; 9] = [
            (&days, Type::TEXT_ARRAY),
            (&orgs, Type::BYTEA_ARRAY),
            (&teams, Type::BYTEA_ARRAY),
            (&callers, Type::BYTEA_ARRAY),
            (&models, Type::BYTEA_ARRAY),
            (&codebases, Type::BYTEA_ARRAY),
            (&bases, Type::TEXT_ARRAY),
            (&answers, Type::INT8_ARRAY),
            (&avoided, Type::INT8_ARRAY),
        ];
        let session = self.database.begin(Purpose::Write).await?;
        session.client()?.query_typed(ADD, &typed).await?;
        session.done().await
    }

    async fn saved(
        &self,
        org: Option<&str>,
        since_day: &str,
        until_day: &str,
    ) -> Result<Vec<Saved>, Fault> {
        let session = self.database.begin(Purpose::Count).await?;
        let sql = "SELECT day, org, team, caller, model, codebase, basis, answers, avoided
            FROM savings WHERE day >= $1 AND day < $2 AND ($3 IS NULL OR org = $3)";
        let typed: [Typed<'_>; 3] = [
            (&since_day, Type::TEXT),
            (&until_day, Type::TEXT),
            (&org.map(str::as_bytes), Type::BYTEA),
        ];
        let rows = session.client()?.query_typed(sql, &typed).await?;
        session.done().await?;
        let mut saved = rows.iter().map(one).collect::<Result<Vec<_>, _>>()?;
        // As names that are not there come before those that are, and hits before what was coalesced.
        saved.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(saved)
    }
}

fn one(row: &Row) -> Result<Saved, Fault> {
    let name = |at| rows::text(row, at).map(|name| Some(name).filter(|name| !name.is_empty()));
    Ok(Saved {
        labels: Labels {
            day: row.try_get(0)?,
            org: rows::text(row, 1)?,
            team: name(2)?,
            user: name(3)?,
            model: rows::text(row, 4)?,
            codebase: name(5)?,
            basis: Basis::from_word(row.try_get(6)?).ok_or(CORRUPT)?,
        },
        answers: rows::unsigned(row, 7)?,
        avoided: MicroUsd::new(rows::unsigned(row, 8)?).map_err(|_| CORRUPT)?,
    })
}
