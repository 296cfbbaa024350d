//! One suite for every entry store: a failure reads `memory::an_expired_entry_is_not_found`.

use std::time::Duration;

use kt_contract::hex::Digest;
use kt_contract::key::CacheKey;
use kt_contract::time::Millis;
use sidecar_cache::clock::Clock;
use sidecar_cache::store::memory::MemoryEntries;
use sidecar_cache::store::{Address, Bounds, EntryStore, Found, Lookup};

/// Stamps the suite over a store: a way to open an empty one, and a way to let its clock go on.
macro_rules! entry_store_suite {
    ($($name:ident { open: $open:expr, wait: $wait:expr, })*) => {$(
        mod $name {
            entry_store_suite! { @tests $open, $wait,
                what_is_filled_is_found
                what_is_not_there_is_absent
                an_expired_entry_is_not_found
                a_lookup_does_not_lengthen_a_life
                a_fill_replaces_what_was_there
                a_purged_entry_is_absent
                near_entries_share_the_request_and_are_fresh
                bounds_hold_whatever_is_filled
                what_is_held_is_counted
                an_entry_may_be_large
            }
        }
    )*};
    (@tests $open:expr, $wait:expr, $($test:ident)*) => {$(
        #[tokio::test(start_paused = true)]
        async fn $test() {
            super::$test($open(super::BOUNDS).await, $wait).await;
        }
    )*};
}

entry_store_suite! {
    memory {
        open: |bounds| async move { super::MemoryEntries::new(super::Clock::start(), bounds) },
        wait: tokio::time::advance,
    }
}

const BOUNDS: Bounds = Bounds { entries_max: 4, bytes_max: 40 << 20 };
const LONG: Millis = Millis(60_000);

fn at(key: u8, request: u8) -> Address {
    Address { key: CacheKey(Digest([key; 32])), request: Digest([request; 32]) }
}

async fn found(store: &impl EntryStore, at: Address) -> Option<Found> {
    match store.lookup(at).await.unwrap() {
        Lookup::Found(found) => Some(found),
        Lookup::Expired | Lookup::Absent => None,
    }
}

async fn what_is_filled_is_found<W: Future>(store: impl EntryStore, wait: impl Fn(Duration) -> W) {
    store.fill(at(1, 1), b"a".to_vec(), LONG).await.unwrap();
    wait(Duration::from_secs(10)).await;
    let found = found(&store, at(1, 1)).await.unwrap();
    assert_eq!(found.bytes, "a");
    assert_eq!((found.age, found.fresh), (Millis(10_000), Millis(50_000)));
}

async fn what_is_not_there_is_absent<W: Future>(store: impl EntryStore, _: impl Fn(Duration) -> W) {
    store.fill(at(1, 1), b"a".to_vec(), LONG).await.unwrap();
    assert_eq!(store.lookup(at(2, 1)).await.unwrap(), Lookup::Absent);
}

async fn an_expired_entry_is_not_found<W: Future>(
    store: impl EntryStore,
    wait: impl Fn(Duration) -> W,
) {
    store.fill(at(1, 1), b"a".to_vec(), Millis(1_000)).await.unwrap();
    wait(Duration::from_millis(999)).await;
    assert!(found(&store, at(1, 1)).await.is_some());
    wait(Duration::from_millis(1)).await;
    assert!(found(&store, at(1, 1)).await.is_none());
    assert_eq!(store.near(at(1, 1).request, 9).await.unwrap().len(), 0);
}

async fn a_lookup_does_not_lengthen_a_life<W: Future>(
    store: impl EntryStore,
    wait: impl Fn(Duration) -> W,
) {
    store.fill(at(1, 1), b"a".to_vec(), Millis(1_000)).await.unwrap();
    for _ in 0..9 {
        wait(Duration::from_millis(100)).await;
        assert!(found(&store, at(1, 1)).await.is_some());
    }
    wait(Duration::from_millis(100)).await;
    assert!(found(&store, at(1, 1)).await.is_none());
}

async fn a_fill_replaces_what_was_there<W: Future>(
    store: impl EntryStore,
    wait: impl Fn(Duration) -> W,
) {
    store.fill(at(1, 1), b"old".to_vec(), Millis(1_000)).await.unwrap();
    store.fill(at(1, 1), b"new".to_vec(), LONG).await.unwrap();
    wait(Duration::from_secs(2)).await;
    assert_eq!(found(&store, at(1, 1)).await.unwrap().bytes, "new");
    assert_eq!(store.near(at(1, 1).request, 9).await.unwrap(), ["new"]);
}

async fn a_purged_entry_is_absent<W: Future>(store: impl EntryStore, _: impl Fn(Duration) -> W) {
    store.fill(at(1, 1), b"a".to_vec(), LONG).await.unwrap();
    store.purge(at(1, 1)).await.unwrap();
    store.purge(at(1, 1)).await.unwrap();
    assert_eq!(store.lookup(at(1, 1)).await.unwrap(), Lookup::Absent);
    assert_eq!(store.near(at(1, 1).request, 9).await.unwrap().len(), 0);
}

async fn near_entries_share_the_request_and_are_fresh<W: Future>(
    store: impl EntryStore,
    wait: impl Fn(Duration) -> W,
) {
    store.fill(at(1, 1), b"short".to_vec(), Millis(1_000)).await.unwrap();
    store.fill(at(2, 1), b"older".to_vec(), LONG).await.unwrap();
    store.fill(at(3, 2), b"other".to_vec(), LONG).await.unwrap();
    store.fill(at(4, 1), b"newer".to_vec(), LONG).await.unwrap();
    wait(Duration::from_secs(2)).await;
    assert_eq!(store.near(Digest([1; 32]), 9).await.unwrap(), ["newer", "older"]);
    assert_eq!(store.near(Digest([1; 32]), 1).await.unwrap(), ["newer"]);
    assert_eq!(store.near(Digest([9; 32]), 9).await.unwrap().len(), 0);
}

async fn bounds_hold_whatever_is_filled<W: Future>(
    store: impl EntryStore,
    _: impl Fn(Duration) -> W,
) {
    for key in 0..20 {
        store.fill(at(key, key), vec![0; 1 << 20], LONG).await.unwrap();
        assert!(store.held().entries <= BOUNDS.entries_max);
    }
    assert!(found(&store, at(19, 19)).await.is_some(), "the newest is there");
    store.bound(Bounds { entries_max: 4, bytes_max: 2 << 20 }).await.unwrap();
    assert!(store.held().bytes <= 2 << 20);
}

async fn what_is_held_is_counted<W: Future>(store: impl EntryStore, _: impl Fn(Duration) -> W) {
    for key in 0..6 {
        store.fill(at(key, 0), vec![0; 10], LONG).await.unwrap();
    }
    let held = store.held();
    assert_eq!((held.entries, held.bytes, held.evicted), (4, 40, 2));
}

async fn an_entry_may_be_large<W: Future>(store: impl EntryStore, _: impl Fn(Duration) -> W) {
    let large: Vec<u8> = (0..9 << 20).map(|at| u8::try_from(at % 251).unwrap()).collect();
    store.fill(at(1, 1), large.clone(), LONG).await.unwrap();
    assert!(found(&store, at(1, 1)).await.unwrap().bytes == large);
}
