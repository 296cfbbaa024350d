//! The audit log in Postgres: the suite, several writers, connections that are killed, and what nobody may do to the
//! tables.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use kt_fault_proxy::{Fault, Faults, Proxy};
use kt_stores::{Server, connect, open};
use sidecar_cache::store::audit_log::AuditStore as _;
use sidecar_cache::store::postgres::PostgresAuditLog;
use tokio::task::JoinSet;

use crate::audit_suite::{fact, numbers, verified};
use crate::database_faults::kill;
use crate::ledger_over::SERVER;

async fn log(url: &str) -> PostgresAuditLog {
    PostgresAuditLog::open(Arc::new(open(url).unwrap())).await.unwrap()
}

/// Stamps the suite over one database for each test, reached directly and through a pooler.
macro_rules! suites {
    ($($way:ident: $url:expr;)*) => {$(
        mod $way {
            suites! { @stamp $url,
                every_organization_has_a_chain_of_its_own
                what_is_put_on_record_survives_a_restart
                many_at_once_leave_no_gap
                retention_removes_the_oldest_and_says_so
                a_chain_whose_records_are_all_too_old_goes_on
            }
        }
    )*};
    (@stamp $url:expr, $($test:ident)*) => {$(
        #[tokio::test]
        async fn $test() {
            let url = $url(&super::SERVER.migrated().await.unwrap());
            crate::audit_suite::$test(async || super::log(&url).await).await;
        }
    )*};
}

suites! {
    direct: str::to_owned;
    pooled: super::Server::pooled;
}

#[tokio::test(flavor = "multi_thread")]
async fn sidecars_whose_connections_are_killed_put_everything_on_record_once() {
    const EACH: u64 = 150;
    let url = SERVER.migrated().await.unwrap();
    let shell = connect(&url).await.unwrap();
    let done = Arc::new(AtomicU64::new(0));
    let mut writers = JoinSet::new();
    for writer in 0..4 {
        let (store, done) = (log(&url).await, Arc::clone(&done));
        writers.spawn(async move {
            for number in 0..EACH {
                let number = writer * EACH + number;
                store.append(vec![fact("acme", number), fact("umbrella", number)]).await.unwrap();
                done.fetch_add(1, SeqCst);
            }
        });
    }
    let (mut next, mut killed) = (20, 0);
    while !writers.is_empty() {
        if done.load(SeqCst) >= next {
            killed += kill(&shell, 1).await;
            next += 20;
        }
        if let Some(ended) = writers.try_join_next() {
            ended.unwrap();
        }
        tokio::task::yield_now().await;
    }
    assert!(killed > 10, "{killed}");
    let store = log(&url).await;
    for org in ["acme", "umbrella"] {
        let mut found = numbers(&store, org).await;
        found.sort_unstable();
        assert_eq!(found, (0..4 * EACH).collect::<Vec<_>>(), "{org}");
        assert_eq!(verified(&store, org).await.head.seq, 4 * EACH, "{org}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_without_an_answer_is_on_record_once() {
    const APPENDS: u64 = 120;
    let url = SERVER.migrated().await.unwrap();
    let (place, database) = url.rsplit_once('/').unwrap();
    let (_, port) = place.rsplit_once(':').unwrap();
    let proxy = Proxy::start(port.parse().unwrap()).await.unwrap();
    let store = log(&format!("postgres://kt@127.0.0.1:{}/{database}", proxy.port())).await;
    for number in 0..APPENDS {
        // Each answer of a transaction is lost in its turn, the last one too; and a second try has all of its own.
        proxy.set(Faults::of_answers(Fault::ResetEvery(9 + number % 8)));
        store.append(vec![fact("acme", number)]).await.unwrap();
    }
    proxy.heal();
    assert!(proxy.resets() > 10, "{}", proxy.resets());
    assert_eq!(numbers(&store, "acme").await, (0..APPENDS).collect::<Vec<_>>());
    assert_eq!(verified(&store, "acme").await.head.seq, APPENDS);
}

#[tokio::test]
async fn whoever_has_a_shell_changes_nothing_in_the_tables() {
    let url = SERVER.migrated().await.unwrap();
    let (store, shell) = (log(&url).await, connect(&url).await.unwrap());
    store.append((1..=3).map(|number| fact("acme", number)).collect()).await.unwrap();
    for statement in [
        "UPDATE audit_records SET bytes = '' WHERE seq = 2",
        "DELETE FROM audit_records WHERE seq = 1",
        "DELETE FROM audit_records",
        "TRUNCATE audit_records",
        "UPDATE audit_chains SET head = 2",
        "UPDATE audit_chains SET org = 'umbrella'",
        "DELETE FROM audit_chains",
        "TRUNCATE audit_chains",
    ] {
        let refused = shell.batch_execute(statement).await.unwrap_err();
        let text = refused.as_db_error().unwrap().message().to_owned();
        assert!(text.starts_with("the audit log is never changed"), "{statement}: {text}");
    }
    assert_eq!(numbers(&store, "acme").await, [1, 2, 3]);
    assert_eq!(verified(&store, "acme").await.records, 3);
}
