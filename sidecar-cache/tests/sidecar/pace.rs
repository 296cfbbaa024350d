//! `rate-limit`: who comes too often waits, before anything is looked up, flown or paid for; and nobody else does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kt_contract::problem::Problem;
use kt_contract::rate::{Measure, RateLimited, Scope};
use kt_contract::time::Millis;
use kt_contract::wire::admit::Admitted;
use sidecar_cache::clock::Clock;
use sidecar_cache::flight::Epoch;
use sidecar_cache::rate_limit::Charge;
use sidecar_cache::service::Shared;
use sidecar_cache::service::lane::Refusal;
use sidecar_cache::store::audit_log::{AuditStore, MemoryAuditLog};
use sidecar_cache::store::flight_log::MemoryLogs;
use sidecar_cache::store::leases::MemoryLeases;
use sidecar_cache::store::rates::{Counted, MemoryRates, RateStore, Taken};
use sidecar_cache::store::{Answer, StoreError};

use crate::support::{
    CHAT, CHAT_STREAM, Common, Group, Key, Scripted, Seen, Shelved, answers_json, answers_sse,
    bytes, group_of, group_recording, group_with, holder, pass, settings_with, sse,
};

/// What the provider tells of every answer: 5 tokens in, 7 out.
const USED: u64 = 12;

fn limits(settings: &str) -> String {
    format!("policies: {{chain: [rate-limit], policy: {{rate-limit: {{{settings}}}}}}}\n")
}

async fn limited(settings: &str) -> Group {
    let group = group_of(settings_with(&limits(settings)), Clock::start(), None);
    group.poll().await;
    group
}

/// A request of its own.
fn body(number: usize) -> String {
    CHAT.replace("hi", &format!("hi {number:02}"))
}

/// For how many tokens a request is taken before anybody has counted them.
fn estimate() -> u64 {
    (body(0).len() as u64).div_ceil(4)
}

fn refused(answer: Result<Seen, Refusal>) -> RateLimited {
    match answer {
        Err(Refusal { problem: Problem::RateLimited(limited), .. }) => limited,
        other => panic!("{other:?}"),
    }
}

async fn key_of(group: &Group, org: &str) -> Key {
    group.key_with(|key| key.org = org.to_owned()).await
}

#[tokio::test(start_paused = true)]
async fn who_is_beyond_its_requests_is_refused_without_a_call_until_its_time() {
    let group = limited("per_key: {requests_per_minute: 2}").await;
    let (key, other) = (group.key().await, group.key().await);
    for number in 0..2 {
        group.fetch(&key, &body(number)).await.unwrap();
    }
    for _ in 0..5 {
        let limited = refused(group.fetch(&key, &body(2)).await);
        assert_eq!((limited.scope, limited.measure), (Scope::Key, Measure::Requests));
        assert_eq!((limited.per_minute, limited.remaining), (2, 0));
        assert_eq!(limited.retry_after_s(), 30);
    }
    assert_eq!(group.provider.calls().len(), 2);
    assert_eq!(group.metric("kt_rate_limited_total{scope=\"key\",measure=\"requests\"}"), "5");
    group.fetch(&other, &body(2)).await.unwrap();
    pass(Duration::from_secs(30)).await;
    group.fetch(&key, &body(3)).await.unwrap();
    let limited = refused(group.fetch(&key, &body(4)).await);
    assert!(limited.wait <= Millis(30_000), "{limited:?}");
}

