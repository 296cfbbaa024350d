//! `kt db …`: the database that the sidecars of a group share. The sidecar's program has the tables, and makes them.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process;

use clap::Subcommand;

use crate::environment::Environment;
use crate::failure::Failure;
use crate::paths;

/// The commands for the database.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make the tables, or bring them to this version. Before sidecars of this version start.
    Migrate(Migrate),
}

/// Which database.
#[derive(Debug, clap::Args)]
pub(crate) struct Migrate {
    /// The configuration whose `database.url` or `wallet.url` says where the database is
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    policy_config: Option<PathBuf>,
    /// The database's address, which others see in the list of processes [default: KT_DATABASE_URL]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

// === impl Command ===

impl Command {
    /// Becomes the sidecar's program. Returns only what went wrong before that.
    pub(crate) fn run(self, environment: &Environment) -> Result<(), Failure> {
        let Self::Migrate(Migrate { policy_config, url }) = self;
        let program = paths::sidecar_program(environment)?;
        let mut command = process::Command::new(&program);
        command.arg("migrate");
        if let Some(path) = policy_config {
            command.arg("--policy-config").arg(path);
        }
        if let Some(url) = url {
            command.env("KT_DATABASE_URL", url);
        }
        Err(Failure::io("run", &program, &command.exec()))
    }
}
