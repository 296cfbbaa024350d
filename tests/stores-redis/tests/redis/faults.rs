//! What the network, or a Redis that means harm, does to the stores: it costs a miss, in time, and nothing that
//! was promised.

use std::collections::HashSet;
use std::time::Duration;

use kt_fault_proxy::{Door, Fault, Faults, Proxy};
use kt_stores_redis::{Server, url};
use sidecar_cache::flight::{Acquired, Failed, Held, Token};
use sidecar_cache::store::leases::{AfterFailure, Claim, LeaseStore, Renewed};
use sidecar_cache::store::redis::{Redis, RedisEntries, RedisLeases};
use sidecar_cache::store::{EntryStore, Lookup, StoreError};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, timeout};

use crate::entry_suite::{BOUNDS, LONG, at, fill, found};
use crate::lease_suite::{entry, key};
use crate::support::redis_at;

/// A store behind a proxy, with an entry in it.
struct Rig {
    server: Server,
    proxy: Proxy,
    redis: Redis,
    entries: RedisEntries,
    leases: RedisLeases,
}

async fn rig() -> Rig {
    let server = Server::start().unwrap();
    let proxy = Proxy::start(server.port).await.unwrap();
    let redis = redis_at(&url("", proxy.port()));
    let entries = RedisEntries::new(redis.clone(), BOUNDS);
    let leases = RedisLeases::new(redis.clone(), entries.clone());
    fill(&entries, at(1, 1), b"entry".to_vec(), LONG).await;
    Rig { server, proxy, redis, entries, leases }
}

impl Rig {
    /// Waits until the store answers again: not longer than a probe and a connection may take.
    async fn is_back(&self) {
        let mut tries = interval(Duration::from_millis(20));
        let back = async {
            while self.entries.lookup(at(1, 1)).await.is_err() {
                tries.tick().await;
            }
        };
        timeout(Duration::from_secs(10), back).await.unwrap();
    }

    /// So many look an entry up at once; says how many were answered.
    async fn crowd(&self, count: u32) -> u32 {
        let mut looking = JoinSet::new();
        for _ in 0..count {
            let entries = self.entries.clone();
            looking.spawn(async move { u32::from(entries.lookup(at(1, 1)).await.is_ok()) });
        }
        looking.join_all().await.iter().sum()
    }
}

#[tokio::test]
async fn a_black_hole_costs_a_budget_each_and_then_nothing() {
    let rig = rig().await;
    rig.proxy.set(Faults::blackhole());
    let before = Instant::now();
    let answered = timeout(Duration::from_secs(10), rig.crowd(20)).await.unwrap();
    assert_eq!(answered, 0);
    assert!(before.elapsed() >= Duration::from_millis(150), "a budget is waited for");
    assert!(!rig.redis.is_asked(), "half of twenty have failed");
    let counts = rig.redis.counts();
    assert_eq!((counts.late, counts.opened), (20, 1));
    // What is skipped is not waited for: a hundred, one after the other, would take fifteen seconds.
    let skipping = async {
        for _ in 0..100 {
            assert!(rig.entries.lookup(at(1, 1)).await.is_err());
        }
    };
    timeout(Duration::from_secs(5), skipping).await.unwrap();
    // But for a probe each second.
    assert!(rig.redis.counts().skipped >= 95, "{:?}", rig.redis.counts());
    rig.proxy.heal();
    rig.is_back().await;
    assert_eq!(found(&rig.entries, at(1, 1)).await.unwrap().bytes, "entry");
    assert!(rig.redis.is_asked());
}

#[tokio::test]
async fn more_than_may_be_under_way_are_not_waited_for() {
    let rig = rig().await;
    rig.proxy.set(Faults::blackhole());
    assert_eq!(timeout(Duration::from_secs(5), rig.crowd(1_100)).await.unwrap(), 0);
    let counts = rig.redis.counts();
    assert!(counts.late <= 1_024 && counts.late + counts.skipped == 1_100, "{counts:?}");
    rig.proxy.heal();
    rig.is_back().await;
    assert_eq!(rig.crowd(200).await, 200, "all have given their place back");
}

