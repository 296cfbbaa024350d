//! One suite for every entry store, wherever its clock is: a failure reads
//! `memory::an_expired_entry_is_not_found`. What only a store in memory promises (bounds on everything, the order
//! of eviction, times to the millisecond) is tested beside the stamp of that store.

use std::time::Duration;

use kt_contract::hex::Digest;
use kt_contract::key::CacheKey;
use kt_contract::time::Millis;
use sidecar_cache::store::{
    Address, Bounds, EntryStore, Found, Lifetime, Lookup, NewEntry, OrgHeld,
};

/// Stamps the suite over a store: how a test runs, a way to open an empty store, and a way to let its clock go
/// on by at least so long.
#[macro_export]
macro_rules! entry_store_suite {
    ($name:ident { test: $attribute:meta, open: $open:expr, wait: $wait:expr, }) => {
        mod $name {
            $crate::entry_store_suite! { @tests $attribute, $open, $wait,
                what_is_filled_is_found
                what_is_not_there_is_absent
                an_expired_entry_is_not_found
                a_lookup_does_not_lengthen_a_life
                a_fill_replaces_what_was_there
                a_stale_entry_is_found_and_says_so
                what_has_no_lifetime_is_not_kept
                a_purged_entry_is_absent
                what_was_filled_since_is_not_purged
                an_organization_is_purged_alone
                what_an_organization_holds_is_counted_as_it_changes
                a_peek_finds_what_a_lookup_does
                an_organization_beyond_its_bound_evicts_its_own
                near_entries_share_the_request_and_are_fresh
                near_entries_are_found_past_many_that_have_gone
                an_entry_may_be_large
                an_entry_is_any_bytes
            }
        }
    };
    (@tests $attribute:meta, $open:expr, $wait:expr, $($test:ident)*) => {$(
        #[$attribute]
        async fn $test() {
            $crate::entry_suite::$test($open($crate::entry_suite::BOUNDS).await, $wait).await;
        }
    )*};
}

pub(crate) const BOUNDS: Bounds =
    Bounds { entries_max: 4, bytes_max: 40 << 20, org_bytes_max: 40 << 20 };
pub(crate) const LONG: Millis = Millis(60_000);

pub(crate) fn at(key: u8, request: u8) -> Address {
    Address { key: CacheKey(Digest([key; 32])), request: Digest([request; 32]) }
}

pub(crate) async fn fill(store: &impl EntryStore, at: Address, bytes: Vec<u8>, fresh: Millis) {
    fill_of("acme", store, at, bytes, Lifetime { fresh, stale: Millis(0) }).await;
}

pub(crate) async fn fill_of(
    org: &str,
    store: &impl EntryStore,
    at: Address,
    bytes: Vec<u8>,
    lifetime: Lifetime,
) {
    store.fill(NewEntry { at, org: org.to_owned(), bytes, lifetime }).await.unwrap();
}

pub(crate) async fn found(store: &impl EntryStore, at: Address) -> Option<Found> {
    match store.lookup(at).await.unwrap() {
        Lookup::Found(found) => Some(found),
        Lookup::Expired | Lookup::Absent => None,
    }
}

pub(crate) async fn what_is_filled_is_found<W: Future>(
    store: impl EntryStore,
    wait: impl Fn(Duration) -> W,
) {
    fill(&store, at(1, 1), b"a".to_vec(), LONG).await;
    wait(Duration::from_secs(1)).await;
    let found = found(&store, at(1, 1)).await.unwrap();
    assert_eq!(found.bytes, "a");
    assert!(found.age >= Millis(1_000), "{:?}", found.age);
    assert_eq!(found.age.0 + found.fresh.0, LONG.0);
    assert_eq!(found.stale, Millis(0));
}

pub(crate) async fn what_is_not_there_is_absent<W: Future>(
    store: impl EntryStore,
    _: impl Fn(Duration) -> W,
) {
    fill(&store, at(1, 1), b"a".to_vec(), LONG).await;
    assert_eq!(store.lookup(at(2, 1)).await.unwrap(), Lookup::Absent);
}

