//! Sidecars that reserve the calls of a hot wallet out of allotments, with their wallet in a Postgres and their spools
//! in files: how often that wallet's row is touched, and what becomes of calls while the database is away.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use bytes::Bytes;
use kt_contract::problem::{Problem, Unpaid};
use sidecar_cache::clock::Clock;
use sidecar_cache::service::lane::Refusal;
use sidecar_cache::store::ledger::LedgerStore;
use sidecar_cache::store::postgres::ledger::PostgresLedger;
use sidecar_cache::store::spool::SpoolStore;
use sidecar_cache::store::sqlite::SqliteSpool;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::database_faults::kill;
use crate::ledger_over::{Place, SERVER};
use crate::ledger_support::{ask, audited, available, fund};
use crate::shared_ledger::{shell, sidecar as ledger};
use crate::support::{
    CHAT, Common, Group, Key, Seen, Shelved, group_spooling, holder_of, read, settings_with,
};

/// What a call costs whose answer is the usual one.
const COST: u64 = 5;

/// A sidecar with a data folder.
struct Alive {
    group: Group,
    ledger: Arc<PostgresLedger>,
    spool: Arc<SqliteSpool>,
    key: Key,
    requests: AtomicU64,
    _folder: TempDir,
}

/// A sidecar whose requests are numbered from `first` on, with allotments of at most so many dollars.
async fn sidecar(place: &Place, max_usd: &str, first: u64) -> Arc<Alive> {
    let ledger = ledger(place).await;
    let folder = tempfile::tempdir().unwrap();
    let spool = Arc::new(SqliteSpool::open(folder.path()).unwrap());
    let settings = settings_with(&format!(
        "wallet: {{backend: postgres, url: {{env: KT_DATABASE_URL}}, \
         allotment: {{max_usd: {max_usd}, part: 1, ttl_seconds: 3600}}}}\n"
    ));
    let clock = Clock::start();
    let entries = Arc::new(Shelved::new(clock, settings.memory));
    let common = Common {
        clock,
        settings,
        store: Arc::clone(&entries) as Arc<_>,
        entries,
        keys: Arc::default(),
        ledger: Some(Arc::clone(&ledger) as Arc<dyn LedgerStore>),
        savings: None,
    };
    let kept = Arc::clone(&spool) as Arc<dyn SpoolStore>;
    let group = group_spooling(common, None, Some(kept));
    group.poll().await;
    let key = group.key().await;
    let requests = AtomicU64::new(first);
    Arc::new(Alive { group, ledger, spool, key, requests, _folder: folder })
}

// === impl Alive ===

impl Alive {
    async fn ask(&self) -> Result<Seen, Refusal> {
        let nth = self.requests.fetch_add(1, SeqCst);
        let (id, body) = (format!("{nth:032x}"), CHAT.replace("\"hi\"", &format!("\"{nth}\"")));
        let mut ask = self.group.ask(&self.key, &body);
        ask.request_id.clone_from(&id);
        let (ticket, _) = self.group.ticket(ask).await;
        let entered = self.group.sidecar.enter(Some(&ticket), &holder_of(&id))?;
        let body = Bytes::copy_from_slice(body.as_bytes());
        Ok(read(self.group.sidecar.serve(entered, Vec::new(), body).await?).await)
    }

    /// Makes calls until there is an allotment; says how many.
    async fn heats_up(&self) -> u64 {
        let mut calls = 0;
        while self.group.metric("kt_wallet_allotted_usd") == "0.0" {
            self.ask().await.unwrap();
            calls += 1;
        }
        calls
    }

    /// Stops, as the program does.
    async fn stops(&self) {
        self.group.sidecar.drained().await;
        while self.group.sidecar.tell_spooled().await > 0 {}
        self.group.sidecar.leave_allotments().await;
    }
}