#[tokio::test]
async fn few_that_find_silence_get_another_connection() {
    let rig = rig().await;
    rig.proxy.set(Faults::blackhole());
    for _ in 0..3 {
        assert!(rig.entries.lookup(at(1, 1)).await.is_err());
    }
    let before = rig.proxy.connections();
    rig.proxy.heal();
    rig.is_back().await;
    assert_eq!(rig.proxy.connections(), before + 1, "the silent one was given up");
}

#[tokio::test]
async fn a_slow_server_is_late_and_is_found_again() {
    let rig = rig().await;
    let sleeping = tokio::task::spawn_blocking({
        let port = rig.server.control;
        move || {
            let mut asleep = redis::cmd("DEBUG");
            let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
            asleep.arg("SLEEP").arg(3).exec(&mut client.get_connection().unwrap()).unwrap();
        }
    });
    let mut tries = interval(Duration::from_millis(10));
    let late = async {
        while rig.entries.lookup(at(1, 1)).await.is_ok() {
            tries.tick().await;
        }
    };
    timeout(Duration::from_secs(3), late).await.unwrap();
    timeout(Duration::from_secs(1), rig.crowd(30)).await.unwrap();
    sleeping.await.unwrap();
    rig.is_back().await;
}

#[tokio::test]
async fn a_drip_is_not_waited_for() {
    let rig = rig().await;
    rig.proxy.set(Faults::of_answers(Fault::Drip(Duration::from_millis(50))));
    let lookup = rig.entries.lookup(at(1, 1));
    let error = timeout(Duration::from_secs(10), lookup).await.unwrap().unwrap_err();
    assert!(matches!(&error, StoreError::Away(_)), "{error}");
}

#[tokio::test]
async fn an_answer_that_is_cut_anywhere_is_asked_for_again_or_an_error() {
    let rig = rig().await;
    for bytes in (0..60).step_by(5) {
        for fault in [Fault::ResetAfter(bytes), Fault::CloseAfter(bytes)] {
            rig.proxy.set(Faults::of_answers(fault.clone()));
            match rig.entries.lookup(at(1, 1)).await {
                Ok(Lookup::Found(found)) => assert_eq!(found.bytes, "entry", "{fault:?}"),
                Ok(other) => panic!("{fault:?}: {other:?}"),
                Err(StoreError::Away(_)) => {}
                Err(error) => panic!("{fault:?}: {error}"),
            }
            rig.proxy.heal();
            rig.is_back().await;
        }
    }
}

#[tokio::test]
async fn what_is_no_answer_closes_the_connection() {
    let hostile: [&[u8]; 9] = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\0\0\0\0",
        b"$9223372036854775807\r\n",
        b"$2147483647\r\nxxxx",
        b"*1000000000\r\n",
        b"%-1\r\n",
        b"$-7\r\n",
        b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
        b":99999999999999999999999999\r\n",
    ];
    let rig = rig().await;
    for bytes in hostile {
        let text = String::from_utf8_lossy(bytes);
        let before = rig.redis.counts().connections;
        rig.proxy.set(Faults::of_answers(Fault::Replace(bytes.to_vec())));
        let error = rig.entries.lookup(at(1, 1)).await.unwrap_err();
        assert!(matches!(&error, StoreError::Away(_)), "{text:?}: {error}");
        rig.proxy.heal();
        rig.is_back().await;
        assert!(rig.redis.counts().connections > before, "{text:?}");
        assert_eq!(found(&rig.entries, at(1, 1)).await.unwrap().bytes, "entry", "{text:?}");
        assert_eq!(rig.redis.counts().late, 0, "{text:?}: nobody waits for what was announced");
    }
}

#[tokio::test]
async fn a_push_that_nobody_asked_for_changes_nothing() {
    let rig = rig().await;
    let pushes = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n>3\r\n$8\r\nsmessage\r\n$1\r\nc\r\n$1\r\nx\r\n";
    rig.proxy.set(Faults::of_answers(Fault::Replace(pushes.to_vec())));
    assert!(rig.entries.lookup(at(1, 1)).await.is_err(), "the answer was replaced");
    rig.proxy.heal();
    rig.is_back().await;
    assert_eq!(found(&rig.entries, at(1, 1)).await.unwrap().bytes, "entry");
}

