//! What a sidecar may answer to a question of the filter.

use std::collections::{BTreeMap, BTreeSet};

use kt_contract::hex::Digest;
use kt_contract::money::MicroUsd;
use kt_contract::outcome::Reason;
use kt_contract::policy::{
    Chain, Check, Decision, Entities, Entity, ModelAllowlist, Phase, RequestShape, Step,
};
use kt_contract::principal::{KeyHash, Principal};
use kt_contract::snapshot::{
    CacheSettings, ModelRoute, ModelTable, OnSidecarLoss, PolicySettings, RequestLimits, Snapshot,
    Tier,
};
use kt_contract::time::Millis;
use kt_contract::wire::admit::{Admitted, SavedTokens};
use kt_contract::wire::feed::{Event, FeedReply, FeedRequest, GatewayIdentity, Role};
use kt_contract::wire::principal::{PrincipalReply, PrincipalRequest};
use kt_contract::wire::{PATH_ADMIT, PATH_FEED, PATH_PRINCIPAL, VERSION, VERSION_TEXT, headers};
use serde::Serialize;

use super::{Fields, Reply};

/// The gateway that scripts are about.
#[must_use]
pub fn gateway() -> GatewayIdentity {
    GatewayIdentity {
        id: "gw-a".to_owned(),
        role: Role::Primary,
        group: Some("support".to_owned()),
        egress: "/run/egress-gw-a.sock".to_owned(),
    }
}

