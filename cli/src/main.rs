//! `kt`: runs gateways, checks configurations, manages gateway keys and wallets, explains the cache. Each command has a
//! file in `commands/`; this one only reads the arguments and turns a failure into an exit code.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::environment::Environment;
use crate::failure::Failure;

mod client;
mod clock;
mod commands;
mod doctor;
mod environment;
mod envoy;
mod failure;
mod idempotency;
mod key_name;
mod money;
mod paths;
mod policy_config;
mod private_file;
mod report;
mod run_dir;
mod secrets;
mod sidecar;
mod supervise;
mod table;
mod top;

/// The agent gateway whose cache belongs to the group.
#[derive(Debug, Parser)]
#[command(name = "kt", version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a gateway, or look at those that run.
    #[command(subcommand)]
    Gateway(commands::gateway::Command),
    /// Check, render and describe configurations; change the one that runs.
    #[command(subcommand)]
    Config(commands::config::Command),
    /// Make, list and revoke gateway keys.
    #[command(subcommand)]
    Key(commands::key::Command),
    /// Look into the shared cache, and invalidate entries.
    #[command(subcommand)]
    Cache(commands::cache::Command),
    /// Look at an organization's wallet, and put money into it.
    #[command(subcommand)]
    Wallet(commands::wallet::Command),
    /// Look at the audit log: who asked for what, and what was decided.
    #[command(subcommand)]
    Audit(commands::audit::Command),
    /// Look after the database that sidecars share.
    #[command(subcommand)]
    Db(commands::db::Command),
    /// Say what calls were charged, and what the cache saved.
    Savings(commands::savings::Args),
    /// Say what the cache would do for a request, and why.
    Explain(commands::explain::Args),
    /// Find the usual mistakes, and say how to mend each.
    Doctor(Box<commands::doctor::Args>),
    /// Watch a group: hit ratio, flights, spend and gateways.
    Top(commands::top::Args),
    /// Start a process that dies with its parent.
    #[command(name = supervise::launch::SUBCOMMAND, hide = true)]
    Child(supervise::launch::Args),
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(refused) => return refuse(&refused),
    };
    match run(arguments.command, &Environment::read()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report::failure(&failure);
            ExitCode::FAILURE
        }
    }
}

/// Help, the version, or what is wrong with the arguments. That repeats an argument, which may be a gateway key.
fn refuse(refused: &clap::Error) -> ExitCode {
    let text = refused.render().to_string();
    if text.contains(kt_contract::gateway_key::PREFIX) {
        report::line(text.trim_end());
    } else {
        let _nobody_reads = refused.print();
    }
    u8::try_from(refused.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn run(command: Command, environment: &Environment) -> Result<(), Failure> {
    // One thread: the kernel ties a child to the thread that started it (see `supervise::launch`).
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("cannot start: {error}")))?;
    match command {
        Command::Gateway(command) => runtime.block_on(command.run(environment)),
        Command::Config(command) => runtime.block_on(command.run(environment)),
        Command::Key(command) => runtime.block_on(command.run(environment)),
        Command::Cache(command) => runtime.block_on(command.run(environment)),
        Command::Wallet(command) => runtime.block_on(command.run(environment)),
        Command::Audit(command) => runtime.block_on(command.run(environment)),
        Command::Db(command) => command.run(environment),
        Command::Savings(args) => runtime.block_on(args.run(environment)),
        Command::Explain(args) => runtime.block_on(args.run(environment)),
        Command::Doctor(args) => runtime.block_on(args.run(environment)),
        Command::Top(args) => runtime.block_on(args.run(environment)),
        Command::Child(args) => Err(supervise::launch::become_child(args)),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn no_command_has_two_arguments_of_one_name() {
        Arguments::command().debug_assert();
    }
}
