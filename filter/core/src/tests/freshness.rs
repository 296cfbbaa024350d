//! What a client may ask of the cache's answers: how old, and nothing but them.

use kt_contract::outcome::Reason;
use kt_contract::snapshot::OnSidecarLoss;
use kt_contract::wire::admit::{Admitted, Control};

use super::rig::{BODY, Rig, snapshot};
use crate::action::Flow;
use crate::counter::Counter;

const ONLY_IF_CACHED: (&str, &str) = ("cache-control", "only-if-cached");

/// The end of a request that only a cached answer could have served.
fn assert_not_cached(rig: &Rig, detail: &str) {
    assert_eq!(rig.refusal(), (504, "not_cached".to_owned()), "{detail}");
    assert_eq!(rig.header("cache-status"), Some(&*format!("kt; detail={detail}")));
    assert_eq!(rig.header("x-should-retry"), Some("false"), "{detail}");
    assert_eq!((rig.header("retry-after"), rig.header("x-cache-status")), (None, None));
    assert_eq!(rig.logged("kt_reason").as_deref(), Some(detail));
    assert_eq!(rig.logged("kt_code").as_deref(), Some("not_cached"));
    assert_eq!(rig.counted(Counter::RefusedNotCached), 1);
    assert!(rig.forward().is_none());
}

#[test]
fn the_sidecar_learns_what_the_client_asks_for() {
    let mut rig = Rig::knowing();
    for (value, max_age_s, only_if_cached) in [
        ("max-age=60", Some(60), false),
        ("max-age=x, only-if-cached", Some(0), true),
        ("min-fresh=3", None, false),
    ] {
        let _ = rig.chat(&[("cache-control", value)], BODY);
        assert_eq!(rig.admit().control, Control { max_age_s, only_if_cached }, "{value}");
        assert_eq!(rig.admit().bypass, None, "{value}");
    }
    let _ = rig.chat(&[("pragma", "no-cache")], BODY);
    assert_eq!(rig.admit().bypass, Some(Reason::ClientNoCache));
}

#[test]
fn an_entry_in_memory_that_may_be_older_than_max_age_is_passed_over_and_kept() {
    let mut rig = Rig::knowing();
    rig.warm(60_000);
    // It was five seconds old when it came, and a part of one more.
    for (max_age, served) in [("max-age=0", false), ("max-age=5", false), ("max-age=6", true)] {
        let _ = rig.chat(&[("cache-control", max_age)], BODY);
        assert_eq!(rig.replied(), served, "{max_age}");
    }
    rig.wait(900);
    let _ = rig.chat(&[("cache-control", "max-age=6")], BODY);
    assert_eq!(rig.admit().control.max_age_s, Some(6));
    let _ = rig.chat(&[], BODY);
    assert!(rig.replied(), "whoever does not ask is served");
    assert_eq!(rig.header("cache-status"), Some("kt; hit; ttl=59; detail=l1"));
}

#[test]
fn a_younger_answer_takes_the_place_of_the_one_in_memory() {
    let mut rig = Rig::knowing();
    rig.warm(60_000);
    rig.wait(900);
    let _ = rig.chat(&[("cache-control", "max-age=6")], BODY);
    let _ = rig.hit(60_000);
    rig.heartbeat();
    let _ = rig.chat(&[("cache-control", "max-age=6")], BODY);
    assert!(rig.replied());
}

#[test]
fn memory_serves_who_wants_a_cached_answer_only() {
    let mut rig = Rig::knowing();
    rig.warm(60_000);
    let _ = rig.chat(&[ONLY_IF_CACHED], BODY);
    assert_eq!(rig.header("x-cache-status"), Some("hit"));
}

#[test]
fn a_hit_of_the_sidecar_serves_who_wants_a_cached_answer_only() {
    let mut rig = Rig::knowing();
    let _ = rig.chat(&[ONLY_IF_CACHED], BODY);
    let _ = rig.hit(60_000);
    assert_eq!(rig.header("x-cache-status"), Some("hit"));
    // One that is too large to be told inline is fetched by the lane.
    let _ = rig.chat(&[ONLY_IF_CACHED], BODY);
    let lane = Admitted::Lane { ticket: "t".to_owned(), reason: Reason::Shared };
    assert_eq!(rig.answer_admit(&lane, b""), Flow::Continue);
    assert!(rig.forward().is_some());
}

