//! What every store of replies does, wherever it keeps them. Each test gets a way to open one, again after a restart.

use kt_contract::hex::Digest;
use sidecar_cache::idempotency::{OrgBounds, ReplyId};
use sidecar_cache::store::replies::{NewReply, ReplyStore};

pub(crate) const BOUNDS: OrgBounds = OrgBounds { replies: 3, bytes: 100 };

pub(crate) fn id(number: u8) -> ReplyId {
    ReplyId(Digest([number; 32]))
}

pub(crate) fn reply(number: u8, org: &str, bytes: &[u8]) -> NewReply {
    NewReply { id: id(number), org: org.to_owned(), bytes: bytes.to_vec() }
}

async fn keep(store: &impl ReplyStore, number: u8, org: &str, bytes: &[u8]) {
    store.keep(reply(number, org, bytes)).await.unwrap();
}

/// Which of the first twenty keys have an answer.
pub(crate) async fn numbers(store: &impl ReplyStore) -> Vec<u8> {
    let mut found = Vec::new();
    for number in 0..20 {
        if store.find(id(number)).await.unwrap().is_some() {
            found.push(number);
        }
    }
    found
}

pub(crate) async fn what_was_kept_survives_a_restart<S: ReplyStore>(open: impl AsyncFn() -> S) {
    let store = open().await;
    keep(&store, 1, "acme", b"\0one\xff").await;
    keep(&store, 2, "acme", b"").await;
    drop(store);
    let store = open().await;
    assert_eq!(store.find(id(1)).await.unwrap().unwrap(), b"\0one\xff");
    assert_eq!(store.find(id(2)).await.unwrap().unwrap(), b"");
    assert_eq!(store.find(id(3)).await.unwrap(), None);
}

pub(crate) async fn a_keys_newer_answer_takes_the_place_of_the_older_and_is_counted_once<
    S: ReplyStore,
>(
    open: impl AsyncFn() -> S,
) {
    let store = open().await;
    for number in 0..10 {
        keep(&store, 1, "acme", &[number; 60]).await;
    }
    keep(&store, 2, "acme", &[0; 40]).await;
    assert_eq!(numbers(&store).await, [1, 2]);
    assert_eq!(store.find(id(1)).await.unwrap().unwrap(), [9; 60]);
}

pub(crate) async fn an_organization_beyond_its_bounds_loses_its_own_oldest<S: ReplyStore>(
    open: impl AsyncFn() -> S,
) {
    let store = open().await;
    keep(&store, 0, "umbrella", &[0; 99]).await;
    for number in 1..=5 {
        keep(&store, number, "acme", b"x").await;
    }
    assert_eq!(numbers(&store).await, [0, 3, 4, 5], "by their number");
    keep(&store, 6, "acme", &[0; 99]).await;
    assert_eq!(numbers(&store).await, [0, 5, 6], "by their bytes");
    keep(&store, 7, "acme", &[0; 500]).await;
    assert_eq!(numbers(&store).await, [0, 7], "the newest stays");
}

pub(crate) async fn an_organization_is_forgotten_for_good_and_has_all_of_its_room_again<
    S: ReplyStore,
>(
    open: impl AsyncFn() -> S,
) {
    let store = open().await;
    keep(&store, 0, "umbrella", b"x").await;
    for number in 1..=3 {
        keep(&store, number, "acme", b"x").await;
    }
    store.forget_org("acme".to_owned()).await.unwrap();
    assert_eq!(numbers(&store).await, [0]);
    drop(store);
    let store = open().await;
    assert_eq!(numbers(&store).await, [0]);
    for number in 4..=6 {
        keep(&store, number, "acme", b"x").await;
    }
    assert_eq!(numbers(&store).await, [0, 4, 5, 6]);
}
