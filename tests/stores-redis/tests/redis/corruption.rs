//! What somebody has done to an entry in Redis: whoever reads it refuses it, and has it removed.

use std::collections::BTreeSet;

use bytes::Bytes;
use kt_contract::gates::{Gates, ModelGate, Scope};
use kt_contract::hex::Digest;
use kt_contract::key::{CheckHash, OrgKeys};
use kt_contract::outcome::Reason;
use kt_contract::time::{Millis, UnixMillis};
use kt_providers::Recorded;
use sidecar_cache::entry::{Corrupt, Entry, Header, Mismatch};
use sidecar_cache::flight::{Epoch, Token};
use sidecar_cache::generation::Vector;
use sidecar_cache::store::redis::RedisEntries;
use sidecar_cache::store::{Address, EntryStore, Lifetime};

use crate::entry_suite::{BOUNDS, LONG, at, fill_of, found};
use crate::support::{redis_named, server};

fn keys(org: &str) -> OrgKeys {
    OrgKeys::derive(org)
}

fn gates(org: &str) -> Gates {
    Gates {
        org: org.to_owned(),
        scope: Scope::OrgShared { group: None },
        codebases: BTreeSet::new(),
        fabric: None,
        policy: Digest([5; 32]),
        model: ModelGate {
            dialect: "openai_chat".to_owned(),
            path: "/v1/chat/completions".to_owned(),
            provider: "openai".to_owned(),
            upstream: "https://api.openai.com".to_owned(),
            served_model: "gpt-4o".to_owned(),
            version: None,
        },
        entitlements: BTreeSet::new(),
    }
}

pub(crate) fn encoded(org: &str) -> Vec<u8> {
    let header = Header {
        gates: gates(org),
        check: CheckHash(Digest([9; 32])),
        generations: Vector::default(),
        token: Token { epoch: Epoch(1), counter: 1 },
        created: UnixMillis(1),
        fresh_until: UnixMillis(2),
        recorded: Recorded::Json,
        usage: None,
        served_by: "openai/gpt-4o".to_owned(),
    };
    Entry::encode(&header, br#"{"id":"chatcmpl-1","choices":[]}"#, &keys(org))
}

/// An organization's entry in a Redis where nothing else is, and the name of its key.
async fn stored(prefix: &str, org: &str, at: Address) -> (RedisEntries, String) {
    let store = RedisEntries::new(redis_named(&server().url(), prefix), BOUNDS);
    fill_of(org, &store, at, encoded(org), Lifetime { fresh: LONG, stale: Millis(0) }).await;
    let digest = at.key.0.to_hex();
    (store, format!("{prefix}{{{}}}e:{digest}", &digest[..3]))
}

async fn refused(store: &RedisEntries, at: Address, org: &str) -> Option<Corrupt> {
    let bytes = found(store, at).await.unwrap().bytes;
    let refused = Entry::decode(&bytes, &keys(org)).err();
    assert!(store.purge(at.key, Some(bytes)).await.unwrap(), "what was seen can be removed");
    assert!(found(store, at).await.is_none());
    refused
}

#[tokio::test]
async fn an_entry_that_nobody_has_touched_is_accepted() {
    let (store, name) = stored("whole:", "acme", at(1, 1)).await;
    assert_eq!(server().run::<i64>(&["EXISTS", &name]).unwrap(), 1);
    let bytes = found(&store, at(1, 1)).await.unwrap().bytes;
    let entry = Entry::decode(&bytes, &keys("acme")).unwrap();
    assert_eq!(entry.header.verify(&gates("acme"), &CheckHash(Digest([9; 32]))), Ok(()));
}

#[tokio::test]
async fn a_bit_that_flips_anywhere_is_refused() {
    let (store, name) = stored("flip:", "acme", at(1, 1)).await;
    let length: usize = server().run(&["STRLEN", &name]).unwrap();
    let label = length - encoded("acme").len();
    // Of the label, what names it: the rest of it only says how old the entry is.
    for byte in (0..4).chain((label..length).step_by(7)) {
        let (store_again, _) = stored("flip:", "acme", at(1, 1)).await;
        let before: Vec<u8> =
            server().run(&["GETRANGE", &name, &byte.to_string(), &byte.to_string()]).unwrap();
        let flipped = [before[0] ^ 0x10];
        let offset = byte.to_string();
        let words: [&[u8]; 4] = [b"SETRANGE", name.as_bytes(), offset.as_bytes(), &flipped];
        let _: i64 = server().run(&words).unwrap();
        assert!(refused(&store_again, at(1, 1), "acme").await.is_some(), "byte {byte}");
    }
    drop(store);
}

#[tokio::test]
async fn what_is_cut_or_longer_is_refused() {
    let (store, name) = stored("cut:", "acme", at(1, 1)).await;
    let whole: Vec<u8> = server().run(&["GET", &name]).unwrap();
    for cut in [0, 1, 36, 37, whole.len() / 2, whole.len() - 1] {
        set(&name, &whole[..cut]);
        assert!(refused(&store, at(1, 1), "acme").await.is_some(), "{cut} bytes");
    }
    set(&name, &[&whole[..], b"x"].concat());
    assert!(refused(&store, at(1, 1), "acme").await.is_some(), "one more");
}

fn set(name: &str, value: &[u8]) {
    let words: [&[u8]; 5] = [b"SET", name.as_bytes(), value, b"PX", b"60000"];
    let _: () = server().run(&words).unwrap();
}

#[tokio::test]
async fn an_entry_under_the_key_of_another_organization_is_refused() {
    let (store, name) = stored("copy:", "acme", at(1, 1)).await;
    let (_, other) = stored("copy:", "globex", at(2, 2)).await;
    let _: i64 = server().run(&["COPY", &name, &other, "REPLACE"]).unwrap();
    assert_eq!(refused(&store, at(2, 2), "globex").await, Some(Corrupt::Mac));
}

#[tokio::test]
async fn an_entry_under_another_key_of_its_organization_is_refused() {
    let (store, name) = stored("moved:", "acme", at(1, 1)).await;
    let (_, other) = stored("moved:", "acme", at(2, 2)).await;
    let _: () = server().run(&["RENAME", &name, &other]).unwrap();
    let bytes: Bytes = found(&store, at(2, 2)).await.unwrap().bytes;
    let entry = Entry::decode(&bytes, &keys("acme")).unwrap();
    let mut behind = gates("acme");
    behind.model.served_model = "gpt-4o-mini".to_owned();
    let check = CheckHash(Digest([9; 32]));
    let refused = entry.header.verify(&behind, &check);
    assert_eq!(refused, Err(Mismatch::Gate(Reason::Model)));
    let other_check = CheckHash(Digest([8; 32]));
    assert_eq!(entry.header.verify(&gates("acme"), &other_check), Err(Mismatch::Check));
}

#[tokio::test]
async fn what_is_no_entry_at_all_is_found_and_refused() {
    let (store, name) = stored("alien:", "acme", at(1, 1)).await;
    set(&name, b"hello");
    assert_eq!(refused(&store, at(1, 1), "acme").await, Some(Corrupt::TooShort));
    let _: i64 = server().run(&["LPUSH", &name, "not even text"]).unwrap();
    assert!(store.lookup(at(1, 1)).await.is_err(), "another type is an error, and a miss");
}
