//! What a request gets before and beside the cache: recognition, identity, bounds, policy, lists and health.

use std::collections::BTreeSet;

use kt_contract::money::MicroUsd;
use kt_contract::outcome::Reason;
use kt_contract::principal::Principal;
use kt_contract::snapshot::{OnSidecarLoss, OpenWithCap, Snapshot};
use kt_contract::time::Millis;
use kt_contract::wire::principal::PrincipalReply;

use super::rig::{BODY, Fields, Rig, gateway_key, only, principal, snapshot};
use crate::action::{Action, Flow};
use crate::counter::Counter;
use crate::event::Event;
use crate::head::Head;
use crate::peer::Peer;

fn refused(rig: &Rig, status: u16, code: &str) {
    assert_eq!(rig.refusal(), (status, code.to_owned()));
    assert_eq!(rig.logged("kt_code").as_deref(), Some(code));
    assert_eq!(rig.counted(Counter::Refused), 1);
    assert_eq!(rig.forward(), None);
    let id = rig.header("x-request-id").unwrap();
    assert_eq!(id, "ab".repeat(16));
    // A refusal says either when to come again, or that it is no use.
    assert_ne!(rig.header("x-should-retry").is_some(), rig.header("retry-after").is_some());
}

#[test]
fn a_path_or_method_that_is_not_ours_is_refused_at_once() {
    for (method, path, status, code) in [
        ("POST", "/v1/other", 404, "unknown_path"),
        ("GET", "/", 404, "unknown_path"),
        ("CONNECT", "", 404, "unknown_path"),
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
    ] {
        let mut rig = Rig::ready();
        assert_eq!(rig.head(method, path, &[], true), Flow::Pause);
        refused(&rig, status, code);
    }
    let mut rig = Rig::ready();
    let _ = rig.head("PUT", "/v1/chat/completions?x=1", &[], true);
    assert_eq!(rig.header("allow"), Some("POST"));
    assert_eq!(rig.header("x-should-retry"), Some("false"));
}

#[test]
fn a_head_without_anything_is_refused() {
    let mut rig = Rig::ready();
    let head = Head::default();
    let _ = rig.turn(Event::RequestHeaders {
        head,
        end: true,
        random: [0xab; 16],
        peer: Peer::default(),
    });
    refused(&rig, 404, "unknown_path");
}

#[test]
fn without_a_snapshot_everything_is_refused() {
    let mut rig = Rig::new("gw-a");
    let _ = rig.head("POST", "/v1/chat/completions", &[], false);
    refused(&rig, 503, "not_ready");
    assert_eq!(rig.header("retry-after"), Some("1"));
    rig.fresh();
    let _ = rig.head("GET", "/v1/models", &[], true);
    refused(&rig, 503, "not_ready");
}

#[test]
fn an_announced_body_is_no_excuse_before_there_is_a_snapshot() {
    let mut rig = Rig::new("gw-a");
    let _ = rig.head("POST", "/v1/chat/completions", &[("content-length", "62")], false);
    refused(&rig, 503, "not_ready");
}

#[test]
fn media_that_is_not_plain_json_is_refused_before_the_body_comes() {
    for more in [[("content-type", "text/plain")], [("content-encoding", "gzip")]] {
        let mut rig = Rig::knowing();
        let _ = rig.head("POST", "/v1/chat/completions", &more, false);
        refused(&rig, 415, "unsupported_media_type");
    }
}

#[test]
fn a_body_over_the_bound_is_refused_as_soon_as_that_shows() {
    let mut rig = Rig::knowing();
    let _ = rig.head("POST", "/v1/chat/completions", &[("content-length", "1001")], false);
    refused(&rig, 413, "request_too_large");

    for mut rig in [Rig::knowing(), Rig::ready()] {
        let _ = rig.head("POST", "/v1/chat/completions", &[], false);
        assert_eq!(rig.turn(Event::RequestBody { bytes: 1_000, end: false }), Flow::Pause);
        assert!(!rig.replied());
        let _ = rig.turn(Event::RequestBody { bytes: 1_001, end: false });
        refused(&rig, 413, "request_too_large");
    }
}

