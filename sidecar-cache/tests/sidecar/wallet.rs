//! Who pays for what: the leader, once for each call, what it has cost; nobody for what was there already.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use kt_contract::limits::ENTRY_BYTES_MAX;
use kt_contract::money::MicroUsd;
use kt_contract::outcome::Outcome;
use kt_contract::time::{MonoMillis, UnixMillis};
use kt_contract::wire::admin::wallet::BreachEntry;
use sidecar_cache::clock::Clock;
use sidecar_cache::ledger::account::Account;
use sidecar_cache::ledger::audit::{Breach, Findings, Invariant};
use sidecar_cache::ledger::bill::Billed;
use sidecar_cache::ledger::clock::Reading;
use sidecar_cache::ledger::request::{Allocate, Direction, Fund};
use sidecar_cache::ledger::{
    Hold, Kind, Made, Operation, Receipt, Refused, State, Transfer, TransferId,
};
use sidecar_cache::service::lane::{Refusal, Reply};
use sidecar_cache::service::upstream::CallFailed;
use sidecar_cache::store::ledger::memory::MemoryLedger;
use sidecar_cache::store::ledger::turns::{Counted, Known, Turn};
use sidecar_cache::store::ledger::{Balance, Frozen, LedgerStore, Level, Payers, Verdict};
use sidecar_cache::store::{Answer, StoreError};
use tokio::task::JoinHandle;

use crate::support::*;

/// What [`JSON`] and [`sse`] cost: 5 tokens at 0.15 and 7 at 0.60 dollars a million, rounded up.
pub(crate) const COST: u64 = 5;
/// Enough for some calls: each sets aside its prompt and 4,096 tokens of output.
pub(crate) const FUNDS: u64 = 100_000;

/// A group with a ledger.
pub(crate) struct Paying {
    pub(crate) group: &'static Group,
    pub(crate) ledger: Arc<Moody>,
    requests: AtomicU64,
}

/// A ledger that has no answer while it is told to have none.
pub(crate) struct Moody {
    inner: Arc<MemoryLedger>,
    mood: Mutex<Mood>,
    turn: Mutex<Turn>,
    /// How often holds were looked up, one or many.
    lookups: AtomicU64,
}

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Fine,
    /// It fails what begins something, as one whose disk is full.
    Full,
    /// It fails everything.
    Down,
    /// It does not answer.
    Hangs,
    /// It answers after a while.
    Slow,
    /// It fails what is done to holds whose ids begin with eight ones.
    Locked,
    /// It says that it has done what begins or ends a hold, and has not.
    Lies,
    /// It knows no hold any more.
    Forgets,
    /// It has so many holds that reading them takes too long.
    Crowded,
    /// It does not even say who pays.
    Blind,
    /// Of two organizations whose books do not add up it cannot freeze the first.
    Stuck,
}

pub(crate) async fn paying(more: &str, funds: u64) -> &'static Paying {
    paying_since(more, funds, Clock::start().wall()).await
}

/// With a ledger whose wall clock shows `wall` at first, and goes on with the tests' own time.
pub(crate) async fn paying_since(more: &str, funds: u64, wall: UnixMillis) -> &'static Paying {
    paying_by(more, funds, move |mono| UnixMillis(wall.0 + mono.0)).await
}

/// With a ledger whose wall clock shows what `wall` says.
pub(crate) async fn paying_by(
    more: &str,
    funds: u64,
    wall: impl Fn(MonoMillis) -> UnixMillis + Send + Sync + 'static,
) -> &'static Paying {
    let clock = Clock::start();
    let reading = move || {
        let mono = clock.mono();
        Reading { mono, wall: wall(mono) }
    };
    let inner = MemoryLedger::new(Box::new(reading));
    let ledger = Arc::new(Moody::over(Arc::new(inner)));
    let store: Arc<dyn LedgerStore> = Arc::clone(&ledger) as Arc<dyn LedgerStore>;
    let group = group_of(settings_with(more), clock, Some(store));
    group.poll().await;
    let group = Box::leak(Box::new(group));
    let paying = Paying { group, ledger, requests: AtomicU64::new(0) };
    if funds > 0 {
        paying.fund(funds).await;
    }
    Box::leak(Box::new(paying))
}

/// With a wallet that has money.
async fn funded() -> &'static Paying {
    paying("wallet: {}\n", FUNDS).await
}

