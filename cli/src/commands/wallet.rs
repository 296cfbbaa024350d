//! `kt wallet …`: an organization's money, through the admin socket. This file is the list and what all have.

mod guard;
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
    /// Count everything again that the ledger holds; fails where it does not add up.
    Audit(guard::Audit),
    /// Stop a wallet: its calls are refused, what runs still ends.
    Freeze(guard::Freeze),
    /// Let a wallet go on, unless an audit finds something wrong with it.
    Unfreeze(guard::Unfreeze),
    /// Print every transfer of a wallet, oldest first, one JSON object a line.
    Export(look::Export),
}

/// What those have that are about one wallet.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// The organization.
    #[arg(long)]
    org: String,
    #[command(flatten)]
    asking: Asking,
}

/// What all of them have.
#[derive(Debug, Args)]
pub(crate) struct Asking {
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
            Self::Audit(args) => args.run(environment).await,
            Self::Freeze(args) => args.run(environment).await,
            Self::Unfreeze(args) => args.run(environment).await,
            Self::Export(args) => args.run(environment).await,
        }
    }
}

// === impl Common ===

impl Common {
    fn admin(&self, environment: &Environment) -> Admin {
        self.asking.admin(environment)
    }

    fn path(&self, endpoint: Endpoint) -> String {
        endpoint.path(&segment(&self.org))
    }
}

// === impl Asking ===

impl Asking {
    fn admin(&self, environment: &Environment) -> Admin {
        Admin::beside(&paths::sidecar_socket(self.sidecar.as_deref(), environment))
    }
}

/// A name as one segment of a path.
fn segment(name: &str) -> String {
    match name {
        // That path is the ledger's audit.
        "audit" => "%61udit".to_owned(),
        name => utf8_percent_encode(name, ENCODED).to_string(),
    }
}

fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let value = serde_json::to_value(value)
        .map_err(|error| Failure::new(format!("cannot write JSON: {error}")))?;
    print(&value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_one_segment_of_a_path() {
        for (name, written) in [
            ("acme", "acme"),
            ("acme/eu#x", "acme%2Feu%23x"),
            ("a@b:c+d", "a%40b%3Ac%2Bd"),
            ("audit", "%61udit"),
        ] {
            assert_eq!(segment(name), written);
        }
    }
}