#[test]
fn a_body_that_is_not_what_it_should_be_is_refused() {
    let deep = format!(r#"{{"model":"gpt-4o","x":{}{}}}"#, "[".repeat(9), "]".repeat(9));
    for (body, status, code) in [
        ("", 400, "invalid_json"),
        ("{", 400, "invalid_json"),
        (r#"{"model":"gpt-4o","model":"gpt-4o"}"#, 400, "invalid_json"),
        (&deep, 400, "invalid_json"),
        (r#"{"messages":[]}"#, 400, "invalid_field"),
        (r#"{"model":"nope","messages":[]}"#, 404, "model_not_found"),
    ] {
        let mut rig = Rig::knowing();
        let _ = rig.chat(&[], body);
        refused(&rig, status, code);
        assert_eq!(rig.logged("kt_org").as_deref(), Some("acme"), "{body}");
    }
}

#[test]
fn the_model_of_a_refused_request_is_logged_bounded_and_printable() {
    let user = || {
        let mut principal = principal();
        principal.user = Some("alice".to_owned());
        principal
    };
    let mut listed = snapshot();
    listed.policy.model_allowlist = Some(only(&[]));
    let rows = [
        (snapshot(), "nope".to_owned(), "nope".to_owned(), "model_not_found"),
        (listed, "gpt-4o".to_owned(), "gpt-4o".to_owned(), "policy_blocked"),
        (snapshot(), "m".repeat(500), "m".repeat(200), "model_not_found"),
        (snapshot(), "a\\n\u{202e}b".to_owned(), "a??b".to_owned(), "model_not_found"),
    ];
    for (snapshot, model, expected, code) in rows {
        let mut rig = Rig::with(snapshot);
        rig.introduce_as(gateway_key(), user());
        let _ = rig.chat(&[], &format!(r#"{{"model":"{model}","messages":[]}}"#));
        assert_eq!(rig.logged("kt_code").as_deref(), Some(code), "{model}");
        assert_eq!(rig.logged("kt_model"), Some(expected), "{model}");
        assert_eq!(rig.logged("kt_org").as_deref(), Some("acme"), "{model}");
        assert_eq!(rig.logged("kt_user").as_deref(), Some("alice"), "{model}");
        assert_eq!(rig.logged("kt_key_id").as_deref(), Some("gk_1"), "{model}");
    }
    let mut rig = Rig::knowing();
    let _ = rig.chat(&[("x-kt-codebase", "acme/other")], BODY);
    assert_eq!(rig.logged("kt_code").as_deref(), Some("codebase_not_allowed"));
    assert_eq!(rig.logged("kt_model").as_deref(), Some("gpt-4o"));
}

#[test]
fn a_body_that_is_not_text_is_refused() {
    let mut rig = Rig::knowing();
    let _ = rig.head("POST", "/v1/chat/completions", &[], true);
    let _ = rig.turn(Event::RequestRead { body: b"\xff\xfe" });
    refused(&rig, 400, "invalid_json");
}

#[test]
fn a_model_that_is_not_on_the_list_is_blocked_with_the_configured_status() {
    let mut limited = snapshot();
    limited.policy.model_allowlist = Some(only(&["gpt-4o-mini"]));
    limited.policy.block_status = 451;
    let mut rig = Rig::with(limited);
    rig.introduce();
    let _ = rig.chat(&[], BODY);
    refused(&rig, 451, "policy_blocked");
    assert_eq!(rig.counted(Counter::RefusedPolicy), 1);
    let _ = rig.chat(&[], &BODY.replace("gpt-4o", "gpt-4o-mini"));
    assert_eq!(rig.admit().plan.gates.model.served_model, "gpt-4o-mini");
}

#[test]
fn a_key_that_cannot_be_one_is_refused_without_asking_anybody() {
    for (value, code) in [("", "missing_api_key"), ("Bearer sk-1", "invalid_api_key")] {
        let mut rig = Rig::ready();
        let fields: [(&[u8], &[u8]); 3] = [
            (b":method", b"POST"),
            (b":path", b"/v1/chat/completions"),
            (b"authorization", value.as_bytes()),
        ];
        let head = Head::new(&fields);
        let _ = rig.turn(Event::RequestHeaders {
            head,
            end: false,
            random: [0xab; 16],
            peer: Peer::default(),
        });
        refused(&rig, 401, code);
        assert_eq!(rig.callout(), None);
    }
}

#[test]
fn a_key_that_the_sidecar_does_not_take_is_refused() {
    for (reply, code) in
        [(PrincipalReply::Unknown, "invalid_api_key"), (PrincipalReply::Revoked, "revoked_api_key")]
    {
        let mut rig = Rig::ready();
        assert_eq!(rig.head("POST", "/v1/chat/completions", &[], false), Flow::Pause);
        assert_eq!(rig.callout().unwrap().path, "/v1/principal");
        let _ = rig.answer_principal(&reply);
        refused(&rig, 401, code);
    }
}

#[test]
fn a_key_of_which_nobody_can_say_anything_now_is_told_to_come_again_and_opens_no_breaker() {
    let mut rig = Rig::ready();
    for _ in 0..100 {
        let _ = rig.head("POST", "/v1/chat/completions", &[], false);
        let _ = rig.answer_principal(&PrincipalReply::Unavailable);
        refused(&rig, 503, "sidecar_unavailable");
    }
    assert!(rig.worker.breaker.is_closed());
}

#[test]
fn the_key_itself_is_never_sent() {
    let mut rig = Rig::ready();
    let _ = rig.head("POST", "/v1/chat/completions", &[], false);
    let asked = String::from_utf8(rig.callout().unwrap().body.clone()).unwrap();
    assert!(!asked.contains(gateway_key().reveal()));
    assert!(asked.contains(&gateway_key().hash().0.to_hex()));
}

#[test]
fn the_sidecar_is_asked_once_for_each_key() {
    let mut rig = Rig::ready();
    let _ = rig.chat(&[], BODY);
    assert_eq!(rig.counted(Counter::PrincipalAnswered), 1);
    let _ = rig.chat(&[], BODY);
    assert_eq!(rig.counted(Counter::PrincipalAnswered), 0);
    assert_eq!(rig.callout().unwrap().path, "/v1/admit");
}

#[test]
fn the_access_log_says_how_old_a_key_is_at_its_request() {
    let mut rig = Rig::ready();
    let _ = rig.head("POST", "/v1/chat/completions", &[], false);
    let _ = rig.turn(Event::RequestBody { bytes: BODY.len() as u64, end: true });
    let key_age_ms = Some(Millis(86_399_999));
    let _ = rig.answer_principal(&PrincipalReply::Known { principal: principal(), key_age_ms });
    let _ = rig.turn(Event::RequestRead { body: BODY.as_bytes() });
    let _ = rig.hit(60_000);
    assert_eq!(rig.logged("kt_key_age_s").as_deref(), Some("86399"));
    // Remembered by the worker, it grows older.
    rig.wait(1);
    let _ = rig.chat(&[], BODY);
    let _ = rig.hit(60_000);
    assert_eq!(rig.logged("kt_key_age_s").as_deref(), Some("86400"));
}

#[test]
fn the_body_may_end_before_the_caller_is_known() {
    let mut rig = Rig::ready();
    let _ = rig.head("POST", "/v1/chat/completions", &[], false);
    assert_eq!(rig.turn(Event::RequestBody { bytes: 62, end: true }), Flow::Pause);
    let known = PrincipalReply::Known { principal: principal(), key_age_ms: None };
    assert_eq!(rig.answer_principal(&known), Flow::ReadBody);
    assert_eq!(rig.turn(Event::RequestRead { body: BODY.as_bytes() }), Flow::Pause);
    assert_eq!(rig.admit().plan.gates.org, "acme");
}

#[test]
fn trailers_end_a_body_and_are_not_forwarded() {
    let mut rig = Rig::knowing();
    let _ = rig.head("POST", "/v1/chat/completions", &[], false);
    assert_eq!(rig.turn(Event::RequestBody { bytes: 62, end: false }), Flow::Pause);
    assert_eq!(rig.turn(Event::RequestTrailers), Flow::ReadBody);
    assert!(rig.actions.contains(&Action::ClearTrailers));
}

#[test]
fn a_codebase_hint_narrows_and_never_widens() {
    let hinted = |codebase| {
        let mut rig = Rig::knowing();
        let _ = rig.chat(&[("x-kt-codebase", codebase)], BODY);
        rig
    };
    let rig = hinted("acme/web");
    assert_eq!(rig.admit().plan.gates.codebases, BTreeSet::from(["acme/web".to_owned()]));
    refused(&hinted("acme/secret"), 403, "codebase_not_allowed");
}

#[test]
fn the_access_log_names_the_codebase_that_is_asked_about_and_none_of_several() {
    let logged = |codebases: &[&str], hint: Fields<'_>| {
        let mut rig = Rig::ready();
        let codebases = codebases.iter().map(|name| (*name).to_owned()).collect();
        rig.introduce_as(gateway_key(), Principal { codebases, ..principal() });
        let _ = rig.chat(hint, BODY);
        let _ = rig.hit(60_000);
        rig.logged("kt_codebase")
    };
    let two = ["acme/api", "acme/web"];
    assert_eq!(logged(&["acme/web"], &[]).as_deref(), Some("acme/web"));
    assert_eq!(logged(&two, &[("x-kt-codebase", "acme/web")]).as_deref(), Some("acme/web"));
    assert_eq!(logged(&two, &[]), None);
    assert_eq!(logged(&[], &[]), None);
}

#[test]
fn client_headers_of_ours_change_nothing() {
    let asked = |more: Fields<'_>| {
        let mut rig = Rig::knowing();
        let _ = rig.chat(more, BODY);
        rig.admit()
    };
    let ours = [
        ("x-kt-lane", "direct-openai-1"),
        ("x-kt-ticket", "t"),
        ("x-kt-org", "other"),
        ("x-request-id", "mine"),
        ("user-agent", "sdk"),
    ];
    assert_eq!(asked(&ours), asked(&[]));
}

#[test]
fn a_client_that_wants_no_cache_is_still_checked() {
    let mut rig = Rig::knowing();
    let _ = rig.chat(&[("cache-control", "no-cache")], BODY);
    assert_eq!(rig.admit().bypass, Some(Reason::ClientNoCache));
    let _ = rig.chat(&[("cache-control", "no-store")], r#"{"model":"nope","messages":[]}"#);
    refused(&rig, 404, "model_not_found");
}

#[test]
fn a_request_that_lets_the_provider_act_is_a_bypass() {
    let mut rig = Rig::knowing();
    for (tool, bypass) in [("function", None), ("mcp", Some(Reason::SideEffects))] {
        let body = format!(r#"{{"model":"gpt-4o","input":"x","tools":[{{"type":"{tool}"}}]}}"#);
        let _ = rig.post("/v1/responses", &[], &body);
        assert_eq!(rig.admit().bypass, bypass, "{tool}");
    }
}

#[test]
fn a_disabled_cache_is_a_bypass_and_nothing_less() {
    let mut disabled = snapshot();
    disabled.cache.enabled = false;
    let mut rig = Rig::with(disabled);
    let _ = rig.chat(&[], BODY);
    assert_eq!(rig.admit().bypass, Some(Reason::Disabled));
}

#[test]
fn the_model_list_has_what_may_be_asked_for() {
    let mut limited = snapshot();
    limited.policy.model_allowlist = Some(only(&["gpt-4o"]));
    for mut rig in [Rig::with(limited.clone()), Rig::with(limited)] {
        let _ = rig.head("GET", "/v1/models?limit=3", &[], true);
        let _ = rig
            .answer_principal(&PrincipalReply::Known { principal: principal(), key_age_ms: None });
        let body: serde_json::Value = serde_json::from_slice(&rig.reply().body).unwrap();
        assert_eq!(
            body,
            serde_json::json!({"object": "list", "data": [
                {"id": "gpt-4o", "object": "model", "created": 0, "owned_by": "openai"}
            ]})
        );
        // Known by now, so nobody is asked.
        rig.fresh();
        let _ = rig.head("GET", "/v1/models", &[], true);
        assert_eq!((rig.reply().status, rig.callout()), (200, None));
    }
}

#[test]
fn the_model_list_wants_a_key() {
    let mut rig = Rig::ready();
    let fields: [(&[u8], &[u8]); 2] = [(b":method", b"GET"), (b":path", b"/v1/models")];
    let head = Head::new(&fields);
    let _ = rig.turn(Event::RequestHeaders {
        head,
        end: true,
        random: [0xab; 16],
        peer: Peer::default(),
    });
    refused(&rig, 401, "missing_api_key");
}

#[test]
fn health_tells_how_the_worker_is() {
    let health = |rig: &mut Rig| {
        rig.fresh();
        let _ = rig.head("GET", "/health", &[], true);
        let body: serde_json::Value = serde_json::from_slice(&rig.reply().body).unwrap();
        (rig.reply().status, body)
    };
    let (status, body) = health(&mut Rig::new("gw-a"));
    assert_eq!((status, &body["status"]), (503, &"starting".into()));

    let mut rig = Rig::ready();
    assert_eq!(
        health(&mut rig),
        (
            200,
            serde_json::json!({
                "status": "ok", "gateway": "gw-a", "role": "primary", "group": "platform",
                "snapshot": "0123456789abcdef", "cache": "enabled", "fabric": "detached",
            })
        )
    );
    rig.wait(1_001);
    let (status, body) = health(&mut rig);
    assert_eq!((status, &body["status"]), (200, &"degraded".into()));

    // As long as something is answered without the sidecar.
    let one = MicroUsd::from_usd(1);
    let cap = OpenWithCap { max_micro_usd: one, micro_usd_per_call: one };
    for (on_sidecar_loss, open_with_cap, goes_on_for) in [
        (OnSidecarLoss::Unavailable, None, 5_000),
        (OnSidecarLoss::Unavailable, Some(cap), 60_000),
        (OnSidecarLoss::Direct, None, 60_000),
    ] {
        let mut rig = Rig::with(Snapshot { on_sidecar_loss, open_with_cap, ..snapshot() });
        rig.wait(goes_on_for);
        assert_eq!(health(&mut rig).0, 200, "{on_sidecar_loss:?} {open_with_cap:?}");
        rig.wait(1);
        let (status, body) = health(&mut rig);
        assert_eq!((status, &body["status"]), (503, &"unavailable".into()));
    }
}

#[test]
fn when_envoy_ends_a_held_request_its_words_get_the_request_id() {
    for mut rig in [Rig::ready(), Rig::knowing()] {
        let _ = rig.head("POST", "/v1/chat/completions", &[], false);
        assert_eq!(rig.respond(&[]), Flow::Continue);
        let (removed, set) = rig.edits();
        assert_eq!(removed, Vec::<String>::new());
        assert_eq!(set, [("x-request-id", "ab".repeat(16))]);
        assert_eq!(rig.counted(Counter::Left), 1);
        let _ = rig.turn(Event::Done);
        assert_eq!(rig.counted(Counter::Left), 1, "counted once");
    }
}

#[test]
fn a_request_that_never_came_leaves_no_trace() {
    let mut rig = Rig::ready();
    let _ = rig.turn(Event::Done);
    assert_eq!(rig.actions, []);
}
