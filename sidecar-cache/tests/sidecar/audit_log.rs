//! What goes on record of requests, and that nothing is answered without a record where each must have one.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use kt_contract::hex::Digest;
use kt_contract::outcome::Outcome;
use kt_contract::time::UnixMillis;
use kt_contract::wire::VERSION;
use kt_contract::wire::admin::Condition;
use kt_contract::wire::admin::audit_log::{AuditHead, AuditNotes, AuditRecord};
use kt_contract::wire::admit::{AdmitRequest, Admitted, Control};
use kt_contract::wire::feed::{FeedRequest, HitBatch, Refusal};
use sidecar_cache::service::Failure;
use sidecar_cache::service::audit_log::Export;
use sidecar_cache::store::audit_log::{AuditStore, MemoryAuditLog};

use crate::support::{
    CHAT, CHAT_STREAM, Group, REQUEST_ID, Scripted, answers_json, answers_sse, bytes, gateway,
    group, group_recording, pass, read, settings_with, sse,
};

const LOGS: &str = "policies: {chain: [audit-logger]}\n";
const LOGS_ALL: &str =
    "policies: {chain: [audit-logger], policy: {audit-logger: {log_all_access: true}}}\n";

struct Logged {
    group: Group,
    store: Arc<MemoryAuditLog>,
}

async fn logged(policies: &str) -> Logged {
    let store = Arc::new(MemoryAuditLog::default());
    let recording = Arc::clone(&store) as Arc<dyn AuditStore>;
    let group = group_recording(settings_with(policies), recording);
    group.poll().await;
    Logged { group, store }
}

// === impl Logged ===

impl Logged {
    async fn records_of(&self, org: &str) -> Vec<AuditRecord> {
        self.group.sidecar.audit_log_flushed().await;
        let asked = Export { org: org.to_owned(), ..Export::default() };
        self.group.sidecar.export_audit_log(asked).await.unwrap()
    }

    /// Kind, outcome and reason, status and code of every record.
    async fn told(&self) -> Vec<String> {
        let records = self.records_of("acme").await;
        records.iter().map(line).collect()
    }
}

fn line(record: &AuditRecord) -> String {
    let AuditRecord { kind, outcome, reason, status, code, .. } = record;
    let word = |word: &Option<String>| word.clone().unwrap_or_else(|| "-".to_owned());
    let status = status.map_or_else(|| "-".to_owned(), |status| status.to_string());
    format!("{kind} {} {} {status} {}", word(outcome), word(reason), word(code))
}