pub(crate) fn chat(prompt: &str) -> String {
    CHAT.replace(r#""hi""#, &format!("\"{prompt}\""))
}

// === impl Moody ===

impl Moody {
    /// One way to a ledger.
    pub(crate) fn over(inner: Arc<MemoryLedger>) -> Self {
        Self {
            inner,
            mood: Mutex::new(Mood::Fine),
            turn: Mutex::new(Turn::Always),
            lookups: AtomicU64::new(0),
        }
    }

    /// Others count it, and this is what they have found.
    pub(crate) fn is_counted_by_others(&self, last: Counted) {
        let known = Known { last: Some(last), failure: None };
        *self.turn.lock().unwrap() = Turn::Others { known, is_due: false };
    }

    /// How often holds were looked up.
    pub(crate) fn lookups(&self) -> u64 {
        self.lookups.load(Ordering::Relaxed)
    }

    pub(crate) fn is(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }
}

impl LedgerStore for Moody {
    fn operate(&self, operation: Operation) -> Answer<'_, Verdict> {
        Box::pin(async move {
            let mood = *self.mood.lock().unwrap();
            match mood {
                Mood::Full if operation.is_ending() => self.inner.operate(operation).await,
                Mood::Fine | Mood::Crowded | Mood::Blind | Mood::Stuck => {
                    self.inner.operate(operation).await
                }
                Mood::Forgets if operation.is_ending() => Ok(Err(Refused::NotFound)),
                Mood::Forgets => self.inner.operate(operation).await,
                Mood::Full | Mood::Down => Err(StoreError::Transient("no room".to_owned())),
                Mood::Hangs => std::future::pending().await,
                Mood::Locked => match operation.hold() {
                    Some(hold) if hold.0.0[0] == 0xff => {
                        Err(StoreError::Transient("locked".to_owned()))
                    }
                    _ => self.inner.operate(operation).await,
                },
                Mood::Slow => {
                    pass(Duration::from_secs(1)).await;
                    self.inner.operate(operation).await
                }
                Mood::Lies => {
                    let (kind, amount) = match &operation {
                        Operation::Reserve(reserve) => (Kind::Pending, reserve.amount),
                        Operation::Settle { actual, .. } => (Kind::Post, *actual),
                        Operation::Release { .. } => (Kind::Void, MicroUsd::ZERO),
                        Operation::Fund(_)
                        | Operation::Extend(_)
                        | Operation::Expire { .. }
                        | Operation::LateSettle { .. }
                        | Operation::Return { .. }
                        | Operation::Refund(_)
                        | Operation::Adjust(_)
                        | Operation::OpenCalls(_)
                        | Operation::Allocate(_)
                        | Operation::Draw(_) => return self.inner.operate(operation).await,
                    };
                    Ok(Ok(Receipt { made: Made::Created, kind, amount }))
                }
            }
        })
    }

    fn expire_due(&self, count_max: usize) -> Answer<'_, usize> {
        self.inner.expire_due(count_max)
    }

    fn balance(&self, org: String) -> Answer<'_, Balance> {
        Box::pin(async move {
            // What takes longer the more holds there are.
            if matches!(*self.mood.lock().unwrap(), Mood::Crowded | Mood::Blind) {
                return Err(StoreError::Transient("too many holds".to_owned()));
            }
            self.inner.balance(org).await
        })
    }

    fn payers(&self, org: String) -> Answer<'_, Payers> {
        Box::pin(async move {
            if *self.mood.lock().unwrap() == Mood::Blind {
                return Err(StoreError::Transient("no answer".to_owned()));
            }
            self.inner.payers(org).await
        })
    }

    fn accounts(&self, org: String) -> Answer<'_, Vec<(String, Account)>> {
        self.inner.accounts(org)
    }

    fn hold(&self, id: TransferId) -> Answer<'_, Option<Hold>> {
        Box::pin(async move { Ok(self.holds_by_id(vec![id]).await?.remove(&id)) })
    }

    fn holds_by_id(&self, ids: Vec<TransferId>) -> Answer<'_, HashMap<TransferId, Hold>> {
        Box::pin(async move {
            self.lookups.fetch_add(1, Ordering::Relaxed);
            let mood = *self.mood.lock().unwrap();
            if mood == Mood::Forgets {
                return Ok(HashMap::new());
            }
            if mood == Mood::Slow {
                pass(Duration::from_secs(10)).await;
            }
            self.inner.holds_by_id(ids).await
        })
    }

    fn first_holds(&self, org: String, count_max: usize) -> Answer<'_, (Vec<Hold>, u64)> {
        self.inner.first_holds(org, count_max)
    }

    fn history(
        &self,
        org: String,
        before: Option<u64>,
        count_max: usize,
    ) -> Answer<'_, Vec<(u64, Transfer)>> {
        self.inner.history(org, before, count_max)
    }

    fn transfers(
        &self,
        org: String,
        after: u64,
        count_max: usize,
    ) -> Answer<'_, Vec<(u64, Transfer)>> {
        self.inner.transfers(org, after, count_max)
    }

    fn billed(
        &self,
        org: Option<String>,
        since: UnixMillis,
        until: UnixMillis,
    ) -> Answer<'_, Vec<Billed>> {
        self.inner.billed(org, since, until)
    }

    fn levels(&self, org: String) -> Answer<'_, Vec<Level>> {
        self.inner.levels(org)
    }

    fn alerted(&self, org: String, account: String) -> Answer<'_, bool> {
        Box::pin(async move {
            if *self.mood.lock().unwrap() == Mood::Slow {
                pass(Duration::from_secs(1)).await;
            }
            self.inner.alerted(org, account).await
        })
    }

    fn freeze(&self, org: String, reason: String) -> Answer<'_, ()> {
        if *self.mood.lock().unwrap() == Mood::Stuck && org == "acme" {
            return Box::pin(async { Err(StoreError::Transient("locked".to_owned())) });
        }
        self.inner.freeze(org, reason)
    }

    fn unfreeze(&self, org: String) -> Answer<'_, ()> {
        self.inner.unfreeze(org)
    }

    fn frozen(&self) -> Answer<'_, Vec<(String, Frozen)>> {
        self.inner.frozen()
    }

    fn audit(&self) -> Answer<'_, Findings> {
        if *self.mood.lock().unwrap() == Mood::Stuck {
            let breaches = ["acme", "beta"].map(|org| Breach {
                invariant: Invariant::BalancesFollow,
                org: org.to_owned(),
                account: "org".to_owned(),
                expected: "1".to_owned(),
                found: "2".to_owned(),
            });
            let findings = Findings { breaches: breaches.into(), ..Findings::default() };
            return Box::pin(async { Ok(findings) });
        }
        self.inner.audit()
    }

    fn audit_turn(&self) -> Answer<'_, Turn> {
        let turn = self.turn.lock().unwrap().clone();
        Box::pin(async move { Ok(turn) })
    }
}

// === impl Paying ===

impl Paying {
    pub(crate) async fn fund(&self, amount: u64) {
        let nth = self.requests.fetch_add(1, Ordering::Relaxed);
        let mut id = [0xff; 16];
        id[..8].copy_from_slice(&nth.to_be_bytes());
        let fund = Fund {
            id: TransferId::from_128(id),
            org: "acme".to_owned(),
            amount: MicroUsd::new(amount).unwrap(),
            note: String::new(),
        };
        self.ledger.operate(Operation::Fund(fund)).await.unwrap().unwrap();
    }

    pub(crate) async fn allocate(&self, team: &str, amount: u64) {
        let nth = self.requests.fetch_add(1, Ordering::Relaxed);
        let mut id = [0xfe; 16];
        id[..8].copy_from_slice(&nth.to_be_bytes());
        let allocate = Allocate {
            id: TransferId::from_128(id),
            org: "acme".to_owned(),
            team: team.to_owned(),
            amount: MicroUsd::new(amount).unwrap(),
            direction: Direction::Credit,
            note: String::new(),
        };
        self.ledger.operate(Operation::Allocate(allocate)).await.unwrap().unwrap();
    }

    /// Asks, as a request of its own, until the head of the answer is there.
    pub(crate) async fn ask(&self, key: &Key, body: &str) -> Result<Reply, Refusal> {
        let id = format!("{:032x}", self.requests.fetch_add(1, Ordering::Relaxed));
        let mut ask = self.group.ask(key, body);
        ask.request_id.clone_from(&id);
        let (ticket, _) = self.group.ticket(ask).await;
        let entered = self.group.sidecar.enter(Some(&ticket), &holder_of(&id))?;
        let body = Bytes::copy_from_slice(body.as_bytes());
        self.group.sidecar.serve(entered, Vec::new(), body).await
    }

    pub(crate) async fn fetch(&self, key: &Key, body: &str) -> Result<Seen, Refusal> {
        Ok(read(self.ask(key, body).await?).await)
    }

    /// So many clients that ask the same, one after the other, and wait.
    pub(crate) async fn crowd(
        &'static self,
        keys: &[&Key],
        body: &str,
    ) -> Vec<JoinHandle<Result<Seen, Refusal>>> {
        let mut clients = Vec::new();
        for key in keys {
            let (key, body) = ((*key).clone(), body.to_owned());
            clients.push(tokio::spawn(async move { self.fetch(&key, &body).await }));
            settle().await;
        }
        clients
    }

    async fn wallet(&self) -> Account {
        self.ledger.balance("acme".to_owned()).await.unwrap().wallet
    }

    pub(crate) async fn available(&self) -> i128 {
        self.wallet().await.available()
    }

    /// How often each kind of row was written for calls.
    pub(crate) async fn rows(&self) -> BTreeMap<&'static str, usize> {
        let mut rows = BTreeMap::new();
        let history = self.ledger.history("acme".to_owned(), None, 10_000).await.unwrap();
        for (_, row) in history {
            if row.kind != Kind::Fund {
                *rows.entry(row.kind.as_str()).or_default() += 1;
            }
        }
        rows
    }

    /// What the sidecar's own audit finds.
    pub(crate) async fn breaches(&self) -> Vec<String> {
        let told = self.group.sidecar.audit().await.unwrap();
        let words = |breach: BreachEntry| {
            let BreachEntry { invariant, org, account, expected, found } = breach;
            format!("{invariant}: {account} of {org}: expected {expected}, found {found}")
        };
        told.breaches.into_iter().map(words).collect()
    }

    pub(crate) async fn is_clean(&self) -> bool {
        self.ledger.audit().await.unwrap().breaches.is_empty()
    }
}

