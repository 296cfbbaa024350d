//! What happens to a database while calls are paid for, and what must be so afterwards: nothing is lost, nothing done
//! twice, and everything adds up. Where a whole server suffers, it is one of the test's own.

use std::future::Future;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use kt_fault_proxy::{Fault, Faults, Proxy};
use kt_stores::Server;
use sidecar_cache::ledger::Made;
use sidecar_cache::store::StoreError;
use sidecar_cache::store::ledger::LedgerStore;
use sidecar_cache::store::ledger::memory::Timepiece;
use sidecar_cache::store::postgres::ledger::PostgresLedger;
use tokio::task::JoinSet;
use tokio_postgres::Client;

use crate::ledger_over::Place;
use crate::ledger_support::*;
use crate::shared_ledger::{pair, shell, sidecar, until_known};

/// 16 callers of two sidecars, who ask until they know: a reserve, an extension, and an end that costs more. After each
/// 23rd answer something happens.
async fn storm(place: &Place, calls: u64, happens: impl AsyncFn() + Sync) {
    const CALLERS: u64 = 16;
    let sidecars = pair(place).await;
    until_known(&sidecars[0], &fund(1, 1_000_000)).await.unwrap();
    let done = Arc::new(AtomicU64::new(0));
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let store = Arc::clone(&sidecars[usize::try_from(caller % 2).unwrap()]);
        let done = Arc::clone(&done);
        callers.spawn(async move {
            for call in 0..calls {
                let number = 1_000 + caller * calls + call;
                for operation in [reserve(number, 10), extend(number, 12), settle(number, 13)] {
                    until_known(&store, &operation).await.unwrap();
                    done.fetch_add(1, SeqCst);
                }
            }
        });
    }
    let mut next = 23;
    while !callers.is_empty() {
        if done.load(SeqCst) >= next {
            happens().await;
            next += 23;
        }
        if let Some(ended) = callers.try_join_next() {
            ended.unwrap();
        }
        tokio::task::yield_now().await;
    }
    let count = CALLERS * calls;
    let told = sidecar(place).await;
    let history = told.history("acme".to_owned(), None, 100_000).await.unwrap();
    // Numbered without a gap: a fund, and of each call a reserve, an extension, its end and an overage.
    assert_eq!(u64::try_from(history.len()).unwrap(), 1 + 4 * count);
    assert_eq!(history[0].0, 1 + 4 * count);
    assert_eq!(available(&*told).await, i128::from(1_000_000 - 13 * count));
    assert_eq!(told.holds("acme".to_owned()).await.unwrap(), []);
    audited(&*told).await;
}

const SIDECARS: &str = "application_name = 'kt' AND datname = current_database()";

/// Kills connections of sidecars to this database, in no order; says how many.
pub(crate) async fn kill(shell: &Client, count: i64) -> u64 {
    let sql = format!(
        "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity WHERE {SIDECARS}
         ORDER BY random() LIMIT $1) AS chosen"
    );
    u64::try_from(shell.query(&sql, &[&count]).await.unwrap().len()).unwrap()
}

/// The process of the server that serves a sidecar; none where none does, or where the server goes down just now.
pub(crate) async fn process(shell: &Client) -> Option<i32> {
    let sql =
        format!("SELECT pid FROM pg_stat_activity WHERE {SIDECARS} ORDER BY random() LIMIT 1");
    shell.query_opt(&sql, &[]).await.ok().flatten().map(|row| row.get(0))
}