pub(crate) async fn an_expired_entry_is_not_found<W: Future>(
    store: impl EntryStore,
    wait: impl Fn(Duration) -> W,
) {
    fill(&store, at(1, 1), b"a".to_vec(), Millis(1_000)).await;
    assert!(found(&store, at(1, 1)).await.is_some());
    wait(Duration::from_millis(1_000)).await;
    assert!(found(&store, at(1, 1)).await.is_none());
    assert_eq!(store.near(at(1, 1).request, 9).await.unwrap().len(), 0);
}

pub(crate) async fn a_lookup_does_not_lengthen_a_life<W: Future>(
    store: impl EntryStore,
    wait: impl Fn(Duration) -> W,
) {
    fill(&store, at(1, 1), b"a".to_vec(), Millis(4_000)).await;
    for _ in 0..5 {
        wait(Duration::from_millis(100)).await;
        assert!(found(&store, at(1, 1)).await.is_some());
    }
    wait(Duration::from_millis(4_000)).await;
    assert!(found(&store, at(1, 1)).await.is_none());
}

pub(crate) async fn a_fill_replaces_what_was_there<W: Future>(
    store: impl EntryStore,
    wait: impl Fn(Duration) -> W,
) {
    fill(&store, at(1, 1), b"old".to_vec(), Millis(500)).await;
    fill(&store, at(1, 1), b"new".to_vec(), LONG).await;
    wait(Duration::from_millis(600)).await;
    assert_eq!(found(&store, at(1, 1)).await.unwrap().bytes, "new");
    assert_eq!(store.near(at(1, 1).request, 9).await.unwrap(), ["new"]);
}

pub(crate) async fn a_stale_entry_is_found_and_says_so<W: Future>(
    store: impl EntryStore,
    wait: impl Fn(Duration) -> W,
) {
    let lifetime = Lifetime { fresh: Millis(1_000), stale: Millis(1_500) };
    fill_of("acme", &store, at(1, 1), b"a".to_vec(), lifetime).await;
    let fresh = found(&store, at(1, 1)).await.unwrap();
    assert!(fresh.fresh > Millis(0) && fresh.stale == Millis(0), "{fresh:?}");
    wait(Duration::from_millis(1_100)).await;
    let stale = found(&store, at(1, 1)).await.unwrap();
    assert!(stale.fresh == Millis(0) && stale.stale >= Millis(100), "{stale:?}");
    assert_eq!(stale.age.0 - stale.stale.0, 1_000);
    assert_eq!(store.near(at(1, 1).request, 9).await.unwrap().len(), 0, "near ones are fresh");
    wait(Duration::from_millis(1_400)).await;
    assert!(found(&store, at(1, 1)).await.is_none());
}

pub(crate) async fn what_has_no_lifetime_is_not_kept<W: Future>(
    store: impl EntryStore,
    _: impl Fn(Duration) -> W,
) {
    fill(&store, at(1, 1), b"old".to_vec(), LONG).await;
    fill(&store, at(1, 1), b"new".to_vec(), Millis(0)).await;
    assert!(found(&store, at(1, 1)).await.is_none());
}

pub(crate) async fn a_purged_entry_is_absent<W: Future>(
    store: impl EntryStore,
    _: impl Fn(Duration) -> W,
) {
    fill(&store, at(1, 1), b"a".to_vec(), LONG).await;
    assert!(store.purge(at(1, 1).key, None).await.unwrap());
    assert!(!store.purge(at(1, 1).key, None).await.unwrap());
    assert_eq!(store.lookup(at(1, 1)).await.unwrap(), Lookup::Absent);
    assert_eq!(store.near(at(1, 1).request, 9).await.unwrap().len(), 0);
}

pub(crate) async fn what_was_filled_since_is_not_purged<W: Future>(
    store: impl EntryStore,
    _: impl Fn(Duration) -> W,
) {
    fill(&store, at(1, 1), b"old".to_vec(), LONG).await;
    let old = found(&store, at(1, 1)).await.unwrap().bytes;
    fill(&store, at(1, 1), b"new".to_vec(), LONG).await;
    assert!(!store.purge(at(1, 1).key, Some(old)).await.unwrap());
    let new = found(&store, at(1, 1)).await.unwrap().bytes;
    assert!(store.purge(at(1, 1).key, Some(new)).await.unwrap());
    assert!(found(&store, at(1, 1)).await.is_none());
}

