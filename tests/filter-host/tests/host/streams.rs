//! How headers, bodies and trailers pass a filter that holds them.

use kt_filter_host::{HeaderMap, Message};

use super::{probe, samples, told};

fn post() -> Message {
    Message::request("POST", "/x")
}

#[test]
fn a_held_request_goes_on_whole_once_the_filter_lets_go() {
    let envoy = probe("p").start().unwrap();
    let stream = envoy.worker(0).open(post());
    stream.body("ab");
    stream.body("cd");
    assert!(stream.is_held());
    stream.end();
    let forwarded = stream.forwarded().unwrap();
    assert_eq!(forwarded.text(), "abcd");
    assert!(forwarded.complete);
    assert_eq!(forwarded.header("x-probe").as_deref(), Some("sidecar"));
    // All that is held is shown each time, and the end comes alone.
    let expected = vec![told(2, false), told(4, false), told(4, true)];
    assert_eq!(samples(&envoy, "request_body"), expected);
}

#[test]
fn without_the_flag_a_held_request_is_never_shown_its_body() {
    let envoy = probe("p").allow_on_headers_stop_iteration(false).start().unwrap();
    let stream = envoy.worker(0).send(post().body("abcd"));
    assert!(stream.is_held());
    assert_eq!(samples(&envoy, "request_body"), Vec::<u64>::new());
}

#[test]
fn a_body_that_passes_is_shown_piece_by_piece() {
    let envoy = probe("b").start().unwrap();
    let stream = envoy.worker(0).send(post().chunks(["ab", "cde"]));
    assert_eq!(stream.forwarded().unwrap().text(), "abcde");
    let expected = vec![told(2, false), told(3, false), told(0, true)];
    assert_eq!(samples(&envoy, "request_body"), expected);
}

#[test]
fn a_request_with_trailers_ends_without_an_end_in_its_body() {
    let envoy = probe("p").start().unwrap();
    let trailers = HeaderMap::of([("x-sum", "1")]);
    let stream = envoy.worker(0).send(post().body("abcd").trailers(trailers.clone()));
    assert_eq!(samples(&envoy, "request_body"), vec![told(4, false)]);
    assert_eq!(samples(&envoy, "trailers"), vec![1]);
    let forwarded = stream.forwarded().unwrap();
    assert_eq!((forwarded.text().as_str(), forwarded.trailers), ("abcd", trailers));
}

#[test]
fn a_request_without_a_body_ends_in_its_headers() {
    let envoy = probe("p").start().unwrap();
    let stream = envoy.worker(0).send(Message::request("GET", "/x"));
    assert!(stream.forwarded().unwrap().complete);
    assert_eq!(samples(&envoy, "request_body"), Vec::<u64>::new());
}

#[test]
fn a_header_that_is_set_after_the_headers_passed_is_a_bad_argument() {
    let envoy = probe("h").start().unwrap();
    let _stream = envoy.worker(0).send(post().body("abcd"));
    assert_eq!(samples(&envoy, "dispatch"), vec![2]);
    assert_eq!(envoy.misuses(), ["proxy_replace_header_map_value: BadArgument"]);
}

#[test]
fn a_body_beyond_the_buffer_is_answered_by_envoy_and_shown_to_the_filter() {
    let envoy = probe("p").body_bytes_max(1000).start().unwrap();
    let stream = envoy.worker(0).send(post().chunks([vec![b'x'; 600], vec![b'x'; 600]]));
    let answer = stream.answer().unwrap();
    assert_eq!((answer.status(), answer.text().as_str()), (413, "Payload Too Large"));
    assert!(stream.is_local_reply() && stream.forwarded().is_none());
    assert_eq!(samples(&envoy, "response_body"), vec![told(17, true)]);
    assert_eq!(samples(&envoy, "ended"), vec![1, 2, 3]);
}

#[test]
fn a_local_reply_ends_the_request_and_passes_the_filters_response_callbacks() {
    let envoy = probe("l").start().unwrap();
    let stream = envoy.worker(0).send(post().body("abcd"));
    let answer = stream.answer().unwrap();
    assert_eq!((answer.status(), answer.text().as_str()), (402, "refused by the probe"));
    assert_eq!(answer.header("content-length").as_deref(), Some("20"));
    assert_eq!(answer.header("content-type").as_deref(), Some("text/plain"));
    assert!(stream.is_complete() && stream.forwarded().is_none());
    assert_eq!(samples(&envoy, "response_body"), vec![told(20, true)]);
    assert_eq!(samples(&envoy, "ended"), vec![1, 2, 3]);
}

#[test]
fn an_upstreams_answer_passes_with_its_double_end_and_ends_the_exchange() {
    let envoy = probe("p").start().unwrap();
    let stream = envoy.worker(0).send(post().body("q"));
    stream.upstream_answers(Message::response(200).chunks(["one", "three"]));
    let answer = stream.answer().unwrap();
    assert_eq!((answer.status(), answer.text().as_str()), (200, "onethree"));
    assert!(stream.is_complete() && !stream.is_local_reply());
    let expected = vec![told(3, false), told(5, false), told(0, true)];
    assert_eq!(samples(&envoy, "response_body"), expected);
    assert_eq!(samples(&envoy, "ended"), vec![1, 2, 3]);
}

#[test]
fn an_upstream_that_breaks_is_a_503_before_its_headers_and_a_cut_after_them() {
    let envoy = probe("p").start().unwrap();
    let worker = envoy.worker(0);
    let early = worker.send(post().body("q"));
    early.upstream_breaks();
    assert_eq!(early.answer().unwrap().status(), 503);
    let late = worker.send(post().body("q"));
    late.upstream_headers(HeaderMap::of([(":status", "200")]), false);
    late.upstream_body(b"par", false);
    late.upstream_breaks();
    assert!(late.is_cut() && !late.answer().unwrap().complete);
    // The end was never shown for the broken one.
    assert!(samples(&envoy, "response_body").ends_with(&[told(3, false)]));
    assert_eq!(samples(&envoy, "ended"), vec![1, 2, 3, 1, 2, 3]);
}

#[test]
fn a_client_that_leaves_ends_the_exchange_once() {
    let envoy = probe("n").start().unwrap();
    let stream = envoy.worker(0).send(post().body("q"));
    stream.client_leaves();
    stream.client_leaves();
    stream.body("more");
    assert!(stream.is_cut() && stream.answer().is_none());
    assert_eq!(samples(&envoy, "ended"), vec![1, 2, 3]);
}
