//! The sidecar does not answer: what is served all the same, what is refused, and how it is found again.

use kt_contract::snapshot::OnSidecarLoss;
use kt_contract::wire::VERSION;
use kt_contract::wire::admit::Admitted;
use kt_contract::wire::feed::FeedReply;

use super::rig::{ANSWER, BODY, Rig, feed_reply, snapshot};
use crate::action::Flow;
use crate::counter::Counter;
use crate::event::{Answer, Event};
use crate::forward::Lane;
use crate::head::Head;

fn unavailable() -> Rig {
    let mut snapshot = snapshot();
    snapshot.on_sidecar_loss = OnSidecarLoss::Unavailable;
    let mut rig = Rig::with(snapshot);
    rig.introduce();
    rig
}

/// The ways in which a sidecar gives no answer.
fn lose_in_every_way(mut with: impl FnMut(Answer<'_>)) {
    let [before, this, after] =
        [VERSION - 1, VERSION, VERSION + 1].map(|version| version.to_string().into_bytes());
    let lane = br#"{"decision":"lane","ticket":"t","reason":"request"}"#;
    let older: [(&[u8], &[u8]); 3] =
        [(b":status", b"200"), (b"x-kt-wire", &before), (b"x-kt-admit", lane)];
    let newer: [(&[u8], &[u8]); 3] =
        [(b":status", b"200"), (b"x-kt-wire", &after), (b"x-kt-admit", lane)];
    let envoy: [(&[u8], &[u8]); 2] = [(b":status", b"504"), (b"content-type", b"text/plain")];
    let broken: [(&[u8], &[u8]); 3] =
        [(b":status", b"200"), (b"x-kt-wire", &this), (b"x-kt-admit", b"{\"decision\":")];
    let mute: [(&[u8], &[u8]); 2] = [(b":status", b"200"), (b"x-kt-wire", &this)];
    let failed: [(&[u8], &[u8]); 2] = [(b":status", b"500"), (b"x-kt-wire", &this)];
    with(Answer::Lost);
    for fields in [&envoy[..], &older, &newer, &broken, &mute, &failed] {
        with(Answer::Came { head: Head::new(fields), body: ANSWER });
    }
}

#[test]
fn a_lost_sidecar_is_gone_around_where_that_is_configured() {
    lose_in_every_way(|answer| {
        let mut rig = Rig::knowing();
        let _ = rig.chat(&[], BODY);
        assert_eq!(rig.turn(Event::CalloutAnswered(answer)), Flow::Continue, "{answer:?}");
        let forward = rig.forward().unwrap();
        assert_eq!(forward.lane, Lane::Direct { target: "openai-1".to_owned() });
        let head = forward.head(Head::default());
        assert!(head.contains(&("x-kt-lane", b"direct-openai-1"[..].into())));
        assert!(!head.iter().any(|(name, _)| *name == "x-kt-ticket"));
        assert_eq!(rig.logged("kt_reason").as_deref(), Some("sidecar-lost"));
        assert_eq!(rig.counted(Counter::DirectLost), 1);
    });
}

/// A request that another version overtakes is not decided by the models of one and the loss of another: neither of
/// the two may allow what they would together.
#[test]
fn a_request_is_decided_by_the_version_of_its_plan_to_its_end() {
    let mut rig = Rig::knowing();
    let _ = rig.chat(&[], BODY);
    assert_eq!(rig.admit().plan.snapshot, snapshot().version);
    let mut next = snapshot();
    next.version = "another".to_owned();
    next.on_sidecar_loss = OnSidecarLoss::Unavailable;
    rig.feed(FeedReply { snapshot: Some(next), ..feed_reply(0) });
    assert_eq!(rig.turn(Event::CalloutAnswered(Answer::Lost)), Flow::Continue);
    assert_eq!(rig.forward().unwrap().lane, Lane::Direct { target: "openai-1".to_owned() });

    let _ = rig.chat(&[], BODY);
    assert_eq!(rig.admit().plan.snapshot, "another");
    let _ = rig.turn(Event::CalloutAnswered(Answer::Lost));
    assert_eq!(rig.refusal(), (503, "sidecar_unavailable".to_owned()));
}

#[test]
fn a_lost_sidecar_is_a_refusal_where_that_is_configured() {
    lose_in_every_way(|answer| {
        let mut rig = unavailable();
        let _ = rig.chat(&[], BODY);
        let _ = rig.turn(Event::CalloutAnswered(answer));
        assert_eq!(rig.refusal(), (503, "sidecar_unavailable".to_owned()), "{answer:?}");
        assert_eq!(rig.header("retry-after"), Some("1"));
    });
}

#[test]
fn a_draining_sidecar_is_as_good_as_lost_but_does_not_open_the_breaker() {
    let mut rig = Rig::knowing();
    for _ in 0..40 {
        let _ = rig.chat(&[], BODY);
        assert_eq!(rig.answer_admit(&Admitted::Draining, b""), Flow::Continue);
        assert_eq!(rig.logged("kt_reason").as_deref(), Some("draining"));
        assert_eq!(rig.counted(Counter::DirectDraining), 1);
    }
    let mut rig = unavailable();
    let _ = rig.chat(&[], BODY);
    let _ = rig.answer_admit(&Admitted::Draining, b"");
    assert_eq!(rig.refusal(), (503, "draining".to_owned()));
}

#[test]
fn without_an_identity_nobody_goes_around_the_sidecar() {
    lose_in_every_way(|answer| {
        let mut rig = Rig::ready();
        let _ = rig.head("POST", "/v1/chat/completions", &[], false);
        let _ = rig.turn(Event::RequestBody { bytes: 62, end: true });
        let _ = rig.turn(Event::CalloutAnswered(answer));
        assert_eq!(rig.refusal(), (503, "sidecar_unavailable".to_owned()), "{answer:?}");
    });
}

#[test]
fn of_a_provider_that_is_called_directly_only_what_is_listed_passes() {
    let mut rig = Rig::knowing();
    let _ = rig.chat(&[], BODY);
    let _ = rig.lose();
    let flow = rig.respond(&[
        (":status", "200"),
        ("x-kt-served-by", "a lie"),
        ("x-kt-wire", "5"),
        ("set-cookie", "a=b"),
        ("set-cookie", "c=d"),
        ("x-request-id", "theirs"),
        ("openai-organization", "org-1"),
        ("x-ratelimit-remaining-tokens", "9"),
        ("x-should-retry", "true"),
        ("content-type", "application/json"),
        ("content-encoding", "gzip"),
        ("content-length", "2"),
        ("retry-after", "7"),
        ("date", "Thu, 01 Jan 1970 00:00:00 GMT"),
    ]);
    assert_eq!(flow, Flow::Continue);
    let (removed, set) = rig.edits();
    assert_eq!(
        removed,
        [
            "x-kt-served-by",
            "x-kt-wire",
            "set-cookie",
            "x-request-id",
            "openai-organization",
            "x-ratelimit-remaining-tokens",
        ]
    );
    let expected = [
        ("x-kt-served-by", "openai/gpt-4o".to_owned()),
        ("x-request-id", "ab".repeat(16)),
        ("x-cache-status", "bypass".to_owned()),
        ("cache-status", "kt; fwd=bypass; detail=sidecar-lost".to_owned()),
        ("x-fabric-attached", "false".to_owned()),
    ];
    assert_eq!(set, expected);
    assert_eq!(rig.counted(Counter::Bypass), 1);
}

#[test]
fn a_credential_that_a_provider_refuses_is_no_word_about_the_clients_key() {
    for status in ["401", "403"] {
        let mut rig = Rig::knowing();
        let _ = rig.chat(&[], BODY);
        let _ = rig.lose();
        assert_eq!(rig.respond(&[(":status", status), ("x-secret", "sk-1")]), Flow::Pause);
        assert_eq!(rig.refusal(), (502, "upstream_unauthorized".to_owned()));
        assert_eq!(rig.header("x-should-retry"), Some("false"));
        assert_eq!(rig.header("x-cache-status"), Some("bypass"));
        assert_eq!(rig.header("x-request-id"), Some("ab".repeat(16).as_str()));
        assert_eq!(rig.header("x-kt-served-by"), None);
        assert_eq!(rig.logged("kt_code").as_deref(), Some("upstream_unauthorized"));
        assert_eq!(rig.counted(Counter::Bypass), 1);
        // Its own reply passes by, as a host may show it.
        assert_eq!(rig.respond(&[(":status", "502")]), Flow::Continue);
    }
}

#[test]
fn where_envoy_speaks_for_a_provider_its_advice_stays_and_nobody_has_served() {
    let mut rig = Rig::knowing();
    let _ = rig.chat(&[], BODY);
    let _ = rig.lose();
    let fields = [(":status", "502"), ("x-should-retry", "false"), ("x-kt-served-by", "a lie")];
    assert_eq!(rig.envoy_responds(&fields), Flow::Continue);
    let (removed, set) = rig.edits();
    assert_eq!(removed, ["x-kt-served-by"]);
    assert!(set.contains(&("x-cache-status", "bypass".to_owned())));
    assert!(!set.iter().any(|(name, _)| *name == "x-kt-served-by"), "{set:?}");
}

#[test]
fn a_lane_on_which_envoy_speaks_is_told_as_lost() {
    let mut rig = Rig::knowing();
    let _ = rig.chat(&[], BODY);
    let lane =
        Admitted::Lane { ticket: "t".to_owned(), reason: kt_contract::outcome::Reason::Request };
    let _ = rig.answer_admit(&lane, b"");
    let _ = rig.respond(&[(":status", "503")]);
    let (_, set) = rig.edits();
    assert!(set.contains(&("x-request-id", "ab".repeat(16))));
    assert!(set.contains(&("x-cache-status", "bypass".to_owned())));
    assert_eq!(rig.logged("kt_code").as_deref(), Some("sidecar_unavailable"));
    assert_eq!(rig.counted(Counter::LaneLost), 1);
}

#[test]
fn an_open_breaker_spares_requests_the_wait_until_a_probe_is_answered() {
    let mut rig = Rig::knowing();
    for call in 1..=20 {
        let _ = rig.chat(&[], BODY);
        let _ = rig.lose();
        assert_eq!(rig.counted(Counter::BreakerOpened), usize::from(call == 20), "call {call}");
    }
    assert_eq!(rig.chat(&[], BODY), Flow::Continue);
    assert_eq!(rig.callout(), None);
    assert_eq!(rig.logged("kt_reason").as_deref(), Some("breaker-open"));
    assert_eq!(rig.counted(Counter::BreakerSkipped), 1);
    assert_eq!(rig.counted(Counter::DirectBreaker), 1);

    rig.wait(1_000);
    let _ = rig.chat(&[], BODY);
    assert!(rig.callout().is_some(), "the probe");
    let mut others = Rig::knowing();
    std::mem::swap(&mut others.exchange, &mut rig.exchange);
    assert_eq!(rig.chat(&[], BODY), Flow::Continue, "no second probe beside it");
    assert_eq!(rig.callout(), None);

    rig.fresh();
    std::mem::swap(&mut others.exchange, &mut rig.exchange);
    let _ = rig.hit(0);
    assert!(rig.replied());
    let _ = rig.chat(&[], BODY);
    assert!(rig.callout().is_some(), "closed again");
}

#[test]
fn an_answer_from_before_the_opening_does_not_close_the_breaker() {
    let mut rig = Rig::knowing();
    let _ = rig.chat(&[], BODY);
    let early = std::mem::take(&mut rig.exchange);
    rig.wait(1);
    for _ in 0..20 {
        let _ = rig.chat(&[], BODY);
        let _ = rig.lose();
    }
    rig.wait(200);
    rig.exchange = early;
    rig.actions.clear();
    let _ = rig.hit(0);
    assert_eq!(rig.header("x-cache-status"), Some("hit"), "the answer itself is good");
    assert_eq!(rig.chat(&[], BODY), Flow::Continue, "still open");
    assert_eq!(rig.callout(), None);
}

#[test]
fn an_open_breaker_refuses_callers_that_nobody_knows() {
    let mut rig = Rig::ready();
    for _ in 0..20 {
        rig.fresh();
        let _ = rig.head("POST", "/v1/chat/completions", &[], false);
        let _ = rig.lose();
    }
    rig.fresh();
    let _ = rig.head("POST", "/v1/chat/completions", &[], false);
    assert_eq!(rig.callout(), None);
    assert_eq!(rig.refusal(), (503, "sidecar_unavailable".to_owned()));
}

#[test]
fn what_the_host_did_not_forward_is_refused_and_not_let_through() {
    for lost in [true, false] {
        let mut rig = Rig::knowing();
        let _ = rig.chat(&[], BODY);
        let _ = if lost {
            rig.lose()
        } else {
            let reason = kt_contract::outcome::Reason::Request;
            rig.answer_admit(&Admitted::Lane { ticket: "t".to_owned(), reason }, b"")
        };
        assert_eq!(rig.turn(Event::HostRefused), Flow::Pause);
        assert_eq!(rig.refusal(), (500, "internal_error".to_owned()));
    }
}

#[test]
fn entries_in_memory_outlive_the_sidecar_for_a_second() {
    let mut rig = Rig::knowing();
    rig.warm(60_000);
    for _ in 0..20 {
        let _ = rig.chat(&[("cache-control", "no-cache")], BODY);
        let _ = rig.lose();
    }
    rig.wait(1_000);
    let _ = rig.chat(&[], BODY);
    assert_eq!(rig.header("x-cache-status"), Some("hit"));
    rig.wait(1);
    assert_eq!(rig.chat(&[], BODY), Flow::Pause, "the probe");
}