#[test]
fn what_is_not_cached_is_refused_with_the_reason_for_who_wants_nothing_else() {
    for (reason, told) in
        [(Reason::Expired, "expired"), (Reason::Request, "request"), (Reason::Org, "request")]
    {
        let mut rig = Rig::knowing();
        let _ = rig.chat(&[ONLY_IF_CACHED], BODY);
        assert_eq!(rig.answer_admit(&Admitted::NotCached { reason }, b""), Flow::Pause);
        let logged = rig.logged("kt_reason");
        assert_eq!(logged.as_deref(), Some(reason.as_str()));
        if reason != Reason::Org {
            assert_not_cached(&rig, told);
        }
        assert_eq!(rig.header("cache-status"), Some(&*format!("kt; detail={told}")));
        let body = String::from_utf8_lossy(&rig.reply().body).into_owned();
        assert!(body.contains(&format!("({told})")), "{body}");
        assert_eq!(rig.counted(Counter::AdmitAnswered), 1);
    }
}

#[test]
fn without_the_sidecar_no_call_is_made_for_who_wants_a_cached_answer_only() {
    for on_loss in [OnSidecarLoss::Direct, OnSidecarLoss::Unavailable] {
        let mut configured = snapshot();
        configured.on_sidecar_loss = on_loss;
        let mut rig = Rig::with(configured);
        rig.introduce();
        let _ = rig.chat(&[ONLY_IF_CACHED], BODY);
        let _ = rig.lose();
        assert_not_cached(&rig, "sidecar-lost");
        let _ = rig.chat(&[ONLY_IF_CACHED], BODY);
        let _ = rig.answer_admit(&Admitted::Draining, b"");
        assert_not_cached(&rig, "draining");
        for _ in 0..20 {
            let _ = rig.chat(&[], BODY);
            let _ = rig.lose();
        }
        let _ = rig.chat(&[ONLY_IF_CACHED], BODY);
        assert_not_cached(&rig, "breaker-open");
    }
}

#[test]
fn who_wants_a_cached_answer_only_and_no_cache_gets_neither() {
    let mut rig = Rig::knowing();
    rig.warm(60_000);
    let _ = rig.chat(&[("cache-control", "no-cache, only-if-cached")], BODY);
    assert_not_cached(&rig, "client-no-cache");
    let mut off = snapshot();
    off.cache.enabled = false;
    let mut rig = Rig::with(off);
    rig.introduce();
    let _ = rig.chat(&[ONLY_IF_CACHED], BODY);
    assert_not_cached(&rig, "disabled");
}

#[test]
fn a_sidecar_that_says_not_cached_unasked_is_not_understood() {
    let mut rig = Rig::knowing();
    let _ = rig.chat(&[("cache-control", "max-age=60")], BODY);
    let flow = rig.answer_admit(&Admitted::NotCached { reason: Reason::Expired }, b"");
    assert_eq!(flow, Flow::Continue);
    assert!(rig.forward().is_some());
    assert_eq!(rig.counted(Counter::WireError), 1);
}

#[test]
fn an_answer_that_was_slow_to_come_is_kept_no_longer_for_it() {
    let mut rig = Rig::knowing();
    // Twice, so that it is kept; each is fresh for a second from the moment of its question.
    for _ in 0..2 {
        rig.fresh();
        assert_eq!(rig.chat(&[], BODY), Flow::Pause);
        let _ = rig.admit();
        rig.wait(250);
        assert_eq!(rig.hit(1_000), Flow::Pause);
    }
    rig.wait(749);
    rig.heartbeat();
    assert_eq!(rig.chat(&[], BODY), Flow::Pause);
    assert_eq!(rig.header("cache-status"), Some("kt; hit; ttl=0; detail=l1"));
    rig.wait(1);
    rig.heartbeat();
    assert_eq!(rig.chat(&[], BODY), Flow::Pause);
    assert!(!rig.replied(), "the sidecar's second is over");
}
