//! `sidecar-cache migrate`: makes the tables of the database that the sidecars of a group share, or brings them to
//! the current version. Before the sidecars of a new version start, and by hand: a start changes no schema.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;
use kt_contract::config::{self, Backend, Config, Ledger};
use sidecar_cache::clock::Clock;
use sidecar_cache::store::postgres::entries::{Made, Table};
use sidecar_cache::store::postgres::{Address, Database, schema};

use crate::secret;

/// Make the tables of the databases that `database.url` and `wallet.url` name, or bring them to the current version;
/// with `workflow_cache.backend: postgres`, the table of entries as well.
#[derive(Clone, Debug, Args)]
pub(crate) struct Migrate {
    /// The configuration file that says where the database is. It goes before an address.
    #[arg(long = "policy-config", value_name = "FILE")]
    file: Option<PathBuf>,
    /// The database's address. In the environment it is not shown to everybody who lists processes.
    #[arg(long, value_name = "URL", env = "KT_DATABASE_URL", hide_env_values = true)]
    url: Option<String>,
}

/// What is to be made.
struct Wanted {
    /// In each of these the tables that every one has. The first is that of `database.url`, if there is one.
    addresses: Vec<Address>,
    /// In the first, a table of entries.
    entries: Option<Table>,
}

// === impl Migrate ===

impl Migrate {
    /// Does it, and says what was done.
    pub(crate) fn run(&self) -> Result<(), Vec<String>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(one)?;
        let Wanted { addresses, mut entries } = self.wanted()?;
        for address in addresses {
            let database = Database::at(address, 1, Clock::start()).map_err(one)?;
            let done = runtime.block_on(schema::migrate(&database)).map_err(one)?;
            let schema::Migrated { from, to } = done;
            let said = match from == to {
                true => format!("{database} has schema version {to} already"),
                false => format!("{database} has schema version {to}; it had {from}"),
            };
            writeln!(std::io::stdout(), "{said}").map_err(one)?;
            if let Some(table) = entries.take() {
                let said = match runtime.block_on(table.make(&database)).map_err(one)? {
                    Made::Now => format!("{database} has the table '{table}' for entries"),
                    Made::Before => {
                        format!("{database} has the table '{table}' for entries already")
                    }
                };
                writeln!(std::io::stdout(), "{said}").map_err(one)?;
            }
        }
        Ok(())
    }

    fn wanted(&self) -> Result<Wanted, Vec<String>> {
        match (&self.file, &self.url) {
            (None, Some(url)) => {
                let addresses = vec![Address::parse(url).map_err(one)?];
                Ok(Wanted { addresses, entries: None })
            }
            (None, None) => Err(one("name the database: --policy-config FILE, or KT_DATABASE_URL")),
            (Some(path), _) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| one(format!("{}: {error}", path.display())))?;
                let loaded = config::load(&path.display().to_string(), &text)
                    .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())?;
                let addresses = named(&loaded.config).map_err(one)?;
                if addresses.is_empty() {
                    return Err(one(format!(
                        "{} keeps nothing in a database: it has no 'database' and no \
                         'wallet.backend: postgres'",
                        path.display()
                    )));
                }
                let entries = entries(&loaded.config).map_err(one)?;
                Ok(Wanted { addresses, entries })
            }
        }
    }
}

/// The table that a configuration keeps entries in, if it does.
fn entries(config: &Config) -> Result<Option<Table>, String> {
    match &config.cache.backend {
        Backend::Postgres(postgres) => Table::named(&postgres.table)
            .map(Some)
            .map_err(|error| format!("workflow_cache.postgres.table: {error}")),
        Backend::Memory | Backend::Redis(_) => Ok(None),
    }
}

/// The addresses that a configuration names, each once.
fn named(config: &Config) -> Result<Vec<Address>, String> {
    let shared = config.database.as_ref().map(|database| database.url.clone());
    let mut addresses = Vec::new();
    if let Some(url) = &shared {
        addresses.push(secret::database("database.url", url)?);
    }
    if let Some(Ledger::Database(url)) = config.ledger().map(|wallet| wallet.ledger)
        && shared.as_ref() != Some(&url)
    {
        addresses.push(secret::database("wallet.url", &url)?);
    }
    Ok(addresses)
}

fn one(fault: impl std::fmt::Display) -> Vec<String> {
    vec![fault.to_string()]
}
