//! What comes of an admitted request: hits with the callout or from the worker's own memory, and the lane.

use std::collections::BTreeSet;

use kt_contract::gateway_key::GatewayKey;
use kt_contract::outcome::Reason;
use kt_contract::principal::Principal;
use kt_contract::snapshot::Tier;
use kt_contract::wire::VERSION_TEXT;
use kt_contract::wire::admit::{Admitted, ReplyShape};
use kt_contract::wire::feed::Event as FeedEvent;

use super::rig::{ANSWER, BODY, Rig, feed_reply, gateway_key, principal, snapshot};
use crate::action::Flow;
use crate::counter::Counter;
use crate::forward::Lane;
use crate::head::Head;

/// Something that voids what a worker holds.
type Void<'a> = &'a dyn Fn(&mut Rig);

const STREAM: &str =
    r#"{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}],"stream":true}"#;

fn lane() -> Admitted {
    Admitted::Lane { ticket: "ticket-1".to_owned(), reason: Reason::Request }
}

#[test]
fn a_hit_with_the_callout_answers_the_client() {
    let mut rig = Rig::knowing();
    assert_eq!(rig.chat(&[], BODY), Flow::Pause);
    assert_eq!(rig.hit(60_000), Flow::Pause);
    assert_eq!((rig.reply().status, &*rig.reply().body), (200, ANSWER));
    for (name, value) in [
        ("content-type", "application/json"),
        ("x-request-id", &"ab".repeat(16)),
        ("x-cache-status", "hit"),
        ("cache-status", "kt; hit; ttl=60; detail=shared"),
        ("x-fabric-attached", "false"),
        ("x-kt-served-by", "openai/gpt-4o"),
        ("x-kt-cost-usd", "0.00"),
        ("x-kt-saved-usd", "0.000005"),
        ("age", "5"),
    ] {
        assert_eq!(rig.header(name), Some(value), "{name}");
    }
    let log: Vec<_> = rig.log();
    for (key, value) in [
        ("kt_outcome", "hit"),
        ("kt_reason", "shared"),
        ("kt_org", "acme"),
        ("kt_team", "core"),
        ("kt_model", "gpt-4o"),
        ("kt_provider", "openai"),
        ("kt_target", "openai-1"),
    ] {
        assert!(log.contains(&(key, value.to_owned())), "{key} in {log:?}");
    }
}

#[test]
fn the_same_request_again_is_answered_from_memory() {
    let mut rig = Rig::knowing();
    rig.warm(60_000);
    rig.wait(900);
    rig.heartbeat();
    rig.wait(600);
    let _ = rig.chat(&[], BODY);
    assert_eq!(rig.callout(), None);
    assert_eq!(&*rig.reply().body, ANSWER);
    assert_eq!(rig.header("cache-status"), Some("kt; hit; ttl=58; detail=l1"));
    assert_eq!(rig.header("age"), Some("6"));
    assert_eq!(rig.header("x-kt-cost-usd"), Some("0.00"));
    assert_eq!(rig.header("x-kt-saved-usd"), Some("0.000005"), "as the sidecar had said");
    assert_eq!((rig.counted(Counter::Hit), rig.counted(Counter::HitL1)), (1, 1));
}

#[test]
fn memory_is_not_trusted_without_a_fresh_feed() {
    let mut rig = Rig::knowing();
    rig.warm(60_000);
    rig.wait(1_000);
    let _ = rig.chat(&[], BODY);
    assert!(rig.replied(), "one second is fresh enough");
    rig.wait(1);
    let _ = rig.chat(&[], BODY);
    assert!(!rig.replied());
    assert_eq!(rig.callout().unwrap().path, "/v1/admit");
}

#[test]
fn memory_lasts_no_longer_than_the_sidecar_said() {
    let mut rig = Rig::knowing();
    rig.warm(500);
    rig.wait(500);
    let _ = rig.chat(&[], BODY);
    assert!(!rig.replied());
}

