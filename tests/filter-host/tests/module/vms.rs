//! Several VMs: the same key everywhere, and a trap that takes one of them only.

use std::time::Duration;

use kt_filter_host::world::{World, chat, gateway, question, sidecar};

use super::{assert_clean, forwarded, module, world};

#[test]
fn every_worker_of_every_gateway_computes_the_same_key() {
    let mut keys = Vec::new();
    for id in ["gw-a", "gw-b"] {
        let gateway = gateway(module(), id).workers(3).seed(id.len() as u64 * 77);
        let mut world = World::start(gateway, sidecar()).unwrap();
        for worker in 0..3 {
            let stream = world.envoy.worker(worker).send(chat().body(question("hi")));
            world.settle();
            let _ = forwarded(&stream);
        }
        keys.extend(world.sidecar.admits.iter().map(|asked| (asked.plan.key, asked.plan.check)));
        let gateways: Vec<_> =
            world.sidecar.admits.iter().map(|asked| asked.gateway.as_str()).collect();
        assert_eq!(gateways, [id; 3]);
        assert_clean(&world);
    }
    keys.dedup();
    assert_eq!(keys.len(), 1, "{keys:?}");
}

#[test]
fn every_vm_polls_the_feed_and_mints_its_own_request_ids() {
    let mut world = World::start(gateway(module(), "gw-a").workers(2), sidecar()).unwrap();
    for vm in world.envoy.vms() {
        assert!(vm.callout("/v1/feed").is_some());
    }
    for worker in [0, 1, 0, 1] {
        let stream = world.envoy.worker(worker).send(chat().body(question("hi")));
        world.settle();
        let _ = forwarded(&stream);
    }
    let mut ids: Vec<_> = world.sidecar.admits.iter().map(|asked| &asked.request_id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 4);
    assert_clean(&world);
}

#[test]
fn after_a_trap_anywhere_the_next_request_passes() {
    for fuel in [0, 2_000, 20_000, 100_000, 200_000] {
        let mut world = world();
        let _warm = world.send(chat().body(question("warm")));
        world.sidecar.by_hand.insert("/v1/admit");
        let held = world.send(chat().body(question("held")));
        world.worker().trap_after(fuel);
        let mut spent = 0;
        while world.worker().is_alive() {
            let _burns = world.send(chat().body(question(&format!("burn {spent}"))));
            spent += 1;
            assert!(spent < 100, "{fuel}");
        }
        // The one that was held has been answered for, and nothing of it was forwarded.
        assert_eq!(held.answer().map(|answer| answer.status()), Some(503));
        assert!(held.forwarded().is_none());
        world.sidecar.by_hand.clear();
        world.pass(Duration::from_millis(50));
        let first = world.send(chat().body(question("again")));
        assert!(world.worker().is_alive());
        world.pass(Duration::from_millis(100));
        let second = world.send(chat().body(question("again")));
        // A new VM has no snapshot until its first poll is answered.
        assert!(first.is_local_reply() || first.forwarded().is_some());
        let _ = forwarded(&second);
        assert_eq!(world.worker().traps().len(), 1);
        assert_eq!(world.envoy.misuses(), Vec::<String>::new());
    }
}

#[test]
fn a_trap_of_one_worker_is_no_concern_of_another() {
    let mut world = World::start(gateway(module(), "gw-a").workers(2), sidecar()).unwrap();
    world.sidecar.by_hand.insert("/v1/principal");
    let other = world.envoy.worker(1).send(chat().body(question("hi")));
    world.worker().trap_after(0);
    let _trapped = world.send(chat().body(question("hi")));
    assert!(!world.worker().is_alive() && other.is_held());
    world.sidecar.by_hand.clear();
    world.settle();
    let _ = forwarded(&other);
}
