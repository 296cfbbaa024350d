//! How budgets stand, and about which of them an alert has gone out. What a budget may spend stands in the rows of
//! holds; here is a copy of the last one's, so that nobody has to look for it.

use std::collections::HashMap;

use kt_contract::time::UnixMillis;
use rusqlite::{Connection, params};

use super::rows;
use crate::ledger::account::AccountName;
use crate::ledger::transfer::Charge;
use crate::store::StoreError;
use crate::store::ledger::Level;

const CORRUPT: StoreError = StoreError::Corrupt("a budget of the wallet");

/// The last charges of budgets that were seen of late, and whether they are in the file.
#[derive(Debug, Default)]
pub(super) struct Charges {
    seen: HashMap<(String, AccountName), Charge>,
    changed: Vec<(String, AccountName)>,
}

// === impl Charges ===

impl Charges {
    /// Takes in the charge of a reserve. Most say what the one before has said.
    pub(super) fn put(&mut self, org: &str, charge: &Charge) {
        let at = (org.to_owned(), charge.account());
        if self.seen.get(&at) != Some(charge) {
            self.changed.push(at.clone());
            self.seen.insert(at, charge.clone());
        }
    }

    /// Writes what has changed.
    pub(super) fn flush(&mut self, connection: &Connection) -> Result<(), StoreError> {
        let mut statement = connection.prepare_cached(
            "INSERT INTO budgets (org, name, until, charge) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (org, name) DO UPDATE SET until = excluded.until, charge = excluded.charge",
        )?;
        for at in std::mem::take(&mut self.changed) {
            let Some(charge) = self.seen.get(&at) else { continue };
            let text = serde_json::to_string(charge)
                .map_err(|error| StoreError::Permanent(error.to_string()))?;
            let (org, name) = at;
            statement.execute(params![
                org,
                name.to_string(),
                rows::stored(charge.until.0),
                text
            ])?;
        }
        Ok(())
    }

    /// Lets go of what is only kept so as not to be written again.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

pub(super) fn levels(
    connection: &mut Connection,
    org: &str,
    wall: UnixMillis,
) -> Result<Vec<Level>, StoreError> {
    let view = connection.transaction()?;
    let now = rows::marks(&view)?.calendar.max(wall);
    let mut statement = view.prepare_cached(
        "SELECT name, charge FROM budgets WHERE org = ?1 AND until > ?2 ORDER BY name",
    )?;
    let mut found = statement.query(params![org, rows::stored(now.0)])?;
    let mut levels = Vec::new();
    while let Some(row) = found.next()? {
        let charge: String = row.get(1)?;
        let charge = serde_json::from_str(&charge).map_err(|_| CORRUPT)?;
        let name: String = row.get(0)?;
        levels.push(Level::of(charge, &rows::find_account(&view, org, &name)?));
    }
    Ok(levels)
}

/// Notes an alert; says whether it is the first.
pub(super) fn alert(connection: &Connection, org: &str, name: &str) -> Result<bool, StoreError> {
    let mut statement = connection
        .prepare_cached("INSERT INTO alerted (org, name) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?;
    Ok(statement.execute([org, name])? > 0)
}
