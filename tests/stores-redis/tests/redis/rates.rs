//! Rate limits in Redis: the suite of all stores of rate limits, the same operations as in memory, and what is Redis's
//! alone: its clock, scripts that it forgets, a cluster, keys that go by themselves, and a Redis that goes away.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kt_contract::rate::{Measure, Scope};
use kt_contract::time::Millis;
use kt_stores_redis::Server;
use proptest::prelude::*;
use sidecar_cache::clock::Clock;
use sidecar_cache::rate_limit::{Charge, Name};
use sidecar_cache::store::StoreError;
use sidecar_cache::store::rates::{Counted, MemoryRates, RateStore, Taken};
use sidecar_cache::store::redis::{Redis, RedisRates};
use tokio::task::JoinSet;
use tokio::time::interval;

use crate::rate_suite::{Opened, charge};
use crate::support::{redis, redis_at, redis_named, server};
use crate::topologies::cluster;

crate::rate_store_suite! {
    redis {
        test: tokio::test,
        open: async { super::opened(crate::support::redis()) },
    }
}

crate::rate_store_suite! {
    a_cluster {
        test: tokio::test,
        open: async { super::opened(super::on_a_cluster()) },
    }
}

/// Buckets on a clock that the test moves.
pub(crate) fn opened(redis: Redis) -> Opened<RedisRates> {
    let millis = Arc::new(AtomicU64::new(1_764_000_000_000));
    let rates = RedisRates::new(redis).with_clock(Arc::clone(&millis));
    let go_on = move |time: Millis| _ = millis.fetch_add(time.0, Ordering::Relaxed);
    Opened { rates, go_on: Box::new(go_on) }
}

fn on_a_cluster() -> Redis {
    redis_at(&cluster().url().unwrap())
}

fn acme() -> String {
    "acme".to_owned()
}

/// So many come at once, over several sidecars: how many may go on, and of how many nobody knows whether they were counted,
/// because their answers came too late on a busy machine.
async fn crowd(sidecars: &[RedisRates], count: usize, one: Charge) -> (usize, usize) {
    let mut asking = JoinSet::new();
    for rates in sidecars.iter().cycle().take(count) {
        let rates = rates.clone();
        asking.spawn(async move { rates.take(acme(), vec![one]).await });
    }
    let all = asking.join_all().await;
    let passed = all.iter().filter(|taken| matches!(taken, Ok(Taken::All(_)))).count();
    (passed, all.iter().filter(|taken| taken.is_err()).count())
}

