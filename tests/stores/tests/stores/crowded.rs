//! Wallets with very many holds, as after a day on which no call's end was known: what is asked of them all the time must
//! not read them all.

use kt_contract::time::Millis;
use sidecar_cache::ledger::request::Fund;
use sidecar_cache::ledger::{Hold, Operation, State};
use sidecar_cache::store::StoreError;
use sidecar_cache::store::ledger::LedgerStore;
use sidecar_cache::store::postgres::ledger::PostgresLedger;
use tokio_postgres::Client;

use crate::database_faults::kill;
use crate::ledger_over::Place;
use crate::ledger_support::*;
use crate::shared_ledger::{shell, sidecar};

/// Whether something is set aside or lies in suspense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lies {
    Open,
    Suspended,
}

/// Writes so many holds of an organization, numbered from `first` on, to which nothing happens before `next_at`. Whoever
/// reads one of them has to know: it is broken.
async fn crowd(shell: &Client, org: &str, (first, count): (u64, u64), lies: Lies, next_at: u64) {
    let (last, is_suspended) = (first + count - 1, lies == Lies::Suspended);
    let sql = format!(
        "INSERT INTO transfers (org, seq, id, kind, amount, at, note, terms)
            SELECT '{org}', n, sha256(convert_to('{org}' || n, 'UTF8')), 'pending', 1, 0, '', '{{}}'
            FROM generate_series({first}, {last}) AS n;
         INSERT INTO live_holds (org, seq, is_suspended, is_grown, next_at)
            SELECT '{org}', n, {is_suspended}, false, {next_at} FROM generate_series({first}, {last}) AS n;"
    );
    shell.batch_execute(&sql).await.unwrap();
}

#[tokio::test]
async fn how_a_wallet_stands_is_told_without_what_lies_in_suspense() {
    let place = Place::empty().await;
    let (ledger, shell) = (sidecar(&place).await, shell(&place).await);
    ask(&*ledger, fund(1, 1_000)).await;
    ask(&*ledger, reserve(2, 10)).await;
    crowd(&shell, "acme", (1_000, 1_000), Lies::Suspended, u64::from(u32::MAX) * 1_000).await;
    assert!(ledger.holds("acme".to_owned()).await.is_err(), "whoever reads them fails");
    let (first, total) = ledger.first_holds("acme".to_owned(), 1).await.unwrap();
    assert_eq!((first.iter().map(|hold| hold.id).collect(), total), (vec![id(2)], 1_001));
    let balance = ledger.balance("acme".to_owned()).await.unwrap();
    assert_eq!((balance.wallet.available(), balance.shortfall_max), (990, 1_000));
}

#[tokio::test]
async fn what_there_is_to_allot_is_told_without_any_hold() {
    let place = Place::empty().await;
    let (ledger, shell) = (sidecar(&place).await, shell(&place).await);
    ask(&*ledger, fund(1, 1_000)).await;
    crowd(&shell, "acme", (1_000, 1_000), Lies::Open, u64::from(u32::MAX) * 1_000).await;
    assert!(ledger.balance("acme".to_owned()).await.is_err(), "whoever reads them fails");
    let payers = ledger.payers("acme".to_owned()).await.unwrap();
    assert_eq!((payers.wallet.available(), payers.purses), (1_000, vec![]));
}

#[tokio::test]
async fn holds_are_looked_up_many_at_once_by_their_ids_and_other_transfers_are_none() {
    let place = Place::empty().await;
    let ledger = sidecar(&place).await;
    ask(&*ledger, fund(1, 1_000)).await;
    for number in 2..6 {
        ask(&*ledger, reserve(number, 10)).await;
    }
    ask(&*ledger, settle(3, 7)).await;
    let found = ledger.holds_by_id((1..8).map(id).collect()).await.unwrap();
    let mut holds: Vec<_> = found.values().map(|hold| (hold.id, hold.charged())).collect();
    holds.sort();
    let mut expected: Vec<_> =
        (2..6).map(|number| (id(number), (number == 3).then(|| usd(7)))).collect();
    expected.sort();
    assert_eq!(holds, expected);
}

/// How many rows of live holds were read by everybody who has hung up.
async fn rows_read(shell: &Client) -> i64 {
    // What a connection has read is counted when it ends, at the latest.
    while kill(shell, 100).await > 0 {}
    let sql =
        "SELECT (seq_tup_read + idx_tup_fetch + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes
            WHERE relname = 'live_holds'))::bigint
        FROM pg_stat_user_tables WHERE relname = 'live_holds'";
    shell.query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn what_is_due_is_found_without_what_is_not() {
    let place = Place::empty().await;
    let (ledger, shell) = (sidecar(&place).await, shell(&place).await);
    ask(&*ledger, fund(1, 1_000)).await;
    crowd(&shell, "acme", (1_000, 50_000), Lies::Suspended, u64::from(u32::MAX) * 1_000).await;
    let others = "INSERT INTO orgs (org, last, at, calendar)
        SELECT convert_to('org' || n, 'UTF8'), 0, 0, 0 FROM generate_series(1, 200) AS n; ANALYZE";
    shell.batch_execute(others).await.unwrap();
    let before = rows_read(&shell).await;
    assert_eq!(until(&ledger, 0).await, 0);
    let read = rows_read(&shell).await - before;
    assert!(read < 1_000, "{read} rows of 50,000");
}

/// Closes what is due until so many were closed at once, or nothing says how many.
async fn until(ledger: &PostgresLedger, least: usize) -> usize {
    loop {
        match ledger.expire_due(256).await {
            Ok(closed) if closed >= least => return closed,
            Ok(_) | Err(StoreError::Transient(_)) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn what_is_due_for_others_is_closed_though_one_organization_is_locked_or_broken() {
    let place = Place::empty().await;
    let (ledger, shell) = (sidecar(&place).await, shell(&place).await);
    for (org, nth) in [("broken", 1), ("locked", 2), ("acme", 3)] {
        let (org, note) = (org.to_owned(), "test".to_owned());
        let fund = Fund { id: id(nth), org, amount: usd(1_000), note };
        ask(&*ledger, Operation::Fund(fund)).await;
    }
    crowd(&shell, "broken", (1_000, 300), Lies::Open, 1).await;
    crowd(&shell, "locked", (1_000, 300), Lies::Open, 2).await;
    let mut due = reservation(10, 10, Vec::new());
    due.ttl = Millis(0);
    ask(&*ledger, Operation::Reserve(due)).await;
    let somebody = crate::shared_ledger::shell(&place).await;
    somebody
        .batch_execute("BEGIN; SELECT FROM orgs WHERE org = 'locked' FOR UPDATE")
        .await
        .unwrap();
    assert_eq!(ledger.expire_due(256).await.unwrap(), 1);
    let suspended = ledger.holds("acme".to_owned()).await.unwrap();
    assert!(matches!(suspended[..], [Hold { state: State::Expired { .. }, .. }]), "{suspended:?}");
    // Where there is nothing else, it is said what is in the way.
    ledger.expire_due(256).await.unwrap_err();
    somebody.batch_execute("ROLLBACK").await.unwrap();
}
