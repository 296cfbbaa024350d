//! What every store of the audit log does, wherever it keeps it. Each test gets a way to open one, again after a
//! restart.

use std::collections::BTreeMap;
use std::sync::Arc;

use kt_contract::time::UnixMillis;
use sidecar_cache::audit_log::{Access, Event, Fact, Outcome, Record, Verified, verify};
use sidecar_cache::store::audit_log::{AuditStore, Expiry};

pub(crate) fn fact(org: &str, number: u64) -> Fact {
    let access = Access {
        request_id: format!("{number:032x}"),
        gateway: "gw-\0ä".to_owned(),
        key_id: Some("gk_1".to_owned()),
        outcome: Some(Outcome::Miss),
        status: 200,
        times: 1,
        ..Access::default()
    };
    Fact::access(org.to_owned(), UnixMillis(number * 1_000), access)
}

/// Verifies a chain as it is in the store.
pub(crate) async fn verified(store: &impl AuditStore, org: &str) -> Verified {
    let chain = store.chain(org.to_owned()).await.unwrap().unwrap();
    let links = store.read(org.to_owned(), 0, usize::MAX).await.unwrap();
    verify(chain, BTreeMap::new(), links).unwrap()
}

/// The numbers of the requests that are on record, in their order.
pub(crate) async fn numbers(store: &impl AuditStore, org: &str) -> Vec<u64> {
    let links = store.read(org.to_owned(), 0, usize::MAX).await.unwrap();
    let facts = links.iter().map(|link| Record::from_bytes(&link.bytes).unwrap().fact);
    facts
        .filter_map(|fact| match fact.event {
            Event::Access(access) => u64::from_str_radix(&access.request_id, 16).ok(),
            Event::Checkpoint(_) => None,
        })
        .collect()
}

fn expiry(org: &str, before: u64, count_max: usize) -> Expiry {
    let (before, now) = (UnixMillis(before), UnixMillis(1_000_000));
    Expiry { org: org.to_owned(), before, now, count_max }
}

pub(crate) async fn every_organization_has_a_chain_of_its_own<S: AuditStore>(
    open: impl AsyncFn() -> S,
) {
    let store = open().await;
    assert_eq!(store.chains().await.unwrap(), []);
    assert_eq!(store.chain("acme".to_owned()).await.unwrap(), None);
    store.append(vec![]).await.unwrap();
    let group = vec![fact("umbrella", 1), fact("acme", 2), fact("", 3), fact("acme", 4)];
    store.append(group).await.unwrap();
    store.append(vec![fact("acme", 5)]).await.unwrap();
    let chains = store.chains().await.unwrap();
    let heads: Vec<_> = chains.iter().map(|chain| (chain.org.as_str(), chain.head.seq)).collect();
    assert_eq!(heads, [("", 1), ("acme", 3), ("umbrella", 1)]);
    for (org, expected) in [("", &[3][..]), ("acme", &[2, 4, 5]), ("umbrella", &[1])] {
        assert_eq!(numbers(&store, org).await, expected, "{org}");
        assert_eq!(verified(&store, org).await.records, expected.len() as u64, "{org}");
    }
    let page = store.read("acme".to_owned(), 1, 1).await.unwrap();
    assert_eq!(page.iter().map(|link| link.seq).collect::<Vec<_>>(), [2]);
}

pub(crate) async fn what_is_put_on_record_survives_a_restart<S: AuditStore>(
    open: impl AsyncFn() -> S,
) {
    let store = open().await;
    store.append((1..=3).map(|number| fact("acme", number)).collect()).await.unwrap();
    let before = store.chains().await.unwrap();
    drop(store);
    let store = open().await;
    assert_eq!(store.chains().await.unwrap(), before);
    store.append(vec![fact("acme", 4)]).await.unwrap();
    assert_eq!(numbers(&store, "acme").await, [1, 2, 3, 4]);
    assert_eq!(verified(&store, "acme").await.head.seq, 4);
}

pub(crate) async fn many_at_once_leave_no_gap<S: AuditStore + 'static>(open: impl AsyncFn() -> S) {
    let store = Arc::new(open().await);
    let tasks: Vec<_> = (0..32)
        .map(|number| {
            let store = Arc::clone(&store);
            let orgs = if number % 2 == 0 { ["acme", "umbrella"] } else { ["umbrella", "acme"] };
            tokio::spawn(async move {
                let group = orgs.map(|org| fact(org, number)).to_vec();
                store.append(group).await.unwrap();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    for org in ["acme", "umbrella"] {
        let mut found = numbers(&*store, org).await;
        found.sort_unstable();
        assert_eq!(found, (0..32).collect::<Vec<_>>(), "{org}");
        assert_eq!(verified(&*store, org).await.records, 32, "{org}");
    }
}

pub(crate) async fn retention_removes_the_oldest_and_says_so<S: AuditStore>(
    open: impl AsyncFn() -> S,
) {
    let store = open().await;
    let mut group: Vec<_> = (1..=6).map(|number| fact("acme", number)).collect();
    // A clock that was set back: what is behind a younger record stays for as long as that.
    group.swap(4, 5);
    group.push(fact("umbrella", 1));
    store.append(group).await.unwrap();
    assert_eq!(store.expire(expiry("acme", 1_000, 9)).await.unwrap(), 0, "none is older");
    assert_eq!(store.expire(expiry("nobody", 9_000, 9)).await.unwrap(), 0);
    assert_eq!(store.expire(expiry("acme", 4_000, 2)).await.unwrap(), 2, "no more than that");
    assert_eq!(numbers(&store, "acme").await, [3, 4, 6, 5]);
    assert_eq!(store.expire(expiry("acme", 6_000, 9)).await.unwrap(), 2);
    assert_eq!(numbers(&store, "acme").await, [6, 5]);
    let found = verified(&store, "acme").await;
    // Two requests, and two records that say what was removed.
    assert_eq!((found.records, found.removed_through, found.head.seq), (4, 4, 8));
    assert_eq!(numbers(&store, "umbrella").await, [1]);
    store.append(vec![fact("acme", 7)]).await.unwrap();
    assert_eq!(verified(&store, "acme").await.head.seq, 9);
}

pub(crate) async fn a_chain_whose_records_are_all_too_old_goes_on<S: AuditStore>(
    open: impl AsyncFn() -> S,
) {
    let store = open().await;
    store.append(vec![fact("acme", 1), fact("acme", 2)]).await.unwrap();
    assert_eq!(store.expire(expiry("acme", 9_000, 9)).await.unwrap(), 2);
    let found = verified(&store, "acme").await;
    assert_eq!((found.records, found.removed_through, found.head.seq), (1, 2, 3));
    store.append(vec![fact("acme", 3)]).await.unwrap();
    assert_eq!(verified(&store, "acme").await.head.seq, 4);
}
