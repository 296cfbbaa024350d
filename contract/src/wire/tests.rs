//! One golden file of every message: what stands there is what the other side reads.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::num::NonZeroU64;

use serde::Serialize;
use serde::de::DeserializeOwned;
use wasm_bindgen_test::wasm_bindgen_test;

use super::admit::{AdmitRequest, Admitted, Control, Plan, ReplyShape, SavedTokens};
use super::explain::{ExplainReply, ExplainRequest};
use super::feed::{
    BlockCount, Event, FeedReply, FeedRequest, GatewayIdentity, HitBatch, HitCount, Refusal, Role,
};
use super::open_calls::{OpenCalls, OpenCallsReply, OpenCallsRequest};
use super::principal::{PrincipalReply, PrincipalRequest};
use super::*;
use crate::constants::{CLUSTER_SIDECAR, FilterConstants};
use crate::gates::{Gates, ModelGate, Scope};
use crate::golden;
use crate::hex::Digest;
use crate::identity::{Identity, Jwt};
use crate::key::{CacheKey, CheckHash, RequestDigests};
use crate::limits::ADMIT_TIMEOUT_DEFAULT;
use crate::money::MicroUsd;
use crate::outcome::{Outcome, Reason};
use crate::policy::{
    Chain, Check, Decision, Entities, Entity, ModelAllowlist, Phase, RequestShape, Step, WordList,
};
use crate::principal::{KeyHash, Principal};
use crate::snapshot::{
    CacheSettings, ModelRoute, ModelTable, OnSidecarLoss, OpenWithCap, PolicySettings,
    RequestLimits, Snapshot, Tier,
};
use crate::time::Millis;
use crate::trace::TraceParent;

/// Holds samples of one message against its golden file, and reads them back. `strict` messages are refused
/// with a field that is not known: filter and sidecar are of one version or do not understand each other.
macro_rules! golden {
    (strict $name:literal, $samples:expr) => {{
        let samples = $samples;
        refuses_unknown_fields($name, &samples);
        golden!($name, samples);
    }};
    ($name:literal, $samples:expr) => {
        check(
            $name,
            include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../tests/fixtures/wire/",
                $name,
                ".json"
            )),
            &$samples,
        )
    };
}

mod admin;

fn check<T>(name: &str, embedded: &str, samples: &[T])
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let text = golden::pretty(&samples);
    golden::check(&format!("wire/{name}.json"), embedded, &text);
    assert_eq!(serde_json::from_str::<Vec<T>>(&text).unwrap(), samples, "{name}");
}

fn refuses_unknown_fields<T: Serialize + DeserializeOwned>(name: &str, samples: &[T]) {
    for sample in samples {
        let mut value = serde_json::to_value(sample).unwrap();
        let fields = value.as_object_mut().unwrap();
        // Serde cannot be strict about a tagged variant without fields; there, nothing can be misread.
        if fields.len() > 1 {
            fields.insert("unknown".to_owned(), serde_json::Value::Null);
            assert!(serde_json::from_value::<T>(value).is_err(), "{name}");
        }
    }
}

fn digest(byte: u8) -> Digest {
    Digest([byte; 32])
}

fn gates() -> Gates {
    Gates {
        org: "acme".into(),
        scope: Scope::OrgShared { group: Some("support".into()) },
        codebases: BTreeSet::from(["acme/web".into()]),
        fabric: None,
        policy: digest(1),
        model: ModelGate {
            dialect: "openai_chat".into(),
            path: "/v1/chat/completions".into(),
            provider: "openai".into(),
            upstream: "https://api.openai.com".into(),
            served_model: "gpt-4o".into(),
            version: None,
        },
        entitlements: BTreeSet::from(["residency:eu".into()]),
    }
}

fn gateway() -> GatewayIdentity {
    GatewayIdentity {
        id: "gw-a".into(),
        role: Role::Primary,
        group: Some("support".into()),
        egress: ".kt/run/egress-gw-a.sock".into(),
    }
}

