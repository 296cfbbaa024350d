//! The shapes in which requests come: in pieces, with trailers, without a body, with headers that are no text.

use kt_filter_host::world::{World, alice, chat, question};
use kt_filter_host::{HeaderMap, Message};

use super::{assert_clean, code, forwarded, replied, stored, world};

#[test]
fn however_a_body_comes_it_is_the_same_request() {
    let mut world = world();
    let body = question("hi");
    let (front, back) = body.split_at(20);
    let trailers = HeaderMap::of([("x-checksum", "1"), ("x-kt-lane", "sidecar")]);
    let shapes = [
        chat().body(&body),
        chat().chunks([front, back]),
        chat().chunks(body.as_bytes().chunks(1)),
        chat().chunks(["", front, "", back, ""]),
        chat().body(&body).trailers(trailers.clone()),
        chat().chunks([front, back]).trailers(trailers),
    ];
    let count = shapes.len();
    for shape in shapes {
        let stream = world.send(shape);
        let forwarded = forwarded(&stream);
        assert_eq!(forwarded.text(), body);
        assert_eq!(forwarded.header("content-length"), Some(body.len().to_string()));
        assert!(forwarded.trailers.is_empty(), "{:?}", forwarded.trailers);
    }
    assert_eq!(world.sidecar.admits.len(), count);
    assert!(
        world.sidecar.admits.iter().all(|asked| asked.plan.key == world.sidecar.admits[0].plan.key)
    );
    assert!(world.sidecar.admits.iter().all(|asked| asked.body == world.sidecar.admits[0].body));
    assert_clean(&world);
}

#[test]
fn the_last_piece_may_say_itself_that_it_is_the_last() {
    let mut world = world();
    let stream = world.worker().open(chat());
    stream.last(question("hi"));
    world.settle();
    assert_eq!(forwarded(&stream).text(), question("hi"));
    assert_clean(&world);
}

#[test]
fn a_body_may_come_while_the_sidecar_is_asked_who_it_is() {
    let mut world = world();
    world.sidecar.by_hand.insert("/v1/principal");
    for split in 0..3 {
        let stream = world.worker().open(chat());
        let pieces = [&question("hi")[..9], &question("hi")[9..]];
        let callout = world.worker().callout("/v1/principal");
        for (at, piece) in pieces.iter().enumerate() {
            if at == split {
                answer_principal(&mut world, callout.as_ref());
            }
            stream.body(piece);
        }
        if split == 2 {
            answer_principal(&mut world, callout.as_ref());
        }
        world.settle();
        assert!(stream.is_held(), "half a body is never planned");
        stream.end();
        world.settle();
        assert_eq!(forwarded(&stream).text(), question("hi"), "split {split}");
        // The next one asks again.
        world.sidecar.forgets();
        world.pass(std::time::Duration::from_millis(500));
    }
    assert_clean(&world);
}

#[test]
fn trailers_that_come_while_the_sidecar_is_asked_go_no_further() {
    let mut world = world();
    let trailers = HeaderMap::of([("x-kt-lane", "sidecar"), ("authorization", "Bearer x")]);
    let stream = world.worker().send(chat().body(question("hi")).trailers(trailers));
    assert!(stream.is_held());
    world.settle();
    let forwarded = forwarded(&stream);
    assert_eq!((forwarded.text(), forwarded.trailers.len()), (question("hi"), 0));
    assert_clean(&world);
}

fn answer_principal(world: &mut World, callout: Option<&kt_filter_host::Callout>) {
    let callout = callout.unwrap();
    world.sidecar.by_hand.clear();
    let reply = world.sidecar.answer(&callout.asked, world.envoy.now()).unwrap();
    world.sidecar.by_hand.insert("/v1/principal");
    callout.answer(reply);
}