#[tokio::test(start_paused = true)]
async fn every_scope_counts_its_own_and_the_one_that_makes_wait_longest_is_named() {
    let group = limited(
        "per_key: {requests_per_minute: 100}, per_user: {requests_per_minute: 3}, \
         per_team: {requests_per_minute: 4}, per_org: {requests_per_minute: 5}",
    )
    .await;
    let of = |user: Option<&'static str>, team: Option<&'static str>| {
        group.key_with(move |key| {
            (key.user, key.team) = (user.map(str::to_owned), team.map(str::to_owned));
        })
    };
    let ada = of(Some("ada"), Some("core")).await;
    let adas_other = of(Some("ada"), Some("core")).await;
    let bob = of(Some("bob"), Some("core")).await;
    let nobody = of(None, None).await;
    for number in 0..2 {
        group.fetch(&ada, &body(number)).await.unwrap();
    }
    group.fetch(&adas_other, &body(2)).await.unwrap();
    assert_eq!(refused(group.fetch(&ada, &body(3)).await).scope, Scope::User);
    group.fetch(&bob, &body(4)).await.unwrap();
    assert_eq!(refused(group.fetch(&bob, &body(5)).await).scope, Scope::Team);
    group.fetch(&nobody, &body(6)).await.unwrap();
    assert_eq!(refused(group.fetch(&nobody, &body(7)).await).scope, Scope::Org);
    // Of the three that refuse it, the user's makes wait longest.
    assert_eq!(refused(group.fetch(&ada, &body(8)).await).scope, Scope::User);
    let elsewhere = key_of(&group, "globex").await;
    group.fetch(&elsewhere, &body(9)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn hits_count_as_requests_and_take_no_tokens() {
    let group =
        limited("per_key: {requests_per_minute: 4}, per_org: {tokens_per_minute: 30}").await;
    let key = group.key().await;
    group.fetch(&key, CHAT).await.unwrap();
    for _ in 0..3 {
        assert!(group.is_cached(&key, CHAT).await);
    }
    // The lane says so, in the client's dialect.
    assert!(matches!(group.admit(group.ask(&key, CHAT)).await, Admitted::Lane { .. }));
    assert_eq!(refused(group.fetch(&key, CHAT).await).measure, Measure::Requests);
    assert_eq!(group.provider.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn tokens_are_estimated_before_a_call_and_counted_after_it() {
    let limit = 3 * USED + estimate() - 1;
    let group = limited(&format!("per_key: {{tokens_per_minute: {limit}}}")).await;
    let key = group.key().await;
    for number in 0..3 {
        group.fetch(&key, &body(number)).await.unwrap();
    }
    let limited = refused(group.fetch(&key, &body(3)).await);
    assert_eq!((limited.scope, limited.measure), (Scope::Key, Measure::Tokens));
    assert_eq!((limited.per_minute, limited.remaining), (limit, estimate() - 1));
    assert_eq!(limited.wait, Millis(60_000_u64.div_ceil(limit)), "one token is missing");
    assert_eq!(group.provider.calls().len(), 3);
    // What is stored costs no provider anything.
    for number in 0..3 {
        assert!(group.is_cached(&key, &body(number)).await);
    }
    pass(Duration::from_millis(limited.wait.0)).await;
    group.fetch(&key, &body(3)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_answer_longer_than_the_limit_is_waited_for_by_who_comes_next() {
    let group = limited("per_key: {tokens_per_minute: 60}").await;
    let key = group.key().await;
    let long = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"gpt-4o-mini-2024-07-18","choices":[{"index":0,"message":{"role":"assistant","content":"hello","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":175,"total_tokens":180}}"#;
    group.provider.next(answers_json(long));
    group.fetch(&key, &body(0)).await.unwrap();
    let limited = refused(group.fetch(&key, &body(1)).await);
    assert_eq!(limited.remaining, 0);
    assert_eq!(limited.retry_after_s(), 120 + estimate());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_the_provider_refuses_takes_no_tokens() {
    let group = limited(&format!("per_key: {{tokens_per_minute: {}}}", estimate())).await;
    let key = group.key().await;
    for _ in 0..3 {
        let refusal = r#"{"error":{"message":"no","type":"x","code":null}}"#;
        group.provider.next(Scripted { status: 400, ..answers_json(refusal) });
        assert_eq!(group.fetch(&key, &body(0)).await.unwrap().head.status, 400);
    }
    group.fetch(&key, &body(0)).await.unwrap();
    assert_eq!(refused(group.fetch(&key, &body(1)).await).measure, Measure::Tokens);
}

#[tokio::test(start_paused = true)]
async fn a_stream_without_a_usage_is_counted_by_its_events() {
    let group = limited("per_key: {tokens_per_minute: 60}").await;
    let key = group.key().await;
    let event = sse().split_inclusive("\n\n").next().unwrap().to_owned();
    group.provider.next(answers_sse(vec![bytes(&event.repeat(55))]));
    let cut = group.fetch(&key, CHAT_STREAM).await.unwrap();
    assert!(!cut.has_end);
    let limited = refused(group.fetch(&key, &body(1)).await);
    let used = 55 + (CHAT_STREAM.len() as u64).div_ceil(4);
    assert_eq!(limited.reset, Millis(used * 1_000));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_refused_for_its_tokens_is_a_request_all_the_same() {
    let group =
        limited("per_key: {requests_per_minute: 4}, per_org: {tokens_per_minute: 24}").await;
    let key = group.key().await;
    group.fetch(&key, &body(0)).await.unwrap();
    for _ in 0..3 {
        assert_eq!(refused(group.fetch(&key, &body(1)).await).measure, Measure::Tokens);
    }
    assert_eq!(refused(group.fetch(&key, &body(1)).await).measure, Measure::Requests);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_the_call_of_one_who_may_not_makes_it_in_its_own_name() {
    let group = limited(&format!("per_key: {{tokens_per_minute: {}}}", estimate())).await;
    let (spent, fresh) = (group.key().await, group.key().await);
    group.fetch(&spent, &body(0)).await.unwrap();
    let same = body(1);
    let (leads, follows) = tokio::join!(group.fetch(&spent, &same), group.fetch(&fresh, &same));
    assert_eq!(refused(leads).scope, Scope::Key);
    assert_eq!(follows.unwrap().head.status, 200);
    assert_eq!(group.provider.calls().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn those_who_follow_take_no_tokens_and_count_as_requests() {
    let settings = format!(
        "per_key: {{requests_per_minute: 3}}, per_org: {{tokens_per_minute: {}}}",
        estimate()
    );
    let group = limited(&settings).await;
    let key = group.key().await;
    let ask = || group.fetch(&key, CHAT);
    let (one, two, three) = tokio::join!(ask(), ask(), ask());
    for answer in [one, two, three] {
        assert_eq!(answer.unwrap().head.status, 200);
    }
    assert_eq!(group.provider.calls().len(), 1);
    assert_eq!(refused(ask().await).measure, Measure::Requests);
}

#[tokio::test(start_paused = true)]
async fn other_limits_keep_what_is_stored() {
    let group = limited("per_key: {requests_per_minute: 100}").await;
    let key = group.key().await;
    group.fetch(&key, CHAT).await.unwrap();
    for other in ["per_key: {requests_per_minute: 50}", "per_org: {tokens_per_minute: 1}"] {
        group.sidecar.reconfigure(Ok(settings_with(&limits(other)))).await;
        assert!(group.is_cached(&key, CHAT).await, "{other}");
    }
    group.sidecar.reconfigure(Ok(settings_with(""))).await;
    assert!(group.is_cached(&key, CHAT).await);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_on_record() {
    let store = Arc::new(MemoryAuditLog::default());
    let recording = Arc::clone(&store) as Arc<dyn AuditStore>;
    let policies = "policies: {chain: [rate-limit, audit-logger], policy: {rate-limit: {per_key: {requests_per_minute: 1}}}}\n";
    let group = group_recording(settings_with(policies), recording);
    group.poll().await;
    let key = group.key().await;
    group.fetch(&key, &body(0)).await.unwrap();
    refused(group.fetch(&key, &body(1)).await);
    group.sidecar.audit_log_flushed().await;
    let asked = sidecar_cache::service::audit_log::Export {
        org: "acme".to_owned(),
        ..sidecar_cache::service::audit_log::Export::default()
    };
    let records = group.sidecar.export_audit_log(asked).await.unwrap();
    let last = records.last().unwrap();
    assert_eq!((last.status, last.code.as_deref()), (Some(429), Some("rate_limit_exceeded")));
    assert_eq!(last.outcome.as_deref(), Some("refused"));
    assert_eq!(last.key_id.as_deref(), Some(key.principal.key_id.as_str()));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_reads_nothing_of_the_body() {
    let group = limited("per_key: {requests_per_minute: 1}").await;
    let key = group.key().await;
    group.fetch(&key, CHAT).await.unwrap();
    let (ticket, _) = group.ticket(group.ask(&key, CHAT)).await;
    let refusal = group.sidecar.enter(Some(&ticket), &holder()).unwrap_err();
    assert!(matches!(refusal.problem, Problem::RateLimited(_)), "{refusal:?}");
}

/// A store that counts until it is gone.
struct Leaving {
    rates: MemoryRates,
    is_gone: AtomicBool,
}

impl Leaving {
    fn there(&self) -> Result<&MemoryRates, StoreError> {
        let is_gone = self.is_gone.load(Ordering::Relaxed);
        if is_gone { Err(StoreError::Away("gone".to_owned())) } else { Ok(&self.rates) }
    }
}

impl RateStore for Leaving {
    fn take(&self, org: String, charges: Vec<Charge>) -> Answer<'_, Taken> {
        Box::pin(async move { self.there()?.take(org, charges).await })
    }

    fn correct(&self, counted: Counted, is: u64) -> Answer<'_, ()> {
        Box::pin(async move { self.there()?.correct(counted, is).await })
    }
}

/// A sidecar of several, which count together in `rates`.
fn one_of_several(clock: Clock, rates: Arc<dyn RateStore>, settings: &str) -> Group {
    let settings = settings_with(&limits(settings));
    let entries = Arc::new(Shelved::new(clock, settings.memory));
    let leases = Arc::new(MemoryLeases::new(Epoch(7), clock, entries.clone()));
    let logs = Arc::new(MemoryLogs::new(clock, leases.clone()));
    let common = Common {
        clock,
        settings,
        entries: entries.clone(),
        store: entries,
        keys: Arc::default(),
        ledger: None,
        savings: None,
    };
    group_with(common, Some(Shared { leases, logs, rates }))
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_refuses_nobody_and_a_metric_tells_what_was_not_counted() {
    let clock = Clock::start();
    let store = Leaving { rates: MemoryRates::new(clock), is_gone: AtomicBool::new(false) };
    let store = Arc::new(store);
    let both = "per_key: {requests_per_minute: 1}, per_org: {tokens_per_minute: 1000000}";
    let group = one_of_several(clock, store.clone(), both);
    group.poll().await;
    let key = group.key().await;
    group.fetch(&key, &body(0)).await.unwrap();
    let _ = refused(group.fetch(&key, &body(1)).await);
    store.is_gone.store(true, Ordering::Relaxed);
    for number in 1..4 {
        group.fetch(&key, &body(number)).await.unwrap();
    }
    // Three requests, and the three calls for them.
    let uncounted = "kt_rate_limit_uncounted_total{reason=\"store-unavailable\"}";
    assert_eq!(group.metric(uncounted), "6");
    // It counts on when it is back, with what it still knows.
    store.is_gone.store(false, Ordering::Relaxed);
    let _ = refused(group.fetch(&key, &body(4)).await);
    assert_eq!(group.metric(uncounted), "6");
}

#[tokio::test(start_paused = true)]
async fn sidecars_that_share_a_store_share_every_limit() {
    let clock = Clock::start();
    let rates = Arc::new(MemoryRates::new(clock));
    let per_org = "per_org: {requests_per_minute: 3}";
    let [one, other] = [(); 2].map(|()| one_of_several(clock, rates.clone(), per_org));
    let mut passed = 0;
    for (number, group) in [&one, &other, &one, &other, &one, &other].into_iter().enumerate() {
        group.poll().await;
        let key = key_of(group, "acme").await;
        passed += u64::from(group.fetch(&key, &body(number)).await.is_ok());
    }
    assert_eq!(passed, 3);
}
