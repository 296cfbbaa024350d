//! What a gateway tells of calls that passed without its sidecar: booked once, or not at all, and said to be.

use std::sync::Arc;

use kt_contract::limits::OPEN_ORGS_MAX;
use kt_contract::money::MicroUsd;
use kt_contract::wire::VERSION;
use kt_contract::wire::open_calls::{OpenCalls, OpenCallsReply, OpenCallsRequest};
use sidecar_cache::clock::Clock;
use sidecar_cache::store::ledger::LedgerStore;
use sidecar_cache::store::ledger::memory::MemoryLedger;

use crate::support::*;

const EPOCH: &str = "00112233445566778899aabbccddeeff";

/// A sidecar with a wallet, and that.
fn paying() -> (Group, Arc<dyn LedgerStore>) {
    let clock = Clock::start();
    let ledger: Arc<dyn LedgerStore> =
        Arc::new(MemoryLedger::new(Box::new(move || clock.reading())));
    let group = group_of(settings_with("wallet: {}\n"), clock, Some(Arc::clone(&ledger)));
    (group, ledger)
}

fn of(org: &str, calls: u64, micros: u64) -> OpenCalls {
    OpenCalls { org: org.to_owned(), calls, micro_usd: MicroUsd::new(micros).unwrap() }
}

fn batch(number: u64, orgs: Vec<OpenCalls>) -> OpenCallsRequest {
    let (gateway, epoch) = ("gw-a".to_owned(), EPOCH.to_owned());
    OpenCallsRequest { version: VERSION, gateway, epoch, number, orgs }
}

async fn rows(ledger: &Arc<dyn LedgerStore>, org: &str) -> Vec<(String, u64, String)> {
    let found = ledger.transfers(org.to_owned(), 0, 100).await.unwrap();
    let row = |(_, row): (u64, sidecar_cache::ledger::Transfer)| {
        (row.kind.as_str().to_owned(), row.amount.micros(), row.note)
    };
    found.into_iter().map(row).collect()
}

fn metric(group: &Group, line: &str) -> bool {
    group.sidecar.render_metrics().lines().any(|found| found == line)
}

#[tokio::test]
async fn a_batch_is_booked_once_however_often_it_is_told() {
    let (group, ledger) = paying();
    let told = batch(1, vec![of("acme", 3, 150_000), of("other", 1, 50_000)]);
    let mut telling = Vec::new();
    for _ in 0..8 {
        let (sidecar, told) = (Arc::clone(&group.sidecar), told.clone());
        telling.push(tokio::spawn(async move { sidecar.book_open_calls(told).await.unwrap() }));
    }
    for reply in telling {
        let expected = OpenCallsReply { version: VERSION, epoch: EPOCH.to_owned(), number: 1 };
        assert_eq!(reply.await.unwrap(), expected);
    }
    let row = |amount, note: &str| ("open_calls".to_owned(), amount, note.to_owned());
    assert_eq!(rows(&ledger, "acme").await, [row(150_000, "3 calls without a sidecar at gw-a")]);
    assert_eq!(rows(&ledger, "other").await, [row(50_000, "1 calls without a sidecar at gw-a")]);
    assert_eq!(ledger.audit().await.unwrap().breaches, []);
    assert!(metric(&group, "kt_open_calls_total 4"));
    assert!(metric(&group, "kt_open_calls_usd_total 0.2"));
    assert!(metric(&group, "kt_open_reports_total{result=\"booked\"} 1"));
    assert!(metric(&group, "kt_open_reports_total{result=\"known\"} 7"));
}

#[tokio::test]
async fn another_number_life_or_gateway_is_another_batch() {
    let (group, ledger) = paying();
    let first = batch(1, vec![of("acme", 1, 10)]);
    let second = OpenCallsRequest { number: 2, ..first.clone() };
    let restarted = OpenCallsRequest { epoch: "f".repeat(32), ..first.clone() };
    let neighbor = OpenCallsRequest { gateway: "gw-b".to_owned(), ..first.clone() };
    for told in [&first, &second, &restarted, &neighbor, &first, &neighbor] {
        group.sidecar.book_open_calls(told.clone()).await.unwrap();
    }
    assert_eq!(rows(&ledger, "acme").await.len(), 4);
    let wallet = ledger.balance("acme".to_owned()).await.unwrap().wallet;
    assert_eq!(wallet.available(), -40);
}

