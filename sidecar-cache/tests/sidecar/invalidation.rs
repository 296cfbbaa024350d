//! Invalidation: what was made before it is not served after it, whatever was on its way.

use std::time::Duration;

use crate::support::*;
use kt_contract::limits::FEED_FRESH;
use kt_contract::outcome::Reason;
use kt_contract::wire::admin::{EntryRequest, InvalidateRequest};
use kt_contract::wire::explain::ExplainRequest;
use kt_contract::wire::feed::{Event, FeedReply, FeedRequest};
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
        Tag::Policy(ask().plan.gates.policy),
        Tag::Entry(ask().plan.key),
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
            pass(Duration::from_secs(5)).await;
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

fn all_of(org: &str) -> InvalidateRequest {
    InvalidateRequest { org: org.to_owned(), all: true, ..InvalidateRequest::default() }
}

#[tokio::test(start_paused = true)]
async fn an_operator_is_told_what_was_invalidated_and_what_is_left() {
    let group = group().await;
    let key = group.key().await;
    let other = CHAT.replace("gpt-4o-mini", "gpt-4o");
    let stranger = group.key_with(|key| key.org = "globex".to_owned()).await;
    for (key, body) in [(&key, CHAT), (&key, &other), (&stranger, CHAT)] {
        group.fetch(key, body).await.unwrap();
    }
    let invalidate = async |request| group.sidecar.invalidate(request).await.unwrap();
    let none = InvalidateRequest { org: "acme".to_owned(), ..InvalidateRequest::default() };

    let done =
        invalidate(InvalidateRequest { model: Some("gpt-4o".to_owned()), ..none.clone() }).await;
    assert_eq!((done.kind.as_str(), done.name.as_deref()), ("model", Some("gpt-4o")));
    assert_eq!((done.generation, done.entries_dropped, done.entries_held), (1, 0, 2));
    assert!(!group.is_cached(&key, &other).await);
    assert!(group.is_cached(&key, CHAT).await);

    let of_other_org = group.ask(&stranger, CHAT).plan.key.0.to_hex();
    let done = invalidate(InvalidateRequest { key: Some(of_other_org), ..none.clone() }).await;
    assert_eq!(done.entries_dropped, 0);
    assert!(group.is_cached(&stranger, CHAT).await, "a key reaches no other organization");

    let own = group.ask(&key, CHAT).plan.key.0.to_hex();
    let done = invalidate(InvalidateRequest { key: Some(own), ..none.clone() }).await;
    assert_eq!((done.kind.as_str(), done.entries_dropped, done.entries_held), ("entry", 1, 0));

    group.fetch(&key, CHAT).await.unwrap();
    let done = invalidate(all_of("acme")).await;
    assert_eq!((done.generation, done.entries_dropped, done.entries_held), (4, 1, 0));
    assert_eq!(done.name, None);
    assert!(!group.is_cached(&key, CHAT).await);
    assert!(group.is_cached(&stranger, CHAT).await);
    assert!(group.sidecar.invalidate(none).await.is_err(), "no selector");

    let stats = group.sidecar.cache_stats();
    assert_eq!((stats.entries, stats.generation, stats.invalidated_tags), (1, 4, 1));
    assert_eq!((stats.orgs.len(), stats.orgs[0].org.as_str()), (1, "globex"));
    assert_eq!(stats.orgs[0].entry_bytes, stats.entry_bytes);
    let hits = group.metric("kt_lookups_total{outcome=\"hit\",reason=\"shared\"}");
    assert_eq!(stats.hits.to_string(), hits);
    assert!(stats.misses >= 4);
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_is_looked_at_stays_as_it_is() {
    let group = group().await;
    let key = group.key().await;
    group.fetch(&key, CHAT).await.unwrap();
    tokio::time::advance(Duration::from_secs(5)).await;
    let request = |org: &str, body| EntryRequest {
        org: org.to_owned(),
        key: group.ask(&key, CHAT).plan.key.0.to_hex(),
        body,
    };
    let entry = group.sidecar.entry_of(request("acme", false)).await.unwrap();
    assert_eq!((&entry.gates, entry.age_ms), (&group.ask(&key, CHAT).plan.gates, 5_000));
    assert!(entry.is_current && entry.fresh_ms > 0);
    assert_eq!((entry.body_bytes, entry.body), (JSON.len() as u64, None));
    let with_body = group.sidecar.entry_of(request("acme", true)).await.unwrap();
    assert_eq!(with_body.body.as_deref(), Some(JSON));

    for wrong in [
        request("globex", false),
        EntryRequest { key: "00".repeat(32), ..request("acme", false) },
        EntryRequest { key: "x".to_owned(), ..request("acme", false) },
    ] {
        assert!(group.sidecar.entry_of(wrong.clone()).await.is_err(), "{wrong:?}");
    }
    group.sidecar.bump("acme", Tag::Org).await.unwrap();
    let entry = group.sidecar.entry_of(request("acme", false)).await.unwrap();
    assert!(!entry.is_current, "an operator still sees it");
    assert_eq!(group.sidecar.status().entries, 1, "and does not remove it");
}

#[tokio::test(start_paused = true)]
async fn explain_neither_removes_an_entry_nor_makes_it_stay() {
    let group = group().await;
    let key = group.key().await;
    group.fetch(&key, CHAT).await.unwrap();
    let explain = async || {
        let request = ExplainRequest {
            headers: Vec::new(),
            key_id: key.principal.key_id.clone(),
            gateway: gateway(),
            path: "/v1/chat/completions".to_owned(),
            codebase: None,
            body: CHAT.to_owned(),
        };
        let reply = group.sidecar.explain(&request).await.unwrap();
        (reply.outcome.as_str(), reply.reason)
    };
    assert_eq!(explain().await, ("hit", Reason::Shared));
    group.sidecar.bump("acme", Tag::Org).await.unwrap();
    for _ in 0..2 {
        assert_eq!(explain().await, ("miss", Reason::Generation));
        assert_eq!(group.sidecar.status().entries, 1);
    }
    tokio::time::advance(Duration::from_secs(3_600)).await;
    for _ in 0..2 {
        assert_eq!(explain().await, ("miss", Reason::Expired));
        assert_eq!(group.sidecar.status().entries, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn every_worker_that_is_being_held_hears_of_it_at_once() {
    let group = group().await;
    let poll = |reply: Option<&FeedReply>| FeedRequest {
        version: kt_contract::wire::VERSION,
        worker: None,
        gateway: gateway(),
        epoch: reply.map(|reply| reply.epoch.clone()),
        seq: reply.map_or(0, |reply| reply.seq),
        snapshot: Some(group.snapshot().version),
        hits: None,
    };
    let first = group.sidecar.poll_feed(&poll(None)).await.unwrap();
    let (request, start) = (poll(Some(&first)), tokio::time::Instant::now());
    let invalidate = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        group.sidecar.invalidate(all_of("acme")).await.unwrap();
        tokio::time::Instant::now()
    };
    let (one, two, acknowledged) = tokio::join!(
        group.sidecar.poll_feed(&request),
        group.sidecar.poll_feed(&request),
        invalidate
    );
    for reply in [one.unwrap(), two.unwrap()] {
        assert_eq!(reply.events, [Event::Purged]);
    }
    assert_eq!(start.elapsed(), acknowledged - start, "no later than the operator");
    // Who was not being held hears of it with its next poll, and serves nothing from memory that is older
    // than FEED_FRESH: a second is the longest that anything outlives its invalidation.
    let late = group.sidecar.poll_feed(&request).await.unwrap();
    assert_eq!(late.events, [Event::Purged]);
    const { assert!(FEED_FRESH.0 <= 1_000) };
}
