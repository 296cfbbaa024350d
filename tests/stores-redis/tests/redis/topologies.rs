//! The same suites where there is more than one server: behind a Sentinel, and on a cluster of three masters. The
//! servers are started by whoever comes first.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kt_contract::time::Millis;
use kt_stores_redis::{Cluster, Watched};
use sidecar_cache::flight::Held;
use sidecar_cache::store::flight_log::{Appended, Cursor, FlightLog, LogAt, Read};
use sidecar_cache::store::leases::{Claim, LeaseStore};
use sidecar_cache::store::redis::{Redis, RedisEntries, RedisLeases, RedisLogs};
use sidecar_cache::store::{EntryStore, StoreError};
use tokio::time::{interval, timeout};

use crate::entry_suite::{BOUNDS, LONG, at, fill};
use crate::lease_suite::{self, Opened, follow, key, lead};
use crate::log_suite::OpenedLogs;
use crate::support::{redis_at, redis_named};

/// Far longer than anything takes.
const SOON: Duration = Duration::from_secs(20);
/// No reader looks so seldom.
const NEVER: Duration = Duration::from_secs(3_600);

fn behind_a_sentinel() -> Redis {
    static WATCHED: OnceLock<Watched> = OnceLock::new();
    redis_at(&WATCHED.get_or_init(|| Watched::start().unwrap()).url())
}

/// The cluster that the tests of this binary share.
pub(crate) fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start().unwrap())
}

fn on_a_cluster() -> Redis {
    redis_at(&cluster().url().unwrap())
}

fn leases(redis: Redis) -> Opened<RedisLeases, RedisEntries> {
    let micros = Arc::new(AtomicU64::new(1_000_000));
    let entries = RedisEntries::new(redis.clone(), BOUNDS);
    let leases = RedisLeases::new(redis, entries.clone()).with_clock(Arc::clone(&micros));
    let go_on = move |time: Millis| _ = micros.fetch_add(time.0 * 1_000, Ordering::Relaxed);
    Opened { leases, entries: Arc::new(entries), go_on: Box::new(go_on) }
}

fn logs(redis: Redis) -> OpenedLogs<RedisLogs, RedisLeases> {
    let Opened { leases, go_on, .. } = leases(redis.clone());
    OpenedLogs { logs: RedisLogs::new(redis), leases: Arc::new(leases), go_on }
}

/// The place of a key's names, as in their hash tag.
fn place(of: u8) -> String {
    let digest = key(of).0.to_hex();
    format!("{{{}}}", &digest[..3])
}

/// Waits until something holds.
async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let mut tries = interval(Duration::from_millis(20));
    let holding = async {
        while !holds().await {
            tries.tick().await;
        }
    };
    timeout(SOON, holding).await.unwrap();
}

#[tokio::test]
async fn a_slot_that_moves_is_followed() {
    let cluster = Cluster::start().unwrap();
    let url = cluster.url().unwrap();
    let [redis, elsewhere] = [(); 2].map(|()| redis_named(&url, "moves:"));
    let entries = RedisEntries::new(redis.clone(), BOUNDS);
    let leases = RedisLeases::new(redis.clone(), entries.clone());
    let (writes, reads) = (RedisLogs::new(redis.clone()), RedisLogs::new(elsewhere));
    let reads = reads.polling_every(NEVER);
    fill(&entries, at(1, 1), b"entry".to_vec(), LONG).await;
    let (before, first) = lead(&leases, 1, 1).await;
    let log = LogAt { key: key(1), id: first };
    assert_eq!(writes.begin(log, before, "head".into()).await.unwrap(), Held::Current);
    let mut watch = reads.watch(log);
    watch.changed().await;

    let (slot, from) = cluster.slot(&place(1)).unwrap();
    cluster.move_slot(slot, from, (from + 1) % 3).unwrap();
    // What was granted by another server is void; what was stored there has come along.
    until(async || entries.lookup(at(1, 1)).await.is_ok()).await;
    let found = crate::entry_suite::found(&entries, at(1, 1)).await;
    assert_eq!(found.unwrap().bytes, "entry");
    let appended = writes.append(log, before, 0, vec!["late".into()]).await.unwrap();
    assert_eq!(appended, Appended::Superseded);
    assert_eq!(
        leases.fill(before, lease_suite::entry(1, b"late")).await.unwrap(),
        Held::Superseded
    );
    assert_eq!(reads.read(log, Cursor::default(), 99).await.unwrap(), Read::Absent);
    let (token, id) = lead(&leases, 1, 2).await;
    assert_ne!(token.epoch, before.epoch);
    assert_eq!(follow(&leases, 1, 3).await, id);
    let log = LogAt { key: key(1), id };
    let mut watch = reads.watch(log);
    assert_eq!(writes.begin(log, token, "head".into()).await.unwrap(), Held::Current);
    let all = async {
        let mut cursor = Cursor::default();
        for first in 0..10 {
            let appended = writes.append(log, token, first, vec!["piece".into()]).await.unwrap();
            assert_eq!(appended, Appended::Done);
            // Woken, each time, on the master that the channel is at now.
            while cursor.next <= first {
                watch.changed().await;
                if let Read::Chunk(chunk) = reads.read(log, cursor, 99).await.unwrap() {
                    cursor = chunk.cursor;
                }
            }
        }
    };
    timeout(SOON, all).await.unwrap();
    let filled = leases.fill(token, lease_suite::entry(1, b"new")).await.unwrap();
    assert_eq!((filled, redis.counts().connections), (Held::Current, 1));
}

