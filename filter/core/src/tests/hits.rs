//! Hits of the worker's own memory reach the sidecar, each of them once.

use kt_contract::gateway_key::GatewayKey;
use kt_contract::limits::HIT_COUNTS_MAX;
use kt_contract::money::MicroUsd;
use kt_contract::outcome::Reason;
use kt_contract::principal::Principal;
use kt_contract::wire::admit::{Admitted, SavedTokens};
use kt_contract::wire::feed::{Event as FeedEvent, FeedRequest, HitBatch, HitCount, Refusal};

use super::rig::{BODY, Rig, feed_reply, principal};
use crate::event::Answer;

fn poll(rig: &mut Rig) -> Option<HitBatch> {
    let body = rig.worker.poll(rig.now).unwrap();
    serde_json::from_slice::<FeedRequest>(&body).unwrap().hits
}

fn batch(number: u64, counts: &[(&str, u64)]) -> Option<HitBatch> {
    let count = |(key_id, count): &(&str, u64)| HitCount {
        key_id: (*key_id).to_owned(),
        model: "gpt-4o".to_owned(),
        provider: "openai".to_owned(),
        count: *count,
        // As `Rig::hit` has it of one.
        saved_micro_usd: MicroUsd::new(5 * count).unwrap(),
        saved_tokens: SavedTokens { input: 5 * count, output: 7 * count },
    };
    let counts = counts.iter().map(count).collect();
    Some(HitBatch {
        worker: "ab".repeat(16),
        number,
        counts,
        blocks: Vec::new(),
        refusals: Vec::new(),
        refusals_lost: None,
    })
}

fn serve(rig: &mut Rig, times: usize) {
    for _ in 0..times {
        let _ = rig.chat(&[], BODY);
        assert_eq!(rig.header("x-cache-status"), Some("hit"));
        assert!(rig.callout().is_none());
    }
}

#[test]
fn hits_of_the_sidecar_are_not_reported_to_it() {
    let mut rig = Rig::knowing();
    rig.warm(60_000);
    assert_eq!(poll(&mut rig), None);
}

#[test]
fn a_poll_tells_of_the_hits_since_the_last_one() {
    let mut rig = Rig::knowing();
    rig.warm(60_000);
    serve(&mut rig, 2);
    let colleague = Principal { key_id: "gk_2".to_owned(), ..principal() };
    rig.introduce_as(GatewayKey::from_random(&[3; 32]), colleague);
    serve(&mut rig, 1);
    assert_eq!(poll(&mut rig), batch(1, &[("gk_1", 2), ("gk_2", 1)]));
    rig.polled(feed_reply(0));
    assert_eq!(poll(&mut rig), None);
    serve(&mut rig, 1);
    rig.polled(feed_reply(0));
    assert_eq!(poll(&mut rig), batch(2, &[("gk_2", 1)]));
}

#[test]
fn a_lost_poll_is_told_again_under_its_number_and_nothing_is_added_to_it() {
    let mut rig = Rig::knowing();
    rig.warm(60_000);
    serve(&mut rig, 3);
    let first = batch(1, &[("gk_1", 3)]);
    assert_eq!(poll(&mut rig), first);
    serve(&mut rig, 4);
    for _ in 0..3 {
        assert!(!rig.worker.polled(rig.now, Answer::Lost, &mut Vec::new()));
        assert_eq!(poll(&mut rig), first);
    }
    rig.polled(feed_reply(0));
    assert_eq!(poll(&mut rig), batch(2, &[("gk_1", 4)]));
}

#[test]
fn what_voids_the_memory_does_not_void_its_reports() {
    let mut rig = Rig::knowing();
    rig.warm(60_000);
    serve(&mut rig, 1);
    let mut reply = feed_reply(1);
    reply.epoch = "epoch-2".to_owned();
    reply.events.push(FeedEvent::Purged);
    rig.polled(reply);
    assert_eq!(poll(&mut rig), batch(1, &[("gk_1", 1)]));
}

#[test]
fn memory_does_not_serve_what_it_cannot_report() {
    let mut rig = Rig::knowing();
    rig.warm(60_000);
    let _ = poll(&mut rig);
    let is_served = |rig: &mut Rig, at: usize| {
        let key_id = format!("gk_{at:05}");
        let key = GatewayKey::from_random(&[u8::try_from(at % 251).unwrap(); 32]);
        rig.introduce_as(key, Principal { key_id, ..principal() });
        let _ = rig.chat(&[], BODY);
        rig.replied()
    };
    for at in 0..HIT_COUNTS_MAX {
        assert!(is_served(&mut rig, at), "{at}");
    }
    assert!(!is_served(&mut rig, HIT_COUNTS_MAX));
    assert!(is_served(&mut rig, 7), "one more of the same is no more to tell");
    assert_eq!(poll(&mut rig).unwrap().counts.len(), HIT_COUNTS_MAX);
    assert!(is_served(&mut rig, HIT_COUNTS_MAX), "what is told makes room, answered or not");
}

#[test]
fn a_refusal_of_the_filters_own_is_told_and_one_that_the_sidecar_has_decided_is_not() {
    let mut rig = Rig::knowing();
    let _ = rig.chat(&[("cache-control", "only-if-cached")], BODY);
    let _ = rig.answer_admit(&Admitted::NotCached { reason: Reason::Expired }, b"");
    assert_eq!(rig.refusal(), (504, "not_cached".to_owned()));
    assert_eq!(poll(&mut rig), None);
    let _ = rig.chat(&[], r#"{"model":"nope","messages":[]}"#);
    let refusal = Refusal {
        request_id: "ab".repeat(16),
        key_id: Some("gk_1".to_owned()),
        model: Some("nope".to_owned()),
        status: 404,
        code: "model_not_found".to_owned(),
        policies: Vec::new(),
        times: 1,
    };
    assert_eq!(poll(&mut rig).unwrap().refusals, [refusal]);
}
