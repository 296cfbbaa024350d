//! Thousands of random lives of a worker: whatever comes in whatever order, the VM does not trap, the filter
//! breaks no rule of Envoy, and what leaves the gateway left by one of the three ways.

use std::time::Duration;

use kt_contract::snapshot::OnSidecarLoss;
use kt_contract::wire::VERSION;
use kt_contract::wire::admit::Admitted;
use kt_filter_host::sidecar::{Mood, decision, hit};
use kt_filter_host::world::{World, alice, chat, question, question_of};
use kt_filter_host::{HeaderMap, Message, Random, Reply, Stream};

use super::{assert_clean, stored, world};

const SCRIPTS: u64 = 250;
const STEPS: usize = 40;

#[test]
fn no_script_of_events_traps_the_vm_or_lets_a_credential_out() {
    let mut world = world();
    for seed in 0..SCRIPTS {
        let mut random = Random::seeded(seed);
        if seed % 10 == 0 {
            world = super::world();
        }
        let streams = live(&mut world, &mut random);
        for stream in streams {
            assert_left_properly(&stream, seed);
            stream.client_leaves();
        }
        assert_clean(&world);
    }
}

fn live(world: &mut World, random: &mut Random) -> Vec<Stream> {
    let mut streams = Vec::new();
    for _ in 0..STEPS {
        match random.below(10) {
            0 | 1 => streams.push(world.worker().open(request(random))),
            2 => streams.push(world.worker().send(request(random).body(body(random)))),
            3..=5 => {
                if let Some(stream) = random.clone().pick(&streams) {
                    poke(stream, random);
                }
            }
            6 => answer_one(world, random),
            7 => world.settle(),
            8 => world.pass(Duration::from_millis(random.number() % 700)),
            _ => change_sidecar(world, random),
        }
    }
    streams
}

fn request(random: &mut Random) -> Message {
    let mut request = match random.below(8) {
        0 => Message::request("GET", "/health"),
        1 => Message::request("GET", "/v1/models").header("x-api-key", alice().reveal()),
        2 => Message::request("POST", "/nowhere"),
        3 => Message::request("PUT", "/v1/chat/completions"),
        _ => chat(),
    };
    let names = [
        "x-kt-lane",
        "x-kt-ticket",
        "x-kt-codebase",
        "x-kt-wire",
        "openai-beta",
        "cache-control",
        "content-length",
        "content-type",
        "authorization",
        "x-api-key",
        "x-anything",
    ];
    while random.once_in(3) {
        let mut value = vec![0; random.below(20)];
        random.fill(&mut value);
        value.retain(|byte| !matches!(byte, 0 | b'\r' | b'\n'));
        let texts = [&b"no-cache"[..], b"acme/api", b"application/json", b"sidecar", &value];
        let name = random.pick(&names).unwrap();
        request = request.header(name, random.pick(&texts).unwrap());
    }
    request
}

fn body(random: &mut Random) -> Vec<u8> {
    let whole = match random.below(6) {
        0 => question_of(random.below(60_000)).into_bytes(),
        1 => b"{\"model\":\"gpt-4o\",\"stream\":true,\"messages\":[]}".to_vec(),
        2 => b"[[[]]]".to_vec(),
        _ => question(&format!("{}", random.below(8))).into_bytes(),
    };
    match random.below(8) {
        0 => whole[..random.below(whole.len())].to_vec(),
        1 => {
            let mut bent = whole;
            let at = random.below(bent.len());
            bent[at] = random.number().to_le_bytes()[0];
            bent
        }
        _ => whole,
    }
}

fn poke(stream: &Stream, random: &mut Random) {
    match random.below(10) {
        0 | 1 => stream.body(body(random)),
        2 | 3 => stream.end(),
        4 => stream.last(body(random)),
        5 => stream.trailers(HeaderMap::of([("x-t", "1")])),
        6 => stream.client_leaves(),
        7 => stream.upstream_answers(
            Message::response(200)
                .header("x-kt-wire", VERSION.to_string())
                .chunks(["data: 1\n\n", ""]),
        ),
        8 => stream.upstream_headers(HeaderMap::of([(":status", "502")]), random.once_in(2)),
        _ => stream.upstream_breaks(),
    }
}

fn answer_one(world: &mut World, random: &mut Random) {
    let callouts = world.worker().callouts();
    let Some(callout) = random.pick(&callouts).cloned() else { return };
    let garbage =
        Message::response(200).header("x-kt-wire", VERSION.to_string()).body(body(random));
    let lane = Admitted::Lane { ticket: "t".into(), reason: kt_contract::outcome::Reason::Org };
    let replies = [
        Reply::Refused,
        Reply::Reset,
        Reply::TimedOut,
        Reply::Truncated,
        garbage.into(),
        decision(&Admitted::Draining).into(),
        decision(&Admitted::Unauthenticated { revoked: random.once_in(2) }).into(),
        decision(&lane).into(),
        hit(&stored("{}")).into(),
    ];
    callout.answer(random.pick(&replies).unwrap().clone());
}

fn change_sidecar(world: &mut World, random: &mut Random) {
    let sidecar = &mut world.sidecar;
    match random.below(10) {
        0 => sidecar.mood = Mood::Failing(Reply::Refused),
        1 => sidecar.mood = Mood::Silent,
        2 => sidecar.mood = Mood::Draining,
        3..=5 => sidecar.mood = Mood::Serving,
        6 => sidecar.purges(),
        7 => sidecar.forgets(),
        8 => sidecar.stores_last(stored("{\"id\":1}")),
        _ => {
            let losses = [OnSidecarLoss::Direct, OnSidecarLoss::Unavailable];
            let on_loss = *random.pick(&losses).unwrap();
            let version = format!("snapshot-{}", random.number());
            sidecar.publishes(&version, |snapshot| snapshot.on_sidecar_loss = on_loss);
        }
    }
}

/// What was forwarded went by the lane with a ticket, or directly, and carries nothing of the client's.
fn assert_left_properly(stream: &Stream, seed: u64) {
    let Some(forwarded) = stream.forwarded() else { return };
    let lane = forwarded.header("x-kt-lane");
    match lane.as_deref() {
        Some("sidecar") => assert!(forwarded.header("x-kt-ticket").is_some(), "seed {seed}"),
        Some("direct-openai-main") => {
            assert!(forwarded.header("x-kt-ticket").is_none(), "seed {seed}");
        }
        other => panic!("seed {seed}: {other:?}"),
    }
    for name in ["authorization", "x-api-key", "cookie", "x-anything", "x-kt-codebase"] {
        assert!(forwarded.header(name).is_none(), "seed {seed}: {name}");
    }
    assert_eq!(forwarded.headers.count("x-kt-lane"), 1, "seed {seed}");
    assert!(forwarded.trailers.is_empty(), "seed {seed}");
}