/// The wallet adds up, nothing is set aside, and so many calls were charged.
async fn charged(ledger: &PostgresLedger, funds: u64, calls: u64) {
    assert_eq!(available(ledger).await, i128::from(funds - calls * COST));
    assert_eq!(ledger.holds("acme".to_owned()).await.unwrap(), []);
    audited(ledger).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_calls_of_a_hot_wallet_touch_its_row_a_few_times() {
    const FUNDS: u64 = 100_000_000;
    let place = Place::empty().await;
    let alive = sidecar(&place, "10", 0).await;
    ask(&*alive.ledger, fund(u64::MAX, FUNDS)).await;
    let first = alive.heats_up().await;
    let before = alive.ledger.groups();
    let mut callers = JoinSet::new();
    for _ in 0..50 {
        let alive = Arc::clone(&alive);
        callers.spawn(async move {
            for _ in 0..20 {
                assert!(alive.ask().await.unwrap().has_end);
            }
        });
    }
    callers.join_all().await;
    alive.stops().await;
    let groups = alive.ledger.groups() - before;
    // One for each reserve and each end would be 2,000.
    assert!(groups < 100, "{groups} transactions");
    assert_eq!(alive.spool.count(), 0);
    charged(&alive.ledger, FUNDS, first + 1_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sidecars_on_one_wallet_never_spend_more_than_it_has() {
    // A call holds some 2,470, so that neither has room for many.
    const FUNDS: u64 = 12_000;
    let place = Place::empty().await;
    let sidecars = [sidecar(&place, "0.005", 0).await, sidecar(&place, "0.005", 1_000_000).await];
    ask(&*sidecars[0].ledger, fund(u64::MAX, FUNDS)).await;
    let made = Arc::new(AtomicU64::new(0));
    let mut callers = JoinSet::new();
    for nth in 0..10 {
        let (alive, made) = (Arc::clone(&sidecars[nth % 2]), Arc::clone(&made));
        callers.spawn(async move {
            for _ in 0..20 {
                match alive.ask().await {
                    Ok(seen) if seen.has_end => _ = made.fetch_add(1, SeqCst),
                    Err(Refusal {
                        problem: Problem::Unpaid(Unpaid::WalletEmpty { .. }), ..
                    }) => assert!(available(&*alive.ledger).await >= 0),
                    answer => panic!("{answer:?}"),
                }
            }
        });
    }
    callers.join_all().await;
    for alive in &sidecars {
        alive.stops().await;
    }
    let made = made.load(SeqCst);
    assert!(made > 0);
    charged(&sidecars[0].ledger, FUNDS, made).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_away_calls_go_on_until_the_allotment_is_empty() {
    const FUNDS: u64 = 100_000;
    let place = Place::empty().await;
    let alive = sidecar(&place, "0.0027", 0).await;
    ask(&*alive.ledger, fund(u64::MAX, FUNDS)).await;
    let first = alive.heats_up().await;
    let shell = shell(&place).await;
    let name = place.url.rsplit_once('/').unwrap().1.to_owned();
    let door = |is_open| format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {is_open}");
    SERVER.execute("postgres", &door(false)).await.unwrap();
    while kill(&shell, 100).await > 0 {}
    let mut made = 0;
    let refused = loop {
        match alive.ask().await {
            Ok(seen) => made += u64::from(seen.has_end),
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused.problem, Problem::Unpaid(Unpaid::LedgerUnavailable));
    assert!(made > 5 && made * COST <= 2_700, "{made}");
    assert!(alive.spool.count() > 0);
    SERVER.execute("postgres", &door(true)).await.unwrap();
    assert_eq!(available(&*ledger(&place).await).await, i128::from(FUNDS - first * COST - 2_700));
    alive.group.sidecar.drained().await;
    // What stays in the spool are releases of reserves that were never made.
    while !alive.ledger.holds("acme".to_owned()).await.is_ok_and(|holds| holds.is_empty()) {
        alive.group.sidecar.tell_spooled().await;
        alive.group.sidecar.leave_allotments().await;
    }
    charged(&alive.ledger, FUNDS, first + made).await;
}
