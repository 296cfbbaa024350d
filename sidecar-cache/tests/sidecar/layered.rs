//! Memory in front of a shared store: the suite of all stores, the comparison with a store in memory, and what
//! becomes of copies when the store behind them changes, is slow, or goes away.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kt_contract::time::Millis;
use proptest::prelude::*;
use sidecar_cache::clock::Clock;
use sidecar_cache::flight::{Acquired, Epoch, Held};
use sidecar_cache::store::layered::{Layered, LayeredLeases};
use sidecar_cache::store::leases::{Claim, LeaseStore, MemoryLeases};
use sidecar_cache::store::memory::MemoryEntries;
use sidecar_cache::store::{Bounds, EntryStore, Found, Lifetime, Lookup, NewEntry, StoreError};
use tokio::sync::Notify;
use tokio::time::{advance, timeout};

use crate::distant::Distant;
use crate::entry_suite::{BOUNDS, LONG, at, fill, fill_of, found};

crate::entry_store_suite! {
    layered {
        test: tokio::test(start_paused = true),
        open: |bounds| async move {
            let clock = sidecar_cache::clock::Clock::start();
            let shared = sidecar_cache::store::memory::MemoryEntries::new(clock, bounds);
            let shared = std::sync::Arc::new(shared);
            sidecar_cache::store::layered::Layered::new(clock, bounds, shared, crate::layered::acme)
        },
        wait: tokio::time::advance,
    }
}

pub(crate) fn acme(_: &[u8]) -> Option<String> {
    Some("acme".to_owned())
}

fn layered() -> (Arc<Distant>, Arc<Layered>) {
    let clock = Clock::start();
    let shared = Arc::new(Distant::new(clock, BOUNDS));
    let layered = Layered::new(clock, BOUNDS, Arc::clone(&shared) as Arc<dyn EntryStore>, acme);
    (shared, Arc::new(layered))
}

