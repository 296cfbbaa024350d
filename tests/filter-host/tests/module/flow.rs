//! The way of a request: principal, admit, lane; or a hit.

use kt_contract::outcome::Reason;
use kt_contract::snapshot::Tier;
use kt_contract::wire::VERSION;
use kt_contract::wire::admit::ReplyShape;
use kt_filter_host::Message;
use kt_filter_host::world::{World, chat, question};

use super::{assert_clean, cache_status, code, forwarded, replied, stored, world};

/// What goes on to the sidecar's lane, and nothing else.
const LANE_HEADERS: [&str; 11] = [
    ":authority",
    ":method",
    ":path",
    ":scheme",
    "content-length",
    "content-type",
    "user-agent",
    "x-kt-lane",
    "x-kt-ticket",
    "x-request-id",
    "openai-beta",
];

#[test]
fn a_miss_asks_who_it_is_then_for_admission_and_takes_the_lane() {
    let mut world = world();
    let body = question("hi");
    let stream = world.worker().send(chat().body(&body));
    let paths = |world: &World| -> Vec<_> {
        world.worker().callouts().iter().map(|one| one.asked.path()).collect()
    };
    assert_eq!(paths(&world), ["/v1/feed", "/v1/principal"]);
    assert!(stream.is_held());
    world.settle();
    let forwarded = forwarded(&stream);
    assert_eq!(forwarded.text(), body);
    assert_eq!(forwarded.header("x-kt-lane").as_deref(), Some("sidecar"));
    assert_eq!(forwarded.header("x-kt-ticket").as_deref(), Some("ticket-1"));
    assert_eq!(world.sidecar.principals_asked, 1);
    let asked = &world.sidecar.admits[0];
    assert_eq!(forwarded.header("x-request-id").as_ref(), Some(&asked.request_id));
    assert_eq!(asked.body.0, *blake3::hash(body.as_bytes()).as_bytes());
    assert_eq!((asked.gateway.as_str(), asked.plan.target.as_str()), ("gw-a", "openai-main"));
    assert_eq!(
        (asked.plan.reply, asked.plan.client_limited, asked.bypass),
        (ReplyShape::Json, false, None)
    );
    assert_clean(&world);
}

#[test]
fn only_the_allow_list_goes_on_whatever_the_client_sent() {
    let mut world = world();
    let request = chat()
        .header("x-api-key", kt_filter_host::world::alice().reveal())
        .header("openai-beta", "assistants=v2")
        .header("cookie", "session=1")
        .header("x-kt-lane", "direct-openai-main")
        .header("x-kt-ticket", "stolen")
        .header("x-kt-codebase", "acme/api")
        .header("x-kt-anything", "1")
        .header("x-kt-target", "openai-main")
        .header("x-envoy-upstream-rq-timeout-ms", "1")
        .header("x-request-id", "the client's own")
        .header("accept-encoding", "gzip")
        .header("openai-organization", "org-1")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .body(question("hi"));
    let stream = world.send(request);
    let forwarded = forwarded(&stream);
    let mut expected = LANE_HEADERS.to_vec();
    expected.sort_unstable();
    assert_eq!(forwarded.headers.names(), expected);
    for name in LANE_HEADERS {
        assert_eq!(forwarded.headers.count(name), 1, "{name}");
    }
    assert_eq!(forwarded.header("x-kt-lane").as_deref(), Some("sidecar"));
    assert_eq!(forwarded.header("x-kt-ticket").as_deref(), Some("ticket-1"));
    assert_eq!(forwarded.header(":path").as_deref(), Some("/v1/chat/completions"));
    let id = forwarded.header("x-request-id").unwrap();
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    assert_eq!(world.sidecar.admits[0].plan.gates.codebases, ["acme/api".to_owned()].into());
    assert_clean(&world);
}

