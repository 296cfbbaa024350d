//! Memory in front of a Redis: the suite of all stores, what two of them share, and the comparison with a store in
//! memory over a Redis that is alive.

use std::sync::Arc;

use kt_contract::time::Millis;
use proptest::prelude::*;
use sidecar_cache::clock::Clock;
use sidecar_cache::store::layered::Layered;
use sidecar_cache::store::memory::MemoryEntries;
use sidecar_cache::store::redis::{Redis, RedisEntries};
use sidecar_cache::store::{Bounds, EntryStore, Lifetime, Lookup, NewEntry};

use crate::entry_suite::{BOUNDS, LONG, at, fill, found};
use crate::support::redis;

crate::entry_store_suite! {
    layered {
        test: tokio::test,
        open: |bounds| async move { crate::layered::over(crate::support::redis(), bounds) },
        wait: crate::support::wait,
    }
}

fn acme(_: &[u8]) -> Option<String> {
    Some("acme".to_owned())
}

pub(crate) fn over(redis: Redis, bounds: Bounds) -> Layered {
    Layered::new(Clock::start(), bounds, Arc::new(RedisEntries::new(redis, bounds)), acme)
}

#[tokio::test]
async fn what_one_fills_is_a_hit_at_the_other_and_a_purge_leaves_only_its_copy() {
    let redis = redis();
    let (one, other) = (over(redis.clone(), BOUNDS), over(redis.clone(), BOUNDS));
    fill(&one, at(1, 1), b"a".to_vec(), LONG).await;
    assert_eq!(found(&other, at(1, 1)).await.unwrap().bytes, "a");
    assert_eq!((other.copies().entries, other.copies().hits), (1, 0), "from Redis");
    assert_eq!(found(&other, at(1, 1)).await.unwrap().bytes, "a");
    assert_eq!(other.copies().hits, 1, "from memory");

    assert!(one.purge(at(1, 1).key, None).await.unwrap());
    assert!(found(&one, at(1, 1)).await.is_none());
    assert!(found(&over(redis, BOUNDS), at(1, 1)).await.is_none(), "it is gone for all");
    // The other's copy says of itself under which generations it was made; whoever reads it compares them.
    assert!(found(&other, at(1, 1)).await.is_some());
    assert!(!other.purge(at(1, 1).key, None).await.unwrap());
    assert!(found(&other, at(1, 1)).await.is_none());
}

#[tokio::test]
async fn what_one_has_replaced_the_other_finds_when_its_copy_has_ended() {
    let redis = redis();
    let (one, other) = (over(redis.clone(), BOUNDS), over(redis, BOUNDS));
    fill(&one, at(1, 1), b"old".to_vec(), Millis(700)).await;
    assert_eq!(found(&other, at(1, 1)).await.unwrap().bytes, "old");
    fill(&one, at(1, 1), b"new".to_vec(), LONG).await;
    assert_eq!(found(&one, at(1, 1)).await.unwrap().bytes, "new");
    crate::support::wait(std::time::Duration::from_millis(700)).await;
    assert_eq!(found(&other, at(1, 1)).await.unwrap().bytes, "new");
}

/// What may be done to a store. Nothing expires: of that, the clocks of both would have to agree.
#[derive(Clone, Debug)]
enum Step {
    Fill(u8, Vec<u8>),
    Lookup(u8),
    Peek(u8),
    Purge(u8),
    PurgeSeen(u8),
    PurgeOrg(u8),
    Near(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = || 0_u8..6;
    let step = prop_oneof![
        // Of which organization a request is, is in its key.
        4 => (key(), 0_u8..9).prop_map(|(key, byte)| Step::Fill(key, vec![key % 3, byte])),
        6 => key().prop_map(Step::Lookup),
        2 => key().prop_map(Step::Peek),
        1 => key().prop_map(Step::Purge),
        1 => key().prop_map(Step::PurgeSeen),
        1 => (0_u8..3).prop_map(Step::PurgeOrg),
        1 => (0_u8..2).prop_map(Step::Near),
    ];
    proptest::collection::vec(step, 1..40)
}

fn whose(bytes: &[u8]) -> Option<String> {
    bytes.first().map(|org| format!("org-{org}"))
}

fn bytes(lookup: Lookup) -> String {
    match lookup {
        Lookup::Found(found) => format!("{:?}", found.bytes),
        Lookup::Expired | Lookup::Absent => "none".to_owned(),
    }
}

/// What a store answers to a step, without times.
async fn answer(store: &dyn EntryStore, step: &Step) -> String {
    let at = |key: u8| at(key, key % 2);
    let lifetime = Lifetime { fresh: LONG, stale: LONG };
    match step.clone() {
        Step::Fill(key, bytes) => {
            let (org, at) = (whose(&bytes).unwrap(), at(key));
            format!("{:?}", store.fill(NewEntry { at, org, bytes, lifetime }).await)
        }
        Step::Lookup(key) => bytes(store.lookup(at(key)).await.unwrap()),
        Step::Peek(key) => bytes(store.peek(at(key)).await.unwrap()),
        Step::Purge(key) => format!("{:?}", store.purge(at(key).key, None).await),
        Step::PurgeSeen(key) => match store.lookup(at(key)).await.unwrap() {
            Lookup::Found(found) => {
                format!("{:?}", store.purge(at(key).key, Some(found.bytes)).await)
            }
            Lookup::Expired | Lookup::Absent => "none".to_owned(),
        },
        Step::PurgeOrg(org) => format!("{:?}", store.purge_org(format!("org-{org}")).await),
        Step::Near(request) => {
            let mut near = store.near(at(request).request, 9).await.unwrap();
            // Those of one millisecond have no order.
            near.sort();
            format!("{near:?}")
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn over_a_redis_it_answers_as_a_store_in_memory_does(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let wide = Bounds { entries_max: 99, bytes_max: 1 << 20, org_bytes_max: 1 << 20 };
            let clock = Clock::start();
            let model = MemoryEntries::new(clock, wide);
            let shared = Arc::new(RedisEntries::new(redis(), wide));
            let narrow = Bounds { entries_max: 3, ..wide };
            let layered = Layered::new(clock, narrow, shared, whose);
            for (number, step) in steps.iter().enumerate() {
                let (expected, told) = (answer(&model, step).await, answer(&layered, step).await);
                prop_assert_eq!(expected, told, "step {}: {:?}", number, step);
            }
            Ok(())
        })?;
    }
}
