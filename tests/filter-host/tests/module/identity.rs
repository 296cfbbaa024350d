//! Who asks, and what is refused before anybody is asked.

use std::time::Duration;

use kt_contract::gateway_key::GatewayKey;
use kt_contract::policy::{Decision, ModelAllowlist};
use kt_contract::snapshot::OnSidecarLoss;
use kt_filter_host::sidecar::Mood;
use kt_filter_host::world::{CHAT, World, alice, chat, principal, question, sidecar};
use kt_filter_host::{Message, Passed, Reply};

use super::{assert_clean, code, forwarded, replied, stored, world, world_with};

fn refusal(world: &mut World, request: Message) -> (u16, String) {
    let stream = world.send(request);
    let answer: Passed = replied(&stream);
    assert!(stream.forwarded().is_none());
    (answer.status(), code(&answer))
}

fn post() -> Message {
    Message::request("POST", CHAT).header("content-type", "application/json")
}

#[test]
fn what_is_no_key_is_refused_without_asking_anybody() {
    let mut world = world();
    let typo = alice().reveal().replacen('3', "4", 1);
    let rows = [
        (post(), "missing_api_key"),
        (post().header("authorization", ""), "missing_api_key"),
        (post().header("authorization", "Bearer sk-123"), "invalid_api_key"),
        (post().header("authorization", format!("Bearer {typo}")), "invalid_api_key"),
        (post().header("authorization", format!("Basic {}", alice().reveal())), "invalid_api_key"),
        (post().header("x-api-key", b"\xff\xfe"), "invalid_api_key"),
        (chat().header("x-api-key", "sk-other"), "invalid_api_key"),
        (chat().header("authorization", "Bearer sk-other"), "invalid_api_key"),
    ];
    for (request, expected) in rows {
        let name = format!("{request:?}");
        assert_eq!(refusal(&mut world, request.body("{}")), (401, expected.into()), "{name}");
    }
    assert_eq!(world.sidecar.principals_asked, 0);
    assert_clean(&world);
}

#[test]
fn a_key_that_nobody_knows_and_one_that_was_revoked_are_told_apart() {
    let mut world = world();
    let nobody = GatewayKey::from_random(&[9; 32]);
    let revoked = GatewayKey::from_random(&[8; 32]);
    world.sidecar.revokes(&revoked);
    for (key, expected) in [(nobody, "invalid_api_key"), (revoked, "revoked_api_key")] {
        let request = post().header("x-api-key", key.reveal()).body(question("hi"));
        assert_eq!(refusal(&mut world, request), (401, expected.into()));
    }
    assert_clean(&world);
}

#[test]
fn a_principal_is_asked_for_once_and_a_revocation_ends_that() {
    let mut world = world();
    for text in ["one", "two", "three"] {
        let _ = forwarded(&world.send(chat().body(question(text))));
    }
    assert_eq!(world.sidecar.principals_asked, 1);
    world.sidecar.revokes(&alice());
    world.pass(Duration::from_millis(500));
    let request = chat().body(question("four"));
    assert_eq!(refusal(&mut world, request), (401, "revoked_api_key".into()));
    assert_eq!(world.sidecar.principals_asked, 2);
    assert_clean(&world);
}

#[test]
fn the_sidecar_has_the_last_word_on_who_it_is() {
    for (happens, expected) in [(true, "revoked_api_key"), (false, "invalid_api_key")] {
        let mut world = world();
        let _ = forwarded(&world.send(chat().body(question("one"))));
        // The feed has not told of it yet.
        if happens {
            world.sidecar.revokes(&alice());
        } else {
            world.sidecar.principals.clear();
        }
        world.sidecar.by_hand.insert("/v1/feed");
        let request = chat().body(question("two"));
        assert_eq!(refusal(&mut world, request), (401, expected.into()));
        // It is not believed again.
        let request = chat().body(question("three"));
        assert_eq!(refusal(&mut world, request), (401, expected.into()));
        assert_eq!(world.sidecar.principals_asked, 2);
        assert_clean(&world);
    }
}

#[test]
fn a_key_revoked_while_its_body_comes_in_is_refused() {
    for (is_lost, expected) in
        [(false, (401, "revoked_api_key")), (true, (503, "sidecar_unavailable"))]
    {
        let mut sidecar = sidecar();
        sidecar.snapshot.on_sidecar_loss = OnSidecarLoss::Direct;
        let mut world = world_with(sidecar);
        let _miss = world.send(chat().body(question("hi")));
        world.sidecar.stores_last(stored("{}"));
        for _ in ["shared", "l1"] {
            let _ = replied(&world.send(chat().body(question("hi"))));
        }
        let stream = world.worker().open(chat());
        let text = question("hi");
        stream.body(&text[..1]);
        world.settle();
        world.sidecar.revokes(&alice());
        world.pass(Duration::from_millis(500));
        if is_lost {
            world.sidecar.mood = Mood::Failing(Reply::Refused);
        }
        stream.last(&text[1..]);
        world.settle();
        let answer = replied(&stream);
        assert_eq!((answer.status(), code(&answer).as_str()), expected);
        assert_clean(&world);
    }
}

