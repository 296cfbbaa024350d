//! `kt audit …`: the audit log, through the admin socket. Whether it holds, what it says, and what to write down of it
//! elsewhere.

mod export;
mod head;
mod verify;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::environment::Environment;
use crate::failure::Failure;
use crate::paths;
use crate::sidecar::Admin;

/// The commands for the audit log.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say whether it is what it was; fails where it is not, and says where it breaks.
    Verify(verify::Verify),
    /// Print the records of an organization, oldest first.
    Export(export::Export),
    /// Print the newest record of every chain, to be kept where nobody who can write the log can.
    Head(head::Head),
}

/// What all of them have.
#[derive(Debug, Args)]
struct Asking {
    /// The sidecar's data socket [default: KT_SIDECAR, else .kt/run/sidecar.sock]
    #[arg(long, value_name = "SOCKET")]
    sidecar: Option<PathBuf>,
}

// === impl Command ===

impl Command {
    pub(crate) async fn run(self, environment: &Environment) -> Result<(), Failure> {
        match self {
            Self::Verify(args) => args.run(environment).await,
            Self::Export(args) => args.run(environment).await,
            Self::Head(args) => args.run(environment).await,
        }
    }
}

// === impl Asking ===

impl Asking {
    fn admin(&self, environment: &Environment) -> Admin {
        Admin::beside(&paths::sidecar_socket(self.sidecar.as_deref(), environment))
    }
}

/// The organization's name; that of requests of which nobody knows whose they are is empty.
fn named(org: &str) -> &str {
    if org.is_empty() { "(nobody's)" } else { org }
}