#[tokio::test]
async fn what_a_slot_that_moves_cannot_serve_is_no_outage_of_the_others() {
    let cluster = Cluster::start().unwrap();
    let redis = redis_named(&cluster.url().unwrap(), "moves:");
    let leases = RedisLeases::new(redis.clone(), RedisEntries::new(redis.clone(), BOUNDS));
    let (slot, from) = cluster.slot(&place(1)).unwrap();
    let mut others = (2..).filter(|of| cluster.slot(&place(*of)).unwrap().0 != slot);
    lead(&leases, others.next().unwrap(), 1).await;
    let to = (from + 1) % 3;
    cluster.begin_moving(slot, from, to).unwrap();
    for nth in 1..=50 {
        let refused = leases.acquire(key(1), Claim(nth)).await.unwrap_err();
        assert!(matches!(refused, StoreError::Away(_)), "{refused}");
    }
    let health = redis.health();
    assert!(health.is_asked && health.away.is_none(), "{health:?}");
    assert_eq!((health.counts.opened, health.counts.connections), (0, 1));
    lead(&leases, others.next().unwrap(), 1).await;
    cluster.end_moving(slot, from, to).unwrap();
    until(async || leases.acquire(key(1), Claim(51)).await.is_ok()).await;
}

#[tokio::test]
async fn one_frozen_master_of_three_costs_its_slots_only() {
    let cluster = Cluster::start().unwrap();
    for node in &cluster.nodes {
        let _: () = node.run(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]).unwrap();
    }
    let of = |master| (0..=u8::MAX).find(|of| cluster.slot(&place(*of)).unwrap().1 == master);
    // The one that is frozen is the first of those that are named.
    let [lost, found] = [0, 1].map(|master| of(master).unwrap());
    let redis = redis_named(&cluster.url_of_all(), "frozen:");
    let entries = RedisEntries::new(redis.clone(), BOUNDS);
    for of in [lost, found] {
        fill(&entries, at(of, of), b"entry".to_vec(), LONG).await;
    }
    let looks = async |entries: &RedisEntries, of: u8| entries.lookup(at(of, of)).await.is_ok();
    let frozen = cluster.nodes[0].freeze().unwrap();
    for _ in 0..10 {
        assert!(!looks(&entries, lost).await);
        // More often, for half of all that fail are too many for the breaker.
        for _ in 0..3 {
            until(async || looks(&entries, found).await).await;
        }
    }
    until(async || redis.ping().await.is_ok()).await;
    assert_eq!(
        redis.counts().connections,
        1,
        "the others are asked on the connection that there is"
    );
    assert!(redis.is_asked());

    let redis = redis_named(&cluster.url_of_all(), "frozen:");
    let fresh = RedisEntries::new(redis.clone(), BOUNDS);
    until(async || looks(&fresh, found).await).await;
    assert!(!looks(&fresh, lost).await);
    drop(frozen);
    for entries in [&entries, &fresh] {
        until(async || looks(entries, lost).await && looks(entries, found).await).await;
    }
}

mod a_sentinel {
    crate::entry_store_suite! {
        entries {
            test: tokio::test,
            open: |bounds| async move {
                sidecar_cache::store::redis::RedisEntries::new(
                    crate::topologies::behind_a_sentinel(),
                    bounds,
                )
            },
            wait: crate::support::wait,
        }
    }

    crate::lease_store_suite! {
        leases {
            test: tokio::test,
            open: async { crate::topologies::leases(crate::topologies::behind_a_sentinel()) },
        }
    }

    crate::flight_log_suite! {
        logs {
            test: tokio::test,
            open: async { crate::topologies::logs(crate::topologies::behind_a_sentinel()) },
        }
    }
}

mod a_cluster {
    crate::entry_store_suite! {
        entries {
            test: tokio::test,
            open: |bounds| async move {
                sidecar_cache::store::redis::RedisEntries::new(
                    crate::topologies::on_a_cluster(),
                    bounds,
                )
            },
            wait: crate::support::wait,
        }
    }

    crate::lease_store_suite! {
        leases {
            test: tokio::test,
            open: async { crate::topologies::leases(crate::topologies::on_a_cluster()) },
        }
    }

    crate::flight_log_suite! {
        logs {
            test: tokio::test,
            open: async { crate::topologies::logs(crate::topologies::on_a_cluster()) },
        }
    }
}
