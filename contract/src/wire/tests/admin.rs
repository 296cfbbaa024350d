//! The admin API's messages.

use wasm_bindgen_test::wasm_bindgen_test;

use super::*;
use crate::time::UnixMillis;
use crate::wire::admin::{
    Condition, ErrorBody, ErrorReply, GatewayStatus, KeyCreated, KeyEntry, KeyList, KeyRequest,
    Presence, StatusReply,
};

fn principal() -> Principal {
    Principal {
        key_id: "gk_7Yb2".into(),
        org: "acme".into(),
        team: None,
        user: None,
        agent: None,
        group: None,
        codebases: BTreeSet::new(),
        entitlements: BTreeSet::new(),
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn status_replies() {
    let reply = StatusReply {
        status: Condition::Degraded,
        version: "0.1.0".into(),
        epoch: "e-9a41".into(),
        snapshot: "0123456789abcdef".into(),
        config_errors: vec!["policy-config.yaml:3: gateway.port: 0 is not …".into()],
        cache_enabled: true,
        tier: Tier::OrgShared,
        fabric_attached: false,
        entries: 2,
        entry_bytes: 2_048,
        gateways: vec![
            GatewayStatus {
                gateway: gateway(),
                snapshot: Some("0123456789abcdef".into()),
                state: Presence::Live,
                last_seen_ms: 120,
            },
            GatewayStatus {
                gateway: gateway(),
                snapshot: None,
                state: Presence::Lost,
                last_seen_ms: 6_120,
            },
        ],
    };
    golden!("status-reply", [reply]);
}

#[wasm_bindgen_test(unsupported = test)]
fn key_requests() {
    let least = KeyRequest {
        org: "acme".into(),
        team: None,
        user: None,
        agent: None,
        group: None,
        codebases: Vec::new(),
        entitlements: Vec::new(),
    };
    let whole = KeyRequest {
        team: Some("platform".into()),
        user: Some("ada".into()),
        agent: Some("triage".into()),
        group: Some("support".into()),
        codebases: vec!["acme/web".into()],
        entitlements: vec!["residency:eu".into()],
        ..least.clone()
    };
    golden!(strict "key-request", [least, whole]);
}

#[wasm_bindgen_test(unsupported = test)]
fn created_keys() {
    golden!(
        "key-created",
        [KeyCreated { key_id: "gk_7Yb2".into(), key: "kt_gk_(shown once)".into() }]
    );
}

#[wasm_bindgen_test(unsupported = test)]
fn key_lists() {
    let entry = |revoked_at| KeyEntry {
        principal: principal(),
        created_at: UnixMillis(1_763_700_000_000),
        revoked_at,
    };
    golden!(
        "key-list",
        [KeyList { keys: vec![entry(None), entry(Some(UnixMillis(1_763_700_060_000)))] }]
    );
}

#[wasm_bindgen_test(unsupported = test)]
fn refusals() {
    let error = ErrorBody { code: "unknown_key".into(), message: "There is no such key.".into() };
    golden!("error-reply", [ErrorReply { error }]);
}
