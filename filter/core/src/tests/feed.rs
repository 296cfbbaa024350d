//! The change feed: what it brings, what it voids, and how long its silence is borne.

use std::sync::Arc;

use kt_contract::limits::{FEED_FRESH, FEED_HOLD};
use kt_contract::wire::VERSION;
use kt_contract::wire::feed::{Event as FeedEvent, FeedRequest};
use kt_contract::wire::principal::PrincipalReply;

use super::rig::{BODY, Rig, feed_reply, gateway_key, principal, snapshot, with_reply};
use crate::counter::Counter;
use crate::event::Answer;
use crate::head::Head;

fn poll(rig: &mut Rig) -> FeedRequest {
    serde_json::from_slice(&rig.worker.poll(rig.now).unwrap()).unwrap()
}

/// Whether the next request has to ask who its caller is.
fn asks_who(rig: &mut Rig) -> bool {
    rig.fresh();
    let _ = rig.head("POST", "/v1/chat/completions", &[], false);
    rig.callout().is_some_and(|callout| callout.path == "/v1/principal")
}

#[test]
fn a_poll_says_where_the_worker_stands() {
    let mut rig = Rig::new("gw-a");
    let first = poll(&mut rig);
    assert_eq!((first.epoch, first.seq, first.snapshot), (None, 0, None));
    assert_eq!(first.gateway.id, "gw-a");
    let mut reply = feed_reply(7);
    reply.snapshot = Some(snapshot());
    assert_eq!(rig.feed(reply), [Counter::FeedAnswered, Counter::SnapshotApplied]);
    let next = poll(&mut rig);
    assert_eq!((next.epoch.as_deref(), next.seq), (Some("epoch-1"), 7));
    assert_eq!(next.snapshot.as_deref(), Some("0123456789abcdef"));
}

#[test]
fn a_poll_says_which_of_the_gateways_workers_it_is_of() {
    let mut rig = Rig::new("gw-a");
    assert_eq!(poll(&mut rig).worker, None);
    rig.worker.name([0xab; 16]);
    assert_eq!(poll(&mut rig).worker, Some("ab".repeat(16)));
}

#[test]
fn what_is_no_answer_of_a_sidecar_changes_nothing() {
    let mut rig = Rig::knowing();
    let before = poll(&mut rig);
    let mut counters = Vec::new();
    let fields: [(&[u8], &[u8]); 1] = [(b":status", b"503")];
    let envoy = Answer::Came { head: Head::new(&fields), body: b"upstream connect error" };
    for answer in [Answer::Lost, envoy] {
        assert!(!rig.worker.polled(rig.now, answer, &mut counters));
    }
    let mut newer = feed_reply(9);
    newer.version = VERSION + 1;
    let newer = serde_json::to_vec(&newer).unwrap();
    for body in [&b"{"[..], &newer] {
        with_reply("", body, |answer| {
            assert!(!rig.worker.polled(rig.now, answer, &mut counters));
        });
    }
    assert_eq!(poll(&mut rig), before);
    assert_eq!(counters.iter().filter(|at| **at == Counter::FeedLost).count(), 4);
    assert_eq!(counters.iter().filter(|at| **at == Counter::WireError).count(), 2);
}

#[test]
fn a_revoked_key_is_asked_for_again_at_once() {
    let mut rig = Rig::knowing();
    assert!(!asks_who(&mut rig));
    rig.tell(FeedEvent::Principal { key: gateway_key().hash() });
    assert!(asks_who(&mut rig));
}

#[test]
fn a_revoked_key_gets_nothing_of_what_the_worker_remembers_from_the_next_request_on() {
    let mut rig = Rig::knowing();
    rig.warm(600_000);
    let _ = rig.chat(&[], BODY);
    assert_eq!(rig.header("x-cache-status"), Some("hit"));
    assert!(rig.callout().is_none());
    rig.tell(FeedEvent::Principal { key: gateway_key().hash() });
    assert!(asks_who(&mut rig) && !rig.replied());
    let _ = rig.answer_principal(&PrincipalReply::Revoked);
    assert_eq!(rig.refusal(), (401, "revoked_api_key".to_owned()));
}

