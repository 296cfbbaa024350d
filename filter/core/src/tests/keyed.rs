//! Requests with an `Idempotency-Key`: the sidecar answers them, and nobody else.

use kt_contract::outcome::Reason;
use kt_contract::wire::admit::Admitted;

use super::rig::{BODY, Fields, Rig};
use crate::action::Flow;
use crate::head::Head;

const KEYED: Fields<'_> = &[("idempotency-key", "order-7")];

fn lane() -> Admitted {
    Admitted::Lane { ticket: "ticket-1".to_owned(), reason: Reason::Shared }
}

#[test]
fn a_keyed_request_takes_the_lane_with_its_key_even_where_memory_has_its_answer() {
    let mut rig = Rig::knowing();
    rig.warm(60_000);
    let _ = rig.chat(KEYED, BODY);
    assert!(!rig.replied());
    assert!(rig.admit().is_keyed);
    assert_eq!(rig.answer_admit(&lane(), b""), Flow::Continue);
    let head = rig.forward().unwrap().head(Head::default());
    assert!(head.contains(&("idempotency-key", b"order-7"[..].into())));

    let _ = rig.chat(&[], BODY);
    assert!(rig.replied(), "without a key, memory serves it");
}

#[test]
fn a_request_without_a_key_says_so_and_carries_none() {
    let mut rig = Rig::knowing();
    let _ = rig.chat(&[], BODY);
    assert!(!rig.admit().is_keyed);
    let _ = rig.answer_admit(&lane(), b"");
    let head = rig.forward().unwrap().head(Head::default());
    assert!(!head.iter().any(|(name, _)| *name == "idempotency-key"));
}

#[test]
fn a_key_does_not_change_what_the_answer_is_filed_under() {
    let mut rig = Rig::knowing();
    let _ = rig.chat(&[], BODY);
    let without = rig.admit();
    let _ = rig.chat(KEYED, BODY);
    assert_eq!(
        (rig.admit().plan.key, rig.admit().plan.check),
        (without.plan.key, without.plan.check)
    );
}

#[test]
fn an_inline_hit_is_no_answer_to_a_key() {
    let mut rig = Rig::knowing();
    let _ = rig.chat(KEYED, BODY);
    let _ = rig.hit(60_000);
    assert_eq!(rig.refusal(), (503, "sidecar_unavailable".to_owned()));
}

#[test]
fn without_the_sidecar_a_keyed_request_is_refused_wherever_others_go() {
    let mut rig = Rig::knowing();
    let _ = rig.chat(&[], BODY);
    let _ = rig.lose();
    assert!(rig.forward().is_some(), "the configuration lets requests go around it");
    let _ = rig.chat(KEYED, BODY);
    let _ = rig.lose();
    assert_eq!(rig.forward(), None);
    assert_eq!(rig.refusal(), (503, "sidecar_unavailable".to_owned()));
    assert_eq!(rig.header("retry-after"), Some("1"));

    let _ = rig.chat(KEYED, BODY);
    let _ = rig.answer_admit(&Admitted::Draining, b"");
    assert_eq!(rig.refusal(), (503, "draining".to_owned()));
}

#[test]
fn a_key_that_is_too_long_is_refused_in_the_clients_dialect() {
    for (path, kind) in [
        ("/v1/chat/completions", "invalid_request_error"),
        ("/v1/messages", "invalid_request_error"),
    ] {
        let mut rig = Rig::knowing();
        let _ = rig.head("POST", path, &[("idempotency-key", &"k".repeat(256))], false);
        assert_eq!(rig.refusal(), (400, "invalid_field".to_owned()), "{path}");
        let body: serde_json::Value = serde_json::from_slice(&rig.reply().body).unwrap();
        assert_eq!(body["error"]["param"], "Idempotency-Key", "{path}");
        assert_eq!(body["error"]["type"], kind, "{path}");
    }
}
