//! What answers cost, what they save, and who is told: the headers' numbers, the records, and alerts of budgets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use kt_contract::money::MicroUsd;
use kt_contract::outcome::Outcome;
use kt_contract::wire::admin::savings::{SavingsRow, SavingsSums};
use kt_contract::wire::admit::SavedTokens;
use kt_contract::wire::feed::{Event, FeedReply, FeedRequest, HitBatch, HitCount};
use sidecar_cache::clock::Clock;
use sidecar_cache::service::Failure;
use sidecar_cache::service::lane::{Refusal, Reply};
use sidecar_cache::service::savings::Costs;
use sidecar_cache::service::spending::SavingsAsked;
use sidecar_cache::store::ledger::LedgerStore;
use sidecar_cache::store::ledger::memory::MemoryLedger;
use sidecar_cache::store::savings::{Saved, SavingsStore};
use sidecar_cache::store::{Answer, StoreError};
use tokio::task::JoinHandle;

use crate::support::*;

/// What [`JSON`] and [`sse`] cost: 5 tokens at 0.15 and 7 at 0.60 dollars a million, rounded up.
const COST: u64 = 5;
const BUDGETS: &str = "budgets: {organization: {daily_limit_usd: 1000}}\n";

/// A group that accounts for its calls and notes what it saves.
struct Saving {
    group: Group,
    ledger: Arc<MemoryLedger>,
    requests: AtomicU64,
}

/// A store that may not answer.
struct Moody {
    inner: Arc<MemoryLedger>,
    is_down: AtomicBool,
}

impl SavingsStore for Moody {
    fn note(&self, saved: Vec<Saved>) -> Answer<'_, ()> {
        if self.is_down.load(Ordering::SeqCst) {
            return Box::pin(async { Err(StoreError::Transient("down".to_owned())) });
        }
        self.inner.note(saved)
    }

    fn saved(&self, org: Option<String>, since: String, until: String) -> Answer<'_, Vec<Saved>> {
        self.inner.saved(org, since, until)
    }
}

fn ledger(clock: Clock) -> Arc<MemoryLedger> {
    Arc::new(MemoryLedger::new(Box::new(move || clock.reading())))
}

async fn saving(more: &str) -> &'static Saving {
    let clock = Clock::start();
    let ledger = ledger(clock);
    let noted = Arc::clone(&ledger) as Arc<dyn SavingsStore>;
    on(more, clock, ledger, noted).await
}

async fn on(
    more: &str,
    clock: Clock,
    ledger: Arc<MemoryLedger>,
    noted: Arc<dyn SavingsStore>,
) -> &'static Saving {
    let accounts = Arc::clone(&ledger) as Arc<dyn LedgerStore>;
    let group = group_saving(settings_with(more), clock, Some(accounts), Some(noted));
    group.poll().await;
    Box::leak(Box::new(Saving { group, ledger, requests: AtomicU64::new(0) }))
}

fn usd(micros: u64) -> Option<MicroUsd> {
    Some(MicroUsd::new(micros).unwrap())
}

/// For nothing, in the place of a call that costs so much.
fn spared(saved: Option<MicroUsd>) -> Costs {
    Costs { cost: usd(0), saved }
}

/// A request's own call.
fn paid(cost: Option<MicroUsd>) -> Costs {
    Costs { cost, saved: None }
}

// === impl Saving ===

impl Saving {
    async fn ask(&self, key: &Key, body: &str) -> Result<Reply, Refusal> {
        let (id, ticket) = self.admitted(key, body).await;
        self.lane(&id, &ticket, body).await
    }

    async fn admitted(&self, key: &Key, body: &str) -> (String, String) {
        let id = format!("{:032x}", self.requests.fetch_add(1, Ordering::Relaxed));
        let mut ask = self.group.ask(key, body);
        ask.request_id.clone_from(&id);
        let (ticket, _) = self.group.ticket(ask).await;
        (id, ticket)
    }

    async fn lane(&self, id: &str, ticket: &str, body: &str) -> Result<Reply, Refusal> {
        let entered = self.group.sidecar.enter(Some(ticket), &holder_of(id))?;
        self.group.sidecar.serve(entered, Vec::new(), Bytes::copy_from_slice(body.as_bytes())).await
    }

