//! What was saved, in the ledger's file: a row per day and labels, written by the same thread in the transactions of
//! its groups. Nobody waits for it.

use kt_contract::money::MicroUsd;
use rusqlite::{Connection, Row, params};

use super::writer::Job;
use super::{SqliteLedger, rows};
use crate::store::savings::{Basis, Labels, Saved, SavingsStore};
use crate::store::{Answer, StoreError};

const CORRUPT: StoreError = StoreError::Corrupt("a row of savings");

impl SavingsStore for SqliteLedger {
    fn note(&self, saved: Vec<Saved>) -> Answer<'_, ()> {
        Box::pin(self.send(Job::Note(saved)))
    }

    fn saved(
        &self,
        org: Option<String>,
        since_day: String,
        until_day: String,
    ) -> Answer<'_, Vec<Saved>> {
        self.auditor.ask(move |connection| read(connection, org.as_deref(), &since_day, &until_day))
    }
}

/// Adds to the rows of these labels. What a caller has not is the empty text there: no name is.
pub(super) fn add(connection: &Connection, saved: &[Saved]) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO savings (day, org, team, user, model, codebase, basis, answers, avoided)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, min(?8, 9007199254740991), ?9)
         ON CONFLICT DO UPDATE SET
            answers = min(answers + excluded.answers, 9007199254740991),
            avoided = min(avoided + excluded.avoided, 9007199254740991)",
    )?;
    for Saved { labels, answers, avoided } in saved {
        let Labels { day, org, team, user, model, codebase, basis } = labels;
        let [team, user, codebase] =
            [team, user, codebase].map(|name| name.as_deref().unwrap_or_default());
        let (answers, avoided) = (rows::stored(*answers), rows::stored(avoided.micros()));
        let basis = basis.as_str();
        statement
            .execute(params![day, org, team, user, model, codebase, basis, answers, avoided])?;
    }
    Ok(())
}

fn read(
    connection: &Connection,
    org: Option<&str>,
    since_day: &str,
    until_day: &str,
) -> Result<Vec<Saved>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT day, org, team, user, model, codebase, basis, answers, avoided FROM savings
         WHERE day >= ?1 AND day < ?2 AND (?3 IS NULL OR org = ?3)",
    )?;
    let mut found = statement.query(params![since_day, until_day, org])?;
    let mut saved = Vec::new();
    while let Some(row) = found.next()? {
        saved.push(one(row)?);
    }
    // As names that are not there come before those that are, and hits before what was coalesced.
    saved.sort_by(|a, b| a.labels.cmp(&b.labels));
    Ok(saved)
}

fn one(row: &Row<'_>) -> Result<Saved, StoreError> {
    let name = |at| {
        let name: String = row.get(at)?;
        Ok::<_, StoreError>(Some(name).filter(|name| !name.is_empty()))
    };
    let number = |at| u64::try_from(row.get::<_, i64>(at)?).map_err(|_| CORRUPT);
    let basis: String = row.get(6)?;
    Ok(Saved {
        labels: Labels {
            day: row.get(0)?,
            org: row.get(1)?,
            team: name(2)?,
            user: name(3)?,
            model: row.get(4)?,
            codebase: name(5)?,
            basis: Basis::from_word(&basis).ok_or(CORRUPT)?,
        },
        answers: number(7)?,
        avoided: MicroUsd::new(number(8)?).map_err(|_| CORRUPT)?,
    })
}
