//! Admit and the tickets that it gives: who gets in, on whose word, and what a miss is told.

use std::sync::Arc;
use std::time::Duration;

use crate::support::*;
use kt_contract::gateway_key::GatewayKey;
use kt_contract::hex::Digest;
use kt_contract::json::{self, Bounds};
use kt_contract::key::{CacheKey, CheckHash, OrgKeys};
use kt_contract::outcome::{Outcome, Reason};
use kt_contract::principal::{KeyHash, Principal};
use kt_contract::problem::Problem;
use kt_contract::snapshot::Tier;
use kt_contract::wire::VERSION;
use kt_contract::wire::admin::KeyRotation;
use kt_contract::wire::admit::{AdmitRequest, Admitted};
use kt_contract::wire::explain::ExplainRequest;
use kt_contract::wire::feed::GatewayIdentity;
use kt_providers::Dialect;
use sidecar_cache::clock::Clock;
use sidecar_cache::service::Failure;
use sidecar_cache::service::purse::MovementKey;
use sidecar_cache::store::Address;
use sidecar_cache::ticket::{Holder, Peer};

#[tokio::test(start_paused = true)]
async fn a_ticket_is_refused_in_every_other_use() {
    let group = group().await;
    let key = group.key().await;
    let wait = |millis| tokio::time::advance(Duration::from_millis(millis));

    let (ticket, _) = group.ticket(group.ask(&key, CHAT)).await;
    let refusal = group.lane(&ticket, CHAT_STREAM).await.unwrap_err();
    assert_eq!(refusal.problem, Problem::TicketRefused, "another body");
    let refusal = group.lane(&ticket, CHAT).await.unwrap_err();
    assert_eq!(refusal.problem, Problem::TicketRefused, "spent on another body");

    let (ticket, _) = group.ticket(group.ask(&key, CHAT)).await;
    wait(2_000).await;
    assert!(group.lane(&ticket, CHAT).await.is_err(), "too late");

    for (what, other) in [
        ("another gateway", Holder { peer: Peer::from_pid(Some(42)), ..holder() }),
        ("another request", Holder { request_id: "ff".to_owned(), ..holder() }),
    ] {
        let (ticket, _) = group.ticket(group.ask(&key, CHAT)).await;
        assert!(group.sidecar.enter(Some(&ticket), &other).is_err(), "{what}");
        assert!(group.lane(&ticket, CHAT).await.is_err(), "{what} has spent it");
    }
    for made_up in [None, Some(""), Some("x"), Some("00000000000000000000000000000000")] {
        assert!(group.sidecar.enter(made_up, &holder()).is_err(), "{made_up:?}");
    }
    assert_eq!(group.provider.count(), 0, "nobody was called for any of them");

    let (ticket, _) = group.ticket(group.ask(&key, CHAT)).await;
    wait(1_999).await;
    group.lane(&ticket, CHAT).await.unwrap();
    assert!(group.lane(&ticket, CHAT).await.is_err(), "twice");
    assert_eq!(group.provider.count(), 1);
    for (word, count) in
        [("other-body", "1"), ("expired", "1"), ("other-holder", "2"), ("malformed", "3")]
    {
        let metric = format!("kt_tickets_refused_total{{reason=\"{word}\"}}");
        assert_eq!(group.metric(&metric), count, "{word}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_revoked_key_is_out_with_the_next_request() {
    let group = group().await;
    let key = group.key().await;
    group.fetch(&key, CHAT).await.unwrap();
    assert!(group.is_cached(&key, CHAT).await);
    group.sidecar.revoke_key(&key.principal.key_id).await.unwrap();
    let decision = group.admit(group.ask(&key, CHAT)).await;
    assert_eq!(decision, Admitted::Unauthenticated { revoked: true });
    let stranger = Key { hash: KeyHash(Digest([9; 32])), ..key };
    let decision = group.admit(group.ask(&stranger, CHAT)).await;
    assert_eq!(decision, Admitted::Unauthenticated { revoked: false });
}

/// The key that takes the place of another one.
async fn rotated(group: &Group, key: &Key, overlap_seconds: u64) -> Key {
    let request = KeyRotation { overlap_seconds };
    let made = group.sidecar.rotate_key(&key.principal.key_id, &request, None).await.unwrap();
    let lineage = Some(key.principal.lineage().to_owned());
    let hash = GatewayKey::parse(&made.key).unwrap().hash();
    Key { hash, principal: Principal { key_id: made.key_id, lineage, ..key.principal.clone() } }
}

#[tokio::test(start_paused = true)]
async fn a_rotated_key_is_valid_beside_its_successor_and_shares_its_private_entries() {
    let mut settings = settings();
    Arc::make_mut(&mut settings.snapshot).cache.tier = Tier::PrivateEdge;
    let snapshot = Arc::clone(&settings.snapshot);
    let group = group_of(settings, Clock::start(), None);
    group.poll().await;
    let ask = |key: &Key| ask_by(&snapshot, &gateway(), key, CHAT);
    let key = group.key().await;
    let (ticket, _) = group.ticket(ask(&key)).await;
    read(group.lane(&ticket, CHAT).await.unwrap()).await;
    let first = rotated(&group, &key, 3_600).await;
    let second = rotated(&group, &first, 3_600).await;
    for key in [&key, &first, &second] {
        group.hit(ask(key)).await;
    }
    let (_, reason) = group.ticket(ask(&group.key().await)).await;
    assert_eq!(reason, Reason::GatewayKey, "of another lineage");
}

#[tokio::test(start_paused = true)]
async fn without_an_overlap_the_old_key_is_out_with_the_next_request() {
    let group = group().await;
    let key = group.key().await;
    group.fetch(&key, CHAT).await.unwrap();
    let new = rotated(&group, &key, 0).await;
    let decision = group.admit(group.ask(&key, CHAT)).await;
    assert_eq!(decision, Admitted::Unauthenticated { revoked: true });
    assert!(group.is_cached(&new, CHAT).await, "the organization's cache is the new key's too");
    let failed = group.sidecar.rotate_key(&key.principal.key_id, &again(), None).await;
    assert!(matches!(failed, Err(Failure::NotRotated(_))), "{failed:?}");
}

fn again() -> KeyRotation {
    KeyRotation { overlap_seconds: 60 }
}

#[tokio::test(start_paused = true)]
async fn a_rotation_is_made_once() {
    let group = group().await;
    let key = group.key().await;
    let rotate = async |overlap_seconds, name: Option<&'static str>| {
        let request = KeyRotation { overlap_seconds };
        let name = name.map(|name| MovementKey::read(Some(name)).unwrap());
        group.sidecar.rotate_key(&key.principal.key_id, &request, name).await
    };
    let made = rotate(60, Some("once")).await.unwrap();
    assert_eq!(rotate(60, Some("once")).await.unwrap(), made);
    assert!(matches!(rotate(61, Some("once")).await, Err(Failure::KeyReused)));
    let taken = rotate(60, Some("twice")).await.unwrap_err().to_string();
    assert!(taken.contains(&made.key_id), "{taken}");
    assert_eq!(group.sidecar.list_keys().await.unwrap().keys.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_miss_names_the_first_gate_that_differs_and_never_another_organization() {
    let group = group().await;
    let key = group.key().await;
    group.fetch(&key, CHAT).await.unwrap();

    let other_group = GatewayIdentity { group: Some("testers".to_owned()), ..gateway() };
    let codebase = group.key_with(|key| key.codebases = vec!["acme/api".to_owned()]).await;
    let entitlement = group.key_with(|key| key.entitlements = vec!["us".to_owned()]).await;
    let own_group = group.key_with(|key| key.group = Some("testers".to_owned())).await;
    let org = group.key_with(|key| key.org = "globex".to_owned()).await;
    let other_model = CHAT.replace("gpt-4o-mini", "gpt-4o");
    let unknown_field = CHAT.replacen('{', r#"{"x_new":1,"#, 1);
    for (ask, expected) in [
        (group.ask_at(&other_group, &key, CHAT), Reason::Group),
        (group.ask(&own_group, CHAT), Reason::Group),
        (group.ask(&codebase, CHAT), Reason::Codebase),
        (group.ask(&entitlement, CHAT), Reason::Entitlement),
        (group.ask(&key, &other_model), Reason::Model),
        (group.ask(&key, &unknown_field), Reason::Request),
        (group.ask(&org, CHAT), Reason::Request),
    ] {
        let (_, reason) = group.ticket(ask).await;
        assert_eq!(reason, expected);
    }
    assert!(group.is_cached(&key, CHAT).await);
}

#[tokio::test(start_paused = true)]
async fn the_nearest_entry_is_the_one_that_differs_last() {
    for far_comes_first in [true, false] {
        let group = group().await;
        let far = group.key_with(|key| key.codebases = vec!["acme/api".to_owned()]).await;
        let near = group.key_with(|key| key.entitlements = vec!["us".to_owned()]).await;
        let order = if far_comes_first { [&far, &near] } else { [&near, &far] };
        for key in order {
            group.fetch(key, CHAT).await.unwrap();
        }
        let key = group.key().await;
        let (_, reason) = group.ticket(group.ask(&key, CHAT)).await;
        assert_eq!(reason, Reason::Entitlement, "far comes first: {far_comes_first}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_filter_computed_otherwise_is_served_without_the_cache() {
    type Change = fn(&mut AdmitRequest);
    let changes: [(&str, Change); 8] = [
        ("key", |ask| ask.plan.key = CacheKey(Digest([1; 32]))),
        ("check", |ask| ask.plan.check = CheckHash(Digest([1; 32]))),
        ("key", |ask| ask.plan.request.digest = Digest([1; 32])),
        ("check", |ask| ask.plan.request.check = Digest([1; 32])),
        ("org", |ask| ask.plan.gates.org = "globex".to_owned()),
        ("codebase", |ask| ask.plan.gates.codebases = set(&["acme/secret"])),
        ("entitlement", |ask| ask.plan.gates.entitlements = set(&["eu", "us"])),
        ("group", |ask| {
            let key_id = "gk_other".to_owned();
            ask.plan.gates.scope = kt_contract::gates::Scope::PrivateEdge { key_id };
        }),
    ];
    for (what, change) in changes {
        let group = group().await;
        let key = group.key().await;
        group.fetch(&key, CHAT).await.unwrap();
        let mut ask = group.ask(&key, CHAT);
        change(&mut ask);
        let (ticket, reason) = group.ticket(ask).await;
        assert_eq!(reason, Reason::Corrupt, "{what}");
        group.lane(&ticket, CHAT).await.unwrap();
        assert_eq!(group.provider.count(), 2, "{what}: not read");
        assert_eq!(group.metric("kt_fills_total"), "1", "{what}: not stored");
        let metric = format!("kt_gate_mismatch_total{{reason=\"{what}\"}}");
        assert_eq!(group.metric(&metric), "1");
    }
}

#[tokio::test(start_paused = true)]
async fn a_tampered_entry_is_a_miss_and_gone() {
    let group = group().await;
    let key = group.key().await;
    group.fetch(&key, CHAT).await.unwrap();
    let (at, mut bytes) = group.entries.last();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    group.entries.smuggle(at, bytes).await;
    let (_, reason) = group.ticket(group.ask(&key, CHAT)).await;
    assert_eq!(reason, Reason::Corrupt);
    assert_eq!(group.metric("kt_corrupt_total"), "1");
    let (_, reason) = group.ticket(group.ask(&key, CHAT)).await;
    assert_eq!(reason, Reason::Request, "it was removed");
}

#[tokio::test(start_paused = true)]
async fn an_entry_under_a_foreign_key_is_a_security_event_and_gone() {
    let group = group().await;
    let key = group.key().await;
    let other = group.key_with(|key| key.entitlements = vec!["us".to_owned()]).await;
    let stranger = group.key_with(|key| key.org = "globex".to_owned()).await;
    group.fetch(&key, CHAT).await.unwrap();
    let (_, bytes) = group.entries.last();
    for (victim, reason, metric) in [
        (&other, Reason::Entitlement, "kt_gate_mismatch_total{reason=\"entitlement\"}"),
        (&stranger, Reason::Corrupt, "kt_corrupt_total"),
    ] {
        let ask = group.ask(victim, CHAT);
        let at = Address { key: ask.plan.key, request: ask.plan.request.digest };
        group.entries.smuggle(at, bytes.clone()).await;
        assert_eq!(group.ticket(ask).await.1, reason);
        assert_eq!(group.metric(metric), "1");
        assert!(!group.is_cached(victim, CHAT).await);
    }
}

#[tokio::test(start_paused = true)]
async fn another_wire_version_is_refused_with_both_versions() {
    let group = group().await;
    let key = group.key().await;
    let mut ask = group.ask(&key, CHAT);
    let (theirs, ours) = (VERSION + 1, VERSION);
    ask.version = theirs;
    let failure = group.sidecar.admit(ask, PEER).await.unwrap_err();
    let Failure::WireVersion { theirs: told, ours: own } = failure else { panic!("{failure}") };
    assert_eq!((told, own), (theirs, ours));
}

#[tokio::test(start_paused = true)]
async fn explain_says_what_admit_would_and_names_the_other_organization() {
    let group = group().await;
    let key = group.key().await;
    let explain = |key: &Key, body: &str| ExplainRequest {
        headers: Vec::new(),
        key_id: key.principal.key_id.clone(),
        gateway: gateway(),
        path: "/v1/chat/completions".to_owned(),
        codebase: None,
        body: body.to_owned(),
    };
    let reply = group.sidecar.explain(&explain(&key, CHAT)).await.unwrap();
    let ask = group.ask(&key, CHAT);
    assert_eq!(
        (reply.key, reply.check, &reply.gates),
        (ask.plan.key, ask.plan.check, &ask.plan.gates)
    );
    assert_eq!((reply.outcome.as_str(), reply.reason), ("miss", Reason::Request));
    let bounds = Bounds { depth_max: 9, nodes_max: 99 };
    let beta =
        vec![("OpenAI-Beta".to_owned(), "v2".to_owned()), ("accept".to_owned(), "x".to_owned())];
    let with =
        group.sidecar.explain(&ExplainRequest { headers: beta, ..explain(&key, CHAT) }).await;
    let (keys, body) = (OrgKeys::derive("acme"), json::parse(CHAT.as_bytes(), bounds).unwrap());
    let digests =
        keys.request_digests(&body, Dialect::OpenAiChat.left_out(), &[("openai-beta", b"v2")]);
    assert_eq!(
        with.unwrap().key,
        keys.cache_key(&ask.plan.gates, &digests),
        "as the filter keys the header"
    );
    assert_eq!(reply.target, "openai-1");

    group.fetch(&key, CHAT).await.unwrap();
    let reply = group.sidecar.explain(&explain(&key, CHAT_STREAM)).await.unwrap();
    assert_eq!((reply.outcome.as_str(), reply.reason), ("hit", Reason::Shared));

    let other = group.key_with(|key| key.entitlements = vec!["us".to_owned()]).await;
    let reply = group.sidecar.explain(&explain(&other, CHAT)).await.unwrap();
    assert_eq!(reply.reason, Reason::Entitlement);
    assert_eq!(reply.nearest, Some(ask.plan.gates));

    let stranger = group.key_with(|key| key.org = "globex".to_owned()).await;
    let reply = group.sidecar.explain(&explain(&stranger, CHAT)).await.unwrap();
    assert_eq!((reply.outcome.as_str(), reply.reason, reply.nearest), ("miss", Reason::Org, None));

    for (what, bad) in [
        ("an unknown model", explain(&key, &CHAT.replace("gpt-4o-mini", "x"))),
        ("no JSON", explain(&key, "{")),
        ("an unknown path", ExplainRequest { path: "/v2".to_owned(), ..explain(&key, CHAT) }),
        ("no such key", ExplainRequest { key_id: "gk_0".to_owned(), ..explain(&key, CHAT) }),
    ] {
        assert!(group.sidecar.explain(&bad).await.is_err(), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn why_a_request_misses_is_looked_for_once() {
    let group = group().await;
    let key = group.key().await;
    group.fetch(&key, CHAT).await.unwrap();
    assert_eq!(group.entries.nears(), 1, "by admit, and by nobody behind it");
    let other = group.key_with(|key| key.entitlements = vec!["us".to_owned()]).await;
    let seen = group.fetch(&other, CHAT).await.unwrap();
    assert_eq!(seen.head.cache, (Outcome::Miss, Reason::Entitlement));
    assert_eq!(group.entries.nears(), 2);
}