#[test]
fn the_query_is_neither_in_the_key_nor_forwarded() {
    let mut world = world();
    let plain = world.send(chat().body(question("hi")));
    let mut queried = Message::request("POST", "/v1/chat/completions?api-version=1");
    queried = queried.header("x-api-key", kt_filter_host::world::alice().reveal());
    let queried = world.send(queried.body(question("hi")));
    assert_eq!(forwarded(&plain).header(":path"), forwarded(&queried).header(":path"));
    assert_eq!(world.sidecar.admits[0].plan.key, world.sidecar.admits[1].plan.key);
    assert_clean(&world);
}

#[test]
fn an_inline_hit_is_answered_with_everything_a_client_reads() {
    let mut world = world();
    let _first = world.send(chat().body(question("hi")));
    world.sidecar.stores_last(stored(r#"{"id":"chatcmpl-1"}"#));
    let stream = world.send(chat().body(question("hi")));
    let answer = replied(&stream);
    assert_eq!((answer.status(), answer.text().as_str()), (200, r#"{"id":"chatcmpl-1"}"#));
    assert_eq!(cache_status(&answer), ("hit".into(), "shared".into()));
    assert_eq!(answer.header("cache-status").as_deref(), Some("kt; hit; ttl=600; detail=shared"));
    assert_eq!(answer.header("age").as_deref(), Some("7"));
    assert_eq!(answer.header("x-kt-served-by").as_deref(), Some("openai/gpt-4o"));
    assert_eq!(answer.header("x-fabric-attached").as_deref(), Some("false"));
    assert_eq!(answer.header("content-length").as_deref(), Some("19"));
    assert!(answer.header("x-kt-wire").is_none() && answer.header("x-kt-admit").is_none());
    assert_eq!(stream.filter_state("kt_outcome").as_deref(), Some("hit"));
    assert_eq!(stream.filter_state("kt_org").as_deref(), Some("acme"));
    assert_clean(&world);
}

#[test]
fn the_lanes_answer_passes_untouched_but_for_what_is_ours_alone() {
    let mut world = world();
    let stream = world.send(chat().body(question("hi")));
    let events = ["data: {\"a\":1}\n\n", "data: [DONE]\n\n"];
    let response = Message::response(200)
        .header("content-type", "text/event-stream")
        .header("x-kt-wire", VERSION.to_string())
        .header("x-kt-secret", "1")
        .header("x-kt-served-by", "openai/gpt-4o")
        .header("x-cache-status", "miss")
        .header("cache-status", "kt; fwd=miss; detail=codebase")
        .chunks(events);
    stream.upstream_answers(response);
    let answer = stream.answer().unwrap();
    assert!(stream.is_complete() && !stream.is_local_reply());
    assert_eq!(answer.text(), events.concat());
    assert_eq!(cache_status(&answer), ("miss".into(), "codebase".into()));
    let ours: Vec<_> =
        answer.headers.names().into_iter().filter(|name| name.starts_with("x-kt-")).collect();
    assert_eq!(ours, ["x-kt-served-by"]);
    assert_eq!(stream.filter_state("kt_outcome").as_deref(), Some("miss"));
    assert_eq!(stream.filter_state("kt_reason").as_deref(), Some(Reason::Codebase.as_str()));
    assert_eq!(world.counted("kt_filter_requests_total.outcome.miss"), 1);
    assert_clean(&world);
}

#[test]
fn a_client_that_wants_no_cache_is_not_served_from_it() {
    let mut world = world();
    let _first = world.send(chat().body(question("hi")));
    world.sidecar.stores_last(stored("{}"));
    let _hit = world.send(chat().body(question("hi")));
    for directive in ["no-cache", "max-age=0, No-Store"] {
        let stream = world.send(chat().header("cache-control", directive).body(question("hi")));
        let _ = forwarded(&stream);
        let bypass = world.sidecar.admits.last().unwrap().bypass;
        assert_eq!(bypass, Some(Reason::ClientNoCache), "{directive}");
    }
    assert_clean(&world);
}

#[test]
fn a_cache_that_is_turned_off_is_asked_past_and_the_request_checked_all_the_same() {
    let mut world = world();
    world.sidecar.publishes("snapshot-2", |snapshot| snapshot.cache.enabled = false);
    world.pass(std::time::Duration::from_millis(500));
    for _ in 0..2 {
        let _ = forwarded(&world.send(chat().body(question("hi"))));
        assert_eq!(world.sidecar.admits.last().unwrap().bypass, Some(Reason::Disabled));
        world.sidecar.stores_last(stored("{}"));
    }
    let nobody = Message::request("POST", "/v1/chat/completions").body(question("hi"));
    assert_eq!(replied(&world.send(nobody)).status(), 401);
    assert_clean(&world);
}

#[test]
fn a_draining_sidecar_is_told_apart_from_a_lost_one() {
    let mut world = world();
    let _first = world.send(chat().body(question("hi")));
    world.sidecar.mood = kt_filter_host::sidecar::Mood::Draining;
    let stream = world.send(chat().body(question("ho")));
    let answer = replied(&stream);
    assert_eq!((answer.status(), code(&answer).as_str()), (503, "draining"));
    assert_eq!(answer.header("retry-after").as_deref(), Some("1"));
    assert_clean(&world);
}

#[test]
fn every_gate_and_every_field_makes_another_key() {
    let mut world = world();
    let mut keys = Vec::new();
    let mut ask = |world: &mut World, request: Message| {
        let _stream = world.send(request);
        let key = world.sidecar.admits.last().unwrap().plan.key;
        assert!(!keys.contains(&key), "seen before: {:?}", world.sidecar.admits.last());
        keys.push(key);
    };
    ask(&mut world, chat().body(question("hi")));
    ask(&mut world, chat().body(question("ho")));
    ask(&mut world, chat().body(question("hi").replace("gpt-4o", "gpt-4o-mini")));
    ask(&mut world, chat().body(question("hi").replacen('{', r#"{"unknown":1,"#, 1)));
    ask(&mut world, chat().header("x-kt-codebase", "acme/web").body(question("hi")));
    ask(&mut world, chat().header("openai-beta", "x").body(question("hi")));
    let changes: [fn(&mut kt_contract::snapshot::Snapshot); 3] = [
        |snapshot| snapshot.policy.digest.0[0] = 9,
        |snapshot| snapshot.cache.tier = Tier::PrivateEdge,
        |snapshot| snapshot.cache.tier = Tier::PhysicalGateway,
    ];
    for (at, change) in changes.into_iter().enumerate() {
        world.sidecar.publishes(&format!("snapshot-{at}+"), change);
        world.pass(std::time::Duration::from_millis(500));
        ask(&mut world, chat().body(question("hi")));
    }
    assert_clean(&world);
}

#[test]
fn what_cannot_change_an_answer_is_not_in_the_key() {
    let mut world = world();
    let spelled = [
        r#"{"model":"gpt-4o","messages":[]}"#,
        r#"{ "messages" : [ ] , "model" : "gpt-4o" }"#,
        r#"{"model":"gpt-4o","messages":[],"user":"u","metadata":{"a":"b"}}"#,
        r#"{"model":"gpt-4o","messages":[],"stream":true,"stream_options":{"include_usage":true}}"#,
        r#"{"model":"gpt-4o","messages":[],"safety_identifier":"s","prompt_cache_key":"p"}"#,
    ];
    for body in spelled {
        let stream = world.send(chat().body(body));
        assert_eq!(forwarded(&stream).text(), body, "bytes go on unchanged");
    }
    assert_eq!(world.sidecar.admits.len(), spelled.len());
    let first = world.sidecar.admits[0].plan.key;
    assert!(world.sidecar.admits.iter().all(|asked| asked.plan.key == first));
    assert_eq!(world.sidecar.admits[3].plan.reply, ReplyShape::Sse { include_usage: true });
    assert_clean(&world);
}
