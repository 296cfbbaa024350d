//! A replica takes the master's place: what the old one granted is void, and no token is given twice.

use std::time::Duration;

use kt_fault_proxy::{Fault, Faults, Proxy};
use kt_stores_redis::{Server, Watched, url};
use sidecar_cache::flight::{Acquired, Held, Token};
use sidecar_cache::store::leases::{Claim, LeaseStore, Renewed};
use sidecar_cache::store::redis::{RedisEntries, RedisLeases};
use tokio::time::{interval, timeout};

use crate::entry_suite::{BOUNDS, found};
use crate::lease_suite::{entry, key, lead};
use crate::support::redis_named;

fn leases(port: u16) -> (RedisLeases, RedisEntries) {
    let redis = redis_named(&url("", port), "failover:");
    let entries = RedisEntries::new(redis.clone(), BOUNDS);
    (RedisLeases::new(redis, entries.clone()), entries)
}

/// Asks until a connection to the new master is there.
async fn insist(leases: &RedisLeases, of: u8, claim: u128) -> Acquired {
    let mut tries = interval(Duration::from_millis(20));
    let asking = async {
        loop {
            if let Ok(acquired) = leases.acquire(key(of), Claim(claim)).await {
                return acquired;
            }
            tries.tick().await;
        }
    };
    timeout(Duration::from_secs(20), asking).await.unwrap()
}

fn led(acquired: Acquired) -> Token {
    match acquired {
        Acquired::Lead(token, _) => token,
        other @ (Acquired::Follow(_) | Acquired::HitForMiss | Acquired::Full | Acquired::Mute) => {
            panic!("nobody leads: {other:?}")
        }
    }
}

#[tokio::test]
async fn a_promoted_replica_voids_what_its_master_granted() {
    let master = Server::start().unwrap();
    let of = format!("127.0.0.1 {}", master.port);
    let replica = Server::start_with(&[("replicaof", &of)]).unwrap();
    master.is_followed().unwrap();
    let proxy = Proxy::start(master.port).await.unwrap();
    let (ours, entries) = leases(proxy.port());
    let (token, _) = lead(&ours, 1, 1).await;
    let _: i64 = master.run(&["WAIT", "1", "1000"]).unwrap();
    // The replica has the lease, and the counter.
    let _: () = replica.run(&["REPLICAOF", "NO", "ONE"]).unwrap();
    proxy.lead_to(replica.port);
    proxy.set(Faults::of_answers(Fault::ResetAfter(0)));
    assert!(ours.renew(key(1), token).await.is_err());
    proxy.heal();
    let next = led(insist(&ours, 1, 2).await);
    assert_ne!(next.epoch, token.epoch);
    assert!(next.counter > token.counter, "and not even its number comes back");
    assert_eq!(ours.renew(key(1), token).await.unwrap(), Renewed::Superseded);
    assert_eq!(ours.fill(token, entry(1, b"old")).await.unwrap(), Held::Superseded);
    assert!(found(&entries, entry(1, b"").at).await.is_none());
    assert_eq!(ours.fill(next, entry(1, b"new")).await.unwrap(), Held::Current);
    assert_eq!(found(&entries, entry(1, b"").at).await.unwrap().bytes, "new");
}

#[tokio::test]
async fn what_was_not_replicated_is_not_granted_twice_under_one_name() {
    let master = Server::start().unwrap();
    let of = format!("127.0.0.1 {}", master.port);
    let replica = Server::start_with(&[("replicaof", &of)]).unwrap();
    master.is_followed().unwrap();
    // Promoted while the old master still writes: both are masters, with leaders of their own.
    let _: () = replica.run(&["REPLICAOF", "NO", "ONE"]).unwrap();
    let ((here, _), (there, entries)) = (leases(master.port), leases(replica.port));
    let mut given = Vec::new();
    for round in 0..20 {
        let of = 10 + round;
        let old = lead(&here, of, 1).await.0;
        let new = lead(&there, of, 1).await.0;
        assert_ne!(old, new, "the same claim on two servers is two leases");
        assert_eq!(there.fill(old, entry(of, b"old")).await.unwrap(), Held::Superseded);
        assert_eq!(here.fill(old, entry(of, b"old")).await.unwrap(), Held::Current, "its own");
        assert!(found(&entries, entry(of, b"").at).await.is_none());
        assert_eq!(there.fill(new, entry(of, b"new")).await.unwrap(), Held::Current);
        given.extend([(of, old), (of, new)]);
    }
    given.sort_by_key(|(of, token)| (*of, token.epoch.0, token.counter));
    given.dedup();
    assert_eq!(given.len(), 40);
    // The old master learns that it is none: what it has stored goes.
    let _: () = master.run(&["REPLICAOF", "127.0.0.1", &replica.port.to_string()]).unwrap();
    replica.is_followed().unwrap();
    let (_, entries) = leases(replica.port);
    for of in 10..30 {
        assert_eq!(found(&entries, entry(of, b"").at).await.unwrap().bytes, "new");
    }
}

#[tokio::test]
async fn a_replica_grants_nothing() {
    let master = Server::start().unwrap();
    let of = format!("127.0.0.1 {}", master.port);
    let replica = Server::start_with(&[("replicaof", &of)]).unwrap();
    master.is_followed().unwrap();
    let (ours, _) = leases(replica.port);
    let error = ours.acquire(key(1), Claim(1)).await.unwrap_err().to_string();
    assert!(error.contains("READONLY") || error.contains("read only"), "{error}");
}

#[tokio::test]
async fn sentinels_lead_to_whoever_is_the_master() {
    let mut watched = Watched::start().unwrap();
    let redis = redis_named(&watched.url(), "sentinel:");
    let ours = RedisLeases::new(redis.clone(), RedisEntries::new(redis, BOUNDS));
    let (token, _) = lead(&ours, 1, 1).await;
    let _: i64 = watched.master.run(&["WAIT", "1", "1000"]).unwrap();
    watched.master.kill();
    let next = led(insist(&ours, 1, 2).await);
    assert_ne!(next.epoch, token.epoch);
    assert_eq!(ours.fill(token, entry(1, b"old")).await.unwrap(), Held::Superseded);
    let role: String = watched.replica.run(&["INFO", "replication"]).unwrap();
    assert!(role.contains("role:master"), "{role}");
}