/// What is found where nothing but memory answers.
async fn copied(shared: &Distant, layered: &Layered) -> Option<Found> {
    shared.goes_away();
    let answer = layered.lookup(at(1, 1)).await;
    shared.comes_back();
    match answer {
        Ok(Lookup::Found(found)) => Some(found),
        Ok(other) => panic!("{other:?}"),
        Err(StoreError::Away(_)) => None,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_filled_here_is_answered_from_memory() {
    let (shared, layered) = layered();
    fill(&*layered, at(1, 1), b"a".to_vec(), LONG).await;
    assert_eq!(found(&*layered, at(1, 1)).await.unwrap().bytes, "a");
    assert_eq!(shared.lookups(), 0);
    assert_eq!(found(&shared.inner, at(1, 1)).await.unwrap().bytes, "a", "and is for others");
    assert_eq!((layered.copies().entries, layered.copies().hits), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_another_has_filled_is_copied_with_its_age_and_ends_with_it() {
    let (shared, layered) = layered();
    fill(&shared.inner, at(1, 1), b"a".to_vec(), LONG).await;
    advance(Duration::from_secs(10)).await;
    assert_eq!(found(&*layered, at(1, 1)).await.unwrap().age, Millis(10_000));
    advance(Duration::from_secs(5)).await;
    let copy = copied(&shared, &layered).await.unwrap();
    let age = Millis(15_000);
    assert_eq!(
        copy,
        Found { bytes: Bytes::from_static(b"a"), age, fresh: Millis(45_000), stale: Millis(0) }
    );
    advance(Duration::from_millis(44_999)).await;
    assert_eq!(copied(&shared, &layered).await.unwrap().fresh, Millis(1));
    advance(Duration::from_millis(1)).await;
    assert_eq!(copied(&shared, &layered).await, None, "to the millisecond");
}

#[tokio::test(start_paused = true)]
async fn the_time_that_an_answer_takes_is_not_gained() {
    let (shared, layered) = layered();
    fill(&shared.inner, at(1, 1), b"a".to_vec(), Millis(1_000)).await;
    let slow = advance(Duration::from_millis(150));
    shared.while_answering(found(&*layered, at(1, 1)), slow).await.unwrap();
    let copy = copied(&shared, &layered).await.unwrap();
    assert_eq!((copy.age, copy.fresh), (Millis(150), Millis(850)));
}

#[tokio::test(start_paused = true)]
async fn what_is_stale_is_told_and_not_copied() {
    let (shared, layered) = layered();
    let lifetime = Lifetime { fresh: Millis(1_000), stale: Millis(9_000) };
    fill_of("acme", &*layered, at(1, 1), b"a".to_vec(), lifetime).await;
    assert!(copied(&shared, &layered).await.is_some());
    advance(Duration::from_millis(1_500)).await;
    assert_eq!(found(&*layered, at(1, 1)).await.unwrap().stale, Millis(500));
    assert_eq!(copied(&shared, &layered).await, None);
}

#[tokio::test(start_paused = true)]
async fn what_the_shared_store_did_not_take_is_in_neither() {
    let (shared, layered) = layered();
    fill(&*layered, at(1, 1), b"old".to_vec(), LONG).await;
    shared.goes_away();
    let lifetime = Lifetime { fresh: LONG, stale: Millis(0) };
    let new = NewEntry { at: at(1, 1), org: "acme".to_owned(), bytes: b"new".to_vec(), lifetime };
    assert!(matches!(layered.fill(new).await, Err(StoreError::Away(_))));
    shared.comes_back();
    assert_eq!(copied(&shared, &layered).await, None, "nobody knows which of both is there");
    assert_eq!(found(&*layered, at(1, 1)).await.unwrap().bytes, "old");
}

#[tokio::test(start_paused = true)]
async fn a_fill_that_is_not_waited_for_leaves_no_older_copy() {
    let (shared, layered) = layered();
    fill(&*layered, at(1, 1), b"old".to_vec(), LONG).await;
    shared.hold_next();
    let filling = fill(&*layered, at(1, 1), b"new".to_vec(), LONG);
    timeout(Duration::from_secs(2), filling).await.unwrap_err();
    assert_eq!(found(&*layered, at(1, 1)).await.unwrap().bytes, "new", "it was done");
}

#[tokio::test(start_paused = true)]
async fn a_purge_is_done_here_though_the_store_is_away() {
    let (shared, layered) = layered();
    for purge_org in [false, true] {
        fill(&*layered, at(1, 1), b"a".to_vec(), LONG).await;
        shared.goes_away();
        let purged = match purge_org {
            true => layered.purge_org("acme".to_owned()).await.map(|_| ()),
            false => layered.purge(at(1, 1).key, None).await.map(|_| ()),
        };
        assert!(matches!(purged, Err(StoreError::Away(_))), "it is there still");
        assert_eq!(copied(&shared, &layered).await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn what_another_has_purged_is_forgotten_here_and_left_alone_there() {
    let (shared, layered) = layered();
    for whole_org in [false, true] {
        let forget = async || match whole_org {
            true => layered.forget_org("acme".to_owned()).await.unwrap(),
            false => layered.forget(at(1, 1).key).await.unwrap(),
        };
        fill(&*layered, at(1, 1), b"a".to_vec(), LONG).await;
        shared.goes_away();
        forget().await;
        shared.comes_back();
        assert_eq!(copied(&shared, &layered).await, None);
        // What was found before that is not copied after it.
        shared.while_answering(found(&*layered, at(1, 1)), forget()).await.unwrap();
        assert_eq!(copied(&shared, &layered).await, None);
        assert_eq!(found(&*layered, at(1, 1)).await.unwrap().bytes, "a");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_purged_or_replaced_while_it_was_found_is_not_copied() {
    let (shared, layered) = layered();
    for what in ["purge", "purge what was seen", "purge the organization", "fill"] {
        fill(&shared.inner, at(1, 1), b"old".to_vec(), LONG).await;
        let change = async {
            match what {
                "purge" => assert!(layered.purge(at(1, 1).key, None).await.unwrap()),
                "purge what was seen" => {
                    let seen = Some(Bytes::from_static(b"old"));
                    assert!(layered.purge(at(1, 1).key, seen).await.unwrap());
                }
                "fill" => fill(&*layered, at(1, 1), b"new".to_vec(), LONG).await,
                _ => assert_eq!(layered.purge_org("acme".to_owned()).await.unwrap(), 1),
            }
        };
        let old = shared.while_answering(found(&*layered, at(1, 1)), change).await;
        assert_eq!(old.unwrap().bytes, "old", "it was found before: {what}");
        assert_eq!(copied(&shared, &layered).await, None, "{what}");
        let is_new = found(&*layered, at(1, 1)).await.is_some_and(|found| found.bytes == "new");
        assert_eq!(is_new, what == "fill", "{what}");
        layered.purge(at(1, 1).key, None).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_found_while_a_purge_is_on_its_way_does_not_stay() {
    let (shared, layered) = layered();
    fill(&shared.inner, at(1, 1), b"old".to_vec(), LONG).await;
    shared.delay_purges();
    for (purge_org, comes_late) in [(false, true), (true, true), (false, false), (true, false)] {
        fill(&shared.inner, at(1, 1), b"old".to_vec(), LONG).await;
        let purged = Notify::new();
        let purging = async {
            match purge_org {
                true => assert_eq!(layered.purge_org("acme".to_owned()).await.unwrap(), 1),
                false => assert!(layered.purge(at(1, 1).key, None).await.unwrap()),
            }
            purged.notify_one();
        };
        let finding = async {
            shared.purging.notified().await;
            let purge = async {
                shared.purge.notify_one();
                purged.notified().await;
            };
            let finding = found(&*layered, at(1, 1));
            if comes_late {
                return shared.while_answering(finding, purge).await;
            }
            let found = finding.await;
            purge.await;
            found
        };
        let ((), old) = tokio::join!(purging, finding);
        assert_eq!(old.unwrap().bytes, "old");
        assert_eq!(copied(&shared, &layered).await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_purge_that_is_not_waited_for_leaves_no_copy() {
    let (shared, layered) = layered();
    shared.delay_purges();
    for purge_org in [false, true] {
        fill(&*layered, at(1, 1), b"a".to_vec(), LONG).await;
        let purging = async {
            match purge_org {
                true => layered.purge_org("acme".to_owned()).await.map(|_| ()),
                false => layered.purge(at(1, 1).key, None).await.map(|_| ()),
            }
        };
        timeout(Duration::from_secs(2), purging).await.unwrap_err();
        assert_eq!(copied(&shared, &layered).await, None);
        shared.purging.notified().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_purge_of_what_was_seen_is_one_of_what_the_copy_is_of() {
    let (shared, layered) = layered();
    fill(&*layered, at(1, 1), b"bad".to_vec(), LONG).await;
    let seen = copied(&shared, &layered).await.unwrap().bytes;
    fill(&shared.inner, at(1, 1), b"good".to_vec(), LONG).await;
    assert!(!layered.purge(at(1, 1).key, Some(seen)).await.unwrap(), "another has filled since");
    assert_eq!(found(&*layered, at(1, 1)).await.unwrap().bytes, "good", "the copy is gone");
}

#[tokio::test(start_paused = true)]
async fn neighbours_are_those_in_memory_while_the_store_is_away() {
    let (shared, layered) = layered();
    fill(&*layered, at(1, 1), b"here".to_vec(), LONG).await;
    fill(&shared.inner, at(2, 1), b"there".to_vec(), LONG).await;
    assert_eq!(layered.near(at(1, 1).request, 9).await.unwrap(), ["there", "here"]);
    shared.goes_away();
    assert_eq!(layered.near(at(1, 1).request, 9).await.unwrap(), ["here"]);
}

#[tokio::test(start_paused = true)]
async fn copies_are_bounded_and_nobodys_are_not_kept() {
    let clock = Clock::start();
    let wide = Bounds { entries_max: 99, bytes_max: 99 << 20, org_bytes_max: 99 << 20 };
    let shared = Arc::new(Distant::new(clock, wide));
    let whose = |bytes: &[u8]| (bytes[0] != b'?').then(|| "acme".to_owned());
    let layered = Layered::new(clock, BOUNDS, Arc::clone(&shared) as Arc<dyn EntryStore>, whose);
    for key in 0..20 {
        fill(&shared.inner, at(key, key), vec![0; 1 << 10], LONG).await;
        found(&layered, at(key, key)).await.unwrap();
        assert!(layered.copies().entries <= BOUNDS.entries_max);
    }
    layered.purge_org("acme".to_owned()).await.unwrap();
    for bytes in [b"?".to_vec(), vec![0; 10 << 20]] {
        fill(&shared.inner, at(1, 1), bytes, LONG).await;
        found(&layered, at(1, 1)).await.unwrap();
        assert_eq!(layered.copies().entries, 0);
    }
    let bound = layered.with_shared_bound(10);
    fill(&bound, at(1, 1), vec![0; 11], LONG).await;
    assert_eq!(bound.copies().entries, 0, "what the shared store has no room for");
    bound.bound(wide).await.unwrap();
    assert!(found(&bound, at(1, 1)).await.is_none(), "it keeps a bound of its own");
}

#[tokio::test(start_paused = true)]
async fn what_is_filled_under_a_lease_is_in_memory_if_the_lease_is_current() {
    let (shared, layered) = layered();
    let inner = Arc::clone(&shared) as Arc<dyn EntryStore>;
    let leases = MemoryLeases::new(Epoch(1), Clock::start(), inner);
    let leases = LayeredLeases::new(Arc::clone(&layered), leases);
    let entry = |bytes: &[u8]| NewEntry {
        at: at(1, 1),
        org: "acme".to_owned(),
        bytes: bytes.to_vec(),
        lifetime: Lifetime { fresh: LONG, stale: Millis(0) },
    };
    let lead = async |claim| match leases.acquire(at(1, 1).key, Claim(claim)).await.unwrap() {
        Acquired::Lead(token, _) => token,
        other @ (Acquired::Follow(_) | Acquired::HitForMiss | Acquired::Full | Acquired::Mute) => {
            panic!("{other:?}")
        }
    };
    let token = lead(1).await;
    assert_eq!(leases.fill(token, entry(b"a")).await.unwrap(), Held::Current);
    assert_eq!(copied(&shared, &layered).await.unwrap().bytes, "a");
    assert_eq!(leases.fill(token, entry(b"b")).await.unwrap(), Held::Superseded);
    assert_eq!(copied(&shared, &layered).await, None, "what is there, somebody else knows");
    assert_eq!(found(&*layered, at(1, 1)).await.unwrap().bytes, "a");
    let token = lead(2).await;
    shared.goes_away();
    assert!(leases.fill(token, entry(b"c")).await.is_err());
    assert_eq!(copied(&shared, &layered).await, None);
}

/// What may be done to a store.
#[derive(Clone, Debug)]
enum Step {
    Fill { key: u8, bytes: Vec<u8>, fresh: u64, stale: u64 },
    Lookup(u8),
    Peek(u8),
    Purge(u8),
    PurgeSeen(u8),
    PurgeOrg(u8),
    Near(u8),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = || 0_u8..6;
    let step = prop_oneof![
        4 => (key(), proptest::collection::vec(0_u8..3, 1..4), 0_u64..50, 0_u64..50)
            .prop_map(|(key, bytes, fresh, stale)| Step::Fill { key, bytes, fresh, stale }),
        6 => key().prop_map(Step::Lookup),
        2 => key().prop_map(Step::Peek),
        1 => key().prop_map(Step::Purge),
        1 => key().prop_map(Step::PurgeSeen),
        1 => (0_u8..3).prop_map(Step::PurgeOrg),
        1 => (0_u8..2).prop_map(Step::Near),
        3 => (0_u64..30).prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 1..60)
}

/// Bytes say by their first one whose they are.
fn whose(bytes: &[u8]) -> Option<String> {
    bytes.first().map(|org| format!("org-{org}"))
}

/// What a store answers to a step, as text.
async fn answer(store: &dyn EntryStore, step: &Step) -> String {
    // Six keys of two requests.
    let at = |key: u8| at(key, key % 2);
    match step.clone() {
        Step::Fill { key, bytes, fresh, stale } => {
            let (org, at) = (whose(&bytes).unwrap(), at(key));
            let lifetime = Lifetime { fresh: Millis(fresh), stale: Millis(stale) };
            format!("{:?}", store.fill(NewEntry { at, org, bytes, lifetime }).await)
        }
        Step::Lookup(key) => format!("{:?}", store.lookup(at(key)).await),
        Step::Peek(key) => format!("{:?}", store.peek(at(key)).await),
        Step::Purge(key) => format!("{:?}", store.purge(at(key).key, None).await),
        Step::PurgeSeen(key) => match store.lookup(at(key)).await.unwrap() {
            Lookup::Found(found) => {
                format!("{:?}", store.purge(at(key).key, Some(found.bytes)).await)
            }
            gone @ (Lookup::Expired | Lookup::Absent) => format!("{gone:?}"),
        },
        Step::PurgeOrg(org) => format!("{:?}", store.purge_org(format!("org-{org}")).await),
        Step::Near(request) => format!("{:?}", store.near(at(request).request, 9).await),
        Step::Pass(_) => String::new(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_layered_store_answers_as_one_in_memory_does(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let hits = runtime.block_on(async {
            let wide = Bounds { entries_max: 99, bytes_max: 1 << 20, org_bytes_max: 1 << 20 };
            let clock = Clock::start();
            let model = MemoryEntries::new(clock, wide);
            let shared = Arc::new(MemoryEntries::new(clock, wide));
            // Room for three of six: some of what is found is a copy and some is not.
            let narrow = Bounds { entries_max: 3, ..wide };
            let layered =
                Layered::new(clock, narrow, Arc::clone(&shared) as Arc<dyn EntryStore>, whose);
            for (number, step) in steps.iter().enumerate() {
                if let Step::Pass(millis) = step {
                    advance(Duration::from_millis(*millis)).await;
                }
                let (expected, told) = (answer(&model, step).await, answer(&layered, step).await);
                prop_assert_eq!(expected, told, "step {}: {:?}", number, step);
                // What is held is what the shared store holds: the model sweeps what has expired at other moments.
                prop_assert_eq!(shared.held_by_org(), layered.held_by_org());
            }
            Ok(layered.copies().hits)
        })?;
        prop_assert!(hits <= steps.len() as u64);
    }
}
