//! `kt gateway …`: only the list.

use clap::Subcommand;

use super::{gateway_run, gateway_status};
use crate::environment::Environment;
use crate::failure::Failure;

/// The commands for gateways.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run one gateway in the foreground until it is told to stop.
    Run(Box<gateway_run::Args>),
    /// Show a sidecar and the gateways that use it.
    Status(gateway_status::Args),
}

// === impl Command ===

impl Command {
    pub(crate) async fn run(self, environment: &Environment) -> Result<(), Failure> {
        match self {
            Self::Run(args) => args.run(environment).await,
            Self::Status(args) => args.run(environment).await,
        }
    }
}
