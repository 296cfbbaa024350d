//! What is remembered, for how long, and within which bounds.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use kt_contract::hex::Digest;
use tempfile::TempDir;

use super::*;

const BOUNDS: OrgBounds = OrgBounds { replies: 3, bytes: 100 };

fn id(number: u8) -> ReplyId {
    ReplyId(Digest([number; 32]))
}

fn open(folder: &TempDir, clock: Clock) -> SqliteReplies {
    SqliteReplies::open_bounded(folder.path(), clock, BOUNDS).unwrap()
}

async fn keep(store: &SqliteReplies, number: u8, org: &str, bytes: &[u8]) {
    let reply = NewReply { id: id(number), org: org.to_owned(), bytes: bytes.to_vec() };
    store.keep(reply).await.unwrap();
}

async fn numbers(store: &SqliteReplies) -> Vec<u8> {
    let mut found = Vec::new();
    for number in 0..20 {
        if store.find(id(number)).await.unwrap().is_some() {
            found.push(number);
        }
    }
    found
}

#[tokio::test]
async fn what_was_kept_survives_a_restart_in_a_file_of_its_owners() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder, Clock::start());
    keep(&store, 1, "acme", b"\0one\xff").await;
    keep(&store, 2, "acme", b"").await;
    drop(store);
    let mode = folder.path().join("idempotency.db").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let store = open(&folder, Clock::start());
    assert_eq!(store.find(id(1)).await.unwrap().unwrap(), b"\0one\xff");
    assert_eq!(store.find(id(2)).await.unwrap().unwrap(), b"");
    assert_eq!(store.find(id(3)).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_told_for_a_day_by_a_clock_that_only_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder, Clock::start());
    keep(&store, 1, "acme", b"one").await;
    tokio::time::advance(Duration::from_secs(24 * 3_600 - 1)).await;
    keep(&store, 2, "acme", b"two").await;
    assert_eq!(numbers(&store).await, [1, 2]);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(numbers(&store).await, [2]);
    // It was found expired; the next one removes it.
    keep(&store, 3, "acme", b"three").await;
    drop(store);
    // A restart goes on from the newest: the wall clock of this test stands a day behind by now.
    let store = open(&folder, Clock::start());
    assert_eq!(numbers(&store).await, [2, 3]);
    tokio::time::advance(Duration::from_secs(24 * 3_600 - 1)).await;
    assert_eq!(numbers(&store).await, [3]);
}
