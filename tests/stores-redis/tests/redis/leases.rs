//! Leases in Redis: the suite of all stores of leases, the same operations as the model's, and what is Redis's
//! alone: its clock, its identity, scripts that it forgets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kt_contract::time::Millis;
use kt_stores_redis::Server;
use sidecar_cache::flight::{
    Acquired, Epoch, Failed, FlightId, HIT_FOR_MISS, Held, LEASE_TTL, RETRY_AFTER_MAX, Token,
};
use sidecar_cache::generation::Generation;
use sidecar_cache::store::leases::{AfterFailure, Claim, LeaseStore, Renewed};
use sidecar_cache::store::redis::{Redis, RedisEntries, RedisLeases};

use crate::entry_suite::{BOUNDS, found};
use crate::lease_suite::{self, Opened, entry, key};
use crate::support::{redis, redis_at, redis_named, server, wait};

crate::lease_store_suite! {
    redis {
        test: tokio::test,
        open: async { super::open() },
    }
}

/// Leases on a clock that the test moves.
pub(crate) fn open() -> Opened<RedisLeases, RedisEntries> {
    let micros = Arc::new(AtomicU64::new(1_000_000));
    let (leases, entries) = of(redis());
    let leases = leases.with_clock(Arc::clone(&micros));
    let go_on = move |time: Millis| _ = micros.fetch_add(time.0 * 1_000, Ordering::Relaxed);
    Opened { leases, entries: Arc::new(entries), go_on: Box::new(go_on) }
}

fn of(redis: Redis) -> (RedisLeases, RedisEntries) {
    let entries = RedisEntries::new(redis.clone(), BOUNDS);
    (RedisLeases::new(redis, entries.clone()), entries)
}

async fn lead(leases: &RedisLeases, claim: u128) -> (Token, FlightId) {
    lease_suite::lead(leases, 1, claim).await
}

#[tokio::test]
async fn the_servers_own_clock_ends_a_lease() {
    let (leases, _) = of(redis());
    let (token, _) = lead(&leases, 1).await;
    wait(Duration::from_millis(LEASE_TTL.0 - 2_000)).await;
    assert!(matches!(leases.renew(key(1), token).await.unwrap(), Renewed::Current { .. }));
    wait(Duration::from_millis(LEASE_TTL.0)).await;
    assert_eq!(leases.renew(key(1), token).await.unwrap(), Renewed::Superseded);
    assert!(lead(&leases, 2).await.0.counter > token.counter);
}

#[tokio::test]
async fn another_epoch_voids_every_token_and_gives_none_twice() {
    let server = Server::start().unwrap();
    let (leases, entries) = of(redis_at(&server.url()));
    let (token, _) = lead(&leases, 1).await;
    // What a promotion, or a start from a copy of the data, does to a server's identity.
    let _: () = server.run(&["DEBUG", "CHANGE-REPL-ID"]).unwrap();
    assert_eq!(leases.fill(token, entry(1, b"late")).await.unwrap(), Held::Superseded);
    assert_eq!(leases.renew(key(1), token).await.unwrap(), Renewed::Superseded);
    assert!(!leases.holds(key(1), token).await.unwrap());
    let (next, _) = lead(&leases, 2).await;
    assert_ne!(next.epoch, token.epoch);
    assert!(next.counter > token.counter);
    assert_eq!(leases.fill(token, entry(1, b"late")).await.unwrap(), Held::Superseded);
    assert!(found(&entries, entry(1, b"").at).await.is_none());
    assert_eq!(leases.fill(next, entry(1, b"new")).await.unwrap(), Held::Current);
    assert_eq!(found(&entries, entry(1, b"").at).await.unwrap().bytes, "new");
}

#[tokio::test]
async fn a_server_that_starts_anew_is_another_epoch() {
    let mut server =
        Server::start_with(&[("appendonly", "yes"), ("appendfsync", "always")]).unwrap();
    let (leases, _) = of(redis_at(&server.url()));
    let (token, _) = lead(&leases, 1).await;
    server.start_again().unwrap();
    let (leases, _) = of(redis_at(&server.url()));
    let (next, _) = lead(&leases, 2).await;
    assert_ne!(next.epoch, token.epoch);
    assert_eq!(leases.fill(token, entry(1, b"late")).await.unwrap(), Held::Superseded);
}

#[tokio::test]
async fn no_token_is_given_twice_though_its_counter_was_evicted() {
    let server = Server::start().unwrap();
    let (leases, _) = of(redis_at(&server.url()));
    let (token, _) = lead(&leases, 1).await;
    let _: () = server.run(&["FLUSHALL"]).unwrap();
    let (next, _) = lead(&leases, 2).await;
    assert_eq!(next.epoch, token.epoch);
    assert!(next.counter > token.counter);
    assert_eq!(leases.fill(token, entry(1, b"late")).await.unwrap(), Held::Superseded);
}

