//! The paths of every provider, and the models behind them.

use kt_contract::snapshot::{ModelRoute, ModelTable, Snapshot};
use kt_contract::wire::admit::Admitted;
use serde_json::{Value, json};

use super::rig::{BODY, Fields, Rig, snapshot};
use crate::action::Flow;
use crate::event::Event;
use crate::head::Head;

const MESSAGE: &str = r#"{"model":"claude","max_tokens":9,"messages":[]}"#;
const VERSION: (&str, &str) = ("anthropic-version", "2023-06-01");

/// A model of each provider.
fn models() -> Snapshot {
    let mut snapshot = snapshot();
    let of = |model: &str, provider: &str| ModelRoute {
        model: model.into(),
        target: format!("{provider}-1"),
        provider: provider.into(),
        upstream: format!("https://{provider}.example"),
        version: None,
    };
    let routes = [of("claude", "anthropic"), of("gpt-4o", "openai"), of("mine", "azure")].into();
    snapshot.models = ModelTable { routes }.into();
    snapshot
}

fn asked(path: &str, more: Fields<'_>, body: &str) -> Rig {
    let mut rig = Rig::with(models());
    rig.introduce();
    if rig.head("POST", path, more, false) == Flow::Pause && !rig.replied() {
        let bytes = body.len() as u64;
        if rig.turn(Event::RequestBody { bytes, end: true }) == Flow::ReadBody {
            let _ = rig.turn(Event::RequestRead { body: body.as_bytes() });
        }
    }
    rig
}

fn reply(rig: &Rig) -> Value {
    serde_json::from_slice(&rig.reply().body).unwrap()
}

/// What is forwarded once the sidecar has given a ticket.
fn forwarded(rig: &mut Rig, current: Fields<'_>) -> Vec<(&'static str, String)> {
    let reason = kt_contract::outcome::Reason::Request;
    let _ = rig.answer_admit(&Admitted::Lane { ticket: "t".into(), reason }, b"");
    let fields: Vec<(&[u8], &[u8])> =
        current.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    let head = rig.forward().unwrap().head(Head::new(&fields));
    let text = |value: std::borrow::Cow<'_, [u8]>| String::from_utf8(value.into_owned()).unwrap();
    head.into_iter().map(|(name, value)| (name, text(value))).collect()
}

#[test]
fn each_provider_is_asked_on_its_own_paths() {
    for (path, body, dialect, kept) in [
        ("/v1/chat/completions?x=1", BODY, "openai_chat", "/v1/chat/completions"),
        ("/v1/messages", MESSAGE, "anthropic_messages", "/v1/messages"),
        ("/v1/messages?beta=true&x=1", MESSAGE, "anthropic_messages", "/v1/messages?beta=true"),
        (
            "/openai/deployments/mine/chat/completions?api-version=2024-10-21&x=1",
            r#"{"messages":[]}"#,
            "openai_chat",
            "/openai/deployments/mine/chat/completions?api-version=2024-10-21",
        ),
        (
            "/openai/v1/chat/completions",
            r#"{"model":"mine","messages":[]}"#,
            "openai_chat",
            "/openai/v1/chat/completions",
        ),
    ] {
        let mut rig = asked(path, &[], body);
        let gate = rig.admit().plan.gates.model;
        assert_eq!((gate.dialect.as_str(), gate.path.as_str()), (dialect, kept), "{path}");
        let head = forwarded(&mut rig, &[]);
        assert!(head.contains(&(":path", kept.to_owned())), "{head:?}");
    }
}