#[test]
fn headers_that_are_no_text_do_no_harm() {
    let mut world = world();
    let request = chat()
        .header("x-bytes", b"\xff\xfe\x80")
        .header("user-agent", b"\xc3\x28")
        .header("openai-beta", b"\xff")
        .header("cache-control", b"\xff, max-age")
        .header("content-length", b"\xff");
    let stream = world.send(request.chunks([question("hi")]));
    let forwarded = forwarded(&stream);
    assert_eq!(forwarded.headers.bytes("openai-beta"), Some(&b"\xff"[..]));
    assert!(forwarded.header("x-bytes").is_none());
    for name in ["authorization", "x-api-key", "x-kt-codebase", "content-type", "content-encoding"]
    {
        let stream = world.send(chat().header(name, b"\xff\xfe").body(question("hi")));
        let answer = replied(&stream);
        assert!((400..500).contains(&answer.status()), "{name}");
        let _ = code(&answer);
    }
    for path in [&b"/v1/\xff"[..], b"\xff", b"", b"?", b"/v1/chat/completions\xff"] {
        let mut request = Message::request("POST", "");
        request = request.header("x-api-key", alice().reveal());
        let request = request.replacing(":path", path).body("{}");
        let answer = replied(&world.send(request));
        assert_eq!((answer.status(), code(&answer).as_str()), (404, "unknown_path"));
    }
    assert_clean(&world);
}

#[test]
fn a_thousand_headers_and_huge_ones_do_no_harm() {
    let mut world = world();
    let mut many = chat();
    for at in 0..1_000 {
        many = many.header(&format!("x-header-{at}"), "v");
    }
    let huge = chat().header("x-huge", vec![b'x'; 1 << 20]);
    let beta = chat().header("openai-beta", vec![b'x'; 64 << 10]);
    let mut betas = chat();
    for at in 0..1_000 {
        betas = betas.header("openai-beta", format!("b{at}"));
    }
    for request in [many, huge, beta, betas] {
        let stream = world.send(request.body(question("hi")));
        assert!(stream.forwarded().is_some() || stream.is_local_reply());
    }
    assert_clean(&world);
}

#[test]
fn a_request_that_repeats_its_pseudo_headers_cannot_smuggle_a_path() {
    let mut world = world();
    let request = chat().header(":path", "/v1/models").header(":method", "GET");
    let stream = world.send(request.body(question("hi")));
    if let Some(forwarded) = stream.forwarded() {
        assert_eq!(forwarded.headers.count(":path"), 1);
        assert_eq!(forwarded.headers.count(":method"), 1);
        assert_eq!(forwarded.header(":path").as_deref(), Some("/v1/chat/completions"));
    }
    assert_clean(&world);
}

#[test]
fn a_five_mebibyte_body_works() {
    let mut world = world();
    let body = kt_filter_host::world::question_of(5 << 20);
    let pieces: Vec<_> = body.as_bytes().chunks(64 << 10).collect();
    let stream = world.send(chat().chunks(pieces));
    assert_eq!(forwarded(&stream).text(), body);
    world.sidecar.stores_last(stored("{}"));
    assert_eq!(replied(&world.send(chat().body(&body))).text(), "{}");
    assert_clean(&world);
}

#[test]
fn a_body_beyond_the_bound_is_refused_as_soon_as_it_is() {
    let mut world = world();
    world.sidecar.publishes("snapshot-2", |snapshot| snapshot.limits.request_bytes_max = 1_000);
    world.pass(std::time::Duration::from_millis(500));
    let fits = question(&"x".repeat(1_000 - question("").len()));
    let _ = forwarded(&world.send(chat().body(&fits)));
    let stream = world.worker().open(chat());
    world.settle();
    stream.body(vec![b' '; 1_000]);
    assert!(stream.is_held());
    stream.body(b" ");
    let answer = replied(&stream);
    assert_eq!((answer.status(), code(&answer).as_str()), (413, "request_too_large"));
    assert_clean(&world);
}

#[test]
fn what_envoy_refuses_itself_still_carries_a_request_id() {
    let mut world = World::start(
        kt_filter_host::world::gateway(super::module(), "gw-a").body_bytes_max(1_000),
        kt_filter_host::world::sidecar(),
    )
    .unwrap();
    let stream = world.send(chat().chunks([vec![b' '; 2_000]]));
    let answer = replied(&stream);
    assert_eq!(answer.status(), 413);
    assert!(answer.header("x-request-id").is_some_and(|id| id.len() == 32));
    assert_eq!(world.counted("kt_filter_requests_total.outcome.left"), 1);
    assert_clean(&world);
}

#[test]
fn a_host_without_the_flag_holds_requests_and_leaks_none() {
    let mut world = World::start(
        kt_filter_host::world::gateway(super::module(), "gw-a")
            .allow_on_headers_stop_iteration(false),
        kt_filter_host::world::sidecar(),
    )
    .unwrap();
    let stream = world.send(chat().body(question("hi")));
    assert!(stream.is_held() && stream.forwarded().is_none());
    stream.client_leaves();
    assert_clean(&world);
}