/// The script takes the moment from the test: libfaketime and Redis's allocator do not go together.
#[tokio::test]
async fn a_clock_that_jumps_leases_once_more_and_stores_one_answer() {
    const HOUR: u64 = 3_600_000_000;
    let micros = Arc::new(AtomicU64::new(10 * HOUR));
    let (leases, entries) = of(redis());
    let leases = leases.with_clock(Arc::clone(&micros));
    let (first, _) = lead(&leases, 1).await;
    micros.store(11 * HOUR, Ordering::Relaxed);
    let (second, _) = lead(&leases, 2).await;
    assert!(second.counter > first.counter);
    assert_eq!(leases.fill(first, entry(1, b"first")).await.unwrap(), Held::Superseded);
    // Back, and further: nobody leads beside whoever leads, and numbers go on from the largest.
    for hour in [10, 9] {
        micros.store(hour * HOUR, Ordering::Relaxed);
        let follows = leases.acquire(key(1), Claim(3)).await.unwrap();
        assert!(matches!(follows, Acquired::Follow(_)), "{follows:?}");
    }
    assert_eq!(leases.abandon(key(1), second).await.unwrap(), Held::Current);
    let (third, _) = lead(&leases, 4).await;
    assert!(third.counter > second.counter);
    assert_eq!(leases.fill(second, entry(1, b"second")).await.unwrap(), Held::Superseded);
    assert_eq!(leases.fill(third, entry(1, b"third")).await.unwrap(), Held::Current);
    assert_eq!(found(&entries, entry(1, b"").at).await.unwrap().bytes, "third");
}

#[tokio::test]
async fn a_clock_that_goes_back_keeps_nothing_for_longer_than_it_lives() {
    const HOUR: u64 = 3_600_000_000;
    let micros = Arc::new(AtomicU64::new(10 * HOUR));
    let (leases, _) = of(redis());
    let leases = leases.with_clock(Arc::clone(&micros));
    let goes_back = || _ = micros.fetch_sub(HOUR, Ordering::Relaxed);
    let goes_on = |time: Millis| _ = micros.fetch_add(time.0 * 1_000, Ordering::Relaxed);
    let (_dead, id) = lead(&leases, 1).await;
    goes_back();
    assert_eq!(leases.take_over(key(1), id, Claim(2)).await.unwrap(), None, "it may live");
    goes_on(LEASE_TTL);
    let token = leases.take_over(key(1), id, Claim(2)).await.unwrap().unwrap();

    let failed = Failed { waiting: 1, ..Failed::default() };
    let after = leases.fail(key(1), token, failed).await.unwrap();
    assert!(matches!(after, AfterFailure::TakeOver { .. }), "{after:?}");
    goes_back();
    assert_eq!(leases.take_over(key(1), id, Claim(3)).await.unwrap(), None, "too early");
    goes_on(RETRY_AFTER_MAX);
    let token = leases.take_over(key(1), id, Claim(3)).await.unwrap().unwrap();

    let ended = leases.end_uncacheable(key(1), token, Generation(1)).await.unwrap();
    assert_eq!(ended, Held::Current);
    goes_back();
    for (passes, claim) in [(0, 4), (HIT_FOR_MISS.0 - 1, 5)] {
        goes_on(Millis(passes));
        let acquired = leases.acquire(key(1), Claim(claim)).await.unwrap();
        assert_eq!(acquired, Acquired::HitForMiss, "{passes}");
    }
    goes_on(Millis(1));
    let _: (Token, FlightId) = lead(&leases, 6).await;
}

#[tokio::test]
async fn a_lease_survives_a_server_that_forgets_its_scripts() {
    let (leases, _) = of(redis());
    let (token, _) = lead(&leases, 1).await;
    let _: () = server().run(&["SCRIPT", "FLUSH"]).unwrap();
    assert!(matches!(leases.renew(key(1), token).await.unwrap(), Renewed::Current { .. }));
    let _: () = server().run(&["SCRIPT", "FLUSH"]).unwrap();
    assert_eq!(leases.fill(token, entry(1, b"a")).await.unwrap(), Held::Current);
}

#[tokio::test]
async fn a_fill_that_finds_no_room_keeps_the_lease() {
    let server = Server::start().unwrap();
    let (leases, entries) = of(redis_at(&server.url()));
    let (token, _) = lead(&leases, 1).await;
    let _: () = server.run(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    assert!(leases.fill(token, entry(1, b"a")).await.is_err());
    assert!(found(&entries, entry(1, b"").at).await.is_none());
    assert!(leases.acquire(key(2), Claim(1)).await.is_err(), "no lease without room for it");
    let _: () = server.run(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    assert_eq!(leases.fill(token, entry(1, b"a")).await.unwrap(), Held::Current);
}

#[tokio::test]
async fn sidecars_race_for_a_lease_and_one_leads() {
    let redis = || redis_named(&server().url(), "race:");
    let contenders: Vec<RedisLeases> = (0..4).map(|_| of(redis()).0).collect();
    for round in 0..25 {
        let asking: Vec<_> = (1..)
            .zip(contenders.clone())
            .map(|(claim, leases)| {
                tokio::spawn(async move { leases.acquire(key(1), Claim(claim)).await.unwrap() })
            })
            .collect();
        let mut led = Vec::new();
        for asked in asking {
            if let Acquired::Lead(token, _) = asked.await.unwrap() {
                led.push(token);
            }
        }
        assert_eq!(led.len(), 1, "round {round}");
        let ended = contenders[round % 4].abandon(key(1), led[0]).await.unwrap();
        assert_eq!(ended, Held::Current);
    }
}

/// The epoch of a server is its own: two never agree.
#[tokio::test]
async fn two_servers_are_two_epochs() {
    let other = Server::start().unwrap();
    let (here, _) = of(redis());
    let (there, _) = of(redis_at(&other.url()));
    let (one, _) = lead(&here, 1).await;
    let (two, _) = lead(&there, 1).await;
    assert_ne!(one.epoch, two.epoch);
    assert_ne!(one.epoch, Epoch(0));
}