#[test]
fn the_version_of_an_api_is_part_of_the_key() {
    let key = |version: &str| {
        let path = format!("/openai/deployments/mine/chat/completions?api-version={version}");
        asked(&path, &[], r#"{"messages":[]}"#).admit().plan.key
    };
    assert_eq!(key("2024-10-21"), key("2024-10-21"));
    assert_ne!(key("2024-10-21"), key("2025-04-01-preview"));
}

#[test]
fn a_remembered_plan_is_that_of_its_path() {
    let mut rig = asked("/v1/messages", &[], MESSAGE);
    assert_eq!(rig.admit().plan.gates.model.path, "/v1/messages");
    rig.fresh();
    let _ = rig.head("POST", "/v1/messages?beta=true", &[], false);
    let _ = rig.turn(Event::RequestBody { bytes: MESSAGE.len() as u64, end: true });
    let _ = rig.turn(Event::RequestRead { body: MESSAGE.as_bytes() });
    assert_eq!(rig.admit().plan.gates.model.path, "/v1/messages?beta=true");
}

#[test]
fn semantic_headers_of_anthropic_are_forwarded_and_keyed() {
    let beta = ("anthropic-beta", "interleaved-thinking-2025-05-14");
    let all: Fields<'_> = &[VERSION, beta, ("x-api-key-2", "x"), ("anthropic-workspace-id", "w")];
    let mut rig = asked("/v1/messages", all, MESSAGE);
    let key = rig.admit().plan.key;
    let head = forwarded(&mut rig, all);
    for (name, value) in [VERSION, beta] {
        assert!(head.contains(&(name, value.to_owned())), "{head:?}");
    }
    let sent = |name: &str| head.iter().any(|(at, _)| *at == name);
    assert!(!sent("x-api-key-2") && !sent("anthropic-workspace-id"), "{head:?}");
    assert_ne!(asked("/v1/messages", &[VERSION], MESSAGE).admit().plan.key, key);
}

#[test]
fn a_model_on_another_providers_path_is_refused_with_the_path_that_serves_it() {
    for (path, body, named, shape) in [
        ("/v1/messages", BODY.to_owned(), "/v1/chat/completions", "error"),
        ("/v1/chat/completions", BODY.replace("gpt-4o", "claude"), "/v1/messages", ""),
        (
            "/v1/chat/completions",
            BODY.replace("gpt-4o", "mine"),
            "/openai/deployments/mine/chat/completions",
            "",
        ),
        ("/openai/v1/chat/completions", BODY.to_owned(), "/v1/chat/completions", ""),
        ("/openai/deployments/gpt-4o/completions", r#"{"prompt":"x"}"#.to_owned(), "/v1/", ""),
    ] {
        let rig = asked(path, &[], &body);
        assert_eq!(rig.refusal(), (404, "model_on_other_path".to_owned()), "{path}");
        let said = reply(&rig);
        assert!(said["error"]["message"].as_str().unwrap().contains(named), "{said}");
        assert_eq!(said["type"].as_str().unwrap_or_default(), shape, "{path}");
    }
}

#[test]
fn refusals_on_anthropics_paths_and_to_its_clients_have_its_shape() {
    for (path, more, status) in [
        ("/v1/messages", &[("x-api-key", "someone-elses")][..], 401),
        ("/v1/messages/count_tokens", &[], 404),
        ("/v1/nothing", &[VERSION], 404),
    ] {
        let rig = asked(path, more, MESSAGE);
        let said = reply(&rig);
        assert_eq!((rig.reply().status, &said["type"]), (status, &json!("error")), "{path}");
        assert!(said["error"]["code"].is_string(), "{said}");
    }
    let rig = asked("/v1/nothing", &[], MESSAGE);
    assert_eq!(reply(&rig).get("type"), None);
}

#[test]
fn a_version_that_could_be_read_in_two_ways_is_refused() {
    let path = "/openai/deployments/mine/chat/completions?api-version=1&api-version=2";
    let rig = asked(path, &[], r#"{"messages":[]}"#);
    assert_eq!(rig.refusal(), (400, "invalid_field".to_owned()));
    assert_eq!(reply(&rig)["error"]["param"], "api-version");
}

#[test]
fn models_are_listed_as_each_providers_clients_read_them() {
    let mut rig = Rig::with(models());
    rig.introduce();
    let _ = rig.head("GET", "/v1/models?limit=20", &[], true);
    let list = reply(&rig);
    assert_eq!(list["object"], "list");
    assert_eq!(
        list["data"][0],
        json!({"id": "claude", "object": "model", "created": 0, "owned_by": "anthropic"})
    );
    rig.fresh();
    let _ = rig.head("GET", "/v1/models?limit=20", &[VERSION], true);
    let list = reply(&rig);
    let ids: Vec<&Value> =
        list["data"].as_array().unwrap().iter().map(|model| &model["id"]).collect();
    assert_eq!(ids, ["claude", "gpt-4o", "mine"]);
    assert_eq!(list["data"][0]["type"], "model");
    assert_eq!(list["data"][0]["display_name"], "claude");
    assert_eq!(list["data"][0]["created_at"], "1970-01-01T00:00:00Z");
    assert_eq!(list["has_more"], false);
    assert_eq!((&list["first_id"], &list["last_id"]), (&json!("claude"), &json!("mine")));
}
