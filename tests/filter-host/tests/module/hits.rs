//! The hits of a worker's own cache reach the sidecar: each once, whatever becomes of the polls.

use std::time::Duration;

use kt_contract::wire::feed::FeedRequest;
use kt_filter_host::Reply;
use kt_filter_host::world::{World, chat, gateway, question, sidecar};

use super::{assert_clean, cache_status, module, replied, stored, world};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Lets a worker hold the answer.
fn warm(world: &mut World) {
    let _miss = world.send(chat().body(question("hi")));
    world.sidecar.stores_last(stored("{\"id\":1}"));
    for _ in 0..2 {
        let _shared = world.send(chat().body(question("hi")));
    }
}

fn serve(world: &mut World, times: usize) {
    for _ in 0..times {
        let stream = world.send(chat().body(question("hi")));
        assert_eq!(cache_status(&replied(&stream)).1, "l1");
    }
}

fn reported(world: &World) -> u64 {
    world.sidecar.hits.get("gk_alice").copied().unwrap_or(0)
}

#[test]
fn every_hit_is_reported_with_the_next_poll() {
    let mut world = world();
    warm(&mut world);
    assert_eq!(reported(&world), 0, "the sidecar's own are not");
    for round in 1..=5 {
        serve(&mut world, 3);
        world.pass(ms(500));
        assert_eq!(reported(&world), round * 3);
    }
    assert_eq!(world.counted("kt_filter_hits_total.from.l1"), 15);
    assert_clean(&world);
}

#[test]
fn a_report_whose_reply_is_lost_is_counted_once() {
    let mut world = world();
    warm(&mut world);
    world.pass(ms(500));
    world.sidecar.by_hand.insert("/v1/feed");
    let mut served = 0;
    for lost in [Reply::Truncated, Reply::Reset, Reply::TimedOut] {
        // The poll that is under way has seen nothing of these; its answer lets the next one go, which has.
        serve(&mut world, 2);
        served += 2;
        for reply in [None, Some(lost)] {
            let poll = world.worker().callout("/v1/feed").unwrap();
            world.sidecar.by_hand.clear();
            let answer = world.sidecar.answer(&poll.asked, world.envoy.now() + ms(400)).unwrap();
            world.sidecar.by_hand.insert("/v1/feed");
            let is_lost = reply.is_some();
            poll.answer(reply.unwrap_or(answer));
            if is_lost {
                assert_eq!(reported(&world), served, "it came, and its answer did not");
                // More is served before the poll is sent again, and is not added to what it said.
                serve(&mut world, 1);
                served += 1;
                world.pass(ms(100));
            }
        }
    }
    world.sidecar.by_hand.clear();
    world.pass(ms(1_000));
    assert_eq!(reported(&world), served);
    assert_eq!(world.counted("kt_filter_hits_total.from.l1"), served);
    assert_clean(&world);
}

#[test]
fn a_report_that_never_arrived_is_sent_again() {
    let mut world = world();
    warm(&mut world);
    serve(&mut world, 4);
    world.sidecar.mood = kt_filter_host::sidecar::Mood::Failing(Reply::Refused);
    world.pass(ms(5_000));
    assert_eq!(reported(&world), 0);
    world.sidecar.mood = kt_filter_host::sidecar::Mood::Serving;
    world.pass(ms(500));
    assert_eq!(reported(&world), 4);
    assert_clean(&world);
}

#[test]
fn every_life_of_a_worker_reports_under_a_name_of_its_own() {
    let mut world = World::start(gateway(module(), "gw-a").workers(2), sidecar()).unwrap();
    for life in 1..=2 {
        for at in 0..2 {
            let worker = world.envoy.worker(at);
            let mut ask = || {
                let _stream = worker.send(chat().body(question("hi")));
                world.settle();
            };
            // The first one wakes a VM that has died.
            (0..2).for_each(|_| ask());
            world.sidecar.stores_last(stored("{}"));
            world.pass(ms(500));
            for _ in 0..3 {
                let _stream = worker.send(chat().body(question("hi")));
                world.settle();
            }
            world.pass(ms(500));
        }
        assert_eq!(world.sidecar.reporters().count(), 2 * life);
        assert_eq!(reported(&world), world.counted("kt_filter_hits_total.from.l1"));
        for at in 0..2 {
            world.envoy.worker(at).trap_after(0);
            let _trapped = world.envoy.worker(at).send(chat().body(question("hi")));
            assert!(!world.envoy.worker(at).is_alive());
        }
        world.pass(ms(100));
    }
}

#[test]
fn a_trap_loses_no_hit_that_was_served_before_the_last_poll() {
    let mut world = world();
    warm(&mut world);
    serve(&mut world, 5);
    world.pass(ms(400));
    let poll = world.worker().callout("/v1/feed").unwrap();
    let after = 3;
    serve(&mut world, after);
    assert!(world.envoy.now() - poll.asked.sent_at <= ms(1_000));
    world.worker().trap_after(0);
    let _trapped = world.send(chat().body(question("hi")));
    world.pass(ms(100));
    let _wakes = world.send(chat().body(question("hi")));
    world.pass(ms(500));
    for _ in 0..2 {
        let _shared = world.send(chat().body(question("hi")));
    }
    serve(&mut world, 7);
    world.pass(ms(500));
    assert_eq!(reported(&world), 5 + 7, "but for the {after} since the last poll");
}

#[test]
fn a_poll_carries_nothing_where_nothing_was_served() {
    let mut world = world();
    world.pass(ms(2_000));
    let poll = world.worker().callout("/v1/feed").unwrap();
    let request: FeedRequest = serde_json::from_slice(&poll.asked.body).unwrap();
    assert_eq!(request.hits, None);
}
