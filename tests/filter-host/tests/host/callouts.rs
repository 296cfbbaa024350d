//! Callouts: who gets the reply, and every way in which there is none.

use std::time::Duration;

use kt_filter_host::{CALLOUT_REPLY_BYTES_MAX, Message, Reply};

use super::{probe, samples};

fn post() -> Message {
    Message::request("POST", "/x").body("q")
}

#[test]
fn a_callout_carries_what_the_filter_asked() {
    let envoy = probe("c").start().unwrap();
    let _stream = envoy.worker(0).send(post());
    let asked = envoy.worker(0).callout("/admit").unwrap().asked;
    assert_eq!(asked.cluster, "sidecar");
    assert_eq!(asked.headers.text("x-from").as_deref(), Some("probe"));
    assert_eq!(asked.timeout, Duration::from_millis(300));
}

#[test]
fn the_reply_lets_the_filter_resume_the_stream_that_asked() {
    let envoy = probe("c").start().unwrap();
    let stream = envoy.worker(0).send(post());
    assert!(stream.is_held());
    let callout = envoy.worker(0).callout("/admit").unwrap();
    callout.answer(Message::response(200).header("x-kt-wire", "1").body("hello"));
    assert_eq!(stream.forwarded().unwrap().header("x-probe").as_deref(), Some("sidecar"));
    callout.answer(Message::response(200));
    assert_eq!(samples(&envoy, "reply"), vec![3]);
}

#[test]
fn every_failure_shows_itself_as_envoys_own() {
    let too_large = Message::response(200).body(vec![0; CALLOUT_REPLY_BYTES_MAX + 1]);
    let rows = [
        (Reply::Refused, 3),
        (Reply::Reset, 3),
        (Reply::TimedOut, 3),
        (Reply::Truncated, 0),
        (Reply::from(too_large), 0),
        (Reply::from(Message::response(500).header("x-kt-wire", "1").header("a", "b")), 3),
    ];
    for (reply, headers) in rows {
        let envoy = probe("c").start().unwrap();
        let _stream = envoy.worker(0).send(post());
        let name = format!("{reply:.40?}");
        envoy.worker(0).callout("/admit").unwrap().answer(reply);
        assert_eq!(samples(&envoy, "reply"), vec![headers], "{name}");
    }
}

#[test]
fn a_callout_times_out_at_its_moment_and_only_once() {
    let envoy = probe("c").start().unwrap();
    let _stream = envoy.worker(0).send(post());
    let callout = envoy.worker(0).callout("/admit").unwrap();
    envoy.advance(Duration::from_millis(299));
    assert_eq!(samples(&envoy, "reply"), Vec::<u64>::new());
    envoy.advance(Duration::from_millis(1));
    assert_eq!(samples(&envoy, "reply"), vec![3]);
    callout.answer(Message::response(200));
    assert_eq!(samples(&envoy, "reply"), vec![3]);
}

#[test]
fn an_overflow_fails_at_once_and_an_unknown_cluster_is_a_bad_argument() {
    let envoy = probe("c").start().unwrap();
    envoy.overflows("sidecar", true);
    let _stream = envoy.worker(0).send(post());
    assert_eq!(samples(&envoy, "dispatch"), vec![10]);
    assert!(envoy.misuses().is_empty());

    let host = kt_filter_host::Host::compile(super::PROBE).unwrap();
    let envoy = host.envoy().configured("c").start().unwrap();
    let _stream = envoy.worker(0).send(post());
    assert_eq!(samples(&envoy, "dispatch"), vec![2]);
    assert_eq!(envoy.misuses(), ["proxy_http_call: BadArgument"]);
}

#[test]
fn a_callout_outlives_its_stream_and_its_reply_finds_nobody() {
    let envoy = probe("c").start().unwrap();
    let stream = envoy.worker(0).send(post());
    stream.client_leaves();
    let callout = envoy.worker(0).callout("/admit").unwrap();
    callout.answer(Message::response(200));
    assert_eq!(samples(&envoy, "reply"), vec![1]);
    assert!(stream.forwarded().is_none() && envoy.worker(0).is_alive());
}
