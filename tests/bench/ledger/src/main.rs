//! How many calls a second the ledger in SQLite accounts for: each a reserve and a settle, through the store's public
//! trait, each touching the wallet and two budgets, each on disk before it is answered. Beside it, in the same run
//! and on the same disk, a bare loop that writes as many rows per sync. Prints its figures as one JSON object.

mod bare;
mod clock;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use kt_contract::money::MicroUsd;
use kt_contract::time::Millis;
use serde::Serialize;
use sidecar_cache::ledger::account::Scope;
use sidecar_cache::ledger::request::{Budget, CallOf, Fund, Funding, Purpose, Reserve};
use sidecar_cache::ledger::window::{Period, Zone};
use sidecar_cache::ledger::{Operation, TransferId};
use sidecar_cache::store::ledger::LedgerStore;
use sidecar_cache::store::sqlite::ledger::{Options, SqliteLedger};
use tokio::task::JoinSet;

type Failed = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, Parser)]
struct Args {
    /// How many calls are under way at once.
    #[arg(long, value_delimiter = ',', default_value = "1,64,2048")]
    callers: Vec<u64>,
    /// How long each figure is measured.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Where the files go: the disk that is measured.
    #[arg(long)]
    folder: PathBuf,
}

/// What came of one number of callers.
#[derive(Debug, Serialize)]
struct Figures {
    callers: u64,
    /// Calls accounted for in a second: a reserve and a settle each.
    pairs_per_second: f64,
    /// Transfers that shared a sync, on average.
    rows_per_sync: f64,
    /// Transfers in a second.
    rows_per_second: f64,
    /// Rows in a second of the bare loop, with as many per sync.
    bare_rows_per_second: f64,
    ratio: f64,
    /// What the audit found wrong afterwards.
    breaches: usize,
}

fn main() -> Result<(), Failed> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut all = Vec::new();
    for callers in args.callers {
        let folder = tempfile::tempdir_in(&args.folder)?;
        let length = Duration::from_secs(args.seconds);
        let measured =
            runtime.block_on(measure(folder.path().join("wallet.db"), callers, length))?;
        let Measured { pairs, groups, elapsed, breaches } = measured;
        #[expect(clippy::cast_precision_loss, reason = "rates")]
        let (pairs, groups) = (pairs as f64, groups as f64);
        let rows_per_sync = (pairs * 2.0 / groups).max(1.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a few thousand"
        )]
        let per_sync = rows_per_sync.round() as u64;
        let bare = bare::rows_per_second(&folder.path().join("bare.db"), per_sync, length)?;
        let rows_per_second = pairs * 2.0 / elapsed.as_secs_f64();
        all.push(Figures {
            callers,
            pairs_per_second: pairs / elapsed.as_secs_f64(),
            rows_per_sync,
            rows_per_second,
            bare_rows_per_second: bare,
            ratio: rows_per_second / bare,
            breaches,
        });
    }
    serde_json::to_writer(std::io::stdout().lock(), &all)?;
    Ok(())
}

struct Measured {
    pairs: u64,
    groups: u64,
    elapsed: Duration,
    breaches: usize,
}

async fn measure(path: PathBuf, callers: u64, length: Duration) -> Result<Measured, Failed> {
    let started = clock::now();
    let timepiece = Box::new(move || clock::reading(started));
    let ledger = Arc::new(SqliteLedger::open(Options { path, timepiece, pages_max: None })?);
    let fund = Fund {
        id: id(u64::MAX),
        org: "acme".to_owned(),
        amount: MicroUsd::MAX,
        note: String::new(),
    };
    ledger.operate(Operation::Fund(fund)).await??;
    let (groups_before, began) = (ledger.groups(), clock::now());
    let (next, pairs) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let (ledger, next, pairs) = (Arc::clone(&ledger), Arc::clone(&next), Arc::clone(&pairs));
        tasks.spawn(async move { calls(&*ledger, &next, &pairs, began + length).await });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let elapsed = clock::now().duration_since(began);
    let groups = ledger.groups() - groups_before;
    let breaches = ledger.audit().await?.breaches.len();
    Ok(Measured { pairs: pairs.load(Ordering::Relaxed), groups, elapsed, breaches })
}

/// One call after the other, until then.
async fn calls(
    ledger: &dyn LedgerStore,
    next: &AtomicU64,
    pairs: &AtomicU64,
    until: Instant,
) -> Result<(), Failed> {
    while clock::now() < until {
        let nth = next.fetch_add(1, Ordering::Relaxed);
        let hold = id(nth);
        ledger.operate(Operation::Reserve(reserve(hold, nth))).await??;
        let actual = MicroUsd::new(120)?;
        ledger.operate(Operation::Settle { hold, actual, estimated: false }).await??;
        pairs.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

fn reserve(hold: TransferId, nth: u64) -> Reserve {
    let most = MicroUsd::MAX;
    let budget = |scope, period| Budget { scope, period, limit: most };
    Reserve {
        id: hold,
        org: "acme".to_owned(),
        funding: Funding::Prepaid,
        team: Some("web".to_owned()),
        purpose: Purpose::Call(CallOf {
            provider: "openai".to_owned(),
            model: "gpt-4o-mini".to_owned(),
            team: Some("web".to_owned()),
            user: Some("ada".to_owned()),
            agent: None,
            codebase: Some("acme/web".to_owned()),
            key_id: "gk_0123456789abcdef".to_owned(),
            request_id: format!("{nth:032x}"),
        }),
        amount: MicroUsd::new(2_500).unwrap_or_default(),
        cost_max: MicroUsd::new(2_500).unwrap_or_default(),
        ttl: Millis(65_000),
        budgets: vec![
            budget(Scope::Org, Period::Daily),
            budget(Scope::Team("web".to_owned()), Period::Monthly),
        ],
        zone: Zone::utc(),
        prices: "2026-11-27".to_owned(),
    }
}

fn id(nth: u64) -> TransferId {
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(nth.to_be_bytes()).for_each(|(to, from)| *to = from);
    TransferId::of_reserve("acme", bytes, 1)
}