#[test]
fn whatever_voids_entries_empties_the_memory() {
    let mut other = snapshot();
    other.version = "fedcba9876543210".to_owned();
    let voids: [(&str, Void<'_>); 4] = [
        ("purge", &|rig| rig.tell(FeedEvent::Purged)),
        ("reset", &|rig| {
            let mut reply = feed_reply(1);
            reply.reset = true;
            rig.feed(reply);
        }),
        ("epoch", &|rig| {
            let mut reply = feed_reply(1);
            reply.epoch = "epoch-2".to_owned();
            rig.feed(reply);
        }),
        ("snapshot", &|rig| {
            let mut reply = feed_reply(1);
            reply.snapshot = Some(other.clone());
            rig.feed(reply);
        }),
    ];
    for (name, void) in voids {
        let mut rig = Rig::knowing();
        rig.warm(60_000);
        void(&mut rig);
        let _ = rig.chat(&[], BODY);
        assert!(!rig.replied(), "{name}");

        // Nor is an answer kept that was on its way when the news came.
        let mut rig = Rig::knowing();
        let _ = rig.chat(&[], BODY);
        let _ = rig.hit(60_000);
        let _ = rig.chat(&[], BODY);
        void(&mut rig);
        let _ = rig.hit(60_000);
        assert!(rig.replied());
        // Nor does it count as the first time.
        for _ in 0..2 {
            let _ = rig.chat(&[], BODY);
            assert!(!rig.replied(), "{name}, answer on its way");
            let _ = rig.hit(60_000);
        }
    }
}

#[test]
fn a_memory_of_no_bytes_keeps_nothing() {
    let mut off = snapshot();
    off.cache.l1_bytes_max = 0;
    let mut rig = Rig::with(off);
    for _ in 0..3 {
        let _ = rig.chat(&[], BODY);
        assert!(!rig.replied());
        let _ = rig.hit(60_000);
    }
}

#[test]
fn memory_answers_only_in_the_shape_it_has() {
    let mut rig = Rig::knowing();
    rig.warm(60_000);
    let _ = rig.chat(&[], STREAM);
    assert!(!rig.replied());
    assert_eq!(rig.admit().plan.reply, ReplyShape::Sse { include_usage: false });
    let _ = rig.chat(&[("cache-control", "no-cache")], BODY);
    assert!(!rig.replied(), "nor one who wants no cache");
}

#[test]
fn who_asked_past_the_cache_is_not_served_from_it() {
    let mut rig = Rig::knowing();
    let _ = rig.chat(&[("cache-control", "no-cache")], BODY);
    let flow = rig.hit(60_000);
    assert_eq!(flow, Flow::Continue);
    assert!(!rig.replied());
    assert_eq!(rig.counted(Counter::WireError), 1);
}

#[test]
fn one_request_has_one_key_through_every_gateway_of_the_group() {
    let asked = |gateway, tier| {
        let mut rig = Rig::new(gateway);
        let mut snapshot = snapshot();
        snapshot.cache.tier = tier;
        let mut reply = feed_reply(0);
        reply.snapshot = Some(snapshot);
        rig.feed(reply);
        let _ = rig.chat(&[], BODY);
        rig.admit()
    };
    let (a, b) = (asked("gw-a", Tier::OrgShared), asked("gw-b", Tier::OrgShared));
    assert_eq!(
        (a.plan.key, a.plan.check, &a.plan.gates),
        (b.plan.key, b.plan.check, &b.plan.gates)
    );
    assert_ne!(a.gateway, b.gateway);
    let (a, b) = (asked("gw-a", Tier::PhysicalGateway), asked("gw-b", Tier::PhysicalGateway));
    assert_ne!(a.plan.key, b.plan.key);
}

#[test]
fn a_stream_and_a_plain_request_have_one_key() {
    let mut rig = Rig::knowing();
    let _ = rig.chat(&[], BODY);
    let plain = rig.admit();
    let _ = rig.chat(&[], STREAM);
    let stream = rig.admit();
    assert_eq!(plain.plan.key, stream.plan.key);
    assert_ne!(plain.body, stream.body);
}

#[test]
fn a_remembered_plan_is_the_plan() {
    let mut rig = Rig::knowing();
    let beta = [("openai-beta", "a=1")];
    let _ = rig.chat(&beta, BODY);
    let first = rig.admit();
    let _ = rig.chat(&beta, BODY);
    assert_eq!(rig.admit(), first);
    let variants: [(super::rig::Fields<'_>, &str); 3] = [
        (&[("openai-beta", "a=2")], BODY),
        (&[("openai-beta", "a=1"), ("openai-beta", "a=1")], BODY),
        (&beta, r#"{"model":"gpt-4o","messages":[{"role":"user","content":"ho"}]}"#),
    ];
    for (more, body) in variants {
        let _ = rig.chat(more, body);
        assert_ne!(rig.admit().plan.key, first.plan.key, "{more:?} {body}");
    }
    let _ = rig.chat(&[("openai-beta", "a=1"), ("x-kt-codebase", "acme/web")], BODY);
    // The hint names the only codebase that the key has.
    assert_eq!(rig.admit().plan.key, first.plan.key);
}

#[test]
fn memory_never_crosses_a_gate() {
    let other_org = Principal { org: "globex".to_owned(), ..principal() };
    let other_group = Principal { group: Some("ml".to_owned()), ..principal() };
    let other_codebases = Principal { codebases: BTreeSet::new(), ..principal() };
    let other_entitlements =
        Principal { entitlements: BTreeSet::from(["eu".to_owned()]), ..principal() };
    for other in [other_org, other_group, other_codebases, other_entitlements] {
        let mut rig = Rig::knowing();
        let _ = rig.chat(&[], BODY);
        let first = rig.admit();
        rig.warm(60_000);
        rig.introduce_as(GatewayKey::from_random(&[2; 32]), other.clone());
        let _ = rig.chat(&[], BODY);
        assert!(!rig.replied(), "{other:?}");
        assert_ne!(rig.admit().plan.key, first.plan.key, "{other:?}");
        assert_eq!(rig.admit().plan.gates.org, other.org);
        // A colleague with equal gates is served.
        rig.introduce_as(GatewayKey::from_random(&[3; 32]), principal());
        let _ = rig.chat(&[], BODY);
        assert!(rig.replied());
    }
}

#[test]
fn memory_never_crosses_a_codebase_hint() {
    let codebases = ["acme/api", "acme/web"].map(str::to_owned);
    let mut rig = Rig::ready();
    rig.introduce_as(
        GatewayKey::from_random(&[2; 32]),
        Principal { codebases: BTreeSet::from(codebases), ..principal() },
    );
    let mut keys = BTreeSet::new();
    for more in [&[][..], &[("x-kt-codebase", "acme/api")], &[("x-kt-codebase", "acme/web")]] {
        for _ in 0..2 {
            let _ = rig.chat(more, BODY);
            assert!(!rig.replied(), "{more:?}");
            keys.insert(rig.admit().plan.key);
            let _ = rig.hit(60_000);
        }
    }
    assert_eq!(keys.len(), 3);
}

#[test]
fn a_miss_takes_the_lane_with_nothing_of_the_client_but_what_is_keyed() {
    let mut rig = Rig::knowing();
    let _ = rig.chat(&[("openai-beta", "x")], BODY);
    assert_eq!(rig.answer_admit(&lane(), b""), Flow::Continue);
    let forward = rig.forward().unwrap().clone();
    assert_eq!(forward.lane, Lane::Sidecar { ticket: "ticket-1".to_owned(), idempotency: None });

    let key = gateway_key();
    let bearer = format!("Bearer {}", key.reveal());
    let client: [(&str, &str); 14] = [
        (":method", "POST"),
        (":path", "/v1/chat/completions?key=secret"),
        (":authority", "gw.example"),
        (":scheme", "https"),
        ("x-forwarded-proto", "https"),
        ("authorization", &bearer),
        ("x-api-key", key.reveal()),
        ("cookie", "a=b"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-kt-lane", "direct-other"),
        ("x-kt-codebase", "acme/web"),
        ("content-length", "62"),
        ("openai-beta", "x"),
        ("openai-organization", "org-1"),
    ];
    let client = client.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let head: Vec<(&str, String)> = forward
        .head(Head::new(&client))
        .into_iter()
        .map(|(name, value)| (name, String::from_utf8(value.into_owned()).unwrap()))
        .collect();
    let expected = [
        (":method", "POST"),
        (":path", "/v1/chat/completions"),
        (":authority", "gw.example"),
        (":scheme", "https"),
        ("x-forwarded-proto", "https"),
        ("content-type", "application/json"),
        ("content-length", &BODY.len().to_string()),
        ("user-agent", concat!("kt/", env!("CARGO_PKG_VERSION"))),
        ("openai-beta", "x"),
        ("x-request-id", &"ab".repeat(16)),
        ("x-kt-lane", "sidecar"),
        ("x-kt-ticket", "ticket-1"),
    ]
    .map(|(name, value)| (name, value.to_owned()));
    assert_eq!(head, expected);
}

#[test]
fn the_lanes_answer_loses_what_is_internal_and_nothing_else() {
    let mut rig = Rig::knowing();
    let _ = rig.chat(&[], BODY);
    let _ = rig.answer_admit(&lane(), b"");
    assert!(rig.exchange.reads_response());
    let flow = rig.respond(&[
        (":status", "200"),
        ("x-kt-wire", VERSION_TEXT),
        ("x-kt-served-by", "openai/gpt-4o"),
        ("x-kt-cost-usd", "0.01"),
        ("x-kt-saved-usd", "0"),
        ("x-kt-flight", "7"),
        ("x-kt-flight", "8"),
        ("x-cache-status", "coalesced"),
        ("cache-status", "kt; fwd=miss; collapsed; detail=in-flight"),
    ]);
    assert_eq!(flow, Flow::Continue);
    let (removed, set) = rig.edits();
    assert_eq!(removed, ["x-kt-wire", "x-kt-flight"]);
    assert_eq!(set, []);
    assert_eq!(rig.logged("kt_outcome").as_deref(), Some("coalesced"));
    assert_eq!(rig.logged("kt_reason").as_deref(), Some("in-flight"));
    assert_eq!(rig.counted(Counter::Coalesced), 1);
    assert!(!rig.exchange.reads_response());
    let _ = rig.turn(crate::event::Event::Done);
    assert_eq!(rig.counted(Counter::Left), 0);
}

#[test]
fn the_key_is_forgotten_when_admit_does_not_know_it_any_more() {
    for (decision, status, code) in [
        (Admitted::Unauthenticated { revoked: true }, 401, "revoked_api_key"),
        (Admitted::Unauthenticated { revoked: false }, 401, "invalid_api_key"),
        (Admitted::NoTenant, 403, "tenant_not_configured"),
    ] {
        let mut rig = Rig::knowing();
        let _ = rig.chat(&[], BODY);
        let _ = rig.answer_admit(&decision, b"");
        assert_eq!(rig.refusal(), (status, code.to_owned()));
        rig.fresh();
        let _ = rig.head("POST", "/v1/chat/completions", &[], false);
        assert_eq!(rig.callout().unwrap().path, "/v1/principal");
    }
}