#[tokio::test]
async fn a_shut_door_is_not_beaten_upon() {
    let rig = rig().await;
    rig.proxy.set(Faults { door: Door::Reset, answers: Fault::ResetAfter(0), ..Faults::default() });
    let before = rig.proxy.connections();
    let mut asked = 0;
    let beating = async {
        loop {
            assert!(rig.entries.lookup(at(1, 1)).await.is_err());
            asked += 1;
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(1), beating).await.unwrap_err();
    let dialed = rig.proxy.connections() - before;
    assert!(asked > 100 && dialed < 10, "{asked} asked, {dialed} connections tried");
    rig.proxy.heal();
    rig.is_back().await;
}

/// Asks until there is an answer, as who gets none would.
async fn insist<T, F: Future<Output = Result<T, StoreError>>>(ask: impl Fn() -> F) -> T {
    let mut tries = interval(Duration::from_millis(10));
    loop {
        if let Ok(answer) = ask().await {
            return answer;
        }
        tries.tick().await;
    }
}

#[tokio::test]
async fn lost_answers_lease_nothing_twice() {
    let rig = rig().await;
    rig.proxy.set(Faults::of_answers(Fault::ResetEvery(3)));
    let mut given: HashSet<Token> = HashSet::new();
    let all = async {
        for of in 10..210 {
            let mut led = Vec::new();
            for claim in [1, 2, 3] {
                let acquired = insist(|| rig.leases.acquire(key(of), Claim(claim))).await;
                if let Acquired::Lead(token, _) = acquired {
                    led.push(token);
                }
            }
            assert_eq!(led.len(), 1, "key {of}");
            // Unique within the place of a key; these keys have places of their own.
            given.insert(led[0]);
            let stored = insist(|| rig.leases.fill(led[0], entry(of, b"answer"))).await;
            let is_there = insist(|| rig.entries.lookup(entry(of, b"").at)).await;
            // Where the answer to the fill was lost, the second one finds that it was done.
            assert!(matches!(is_there, Lookup::Found(_)), "key {of}: {stored:?}");
        }
    };
    timeout(Duration::from_secs(60), all).await.unwrap();
    assert_eq!(given.len(), 200);
    assert!(rig.proxy.resets() > 100, "{}", rig.proxy.resets());
}

#[tokio::test]
async fn a_flight_that_is_over_is_over_though_nobody_was_told() {
    let rig = rig().await;
    rig.proxy.set(Faults::of_answers(Fault::ResetEvery(3)));
    let mut told = 0;
    let all = async {
        for of in 10..110 {
            let acquired = insist(|| rig.leases.acquire(key(of), Claim(1))).await;
            let Acquired::Lead(token, _) = acquired else { panic!("{acquired:?}") };
            // Where it cannot be said again either, the sidecar does not know.
            if let Ok(after) = rig.leases.fail(key(of), token, Failed::default()).await {
                assert_eq!(after, AfterFailure::Over, "key {of}: no other attempt follows");
                told += 1;
            }
        }
    };
    timeout(Duration::from_secs(60), all).await.unwrap();
    assert!(told > 50 && rig.proxy.resets() > 50, "{told} {}", rig.proxy.resets());
}

#[tokio::test]
async fn a_lease_whose_grant_was_lost_is_had_by_asking_again() {
    let rig = rig().await;
    // Something is known of the script and of the connection before it begins.
    let _: Acquired = rig.leases.acquire(key(2), Claim(9)).await.unwrap();
    rig.proxy.set(Faults::of_answers(Fault::Drop));
    assert!(rig.leases.acquire(key(1), Claim(1)).await.is_err(), "granted, and not heard of");
    rig.proxy.heal();
    rig.is_back().await;
    let other = rig.leases.acquire(key(1), Claim(2)).await.unwrap();
    assert!(matches!(other, Acquired::Follow(_)), "{other:?}");
    let Acquired::Lead(token, _) = rig.leases.acquire(key(1), Claim(1)).await.unwrap() else {
        panic!("the same claim is the same lease")
    };
    let renewed = rig.leases.renew(key(1), token).await.unwrap();
    assert_eq!(renewed, Renewed::Current { followers: 1 });
    assert_eq!(rig.leases.fill(token, entry(1, b"a")).await.unwrap(), Held::Current);
}
