//! The binary `sidecar-cache`: flags, start, and an orderly end.

mod args;
mod migrate;
mod open;
mod run;
mod secret;

use std::process::ExitCode;

use args::{Invocation, Task};
use clap::{CommandFactory, Parser};

fn main() -> ExitCode {
    // Everything that this process makes is for its owner only.
    rustix::process::umask(rustix::fs::Mode::from_bits_retain(0o077));
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::INFO)
        .init();
    let done = match Invocation::parse() {
        Invocation { task: Some(Task::Migrate(migrate)), .. } => migrate.run(),
        Invocation { task: None, args: Some(args) } => run::run(args),
        // What serving needs is asked for by the parser.
        Invocation { task: None, args: None } => {
            Err(vec![Invocation::command().render_usage().to_string()])
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(faults) => {
            for fault in faults {
                tracing::error!(fault, "sidecar-cache cannot run");
            }
            ExitCode::FAILURE
        }
    }
}
