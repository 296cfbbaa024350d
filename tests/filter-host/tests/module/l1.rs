//! The worker's own cache: served without a callout, and only while the change feed vouches for it.

use std::time::Duration;

use kt_filter_host::sidecar::Mood;
use kt_filter_host::world::{World, alice, chat, question};

use super::{assert_clean, cache_status, forwarded, replied, stored, world};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A world whose worker holds the answer to a question.
fn warm() -> World {
    let mut world = world();
    let _miss = world.send(chat().body(question("hi")));
    world.sidecar.stores_last(stored(r#"{"id":"chatcmpl-1"}"#));
    for from in ["shared", "shared", "l1"] {
        assert_eq!(asks(&mut world), from);
    }
    world
}

/// Where the answer to the question comes from: `l1`, `shared`, or the lane.
fn asks(world: &mut World) -> String {
    let before = world.sidecar.admits.len();
    let stream = world.send(chat().body(question("hi")));
    if !stream.is_local_reply() {
        let _ = forwarded(&stream);
        return "lane".to_owned();
    }
    let (word, reason) = cache_status(&replied(&stream));
    assert_eq!(word, "hit");
    assert_eq!(world.sidecar.admits.len() - before, usize::from(reason == "shared"), "{reason}");
    reason
}

#[test]
fn a_hit_needs_no_callout_once_the_answer_has_come_twice() {
    let world = warm();
    let callouts = world.worker().callouts().len();
    let stream = world.worker().send(chat().body(question("hi")));
    assert_eq!(world.worker().callouts().len(), callouts);
    let answer = replied(&stream);
    assert_eq!(answer.text(), r#"{"id":"chatcmpl-1"}"#);
    assert_eq!(answer.header("age").as_deref(), Some("7"));
    assert_clean(&world);
}

#[test]
fn its_age_grows_and_its_freshness_ends() {
    let mut world = warm();
    world.pass(Duration::from_secs(5));
    let stream = world.worker().send(chat().body(question("hi")));
    let answer = replied(&stream);
    assert_eq!(answer.header("age").as_deref(), Some("12"));
    assert_eq!(answer.header("cache-status").as_deref(), Some("kt; hit; ttl=595; detail=l1"));
    world.pass(Duration::from_secs(594));
    assert_eq!(asks(&mut world), "l1");
    world.pass(Duration::from_secs(1));
    assert_eq!(asks(&mut world), "shared");
    assert_clean(&world);
}

#[test]
fn it_is_served_for_one_second_after_the_last_word_of_the_feed() {
    let mut world = warm();
    world.sidecar.by_hand.insert("/v1/feed");
    // The poll that is under way was sent when the one before was answered.
    let poll = world.worker().callout("/v1/feed").unwrap();
    let since = world.envoy.now() - poll.asked.sent_at;
    world.pass(ms(1_000) - since);
    assert_eq!(asks(&mut world), "l1");
    world.pass(ms(10));
    assert_eq!(asks(&mut world), "shared");
    // The feed is back: nothing was voided meanwhile, so what is held counts again.
    world.sidecar.by_hand.clear();
    world.pass(ms(500));
    assert_eq!(asks(&mut world), "l1");
    assert_clean(&world);
}

#[test]
fn it_is_served_for_its_second_when_the_sidecar_is_gone() {
    let mut world = warm();
    world.sidecar.mood = Mood::Failing(kt_filter_host::Reply::Refused);
    assert_eq!(asks(&mut world), "l1");
    world.pass(ms(1_100));
    let stream = world.send(chat().body(question("hi")));
    assert_eq!(replied(&stream).status(), 503);
    assert_clean(&world);
}

#[test]
fn whatever_voids_it_empties_it() {
    type Happens = fn(&mut World);
    let rows: [(&str, Happens); 4] = [
        ("a purge", |world| world.sidecar.purges()),
        ("a reset", |world| world.sidecar.forgets()),
        ("another sidecar", |world| world.sidecar.epoch = "epoch-2".to_owned()),
        ("another snapshot", |world| world.sidecar.publishes("snapshot-2", |_| ())),
    ];
    for (name, happens) in rows {
        let mut world = warm();
        happens(&mut world);
        world.pass(ms(500));
        assert_ne!(asks(&mut world), "l1", "{name}");
        assert_eq!(world.counted("kt_filter_l1_cleared_total"), 1, "{name}");
        assert_clean(&world);
    }
}

#[test]
fn an_answer_that_was_on_its_way_during_a_purge_is_not_kept() {
    let mut world = warm();
    world.sidecar.by_hand.insert("/v1/admit");
    for purged in [false, true] {
        let stream = world.send(chat().body(question("ho")));
        let callout = world.worker().callout("/v1/admit").unwrap();
        if purged {
            world.sidecar.purges();
            world.pass(ms(200));
        }
        callout.answer(kt_filter_host::sidecar::hit(&stored("{}")));
        assert_eq!(cache_status(&replied(&stream)).1, "shared");
    }
    world.sidecar.by_hand.clear();
    let again = world.send(chat().body(question("ho")));
    let _ = forwarded(&again);
    assert_clean(&world);
}

#[test]
fn another_shape_is_another_entry() {
    let mut world = warm();
    let streaming = question("hi").replacen('{', r#"{"stream":true,"#, 1);
    let stream = world.send(chat().body(&streaming));
    assert_eq!(cache_status(&replied(&stream)).1, "shared");
    let asked = world.sidecar.admits.last().unwrap();
    assert_eq!(asked.plan.key, world.sidecar.admits[0].plan.key);
    assert_clean(&world);
}

#[test]
fn a_revoked_key_is_not_served_from_it() {
    let mut world = warm();
    world.sidecar.revokes(&alice());
    world.pass(ms(500));
    let stream = world.send(chat().body(question("hi")));
    assert_eq!(replied(&stream).status(), 401);
    assert_clean(&world);
}

#[test]
fn a_wall_clock_that_is_off_changes_nothing() {
    for back in [false, true] {
        let mut world = warm();
        world.envoy.wall_clock_is_off(Duration::from_secs(3_600), back);
        assert_eq!(asks(&mut world), "l1", "back: {back}");
        assert_clean(&world);
    }
}

#[test]
fn it_can_be_turned_off() {
    let mut world = world();
    world.sidecar.publishes("snapshot-2", |snapshot| snapshot.cache.l1_bytes_max = 0);
    world.pass(ms(500));
    let _miss = world.send(chat().body(question("hi")));
    world.sidecar.stores_last(stored("{}"));
    for _ in 0..3 {
        assert_eq!(asks(&mut world), "shared");
    }
    assert_clean(&world);
}
