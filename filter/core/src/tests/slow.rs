//! A body that takes its time: whoever asked when the head came may be nobody any more when it is whole.

use kt_contract::snapshot::OnSidecarLoss;
use kt_contract::wire::admit::Admitted;
use kt_contract::wire::feed::Event as FeedEvent;
use kt_contract::wire::principal::PrincipalReply;

use super::rig::{BODY, Rig, gateway_key, principal, snapshot};
use crate::action::Flow;
use crate::counter::Counter;
use crate::event::Event;

/// The head and a byte of a request.
fn begin(rig: &mut Rig) {
    rig.fresh();
    assert_eq!(rig.head("POST", "/v1/chat/completions", &[], false), Flow::Pause);
    assert_eq!(rig.turn(Event::RequestBody { bytes: 1, end: false }), Flow::Pause);
    assert!(!rig.replied());
}

/// The rest of it.
fn finish(rig: &mut Rig) -> Flow {
    let bytes = BODY.len() as u64;
    assert_eq!(rig.turn(Event::RequestBody { bytes, end: true }), Flow::ReadBody);
    rig.turn(Event::RequestRead { body: BODY.as_bytes() })
}

/// A worker that has the answer in its own cache.
fn warm() -> Rig {
    let mut rig = Rig::knowing();
    rig.warm(60_000);
    rig
}

fn revoke(rig: &mut Rig) {
    rig.tell(FeedEvent::Principal { key: gateway_key().hash() });
}

#[test]
fn a_key_revoked_while_its_body_comes_in_gets_no_answer_from_memory() {
    let mut rig = warm();
    begin(&mut rig);
    assert_eq!(finish(&mut rig), Flow::Pause);
    assert_eq!(rig.header("x-cache-status"), Some("hit"), "it would have got one");

    begin(&mut rig);
    revoke(&mut rig);
    assert_eq!(finish(&mut rig), Flow::Pause);
    assert!(!rig.replied(), "{:?}", rig.reply());
    let _ = rig.admit();
    let _ = rig.answer_admit(&Admitted::Unauthenticated { revoked: true }, b"");
    assert_eq!(rig.refusal(), (401, "revoked_api_key".to_owned()));
}

#[test]
fn a_key_revoked_while_its_body_comes_in_is_not_forwarded_without_the_sidecar() {
    for (on_loss, draining) in [
        (OnSidecarLoss::Direct, false),
        (OnSidecarLoss::Direct, true),
        (OnSidecarLoss::Unavailable, false),
    ] {
        let mut rig =
            Rig::with(kt_contract::snapshot::Snapshot { on_sidecar_loss: on_loss, ..snapshot() });
        rig.introduce();
        begin(&mut rig);
        revoke(&mut rig);
        let _ = finish(&mut rig);
        let _ = if draining { rig.answer_admit(&Admitted::Draining, b"") } else { rig.lose() };
        assert_eq!(rig.forward(), None, "{on_loss:?} {draining}");
        let code = if draining { "draining" } else { "sidecar_unavailable" };
        assert_eq!(rig.refusal(), (503, code.to_owned()), "{on_loss:?} {draining}");
        assert_eq!(rig.counted(Counter::Refused), 1);
    }
}

#[test]
fn a_key_revoked_while_the_sidecar_is_asked_is_not_forwarded_without_it() {
    let mut rig = Rig::knowing();
    let _ = rig.chat(&[], BODY);
    revoke(&mut rig);
    let _ = rig.lose();
    assert_eq!(rig.forward(), None);
    assert_eq!(rig.refusal(), (503, "sidecar_unavailable".to_owned()));
}

#[test]
fn an_identity_older_than_a_minute_is_not_forwarded_however_slow_its_body() {
    for (silence_ms, passes) in [(60_000, true), (60_001, false), (600_000, false)] {
        let mut rig = Rig::knowing();
        begin(&mut rig);
        rig.wait(silence_ms);
        let _ = finish(&mut rig);
        let _ = rig.lose();
        assert_eq!(rig.forward().is_some(), passes, "{silence_ms} ms");
        assert_eq!(rig.replied(), !passes, "{silence_ms} ms");
    }
}

#[test]
fn an_open_breaker_lets_no_identity_pass_that_is_gone() {
    let mut rig = Rig::knowing();
    for _ in 0..20 {
        let _ = rig.chat(&[], BODY);
        let _ = rig.lose();
    }
    begin(&mut rig);
    revoke(&mut rig);
    let _ = finish(&mut rig);
    assert_eq!(rig.callout(), None);
    assert_eq!(rig.forward(), None);
    assert_eq!(rig.refusal(), (503, "sidecar_unavailable".to_owned()));
}

#[test]
fn a_caller_that_changed_while_its_body_came_in_is_served_as_what_it_is_now() {
    let mut rig = Rig::knowing();
    let _ = rig.chat(&[], BODY);
    let before = rig.admit().plan.gates;

    begin(&mut rig);
    revoke(&mut rig);
    let mut moved = principal();
    moved.codebases.clear();
    rig.introduce_as(gateway_key(), moved);
    let _ = finish(&mut rig);
    let after = rig.admit().plan.gates;
    assert_ne!(after, before);
}

#[test]
fn a_plan_for_a_caller_that_is_gone_is_not_kept_for_the_next() {
    let mut rig = Rig::knowing();
    begin(&mut rig);
    revoke(&mut rig);
    let _ = finish(&mut rig);
    let before = rig.admit().plan.gates;

    rig.fresh();
    let _ = rig.head("POST", "/v1/chat/completions", &[], false);
    let mut moved = principal();
    moved.codebases.clear();
    let _ = rig.answer_principal(&PrincipalReply::Known { principal: moved, key_age_ms: None });
    let _ = finish(&mut rig);
    assert_ne!(rig.admit().plan.gates, before);
}
