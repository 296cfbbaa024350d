//! The two tables of entries, whose name the configuration chooses: the entries, and beside them what each
//! organization holds. The remark on the first says that it is ours, and in which layout: nobody's own table is written
//! to, and none of another layout.
//!
//! They have no part in the schema's version: what they hold may be lost, so a later layout begins with empty ones.

use std::fmt;

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::store::StoreError;
use crate::store::postgres::database::{Database, Purpose, in_time};
use crate::store::postgres::fault::Fault;

/// What the remark says.
const LAYOUT: &str = "kt entries 1";
/// The names of what belongs to it end with a few letters more, and Postgres cuts names at 63.
const NAME_BYTES_MAX: usize = 48;

/// An entry is compressed already, or small: the server is not to try.
const TABLES: &str = r#"
    CREATE TABLE "{table}" (
        key         bytea PRIMARY KEY CHECK (length(key) = 32),
        nth         bigint GENERATED ALWAYS AS IDENTITY,
        request     bytea NOT NULL CHECK (length(request) = 32),
        org         bytea NOT NULL,
        filled_at   bigint NOT NULL,
        fresh_until bigint NOT NULL CHECK (fresh_until >= filled_at),
        until       bigint NOT NULL CHECK (until >= fresh_until),
        bytes       bytea NOT NULL
    );
    ALTER TABLE "{table}" ALTER COLUMN bytes SET STORAGE EXTERNAL;
    CREATE INDEX "{table}_near" ON "{table}" (request, nth);
    CREATE INDEX "{table}_by_org" ON "{table}" (org, nth);
    CREATE INDEX "{table}_by_end" ON "{table}" (until);
    CREATE TABLE "{table}_orgs" (
        org     bytea PRIMARY KEY,
        entries bigint NOT NULL CHECK (entries >= 0),
        bytes   bigint NOT NULL CHECK (bytes >= 0)
    ) WITH (fillfactor = 20);
    COMMENT ON TABLE "{table}" IS '{layout}'"#;

/// The name of a table of entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table(String);

/// Whether tables were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// Just now.
    Now,
    /// They were there.
    Before,
}

// === impl Table ===

impl Table {
    /// A table of this name.
    ///
    /// # Errors
    /// What is no plain name.
    pub fn named(name: &str) -> Result<Self, StoreError> {
        let is_plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let begins = name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
        if begins && name.len() <= NAME_BYTES_MAX && name.bytes().all(is_plain) {
            return Ok(Self(name.to_owned()));
        }
        let why = "a table's name has at most 48 characters, lower-case letters, digits and '_', and \
                   begins with no digit";
        Err(StoreError::Permanent(why.to_owned()))
    }

    /// A statement about it.
    pub(super) fn fill_in(&self, sql: &str) -> String {
        sql.replace("{table}", &self.0)
    }

    /// Makes the tables in a database that has those of kt, unless they are there. Two at once wait for each other.
    ///
    /// # Errors
    /// Where the database cannot be reached or changed, or somebody else has a table of that name.
    pub async fn make(&self, database: &Database) -> Result<Made, StoreError> {
        let made = async {
            let session = database.begin(Purpose::Write).await?;
            let made = self.made(session.client()?, database).await;
            session.end(made).await
        };
        Ok(in_time(Purpose::Write, made).await?)
    }

    /// Makes sure that the tables are there.
    ///
    /// # Errors
    /// Where the database cannot be reached, or they are not, with the command that mends it.
    pub async fn check(&self, database: &Database) -> Result<(), StoreError> {
        let found = async {
            let session = database.begin(Purpose::Read).await?;
            let found = self.is_there(session.client()?, database).await;
            session.end(found).await
        };
        if in_time(Purpose::Read, found).await? {
            return Ok(());
        }
        Err(StoreError::Permanent(format!(
            "{database} has no table '{}' for entries yet: run `kt db migrate --policy-config FILE`",
            self.0
        )))
    }

    async fn made(&self, client: &Client, database: &Database) -> Result<Made, Fault> {
        client.query_typed("SELECT version FROM kt_schema FOR UPDATE", &[]).await?;
        if self.is_there(client, database).await? {
            return Ok(Made::Before);
        }
        client.batch_execute(&self.fill_in(TABLES).replace("{layout}", LAYOUT)).await?;
        Ok(Made::Now)
    }

    /// Whether the table is there and ours.
    async fn is_there(&self, client: &Client, database: &Database) -> Result<bool, Fault> {
        let sql =
            "SELECT obj_description(oid, 'pg_class') FROM pg_class WHERE oid = to_regclass($1)";
        let named = format!("\"{}\"", self.0);
        let rows = client.query_typed(sql, &[(&named, Type::TEXT)]).await?;
        let Some(row) = rows.first() else { return Ok(false) };
        let remark = row.try_get::<_, Option<&str>>(0)?.unwrap_or_default();
        if remark == LAYOUT {
            return Ok(true);
        }
        let name = &self.0;
        Err(Fault::Never(if remark.starts_with("kt entries ") {
            format!(
                "{database} has entries of another version in '{name}'; they may be lost: drop it and \
                 '{name}_orgs', and run `kt db migrate --policy-config FILE`"
            )
        } else {
            format!(
                "{database} has a table '{name}' that is not for entries: set \
                 workflow_cache.postgres.table to a name that is free"
            )
        }))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_plain_or_refused() {
        for name in ["cache_entries", "_a", "a1", "select", &"a".repeat(48)] {
            assert!(Table::named(name).is_ok(), "{name}");
        }
        for name in ["", "1a", "A", "a-b", "a.b", "a\"b", "a b", "\u{e9}", &"a".repeat(49)] {
            assert!(Table::named(name).is_err(), "{name}");
        }
    }
}
