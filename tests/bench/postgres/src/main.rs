//! How many calls a second the ledger in Postgres accounts for: each a reserve and a settle of one wallet, touching two
//! budgets, through the store's public trait, on disk before it is answered. Beside it, on the same server and in the
//! same run, row locks and a transaction for each operation. And the same for a wallet without budgets, whose calls one
//! sidecar reserves out of allotments. Prints its figures as one JSON object.

mod allotted;
mod clock;
mod locks;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use allotted::{Came, Sidecar};
use clap::Parser;
use kt_contract::money::MicroUsd;
use kt_contract::time::Millis;
use kt_stores::{Failed, Server, open};
use serde::Serialize;
use sidecar_cache::ledger::account::Scope;
use sidecar_cache::ledger::request::{Budget, CallOf, Fund, Funding, Purpose, Reserve};
use sidecar_cache::ledger::window::{Period, Zone};
use sidecar_cache::ledger::{Operation, TransferId};
use sidecar_cache::store::ledger::LedgerStore;
use sidecar_cache::store::postgres::ledger::PostgresLedger;
use tokio::task::JoinSet;

#[derive(Debug, Parser)]
struct Args {
    /// How many calls are under way at once.
    #[arg(long, value_delimiter = ',', default_value = "1,32,512")]
    callers: Vec<u64>,
    /// How many sidecars they are divided among.
    #[arg(long, default_value_t = 1)]
    sidecars: u64,
    /// How long each figure is measured.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

/// What came of one number of callers.
#[derive(Debug, Serialize)]
struct Figures {
    callers: u64,
    sidecars: u64,
    /// Calls accounted for in a second: a reserve and a settle each.
    pairs_per_second: f64,
    /// Operations that shared a commit, on average.
    operations_per_commit: f64,
    /// The same with row locks, where there are not more callers than a server has connections.
    locks_pairs_per_second: Option<f64>,
    ratio: Option<f64>,
    /// What the audit found wrong afterwards.
    breaches: usize,
    allotted: Option<OfAllotments>,
}

/// One sidecar's calls of a wallet without budgets, reserved out of allotments.
#[derive(Debug, Serialize)]
struct OfAllotments {
    pairs_per_second: f64,
    /// Which part of the calls was reserved out of one.
    share: f64,
    /// With row locks, of the wallet alone.
    locks_pairs_per_second: f64,
    ratio: f64,
    breaches: usize,
}

fn main() -> Result<(), Failed> {
    let args = Args::parse();
    let length = Duration::from_secs(args.seconds);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let all = runtime.block_on(async {
        let server = Server::start(&[])?;
        let mut all = Vec::new();
        for callers in args.callers {
            all.push(measure(&server, callers, args.sidecars, length).await?);
        }
        Ok::<_, Failed>(all)
    })?;
    serde_json::to_writer(std::io::stdout().lock(), &all)?;
    Ok(())
}

async fn measure(
    server: &Server,
    callers: u64,
    sidecars: u64,
    length: Duration,
) -> Result<Figures, Failed> {
    let Ours { pairs, groups, breaches } = ours(server, callers, sidecars, length).await?;
    let locks = if callers <= 256 {
        let url = server.database().await?;
        Some(locks::calls(&url, callers, &locks::ALL, clock::now() + length).await?)
    } else {
        None
    };
    #[expect(clippy::cast_precision_loss, reason = "rates")]
    let per_second = |calls: u64| calls as f64 / length.as_secs_f64();
    let (pairs_per_second, locks) = (per_second(pairs), locks.map(per_second));
    #[expect(clippy::cast_precision_loss, reason = "a mean")]
    let operations_per_commit = pairs as f64 * 2.0 / groups as f64;
    let allotted = match locks {
        Some(_) => Some(of_allotments(server, callers, length).await?),
        None => None,
    };
    Ok(Figures {
        callers,
        sidecars,
        pairs_per_second,
        operations_per_commit,
        locks_pairs_per_second: locks,
        ratio: locks.map(|locks| pairs_per_second / locks),
        breaches,
        allotted,
    })
}

/// The same for a wallet without budgets.
async fn of_allotments(
    server: &Server,
    callers: u64,
    length: Duration,
) -> Result<OfAllotments, Failed> {
    let ledger = funded(server).await?;
    let folder = tempfile::tempdir()?;
    let sidecar = Sidecar::new(Arc::clone(&ledger), folder.path())?;
    let Came { calls, allotted, took } = sidecar.calls(callers, clock::now() + length).await?;
    let breaches = ledger.audit().await?.breaches.len();
    let url = server.database().await?;
    let locks = locks::calls(&url, callers, &locks::WALLET, clock::now() + length).await?;
    #[expect(clippy::cast_precision_loss, reason = "rates")]
    let (pairs_per_second, share, locks) = (
        calls as f64 / took.as_secs_f64(),
        allotted as f64 / calls as f64,
        locks as f64 / length.as_secs_f64(),
    );
    let ratio = pairs_per_second / locks;
    Ok(OfAllotments { pairs_per_second, share, locks_pairs_per_second: locks, ratio, breaches })
}

/// A ledger with a wallet that cannot be emptied.
async fn funded(server: &Server) -> Result<Arc<PostgresLedger>, Failed> {
    let url = server.migrated().await?;
    let ledger = Arc::new(PostgresLedger::open(open(&url)?, None).await?);
    ledger.operate(Operation::Fund(fund())).await??;
    Ok(ledger)
}

fn fund() -> Fund {
    Fund { id: id(u64::MAX), org: "acme".to_owned(), amount: MicroUsd::MAX, note: String::new() }
}

/// What came of calls through the ledger.
struct Ours {
    pairs: u64,
    groups: u64,
    breaches: usize,
}

async fn ours(
    server: &Server,
    callers: u64,
    sidecars: u64,
    length: Duration,
) -> Result<Ours, Failed> {
    let url = server.migrated().await?;
    let mut ledgers = Vec::new();
    for _ in 0..sidecars {
        ledgers.push(Arc::new(PostgresLedger::open(open(&url)?, None).await?));
    }
    let first = ledgers.first().ok_or("no sidecar")?;
    first.operate(Operation::Fund(fund())).await??;
    let (next, pairs) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (mut tasks, until) = (JoinSet::new(), clock::now() + length);
    for (_, ledger) in (0..callers).zip(ledgers.iter().cycle()) {
        let (ledger, next, pairs) = (Arc::clone(ledger), Arc::clone(&next), Arc::clone(&pairs));
        tasks.spawn(async move { calls(&*ledger, &next, &pairs, until).await });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let breaches = first.audit().await?.breaches.len();
    let groups = ledgers.iter().map(|ledger| ledger.groups()).sum();
    Ok(Ours { pairs: pairs.load(Ordering::Relaxed), groups, breaches })
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
        let settle = Operation::Settle { hold, actual: actual()?, estimated: false };
        ledger.operate(settle).await??;
        pairs.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// What a call costs.
fn actual() -> Result<MicroUsd, Failed> {
    Ok(MicroUsd::new(120)?)
}

fn reserve(hold: TransferId, nth: u64) -> Reserve {
    let limit = MicroUsd::MAX;
    let amount = MicroUsd::new(2_500).unwrap_or_default();
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
        amount,
        cost_max: amount,
        ttl: Millis(65_000),
        budgets: vec![
            Budget { scope: Scope::Org, period: Period::Daily, limit },
            Budget { scope: Scope::Team("web".to_owned()), period: Period::Monthly, limit },
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
