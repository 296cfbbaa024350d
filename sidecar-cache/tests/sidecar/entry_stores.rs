//! One suite for every entry store: a failure reads `memory::an_expired_entry_is_not_found`.

use std::time::Duration;

use kt_contract::hex::Digest;
use kt_contract::key::CacheKey;
use kt_contract::time::Millis;
use sidecar_cache::clock::Clock;
use sidecar_cache::store::memory::MemoryEntries;
use sidecar_cache::store::{
    Address, Bounds, EntryStore, Found, Lifetime, Lookup, NewEntry, OrgHeld,
};

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
                a_stale_entry_is_found_and_says_so
                a_purged_entry_is_absent
                what_was_filled_since_is_not_purged
                an_organization_is_purged_alone
                a_peek_changes_nothing
                an_organization_beyond_its_bound_evicts_its_own
                an_organization_that_holds_little_is_left_in_peace
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

const BOUNDS: Bounds = Bounds { entries_max: 4, bytes_max: 40 << 20, org_bytes_max: 40 << 20 };
const LONG: Millis = Millis(60_000);

fn at(key: u8, request: u8) -> Address {
    Address { key: CacheKey(Digest([key; 32])), request: Digest([request; 32]) }
}

async fn fill(store: &impl EntryStore, at: Address, bytes: Vec<u8>, fresh: Millis) {
    fill_of("acme", store, at, bytes, Lifetime { fresh, stale: Millis(0) }).await;
}

async fn fill_of(
    org: &str,
    store: &impl EntryStore,
    at: Address,
    bytes: Vec<u8>,
    lifetime: Lifetime,
) {
    store.fill(NewEntry { at, org: org.to_owned(), bytes, lifetime }).await.unwrap();
}

async fn found(store: &impl EntryStore, at: Address) -> Option<Found> {
    match store.lookup(at).await.unwrap() {
        Lookup::Found(found) => Some(found),
        Lookup::Expired | Lookup::Absent => None,
    }
}

async fn what_is_filled_is_found<W: Future>(store: impl EntryStore, wait: impl Fn(Duration) -> W) {
    fill(&store, at(1, 1), b"a".to_vec(), LONG).await;
    wait(Duration::from_secs(10)).await;
    let found = found(&store, at(1, 1)).await.unwrap();
    assert_eq!(found.bytes, "a");
    assert_eq!((found.age, found.fresh), (Millis(10_000), Millis(50_000)));
}

async fn what_is_not_there_is_absent<W: Future>(store: impl EntryStore, _: impl Fn(Duration) -> W) {
    fill(&store, at(1, 1), b"a".to_vec(), LONG).await;
    assert_eq!(store.lookup(at(2, 1)).await.unwrap(), Lookup::Absent);
}

async fn an_expired_entry_is_not_found<W: Future>(
    store: impl EntryStore,
    wait: impl Fn(Duration) -> W,
) {
    fill(&store, at(1, 1), b"a".to_vec(), Millis(1_000)).await;
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
    fill(&store, at(1, 1), b"a".to_vec(), Millis(1_000)).await;
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
    fill(&store, at(1, 1), b"old".to_vec(), Millis(1_000)).await;
    fill(&store, at(1, 1), b"new".to_vec(), LONG).await;
    wait(Duration::from_secs(2)).await;
    assert_eq!(found(&store, at(1, 1)).await.unwrap().bytes, "new");
    assert_eq!(store.near(at(1, 1).request, 9).await.unwrap(), ["new"]);
}

async fn a_stale_entry_is_found_and_says_so<W: Future>(
    store: impl EntryStore,
    wait: impl Fn(Duration) -> W,
) {
    let lifetime = Lifetime { fresh: Millis(1_000), stale: Millis(500) };
    fill_of("acme", &store, at(1, 1), b"a".to_vec(), lifetime).await;
    for (millis, fresh, stale) in [(999, 1, 0), (1, 0, 0), (499, 0, 499)] {
        wait(Duration::from_millis(millis)).await;
        let found = found(&store, at(1, 1)).await.unwrap();
        assert_eq!((found.fresh, found.stale), (Millis(fresh), Millis(stale)));
    }
    assert_eq!(store.near(at(1, 1).request, 9).await.unwrap().len(), 0, "near ones are fresh");
    wait(Duration::from_millis(1)).await;
    assert_eq!(store.lookup(at(1, 1)).await.unwrap(), Lookup::Expired);
}

async fn what_was_filled_since_is_not_purged<W: Future>(
    store: impl EntryStore,
    _: impl Fn(Duration) -> W,
) {
    fill(&store, at(1, 1), b"same".to_vec(), LONG).await;
    let old = found(&store, at(1, 1)).await.unwrap().bytes;
    fill(&store, at(1, 1), b"same".to_vec(), LONG).await;
    assert!(!store.purge(at(1, 1).key, Some(old)).await.unwrap());
    let new = found(&store, at(1, 1)).await.unwrap().bytes;
    assert!(store.purge(at(1, 1).key, Some(new)).await.unwrap());
    assert!(found(&store, at(1, 1)).await.is_none());
}