#[tokio::test]
async fn four_sidecars_that_ask_at_once_share_one_limit_exactly() {
    let millis = Arc::new(AtomicU64::new(7));
    let sidecars: Vec<_> = (0..4)
        .map(|_| {
            let redis = redis_named(&server().url(), "shared-rates:");
            RedisRates::new(redis).with_clock(Arc::clone(&millis))
        })
        .collect();
    for (limit, asking) in [(60, 200), (2, 40)] {
        let (passed, unknown) = crowd(&sidecars, asking, charge("k", 60, 1)).await;
        assert!(passed <= limit && passed + unknown >= limit, "{passed} and {unknown} of {limit}");
        // Two come back.
        millis.fetch_add(2_000, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn the_servers_own_clock_gives_back() {
    let rates = RedisRates::new(redis());
    // One comes back in a millisecond: whatever this machine does, within a second it has.
    let one = vec![charge("k", 60_000, 60_000)];
    assert!(matches!(rates.take(acme(), one).await.unwrap(), Taken::All(_)));
    crate::support::wait(Duration::from_millis(100)).await;
    let again = rates.take(acme(), vec![charge("k", 60_000, 1)]).await.unwrap();
    assert!(matches!(again, Taken::All(_)), "{again:?}");
}

#[tokio::test]
async fn a_clock_that_goes_back_gives_nothing_back_and_locks_nobody_out() {
    let millis = Arc::new(AtomicU64::new(1_764_000_000_000));
    let rates = RedisRates::new(redis()).with_clock(Arc::clone(&millis));
    let take = async || rates.take(acme(), vec![charge("k", 60, 60)]).await.unwrap();
    assert!(matches!(take().await, Taken::All(_)));
    // An hour, as when a clock that was set wrong is set right.
    _ = millis.fetch_sub(3_600_000, Ordering::Relaxed);
    assert!(matches!(take().await, Taken::None(_)));
    _ = millis.fetch_add(60_000, Ordering::Relaxed);
    assert!(matches!(take().await, Taken::All(_)), "a minute later it is full again");
}

#[tokio::test]
async fn a_script_that_was_forgotten_is_told_again_and_counts_once() {
    let server = Server::start().unwrap();
    let Opened { rates, .. } = opened(redis_at(&server.url()));
    let one = || vec![charge("k", 2, 1)];
    assert!(matches!(rates.take(acme(), one()).await.unwrap(), Taken::All(_)));
    let _: String = server.run(&["SCRIPT", "FLUSH"]).unwrap();
    assert!(matches!(rates.take(acme(), one()).await.unwrap(), Taken::All(_)));
    assert!(matches!(rates.take(acme(), one()).await.unwrap(), Taken::None(_)));
}

#[tokio::test]
async fn every_bucket_goes_by_itself_and_a_full_one_is_none() {
    let server = Server::start().unwrap();
    let Opened { rates, .. } = opened(redis_at(&server.url()));
    let both = vec![charge("a", 60, 30), charge("b", 1, 1)];
    let Taken::All(counted) = rates.take(acme(), both).await.unwrap() else {
        panic!("both were full");
    };
    let keys: Vec<String> = server.run(&["KEYS", "*"]).unwrap();
    assert_eq!(keys.len(), 2, "{keys:?}");
    for key in &keys {
        let millis: i64 = server.run(&["PTTL", key]).unwrap();
        // Until it is full, and a minute more.
        assert!((1..=120_000).contains(&millis), "{millis}");
    }
    rates.correct(counted, 0).await.unwrap();
    let keys: Vec<String> = server.run(&["KEYS", "*"]).unwrap();
    assert_eq!(keys, [""; 0]);
}

#[tokio::test]
async fn a_redis_that_is_gone_counts_nobody_and_counts_on_when_it_is_back() {
    let mut server = Server::start().unwrap();
    let redis = redis_at(&server.url());
    let rates = RedisRates::new(redis.clone());
    let one = || vec![charge("k", 1, 1)];
    assert!(matches!(rates.take(acme(), one()).await.unwrap(), Taken::All(_)));
    server.kill();
    assert!(matches!(rates.take(acme(), one()).await, Err(StoreError::Away(_))));
    server.start_again().unwrap();
    let mut tries = interval(Duration::from_millis(20));
    while redis.ping().await.is_err() {
        tries.tick().await;
    }
    // It has lost what it had, and counts anew.
    assert!(matches!(rates.take(acme(), one()).await.unwrap(), Taken::All(_)));
    assert!(matches!(rates.take(acme(), one()).await.unwrap(), Taken::None(_)));
}

/// What is done: time goes on, something is taken of some of three buckets, or one of the last takes is corrected.
#[derive(Clone, Debug)]
enum Step {
    GoOn(u64),
    Take(Vec<(usize, u64, u64)>),
    Correct(usize, u64),
}

fn step() -> impl Strategy<Value = Step> {
    let rate =
        || prop::sample::select(vec![1_u64, 2, 7, 60, 61, 100_000, 999_999_999, 1_000_000_000]);
    let count = || prop::sample::select(vec![0_u64, 1, 2, 3, 59, 60, 61, 99_999, 1_000_000_000]);
    let is = prop::sample::select(vec![0_u64, 1, 2, 50, 100_001, 59_999_999_999, u64::MAX]);
    let charges = prop::collection::vec((0_usize..3, rate(), count()), 1..4);
    prop_oneof![
        2 => prop::sample::select(vec![1_u64, 17, 999, 1_000, 59_999, 60_000, 3_600_000])
            .prop_map(Step::GoOn),
        6 => charges.prop_map(|mut charges| {
            // Each of another bucket.
            charges.sort_unstable();
            charges.dedup_by_key(|(who, ..)| *who);
            Step::Take(charges)
        }),
        3 => (0_usize..4, is).prop_map(|(nth, is)| Step::Correct(nth, is)),
    ]
}

/// Does all that, and says what was answered: nothing of when, which each store has its own word for.
async fn done(
    opened: Opened<impl RateStore>,
    steps: &[Step],
) -> Vec<Option<Result<usize, String>>> {
    let (mut counted, mut said) = (Vec::<Counted>::new(), Vec::new());
    for step in steps {
        said.push(match step {
            Step::GoOn(millis) => {
                (opened.go_on)(Millis(*millis));
                None
            }
            Step::Take(charges) => {
                let of = |(who, per_minute, count): &(usize, u64, u64)| {
                    charge(["a", "b", "c"][*who], *per_minute, *count)
                };
                let charges = charges.iter().map(of).collect();
                Some(match opened.rates.take(acme(), charges).await.unwrap() {
                    Taken::All(one) | Taken::Some(one) => {
                        let taken = one.charges.len();
                        counted.push(one);
                        Ok(taken)
                    }
                    Taken::None(limited) => Err(format!("{limited:?}")),
                })
            }
            Step::Correct(nth, is) => {
                if let Some(one) = counted.iter().nth_back(*nth) {
                    opened.rates.correct(one.clone(), *is).await.unwrap();
                }
                None
            }
        });
    }
    said
}

fn in_memory(steps: &[Step]) -> Vec<Option<Result<usize, String>>> {
    let mut paused = tokio::runtime::Builder::new_current_thread();
    let runtime = paused.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let rates = MemoryRates::new(Clock::start());
        done(Opened { rates, go_on: Box::new(crate::lease_model::advance) }, steps).await
    })
}

fn in_redis(steps: &[Step]) -> Vec<Option<Result<usize, String>>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { done(opened(redis()), steps).await })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_script_counts_as_memory_does(steps in prop::collection::vec(step(), 1..40)) {
        let (expected, said) = (in_memory(&steps), in_redis(&steps));
        for (at, (said, expected)) in said.iter().zip(&expected).enumerate() {
            prop_assert_eq!(said, expected, "step {}: {:?}", at, &steps[at]);
        }
    }
}

#[tokio::test]
async fn all_scopes_of_a_request_are_taken_at_once_on_a_cluster() {
    let rates = RedisRates::new(on_a_cluster());
    let of = |scope, who| {
        let measure = Measure::Tokens;
        let name = Name::new(scope, measure, "acme", who);
        Charge { name, scope, measure, per_minute: 10, count: 5 }
    };
    let all = || {
        vec![
            of(Scope::Key, "k"),
            of(Scope::User, "u"),
            of(Scope::Team, "t"),
            of(Scope::Org, "acme"),
        ]
    };
    for _ in 0..2 {
        assert!(matches!(rates.take(acme(), all()).await.unwrap(), Taken::All(_)));
    }
    assert!(matches!(rates.take(acme(), all()).await.unwrap(), Taken::None(_)));
}