#[test]
fn a_principal_is_not_kept_if_a_revocation_overtook_it() {
    let mut rig = Rig::ready();
    let _ = rig.head("POST", "/v1/chat/completions", &[], false);
    rig.tell(FeedEvent::Principal { key: gateway_key().hash() });
    let _ =
        rig.answer_principal(&PrincipalReply::Known { principal: principal(), key_age_ms: None });
    assert!(asks_who(&mut rig));
}

#[test]
fn a_new_sidecar_is_asked_at_once_whatever_the_breaker_held_against_the_old_one() {
    let mut rig = Rig::knowing();
    for _ in 0..20 {
        let _ = rig.chat(&[], BODY);
        let _ = rig.lose();
    }
    assert!(!rig.worker.breaker.is_closed());
    let mut reply = feed_reply(1);
    reply.epoch = "epoch-2".to_owned();
    rig.feed(reply);
    assert!(asks_who(&mut rig));
}

#[test]
fn principals_outlive_the_feed_for_a_minute() {
    let mut rig = Rig::knowing();
    rig.wait(60_000);
    assert!(!asks_who(&mut rig));
    rig.wait(1);
    assert!(asks_who(&mut rig));
    rig.heartbeat();
    assert!(!asks_who(&mut rig), "nothing happened meanwhile, the feed says");
}

#[test]
fn an_answer_of_the_feed_vouches_from_the_moment_its_poll_was_sent() {
    let mut rig = Rig::knowing();
    rig.warm(600_000);
    let _ = poll(&mut rig);
    rig.wait(900);
    rig.polled(feed_reply(0));
    rig.wait(100);
    let _ = rig.chat(&[], BODY);
    assert_eq!(rig.header("x-cache-status"), Some("hit"));
    // The poll was sent a second ago, and its answer may be as old.
    rig.wait(1);
    let _ = rig.chat(&[], BODY);
    assert!(!rig.replied());
    rig.wait(58_999);
    assert!(!asks_who(&mut rig));
    rig.wait(1);
    assert!(asks_who(&mut rig));
}

#[test]
fn a_lost_poll_vouches_for_nothing() {
    let mut rig = Rig::knowing();
    rig.wait(60_000);
    let _ = poll(&mut rig);
    assert!(!rig.worker.polled(rig.now, Answer::Lost, &mut Vec::new()));
    rig.wait(1);
    assert!(asks_who(&mut rig));
}

#[test]
fn memory_answers_at_every_moment_while_polls_are_held_and_answered() {
    let mut rig = Rig::knowing();
    rig.warm(600_000);
    // As long as an answer takes less than this on top of the hold.
    let late_ms = (FEED_FRESH.0 - 2 * FEED_HOLD.0) / 2;
    for _ in 0..10 {
        let _ = poll(&mut rig);
        for _ in 0..20 {
            rig.wait((FEED_HOLD.0 + late_ms) / 20);
            let _ = rig.chat(&[], BODY);
            assert_eq!(rig.header("x-cache-status"), Some("hit"), "at {:?}", rig.now);
        }
        rig.polled(feed_reply(0));
    }
}

#[test]
fn another_sidecar_or_a_gap_voids_the_principals() {
    for (epoch, reset) in [("epoch-2", false), ("epoch-1", true)] {
        let mut rig = Rig::knowing();
        let mut reply = feed_reply(1);
        reply.epoch = epoch.to_owned();
        reply.reset = reset;
        rig.feed(reply);
        assert!(asks_who(&mut rig), "{epoch} {reset}");
    }
}

#[test]
fn a_new_snapshot_decides_about_the_next_request() {
    let mut rig = Rig::knowing();
    let _ = rig.chat(&[], BODY);
    let before = rig.admit();
    let mut stricter = snapshot();
    stricter.policy.digest.0 = [8; 32];
    let mut reply = feed_reply(1);
    reply.snapshot = Some(stricter.clone());
    rig.feed(reply);
    let _ = rig.chat(&[], BODY);
    assert_ne!(rig.admit().plan.key, before.plan.key);
    stricter.models = Arc::default();
    let mut reply = feed_reply(2);
    reply.snapshot = Some(stricter);
    rig.feed(reply);
    let _ = rig.chat(&[], BODY);
    assert_eq!(rig.refusal(), (404, "model_not_found".to_owned()));
}
