//! The store of entries in memory: the suite of all stores, and what no other one promises, with times to the
//! millisecond and bounds on everything.

use std::time::Duration;

use kt_contract::time::Millis;
use sidecar_cache::clock::Clock;
use sidecar_cache::store::memory::MemoryEntries;
use sidecar_cache::store::{Bounds, EntryStore, Lifetime, Lookup};
use tokio::time::advance;

use crate::entry_suite::{BOUNDS, LONG, at, fill, fill_of, found};

crate::entry_store_suite! {
    memory {
        test: tokio::test(start_paused = true),
        open: |bounds| async move {
            sidecar_cache::store::memory::MemoryEntries::new(
                sidecar_cache::clock::Clock::start(),
                bounds,
            )
        },
        wait: tokio::time::advance,
    }
}

fn memory() -> MemoryEntries {
    MemoryEntries::new(Clock::start(), BOUNDS)
}

#[tokio::test(start_paused = true)]
async fn an_entry_expires_to_the_millisecond() {
    let store = memory();
    fill(&store, at(1, 1), b"a".to_vec(), Millis(1_000)).await;
    advance(Duration::from_millis(999)).await;
    assert!(found(&store, at(1, 1)).await.is_some());
    advance(Duration::from_millis(1)).await;
    assert_eq!(store.lookup(at(1, 1)).await.unwrap(), Lookup::Expired);
}

#[tokio::test(start_paused = true)]
async fn an_entry_is_stale_to_the_millisecond() {
    let store = memory();
    let lifetime = Lifetime { fresh: Millis(1_000), stale: Millis(500) };
    fill_of("acme", &store, at(1, 1), b"a".to_vec(), lifetime).await;
    for (millis, fresh, stale) in [(999, 1, 0), (1, 0, 0), (499, 0, 499)] {
        advance(Duration::from_millis(millis)).await;
        let found = found(&store, at(1, 1)).await.unwrap();
        assert_eq!((found.fresh, found.stale), (Millis(fresh), Millis(stale)));
    }
    advance(Duration::from_millis(1)).await;
    assert_eq!(store.lookup(at(1, 1)).await.unwrap(), Lookup::Expired);
}

#[tokio::test(start_paused = true)]
async fn a_peek_changes_nothing() {
    let store = memory();
    fill(&store, at(1, 1), b"short".to_vec(), Millis(1_000)).await;
    for key in 2..=4 {
        fill(&store, at(key, key), b"a".to_vec(), LONG).await;
    }
    let peeked = store.peek(at(1, 1)).await.unwrap();
    assert_eq!(peeked, store.peek(at(1, 1)).await.unwrap());
    assert!(matches!(peeked, Lookup::Found(found) if found.bytes == "short"));
    store.peek(at(2, 2)).await.unwrap();
    advance(Duration::from_millis(1_000)).await;
    assert_eq!(store.peek(at(1, 1)).await.unwrap(), Lookup::Expired);
    assert_eq!((store.held().entries, store.held().expired), (4, 0), "it is still there");
    assert_eq!(store.lookup(at(1, 1)).await.unwrap(), Lookup::Expired);
    for key in 5..=6 {
        fill(&store, at(key, key), b"a".to_vec(), LONG).await;
    }
    assert!(found(&store, at(2, 2)).await.is_none(), "a peek was no use of it");
}

#[tokio::test(start_paused = true)]
async fn an_organization_that_holds_little_is_left_in_peace() {
    let store = memory();
    let long = Lifetime { fresh: LONG, stale: Millis(0) };
    for bounds in [
        Bounds { entries_max: 99, bytes_max: 200, org_bytes_max: 200 },
        Bounds { entries_max: 4, bytes_max: 1 << 20, org_bytes_max: 1 << 20 },
    ] {
        store.bound(bounds).await.unwrap();
        fill_of("quiet", &store, at(1, 1), vec![0; 50], long).await;
        for key in 10..60 {
            fill_of("noisy", &store, at(key, key), vec![0; 50], long).await;
            assert!(found(&store, at(59, 59)).await.is_none() || key == 59);
        }
        // Not used for the longest time, and still there.
        assert!(found(&store, at(1, 1)).await.is_some(), "{bounds:?}");
        assert!(found(&store, at(59, 59)).await.is_some(), "{bounds:?}");
        store.purge_org("noisy".to_owned()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn bounds_hold_whatever_is_filled() {
    let store = memory();
    for key in 0..20 {
        fill(&store, at(key, key), vec![0; 1 << 20], LONG).await;
        assert!(store.held().entries <= BOUNDS.entries_max);
    }
    assert!(found(&store, at(19, 19)).await.is_some(), "the newest is there");
    store.bound(Bounds { bytes_max: 2 << 20, ..BOUNDS }).await.unwrap();
    assert!(store.held().bytes <= 2 << 20);
}

#[tokio::test(start_paused = true)]
async fn what_is_held_is_counted() {
    let store = memory();
    for key in 0..6 {
        fill(&store, at(key, 0), vec![0; 10], LONG).await;
    }
    let held = store.held();
    assert_eq!((held.entries, held.bytes, held.evicted), (4, 40, 2));
}

#[tokio::test(start_paused = true)]
async fn the_same_bytes_filled_again_are_another_entry() {
    let store = memory();
    fill(&store, at(1, 1), b"same".to_vec(), LONG).await;
    let old = found(&store, at(1, 1)).await.unwrap().bytes;
    fill(&store, at(1, 1), b"same".to_vec(), LONG).await;
    assert!(!store.purge(at(1, 1).key, Some(old)).await.unwrap());
    let new = found(&store, at(1, 1)).await.unwrap().bytes;
    assert!(store.purge(at(1, 1).key, Some(new)).await.unwrap());
    assert!(found(&store, at(1, 1)).await.is_none());
}
