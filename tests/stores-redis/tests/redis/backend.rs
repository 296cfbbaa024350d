//! A sidecar's stores from an address on: what a start asks of a Redis, and what becomes of it when it goes away.

use std::time::Duration;

use kt_contract::time::Millis;
use kt_stores_redis::{Server, url as url_as};
use sidecar_cache::cache_backend::{self, Backend, Place};
use sidecar_cache::clock::Clock;
use sidecar_cache::entry::Entry;
use sidecar_cache::flight::{Acquired, Held};
use sidecar_cache::store::health::Health;
use sidecar_cache::store::leases::Claim;
use sidecar_cache::store::redis::{Servers, Unchecked};
use sidecar_cache::store::{Lifetime, Lookup, NewEntry, StoreError};
use tokio::time::{Instant, interval, timeout};

use crate::corruption::encoded;
use crate::entry_suite::{BOUNDS, LONG, at};
use crate::support::{redis_at, server};
use crate::topologies::cluster;

/// The promise is five seconds; a busy machine may add to it.
const SOON: Duration = Duration::from_secs(20);

fn place(url: &str, prefix: &str) -> Place {
    Place::Redis {
        servers: Servers::parse(url).unwrap(),
        prefix: prefix.to_owned(),
        org_bytes_max: 1 << 20,
    }
}

async fn opened(url: &str, prefix: &str) -> Result<Backend, StoreError> {
    cache_backend::open(place(url, prefix), BOUNDS, Clock::start()).await
}

fn health(backend: &Backend) -> Health {
    backend.entries.health().unwrap()
}

fn entry(of: u8) -> NewEntry {
    let lifetime = Lifetime { fresh: LONG, stale: Millis(0) };
    NewEntry { at: at(of, of), org: "acme".to_owned(), bytes: encoded("acme"), lifetime }
}

/// Waits until something holds, for so long at most, and says how long that took.
async fn until(most: Duration, mut holds: impl AsyncFnMut() -> bool) -> Duration {
    let before = Instant::now();
    let mut tries = interval(Duration::from_millis(20));
    let holding = async {
        while !holds().await {
            tries.tick().await;
        }
    };
    timeout(most, holding).await.unwrap();
    before.elapsed()
}

#[tokio::test]
async fn what_one_sidecar_fills_another_serves_by_lease_or_without() {
    let url = server().url();
    let one = opened(&url, "shared:").await.unwrap();
    let other = opened(&url, "shared:").await.unwrap();
    one.entries.fill(entry(1)).await.unwrap();
    let leases = &one.shared.as_ref().unwrap().leases;
    let acquired = leases.acquire(at(2, 2).key, Claim(1)).await.unwrap();
    let Acquired::Lead(token, _) = acquired else { panic!("{acquired:?}") };
    assert_eq!(leases.fill(token, entry(2)).await.unwrap(), Held::Current);
    assert_eq!(health(&one).copies.entries, 2, "both are in its memory");
    for at in [at(1, 1), at(2, 2)] {
        let Lookup::Found(found) = other.entries.lookup(at).await.unwrap() else {
            panic!("{at:?}")
        };
        assert_eq!(Entry::whose(&found.bytes).as_deref(), Some("acme"));
    }
    assert_eq!((health(&other).copies.entries, health(&other).copies.hits), (2, 0));
    assert!(health(&one).away.is_none() && health(&one).fault().is_none());
    let renamed = opened(&url, "another:").await.unwrap();
    assert_eq!(renamed.entries.lookup(at(1, 1)).await.unwrap(), Lookup::Absent);
    let measured = opened(&url, "shared:").await.unwrap();
    assert_eq!(measured.entries.held().entries, 2, "what is there is known from the start");
}

#[tokio::test]
async fn a_sidecar_starts_without_its_redis_and_finds_it_when_it_comes() {
    let mut server = Server::start().unwrap();
    let url = server.url();
    server.kill();
    let Backend { entries, keeper, .. } = opened(&url, "p:").await.unwrap();
    let health = || entries.health().unwrap();
    let (_, why) = health().away.unwrap();
    assert!(why.contains("refused"), "{why}");
    assert!(matches!(entries.lookup(at(1, 1)).await, Err(StoreError::Away(_))));
    assert!(matches!(entries.fill(entry(1)).await, Err(StoreError::Away(_))));
    let keeping = tokio::spawn(keeper.unwrap().keep());
    server.start_again().unwrap();
    until(SOON, async || health().away.is_none()).await;
    entries.fill(entry(1)).await.unwrap();
    assert!(health().away_total > Millis(0) && health().counts.lost >= 2);

    server.kill();
    until(SOON, async || health().away.is_some()).await;
    assert!(matches!(entries.lookup(at(1, 1)).await, Ok(Lookup::Found(_))), "from memory");
    assert!(matches!(entries.lookup(at(2, 2)).await, Err(StoreError::Away(_))));
    // The breaker too, as it does under load.
    until(SOON, async || {
        _ = entries.lookup(at(2, 2)).await;
        !health().is_asked
    })
    .await;
    server.start_again().unwrap();
    until(SOON, async || entries.fill(entry(2)).await.is_ok()).await;
    until(SOON, async || health().away.is_none() && health().is_asked).await;
    keeping.abort();
}