/// The fields and the body with which a callout to `path` ends that asked `question`; `None`: it is lost.
/// A fitting reply is the usual one for 0: the caller is known, the answer is a hit, and the feed has the
/// snapshot or nothing new.
#[must_use]
pub fn reply_to(path: &str, question: &[u8], reply: &Reply) -> Option<(Fields, Vec<u8>)> {
    let choice = match reply {
        Reply::Lost => return None,
        // Nothing that came tells of a lost one.
        Reply::Came(fields, _) if fields.is_empty() => return None,
        Reply::Came(fields, body) => return Some((fields.clone(), body.clone())),
        Reply::Fitting(choice) => *choice,
    };
    match path {
        PATH_PRINCIPAL => came(None, json(&principal(question, choice))),
        PATH_ADMIT => {
            let (decision, body) = admitted(choice);
            came(Some(json(&decision)), body)
        }
        PATH_FEED => came(None, json(&feed(question, choice))),
        _ => None,
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the form in which all replies are told")]
fn came(decision: Option<Vec<u8>>, body: Vec<u8>) -> Option<(Fields, Vec<u8>)> {
    let mut fields: Fields =
        vec![(b":status".to_vec(), b"200".to_vec()), (headers::MARKER.into(), VERSION_TEXT.into())];
    fields.extend(decision.map(|decision| (headers::ADMIT.into(), decision)));
    Some((fields, body))
}

fn json(message: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(message).unwrap_or_default()
}

fn principal(question: &[u8], choice: u8) -> PrincipalReply {
    let key = serde_json::from_slice(question).map(|asked: PrincipalRequest| asked.key);
    let Ok(KeyHash(Digest([who, ..]))) = key else { return PrincipalReply::Unknown };
    match choice % 8 {
        6 => PrincipalReply::Unknown,
        7 => PrincipalReply::Revoked,
        _ => PrincipalReply::Known {
            principal: Principal {
                key_id: format!("gk_{who}"),
                lineage: None,
                org: if choice % 8 == 5 { "globex" } else { "acme" }.to_owned(),
                team: Some("core".to_owned()),
                user: None,
                agent: None,
                group: None,
                codebases: BTreeSet::from(["acme/web".to_owned(), "acme/api".to_owned()]),
                entitlements: BTreeSet::new(),
            },
            key_age_ms: Some(Millis(86_400_000)),
        },
    }
}

fn admitted(choice: u8) -> (Admitted, Vec<u8>) {
    let hit = |fresh_ms, bytes| {
        let content_type = "application/json".to_owned();
        let served_by = "openai/gpt-4o".to_owned();
        let saved_micro_usd = MicroUsd::new(5).ok();
        let decision = Admitted::Hit {
            content_type,
            age_s: 2,
            fresh_ms,
            served_by,
            saved_micro_usd,
            saved_tokens: Some(SavedTokens { input: 5, output: 7 }),
        };
        (decision, vec![b'x'; bytes])
    };
    match choice % 12 {
        0..=2 => hit(60_000, 20),
        3 => hit(500, 20),
        4 => hit(60_000, 3_000),
        5 | 6 => {
            let ticket = format!("ticket-{choice}");
            (Admitted::Lane { ticket, reason: Reason::Org }, Vec::new())
        }
        7 => (Admitted::NotCached { reason: Reason::Expired }, Vec::new()),
        8 => (Admitted::NotCached { reason: Reason::Org }, Vec::new()),
        9 => (Admitted::Draining, Vec::new()),
        _ => (Admitted::Unauthenticated { revoked: choice >= 128 }, Vec::new()),
    }
}

fn feed(question: &[u8], choice: u8) -> FeedReply {
    let asked = serde_json::from_slice::<FeedRequest>(question).ok();
    let (seq, has_snapshot) =
        asked.map_or((0, false), |asked| (asked.seq, asked.snapshot.is_some()));
    let mut reply = FeedReply {
        version: VERSION,
        epoch: "epoch-1".to_owned(),
        seq,
        snapshot: (!has_snapshot).then(|| snapshot(choice)),
        events: Vec::new(),
        reset: false,
    };
    match choice % 16 {
        10 => reply.events.push(Event::Purged),
        11 => reply.events.push(Event::Principal { key: KeyHash(Digest([choice; 32])) }),
        12 => reply.reset = true,
        13 => "epoch-2".clone_into(&mut reply.epoch),
        14 => reply.snapshot = Some(snapshot(choice)),
        15 => reply.version = 1,
        _ => {}
    }
    reply.seq = seq.saturating_add(u64::try_from(reply.events.len()).unwrap_or(0));
    reply
}

/// What is done with addresses.
fn chain(decision: Decision) -> Chain {
    let entities = Entities(BTreeMap::from([(Entity::Email, decision)]));
    let check = Check::PiiDetector(entities);
    Chain { steps: vec![Step { phases: [Phase::Input].into(), check }] }
}

fn snapshot(choice: u8) -> Snapshot {
    let route = |model: &str| ModelRoute {
        model: model.to_owned(),
        target: "openai-1".to_owned(),
        provider: "openai".to_owned(),
        upstream: "https://api.openai.com".to_owned(),
        version: None,
    };
    let is = |bit: u8| choice & (1 << bit) != 0;
    Snapshot {
        version: format!("{choice:016x}"),
        limits: RequestLimits {
            request_bytes_max: if is(4) { 500 } else { 100_000 },
            json_depth_max: 8,
            json_nodes_max: 100,
        },
        cache: CacheSettings {
            enabled: !(is(5) && is(6)),
            tier: if is(7) { Tier::PhysicalGateway } else { Tier::OrgShared },
            l1_bytes_max: if is(5) && is(7) { 2_000 } else { 100_000 },
        },
        models: ModelTable { routes: ["gpt-4o", "gpt-4o-mini"].map(route).into() }.into(),
        policy: PolicySettings {
            digest: Digest([7; 32]),
            block_status: 409,
            model_allowlist: is(4).then(|| ModelAllowlist {
                decision: Decision::Block,
                models: BTreeSet::from(["gpt-4o".to_owned()]),
            }),
            request_limits: is(2).then_some(RequestShape {
                tools_max: Some(0),
                ..RequestShape::new(Decision::Block)
            }),
            chain: chain(if is(3) { Decision::Block } else { Decision::Redact }),
        },
        on_sidecar_loss: if is(6) { OnSidecarLoss::Unavailable } else { OnSidecarLoss::Direct },
        identities: None,
        open_with_cap: None,
    }
}