async fn an_organization_is_purged_alone<W: Future>(
    store: impl EntryStore,
    _: impl Fn(Duration) -> W,
) {
    let long = Lifetime { fresh: LONG, stale: Millis(0) };
    for (key, org) in [(1, "acme"), (2, "globex"), (3, "acme")] {
        fill_of(org, &store, at(key, key), vec![0; 10], long).await;
    }
    let of = |org: &str, entries, bytes| OrgHeld { org: org.to_owned(), entries, bytes };
    assert_eq!(store.held_by_org(), [of("acme", 2, 20), of("globex", 1, 10)]);
    assert_eq!(store.purge_org("acme".to_owned()).await.unwrap(), 2);
    assert_eq!(store.purge_org("acme".to_owned()).await.unwrap(), 0);
    assert!(found(&store, at(2, 2)).await.is_some());
    assert_eq!(store.held_by_org(), [of("globex", 1, 10)]);
}

async fn a_peek_changes_nothing<W: Future>(store: impl EntryStore, wait: impl Fn(Duration) -> W) {
    fill(&store, at(1, 1), b"short".to_vec(), Millis(1_000)).await;
    for key in 2..=4 {
        fill(&store, at(key, key), b"a".to_vec(), LONG).await;
    }
    let peeked = store.peek(at(1, 1)).await.unwrap();
    assert_eq!(peeked, store.peek(at(1, 1)).await.unwrap());
    assert!(matches!(peeked, Lookup::Found(found) if found.bytes == "short"));
    store.peek(at(2, 2)).await.unwrap();
    wait(Duration::from_millis(1_000)).await;
    assert_eq!(store.peek(at(1, 1)).await.unwrap(), Lookup::Expired);
    assert_eq!((store.held().entries, store.held().expired), (4, 0), "it is still there");
    assert_eq!(store.lookup(at(1, 1)).await.unwrap(), Lookup::Expired);
    for key in 5..=6 {
        fill(&store, at(key, key), b"a".to_vec(), LONG).await;
    }
    assert!(found(&store, at(2, 2)).await.is_none(), "a peek was no use of it");
}

async fn an_organization_beyond_its_bound_evicts_its_own<W: Future>(
    store: impl EntryStore,
    _: impl Fn(Duration) -> W,
) {
    let bounds = Bounds { entries_max: 99, bytes_max: 1_000, org_bytes_max: 100 };
    store.bound(bounds).await.unwrap();
    let long = Lifetime { fresh: LONG, stale: Millis(0) };
    fill_of("quiet", &store, at(1, 1), vec![0; 90], long).await;
    for key in 10..60 {
        fill_of("noisy", &store, at(key, key), vec![0; 30], long).await;
    }
    fill_of("noisy", &store, at(60, 60), vec![0; 101], long).await;
    assert!(found(&store, at(1, 1)).await.is_some());
    for (key, is_there) in [(56, false), (57, true), (58, true), (59, true), (60, false)] {
        assert_eq!(found(&store, at(key, key)).await.is_some(), is_there, "{key}");
    }
}

async fn an_organization_that_holds_little_is_left_in_peace<W: Future>(
    store: impl EntryStore,
    _: impl Fn(Duration) -> W,
) {
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

async fn a_purged_entry_is_absent<W: Future>(store: impl EntryStore, _: impl Fn(Duration) -> W) {
    fill(&store, at(1, 1), b"a".to_vec(), LONG).await;
    assert!(store.purge(at(1, 1).key, None).await.unwrap());
    assert!(!store.purge(at(1, 1).key, None).await.unwrap());
    assert_eq!(store.lookup(at(1, 1)).await.unwrap(), Lookup::Absent);
    assert_eq!(store.near(at(1, 1).request, 9).await.unwrap().len(), 0);
}

async fn near_entries_share_the_request_and_are_fresh<W: Future>(
    store: impl EntryStore,
    wait: impl Fn(Duration) -> W,
) {
    fill(&store, at(1, 1), b"short".to_vec(), Millis(1_000)).await;
    fill(&store, at(2, 1), b"older".to_vec(), LONG).await;
    fill(&store, at(3, 2), b"other".to_vec(), LONG).await;
    fill(&store, at(4, 1), b"newer".to_vec(), LONG).await;
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
        fill(&store, at(key, key), vec![0; 1 << 20], LONG).await;
        assert!(store.held().entries <= BOUNDS.entries_max);
    }
    assert!(found(&store, at(19, 19)).await.is_some(), "the newest is there");
    store.bound(Bounds { bytes_max: 2 << 20, ..BOUNDS }).await.unwrap();
    assert!(store.held().bytes <= 2 << 20);
}

async fn what_is_held_is_counted<W: Future>(store: impl EntryStore, _: impl Fn(Duration) -> W) {
    for key in 0..6 {
        fill(&store, at(key, 0), vec![0; 10], LONG).await;
    }
    let held = store.held();
    assert_eq!((held.entries, held.bytes, held.evicted), (4, 40, 2));
}

async fn an_entry_may_be_large<W: Future>(store: impl EntryStore, _: impl Fn(Duration) -> W) {
    let large: Vec<u8> = (0..9 << 20).map(|at| u8::try_from(at % 251).unwrap()).collect();
    fill(&store, at(1, 1), large.clone(), LONG).await;
    assert!(found(&store, at(1, 1)).await.unwrap().bytes == large);
}