    /// So many clients that ask the same, one after the other, and wait for a slow provider.
    async fn crowd(&'static self, keys: &[&Key], body: &str) -> Vec<JoinHandle<Seen>> {
        let answer =
            if body == CHAT { answers_json(JSON) } else { answers_sse(vec![bytes(&sse())]) };
        let slow = Scripted { head_after: Duration::from_secs(3), ..answer };
        self.group.provider.next(slow);
        let mut clients = Vec::new();
        for key in keys {
            let (key, body) = ((*key).clone(), body.to_owned());
            clients.push(tokio::spawn(
                async move { read(self.ask(&key, &body).await.unwrap()).await },
            ));
            settle().await;
        }
        clients
    }

    /// Who, of which team and codebase, on what basis, how many and how much.
    async fn noted(&self) -> Vec<(String, Option<String>, Option<String>, &'static str, u64, u64)> {
        self.group.sidecar.note_savings().await;
        let (since, until) = ("0".to_owned(), "9".to_owned());
        let saved = self.ledger.saved(Some("acme".to_owned()), since, until).await.unwrap();
        let row = |Saved { labels, answers, avoided }: Saved| {
            assert_eq!(labels.model, "gpt-4o-mini");
            let user = labels.user.unwrap_or_default();
            let basis = labels.basis.as_str();
            (user, labels.team, labels.codebase, basis, answers, avoided.micros())
        };
        saved.into_iter().map(row).collect()
    }
}

fn row(
    user: &str,
    basis: &'static str,
    answers: u64,
    avoided: u64,
) -> (String, Option<String>, Option<String>, &'static str, u64, u64) {
    let codebase = Some("acme/web".to_owned());
    (user.to_owned(), Some("core".to_owned()), codebase, basis, answers, avoided)
}

async fn of_user(saving: &Saving, user: &'static str) -> Key {
    let change = move |key: &mut kt_contract::wire::admin::KeyRequest| {
        (key.user, key.team) = (Some(user.to_owned()), Some("core".to_owned()));
    };
    saving.group.key_with(change).await
}