/// Whether the process was there to get it.
pub(crate) fn signal(name: &str, process: i32) -> bool {
    Command::new("kill").args([name, &process.to_string()]).status().unwrap().success()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_while_connections_are_killed() {
    let place = Place::empty().await;
    let (killer, killed) = (shell(&place).await, AtomicU64::new(0));
    storm(&place, 60, async || _ = killed.fetch_add(kill(&killer, 1).await, SeqCst)).await;
    assert!(killed.load(SeqCst) > 50, "{killed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_when_the_server_crashes() {
    let server = Server::start(&[]).unwrap();
    let place = Place { url: server.migrated().await.unwrap() };
    let crashes = AtomicU64::new(0);
    storm(&place, 20, async || {
        // Three times, and each time all of its processes begin anew and recover from the log.
        if crashes.load(SeqCst) < 3
            && let Ok(shell) = kt_stores::connect(&place.url).await
            && let Some(process) = process(&shell).await
            && signal("-KILL", process)
        {
            crashes.fetch_add(1, SeqCst);
        }
    })
    .await;
    assert_eq!(crashes.load(SeqCst), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_too_few_connections_serves_with_those_that_it_has() {
    let server = Server::start(&["-c", "fsync=off", "-c", "max_connections=5"]).unwrap();
    let place = Place { url: server.migrated().await.unwrap() };
    storm(&place, 20, async || {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_answers_no_more_is_given_up_and_nothing_is_done_twice() {
    let place = Place::empty().await;
    let store = sidecar(&place).await;
    ask(&*store, fund(1, 1_000)).await;
    let shell = shell(&place).await;
    let stopped = process(&shell).await.unwrap();
    assert!(signal("-STOP", stopped));
    // Nobody says that it is gone; it is given up all the same.
    let answer = loop {
        let answer = store.operate(reserve(2, 10)).await;
        if answer.is_err() {
            break answer;
        }
        // Another connection has answered. The one that is stopped comes up in its turn.
        tokio::join!(store.holds("acme".to_owned()), store.frozen()).1.unwrap_or_default();
    };
    let error = answer.unwrap_err();
    assert!(matches!(error, StoreError::Transient(_)), "{error}");
    assert!(signal("-CONT", stopped));
    until_known(&store, &reserve(2, 10)).await.unwrap();
    until_known(&store, &settle(2, 10)).await.unwrap();
    assert_eq!(available(&*store).await, 990);
    audited(&*store).await;
}

/// A store behind a proxy.
async fn behind(place: &Place) -> (Arc<Proxy>, Arc<PostgresLedger>) {
    let (server, database) = place.url.rsplit_once('/').unwrap();
    let (_, port) = server.rsplit_once(':').unwrap();
    let proxy = Arc::new(Proxy::start(port.parse().unwrap()).await.unwrap());
    let url = format!("postgres://kt@127.0.0.1:{}/{database}", proxy.port());
    (proxy, sidecar(&Place { url }).await)
}

/// Does something while the answers to it are cut, once, after so many bytes. Says whether they were.
async fn cut<T>(proxy: &Arc<Proxy>, bytes: u64, asks: impl Future<Output = T>) -> (T, bool) {
    let before = proxy.resets();
    proxy.set(Faults::of_answers(Fault::ResetAfter(bytes)));
    let healing = {
        let proxy = Arc::clone(proxy);
        tokio::spawn(async move {
            while proxy.resets() == before {
                tokio::task::yield_now().await;
            }
            proxy.heal();
        })
    };
    let answer = asks.await;
    let is_cut = proxy.resets() > before;
    if is_cut {
        healing.await.unwrap();
    } else {
        healing.abort();
        proxy.heal();
    }
    (answer, is_cut)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reserve_whose_commit_was_not_heard_is_made() {
    let place = Place::empty().await;
    let direct = sidecar(&place).await;
    ask(&*direct, fund(1, 100_000_000)).await;
    let (proxy, store) = behind(&place).await;
    // Every message of the answers is longer.
    const STEP: u64 = 5;
    let (mut number, mut made, mut cuts, mut bytes) = (1_000, 0_u64, 0, 0);
    loop {
        // One whose answers come whole: then there is a connection, and the next answers are to a transaction alone.
        until_known(&store, &reserve(number, 10)).await.unwrap();
        made += 1;
        let (answer, is_cut) = cut(&proxy, bytes, store.operate(reserve(number + 1, 10))).await;
        match answer {
            Ok(verdict) => {
                assert_eq!(verdict.unwrap().made, Made::Created, "{bytes} bytes of the answers");
                made += 1;
            }
            // Whoever is not answered gives up what may have been set aside.
            Err(error) => {
                assert!(matches!(error, StoreError::Transient(_)), "{error}");
                let given_up = ask(&*direct, release(number + 1)).await;
                assert!(["not_found", "created void 10"].contains(&&*given_up), "{given_up}");
            }
        }
        if !is_cut {
            break;
        }
        (number, cuts, bytes) = (number + 2, cuts + 1, bytes + STEP);
    }
    assert!(bytes > 200, "{bytes} bytes are no transaction's answers");
    let holds = direct.holds("acme".to_owned()).await.unwrap();
    assert_eq!(u64::try_from(holds.len()).unwrap(), made, "what is held, its caller was told of");
    assert!(made > 2 * cuts - cuts / 10, "{made} of {cuts}, twice each");
    audited(&*direct).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_fails_here_keeps_its_organization_from_nothing_that_comes_after() {
    let place = Place::empty().await;
    let fails = Arc::new(AtomicBool::new(false));
    let (hands, failing) = (Hands::at_noon(), Arc::clone(&fails));
    let clock = hands.timepiece();
    let timepiece: Timepiece = Box::new(move || {
        assert!(!failing.swap(false, SeqCst), "what a test has broken");
        clock()
    });
    let database = kt_stores::open(&place.url).unwrap();
    let store = PostgresLedger::open(database, Some(timepiece)).await.unwrap();
    ask(&store, fund(1, 1_000)).await;
    fails.store(true, SeqCst);
    let error = store.operate(reserve(2, 10)).await.unwrap_err();
    assert!(matches!(error, StoreError::Transient(_)), "it may be asked again: {error}");
    let answer = tokio::time::timeout(Duration::from_secs(30), ask(&store, reserve(2, 10))).await;
    assert_eq!(answer.unwrap(), "created pending 10");
    audited(&store).await;
}