#[tokio::test]
async fn a_batch_that_is_none_is_refused_and_nothing_of_it_is_booked() {
    let (group, ledger) = paying();
    let good = batch(1, vec![of("acme", 1, 10)]);
    let with = |more: OpenCalls| batch(1, vec![of("acme", 1, 10), more]);
    let many = (0..257).map(|at| of(&format!("org-{at}"), 1, 1)).collect();
    for (what, bad) in [
        ("version", OpenCallsRequest { version: VERSION - 1, ..good.clone() }),
        ("gateway", OpenCallsRequest { gateway: String::new(), ..good.clone() }),
        ("short epoch", OpenCallsRequest { epoch: "ab".to_owned(), ..good.clone() }),
        ("upper epoch", OpenCallsRequest { epoch: "AB".repeat(16), ..good.clone() }),
        ("number", batch(0, vec![of("acme", 1, 10)])),
        ("nobody", batch(1, vec![])),
        ("too many", batch(1, many)),
        ("org", with(of("two words", 1, 10))),
        ("twice", with(of("acme", 2, 20))),
        ("no call", with(of("other", 0, 10))),
        ("no money", with(of("other", 1, 0))),
    ] {
        assert!(group.sidecar.book_open_calls(bad).await.is_err(), "{what}");
    }
    assert_eq!(rows(&ledger, "acme").await, []);
    assert!(metric(&group, "kt_open_reports_total{result=\"refused\"} 11"));
    group.sidecar.book_open_calls(good.clone()).await.unwrap();
    // The same name with other content is nobody's batch: it is not taken for the one that is booked.
    let other = batch(1, vec![of("acme", 2, 20)]);
    assert!(group.sidecar.book_open_calls(other).await.is_err());
    assert_eq!(rows(&ledger, "acme").await.len(), 1);
}

#[tokio::test]
async fn a_batch_may_be_of_as_many_organizations_as_a_gateway_counts() {
    let (group, ledger) = paying();
    let all = (0..OPEN_ORGS_MAX).map(|at| of(&format!("org-{at}"), 1, 1)).collect();
    group.sidecar.book_open_calls(batch(1, all)).await.unwrap();
    assert_eq!(rows(&ledger, &format!("org-{}", OPEN_ORGS_MAX - 1)).await.len(), 1);
}

#[tokio::test]
async fn what_is_refused_of_one_organization_keeps_no_other_from_being_booked() {
    let (group, ledger) = paying();
    group.sidecar.book_open_calls(batch(1, vec![of("acme", 1, 10)])).await.unwrap();
    let told = batch(1, vec![of("acme", 2, 20), of("other", 1, 10)]);
    assert!(group.sidecar.book_open_calls(told).await.is_err());
    assert_eq!((rows(&ledger, "acme").await.len(), rows(&ledger, "other").await.len()), (1, 1));
}

#[tokio::test]
async fn a_sidecar_that_drains_books_and_says_nothing_that_would_free_a_cap() {
    let (group, ledger) = paying();
    group.sidecar.drained().await;
    for _ in 0..2 {
        let told = batch(1, vec![of("acme", 1, 10)]);
        assert!(group.sidecar.book_open_calls(told).await.is_err());
    }
    assert_eq!(rows(&ledger, "acme").await.len(), 1);
}

#[tokio::test]
async fn without_a_ledger_nothing_is_said_to_be_booked() {
    let group = group_of(settings_with(""), Clock::start(), None);
    assert!(group.sidecar.book_open_calls(batch(1, vec![of("acme", 1, 10)])).await.is_err());
}
