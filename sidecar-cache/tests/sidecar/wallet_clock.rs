//! A wall clock that was ahead once: nothing is reserved until it is there again, everybody is told why, and an operator can have the
//! days begin anew from where they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use kt_contract::time::UnixMillis;
use sidecar_cache::ledger::Operation;
use sidecar_cache::ledger::account::Scope;
use sidecar_cache::ledger::window::Period;
use sidecar_cache::store::ledger::LedgerStore as _;
use sidecar_cache::store::sqlite::ledger::{Options, SqliteLedger};

use crate::ledger_support::{
    DAY, Hands, NOON, ask, audited, available, budget, fund, reservation, settle,
};
use crate::support::*;
use crate::wallet::{FUNDS, chat, paying_by};

/// What docs/reference/wallet.md says is to be done to the file of a sidecar that is stopped.
const BEGIN_ANEW: &str = "UPDATE marks SET calendar = 0";
const TODAY: &str = "budget:org:daily:2026-11-28";

fn today(number: u64) -> Operation {
    let budgets = vec![budget(Scope::Org, Period::Daily, 100)];
    Operation::Reserve(reservation(number, 60, budgets))
}

#[tokio::test]
async fn an_operator_may_let_the_days_begin_anew_where_they_are() {
    let docs = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/wallet.md"));
    assert!(docs.contains(BEGIN_ANEW));
    let folder = tempfile::tempdir().unwrap();
    let (path, hands) = (folder.path().join("wallet.db"), Hands::at_noon());
    let open = || {
        let (path, timepiece) = (path.clone(), hands.timepiece());
        SqliteLedger::open(Options { path, timepiece, pages_max: None }).unwrap()
    };
    let store = open();
    ask(&store, fund(1, 1_000)).await;
    assert_eq!(ask(&store, today(2)).await, "created pending 60");
    assert_eq!(ask(&store, settle(2, 60)).await, "created post 60");
    hands.set_wall(NOON + 400 * DAY);
    assert_eq!(ask(&store, today(3)).await, "created pending 60");
    assert_eq!(ask(&store, settle(3, 60)).await, "created post 60");
    hands.set_wall(NOON);
    assert_eq!(ask(&store, today(4)).await, "clock_set_back");
    drop(store);
    let store = open();
    assert_eq!(ask(&store, today(4)).await, "clock_set_back", "a restart alone changes nothing");
    drop(store);
    rusqlite::Connection::open(&path).unwrap().execute_batch(BEGIN_ANEW).unwrap();
    let store = open();
    let refused = ask(&store, today(5)).await;
    assert!(
        refused.starts_with("insufficient:org"),
        "{refused}: what was spent today counts as before"
    );
    hands.pass(DAY);
    assert_eq!(ask(&store, today(6)).await, "created pending 60");
    assert_eq!(available(&store).await, 1_000 - 3 * 60);
    let spent = store.accounts("acme".to_owned()).await.unwrap();
    assert!(spent.iter().any(|(name, account)| name == TODAY && account.debits.posted == 60));
    audited(&store).await;
}

#[tokio::test(start_paused = true)]
async fn whoever_looks_after_the_sidecar_is_told_of_a_clock_that_was_set_back() {
    let wall = Arc::new(AtomicU64::new(NOON + DAY));
    let shown = Arc::clone(&wall);
    let shows = move |_| UnixMillis(shown.load(SeqCst));
    let paying = paying_by("wallet: {}\n", FUNDS, shows).await;
    let key = paying.group.key().await;
    let errors = || paying.group.sidecar.status().wallet_errors;
    paying.group.provider.next(answers_json(JSON));
    assert!(paying.fetch(&key, CHAT).await.unwrap().has_end);
    assert_eq!(errors(), [""; 0]);
    wall.store(NOON, SeqCst);
    let another = chat("another question");
    let refusal = paying.fetch(&key, &another).await.unwrap_err();
    assert_eq!((refusal.problem.status(), refusal.problem.code()), (503, "wallet_unavailable"));
    let [told] = &errors()[..] else { panic!("it is not told") };
    assert!(told.contains("acme") && told.contains("A clock that was ahead"), "{told}");
    let refused = "kt_wallet_operations_total{operation=\"reserve\",result=\"clock_set_back\"}";
    assert_eq!(paying.group.metric(refused), "1");
    assert!(paying.group.is_cached(&key, CHAT).await, "what is there is served");
    wall.store(NOON + DAY, SeqCst);
    paying.group.provider.next(answers_json(JSON));
    assert!(paying.fetch(&key, &another).await.unwrap().has_end);
    assert_eq!(errors(), [""; 0]);
}