fn chain() -> Chain {
    let of = |phases: &[Phase], check| Step { phases: phases.iter().copied().collect(), check };
    let words = WordList {
        decision: Decision::Block,
        terms: vec!["Project Falcon".into()],
        patterns: Vec::new(),
    };
    let emails = Entities(BTreeMap::from([(Entity::Email, Decision::Redact)]));
    Chain {
        steps: vec![
            of(&[Phase::Input, Phase::Output], Check::PiiDetector(emails)),
            of(&[Phase::Input], Check::PromptInjection(Decision::Monitor)),
            of(&[Phase::Output], Check::ContentPolicy(words)),
        ],
    }
}

fn snapshot() -> Snapshot {
    Snapshot {
        version: "0123456789abcdef".into(),
        limits: RequestLimits {
            request_bytes_max: 33_554_432,
            json_depth_max: 64,
            json_nodes_max: 500_000,
        },
        cache: CacheSettings { enabled: true, tier: Tier::OrgShared, l1_bytes_max: 16_777_216 },
        models: ModelTable {
            routes: vec![ModelRoute {
                model: "gpt-4o".into(),
                target: "openai".into(),
                provider: "openai".into(),
                upstream: "https://api.openai.com".into(),
                version: Some("2024-11-20".into()),
            }],
        }
        .into(),
        policy: PolicySettings {
            digest: digest(1),
            block_status: 409,
            model_allowlist: Some(ModelAllowlist {
                decision: Decision::Block,
                models: BTreeSet::from(["gpt-4o".into()]),
            }),
            request_limits: Some(RequestShape {
                tools_max: Some(64),
                input_tokens_max: Some(100_000),
                ..RequestShape::new(Decision::Monitor)
            }),
            chain: chain(),
        },
        on_sidecar_loss: OnSidecarLoss::Unavailable,
        identities: None,
        open_with_cap: Some(OpenWithCap {
            max_micro_usd: MicroUsd::new(1_000_000).unwrap(),
            micro_usd_per_call: MicroUsd::new(50_000).unwrap(),
        }),
    }
}

fn identity() -> Identity {
    let jwt = Jwt {
        issuer: "https://id.acme.example".into(),
        subject: "ada".into(),
        claims: [("department".to_owned(), "research".to_owned())].into(),
    };
    Identity { spiffe: Some("spiffe://acme.example/ns/agents/sa/a".into()), jwt: Some(jwt) }
}

