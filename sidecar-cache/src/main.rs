//! The binary `sidecar-cache`: flags, start, and an orderly end.

mod args;
mod run;

use std::process::ExitCode;

use clap::Parser;

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
    match run::run(args::Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(faults) => {
            for fault in faults {
                tracing::error!(fault, "sidecar-cache cannot run");
            }
            ExitCode::FAILURE
        }
    }
}