#[test]
fn a_hint_may_only_narrow() {
    let mut world = world();
    let wide = chat().header("x-kt-codebase", "acme/secret").body(question("hi"));
    assert_eq!(refusal(&mut world, wide), (403, "codebase_not_allowed".into()));
    let two = chat().header("x-kt-codebase", "acme/api").header("x-kt-codebase", "acme/web");
    assert_eq!(refusal(&mut world, two.body("{}")), (403, "codebase_not_allowed".into()));
    assert_clean(&world);
}

#[test]
fn two_orgs_with_the_same_everything_share_nothing() {
    let mut world = world();
    let bob = GatewayKey::from_random(&[66; 32]);
    world.sidecar.knows(&bob, principal("gk_alice", "initech"));
    let _alices = world.send(chat().body(question("hi")));
    let bobs = post().header("x-api-key", bob.reveal()).body(question("hi"));
    let _bobs = world.send(bobs);
    let [alices, bobs] = &world.sidecar.admits[..] else { panic!("two admits") };
    assert_ne!(alices.plan.key, bobs.plan.key);
    assert_ne!(alices.plan.request.digest, bobs.plan.request.digest);
    assert_ne!(alices.plan.check, bobs.plan.check);
    assert_clean(&world);
}

#[test]
fn bad_requests_are_refused_in_openais_shape() {
    let mut world = world();
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let rows: [(Message, u16, &str); 14] = [
        (Message::request("GET", CHAT), 405, "method_not_allowed"),
        (Message::request("POST", "/v1/nothing"), 404, "unknown_path"),
        (Message::request("POST", "/"), 404, "unknown_path"),
        (Message::request("POST", "/v1/chat/completions/"), 404, "unknown_path"),
        (chat().body("{"), 400, "invalid_json"),
        (chat().body(""), 400, "invalid_json"),
        (chat(), 400, "invalid_json"),
        (chat().body(r#"{"model":"gpt-4o","model":"gpt-4o"}"#), 400, "invalid_json"),
        (chat().body(deep), 400, "invalid_json"),
        (chat().body(b"{\"model\":\"\xff\"}"), 400, "invalid_json"),
        (chat().body(r#"{"messages":[]}"#), 400, "invalid_field"),
        (chat().body(question("hi").replace("gpt-4o", "gpt-0")), 404, "model_not_found"),
        (chat().header("content-encoding", "gzip").body("x"), 415, "unsupported_media_type"),
        (chat().header("content-length", "99999999999").body("x"), 413, "request_too_large"),
    ];
    for (request, status, expected) in rows {
        let name = format!("{request:?}");
        // The one that announces too much keeps its announcement.
        let request = match expected {
            "request_too_large" => chat().header("content-length", "99999999999"),
            _ => request,
        };
        assert_eq!(refusal(&mut world, request), (status, expected.into()), "{name}");
    }
    assert_clean(&world);
}

#[test]
fn a_refusal_that_a_retry_cannot_help_says_so() {
    let mut world = world();
    let stream = world.send(Message::request("GET", CHAT));
    let answer = replied(&stream);
    assert_eq!(answer.header("x-should-retry").as_deref(), Some("false"));
    assert_eq!(answer.header("allow").as_deref(), Some("POST"));
    assert!(answer.header("retry-after").is_none());
}

#[test]
fn the_model_list_is_for_keys_and_follows_the_allowlist() {
    let mut world = world();
    let list = |world: &mut World| {
        let request = Message::request("GET", "/v1/models")
            .header("authorization", format!("bearer {}", alice().reveal()));
        let stream = world.send(request);
        let body: serde_json::Value = serde_json::from_slice(&replied(&stream).body).unwrap();
        let ids = body["data"].as_array().unwrap().iter();
        ids.map(|model| model["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(list(&mut world), ["gpt-4o", "gpt-4o-mini"]);
    world.sidecar.publishes("snapshot-2", |snapshot| {
        snapshot.policy.model_allowlist = Some(ModelAllowlist {
            decision: Decision::Block,
            models: ["gpt-4o".to_owned()].into(),
        });
    });
    world.pass(Duration::from_millis(500));
    assert_eq!(list(&mut world), ["gpt-4o"]);
    let blocked = chat().body(question("hi").replace("gpt-4o", "gpt-4o-mini"));
    assert_eq!(refusal(&mut world, blocked), (409, "policy_blocked".into()));
    let nobody = Message::request("GET", "/v1/models");
    assert_eq!(refusal(&mut world, nobody), (401, "missing_api_key".into()));
    assert_clean(&world);
}
