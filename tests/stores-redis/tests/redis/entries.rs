//! Entries in Redis: the suite of all stores, and what is Redis's alone.

use kt_contract::time::Millis;
use sidecar_cache::flight::{Acquired, Held};
use sidecar_cache::store::leases::{Claim, LeaseStore};
use sidecar_cache::store::redis::{RedisEntries, RedisLeases};
use sidecar_cache::store::{Bounds, EntryStore, Lifetime, NewEntry, OrgHeld, StoreError};

use crate::entry_suite::{BOUNDS, LONG, at, fill, fill_of, found};
use crate::support::{redis, redis_at, server};

crate::entry_store_suite! {
    redis {
        test: tokio::test,
        open: |bounds| async move {
            sidecar_cache::store::redis::RedisEntries::new(crate::support::redis(), bounds)
        },
        wait: crate::support::wait,
    }
}

fn entries() -> RedisEntries {
    RedisEntries::new(redis(), BOUNDS)
}

#[tokio::test]
async fn what_others_have_filled_is_found_and_measured() {
    let redis = redis();
    let (one, other) = (RedisEntries::new(redis.clone(), BOUNDS), RedisEntries::new(redis, BOUNDS));
    fill(&one, at(1, 1), b"a".to_vec(), LONG).await;
    assert_eq!(found(&other, at(1, 1)).await.unwrap().bytes, "a");
    assert_eq!(other.held_by_org(), []);
    other.measure().await.unwrap();
    assert_eq!(other.held_by_org(), [OrgHeld { org: "acme".to_owned(), entries: 1, bytes: 1 }]);
}

#[tokio::test]
async fn nothing_of_ours_stays_in_redis_for_ever() {
    let server = kt_stores_redis::Server::start().unwrap();
    let store = RedisEntries::new(redis_at(&server.url()), BOUNDS);
    for key in 1..9 {
        fill(&store, at(key, 1), b"a".to_vec(), Millis(5_000)).await;
    }
    let keys = server.keys().unwrap();
    let mut lasting = Vec::new();
    for key in &keys {
        let left: i64 = server.run(&[b"PTTL", key.as_slice()]).unwrap();
        assert!(left <= 7_000, "{}", String::from_utf8_lossy(key));
        if left < 0 {
            lasting.push(String::from_utf8_lossy(key).into_owned());
        }
    }
    assert_eq!(keys.len(), 8 + 1 + 2 + 1, "entries, a request, an organization, their names");
    assert!(lasting.len() == 1 && lasting[0].ends_with("{orgs}"), "{lasting:?}");
}

#[tokio::test]
async fn no_byte_of_an_organization_is_in_a_key() {
    let server = kt_stores_redis::Server::start().unwrap();
    let store = RedisEntries::new(redis_at(&server.url()), BOUNDS);
    let org = "x}{y\r\n*1\r\n$8\r\nFLUSHALL\r\n \0";
    fill_of(org, &store, at(1, 1), b"a".to_vec(), Lifetime { fresh: LONG, stale: LONG }).await;
    assert_eq!(store.held_by_org()[0].org, org);
    for key in server.keys().unwrap() {
        let is_ours = |byte: &u8| byte.is_ascii_alphanumeric() || b":{}".contains(byte);
        assert!(key.iter().all(is_ours), "{:?}", String::from_utf8_lossy(&key));
    }
    assert_eq!(store.purge_org(org.to_owned()).await.unwrap(), 1);
}

#[tokio::test]
async fn scripts_that_a_server_has_forgotten_are_told_again() {
    let store = entries();
    for key in 1..4 {
        let _: () = server().run(&["SCRIPT", "FLUSH"]).unwrap();
        fill(&store, at(key, 1), b"a".to_vec(), LONG).await;
        assert!(found(&store, at(key, 1)).await.is_some());
    }
    assert!(store.purge(at(1, 1).key, None).await.unwrap());
}