fn answers_status(status: u16) -> Scripted {
    Scripted { status, ..answers_json(r#"{"error":{"message":"no","type":"x","code":null}}"#) }
}

#[tokio::test(start_paused = true)]
async fn every_request_but_a_plain_hit_leaves_a_record() {
    let logged = logged(LOGS).await;
    let key = logged.group.key_with(|key| key.team = Some("core".to_owned())).await;
    logged.group.fetch(&key, CHAT).await.unwrap();
    assert!(logged.group.is_cached(&key, CHAT).await);
    let only_if_cached = Control { only_if_cached: true, ..Control::default() };
    let other = CHAT.replace("hi", "ho");
    let ask = AdmitRequest { control: only_if_cached, ..logged.group.ask(&key, &other) };
    assert!(matches!(logged.group.admit(ask).await, Admitted::NotCached { .. }));
    logged.group.provider.next(answers_status(400));
    logged.group.fetch(&key, &other).await.unwrap();
    assert_eq!(
        logged.told().await,
        [
            "ended miss request 200 -",
            "ended refused request 504 not_cached",
            "ended miss request 400 -"
        ]
    );
    let first = &logged.records_of("acme").await[0];
    assert_eq!(first.request_id.as_deref(), Some(REQUEST_ID));
    assert_eq!(first.gateway.as_deref(), Some("gw-a"));
    assert_eq!(first.key_id.as_deref(), Some(key.principal.key_id.as_str()));
    assert_eq!((first.team.as_deref(), first.user.as_deref()), (Some("core"), Some("ada")));
    assert_eq!(first.model.as_deref(), Some("gpt-4o-mini"));
    assert_eq!(first.provider.as_deref(), Some("openai"));
    assert_eq!((first.seq, first.times), (1, 1));
    assert!(first.cost_micro_usd.is_some_and(|cost| cost > 0), "{first:?}");
}

#[tokio::test(start_paused = true)]
async fn where_every_access_is_logged_a_hit_leaves_one_and_a_call_two() {
    let logged = logged(LOGS_ALL).await;
    let key = logged.group.key().await;
    logged.group.fetch(&key, CHAT).await.unwrap();
    logged.group.hit(logged.group.ask(&key, CHAT)).await;
    // A hit that is told on the lane.
    logged.group.fetch_keyed("name", &key, CHAT).await.unwrap();
    assert_eq!(
        logged.told().await,
        [
            "asked - - - -",
            "ended miss request 200 -",
            "ended hit shared 200 -",
            "asked - - - -",
            "ended hit shared 200 -",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_hit_in_whose_request_policies_have_found_something_is_no_plain_one() {
    let logged = logged(LOGS).await;
    let key = logged.group.key().await;
    let guardrails = vec!["pii-detector:email:redact".to_owned()];
    let ask = || {
        let mut ask = logged.group.ask(&key, CHAT);
        ask.plan.guardrails.clone_from(&guardrails);
        ask
    };
    let (ticket, _) = logged.group.ticket(ask()).await;
    read(logged.group.lane(&ticket, CHAT).await.unwrap()).await;
    logged.group.hit(ask()).await;
    assert_eq!(logged.told().await, ["ended miss request 200 -", "ended hit shared 200 -"]);
    for record in logged.records_of("acme").await {
        assert_eq!(record.policies, guardrails);
    }
}

#[tokio::test(start_paused = true)]
async fn who_gets_the_answer_of_anothers_call_is_on_record_too() {
    let logged = logged(LOGS).await;
    let key = logged.group.key().await;
    let body = answers_sse(vec![crate::support::Act::Wait(Duration::from_secs(1)), bytes(&sse())]);
    logged.group.provider.next(body);
    let (first, _) = logged.group.ticket(logged.group.ask(&key, CHAT_STREAM)).await;
    let (second, _) = logged.group.ticket(logged.group.ask(&key, CHAT_STREAM)).await;
    let both = tokio::join!(
        logged.group.lane(&first, CHAT_STREAM),
        logged.group.lane(&second, CHAT_STREAM)
    );
    let seen = tokio::join!(read(both.0.unwrap()), read(both.1.unwrap()));
    assert_eq!(seen.1.head.cache.0, Outcome::Coalesced);
    let mut told = logged.told().await;
    told.sort();
    assert_eq!(told, ["ended coalesced in-flight 200 -", "ended miss request 200 -"]);
    let costs = logged.records_of("acme").await;
    let paid = costs.iter().filter(|record| record.cost_micro_usd.is_some()).count();
    assert_eq!(paid, 1, "who follows pays nothing");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_breaks_off_and_a_client_that_leaves_are_on_record() {
    let logged = logged(LOGS).await;
    let key = logged.group.key().await;
    for _ in 0..3 {
        let broken = vec![bytes("data: {}\n\n"), crate::support::Act::Break];
        logged.group.provider.next(answers_sse(broken));
    }
    let _ = logged.group.fetch(&key, CHAT_STREAM).await;
    let (ticket, _) = logged.group.ticket(logged.group.ask(&key, CHAT)).await;
    drop(logged.group.sidecar.enter(Some(&ticket), &crate::support::holder()).unwrap());
    let told = logged.told().await;
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("ended miss") && told[0].contains("upstream_"), "{told:?}");
    assert_eq!(told[1], "ended - - 499 client_left");
}

#[tokio::test(start_paused = true)]
async fn where_every_access_is_logged_nothing_is_answered_that_cannot_be() {
    let logged = logged(LOGS_ALL).await;
    let key = logged.group.key().await;
    logged.group.fetch(&key, CHAT).await.unwrap();
    logged.group.sidecar.audit_log_flushed().await;
    let calls = logged.group.provider.count();
    logged.store.lose(true);
    // A stored answer, and one that is not stored.
    for body in [CHAT, &CHAT.replace("hi", "ho")] {
        let refusal = logged.group.fetch(&key, body).await.unwrap_err();
        assert_eq!((refusal.problem.status(), refusal.problem.code()), (503, "audit_unavailable"));
        assert_eq!(refusal.problem.retry_after_s(), Some(1));
    }
    assert_eq!(logged.group.provider.count(), calls, "no call is made");
    assert_eq!(logged.group.sidecar.condition(), Condition::Degraded);
    assert_eq!(logged.group.sidecar.stores_away(), ["audit_log"]);
    logged.store.lose(false);
    logged.group.hit(logged.group.ask(&key, CHAT)).await;
    logged.group.sidecar.audit_log_flushed().await;
    assert_eq!(logged.group.sidecar.condition(), Condition::Ok);
    let told = logged.told().await;
    // That they were refused is on record as soon as anything is.
    let refused = "ended refused - 503 audit_unavailable".to_owned();
    assert_eq!(told.iter().filter(|line| **line == refused).count(), 2, "{told:?}");
    assert_eq!(told.iter().filter(|line| **line == "ended hit shared 200 -").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_too_slow_is_none() {
    let logged = logged(LOGS_ALL).await;
    let key = logged.group.key().await;
    let (group, store) = (&logged.group, &logged.store);
    store.lose(true);
    let begun = tokio::time::Instant::now();
    group.fetch(&key, CHAT).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(1), "who must be on record is told at once");
}

#[tokio::test(start_paused = true)]
async fn where_it_is_no_must_answers_go_on_and_records_wait_for_as_long_as_there_is_room() {
    let logged = logged(LOGS).await;
    let key = logged.group.key().await;
    logged.store.lose(true);
    logged.group.fetch(&key, CHAT).await.unwrap();
    pass(Duration::from_secs(5)).await;
    assert_eq!(logged.group.sidecar.condition(), Condition::Degraded);
    let errors = logged.group.sidecar.status().store_errors;
    assert!(errors[0].contains("1 records wait, 0 are lost"), "{errors:?}");
    assert_eq!(logged.group.metric("kt_audit_waiting"), "1");
    // More than there is room for: the oldest go, and are counted.
    for number in 0..20_000 {
        let refused = Refusal { request_id: number.to_string(), ..bad_key(1) };
        logged.group.sidecar.note_refused("gw-a", vec![refused], 0).await;
    }
    let lost: u64 = logged.group.metric("kt_audit_lost_total").parse().unwrap();
    assert!(lost > 3_000, "{lost}");
    logged.store.lose(false);
    logged.group.sidecar.audit_log_flushed().await;
    assert_eq!(logged.group.sidecar.condition(), Condition::Ok);
    let kept: u64 = logged.group.metric("kt_audit_records_total").parse().unwrap();
    assert_eq!(kept + lost, 20_001);
}

#[tokio::test(start_paused = true)]
async fn what_only_a_filter_has_refused_goes_on_record_under_the_keys_organization() {
    let logged = logged(LOGS).await;
    let key = logged.group.key().await;
    let blocked = Refusal {
        request_id: REQUEST_ID.to_owned(),
        key_id: Some(key.principal.key_id.clone()),
        model: Some("é".repeat(1_000)),
        status: 409,
        code: "policy_blocked".to_owned(),
        policies: vec!["pii-detector:email:block".to_owned()],
        times: 1,
    };
    let of_nobody = Refusal { key_id: Some("gk_nobody".to_owned()), ..bad_key(7) };
    logged.group.sidecar.note_refused("gw-a", vec![blocked, of_nobody], 0).await;
    let [of_acme] = &logged.records_of("acme").await[..] else { panic!() };
    assert_eq!(line(of_acme), "ended blocked - 409 policy_blocked");
    assert_eq!(of_acme.user.as_deref(), Some("ada"), "as the key store says");
    assert_eq!(of_acme.policies, ["pii-detector:email:block"]);
    assert_eq!(of_acme.model.as_ref().unwrap().len(), 200);
    let [of_nobody] = &logged.records_of("").await[..] else { panic!() };
    assert_eq!(line(of_nobody), "ended refused - 401 invalid_api_key");
    assert_eq!((of_nobody.times, of_nobody.key_id.as_deref()), (7, None));
}

/// A report of a worker, with refusals.
fn report(number: u64, refusals: Vec<Refusal>, lost: u64) -> FeedRequest {
    FeedRequest {
        version: VERSION,
        gateway: gateway(),
        worker: None,
        epoch: None,
        seq: 0,
        snapshot: None,
        hits: Some(HitBatch {
            worker: "w".to_owned(),
            number,
            counts: Vec::new(),
            blocks: Vec::new(),
            refusals,
            refusals_lost: NonZeroU64::new(lost),
        }),
    }
}

#[tokio::test(start_paused = true)]
async fn a_workers_refusals_come_with_its_poll_and_once() {
    let logged = logged(LOGS).await;
    let first = report(1, vec![bad_key(3)], 5);
    let second = report(2, vec![bad_key(2)], 0);
    // A poll whose answer was lost is sent again, unchanged.
    for poll in [&first, &first, &second, &first] {
        logged.group.sidecar.poll_feed(poll).await.unwrap();
        pass(Duration::from_millis(1)).await;
    }
    let times: Vec<u64> = logged.records_of("").await.iter().map(|it| it.times).collect();
    assert_eq!(times, [3, 2]);
    assert_eq!(logged.group.metric("kt_audit_lost_total"), "5");
}

/// So many requests without a good key.
fn bad_key(times: u64) -> Refusal {
    Refusal {
        request_id: REQUEST_ID.to_owned(),
        key_id: None,
        model: None,
        status: 401,
        code: "invalid_api_key".to_owned(),
        policies: Vec::new(),
        times,
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_verified_against_what_was_written_down_elsewhere() {
    let logged = logged(LOGS).await;
    let key = logged.group.key().await;
    for word in ["a", "b", "c"] {
        logged.group.fetch(&key, &CHAT.replace("hi", word)).await.unwrap();
    }
    logged.group.sidecar.audit_log_flushed().await;
    let sidecar = &logged.group.sidecar;
    let heads = sidecar.audit_heads().await.unwrap().chains;
    let notes = AuditNotes { org: None, heads: heads.clone() };
    let found = sidecar.verify_audit_log(notes).await.unwrap();
    assert_eq!(found.broken, []);
    assert_eq!((found.verified[0].records, found.verified[0].confirmed), (3, 1));
    let other = |change: fn(&mut AuditHead)| {
        let mut head = heads[0].clone();
        change(&mut head);
        AuditNotes { org: None, heads: vec![head] }
    };
    for (notes, expected) in [
        (other(|head| head.hash = Digest([0; 32])), ("acme", 3, "not_as_noted")),
        (other(|head| head.seq = 9), ("acme", 9, "not_there")),
        (other(|head| head.org = "gone".to_owned()), ("gone", 3, "not_there")),
    ] {
        let found = sidecar.verify_audit_log(notes).await.unwrap().broken;
        let broken: Vec<_> =
            found.iter().map(|it| (it.org.as_str(), it.seq, it.code.as_str())).collect();
        assert_eq!(broken, [expected]);
    }
    let nobody = AuditNotes { org: Some("nobody".to_owned()), heads: Vec::new() };
    let missing = sidecar.verify_audit_log(nobody).await.unwrap_err();
    assert!(matches!(missing, Failure::NotFound { .. }), "{missing}");
}

#[tokio::test(start_paused = true)]
async fn what_is_older_than_the_retention_goes_and_the_rest_holds() {
    let retention =
        "policies: {chain: [audit-logger], policy: {audit-logger: {retention_days: 2}}}\n";
    let logged = logged(retention).await;
    let key = logged.group.key().await;
    logged.group.fetch(&key, CHAT).await.unwrap();
    let at = logged.records_of("acme").await[0].at;
    let sidecar = &logged.group.sidecar;
    let days = |days: u64| UnixMillis(at.0 + days * 86_400_000);
    sidecar.expire_audit_log(days(2)).await;
    assert_eq!(logged.told().await.len(), 1, "as old as that is not older");
    sidecar.expire_audit_log(days(3)).await;
    assert_eq!(logged.group.metric("kt_audit_expired_total"), "1");
    let found = sidecar.verify_audit_log(AuditNotes::default()).await.unwrap();
    assert_eq!(found.broken, []);
    assert_eq!((found.verified[0].records, found.verified[0].removed_through), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_a_year_ahead_removes_nothing() {
    let retention =
        "policies: {chain: [audit-logger], policy: {audit-logger: {retention_days: 30}}}\n";
    let logged = logged(retention).await;
    let key = logged.group.key().await;
    logged.group.fetch(&key, CHAT).await.unwrap();
    let at = logged.records_of("acme").await[0].at;
    let sidecar = &logged.group.sidecar;
    let years = |years: u64| UnixMillis(at.0 + years * 365 * 86_400_000);
    sidecar.expire_audit_log(years(1)).await;
    assert_eq!(logged.told().await.len(), 1);
    // What was recorded by then is believed no more than that.
    logged.group.fetch(&key, &CHAT.replace("hi", "ho")).await.unwrap();
    sidecar.expire_audit_log(years(2)).await;
    assert_eq!(logged.told().await.len(), 2);
}

#[tokio::test]
async fn without_it_there_is_nothing_to_look_at() {
    let group = group().await;
    let key = group.key().await;
    group.fetch(&key, CHAT).await.unwrap();
    let failure = group.sidecar.audit_heads().await.unwrap_err();
    assert!(matches!(failure, Failure::NoAuditLog), "{failure}");
}
