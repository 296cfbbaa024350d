//! The plugin's configuration, and what the filter does before the feed has brought a snapshot.

use std::sync::Arc;
use std::time::Duration;

use kt_filter_host::StartError;
use kt_filter_host::sidecar::Mood;
use kt_filter_host::world::{World, chat, gateway, question, sidecar};
use kt_filter_host::{Message, Reply};

use super::{assert_clean, code, forwarded, module, replied, world, world_with};

#[test]
fn constants_of_a_gateway_are_taken() {
    let world = world();
    assert_eq!(world.envoy.vms().len(), 2);
    assert!(world.envoy.vms().iter().all(|vm| vm.ticks_every().is_some()));
    assert_clean(&world);
}

#[test]
fn what_is_no_configuration_of_ours_is_refused_and_logged() {
    for bad in ["", "{", "[]", "{}", r#"{"gateway": 1}"#, "\u{0}"] {
        let error = gateway(module(), "gw-a").configured(bad).start().unwrap_err();
        assert_eq!(error, StartError::Rejected, "{bad:?}");
    }
}

#[test]
fn without_a_snapshot_everything_is_refused_in_openais_shape() {
    let mut sidecar = sidecar();
    sidecar.mood = Mood::Failing(Reply::Refused);
    let mut world = world_with(sidecar);
    for request in [chat().body(question("hi")), chat().chunks([question("hi")]), chat()] {
        let stream = world.send(request);
        let answer = replied(&stream);
        assert_eq!((answer.status(), code(&answer).as_str()), (503, "not_ready"));
        assert_eq!(answer.header("retry-after").as_deref(), Some("1"));
    }
    assert_clean(&world);
}

#[test]
fn the_feed_brings_the_snapshot_as_soon_as_the_sidecar_is_there() {
    let mut down = sidecar();
    down.mood = Mood::Failing(Reply::Refused);
    let mut world = world_with(down);
    assert_eq!(health(&mut world), (503, "starting".to_owned()));
    world.sidecar.mood = Mood::Serving;
    world.pass(Duration::from_millis(200));
    assert_eq!(health(&mut world), (200, "ok".to_owned()));
    let stream = world.send(chat().body(question("hi")));
    let _ = forwarded(&stream);
    assert_clean(&world);
}

#[test]
fn health_says_who_it_is_and_how() {
    let mut world = world();
    let stream = world.send(Message::request("GET", "/health?deep=1"));
    let body: serde_json::Value = serde_json::from_slice(&replied(&stream).body).unwrap();
    assert_eq!(body["status"], "ok");
    assert_eq!((&body["gateway"], &body["role"]), (&"gw-a".into(), &"primary".into()));
    assert_eq!(body["snapshot"], "snapshot-1");
    world.sidecar.mood = Mood::Silent;
    world.pass(Duration::from_secs(3));
    assert_eq!(health(&mut world), (200, "degraded".to_owned()));
    assert_clean(&world);
}

#[test]
fn a_changed_snapshot_is_in_force_within_a_second() {
    let mut world = world();
    let asks = |world: &mut World| {
        let body = question("hi").replace("gpt-4o", "gpt-next");
        let stream = world.send(chat().body(body));
        stream.is_local_reply()
    };
    assert!(asks(&mut world));
    world.sidecar.publishes("snapshot-2", |snapshot| {
        let models = Arc::make_mut(&mut snapshot.models);
        models.routes.iter_mut().for_each(|route| route.model = "gpt-next".to_owned());
        models.routes.truncate(1);
    });
    world.pass(Duration::from_millis(500));
    assert!(!asks(&mut world));
    assert_clean(&world);
}

fn health(world: &mut World) -> (u16, String) {
    let stream = world.send(Message::request("GET", "/health"));
    let answer = replied(&stream);
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    (answer.status(), body["status"].as_str().unwrap().to_owned())
}