pub(crate) fn rows<const N: usize>(
    rows: [(&'static str, usize); N],
) -> BTreeMap<&'static str, usize> {
    BTreeMap::from(rows)
}

fn outcome(seen: &Result<Seen, Refusal>) -> Option<Outcome> {
    seen.as_ref().ok().map(|seen| seen.head.cache.0)
}

#[tokio::test(start_paused = true)]
async fn a_call_is_set_aside_before_it_is_made_and_settled_at_what_the_provider_told() {
    for (body, scripted) in
        [(CHAT, answers_json(JSON)), (CHAT_STREAM, answers_sse(vec![bytes(&sse())]))]
    {
        let paying = funded().await;
        let key = paying.group.key().await;
        let slow = Scripted { head_after: Duration::from_secs(3), ..scripted };
        paying.group.provider.next(slow);
        let asking = paying.crowd(&[&key], body).await;
        assert_eq!(paying.group.provider.count(), 1);
        let held = paying.wallet().await.debits.pending();
        // The prompt in bytes and what stands around it, 4,096 tokens of output.
        let bytes = body.len() as u64 + 64;
        assert_eq!(held, (bytes * 150_000 + 4_096 * 600_000_u64).div_ceil(1_000_000));
        for asked in asking {
            assert!(asked.await.unwrap().unwrap().has_end);
        }
        assert_eq!(paying.available().await, i128::from(FUNDS - COST));
        assert_eq!(paying.wallet().await.debits.pending(), 0);
        assert_eq!(paying.rows().await, rows([("pending", 1), ("post", 1)]));
        let told = "llm_cost_usd_total{model=\"gpt-4o-mini\",provider=\"openai\"}";
        assert_eq!(paying.group.metric(told).parse(), Ok(COST as f64 / 1e6));
        assert!(paying.is_clean().await && paying.group.is_cached(&key, body).await);
    }
}

#[tokio::test(start_paused = true)]
async fn hits_and_followers_pay_nothing_even_at_a_balance_of_zero() {
    let paying = paying("wallet: {}\n", 3_000).await;
    let key = paying.group.key().await;
    let slow = Scripted { head_after: Duration::from_secs(3), ..answers_json(JSON) };
    paying.group.provider.next(slow);
    let crowd = paying.crowd(&[&key; 20], CHAT).await;
    assert!(paying.available().await < 600, "it holds for one call, and not for two");
    for (nth, asked) in crowd.into_iter().enumerate() {
        let expected = if nth == 0 { Outcome::Miss } else { Outcome::Coalesced };
        assert_eq!(outcome(&asked.await.unwrap()), Some(expected));
    }
    assert_eq!(paying.rows().await, rows([("pending", 1), ("post", 1)]));
    // The rest goes away, and the entry is still served.
    paying.group.provider.next(answers_json(JSON));
    let left = paying.available().await;
    let other = paying.fetch(&key, &chat("a second question")).await;
    assert_eq!(outcome(&other), Some(Outcome::Miss));
    let before = paying.rows().await;
    assert!(left - paying.available().await == i128::from(COST));
    for _ in 0..5 {
        assert!(paying.group.is_cached(&key, CHAT).await);
    }
    assert_eq!(paying.rows().await, before);
}

#[tokio::test(start_paused = true)]
async fn without_the_money_no_call_is_made_and_everybody_who_waits_is_told_at_once() {
    let paying = paying("wallet: {}\n", 100).await;
    let key = paying.group.key().await;
    paying.ledger.is(Mood::Slow);
    for asked in paying.crowd(&[&key; 20], CHAT).await {
        let refusal = asked.await.unwrap().unwrap_err();
        assert_eq!((refusal.problem.code(), refusal.problem.status()), ("insufficient_quota", 402));
    }
    assert_eq!(paying.group.provider.count(), 0);
    assert_eq!(paying.rows().await, BTreeMap::new());
    let asked = r#"kt_wallet_operations_total{operation="reserve",result="insufficient_wallet"}"#;
    assert_eq!(paying.group.metric(asked), "1", "it is the same for all of them");
    assert_eq!(paying.group.metric("kt_flight_endings_total{ending=\"unpaid\"}"), "1");
    paying.ledger.is(Mood::Fine);
    paying.fund(FUNDS).await;
    assert_eq!(outcome(&paying.fetch(&key, CHAT).await), Some(Outcome::Miss));
}

#[tokio::test(start_paused = true)]
async fn who_cannot_pay_lets_the_next_lead_and_whoever_leads_pays() {
    let more = "budgets: {teams: {poor: {daily_limit_usd: 0.000001}}}\nwallet: {}\n";
    let paying = paying(more, FUNDS).await;
    let of_team =
        |team: &'static str| paying.group.key_with(move |key| key.team = Some(team.to_owned()));
    let (poor, rich) = (of_team("poor").await, of_team("rich").await);
    paying.ledger.is(Mood::Slow);
    // More of them than calls are made again after a failure.
    let keys = [&poor, &poor, &poor, &poor, &poor, &poor, &rich, &rich];
    let mut outcomes = Vec::new();
    for asked in paying.crowd(&keys, CHAT).await {
        outcomes.push(match asked.await.unwrap() {
            Ok(seen) => seen.head.cache.0.as_str(),
            Err(refusal) => refusal.problem.code(),
        });
    }
    let told = "budget_exceeded";
    assert_eq!(outcomes, [told, told, told, told, told, told, "miss", "coalesced"]);
    assert_eq!(paying.group.provider.count(), 1);
    assert_eq!(paying.rows().await, rows([("pending", 1), ("post", 1)]));
    assert_eq!(paying.group.metric("kt_flight_takeovers_total"), "0", "no call had failed");
    let asked = r#"kt_wallet_operations_total{operation="reserve",result="insufficient_budget"}"#;
    assert_eq!(paying.group.metric(asked), "1", "it is the same for all of a team");
}

#[tokio::test(start_paused = true)]
async fn an_empty_wallet_refuses_those_whom_it_pays_for_and_a_purse_pays_for_its_team() {
    let paying = paying("wallet: {}\n", FUNDS).await;
    let of_team =
        |team: &'static str| paying.group.key_with(move |key| key.team = Some(team.to_owned()));
    let (teamless, web, empty) =
        (paying.group.key().await, of_team("web").await, of_team("empty").await);
    paying.allocate("web", FUNDS - 1).await;
    paying.allocate("empty", 1).await;
    paying.ledger.is(Mood::Slow);
    let keys = [&teamless, &teamless, &empty, &empty, &teamless, &web, &empty, &web];
    let mut outcomes = Vec::new();
    for asked in paying.crowd(&keys, CHAT).await {
        outcomes.push(match asked.await.unwrap() {
            Ok(seen) => seen.head.cache.0.as_str(),
            Err(refusal) => refusal.problem.code(),
        });
    }
    let told = "insufficient_quota";
    assert_eq!(outcomes, [told, told, told, told, told, "miss", told, "coalesced"]);
    assert_eq!(paying.group.provider.count(), 1);
    for result in ["insufficient_wallet", "insufficient_purse"] {
        let asked =
            format!(r#"kt_wallet_operations_total{{operation="reserve",result="{result}"}}"#);
        assert_eq!(paying.group.metric(&asked), "1", "{result}: all of a team fare alike");
    }
}

#[tokio::test(start_paused = true)]
async fn a_users_spent_budget_refuses_that_user_alone() {
    let more = "budgets: {users: {default_daily_usd: 0.003}}\nwallet: {}\n";
    let paying = paying(more, FUNDS).await;
    let of_user =
        |user: &'static str| paying.group.key_with(move |key| key.user = Some(user.to_owned()));
    let (ann, bob) = (of_user("ann").await, of_user("bob").await);
    let slow = Scripted { head_after: Duration::from_secs(60), ..answers_json(JSON) };
    paying.group.provider.next(slow);
    let held = paying.crowd(&[&ann], &chat("holds most of the day's money")).await;
    paying.ledger.is(Mood::Slow);
    let mut outcomes = Vec::new();
    for asked in paying.crowd(&[&ann, &ann, &bob, &ann], CHAT).await {
        outcomes.push(match asked.await.unwrap() {
            Ok(seen) => seen.head.cache.0.as_str(),
            Err(refusal) => refusal.problem.code(),
        });
    }
    let told = "budget_exceeded";
    assert_eq!(outcomes, [told, told, "miss", told]);
    let refusal = paying.fetch(&ann, &chat("another question")).await.unwrap_err();
    assert!(refusal.problem.to_string().contains("user 'ann'"), "{}", refusal.problem);
    for asked in held {
        let _ = asked.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_provider_refuses_costs_nothing() {
    let status = |status| Scripted { status, ..answers_json(r#"{"error":{"message":"no"}}"#) };
    let not_reached = Scripted {
        status: 503,
        details: Some("upstream_reset_before_response_started{remote_connection_failure}"),
        ..answers_json("")
    };
    for scripted in
        [status(300), status(400), status(401), status(404), status(429), status(500), not_reached]
    {
        let paying = funded().await;
        let key = paying.group.key().await;
        paying.group.provider.next(scripted.clone());
        let _ = paying.fetch(&key, CHAT).await;
        settle().await;
        assert_eq!(paying.rows().await, rows([("pending", 1), ("void", 1)]), "{}", scripted.status);
        assert_eq!(paying.available().await, i128::from(FUNDS));
        assert!(paying.is_clean().await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_costs_nothing_however_long_it_is_and_is_told_as_far_as_it_is_kept() {
    for (more, expected) in [(0, Ok(400)), (1, Err("upstream_cut_short"))] {
        let paying = funded().await;
        let key = paying.group.key().await;
        let body = "x".repeat(ENTRY_BYTES_MAX + more);
        paying.group.provider.next(Scripted { status: 400, ..answers_json(&body) });
        let told = paying.fetch(&key, CHAT).await;
        let told = told.as_ref().map(|seen| seen.head.status).map_err(|it| it.problem.code());
        assert_eq!(told, expected);
        settle().await;
        assert_eq!(paying.rows().await, rows([("pending", 1), ("void", 1)]));
        assert_eq!(paying.available().await, i128::from(FUNDS));
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_of_which_nobody_knows_the_end_waits_in_suspense() {
    let reset = "upstream_reset_before_response_started{connection_termination}";
    let lost = Scripted { status: 503, details: Some(reset), ..answers_json("") };
    let broken = Scripted { fails: Some(CallFailed::Broken), ..answers_json("") };
    for scripted in [lost, broken] {
        let paying = funded().await;
        let key = paying.group.key().await;
        paying.group.provider.next(scripted);
        let _ = paying.fetch(&key, CHAT).await;
        assert_eq!(paying.rows().await, rows([("pending", 1)]));
        pass(Duration::from_secs(70)).await;
        paying.group.sidecar.close_due().await;
        assert_eq!(paying.rows().await, rows([("pending", 1), ("expire", 1)]));
        let counted = paying.group.sidecar.audit().await.unwrap();
        assert_eq!((counted.holds_open, counted.holds_suspended), (0, 1));
        let suspended = paying.ledger.balance("acme".to_owned()).await.unwrap().suspense;
        assert!(suspended.available() > 0 && paying.available().await < i128::from(FUNDS));
        pass(Duration::from_secs(24 * 3_600)).await;
        paying.group.sidecar.close_due().await;
        assert_eq!(paying.available().await, i128::from(FUNDS));
        assert!(paying.is_clean().await);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_too_long_to_be_read_costs_what_the_longest_of_its_model_does() {
    let paying = paying("wallet: {}\n", 100 * FUNDS).await;
    let key = paying.group.key().await;
    let piece = bytes(&" ".repeat(1 << 20));
    paying.group.provider.next(Scripted { acts: vec![piece; 9], ..answers_json("") });
    assert!(paying.fetch(&key, CHAT).await.unwrap().has_end);
    settle().await;
    let spent = i128::from(100 * FUNDS) - paying.available().await;
    // 16,384 tokens at 0.60 dollars a million, and the prompt: at four bytes a token 9 MiB would be more.
    assert!((9_831..9_871).contains(&spent), "{spent}");
    assert_eq!(paying.group.metric("kt_estimated_costs_total"), "1");
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_a_type_that_nobody_reads_costs_a_token_for_four_bytes() {
    let paying = funded().await;
    let key = paying.group.key().await;
    let acts = vec![bytes(&" ".repeat(3_000)), bytes(&" ".repeat(1_000))];
    let text = Scripted { content_type: "text/plain", acts, ..answers_json("") };
    paying.group.provider.next(text);
    assert!(paying.fetch(&key, CHAT).await.unwrap().has_end);
    settle().await;
    assert_eq!(paying.rows().await, rows([("pending", 1), ("post", 1)]));
    let spent = i128::from(FUNDS) - paying.available().await;
    // A thousand tokens at 0.60 dollars a million, and those of the question.
    assert!((601..610).contains(&spent), "{spent}");
    assert_eq!(paying.group.metric("kt_estimated_costs_total"), "1");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_breaks_off_costs_what_came_of_it() {
    let (first, _) = CHUNKS.split_at(CHUNKS.find("\n\n").unwrap() + 2);
    for (body, acts) in [
        (CHAT_STREAM, vec![bytes(first), Act::Break]),
        (CHAT, vec![bytes(&JSON[..JSON.len() / 2]), Act::Break]),
        (CHAT, vec![Act::Break]),
    ] {
        let paying = funded().await;
        let key = paying.group.key().await;
        let scripted = if body == CHAT { answers_json("") } else { answers_sse(vec![]) };
        paying.group.provider.next(Scripted { acts, ..scripted });
        let _ = paying.fetch(&key, body).await;
        settle().await;
        assert_eq!(paying.rows().await, rows([("pending", 1), ("post", 1)]), "{body}");
        let spent = i128::from(FUNDS) - paying.available().await;
        assert!((1..200).contains(&spent), "{spent}: neither nothing nor all that was held");
        assert_eq!(paying.group.metric("kt_estimated_costs_total"), "1");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hold_lives_as_long_as_its_call_and_grows_with_it() {
    let long: Vec<Act> = (0..40)
        .flat_map(|_| {
            let event = CHUNKS.split_at(CHUNKS.find("\n\n").unwrap() + 2).0;
            [
                bytes(&event.replace("hello", &"word ".repeat(200))),
                Act::Wait(Duration::from_secs(10)),
            ]
        })
        .chain([bytes(&sse())])
        .collect();
    let paying = funded().await;
    let key = paying.group.key().await;
    paying.group.provider.next(answers_sse(long));
    let asking = paying.crowd(&[&key], CHAT_STREAM).await;
    let first = paying.wallet().await.debits.pending();
    for _ in 0..6 {
        pass(Duration::from_secs(60)).await;
        paying.group.sidecar.close_due().await;
    }
    assert!(paying.wallet().await.debits.pending() > first, "it has grown");
    for asked in asking {
        assert!(asked.await.unwrap().unwrap().has_end);
    }
    let rows = paying.rows().await;
    assert_eq!((rows.get("post"), rows.get("expire")), (Some(&1), None), "{rows:?}");
    assert!(rows.get("extend").is_some_and(|count| *count >= 1), "{rows:?}");
    assert!(paying.is_clean().await);
}

#[tokio::test(start_paused = true)]
async fn what_is_set_aside_follows_how_long_an_agents_answers_are_of_late() {
    let paying = paying("wallet: {}\n", 10 * FUNDS).await;
    let of_agent =
        |agent: &'static str| paying.group.key_with(move |key| key.agent = Some(agent.to_owned()));
    let (terse, wordy) = (of_agent("terse").await, of_agent("wordy").await);
    let held = async |key: &Key, prompt: &str| {
        let slow = Scripted { head_after: Duration::from_secs(3), ..answers_json(JSON) };
        paying.group.provider.next(slow);
        let running = paying.crowd(&[key], &chat(prompt)).await;
        let held = paying.wallet().await.debits.pending();
        for asked in running {
            assert!(asked.await.unwrap().is_ok());
        }
        held
    };
    let unknown = held(&terse, "how long is it 00").await;
    let long = JSON.replace(r#""completion_tokens":7"#, r#""completion_tokens":2000"#);
    for nth in 10..30 {
        assert!(paying.fetch(&terse, &chat(&format!("how long is it {nth}"))).await.is_ok());
        paying.group.provider.next(answers_json(&long));
        assert!(paying.fetch(&wordy, &chat(&format!("how long is it, {nth}"))).await.is_ok());
    }
    // An eighth of the default at least, at 0.60 dollars a million tokens: 512 of 4,096.
    assert_eq!(unknown - held(&terse, "how long is it 01").await, 2_458 - 308);
    // Its answers are too long to be stored, and no less answers.
    let less = unknown - held(&wordy, "how long is it 02").await;
    assert!((1..=(4_096 - 2_000) * 6 / 10).contains(&less), "{less}");
}

#[tokio::test(start_paused = true)]
async fn of_64_different_questions_as_many_are_asked_as_the_budget_has_money_for() {
    let hold = {
        let paying = funded().await;
        let key = paying.group.key().await;
        let slow = Scripted { head_after: Duration::from_secs(3), ..answers_json(JSON) };
        paying.group.provider.next(slow);
        let asking = paying.crowd(&[&key], &chat("question 00")).await;
        let held = paying.wallet().await.debits.pending();
        for asked in asking {
            let _ = asked.await.unwrap().unwrap();
        }
        held
    };
    let limit = format!("{}.{:06}", hold * 10 / 1_000_000, hold * 10 % 1_000_000);
    for more in [
        format!("budgets: {{organization: {{daily_limit_usd: {limit}}}}}\nwallet: {{}}\n"),
        format!("budgets: {{users: {{default_daily_usd: {limit}}}}}\nwallet: {{}}\n"),
    ] {
        let paying = paying(&more, 1_000_000_000).await;
        let key = paying.group.key().await;
        let mut asking = Vec::new();
        for nth in 0..64 {
            let slow = Scripted { head_after: Duration::from_secs(3), ..answers_json(JSON) };
            paying.group.provider.next(slow);
            let body = chat(&format!("question {nth:02}"));
            let key = key.clone();
            asking.push(tokio::spawn(async move { paying.fetch(&key, &body).await }));
        }
        let mut refused = 0;
        for asked in asking {
            if let Err(refusal) = asked.await.unwrap() {
                assert_eq!(refusal.problem.code(), "budget_exceeded");
                assert!(refusal.problem.retry_after_s().is_some_and(|wait| wait <= 86_400));
                refused += 1;
            }
        }
        assert_eq!((paying.group.provider.count(), refused), (10, 54));
        assert!(paying.is_clean().await);
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_client_that_leaves_a_stream_has_it_settled_at_what_came() {
    let piece = |text: &str| {
        bytes(&CHUNKS.split_at(CHUNKS.find("\n\n").unwrap() + 2).0.replace("hello", text))
    };
    let mut costs = Vec::new();
    for left_after in 1..=20 {
        let paying = funded().await;
        let key = paying.group.key().await;
        let acts = (0..30)
            .flat_map(|_| [piece("some more words of it "), Act::Wait(Duration::from_secs(1))])
            .collect();
        paying.group.provider.next(answers_sse(acts));
        let Reply::Stream(_, mut reader) = paying.ask(&key, CHAT_STREAM).await.unwrap() else {
            panic!("no stream")
        };
        for _ in 0..left_after {
            let _ = reader.recv().await;
        }
        drop(reader);
        settle().await;
        let rows = paying.rows().await;
        assert_eq!((rows.get("pending"), rows.get("post")), (Some(&1), Some(&1)), "{rows:?}");
        costs.push(i128::from(FUNDS) - paying.available().await);
        assert_eq!(paying.wallet().await.debits.pending(), 0);
    }
    assert!(costs.is_sorted() && costs[0] > 0 && costs[19] < 200, "{costs:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_for_its_price_or_without_one_is_told_so() {
    let paying = funded().await;
    let key = paying.group.key().await;
    let body = CHAT.replace('{', r#"{"service_tier":"priority","#).replacen(
        r#"{"service_tier":"priority","role"#,
        r#"{"role"#,
        1,
    );
    let refusal = paying.fetch(&key, &body).await.unwrap_err();
    assert_eq!(refusal.problem.code(), "priced_apart");
    assert_eq!(paying.group.provider.count(), 0);
    let hold = paying.ledger.holds("acme".to_owned()).await.unwrap();
    assert!(hold.iter().all(|hold| !matches!(hold.state, State::Open { .. })));
}

#[tokio::test(start_paused = true)]
async fn budgets_without_a_wallet_are_enforced_and_the_bank_pays() {
    let paying = paying("budgets: {organization: {daily_limit_usd: 0.0026}}\n", 0).await;
    let key = paying.group.key().await;
    assert_eq!(outcome(&paying.fetch(&key, CHAT).await), Some(Outcome::Miss));
    assert_eq!(paying.available().await, 0, "there is no wallet");
    let slow = Scripted { head_after: Duration::from_secs(3), ..answers_json(JSON) };
    paying.group.provider.next(slow);
    let held = paying.crowd(&[&key], &chat("a second question")).await;
    let refusal = paying.fetch(&key, &chat("a third question")).await.unwrap_err();
    assert_eq!(refusal.problem.code(), "budget_exceeded");
    for asked in held {
        assert!(asked.await.unwrap().unwrap().has_end);
    }
    assert!(paying.is_clean().await);
}

#[tokio::test(start_paused = true)]
async fn a_team_with_a_purse_pays_from_it_and_from_nothing_else() {
    let paying = funded().await;
    let of_team =
        |team: &'static str| paying.group.key_with(move |key| key.team = Some(team.to_owned()));
    let (web, other) = (of_team("web").await, of_team("other").await);
    paying.allocate("web", 2_600).await;
    assert_eq!(outcome(&paying.fetch(&web, CHAT).await), Some(Outcome::Miss));
    assert_eq!(paying.available().await, i128::from(FUNDS - 2_600), "the purse has paid");
    let slow = Scripted { head_after: Duration::from_secs(3), ..answers_json(JSON) };
    paying.group.provider.next(slow);
    let held = paying.crowd(&[&web], &chat("a second question")).await;
    let refusal = paying.fetch(&web, &chat("a third question")).await.unwrap_err();
    assert!(refusal.problem.to_string().contains("team 'web'"), "{}", refusal.problem);
    assert_eq!(
        outcome(&paying.fetch(&other, &chat("a third question")).await),
        Some(Outcome::Miss)
    );
    for asked in held {
        let _ = asked.await.unwrap().unwrap();
    }
    assert!(paying.is_clean().await);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_accounted_for_is_not_called_and_may_be_tried_again() {
    for mood in [Mood::Full, Mood::Down, Mood::Hangs] {
        let paying = funded().await;
        let key = paying.group.key().await;
        let _ = paying.fetch(&key, &chat("what is there already")).await;
        paying.ledger.is(mood);
        for asked in paying.crowd(&[&key; 5], CHAT).await {
            let refusal = asked.await.unwrap().unwrap_err();
            assert_eq!(
                (refusal.problem.code(), refusal.problem.status(), refusal.problem.retry_after_s()),
                ("wallet_unavailable", 503, Some(1)),
                "{mood:?}"
            );
        }
        assert_eq!(paying.group.provider.count(), 1, "{mood:?}");
        assert!(paying.group.is_cached(&key, &chat("what is there already")).await, "{mood:?}");
        paying.ledger.is(Mood::Fine);
        assert_eq!(outcome(&paying.fetch(&key, CHAT).await), Some(Outcome::Miss));
        // What may have been set aside while nobody answered is given back.
        pass(Duration::from_secs(60)).await;
        assert_eq!(paying.wallet().await.debits.pending(), 0, "{mood:?}");
        assert!(paying.is_clean().await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_runs_while_the_disk_fills_up_is_settled_and_kept() {
    let paying = funded().await;
    let key = paying.group.key().await;
    let slow = Scripted { head_after: Duration::from_secs(3), ..answers_json(JSON) };
    paying.group.provider.next(slow);
    let running = paying.crowd(&[&key], CHAT).await;
    paying.ledger.is(Mood::Full);
    for asked in running {
        assert!(asked.await.unwrap().unwrap().has_end);
    }
    assert_eq!(paying.available().await, i128::from(FUNDS - COST));
    assert!(paying.group.is_cached(&key, CHAT).await);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_booked_is_served_and_not_kept_and_booked_later() {
    for mood in [Mood::Down, Mood::Hangs] {
        let paying = funded().await;
        let key = paying.group.key().await;
        let slow = Scripted { head_after: Duration::from_secs(3), ..answers_json(JSON) };
        paying.group.provider.next(slow);
        let running = paying.crowd(&[&key], CHAT).await;
        paying.ledger.is(mood);
        for asked in running {
            assert_eq!(asked.await.unwrap().unwrap().body, JSON.as_bytes());
        }
        assert!(!paying.group.is_cached(&key, CHAT).await, "{mood:?}");
        assert_eq!(paying.group.metric("kt_not_stored_total{reason=\"unbooked\"}"), "1");
        paying.ledger.is(Mood::Fine);
        pass(Duration::from_secs(30)).await;
        assert_eq!(paying.available().await, i128::from(FUNDS - COST), "{mood:?}");
        assert_eq!(paying.rows().await, rows([("pending", 1), ("post", 1)]), "{mood:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_may_cost_more_than_it_holds_by_no_more_than_is_said_before() {
    let paying = paying("wallet: {default_max_output_tokens: 1}\n", 100).await;
    let key = paying.group.key().await;
    let long = JSON.replace(r#""completion_tokens":7"#, r#""completion_tokens":900"#);
    let slow = Scripted { head_after: Duration::from_secs(3), ..answers_json(&long) };
    paying.group.provider.next(slow);
    let running = paying.crowd(&[&key], CHAT).await;
    let exposed: f64 = paying.group.metric("kt_wallet_exposure_usd").parse().unwrap();
    for asked in running {
        assert!(asked.await.unwrap().unwrap().has_end);
    }
    let available = paying.available().await;
    assert!(available < 0, "{available}");
    assert!(f64::from(i32::try_from(-available).unwrap()) <= exposed * 1e6, "{exposed}");
    assert_eq!(paying.group.metric("kt_wallet_exposure_usd"), "0.0", "nothing runs");
    assert_eq!(paying.rows().await, rows([("pending", 1), ("post", 1), ("overage", 1)]));
    let refusal = paying.fetch(&key, &chat("another question")).await.unwrap_err();
    assert_eq!(refusal.problem.code(), "insufficient_quota", "until it is funded");
    assert!(paying.group.is_cached(&key, CHAT).await && paying.is_clean().await);
}

#[tokio::test(start_paused = true)]
async fn each_attempt_has_money_of_its_own_and_one_end() {
    let paying = funded().await;
    let key = paying.group.key().await;
    let busy = Scripted { status: 500, head_after: Duration::from_secs(1), ..answers_json("{}") };
    let cut = Scripted { acts: vec![bytes("{"), Act::Break], ..answers_json("") };
    paying.group.provider.next(busy);
    paying.group.provider.next(cut);
    paying.group.provider.next(answers_json(JSON));
    let crowd = paying.crowd(&[&key; 5], CHAT).await;
    for asked in crowd {
        let _ = asked.await.unwrap();
    }
    assert_eq!(paying.group.provider.count(), 3);
    assert_eq!(paying.rows().await, rows([("pending", 3), ("void", 1), ("post", 2)]));
    assert!(paying.is_clean().await);
}

#[tokio::test(start_paused = true)]
async fn a_day_that_ends_under_load_loses_and_doubles_nothing() {
    // 2026-11-28, 23:59:30 in Berlin.
    let wall = UnixMillis(1_795_906_770_000);
    let more = "wallet: {time_zone: Europe/Berlin}\nbudgets: {organization: {daily_limit_usd: 1000, monthly_limit_usd: 1000}}\n";
    let paying = paying_since(more, 1_000_000_000, wall).await;
    let key = paying.group.key().await;
    let mut asking = Vec::new();
    for nth in 0..60 {
        // Half of them are set aside before midnight and settled after it, or straddle it otherwise.
        let scripted = Scripted { head_after: Duration::from_secs(20), ..answers_json(JSON) };
        paying.group.provider.next(scripted);
        let (key, body) = (key.clone(), chat(&format!("question {nth:02}")));
        asking.push(tokio::spawn(async move { paying.fetch(&key, &body).await }));
        pass(Duration::from_secs(1)).await;
    }
    for asked in asking {
        assert_eq!(outcome(&asked.await.unwrap()), Some(Outcome::Miss));
    }
    let accounts = paying.ledger.accounts("acme".to_owned()).await.unwrap();
    let spent = |name: &str| {
        let found = accounts.iter().find(|(known, _)| known == name);
        found.map(|(_, account)| (account.debits.posted, account.debits.pending()))
    };
    let days = [spent("budget:org:daily:2026-11-28"), spent("budget:org:daily:2026-11-29")];
    // A call counts in the day in which it was set aside, whenever it ends.
    assert_eq!(days, [Some((30 * COST, 0)), Some((30 * COST, 0))]);
    assert_eq!(spent("budget:org:monthly:2026-11"), Some((60 * COST, 0)));
    assert_eq!(paying.available().await, i128::from(1_000_000_000 - 60 * COST));
    assert!(paying.is_clean().await);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_before_the_call_is_sent_owes_nothing() {
    let paying = funded().await;
    let key = paying.group.key().await;
    paying.ledger.is(Mood::Slow);
    for asked in paying.crowd(&[&key], CHAT).await {
        asked.abort();
        assert!(asked.await.is_err());
    }
    pass(Duration::from_secs(10)).await;
    assert_eq!(paying.group.provider.count(), 0);
    assert_eq!(paying.rows().await, rows([("pending", 1), ("void", 1)]));
    assert_eq!(paying.available().await, i128::from(FUNDS));
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_what_runs_at_what_has_come_of_it() {
    let paying = funded().await;
    let key = paying.group.key().await;
    let acts = vec![bytes(CHUNKS), Act::Wait(Duration::from_secs(600)), bytes(DONE)];
    paying.group.provider.next(answers_sse(acts));
    let reading = paying.crowd(&[&key, &key], CHAT_STREAM).await;
    let began = tokio::time::Instant::now();
    paying.group.sidecar.gave_up().await;
    assert!(began.elapsed() < Duration::from_secs(5));
    for asked in reading {
        let seen = asked.await.unwrap().unwrap();
        assert!(!seen.has_end, "it is told that this is not all");
    }
    assert_eq!(paying.rows().await, rows([("pending", 1), ("post", 1)]));
    assert!(paying.available().await < i128::from(FUNDS));
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_ends_that_the_ledger_has_not_taken() {
    let paying = funded().await;
    let key = paying.group.key().await;
    let slow = Scripted { head_after: Duration::from_secs(3), ..answers_json(JSON) };
    paying.group.provider.next(slow);
    let running = paying.crowd(&[&key], CHAT).await;
    paying.ledger.is(Mood::Down);
    for asked in running {
        assert!(asked.await.unwrap().unwrap().has_end);
    }
    let mut drained = Box::pin(paying.group.sidecar.drained());
    assert!(tokio::time::timeout(Duration::from_secs(20), &mut drained).await.is_err());
    paying.ledger.is(Mood::Fine);
    drained.await;
    assert_eq!(paying.rows().await, rows([("pending", 1), ("post", 1)]));
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_cannot_grow_lives_on_and_its_overage_is_told() {
    let event = CHUNKS.split_at(CHUNKS.find("\n\n").unwrap() + 2).0;
    let piece = bytes(&event.replace("hello", &"word ".repeat(200)));
    let long = (0..40).flat_map(|_| [piece.clone(), Act::Wait(Duration::from_secs(10))]);
    let usage = USAGE_CHUNK.replace(r#""completion_tokens":7"#, r#""completion_tokens":8000"#);
    let ends = format!("{}{usage}{DONE}", CHUNKS.replacen("hello", "", 1));
    let paying = paying("wallet: {}\n", 2_600).await;
    let key = paying.group.key().await;
    paying.group.provider.next(answers_sse(long.chain([bytes(&ends)]).collect()));
    let asking = paying.crowd(&[&key], CHAT_STREAM).await;
    for _ in 0..6 {
        pass(Duration::from_secs(60)).await;
        paying.group.sidecar.close_due().await;
    }
    for asked in asking {
        assert!(asked.await.unwrap().unwrap().has_end);
    }
    assert_eq!(paying.rows().await, rows([("pending", 1), ("post", 1), ("overage", 1)]));
    assert_ne!(paying.group.metric("kt_wallet_overage_usd_total"), "0.0");
    assert!(paying.available().await < 0 && paying.is_clean().await);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_outgrows_the_wallet_is_cut_where_that_is_configured_and_paid_to_there() {
    // Room for the first hold, and no other: some 4,100 tokens.
    let paying = paying("wallet: {on_outgrown_hold: cut}\n", 2_600).await;
    let key = paying.group.key().await;
    paying.group.provider.next(answers_sse(long_stream(60)));
    let asking = paying.crowd(&[&key, &key], CHAT_STREAM).await;
    pass(Duration::from_secs(120)).await;
    for asked in asking {
        let seen = asked.await.unwrap().unwrap();
        assert!(!seen.has_end, "it broke off");
        let told = String::from_utf8_lossy(&seen.body).into_owned();
        assert!(told.contains("word") && told.contains("insufficient_quota"), "{told}");
    }
    assert_eq!(paying.rows().await, rows([("pending", 1), ("post", 1)]), "no overage");
    let left = paying.available().await;
    assert!((900..1_200).contains(&left), "{left}: what has come is paid, and no more");
    assert_eq!(paying.group.metric("kt_estimated_costs_total"), "1");
    assert!(paying.is_clean().await);
    // Nothing of it was stored.
    assert!(paying.fetch(&key, CHAT_STREAM).await.is_err());
}

/// So many events of 200 words, one each second, and then the end.
fn long_stream(events: usize) -> Vec<Act> {
    let event = CHUNKS.split_at(CHUNKS.find("\n\n").unwrap() + 2).0;
    let words = event.replace("hello", &"word ".repeat(200));
    let acts = (0..events).flat_map(|_| [bytes(&words), Act::Wait(Duration::from_secs(1))]);
    acts.chain([bytes(&sse())]).collect()
}

#[tokio::test(start_paused = true)]
async fn an_empty_purse_cuts_off_its_team_and_another_team_has_a_call_of_its_own() {
    let paying = paying("wallet: {on_outgrown_hold: cut}\n", FUNDS).await;
    let of_team =
        |team: &'static str| paying.group.key_with(move |key| key.team = Some(team.to_owned()));
    let (web, ops) = (of_team("web").await, of_team("ops").await);
    paying.allocate("web", 2_600).await;
    paying.allocate("ops", 50_000).await;
    paying.group.provider.next(answers_sse(long_stream(60)));
    let mut leads = paying.crowd(&[&web, &ops], CHAT_STREAM).await;
    let waits = paying.crowd(&[&ops], CHAT).await;
    pass(Duration::from_secs(200)).await;
    let texts = async |asked: JoinHandle<Result<Seen, Refusal>>| {
        String::from_utf8_lossy(&asked.await.unwrap().unwrap().body).into_owned()
    };
    let of_ops = texts(leads.remove(1)).await;
    assert!(of_ops.contains("upstream_cut_short") && !of_ops.contains("web"), "{of_ops}");
    let of_web = texts(leads.remove(0)).await;
    assert!(of_web.contains("insufficient_quota") && of_web.contains("team 'web'"), "{of_web}");
    for asked in waits {
        assert!(asked.await.unwrap().unwrap().has_end, "it had read nothing, and has its own call");
    }
    assert_eq!(paying.group.provider.count(), 2);
    assert!(paying.is_clean().await);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_all_there_is_not_cut_however_long_its_last_piece_is() {
    let paying = paying("wallet: {on_outgrown_hold: cut}\n", 2_600).await;
    let key = paying.group.key().await;
    let event = CHUNKS.split_at(CHUNKS.find("\n\n").unwrap() + 2).0;
    let most = event.replace("hello", &"word ".repeat(2_200));
    let last = format!("{}{}", event.replace("hello", &"word ".repeat(600)), sse());
    let mut acts = vec![bytes(&most), Act::Wait(Duration::from_secs(1)), bytes(&last)];
    // What follows its end has time to learn that there is no more money.
    for _ in 0..3 {
        acts.extend([Act::Wait(Duration::from_millis(300)), bytes(": more\n\n")]);
    }
    paying.group.provider.next(answers_sse(acts));
    let asked = paying.crowd(&[&key], CHAT_STREAM).await.remove(0);
    assert!(asked.await.unwrap().unwrap().has_end);
    assert_eq!(paying.rows().await, rows([("pending", 1), ("post", 1)]));
}

#[tokio::test(start_paused = true)]
async fn money_that_has_come_back_by_then_lets_a_stream_go_on() {
    let paying = paying("wallet: {on_outgrown_hold: cut}\n", 2_600).await;
    let key = paying.group.key().await;
    paying.group.provider.next(answers_sse(long_stream(60)));
    let asked = paying.crowd(&[&key], CHAT_STREAM).await.remove(0);
    // Three quarters have come, and more was refused.
    pass(Duration::from_secs(10)).await;
    paying.fund(FUNDS).await;
    pass(Duration::from_secs(120)).await;
    assert!(asked.await.unwrap().unwrap().has_end);
    assert!(paying.rows().await["extend"] >= 1 && paying.is_clean().await);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_the_ledger_has_lost_or_does_not_end_as_it_said_freezes_the_wallet() {
    let slow = || Scripted { head_after: Duration::from_secs(3), ..answers_json(JSON) };
    let refused = || Scripted { status: 500, ..slow() };
    let lost = ("a hold of a call that was made", "none");
    for (answer, lies_at_first, expected, found) in [
        (slow(), true, "settled at 5 micro-USD", "none"),
        (slow(), false, "settled at 5 micro-USD", "open"),
        (refused(), false, "released", "open"),
    ] {
        let paying = funded().await;
        let key = paying.group.key().await;
        assert!(paying.fetch(&key, &chat("an honest one")).await.is_ok());
        assert_eq!(paying.breaches().await, Vec::<String>::new());
        paying.ledger.is(if lies_at_first { Mood::Lies } else { Mood::Fine });
        paying.group.provider.next(answer);
        let asking = paying.crowd(&[&key], CHAT).await;
        pass(Duration::from_secs(1)).await;
        if lies_at_first {
            let [breach] = &paying.breaches().await[..] else { panic!("it runs") };
            assert!(
                breach.ends_with(&format!("expected {}, found {}", lost.0, lost.1)),
                "{breach}"
            );
        }
        paying.ledger.is(Mood::Lies);
        for asked in asking {
            let _ = asked.await.unwrap();
        }
        paying.ledger.is(Mood::Fine);
        let [breach] = &paying.breaches().await[..] else { panic!("one is wrong") };
        assert!(breach.starts_with("I6 each call has one hold and one end: hold "), "{breach}");
        assert!(breach.ends_with(&format!("expected {expected}, found {found}")), "{breach}");
        let refusal = paying.fetch(&key, &chat("another")).await.unwrap_err();
        assert_eq!(refusal.problem.code(), "wallet_frozen");
    }
}

#[tokio::test(start_paused = true)]
async fn a_usage_that_cannot_be_true_is_not_charged_but_counted() {
    for (told, absurd) in [
        (r#""completion_tokens":7"#, r#""completion_tokens":9000000000"#),
        (r#""prompt_tokens":5"#, r#""prompt_tokens":9000000000"#),
    ] {
        let paying = funded().await;
        let key = paying.group.key().await;
        paying.group.provider.next(answers_json(&JSON.replace(told, absurd)));
        assert!(paying.fetch(&key, CHAT).await.unwrap().has_end);
        let spent = i128::from(FUNDS) - paying.available().await;
        assert!((1..100).contains(&spent), "{spent}");
        assert_eq!(paying.group.metric("kt_estimated_costs_total"), "1");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_hold_has_grown_by_is_no_overage() {
    let paying = funded().await;
    let key = paying.group.key().await;
    let mut acts = long_stream(40);
    // More than was set aside at first, and less than it has grown to.
    let usage = USAGE_CHUNK.replace(r#""completion_tokens":7"#, r#""completion_tokens":8000"#);
    let _ = acts.pop();
    acts.push(bytes(&format!("{CHUNKS}{usage}{DONE}")));
    paying.group.provider.next(answers_sse(acts));
    assert!(paying.fetch(&key, CHAT_STREAM).await.unwrap().has_end);
    let rows = paying.rows().await;
    assert_eq!((rows.get("post"), rows.get("overage")), (Some(&1), None), "{rows:?}");
    assert_eq!(paying.available().await, i128::from(FUNDS - 4_801));
    assert_eq!(paying.group.metric("kt_wallet_overage_usd_total"), "0.0");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_was_refused_more_asks_for_a_quarter_of_it_once_all_is_used_up() {
    let paying = paying("wallet: {on_outgrown_hold: cut}\n", 2_600).await;
    let key = paying.group.key().await;
    paying.group.provider.next(answers_sse(long_stream(13)));
    let asked = paying.crowd(&[&key], CHAT_STREAM).await.remove(0);
    let first = paying.wallet().await.debits.pending();
    pass(Duration::from_secs(11)).await;
    assert_eq!(paying.wallet().await.debits.pending(), first, "there is not half as much again");
    // Less than that, and more than a quarter of it: 2,048 tokens at 0.60 dollars a million.
    paying.fund(600).await;
    pass(Duration::from_millis(1_500)).await;
    assert_eq!(paying.wallet().await.debits.pending() - first, 2_048 * 6 / 10 / 4);
    assert!(asked.await.unwrap().unwrap().has_end);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_has_used_all_that_is_set_aside_and_no_more_is_not_cut() {
    let paying = paying("wallet: {on_outgrown_hold: cut}\n", 2_600).await;
    let key = paying.group.key().await;
    let event = CHUNKS.split_at(CHUNKS.find("\n\n").unwrap() + 2).0;
    let piece = |length| bytes(&event.replace("hello", &"w".repeat(length)));
    // 4,096 times three bytes, and two that are no token.
    let mut acts = Vec::new();
    for length in [12_285, 3, 1, 1] {
        acts.extend([piece(length), Act::Wait(Duration::from_secs(1))]);
    }
    acts.push(bytes(&format!("{}{USAGE_CHUNK}{DONE}", CHUNKS.replace("hello", ""))));
    paying.group.provider.next(answers_sse(acts));
    assert!(paying.fetch(&key, CHAT_STREAM).await.unwrap().has_end);
    assert_eq!(paying.rows().await, rows([("pending", 1), ("post", 1)]));
}

#[tokio::test(start_paused = true)]
async fn what_is_learned_of_an_organizations_answers_is_for_its_own_calls_of_that_model() {
    let paying = paying("budgets: {organization: {daily_limit_usd: 100}}\n", 0).await;
    let of_org = |org: &'static str| paying.group.key_with(move |key| key.org = org.to_owned());
    let (acme, other) = (of_org("acme").await, of_org("other").await);
    let held = async |key: &Key, body: &str| {
        let slow = Scripted { head_after: Duration::from_secs(3), ..answers_json(JSON) };
        paying.group.provider.next(slow);
        let running = paying.crowd(&[key], body).await;
        let holds = paying.ledger.holds(key.principal.org.clone()).await.unwrap();
        let amounts: Vec<_> = holds.iter().map(|hold| hold.held.micros()).collect();
        for asked in running {
            assert!(asked.await.unwrap().is_ok());
        }
        amounts
    };
    let large = |prompt: &str| chat(prompt).replace("gpt-4o-mini", "gpt-4o");
    let before = (held(&other, &chat("0")).await, held(&acme, &large("0")).await);
    for nth in 10..30 {
        assert!(paying.fetch(&acme, &chat(&format!("how long is it {nth}"))).await.is_ok());
    }
    assert_eq!(held(&other, &chat("1")).await, before.0);
    assert_eq!(held(&acme, &large("1")).await, before.1);
    assert!(held(&acme, &chat("1")).await < before.0, "its own is known");
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_not_cut_before_it_has_asked_once_more() {
    let paying = paying("wallet: {on_outgrown_hold: cut}\n", 2_600).await;
    let key = paying.group.key().await;
    let event = CHUNKS.split_at(CHUNKS.find("\n\n").unwrap() + 2).0;
    let piece = |length| bytes(&event.replace("hello", &"w".repeat(length)));
    // More than is set aside, at once, and more is refused after that. Then there is money.
    let wait = || Act::Wait(Duration::from_secs(5));
    let acts = vec![piece(12_600), wait(), piece(3), wait(), bytes(&sse())];
    paying.group.provider.next(answers_sse(acts));
    let asked = paying.crowd(&[&key], CHAT_STREAM).await.remove(0);
    pass(Duration::from_secs(3)).await;
    paying.fund(FUNDS).await;
    assert!(asked.await.unwrap().unwrap().has_end);
    assert!(paying.rows().await["extend"] >= 1 && paying.is_clean().await);
}
