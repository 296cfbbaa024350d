//! A trap takes the VM and everything in it; the next request after the backoff gets a new one.

use std::time::Duration;

use kt_filter_host::Message;

use super::{probe, samples};

fn request(path: &str) -> Message {
    Message::request("GET", path)
}

#[test]
fn a_trap_answers_503_and_the_next_request_after_the_backoff_passes() {
    let envoy = probe("p").reload_backoff(Duration::from_millis(50)).start().unwrap();
    let worker = envoy.worker(0);
    let trapped = worker.send(request("/trap"));
    assert_eq!(trapped.answer().unwrap().status(), 503);
    assert_eq!(worker.send(request("/x")).answer().unwrap().status(), 503);
    envoy.advance(Duration::from_millis(50));
    assert!(!worker.is_alive());
    assert!(worker.send(request("/x")).forwarded().is_some());
    assert_eq!((worker.traps().len(), worker.is_alive()), (1, true));
}

#[test]
fn a_trap_ends_every_exchange_of_its_vm_without_a_word_to_the_filter() {
    let envoy = probe("n").workers(2).start().unwrap();
    let worker = envoy.worker(0);
    let held = worker.send(request("/x").body("q"));
    let elsewhere = envoy.worker(1).send(request("/x").body("q"));
    let _trapped = worker.send(request("/trap"));
    assert_eq!(held.answer().unwrap().status(), 503);
    assert!(elsewhere.is_held());
    assert_eq!(samples(&envoy, "ended"), Vec::<u64>::new());
}

#[test]
fn an_exchange_that_had_headers_is_cut() {
    let envoy = probe("b").start().unwrap();
    let worker = envoy.worker(0);
    let streaming = worker.send(request("/x"));
    streaming.upstream_headers(kt_filter_host::HeaderMap::of([(":status", "200")]), false);
    let _trapped = worker.send(request("/trap"));
    assert!(streaming.is_cut());
}

#[test]
fn the_timer_of_a_dead_vm_stands_still_until_a_request_wakes_it() {
    let envoy = probe("p").start().unwrap();
    let _trapped = envoy.worker(0).send(request("/trap"));
    envoy.advance(Duration::from_secs(1));
    // Only the main VM ticked.
    assert_eq!(samples(&envoy, "tick").len(), 10);
    let _alive = envoy.worker(0).send(request("/x"));
    envoy.advance(Duration::from_millis(100));
    assert_eq!(samples(&envoy, "tick").len(), 12);
}

#[test]
fn a_test_can_make_any_callback_trap() {
    let envoy = probe("p").start().unwrap();
    let worker = envoy.worker(0);
    worker.trap_after(0);
    assert_eq!(worker.send(request("/x")).answer().unwrap().status(), 503);
    assert_eq!(worker.traps().len(), 1);
}

#[test]
fn memory_and_fuel_are_counted() {
    let envoy = probe("p").start().unwrap();
    let worker = envoy.worker(0);
    let (memory, fuel) = (worker.memory_bytes(), worker.fuel_used());
    let _stream = worker.send(request("/more"));
    assert_eq!(worker.memory_bytes() - memory, 100 << 16);
    assert!(worker.fuel_used() > fuel);
}