#[tokio::test(start_paused = true)]
async fn of_a_whole_answer_the_leader_learns_the_cost_and_everybody_else_what_was_saved() {
    let saving = saving(BUDGETS).await;
    let (ada, grace) = (of_user(saving, "ada").await, of_user(saving, "grace").await);
    let mut costs = Vec::new();
    for asked in saving.crowd(&[&ada, &ada, &grace, &grace, &grace], CHAT).await {
        costs.push(asked.await.unwrap().head.costs);
    }
    let mut expected = vec![spared(usd(COST)); 5];
    expected[0] = paid(usd(COST));
    assert_eq!(costs, expected);
    assert!(saving.group.is_cached(&ada, CHAT).await && saving.group.is_cached(&ada, CHAT).await);
    let rows = [row("ada", "hit", 2, 2 * COST), row("ada", "coalesced", 1, COST)];
    let expected = [&rows[..], &[row("grace", "coalesced", 3, 3 * COST)]].concat();
    assert_eq!(saving.noted().await, expected);
    assert_eq!(saving.noted().await, expected, "once");
    assert_eq!(saving.group.metric("kt_saved_usd_total{basis=\"coalesced\"}"), "0.00002");
    assert_eq!(saving.group.metric("kt_saved_usd_total{basis=\"hit\"}"), "0.00001");
    assert_eq!(saving.group.provider.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn of_a_stream_nobody_knows_the_cost_at_its_head_and_it_is_counted_at_its_end() {
    let saving = saving(BUDGETS).await;
    let ada = of_user(saving, "ada").await;
    let mut costs = Vec::new();
    for asked in saving.crowd(&[&ada; 4], CHAT_STREAM).await {
        costs.push(asked.await.unwrap().head.costs);
    }
    let mut expected = vec![spared(None); 4];
    expected[0] = paid(None);
    assert_eq!(costs, expected);
    assert_eq!(saving.noted().await, [row("ada", "coalesced", 3, 3 * COST)]);
}

#[tokio::test(start_paused = true)]
async fn who_wants_a_streams_answer_whole_learns_what_it_saved() {
    let saving = saving(BUDGETS).await;
    let ada = of_user(saving, "ada").await;
    let streaming = saving.crowd(&[&ada], CHAT_STREAM).await;
    let whole = saving.ask(&ada, CHAT);
    let seen = read(whole.await.unwrap()).await;
    assert_eq!((seen.head.cache.0, seen.head.costs), (Outcome::Coalesced, spared(usd(COST))));
    for asked in streaming {
        assert_eq!(asked.await.unwrap().head.costs, paid(None));
    }
    assert_eq!(saving.noted().await, [row("ada", "coalesced", 1, COST)]);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_before_the_end_has_saved_nothing() {
    let saving = saving(BUDGETS).await;
    let ada = of_user(saving, "ada").await;
    let asking = saving.crowd(&[&ada; 3], CHAT).await;
    asking[2].abort();
    for (nth, asked) in asking.into_iter().enumerate() {
        assert_eq!(asked.await.is_ok(), nth < 2);
    }
    assert_eq!(saving.noted().await, [row("ada", "coalesced", 1, COST)]);
    assert_eq!(saving.group.saved_tokens("coalesced"), ["5", "7"]);
}

#[tokio::test(start_paused = true)]
async fn a_hit_on_the_lane_saves_as_one_at_admit_does() {
    let saving = saving(BUDGETS).await;
    let ada = of_user(saving, "ada").await;
    let (id, ticket) = saving.admitted(&ada, CHAT).await;
    read(saving.ask(&ada, CHAT).await.unwrap()).await;
    let seen = read(saving.lane(&id, &ticket, CHAT).await.unwrap()).await;
    assert_eq!((seen.head.cache.0, seen.head.costs), (Outcome::Hit, spared(usd(COST))));
    assert_eq!(saving.noted().await, [row("ada", "hit", 1, COST)]);
    assert_eq!(saving.group.saved_tokens("hit"), ["5", "7"]);
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_saves_a_call_unless_one_is_made_in_its_name() {
    let more = "  stale_while_revalidate_seconds: 600\n";
    let saving = saving(&format!("{more}{BUDGETS}")).await;
    let ada = of_user(saving, "ada").await;
    read(saving.ask(&ada, CHAT).await.unwrap()).await;
    tokio::time::advance(Duration::from_secs(3_601)).await;
    let slow = Scripted { head_after: Duration::from_secs(3), ..answers_json(JSON) };
    saving.group.provider.next(slow);
    for expected in [spared(None), spared(usd(COST)), spared(usd(COST))] {
        let seen = read(saving.ask(&ada, CHAT).await.unwrap()).await;
        assert_eq!((seen.head.cache.0, seen.head.costs), (Outcome::Stale, expected));
    }
    settle().await;
    assert_eq!(saving.group.provider.count(), 2);
    assert_eq!(saving.noted().await, [row("ada", "hit", 2, 2 * COST)]);
}

#[tokio::test(start_paused = true)]
async fn without_a_ledger_costs_are_those_that_the_provider_told_and_nothing_is_noted() {
    let group = group().await;
    let key = group.key().await;
    assert_eq!(group.fetch(&key, CHAT).await.unwrap().head.costs, paid(usd(COST)));
    assert!(group.is_cached(&key, CHAT).await);
    group.sidecar.note_savings().await;
    assert_eq!(group.metric("kt_saved_usd_total{basis=\"hit\"}"), "0.000005");
    assert_eq!(group.saved_tokens("hit"), ["5", "7"]);
}

#[tokio::test(start_paused = true)]
async fn who_takes_over_is_not_told_what_the_call_before_has_cost() {
    let group: &'static Group = Box::leak(Box::new(group().await));
    let key = group.key().await;
    // The first call tells its usage and is no whole answer; the second is one and tells none.
    let cut = JSON.replace(r#""finish_reason":"stop""#, r#""finish_reason":null"#);
    let silent = JSON.replace(r#""usage""#, r#""not_usage""#);
    for answer in [cut, silent] {
        let slow = Scripted { head_after: Duration::from_secs(3), ..answers_json(&answer) };
        group.provider.next(slow);
    }
    let mut asking = Vec::new();
    for _ in 0..3 {
        let key = key.clone();
        asking.push(tokio::spawn(async move { group.fetch(&key, CHAT).await.unwrap() }));
        settle().await;
    }
    let mut told = Vec::new();
    for asked in asking {
        let head = asked.await.unwrap().head;
        told.push((head.cache.0, head.costs));
    }
    assert_eq!(group.provider.count(), 2);
    told.sort_by_key(|(outcome, _)| outcome.as_str());
    let (mine, theirs) = ((Outcome::Miss, paid(None)), (Outcome::Coalesced, spared(None)));
    assert_eq!(told, [theirs, mine, mine]);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_known_is_not_told_as_nothing() {
    let saving = saving(BUDGETS).await;
    let ada = of_user(saving, "ada").await;
    let silent = JSON.replace(r#""usage""#, r#""not_usage""#);
    assert_ne!(silent, JSON);
    saving.group.provider.next(answers_json(&silent));
    let (id, ticket) = saving.admitted(&ada, CHAT).await;
    let first = read(saving.ask(&ada, CHAT).await.unwrap()).await;
    assert!(first.head.costs.cost > usd(0), "counted here, and charged: {first:?}");
    let seen = read(saving.lane(&id, &ticket, CHAT).await.unwrap()).await;
    assert_eq!((seen.head.cache.0, seen.head.costs), (Outcome::Hit, spared(None)));
    assert_eq!(saving.noted().await, [row("ada", "hit", 1, 0)]);
}

#[tokio::test(start_paused = true)]
async fn what_workers_report_is_of_whoever_has_the_key() {
    let saving = saving(BUDGETS).await;
    let ada = of_user(saving, "ada").await;
    let report = |key_id: &str, count| HitCount {
        key_id: key_id.to_owned(),
        model: "gpt-4o-mini".to_owned(),
        provider: "openai".to_owned(),
        count,
        saved_micro_usd: MicroUsd::new(count * COST).unwrap(),
        saved_tokens: SavedTokens { input: 5 * count, output: 7 * count },
    };
    let counts = vec![report(&ada.principal.key_id, 3), report("gk_nobody", 1)];
    let batch = HitBatch {
        worker: "w".to_owned(),
        number: 1,
        counts,
        blocks: Vec::new(),
        refusals: Vec::new(),
        refusals_lost: None,
    };
    for _ in 0..2 {
        poll(&saving.group, Some(batch.clone())).await;
    }
    assert_eq!(saving.noted().await, [row("ada", "hit", 3, 3 * COST)]);
    // Whoever had the key: graphs do not tell.
    assert_eq!(saving.group.saved_tokens("hit"), ["20", "28"]);
}

async fn poll(group: &Group, hits: Option<HitBatch>) -> FeedReply {
    let version = kt_contract::wire::VERSION;
    let gateway = gateway();
    let poll =
        FeedRequest { version, gateway, worker: None, epoch: None, seq: 0, snapshot: None, hits };
    group.sidecar.poll_feed(&poll).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn new_prices_empty_the_memory_of_workers() {
    let saving = saving(BUDGETS).await;
    let first = poll(&saving.group, None).await;
    let pricing = "pricing: {models: {openai: {gpt-4o-mini: {input_usd_per_million: 7, \
                   output_usd_per_million: 9}}}}\n";
    for (more, expected) in [("", vec![]), (pricing, vec![Event::Purged])] {
        let settings = settings_with(&format!("{BUDGETS}{more}"));
        saving.group.sidecar.reconfigure(Ok(settings)).await;
        let again = FeedRequest {
            version: kt_contract::wire::VERSION,
            worker: None,
            gateway: gateway(),
            epoch: Some(first.epoch.clone()),
            seq: 0,
            snapshot: None,
            hits: None,
        };
        assert_eq!(saving.group.sidecar.poll_feed(&again).await.unwrap().events, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_store_does_not_take_is_noted_later() {
    let clock = Clock::start();
    let inner = ledger(clock);
    let moody = Arc::new(Moody { inner: Arc::clone(&inner), is_down: AtomicBool::new(true) });
    let noted = Arc::clone(&moody) as Arc<dyn SavingsStore>;
    let saving = on(BUDGETS, clock, inner, noted).await;
    let ada = of_user(saving, "ada").await;
    read(saving.ask(&ada, CHAT).await.unwrap()).await;
    for _ in 0..2 {
        assert!(saving.group.is_cached(&ada, CHAT).await);
        assert_eq!(saving.noted().await, []);
    }
    moody.is_down.store(false, Ordering::SeqCst);
    assert_eq!(saving.noted().await, [row("ada", "hit", 2, 2 * COST)]);
}

#[tokio::test(start_paused = true)]
async fn operators_see_what_was_billed_and_saved_side_by_side() {
    let saving = saving(BUDGETS).await;
    let (ada, grace) = (of_user(saving, "ada").await, of_user(saving, "grace").await);
    for asked in saving.crowd(&[&ada, &grace, &grace], CHAT).await {
        asked.await.unwrap();
    }
    assert!(saving.group.is_cached(&ada, CHAT).await);
    let own = |text: &str| Some(text.to_owned());
    let sums = |calls, hits, coalesced| SavingsSums {
        calls,
        billed_micro_usd: i64::try_from(calls * COST).unwrap(),
        estimated_micro_usd: 0,
        charged_back_micro_usd: i64::try_from(calls * COST).unwrap(),
        hits,
        coalesced,
        saved_micro_usd: (hits + coalesced) * COST,
    };
    let row = |name, sums| SavingsRow { name: own(name), sums };
    let by_user = vec![row("ada", sums(1, 1, 0)), row("grace", sums(0, 0, 2))];
    for (by, expected) in [
        (own("user"), by_user),
        (own("team"), vec![row("core", sums(1, 1, 2))]),
        (own("model"), vec![row("gpt-4o-mini", sums(1, 1, 2))]),
        (own("codebase"), vec![row("acme/web", sums(1, 1, 2))]),
        (None, vec![row("acme", sums(1, 1, 2))]),
    ] {
        let asked = SavingsAsked { by, since: own("1d"), ..SavingsAsked::default() };
        let told = saving.group.sidecar.savings(asked).await.unwrap();
        assert_eq!((told.rows, told.total), (expected, sums(1, 1, 2)));
        assert_eq!(told.time_zone, "UTC");
    }
    let elsewhere = SavingsAsked { org: own("globex"), ..SavingsAsked::default() };
    assert_eq!(saving.group.sidecar.savings(elsewhere).await.unwrap().rows, []);
    let before = SavingsAsked { since: own("9d"), until: own("1d"), ..SavingsAsked::default() };
    assert_eq!(saving.group.sidecar.savings(before).await.unwrap().rows, []);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_told_is_refused_with_what_to_do() {
    let saving = saving(BUDGETS).await;
    let own = |text: &str| Some(text.to_owned());
    let by = SavingsAsked { by: own("planet"), ..SavingsAsked::default() };
    let since = SavingsAsked { since: own("yesterday"), ..SavingsAsked::default() };
    for (asked, expected) in [(by, "by"), (since, "since")] {
        let refused = saving.group.sidecar.savings(asked).await.unwrap_err();
        let Failure::Invalid { field, .. } = refused else { panic!("{refused}") };
        assert_eq!(field, expected);
    }
    let without = group().await.sidecar.savings(SavingsAsked::default()).await.unwrap_err();
    assert!(without.to_string().contains("wallet"), "{without}");
}

/// Of budgets with a limit of ten calls and an alert at half of it.
const ALERTING: &str = "budgets: {organization: {daily_limit_usd: 100, monthly_limit_usd: 0.02, \
                        alert_threshold: 0.0005}, users: {default_daily_usd: 0.02}}\n";

#[tokio::test(start_paused = true)]
async fn a_budget_alerts_once_in_its_window_whatever_restarts() {
    let clock = Clock::start();
    let ledger = ledger(clock);
    let alerts = |saving: &Saving| {
        ["org\",window=\"monthly", "user\",window=\"daily", "org\",window=\"daily"].map(|budget| {
            let metric = format!("kt_budget_alerts_total{{scope=\"{budget}\"}}");
            saving.group.metric(&metric)
        })
    };
    for (life, expected) in [(0, ["1", "1", "0"]), (1, ["0", "0", "0"])] {
        let noted = Arc::clone(&ledger) as Arc<dyn SavingsStore>;
        let saving = on(ALERTING, clock, Arc::clone(&ledger), noted).await;
        saving.requests.store(life * 100, Ordering::Relaxed);
        let ada = of_user(saving, "ada").await;
        for (nth, expected) in [["0"; 3], expected, expected].into_iter().enumerate() {
            // The threshold is ten micro-dollars: that of two calls.
            let question = CHAT.replace(r#""hi""#, &format!("\"{life} {nth}\""));
            let asking = saving.crowd(&[&ada], &question).await;
            saving.group.sidecar.look_at_budgets().await;
            for asked in asking {
                asked.await.unwrap();
            }
            saving.group.sidecar.look_at_budgets().await;
            assert_eq!(alerts(saving), expected, "life {life}, call {nth}");
        }
    }
}
