//! A sidecar that is lost, in every way that Envoy knows: directly to the provider, or 503, as the snapshot says.

use std::time::Duration;

use kt_contract::snapshot::OnSidecarLoss;
use kt_contract::wire::VERSION;
use kt_contract::wire::admit::Admitted;
use kt_filter_host::sidecar::{Mood, decision};
use kt_filter_host::world::{World, chat, question};
use kt_filter_host::{CALLOUT_REPLY_BYTES_MAX, HeaderMap, Message, Reply, Stream};

use super::{assert_clean, cache_status, code, forwarded, replied, stored, world};

/// A world whose filter knows the snapshot and alice.
fn world_on_loss(on_loss: OnSidecarLoss) -> World {
    let mut world = world();
    world.sidecar.publishes("snapshot-2", |snapshot| snapshot.on_sidecar_loss = on_loss);
    world.pass(Duration::from_millis(500));
    let _known = world.send(chat().body(question("known")));
    world
}

/// The rows of the failure matrix of callouts, and what a sidecar could say wrongly.
fn losses() -> Vec<(&'static str, Reply)> {
    let marked = |status: u16| Message::response(status).header("x-kt-wire", VERSION.to_string());
    let good = serde_json::to_string(&Admitted::Draining).unwrap();
    let too_large = vec![b'x'; CALLOUT_REPLY_BYTES_MAX + 1];
    vec![
        ("refused", Reply::Refused),
        ("reset before headers", Reply::Reset),
        ("timed out", Reply::TimedOut),
        ("cut off", Reply::Truncated),
        ("too large", marked(200).header("x-kt-admit", &good).body(too_large).into()),
        ("no marker", Message::response(200).header("x-kt-admit", &good).into()),
        ("somebody's 404", Message::response(404).header("server", "nginx").body("no").into()),
        ("an error of the sidecar", marked(500).body("{}").into()),
        ("no decision", marked(200).body("{}").into()),
        ("garbage", marked(200).header("x-kt-admit", "garbage").into()),
        (
            "a decision of another time",
            marked(200).header("x-kt-admit", r#"{"decision":"x"}"#).into(),
        ),
        (
            "an unknown field",
            marked(200)
                .header(
                    "x-kt-admit",
                    r#"{"decision":"lane","ticket":"t","reason":"request","a":1}"#,
                )
                .into(),
        ),
        ("bytes", marked(200).header("x-kt-admit", b"\xff\xfe\x00").into()),
        (
            "another version",
            Message::response(200).header("x-kt-wire", "99").header("x-kt-admit", &good).into(),
        ),
    ]
}

fn assert_direct(stream: &Stream, reason: &str) {
    let sent = forwarded(stream);
    assert_eq!(sent.header("x-kt-lane").as_deref(), Some("direct-openai-main"));
    for gone in ["x-kt-ticket", "authorization", "x-api-key"] {
        assert!(sent.header(gone).is_none(), "{gone}");
    }
    let provider = Message::response(200)
        .header("x-cache-status", "hit")
        .header("x-kt-served-by", "somebody")
        .header("set-cookie", "a=b")
        .header("openai-organization", "org-1")
        .header("x-ratelimit-limit-requests", "9")
        .header("retry-after", "7")
        .header("retry-after-ms", "6900")
        .header("x-should-retry", "true")
        .body("{}");
    stream.upstream_answers(provider);
    let answer = stream.answer().unwrap();
    assert_eq!(cache_status(&answer), ("bypass".into(), reason.into()));
    for gone in ["set-cookie", "openai-organization", "x-ratelimit-limit-requests"] {
        assert!(answer.header(gone).is_none(), "{gone}");
    }
    for (name, said) in
        [("retry-after", "7"), ("retry-after-ms", "6900"), ("x-should-retry", "true")]
    {
        assert_eq!(answer.header(name).as_deref(), Some(said));
    }
    assert_eq!(answer.header("x-kt-served-by").as_deref(), Some("openai/gpt-4o"));
    assert_eq!(answer.header("x-request-id"), sent.header("x-request-id"));
    assert_eq!(answer.text(), "{}");
}

fn assert_unavailable(stream: &Stream) {
    let answer = replied(stream);
    assert_eq!((answer.status(), code(&answer).as_str()), (503, "sidecar_unavailable"));
    assert_eq!(answer.header("retry-after").as_deref(), Some("1"));
    assert!(stream.forwarded().is_none());
}

#[test]
fn a_lost_admit_goes_directly_where_the_snapshot_says_so() {
    for (name, reply) in losses() {
        let mut world = world_on_loss(OnSidecarLoss::Direct);
        world.sidecar.by_hand.insert("/v1/admit");
        let stream = world.send(chat().body(question("hi")));
        assert!(stream.is_held(), "{name}");
        world.worker().callout("/v1/admit").unwrap().answer(reply);
        assert_direct(&stream, "sidecar-lost");
        assert_clean(&world);
    }
}

#[test]
fn a_credential_that_a_provider_refuses_stays_between_it_and_the_gateway() {
    let mut world = world_on_loss(OnSidecarLoss::Direct);
    world.sidecar.mood = Mood::Failing(Reply::Refused);
    let stream = world.send(chat().body(question("hi")));
    let _ = forwarded(&stream);
    stream.upstream_answers(Message::response(401).body("Incorrect API key provided: sk-1"));
    world.settle();
    let answer = stream.answer().unwrap();
    assert_eq!((answer.status(), code(&answer).as_str()), (502, "upstream_unauthorized"));
    assert_eq!(cache_status(&answer), ("bypass".into(), "sidecar-lost".into()));
    assert!(!answer.text().contains("sk-1"));
    assert_clean(&world);
}

#[test]
fn a_lost_admit_is_a_503_where_the_snapshot_says_so() {
    for (name, reply) in losses() {
        let mut world = world_on_loss(OnSidecarLoss::Unavailable);
        world.sidecar.by_hand.insert("/v1/admit");
        let stream = world.send(chat().body(question("hi")));
        assert!(stream.is_held(), "{name}");
        world.worker().callout("/v1/admit").unwrap().answer(reply);
        assert_unavailable(&stream);
        assert_clean(&world);
    }
}

#[test]
fn a_silent_sidecar_costs_no_more_than_its_budget() {
    let mut world = world_on_loss(OnSidecarLoss::Direct);
    world.sidecar.mood = Mood::Silent;
    let stream = world.send(chat().body(question("hi")));
    world.pass(Duration::from_millis(290));
    assert!(stream.is_held());
    world.pass(Duration::from_millis(10));
    assert_direct(&stream, "sidecar-lost");
    assert_clean(&world);
}

#[test]
fn a_callout_that_cannot_be_sent_is_a_lost_one() {
    for on_loss in [OnSidecarLoss::Direct, OnSidecarLoss::Unavailable] {
        let mut world = world_on_loss(on_loss);
        world.envoy.overflows("kt_sidecar", true);
        let stream = world.send(chat().body(question("hi")));
        match on_loss {
            OnSidecarLoss::Direct => assert_direct(&stream, "sidecar-lost"),
            OnSidecarLoss::Unavailable => assert_unavailable(&stream),
        }
        assert_clean(&world);
    }
}

#[test]
fn nobody_is_let_through_while_it_is_not_known_who_asks() {
    for (name, reply) in losses() {
        let mut world = world();
        world.sidecar.publishes("snapshot-2", |s| s.on_sidecar_loss = OnSidecarLoss::Direct);
        world.pass(Duration::from_millis(500));
        world.sidecar.by_hand.insert("/v1/principal");
        let stream = world.send(chat().body(question("hi")));
        assert!(stream.is_held(), "{name}");
        world.worker().callout("/v1/principal").unwrap().answer(reply);
        assert_unavailable(&stream);
        assert_clean(&world);
    }
}

#[test]
fn a_known_caller_passes_for_a_minute_without_the_feed_and_then_not() {
    let mut world = world_on_loss(OnSidecarLoss::Direct);
    world.sidecar.mood = Mood::Failing(Reply::Refused);
    world.pass(Duration::from_secs(59));
    assert_direct(&world.send(chat().body(question("hi"))), "sidecar-lost");
    world.pass(Duration::from_secs(2));
    assert_unavailable(&world.send(chat().body(question("hi"))));
    assert_clean(&world);
}

#[test]
fn the_breaker_opens_and_a_probe_closes_it() {
    let mut world = world_on_loss(OnSidecarLoss::Direct);
    world.sidecar.mood = Mood::Failing(Reply::Refused);
    for at in 0..30 {
        let _lost = world.send(chat().body(question(&format!("lost {at}"))));
    }
    let callouts = world.worker().callouts().len();
    let skipped = world.worker().send(chat().body(question("skipped")));
    assert_eq!(world.worker().callouts().len(), callouts, "no callout is made");
    assert_direct(&skipped, "breaker-open");
    world.sidecar.mood = Mood::Serving;
    world.pass(Duration::from_secs(1));
    let probe = world.send(chat().body(question("probe")));
    assert_eq!(forwarded(&probe).header("x-kt-lane").as_deref(), Some("sidecar"));
    let next = world.send(chat().body(question("next")));
    assert_eq!(forwarded(&next).header("x-kt-lane").as_deref(), Some("sidecar"));
    assert_eq!(world.counted("kt_filter_breaker_opened_total"), 1);
    assert!(world.counted("kt_filter_breaker_skipped_total") >= 1);
    assert_clean(&world);
}

#[test]
fn a_hit_that_was_asked_past_is_no_answer() {
    let mut world = world_on_loss(OnSidecarLoss::Unavailable);
    world.sidecar.by_hand.insert("/v1/admit");
    let stream = world.send(chat().header("cache-control", "no-cache").body(question("hi")));
    let callout = world.worker().callout("/v1/admit").unwrap();
    callout.answer(kt_filter_host::sidecar::hit(&stored("{}")));
    assert_unavailable(&stream);
    assert_clean(&world);
}

#[test]
fn a_client_that_leaves_during_a_callout_is_forgotten() {
    for path in ["/v1/principal", "/v1/admit"] {
        let mut world = world();
        world.sidecar.by_hand.insert(path);
        let stream = world.send(chat().body(question("hi")));
        let callout = world.worker().callout(path).unwrap();
        stream.client_leaves();
        assert!(stream.is_cut());
        callout.answer(decision(&Admitted::Draining));
        callout.answer(Reply::Truncated);
        assert!(stream.forwarded().is_none() && stream.answer().is_none());
        assert_eq!(world.counted("kt_filter_requests_total.outcome.left"), 1, "{path}");
        world.sidecar.by_hand.clear();
        let _ = forwarded(&world.send(chat().body(question("hi"))));
        assert_clean(&world);
    }
}

#[test]
fn garbage_in_the_feed_changes_nothing_and_is_counted() {
    let mut world = world_on_loss(OnSidecarLoss::Direct);
    let marked =
        |body: &[u8]| Message::response(200).header("x-kt-wire", VERSION.to_string()).body(body);
    world.sidecar.by_hand.insert("/v1/feed");
    let (ours, theirs) = (VERSION, VERSION + 1);
    let bodies = [
        String::new(),
        "{".to_owned(),
        format!(r#"{{"version":{ours}}}"#),
        format!(r#"{{"version":{theirs},"epoch":"e","seq":0}}"#),
        format!(r#"{{"version":{ours},"epoch":"e","seq":-1}}"#),
    ];
    for body in bodies {
        world.worker().callout("/v1/feed").unwrap().answer(marked(body.as_bytes()));
        world.pass(Duration::from_millis(100));
    }
    world.sidecar.by_hand.clear();
    world.pass(Duration::from_millis(500));
    assert_eq!(world.counted("kt_filter_wire_errors_total"), 5);
    let _ = forwarded(&world.send(chat().body(question("hi"))));
    assert_clean(&world);
}

#[test]
fn a_lane_that_envoy_answers_for_is_marked_as_lost() {
    let mut world = world_on_loss(OnSidecarLoss::Direct);
    let stream = world.send(chat().body(question("hi")));
    stream.upstream_breaks();
    let answer = stream.answer().unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(cache_status(&answer), ("bypass".into(), "sidecar-lost".into()));
    assert_eq!(world.counted("kt_filter_lane_lost_total"), 1);
    let late = world.send(chat().body(question("ho")));
    late.upstream_headers(
        HeaderMap::of([(":status", "200"), ("x-kt-wire", &*VERSION.to_string())]),
        false,
    );
    late.upstream_body(b"data: ", false);
    late.upstream_breaks();
    assert!(late.is_cut() && !late.answer().unwrap().complete);
    assert_clean(&world);
}