#[tokio::test]
async fn a_redis_that_is_full_drops_fills_and_answers_lookups() {
    let server = kt_stores_redis::Server::start().unwrap();
    let redis = redis_at(&server.url());
    let store = RedisEntries::new(redis.clone(), BOUNDS);
    fill(&store, at(1, 1), b"a".to_vec(), LONG).await;
    let _: () = server.run(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    for key in 2..40 {
        let entry = NewEntry {
            at: at(key, 1),
            org: "acme".to_owned(),
            bytes: vec![0; 10],
            lifetime: Lifetime { fresh: LONG, stale: LONG },
        };
        let refused = store.fill(entry).await.unwrap_err();
        assert!(matches!(&refused, StoreError::Transient(why) if why.contains("OOM")), "{refused}");
        assert!(found(&store, at(key, 1)).await.is_none());
    }
    assert_eq!(redis.counts().refused, 38);
    assert!(redis.is_asked(), "a server that refuses is not one that fails");
    assert!(found(&store, at(1, 1)).await.is_some());
    let _: () = server.run(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    fill(&store, at(2, 1), b"a".to_vec(), LONG).await;
}

#[tokio::test]
async fn a_server_that_comes_back_is_found_again() {
    let mut server = kt_stores_redis::Server::start().unwrap();
    let redis = redis_at(&server.url());
    let store = RedisEntries::new(redis.clone(), BOUNDS);
    fill(&store, at(1, 1), b"a".to_vec(), LONG).await;
    server.kill();
    assert!(store.lookup(at(1, 1)).await.is_err());
    server.start_again().unwrap();
    // Nobody connects for a moment after a connection has failed; a server that is there is asked at the latest
    // with the next probe.
    let mut tries = tokio::time::interval(std::time::Duration::from_millis(20));
    let back = async {
        while store.lookup(at(1, 1)).await.is_err() {
            tries.tick().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), back).await.unwrap();
    fill(&store, at(1, 1), b"b".to_vec(), LONG).await;
    assert_eq!(found(&store, at(1, 1)).await.unwrap().bytes, "b");
}

#[tokio::test]
async fn an_organization_beyond_its_bound_is_told_of_before_it_is_asked() {
    let store = RedisEntries::new(redis(), Bounds { org_bytes_max: 10, ..BOUNDS });
    for key in 1..4 {
        fill(&store, at(key, 1), vec![0; 6], LONG).await;
    }
    assert_eq!((store.held().entries, store.held().evicted), (1, 2));
    assert!(found(&store, at(3, 1)).await.is_some());
}

/// Removes what of these names is there, as eviction does.
fn evict(server: &kt_stores_redis::Server, what: impl Fn(&str) -> bool) {
    for name in server.keys().unwrap() {
        if what(&String::from_utf8_lossy(&name)) {
            let _: i64 = server.run(&[&b"DEL"[..], &name]).unwrap();
        }
    }
}

#[tokio::test]
async fn an_organizations_bound_does_not_shrink_when_half_of_its_index_is_evicted() {
    let server = kt_stores_redis::Server::start().unwrap();
    for half in ["}t", "}b"] {
        let bounds = Bounds { org_bytes_max: 20, ..BOUNDS };
        let store = RedisEntries::new(redis_at(&server.url()), bounds);
        for key in 1..4 {
            fill(&store, at(key, 1), vec![0; 6], LONG).await;
        }
        evict(&server, |name| name.contains("{o") && name.ends_with(half));
        for key in 4..7 {
            fill(&store, at(key, 1), vec![0; 6], LONG).await;
        }
        assert_eq!((store.held().entries, store.held().bytes), (3, 18), "{half}");
        for key in 4..7 {
            assert!(found(&store, at(key, 1)).await.is_some(), "{half}: {key}");
        }
        // Nor does it when nothing is filled before something is purged.
        evict(&server, |name| name.contains("{o") && name.ends_with(half));
        assert!(store.purge(at(4, 1).key, None).await.unwrap());
        assert_eq!(store.held().entries, 0, "{half}");
        assert!(!server.keys().unwrap().iter().any(|name| name.ends_with(b"}b")), "{half}");
    }
}

#[tokio::test]
async fn an_organization_whose_name_was_evicted_is_not_another_one() {
    let server = kt_stores_redis::Server::start().unwrap();
    let one = RedisEntries::new(redis_at(&server.url()), BOUNDS);
    for key in 1..4 {
        fill(&one, at(key, 1), b"a".to_vec(), LONG).await;
    }
    evict(&server, |name| name.ends_with("{orgs}"));
    assert!(one.purge(at(1, 1).key, None).await.unwrap());
    let orgs = |store: &RedisEntries| -> Vec<String> {
        store.held_by_org().into_iter().map(|held| held.org).collect()
    };
    assert_eq!(orgs(&one), ["acme"]);
    one.name_again().await.unwrap();
    assert!(one.purge(at(2, 1).key, None).await.unwrap());
    assert_eq!((orgs(&one), one.held().entries), (vec!["acme".to_owned()], 1));
}

/// What no index knows of any more would stay beyond the organization's bound.
#[tokio::test]
async fn what_gives_way_is_gone_though_the_entry_is_not_stored() {
    let server = kt_stores_redis::Server::start().unwrap();
    let user = ["ACL", "SETUSER", "kt", "on", "nopass", "~*", "&*", "+@all"];
    let _: () = server.run(&user).unwrap();
    let redis = redis_at(&server.url().replacen("://", "://kt:any@", 1));
    let entries = RedisEntries::new(redis.clone(), Bounds { org_bytes_max: 10, ..BOUNDS });
    let leases = RedisLeases::new(redis, entries.clone());
    let entry = |key| NewEntry {
        at: at(key, 1),
        org: "acme".to_owned(),
        bytes: vec![0; 6],
        lifetime: Lifetime { fresh: LONG, stale: Millis(0) },
    };
    for has_lease in [false, true] {
        let _: () = server.run(&["ACL", "SETUSER", "kt", "+set"]).unwrap();
        entries.fill(entry(1)).await.unwrap();
        let acquired = leases.acquire(at(2, 1).key, Claim(1)).await.unwrap();
        let Acquired::Lead(token, _) = acquired else { panic!("{acquired:?}") };
        let _: () = server.run(&["ACL", "SETUSER", "kt", "-set"]).unwrap();
        if has_lease {
            assert!(leases.fill(token, entry(2)).await.is_err());
        } else {
            assert!(entries.fill(entry(2)).await.is_err());
        }
        assert!(found(&entries, at(1, 1)).await.is_none(), "{has_lease}");
        assert_eq!(leases.abandon(at(2, 1).key, token).await.unwrap(), Held::Current);
    }
}
