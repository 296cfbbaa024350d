//! `kt wallet …`: an organization's money, through the admin socket. This file is the list and what all have.

mod look;
mod moving;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use kt_contract::wire::admin::endpoint::Endpoint;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use crate::commands::config::print;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::paths;
use crate::sidecar::Admin;

/// What of a name stands in a path as it is.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_');

/// The commands for wallets.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say how a wallet stands.
    Balance(look::Balance),
    /// Put money into a wallet.
    Fund(moving::Fund),
    /// Correct a wallet by hand.
    Adjust(moving::Adjust),
    /// Move money into the purse of a team, or back.
    Allocate(moving::Allocate),
    /// Give back something of what a call was charged.
    Refund(moving::Refund),
    /// List what has happened to a wallet, newest first.
    History(look::History),
    /// List what is set aside, the next to end by itself first.
    Holds(look::Holds),
    /// Print every transfer of a wallet, oldest first, one JSON object a line.
    Export(look::Export),
}

/// What all of them have.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// The organization.
    #[arg(long)]
    org: String,
    /// The sidecar's data socket [default: KT_SIDECAR, else .kt/run/sidecar.sock]
    #[arg(long, value_name = "SOCKET")]
    sidecar: Option<PathBuf>,
    /// For scripts: the sidecar's own answer.
    #[arg(long)]
    json: bool,
}

// === impl Command ===

impl Command {
    pub(crate) async fn run(self, environment: &Environment) -> Result<(), Failure> {
        match self {
            Self::Balance(args) => args.run(environment).await,
            Self::Fund(args) => args.run(environment).await,
            Self::Adjust(args) => args.run(environment).await,
            Self::Allocate(args) => args.run(environment).await,
            Self::Refund(args) => args.run(environment).await,
            Self::History(args) => args.run(environment).await,
            Self::Holds(args) => args.run(environment).await,
            Self::Export(args) => args.run(environment).await,
        }
    }
}

// === impl Common ===

impl Common {
    fn admin(&self, environment: &Environment) -> Admin {
        Admin::beside(&paths::sidecar_socket(self.sidecar.as_deref(), environment))
    }

    fn path(&self, endpoint: Endpoint) -> String {
        endpoint.path(&utf8_percent_encode(&self.org, ENCODED).to_string())
    }
}

fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let value = serde_json::to_value(value)
        .map_err(|error| Failure::new(format!("cannot write JSON: {error}")))?;
    print(&value)
}
