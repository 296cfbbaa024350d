//! A database whose clock was ahead once: what an operator does about it.

use std::sync::Arc;

use kt_stores::{connect, open};
use sidecar_cache::ledger::Operation;
use sidecar_cache::ledger::account::Scope;
use sidecar_cache::ledger::audit::Invariant;
use sidecar_cache::ledger::request::Fund;
use sidecar_cache::ledger::window::Period;
use sidecar_cache::store::ledger::LedgerStore;
use sidecar_cache::store::postgres::ledger::PostgresLedger;

use crate::ledger_over::SERVER;
use crate::ledger_support::{
    DAY, HOUR, Hands, NOON, TTL, ask, audited, available, budget, expire, fund, id, reservation,
    reserve, settle, usd,
};

#[tokio::test]
async fn a_book_that_was_ahead_once_makes_nothing_overdue_in_others() {
    let (url, hands) = (SERVER.migrated().await.unwrap(), Hands::at_noon());
    let ledger = PostgresLedger::open(open(&url).unwrap(), Some(hands.timepiece())).await.unwrap();
    let store: Arc<dyn LedgerStore> = Arc::new(ledger);
    ask(&*store, fund(1, 1_000)).await;
    assert_eq!(ask(&*store, reserve(2, 10)).await, "created pending 10");
    hands.pass(TTL);
    assert_eq!(ask(&*store, expire(2)).await, "created expire 10");
    hands.set_wall(NOON + 400 * DAY);
    let ahead = Fund { id: id(3), org: "other".to_owned(), amount: usd(1), note: String::new() };
    assert_eq!(ask(&*store, Operation::Fund(ahead)).await, "created fund 1");
    hands.set_wall(NOON + HOUR);
    audited(&*store).await;
    // A day later nobody has returned it, whoever was to do it: that is found, though its own book stands still.
    let more = Fund { id: id(4), org: "third".to_owned(), amount: usd(1), note: String::new() };
    hands.set_wall(NOON + 2 * DAY);
    assert_eq!(ask(&*store, Operation::Fund(more)).await, "created fund 1");
    let found = store.audit().await.unwrap().breaches;
    let of: Vec<_> = found.iter().map(|breach| (breach.invariant, &*breach.org)).collect();
    assert_eq!(of, [(Invariant::SuspenseDrains, "acme")]);
}

/// What docs/reference/wallet.md says is to be done in the database.
const BEGIN_ANEW: &str = "UPDATE orgs SET at = 0, calendar = 0";

#[tokio::test]
async fn an_operator_may_let_the_days_of_a_database_begin_anew_where_they_are() {
    let docs = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/wallet.md"));
    assert!(docs.contains(BEGIN_ANEW));
    let (url, hands) = (SERVER.migrated().await.unwrap(), Hands::at_noon());
    let ledger = PostgresLedger::open(open(&url).unwrap(), Some(hands.timepiece())).await.unwrap();
    let store: Arc<dyn LedgerStore> = Arc::new(ledger);
    let today = |number| {
        let budgets = vec![budget(Scope::Org, Period::Daily, 100)];
        Operation::Reserve(reservation(number, 60, budgets))
    };
    ask(&*store, fund(1, 1_000)).await;
    assert_eq!(ask(&*store, today(2)).await, "created pending 60");
    assert_eq!(ask(&*store, settle(2, 60)).await, "created post 60");
    hands.set_wall(NOON + 400 * DAY);
    assert_eq!(ask(&*store, reserve(3, 10)).await, "created pending 10");
    hands.set_wall(NOON + HOUR);
    assert_eq!(ask(&*store, today(4)).await, "clock_set_back");
    connect(&url).await.unwrap().batch_execute(BEGIN_ANEW).await.unwrap();
    let refused = ask(&*store, today(5)).await;
    assert_eq!(refused, "insufficient:org", "what was spent today counts as before");
    hands.pass(DAY);
    assert_eq!(ask(&*store, today(6)).await, "created pending 60");
    hands.pass(TTL);
    assert_eq!(ask(&*store, expire(6)).await, "created expire 60", "in its time");
    assert_eq!(ask(&*store, expire(3)).await, "not_due", "of the time that was ahead");
    assert_eq!(ask(&*store, settle(3, 10)).await, "created post 10");
    assert_eq!(available(&*store).await, 1_000 - 60 - 10 - 60);
    audited(&*store).await;
}