pub(crate) async fn an_organization_is_purged_alone<W: Future>(
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
    assert!(found(&store, at(1, 1)).await.is_none());
    assert!(found(&store, at(2, 2)).await.is_some());
    assert_eq!(store.held_by_org(), [of("globex", 1, 10)]);
}

pub(crate) async fn what_an_organization_holds_is_counted_as_it_changes<W: Future>(
    store: impl EntryStore,
    _: impl Fn(Duration) -> W,
) {
    let held = || store.held_by_org().iter().map(|org| (org.entries, org.bytes)).next();
    fill(&store, at(1, 1), vec![0; 10], LONG).await;
    assert_eq!(held(), Some((1, 10)));
    fill(&store, at(1, 1), vec![0; 30], LONG).await;
    assert_eq!(held(), Some((1, 30)), "replaced");
    fill(&store, at(2, 1), vec![0; 5], LONG).await;
    assert_eq!(held(), Some((2, 35)));
    store.purge(at(1, 1).key, None).await.unwrap();
    assert_eq!(held(), Some((1, 5)), "purged");
    assert_eq!((store.held().entries, store.held().bytes), (1, 5));
}

pub(crate) async fn a_peek_finds_what_a_lookup_does<W: Future>(
    store: impl EntryStore,
    _: impl Fn(Duration) -> W,
) {
    fill(&store, at(1, 1), b"a".to_vec(), LONG).await;
    assert!(
        matches!(store.peek(at(1, 1)).await.unwrap(), Lookup::Found(found) if found.bytes == "a")
    );
    assert_eq!(store.peek(at(2, 1)).await.unwrap(), Lookup::Absent);
}

pub(crate) async fn an_organization_beyond_its_bound_evicts_its_own<W: Future>(
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

pub(crate) async fn near_entries_share_the_request_and_are_fresh<W: Future>(
    store: impl EntryStore,
    wait: impl Fn(Duration) -> W,
) {
    fill(&store, at(1, 1), b"short".to_vec(), Millis(500)).await;
    fill(&store, at(2, 1), b"older".to_vec(), LONG).await;
    fill(&store, at(3, 2), b"other".to_vec(), LONG).await;
    fill(&store, at(4, 1), b"newer".to_vec(), LONG).await;
    wait(Duration::from_millis(600)).await;
    assert_eq!(store.near(Digest([1; 32]), 9).await.unwrap(), ["newer", "older"]);
    assert_eq!(store.near(Digest([1; 32]), 1).await.unwrap(), ["newer"]);
    assert_eq!(store.near(Digest([9; 32]), 9).await.unwrap().len(), 0);
}

pub(crate) async fn near_entries_are_found_past_many_that_have_gone<W: Future>(
    store: impl EntryStore,
    _: impl Fn(Duration) -> W,
) {
    store.bound(Bounds { entries_max: 99, ..BOUNDS }).await.unwrap();
    fill(&store, at(1, 1), b"there".to_vec(), LONG).await;
    for key in 2..50 {
        fill(&store, at(key, 1), b"gone".to_vec(), LONG).await;
        store.purge(at(key, 1).key, None).await.unwrap();
    }
    for _ in 0..2 {
        assert_eq!(store.near(Digest([1; 32]), 9).await.unwrap(), ["there"]);
    }
}

pub(crate) async fn an_entry_may_be_large<W: Future>(
    store: impl EntryStore,
    _: impl Fn(Duration) -> W,
) {
    let large: Vec<u8> = (0..9 << 20).map(|at| u8::try_from(at % 251).unwrap()).collect();
    fill(&store, at(1, 1), large.clone(), LONG).await;
    assert!(found(&store, at(1, 1)).await.unwrap().bytes == large);
}

pub(crate) async fn an_entry_is_any_bytes<W: Future>(
    store: impl EntryStore,
    _: impl Fn(Duration) -> W,
) {
    for bytes in [&b""[..], b"\r\n$-1\r\n", b"kts1", b"\0\xff\xfe"] {
        fill(&store, at(1, 1), bytes.to_vec(), LONG).await;
        let found = found(&store, at(1, 1)).await.unwrap().bytes;
        assert_eq!(found, bytes);
        assert!(store.purge(at(1, 1).key, Some(found)).await.unwrap());
    }
}
