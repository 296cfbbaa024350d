//! What every store of keys does, wherever it keeps them. Each test gets a way to open one, again after a restart.

use std::collections::BTreeSet;

use kt_contract::hex::Digest;
use kt_contract::principal::{KeyHash, Principal};
use kt_contract::time::UnixMillis;
use sidecar_cache::store::{KeyRecord, PrincipalStore, Revoked, Rotated, StoreError};

pub(crate) fn hash(number: u8) -> KeyHash {
    KeyHash(Digest([number; 32]))
}

pub(crate) fn record(name: &str, number: u8) -> KeyRecord {
    KeyRecord {
        hash: hash(number),
        principal: Principal {
            key_id: name.to_owned(),
            lineage: None,
            org: "acme".to_owned(),
            team: None,
            user: Some("o'neill\0\u{1f511}".to_owned()),
            agent: None,
            group: Some("coders".to_owned()),
            codebases: BTreeSet::from(["acme/web".to_owned()]),
            entitlements: BTreeSet::new(),
        },
        created_at: UnixMillis(u64::from(number)),
        revoked_at: None,
        ends_at: None,
        successor: None,
    }
}

pub(crate) async fn a_key_survives_a_restart<S: PrincipalStore>(open: impl Fn() -> S) {
    open().add(record("gk_1", 1)).await.unwrap();
    let keys = open();
    assert_eq!(keys.find(hash(1)).await.unwrap(), Some(record("gk_1", 1)));
    assert_eq!(keys.find_named("gk_1".to_owned()).await.unwrap(), Some(record("gk_1", 1)));
    assert_eq!(keys.find(hash(2)).await.unwrap(), None);
    assert_eq!(keys.find_named("gk_2".to_owned()).await.unwrap(), None);
}

pub(crate) async fn a_revoked_key_stays_known_with_its_first_moment<S: PrincipalStore>(
    open: impl Fn() -> S,
) {
    let keys = open();
    keys.add(record("gk_1", 1)).await.unwrap();
    for at in [UnixMillis(50), UnixMillis(60)] {
        let revoked = keys.revoke("gk_1".to_owned(), at).await.unwrap();
        assert_eq!(revoked, Revoked::Done(hash(1)));
    }
    let found = open().find(hash(1)).await.unwrap().unwrap();
    assert_eq!(found.revoked_at, Some(UnixMillis(50)));
    assert_eq!(keys.revoke("gk_9".to_owned(), UnixMillis(1)).await.unwrap(), Revoked::Unknown);
}

pub(crate) async fn names_and_hashes_are_unique<S: PrincipalStore>(open: impl Fn() -> S) {
    let keys = open();
    keys.add(record("gk_1", 1)).await.unwrap();
    for (name, number) in [("gk_1", 2), ("gk_2", 1)] {
        let error = keys.add(record(name, number)).await.unwrap_err();
        assert!(matches!(error, StoreError::Permanent(_)), "{name}: {error:?}");
    }
    assert_eq!(keys.list().await.unwrap(), [record("gk_1", 1)]);
}

pub(crate) async fn keys_are_listed_from_the_oldest_on<S: PrincipalStore>(open: impl Fn() -> S) {
    let keys = open();
    for (name, number) in [("gk_b", 3), ("gk_c", 1), ("gk_a", 2)] {
        keys.add(record(name, number)).await.unwrap();
    }
    let expected = [record("gk_c", 1), record("gk_a", 2), record("gk_b", 3)];
    assert_eq!(open().list().await.unwrap(), expected);
}

pub(crate) async fn a_name_is_bytes_and_never_a_statement<S: PrincipalStore>(open: impl Fn() -> S) {
    let keys = open();
    for (number, name) in (1..).zip(["gk_'; DROP TABLE keys; --", "a\0b", "\u{1f511}", ""]) {
        keys.add(record(name, number)).await.unwrap();
        let found = keys.find_named(name.to_owned()).await.unwrap();
        assert_eq!(found, Some(record(name, number)), "{name:?}");
    }
}

pub(crate) async fn a_rotation_adds_a_key_and_gives_the_old_one_an_end<S: PrincipalStore>(
    open: impl Fn() -> S,
) {
    let keys = open();
    keys.add(record("gk_1", 1)).await.unwrap();
    let rotated = keys.rotate("gk_1".to_owned(), record("gk_2", 2), UnixMillis(90)).await.unwrap();
    assert_eq!(rotated, Rotated::Done(hash(1)));
    let keys = open();
    let old = keys.find(hash(1)).await.unwrap().unwrap();
    assert_eq!((old.ends_at, old.successor.as_deref()), (Some(UnixMillis(90)), Some("gk_2")));
    assert_eq!((old.is_over(UnixMillis(89)), old.is_over(UnixMillis(90))), (false, true));
    assert_eq!(keys.find(hash(2)).await.unwrap(), Some(record("gk_2", 2)));
}

pub(crate) async fn the_place_of_a_key_is_taken_once_unless_its_successor_is_revoked<
    S: PrincipalStore,
>(
    open: impl Fn() -> S,
) {
    let keys = open();
    keys.add(record("gk_1", 1)).await.unwrap();
    let rotate = async |new: u8, end| {
        let new = record(&format!("gk_{new}"), new);
        keys.rotate("gk_1".to_owned(), new, UnixMillis(end)).await.unwrap()
    };
    assert_eq!(rotate(2, 90).await, Rotated::Done(hash(1)));
    let taken = Rotated::Replaced { successor: "gk_2".to_owned() };
    assert_eq!(rotate(3, 80).await, taken);
    keys.revoke("gk_2".to_owned(), UnixMillis(5)).await.unwrap();
    assert_eq!(rotate(4, 70).await, Rotated::Done(hash(1)));
    let old = keys.find(hash(1)).await.unwrap().unwrap();
    assert_eq!((old.ends_at, old.successor.as_deref()), (Some(UnixMillis(70)), Some("gk_4")));
    let names = keys.list().await.unwrap().into_iter().map(|record| record.principal.key_id);
    assert_eq!(names.collect::<Vec<_>>(), ["gk_1", "gk_2", "gk_4"], "what is refused adds nothing");
}

pub(crate) async fn a_key_that_is_over_has_no_place_to_take<S: PrincipalStore>(
    open: impl Fn() -> S,
) {
    let keys = open();
    let at = |name: &str| (name.to_owned(), UnixMillis(90));
    let (unknown, end) = at("gk_9");
    let rotated = keys.rotate(unknown, record("gk_2", 2), end).await.unwrap();
    assert_eq!(rotated, Rotated::Unknown);
    keys.add(record("gk_1", 1)).await.unwrap();
    keys.add(KeyRecord { ends_at: Some(UnixMillis(7)), ..record("gk_3", 3) }).await.unwrap();
    keys.revoke("gk_1".to_owned(), UnixMillis(5)).await.unwrap();
    for (name, new) in [("gk_1", 6), ("gk_3", 7)] {
        let (name, end) = at(name);
        let rotated = keys.rotate(name.clone(), record("gk_new", new), end).await.unwrap();
        assert_eq!(rotated, Rotated::Over, "{name}");
    }
    assert_eq!(keys.list().await.unwrap().len(), 2);
}
