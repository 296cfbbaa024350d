//! Invalidation: what was made before it is not served after it, whatever was on its way.

use std::time::Duration;

use crate::support::*;
use kt_contract::outcome::Reason;
use sidecar_cache::generation::Tag;

#[tokio::test(start_paused = true)]
async fn an_entry_of_an_older_generation_is_a_miss_removed_and_counted() {
    let group = group().await;
    let key = group.key().await;
    let ask = || group.ask(&key, CHAT);
    for tag in [
        Tag::Org,
        Tag::Codebase("acme/web".to_owned()),
        Tag::Model("gpt-4o-mini".to_owned()),
        Tag::Policy(ask().gates.policy),
        Tag::Entry(ask().key),
    ] {
        group.fetch(&key, CHAT).await.unwrap();
        assert!(group.is_cached(&key, CHAT).await, "{tag:?}");
        group.sidecar.bump("acme", tag.clone()).await.unwrap();
        assert_eq!(group.ticket(ask()).await.1, Reason::Generation, "{tag:?}");
        assert_eq!(group.sidecar.status().entries, 0, "{tag:?}");
        assert_eq!(group.ticket(ask()).await.1, Reason::Request, "it is gone: {tag:?}");
    }
    assert_eq!(group.metric("kt_lookups_total{outcome=\"miss\",reason=\"generation\"}"), "5");
}

#[tokio::test(start_paused = true)]
async fn what_an_entry_does_not_belong_to_leaves_it() {
    let group = group().await;
    let key = group.key().await;
    group.fetch(&key, CHAT).await.unwrap();
    for (org, tag) in [
        ("globex", Tag::Org),
        ("globex", Tag::Model("gpt-4o-mini".to_owned())),
        ("acme", Tag::Model("gpt-4o".to_owned())),
        ("acme", Tag::Codebase("acme/api".to_owned())),
    ] {
        group.sidecar.bump(org, tag.clone()).await.unwrap();
        assert!(group.is_cached(&key, CHAT).await, "{org}: {tag:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_under_way_is_served_and_not_stored() {
    let group = group().await;
    let key = group.key().await;
    for (body, scripted) in [
        (CHAT, Scripted { head_after: Duration::from_secs(9), ..answers_json(JSON) }),
        (CHAT_STREAM, answers_sse(vec![Act::Wait(Duration::from_secs(9)), bytes(&sse())])),
    ] {
        group.provider.next(scripted);
        let invalidate = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            group.sidecar.bump("acme", Tag::Org).await.unwrap();
        };
        let (seen, ()) = tokio::join!(group.fetch(&key, body), invalidate);
        assert!(seen.unwrap().has_end, "who asked before gets the answer");
        assert!(!group.is_cached(&key, body).await);
    }
    assert_eq!(group.metric("kt_not_stored_total{reason=\"superseded\"}"), "2");
    group.fetch(&key, CHAT).await.unwrap();
    assert!(group.is_cached(&key, CHAT).await, "the next one is stored");
}
