//! The change feed: at once when there is something, after the hold when there is nothing.

use std::time::Duration;

use crate::support::*;
use kt_contract::limits::FEED_HOLD;
use kt_contract::money::MicroUsd;
use kt_contract::wire::admit::SavedTokens;
use kt_contract::wire::feed::{Event, FeedReply, FeedRequest, HitBatch, HitCount};
use sidecar_cache::service::settings::Settings;
use tokio::time::Instant;

fn first_poll() -> FeedRequest {
    FeedRequest {
        version: kt_contract::wire::VERSION,
        worker: None,
        gateway: gateway(),
        epoch: None,
        seq: 0,
        snapshot: None,
        hits: None,
    }
}

fn next_poll(reply: &FeedReply, snapshot: &str) -> FeedRequest {
    FeedRequest {
        epoch: Some(reply.epoch.clone()),
        seq: reply.seq,
        snapshot: Some(snapshot.to_owned()),
        ..first_poll()
    }
}

const HOLD: Duration = Duration::from_millis(FEED_HOLD.0);

#[tokio::test(start_paused = true)]
async fn a_new_worker_is_told_everything_at_once() {
    let group = group().await;
    let start = Instant::now();
    let reply = group.sidecar.poll_feed(&first_poll()).await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(reply.snapshot, Some(group.snapshot()));
    assert!(reply.reset);
    assert_eq!(group.sidecar.status().gateways[0].gateway, gateway());
    assert_eq!(group.metric("kt_gateways"), "1");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_knows_all_is_held() {
    let group = group().await;
    let reply = group.sidecar.poll_feed(&first_poll()).await.unwrap();
    let poll = next_poll(&reply, &group.snapshot().version);
    let start = Instant::now();
    let reply = group.sidecar.poll_feed(&poll).await.unwrap();
    assert!(start.elapsed() >= HOLD);
    assert_eq!((reply.snapshot, reply.events, reply.reset), (None, vec![], false));
}

#[tokio::test(start_paused = true)]
async fn a_revocation_wakes_the_held_and_is_told_once() {
    let group = group().await;
    let key = group.key().await;
    let version = group.snapshot().version;
    let reply = group.sidecar.poll_feed(&first_poll()).await.unwrap();
    let poll = next_poll(&reply, &version);
    let start = Instant::now();
    let revoke = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        group.sidecar.revoke_key(&key.principal.key_id).await.unwrap();
        start.elapsed()
    };
    let polled = async {
        let reply = group.sidecar.poll_feed(&poll).await.unwrap();
        (reply, start.elapsed())
    };
    let ((reply, told_at), revoked_at) = tokio::join!(polled, revoke);
    assert_eq!(told_at, revoked_at, "no time has passed");
    assert_eq!(reply.events, [Event::Principal { key: key.hash }]);
    let reply = group.sidecar.poll_feed(&next_poll(&reply, &version)).await.unwrap();
    assert_eq!(reply.events, []);
    // Another worker has not heard of it yet.
    let reply = group.sidecar.poll_feed(&poll).await.unwrap();
    assert_eq!(reply.events.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn another_configuration_wakes_the_held_and_a_bad_one_does_not() {
    let group = group().await;
    let reply = group.sidecar.poll_feed(&first_poll()).await.unwrap();
    let poll = next_poll(&reply, &group.snapshot().version);
    let start = Instant::now();
    let fault = || Err(vec!["test.yaml:3: nonsense".to_owned()]);
    let (reply, ()) =
        tokio::join!(group.sidecar.poll_feed(&poll), group.sidecar.reconfigure(fault()));
    assert_eq!(reply.unwrap().snapshot, None);
    assert!(start.elapsed() >= HOLD);
    assert_eq!(group.sidecar.status().config_errors, ["test.yaml:3: nonsense"]);
    assert_eq!(group.metric("kt_degraded"), "1");

    let mut changed = group.snapshot();
    changed.version = "another".to_owned();
    let settings = Settings { snapshot: changed.clone().into(), ..settings() };
    let start = Instant::now();
    let (reply, ()) =
        tokio::join!(group.sidecar.poll_feed(&poll), group.sidecar.reconfigure(Ok(settings)));
    assert_eq!(reply.unwrap().snapshot, Some(changed));
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert!(group.sidecar.status().config_errors.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_worker_of_another_epoch_starts_over() {
    let group = group().await;
    let reply = group.sidecar.poll_feed(&first_poll()).await.unwrap();
    let version = group.snapshot().version;
    for (what, poll) in [
        (
            "another epoch",
            FeedRequest { epoch: Some("old".to_owned()), ..next_poll(&reply, &version) },
        ),
        ("a number from the future", FeedRequest { seq: 99, ..next_poll(&reply, &version) }),
    ] {
        let start = Instant::now();
        let again = group.sidecar.poll_feed(&poll).await.unwrap();
        assert!(again.reset, "{what}");
        assert_eq!(start.elapsed(), Duration::ZERO, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn smaller_bounds_of_a_new_configuration_evict_at_once() {
    let group = group().await;
    let key = group.key().await;
    group.fetch(&key, CHAT).await.unwrap();
    assert_eq!(group.sidecar.status().entries, 1);
    let mut smaller = settings();
    smaller.memory.bytes_max = 10;
    group.sidecar.reconfigure(Ok(smaller)).await;
    assert_eq!(group.sidecar.status().entries, 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_worker_served_is_counted_once_however_often_it_is_reported() {
    let group = group().await;
    let count = |model: &str, provider: &str, count| HitCount {
        key_id: "gk_1".to_owned(),
        model: model.to_owned(),
        provider: provider.to_owned(),
        count,
        saved_micro_usd: MicroUsd::new(5 * count).unwrap(),
        saved_tokens: SavedTokens { input: 5 * count, output: 7 * count },
    };
    let report = async |worker: &str, number, counts: Vec<HitCount>| {
        let hits = Some(HitBatch {
            worker: worker.to_owned(),
            number,
            counts,
            blocks: Vec::new(),
            refusals: Vec::new(),
            refusals_lost: None,
        });
        group.sidecar.poll_feed(&FeedRequest { hits, ..first_poll() }).await.unwrap();
    };
    let batch = vec![count("gpt-4o", "openai", 3), count("gpt-4o-mini", "openai", 2)];
    for _ in 0..3 {
        report("a", 1, batch.clone()).await;
    }
    report("b", 1, vec![count("gpt-4o", "openai", 1)]).await;
    report("a", 2, vec![count("whatever", "openai", 4), count("gpt-4o", "else", 5)]).await;
    for (metric, expected) in [
        ("llm_cache_hits_total", "15"),
        ("kt_lookups_total{outcome=\"hit\",reason=\"l1\"}", "15"),
        ("llm_requests_total{model=\"gpt-4o\",provider=\"openai\",status=\"200\"}", "4"),
        ("llm_requests_total{model=\"gpt-4o-mini\",provider=\"openai\",status=\"200\"}", "2"),
        ("llm_requests_total{model=\"other\",provider=\"other\",status=\"200\"}", "9"),
        ("llm_cache_hit_ratio", "1.0"),
    ] {
        assert_eq!(group.metric(metric), expected, "{metric}");
    }
}