#[wasm_bindgen_test(unsupported = test)]
fn the_version_is_the_same_in_the_header_and_in_the_reference() {
    assert_eq!(VERSION_TEXT, VERSION.to_string());
    let page = include_str!("../../../docs/reference/wire.md");
    for words in [format!("version {VERSION}."), format!("`x-kt-wire: {VERSION}`")] {
        assert!(page.contains(&words), "{words}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn admit_requests() {
    let request = AdmitRequest {
        version: VERSION,
        request_id: "00112233445566778899aabbccddeeff".into(),
        gateway: "gw-a".into(),
        principal: KeyHash(digest(2)),
        identity: None,
        body: digest(7),
        is_keyed: false,
        bypass: None,
        control: Control::default(),
        trace: None,
        plan: Plan {
            snapshot: "0123456789abcdef".into(),
            gates: gates(),
            request: RequestDigests { digest: digest(3), check: digest(4) },
            key: CacheKey(digest(5)),
            check: CheckHash(digest(6)),
            target: "openai".into(),
            reply: ReplyShape::Json,
            client_limited: false,
            guardrails: vec!["pii-detector:email:redact".into()],
        },
    };
    let trace = TraceParent { trace_id: [0xab; 16], span_id: [0xcd; 8], is_sampled: true };
    let mut private =
        AdmitRequest { trace: Some(trace), bypass: Some(Reason::ClientNoCache), ..request.clone() };
    let picky = AdmitRequest {
        control: Control { max_age_s: Some(60), only_if_cached: true },
        ..request.clone()
    };
    let keyed = AdmitRequest { is_keyed: true, ..request.clone() };
    let identified = AdmitRequest { identity: Some(identity()), ..request.clone() };
    private.plan.reply = ReplyShape::Sse { include_usage: true };
    private.plan.client_limited = true;
    private.plan.gates.scope = Scope::PrivateEdge { key_id: "gk_7Yb2".into() };
    let mut physical = request.clone();
    physical.plan.gates.scope = Scope::PhysicalGateway { gateway: "gw-a".into() };
    golden!(strict "admit-request", [request, private, physical, picky, keyed, identified]);
}

#[wasm_bindgen_test(unsupported = test)]
fn admit_decisions() {
    let hit = |saved_micro_usd, saved_tokens| Admitted::Hit {
        content_type: "application/json".into(),
        age_s: 17,
        fresh_ms: 86_383_000,
        served_by: "openai/gpt-4o".into(),
        saved_micro_usd,
        saved_tokens,
    };
    golden!(strict
        "admit-decision",
        [
            hit(None, None),
            hit(Some(MicroUsd::new(5).unwrap()), Some(SavedTokens { input: 5, output: 7 })),
            Admitted::Lane { ticket: "t-5f2c".into(), reason: Reason::Request },
            Admitted::Unauthenticated { revoked: true },
            Admitted::NoTenant,
            Admitted::NotCached { reason: Reason::Expired },
            Admitted::Draining,
        ]
    );
}

#[wasm_bindgen_test(unsupported = test)]
fn principal_requests() {
    let of_key = PrincipalRequest { version: VERSION, key: KeyHash(digest(2)), identity: None };
    let identified = PrincipalRequest { identity: Some(identity()), ..of_key.clone() };
    golden!(strict "principal-request", [of_key, identified]);
}

#[wasm_bindgen_test(unsupported = test)]
fn principal_replies() {
    let principal = Principal {
        key_id: "gk_7Yb2".into(),
        lineage: None,
        org: "acme".into(),
        team: Some("platform".into()),
        user: Some("ada".into()),
        agent: Some("triage".into()),
        group: Some("support".into()),
        codebases: BTreeSet::from(["acme/web".into()]),
        entitlements: BTreeSet::from(["residency:eu".into()]),
    };
    golden!(strict
        "principal-reply",
        [
            PrincipalReply::Known { principal: principal.clone(), key_age_ms: Some(Millis(86_400_000)) },
            PrincipalReply::Known { principal: principal.clone(), key_age_ms: None },
            PrincipalReply::Tenant { principal, key_age_ms: None, snapshot: Box::new(snapshot()) },
            PrincipalReply::NoTenant,
            PrincipalReply::Revoked,
            PrincipalReply::Unknown,
            PrincipalReply::Unavailable,
        ]
    );
}

#[wasm_bindgen_test(unsupported = test)]
fn feed_requests() {
    let first = FeedRequest {
        worker: None,
        version: VERSION,
        gateway: gateway(),
        epoch: None,
        seq: 0,
        snapshot: None,
        hits: None,
    };
    let later = FeedRequest {
        worker: Some("5f0c".into()),
        epoch: Some("e-9a41".into()),
        seq: 12,
        snapshot: Some("0123456789abcdef".into()),
        ..first.clone()
    };
    let hits = HitCount {
        key_id: "gk_7Yb2".into(),
        model: "gpt-4o".into(),
        provider: "openai".into(),
        count: 17,
        saved_micro_usd: MicroUsd::new(85).unwrap(),
        saved_tokens: SavedTokens { input: 85, output: 119 },
    };
    let blocked = Refusal {
        request_id: "00112233445566778899aabbccddeeff".into(),
        key_id: Some("gk_7Yb2".into()),
        model: Some("gpt-4o".into()),
        status: 409,
        code: "policy_blocked".into(),
        policies: vec!["pii-detector:email:block".into()],
        times: 1,
    };
    let nobody = Refusal {
        key_id: None,
        model: None,
        status: 401,
        code: "invalid_api_key".into(),
        policies: Vec::new(),
        times: 7,
        ..blocked.clone()
    };
    let reporting = FeedRequest {
        hits: Some(HitBatch {
            worker: "00112233445566778899aabbccddeeff".into(),
            number: 3,
            counts: vec![hits],
            blocks: vec![BlockCount { policy: "pii-detector".into(), count: 2 }],
            refusals: vec![blocked, nobody],
            refusals_lost: NonZeroU64::new(1),
        }),
        ..later.clone()
    };
    golden!(strict "feed-request", [first, later, reporting]);
}

#[wasm_bindgen_test(unsupported = test)]
fn feed_replies() {
    let reply = FeedReply {
        version: VERSION,
        epoch: "e-9a41".into(),
        seq: 12,
        snapshot: Some(snapshot()),
        events: vec![
            Event::Principal { key: KeyHash(digest(2)) },
            Event::Tenant { org: "acme".into() },
            Event::Purged,
        ],
        reset: false,
    };
    let reset = FeedReply { snapshot: None, events: Vec::new(), reset: true, ..reply.clone() };
    golden!(strict "feed-reply", [reply, reset]);
}

#[wasm_bindgen_test(unsupported = test)]
fn open_calls() {
    let epoch = "00112233445566778899aabbccddeeff";
    let orgs = vec![OpenCalls {
        org: "acme".into(),
        calls: 3,
        micro_usd: MicroUsd::new(150_000).unwrap(),
    }];
    let request = OpenCallsRequest {
        version: VERSION,
        gateway: "gw-a".into(),
        epoch: epoch.into(),
        number: 2,
        orgs,
    };
    golden!(strict "open-calls-request", [request]);
    let reply = OpenCallsReply { version: VERSION, epoch: epoch.into(), number: 2 };
    golden!(strict "open-calls-reply", [reply]);
}

#[wasm_bindgen_test(unsupported = test)]
fn explain_requests() {
    golden!(strict
        "explain-request",
        [ExplainRequest {
            key_id: "gk_7Yb2".into(),
            gateway: gateway(),
            path: "/v1/chat/completions".into(),
            codebase: Some("acme/web".into()),
            headers: vec![("openai-beta".into(), "assistants=v2".into())],
            body: r#"{"model":"gpt-4o","messages":[]}"#.into(),
        }]
    );
}

#[wasm_bindgen_test(unsupported = test)]
fn explain_replies() {
    let nearest = Gates { org: "globex".into(), ..gates() };
    golden!(strict
        "explain-reply",
        [ExplainReply {
            outcome: Outcome::Miss,
            reason: Reason::Org,
            gates: gates(),
            key: CacheKey(digest(5)),
            check: CheckHash(digest(6)),
            target: "openai".into(),
            nearest: Some(nearest),
            guardrails: vec!["pii-detector:email:redact".into()],
            watched: vec![
                "pii-detector:phone (input, output)".into(),
                "toxicity-filter (output)".into(),
            ],
        }]
    );
}

#[wasm_bindgen_test(unsupported = test)]
fn filter_constants() {
    golden!(strict
        "filter-constants",
        [FilterConstants {
            gateway: gateway(),
            sidecar_cluster: CLUSTER_SIDECAR.into(),
            admit_timeout_ms: Millis(900),
        }]
    );
}

#[wasm_bindgen_test(unsupported = test)]
fn constants_without_a_budget_have_the_default_one() {
    let written = serde_json::json!({"gateway": gateway(), "sidecar_cluster": CLUSTER_SIDECAR});
    let read: FilterConstants = serde_json::from_value(written).unwrap();
    assert_eq!(read.admit_timeout_ms, ADMIT_TIMEOUT_DEFAULT);
}
