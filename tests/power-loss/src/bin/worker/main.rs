//! The process that the power is cut under. `load` makes one operation after another on the stores of the sidecar
//! and tells each as it is acknowledged; `check` reads such promises and tells those that no longer hold.

mod audit_log;
mod generations;
mod keys;
mod plain;
mod reaper;
mod replies;
mod spool;
mod versions;
mod wallet;

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use rusqlite::Connection;
use sidecar_cache::store::Answer;

use audit_log::AuditLog;
use generations::Generations;
use keys::Keys;
use plain::Plain;
use reaper::Reaper;
use replies::Replies;
use spool::Spool;
use versions::Versions;
use wallet::Wallet;

/// Something that the sidecar answers as durable.
trait Work {
    /// Makes the operation of a number, and says what is promised with its answer: one of the lines of `held`.
    fn make(&self, number: u64) -> Answer<'_, String>;

    /// Everything that is there, a line each.
    fn held(&self) -> Answer<'_, Vec<String>>;

    /// What is there and should not be.
    fn wrong(&self) -> Answer<'_, Vec<String>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

#[derive(Debug, Parser)]
struct Args {
    /// Which stores.
    #[arg(long)]
    work: Kind,
    /// Their folder.
    #[arg(long)]
    folder: PathBuf,
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// Gateway keys, made and revoked.
    Keys,
    /// Generations of invalidations.
    Generations,
    /// Transfers of a wallet.
    Wallet,
    /// Holds of a wallet that expire, and what becomes of them.
    #[value(name = "wallet_reaper")]
    WalletReaper,
    /// Answers to `Idempotency-Key`s.
    Replies,
    /// Ends of calls that a ledger has not taken.
    Spool,
    /// Records of the audit log.
    #[value(name = "audit_log")]
    AuditLog,
    /// The configuration file, and the history of its versions.
    Versions,
    /// The same statements on a connection of our own, which waits for the disk as the store does.
    PlainFull,
    /// And on one that does not.
    PlainNormal,
    /// The transfers of `wallet` in the same store, whose commits do not wait for the disk.
    WalletNormal,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum What {
    /// Makes operations from this number on. Each waits for a line after the one before was told.
    Load { from: u64 },
    /// Reads promises, and tells the broken ones, and whatever else is wrong with what is there.
    Check,
}

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(io::stderr(), "{failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Failure> {
    let work: Box<dyn Work> = match args.work {
        Kind::Keys => Box::new(Keys::open(&args.folder)?),
        Kind::Generations => Box::new(Generations::open(&args.folder)?),
        Kind::Replies => Box::new(Replies::open(&args.folder)?),
        Kind::AuditLog => Box::new(AuditLog::open(&args.folder)?),
        Kind::Spool => Box::new(Spool::open(&args.folder)?),
        Kind::Versions => Box::new(Versions::open(&args.folder)?),
        Kind::PlainFull => Box::new(Plain::open(&args.folder, "FULL")?),
        Kind::Wallet => Box::new(Wallet::open(&args.folder)?),
        Kind::WalletReaper => Box::new(Reaper::open(&args.folder)?),
        Kind::WalletNormal => Box::new(Wallet::open_to_lose(&args.folder)?),
        Kind::PlainNormal => Box::new(Plain::open(&args.folder, "NORMAL")?),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    match args.what {
        What::Load { from } => runtime.block_on(load(&*work, from)),
        What::Check => runtime.block_on(check(&*work, &args.folder)),
    }
}

async fn load(work: &dyn Work, from: u64) -> Result<(), Failure> {
    for number in from.. {
        let promise = work.make(number).await?;
        writeln!(io::stdout(), "{promise}")?;
        if io::stdin().read_line(&mut String::new())? == 0 {
            break;
        }
    }
    Ok(())
}

async fn check(work: &dyn Work, folder: &Path) -> Result<(), Failure> {
    let held: BTreeSet<String> = work.held().await?.into_iter().collect();
    let promises = io::stdin().lines().collect::<Result<Vec<_>, _>>()?;
    for promise in promises.iter().filter(|promise| !held.contains(*promise)) {
        writeln!(io::stdout(), "lost: {promise}")?;
    }
    for wrong in work.wrong().await? {
        writeln!(io::stdout(), "{wrong}")?;
    }
    for file in std::fs::read_dir(folder)? {
        let path = file?.path();
        if path.extension().is_some_and(|ending| ending == "db") {
            let found: String =
                Connection::open(&path)?
                    .pragma_query_value(None, "integrity_check", |row| row.get(0))?;
            if found != "ok" {
                writeln!(io::stdout(), "{}: {found}", path.display())?;
            }
        }
    }
    Ok(())
}
