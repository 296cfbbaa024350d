//! Memory under everything at once: what a worker holds stays within L1, a fixed part, and three bodies.

use std::time::Duration;

use kt_contract::gateway_key::GatewayKey;
use kt_filter_host::scanning::default_chain;
use kt_filter_host::world::{CHAT, World, principal, question_of};
use kt_filter_host::{Message, Random, Stream};

use super::bombs::bound;
use super::{assert_clean, stored, world};

const MIB: usize = 1 << 20;
const BODY_BYTES_MAX: usize = 2 * MIB;
const L1_BYTES_MAX: usize = 8 * MIB;
const REQUESTS: usize = 6_000;
const CALLERS: u8 = 200;

#[test]
fn mixed_load_stays_within_l1_sixteen_mebibytes_and_three_bodies() {
    let mut world = world();
    world.sidecar.publishes("snapshot-2", |snapshot| {
        snapshot.limits.request_bytes_max = BODY_BYTES_MAX as u64;
        snapshot.cache.l1_bytes_max = L1_BYTES_MAX as u64;
        snapshot.policy.chain = default_chain().unwrap();
    });
    for caller in 0..CALLERS {
        world.sidecar.knows(&key(caller), principal(&format!("gk_{caller}"), "acme"));
    }
    world.pass(Duration::from_millis(500));
    let mut random = Random::seeded(5);
    let mut open: Vec<Stream> = Vec::new();
    for at in 0..REQUESTS {
        one(&mut world, &mut random, &mut open);
        if at % 100 == 0 {
            world.pass(Duration::from_millis(300));
        }
        if at % 1_500 == 1_499 {
            world.sidecar.purges();
        }
        let memory = world.worker().memory_bytes();
        let most = bound(L1_BYTES_MAX, BODY_BYTES_MAX);
        assert!(memory <= most, "{} KiB of {} after {at} requests", memory >> 10, most >> 10);
    }
    let l1_hits = world.counted("kt_filter_hits_total.from.l1");
    assert!(l1_hits > 200, "the load hits L1 too little: {l1_hits}");
    assert!(world.counted("kt_filter_refused_total.why.request") > 20);
    assert_clean(&world);
}

fn key(caller: u8) -> GatewayKey {
    GatewayKey::from_random(&[caller.wrapping_add(1); 32])
}

/// Something that a client does: asks for what is known or for something new, with a large body, with one
/// that is too large, or half of it, and leaves.
fn one(world: &mut World, random: &mut Random, open: &mut Vec<Stream>) {
    let caller = u8::try_from(random.below(usize::from(CALLERS))).unwrap();
    let bearer = format!("Bearer {}", key(caller).reveal());
    let ask = || Message::request("POST", CHAT).header("authorization", &bearer);
    let body = match random.below(40) {
        0 => question_of(BODY_BYTES_MAX - 1_000 - random.below(1_000)),
        1 => question_of(BODY_BYTES_MAX + 1),
        2..=5 => question_of(random.below(100_000)),
        6..=9 => question_of(1_000 + random.below(20_000)).replace("user", "system"),
        10 | 11 => question_of(4_000).replacen(']', "", 1),
        _ => question_of(300 + random.below(60)),
    };
    if random.once_in(20) {
        let stream = world.worker().open(ask());
        stream.body(&body.as_bytes()[..body.len() / 2]);
        open.push(stream);
        if open.len() > 50 {
            open.remove(random.below(50)).client_leaves();
        }
        return;
    }
    let stream = world.send(ask().chunks(body.as_bytes().chunks(16_384)));
    if stream.forwarded().is_some() && random.once_in(2) {
        world.sidecar.stores_last(stored(&"x".repeat(random.below(200 << 10))));
    }
    stream.client_leaves();
}
