//! `wallet.open_with_cap`: what passes while the sidecar is lost, and what does not.

use kt_contract::money::MicroUsd;
use kt_contract::snapshot::{OnSidecarLoss, OpenWithCap, Snapshot};
use kt_contract::wire::admit::Admitted;
use wasm_bindgen_test::wasm_bindgen_test;

use super::rig::*;
use crate::action::{Action, Flow};
use crate::counter::Counter;
use crate::event::Event;
use crate::forward::Lane;
use crate::till::{Spend, Spent};

fn cap() -> OpenWithCap {
    OpenWithCap {
        max_micro_usd: MicroUsd::from_usd(1),
        micro_usd_per_call: MicroUsd::new(50_000).unwrap(),
    }
}

/// A worker with a wallet that may be passed by, and the key it knows.
fn open_rig() -> Rig {
    let mut rig = Rig::with(Snapshot {
        on_sidecar_loss: OnSidecarLoss::Unavailable,
        open_with_cap: Some(cap()),
        ..snapshot()
    });
    rig.introduce();
    rig
}

fn asked(rig: &Rig) -> Option<&Spend> {
    rig.actions
        .iter()
        .find_map(|action| if let Action::Spend(spend) = action { Some(spend) } else { None })
}

#[wasm_bindgen_test(unsupported = test)]
fn a_counted_call_goes_to_its_target_and_says_so() {
    let mut rig = open_rig();
    assert_eq!(rig.chat(&[], BODY), Flow::Pause);
    assert_eq!(rig.lose(), Flow::Pause, "it waits for being counted");
    assert_eq!(asked(&rig), Some(&Spend { org: principal().org, cap: cap() }));
    assert_eq!(rig.forward(), None);
    assert_eq!(rig.turn(Event::Spent(Spent::Counted)), Flow::Continue);
    assert!(matches!(rig.forward().unwrap().lane, Lane::Direct { .. }));
    let _ = rig.respond(&[(":status", "200")]);
    let (_, set) = rig.edits();
    assert!(set.contains(&("cache-status", "kt; fwd=bypass; detail=open-with-cap".to_owned())));
    assert_eq!(rig.logged("kt_reason").as_deref(), Some("open-with-cap"));
    assert_eq!(rig.counted(Counter::OpenPassed), 1);
}

#[wasm_bindgen_test(unsupported = test)]
fn what_is_not_counted_is_told_to_come_again() {
    for (spent, counter) in [
        (Spent::CapReached, Counter::OpenCapReached),
        (Spent::Uncountable, Counter::OpenUncountable),
    ] {
        let mut rig = open_rig();
        let _ = rig.chat(&[], BODY);
        let _ = rig.lose();
        assert_eq!(rig.turn(Event::Spent(spent)), Flow::Pause);
        assert_eq!(rig.forward(), None);
        assert_eq!(rig.refusal(), (503, "sidecar_unavailable".to_owned()));
        assert_eq!(rig.header("retry-after"), Some("1"));
        assert_eq!(rig.logged("kt_reason").as_deref(), Some("sidecar-lost"));
        assert_eq!(rig.counted(counter), 1);
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_sidecar_that_drains_is_lost_as_well() {
    let mut rig = open_rig();
    let _ = rig.chat(&[], BODY);
    let _ = rig.answer_admit(&Admitted::Draining, b"");
    assert!(asked(&rig).is_some());
}

#[wasm_bindgen_test(unsupported = test)]
fn nothing_is_counted_where_nothing_may_pass() {
    let mut keyed = open_rig();
    let _ = keyed.chat(&[("idempotency-key", "k")], BODY);
    let _ = keyed.lose();
    let mut unknown = open_rig();
    let _ = unknown.chat(&[], BODY);
    unknown.wait(60_001);
    let _ = unknown.lose();
    let mut cached = open_rig();
    let _ = cached.chat(&[("cache-control", "only-if-cached")], BODY);
    let _ = cached.lose();
    let mut without =
        Rig::with(Snapshot { on_sidecar_loss: OnSidecarLoss::Unavailable, ..snapshot() });
    without.introduce();
    let _ = without.chat(&[], BODY);
    let _ = without.lose();
    for (what, rig) in
        [("keyed", keyed), ("unknown", unknown), ("only cached", cached), ("no cap", without)]
    {
        assert_eq!((asked(&rig), rig.forward()), (None, None), "{what}");
        assert!(rig.replied(), "{what}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_client_that_leaves_meanwhile_is_not_forwarded() {
    let mut rig = open_rig();
    let _ = rig.chat(&[], BODY);
    let _ = rig.lose();
    let _ = rig.turn(Event::Done);
    assert_eq!(rig.turn(Event::Spent(Spent::Counted)), Flow::Pause);
    assert_eq!((rig.forward(), rig.counted(Counter::Left)), (None, 1));
}
