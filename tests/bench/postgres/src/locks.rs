//! What row locks alone come to: a transaction for each operation, each caller with a connection of its own, the same
//! rows touched and as many written. The statements are prepared once, which the ledger's may not be.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use kt_stores::{Failed, connect};
use tokio::task::JoinSet;
use tokio_postgres::{Client, Statement};

use crate::clock::now;

/// A row of accounts for the wallet and two budgets, and the rows of what was done, as wide as the ledger's.
const TABLES: &str = "
    CREATE TABLE accounts (name text PRIMARY KEY, pending bigint NOT NULL, posted bigint NOT NULL);
    INSERT INTO accounts VALUES ('bank', 0, 0), ('budget-day', 0, 0), ('budget-month', 0, 0), ('wallet', 0, 0);
    CREATE TABLE transfers (seq bigserial PRIMARY KEY, id bytea NOT NULL, hold bytea, kind text NOT NULL,
        amount bigint NOT NULL, terms text);
    CREATE UNIQUE INDEX ON transfers (id) WHERE kind = 'pending';
    CREATE UNIQUE INDEX ON transfers (hold) WHERE kind = 'post'";

/// Sums are guarded in the statement, in the order of names, so that no two wait for each other.
const RESERVE: &str = "UPDATE accounts SET pending = pending + 2500
    WHERE name = $1 AND pending + posted + 2500 < 9007199254740991";
const SETTLE: &str =
    "UPDATE accounts SET pending = pending - 2500, posted = posted + 120 WHERE name = $1";
const WRITE: &str =
    "INSERT INTO transfers (id, hold, kind, amount, terms) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT DO NOTHING";
/// What a call under two budgets touches.
pub(crate) const ALL: [&str; 3] = ["budget-day", "budget-month", "wallet"];
/// What one without touches.
pub(crate) const WALLET: [&str; 1] = ["wallet"];

struct Caller {
    accounts: &'static [&'static str],
    client: Client,
    reserve: Statement,
    settle: Statement,
    write: Statement,
}

/// How many calls were accounted for until then: a reserve and a settle each.
pub(crate) async fn calls(
    url: &str,
    callers: u64,
    accounts: &'static [&'static str],
    until: Instant,
) -> Result<u64, Failed> {
    connect(url).await?.batch_execute(TABLES).await?;
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let (caller, next) = (Caller::connect(url, accounts).await?, Arc::clone(&next));
        tasks.spawn(async move {
            let mut calls: u64 = 0;
            while now() < until {
                let nth = next.fetch_add(1, Ordering::Relaxed);
                caller.operate(nth, true).await?;
                caller.operate(nth, false).await?;
                calls += 1;
            }
            Ok::<_, Failed>(calls)
        });
    }
    let mut calls: u64 = 0;
    while let Some(done) = tasks.join_next().await {
        calls += done??;
    }
    Ok(calls)
}

// === impl Caller ===

impl Caller {
    async fn connect(url: &str, accounts: &'static [&'static str]) -> Result<Self, Failed> {
        let client = connect(url).await?;
        let [reserve, settle, write] = [
            client.prepare(RESERVE).await?,
            client.prepare(SETTLE).await?,
            client.prepare(WRITE).await?,
        ];
        Ok(Self { accounts, client, reserve, settle, write })
    }

    async fn operate(&self, nth: u64, is_reserve: bool) -> Result<(), Failed> {
        let Self { accounts, client, reserve, settle, write } = self;
        let (hold, end) = (id(nth, 0), id(nth, 1));
        client.batch_execute("BEGIN").await?;
        let change = if is_reserve { reserve } else { settle };
        for name in *accounts {
            client.execute(change, &[name]).await?;
        }
        let terms = is_reserve.then(|| "t".repeat(400));
        let (id, hold, kind, amount) = if is_reserve {
            (hold, None, "pending", 2_500_i64)
        } else {
            (end, Some(hold), "post", 120)
        };
        client.execute(write, &[&id, &hold, &kind, &amount, &terms]).await?;
        client.batch_execute("COMMIT").await?;
        Ok(())
    }
}

fn id(nth: u64, what: u8) -> Vec<u8> {
    let mut id = vec![what; 32];
    id.iter_mut().zip(nth.to_be_bytes()).for_each(|(to, from)| *to = from);
    id
}