#[tokio::test]
async fn a_redis_that_will_not_do_is_refused_with_what_to_do() {
    let master = server();
    let of = format!("127.0.0.1 {}", master.port);
    let replica = Server::start_with(&[("replicaof", &of)]).unwrap();
    replica
        .waits_until(|replica| {
            let info: String = replica.run(&["INFO", "replication"])?;
            Ok(info.contains("master_link_status:up"))
        })
        .unwrap();
    let limited = Server::start().unwrap();
    let user = ["ACL", "SETUSER", "kt", "on", ">hunter2", "~*", "&*", "+@all", "-eval", "-evalsha"];
    let _: () = limited.run(&user).unwrap();
    let node = cluster().nodes[0].url();
    for (url, said) in [
        (
            replica.url(),
            format!(
                "it is a replica, which nothing can be stored in: name its master (127.0.0.1:{})",
                master.port
            ),
        ),
        (url_as("kt:hunter2@", limited.port), "scripts may not run in it".to_owned()),
        (node, "begin the address with redis-cluster://".to_owned()),
        (master.url().replace("://", "-cluster://"), "begin the address with redis://".to_owned()),
    ] {
        let error = opened(&url, "p:").await.map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(&said) && error.contains(" at 127.0.0.1:"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn a_login_that_is_refused_is_told_and_is_no_reason_not_to_start() {
    let server = Server::start_with(&[("requirepass", "hunter2")]).unwrap();
    for login in ["", ":wrong@"] {
        let url = url_as(login, server.port);
        let backend = opened(&url, "p:").await.unwrap();
        let fault = health(&backend).fault().unwrap();
        assert!(fault.contains("NOAUTH") || fault.contains("WRONGPASS"), "{fault}");
        assert!(!fault.contains("hunter2") && !fault.contains("wrong@"), "{fault}");
    }
    let url = url_as(":hunter2@", server.port);
    let backend = opened(&url, "p:").await.unwrap();
    assert_eq!(health(&backend).fault(), None);
}

#[tokio::test]
async fn a_cluster_and_a_unix_socket_will_do() {
    let on_cluster = opened(&cluster().url().unwrap(), "backend:").await.unwrap();
    on_cluster.entries.fill(entry(1)).await.unwrap();
    assert!(matches!(on_cluster.entries.lookup(at(1, 1)).await.unwrap(), Lookup::Found(_)));
    let redis = redis_at(&cluster().url().unwrap());
    redis.ping().await.unwrap();
    assert_eq!(redis.check().await.unwrap().policy, "noeviction");
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("redis.sock");
    let path = socket.to_string_lossy().into_owned();
    let _server = Server::start_with(&[("unixsocket", &path)]).unwrap();
    let by_socket = opened(&format!("unix://{path}"), "p:").await.unwrap();
    by_socket.entries.fill(entry(1)).await.unwrap();
    assert_eq!(health(&by_socket).place, format!("redis at {path}"));
}

#[tokio::test]
async fn what_comes_back_as_another_is_looked_at_again() {
    let server = Server::start().unwrap();
    let redis = redis_at(&server.url());
    let noted = redis.check().await.unwrap();
    assert_eq!((noted.memory_max, noted.policy.as_str()), (0, "noeviction"));
    assert!(noted.advice().unwrap().contains("no bound on its memory"));
    let _: () = server.run(&["CONFIG", "SET", "maxmemory", "100mb"]).unwrap();
    for (policy, said) in [
        ("allkeys-lru", None),
        ("volatile-ttl", Some("leases of calls under way")),
        ("allkeys-random", Some("at random")),
        ("volatile-random", Some("at random")),
    ] {
        let _: () = server.run(&["CONFIG", "SET", "maxmemory-policy", policy]).unwrap();
        let advice = redis.check().await.unwrap().advice();
        assert_eq!(advice.is_some(), said.is_some(), "{policy}");
        assert!(advice.unwrap_or_default().contains(said.unwrap_or_default()), "{policy}");
        assert_eq!(redis.health().advice, advice, "{policy}");
    }
    let _: () = server.run(&["REPLICAOF", "127.0.0.1", "1"]).unwrap();
    let Err(Unchecked::Unfit(why)) = redis.check().await else { panic!("it will not do") };
    assert!(why.contains("it is a replica"), "{why}");
    assert!(redis.health().fault().unwrap().contains("it is a replica"));
    let _: () = server.run(&["REPLICAOF", "NO", "ONE"]).unwrap();
    redis.check().await.unwrap();
    assert_eq!(redis.health().fault(), None);
}
