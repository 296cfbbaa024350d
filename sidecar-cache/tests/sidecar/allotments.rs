//! Calls of a hot wallet, which a sidecar reserves out of an allotment in its own memory: each has its own rows, none is
//! paid that the wallet has not got, and nothing is lost, whatever becomes of the ledger and of the sidecar.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use kt_contract::money::MicroUsd;
use kt_contract::problem::{Problem, Unpaid};
use kt_contract::time::UnixMillis;
use kt_contract::wire::admin::wallet::FreezeRequest;
use sidecar_cache::clock::Clock;
use sidecar_cache::ledger::clock::Reading;
use sidecar_cache::ledger::request::{Allocate, Direction, Purpose};
use sidecar_cache::ledger::{Hold, Kind, Operation};
use sidecar_cache::service::lane::Refusal;
use sidecar_cache::service::upstream::CallFailed;
use sidecar_cache::store::ledger::LedgerStore;
use sidecar_cache::store::ledger::memory::MemoryLedger;
use sidecar_cache::store::spool::{MemorySpool, SpoolStore};
use tokio::time::timeout;

use crate::call_lines::Lines;
use crate::ledger_support::{fund, id};
use crate::support::*;
use crate::wallet::{Mood, Moody};

const FUNDS: u64 = 100_000;
/// What [`JSON`] costs.
const COST: u64 = 5;
/// How many calls make a wallet hot.
const HOT: u64 = 8;
const SECOND: Duration = Duration::from_secs(1);

/// An allotment of so many dollars at most, of a wallet in a database.
fn wallet(max_usd: &str, more: &str) -> String {
    format!(
        "wallet: {{backend: postgres, url: {{env: KT_DATABASE_URL}}, \
         allotment: {{max_usd: {max_usd}, part: 1{more}}}}}\n"
    )
}

/// A ledger, which outlives sidecars.
struct World {
    clock: Clock,
    ledger: Arc<MemoryLedger>,
}

/// A sidecar with a spool, and its way to the ledger.
struct Alive {
    group: Group,
    way: Arc<Moody>,
    key: Key,
    spool: Arc<MemorySpool>,
    requests: AtomicU64,
}

// === impl World ===

impl World {
    async fn funded(funds: u64) -> Self {
        let clock = Clock::start();
        let wall = clock.wall();
        let reading = move || {
            let mono = clock.mono();
            Reading { mono, wall: UnixMillis(wall.0 + mono.0) }
        };
        let ledger = Arc::new(MemoryLedger::new(Box::new(reading)));
        ledger.operate(fund(u64::MAX, funds)).await.unwrap().unwrap();
        Self { clock, ledger }
    }

    /// A sidecar whose requests are numbered from `first` on.
    async fn sidecar(&self, settings: &str, first: u64, spool: Arc<MemorySpool>) -> Alive {
        let way = Arc::new(Moody::over(Arc::clone(&self.ledger)));
        let settings = settings_with(settings);
        let entries = Arc::new(Shelved::new(self.clock, settings.memory));
        let common = Common {
            clock: self.clock,
            settings,
            store: Arc::clone(&entries) as Arc<_>,
            entries,
            keys: Arc::default(),
            ledger: Some(Arc::clone(&way) as Arc<dyn LedgerStore>),
            savings: None,
        };
        let kept = Arc::clone(&spool) as Arc<dyn SpoolStore>;
        let group = group_spooling(common, None, Some(kept));
        group.poll().await;
        let key = group.key().await;
        Alive { group, way, key, spool, requests: AtomicU64::new(first) }
    }

    /// How often each kind of row was written for calls and allotments.
    async fn rows(&self) -> BTreeMap<&'static str, u64> {
        let mut rows = BTreeMap::new();
        for (_, row) in self.ledger.history("acme".to_owned(), None, 100_000).await.unwrap() {
            if row.kind != Kind::Fund {
                *rows.entry(row.kind.as_str()).or_default() += 1;
            }
        }
        rows
    }

    async fn available(&self) -> i128 {
        self.ledger.balance("acme".to_owned()).await.unwrap().wallet.available()
    }

    async fn suspense(&self) -> i128 {
        self.ledger.balance("acme".to_owned()).await.unwrap().suspense.available()
    }

    async fn holds(&self) -> Vec<Hold> {
        self.ledger.holds("acme".to_owned()).await.unwrap()
    }

    /// Gives a team a purse.
    async fn allocates(&self, nth: u64, team: &str, amount: u64) {
        let allocate = Allocate {
            id: id(u64::MAX - nth),
            org: "acme".to_owned(),
            team: team.to_owned(),
            amount: MicroUsd::new(amount).unwrap(),
            direction: Direction::Credit,
            note: String::new(),
        };
        self.ledger.operate(Operation::Allocate(allocate)).await.unwrap().unwrap();
    }

    /// What is due waits in suspense for a day, and is back then: no more was charged than the calls that made it hot.
    async fn gets_back(&self, sidecar: &Alive, amount: i128) {
        sidecar.group.sidecar.close_due().await;
        assert_eq!(self.suspense().await, amount);
        pass(86_400 * SECOND).await;
        sidecar.group.sidecar.close_due().await;
        self.charged(FUNDS, HOT).await;
    }

    async fn is_right(&self) {
        assert_eq!(self.ledger.audit().await.unwrap().breaches, []);
    }

    /// The book adds up, nothing is set aside, and so many calls were charged.
    async fn charged(&self, funds: u64, calls: u64) {
        assert_eq!(self.available().await, i128::from(funds - calls * COST));
        assert_eq!(self.ledger.holds("acme".to_owned()).await.unwrap(), []);
        assert_eq!(self.rows().await["post"], calls);
        self.is_right().await;
    }
}

// === impl Alive ===

impl Alive {
    /// A call of its own. `None`: it was refused for want of the ledger.
    async fn call(&self) -> Option<Seen> {
        match self.ask().await {
            Ok(seen) => {
                assert!(seen.has_end);
                Some(seen)
            }
            Err(Refusal { problem: Problem::Unpaid(Unpaid::LedgerUnavailable), .. }) => None,
            Err(refusal) => panic!("{refusal:?}"),
        }
    }

    async fn ask(&self) -> Result<Seen, Refusal> {
        let nth = self.requests.fetch_add(1, SeqCst);
        let (id, body) = (format!("{nth:032x}"), CHAT.replace("\"hi\"", &format!("\"{nth}\"")));
        let mut ask = self.group.ask(&self.key, &body);
        ask.request_id.clone_from(&id);
        let (ticket, _) = self.group.ticket(ask).await;
        let entered = self.group.sidecar.enter(Some(&ticket), &holder_of(&id))?;
        let body = Bytes::copy_from_slice(body.as_bytes());
        Ok(read(self.group.sidecar.serve(entered, Vec::new(), body).await?).await)
    }

    async fn calls(&self, count: u64) {
        for nth in 0..count {
            assert!(self.call().await.is_some(), "{nth}");
        }
    }

    /// Makes the wallet a hot one, and gets an allotment of it.
    async fn heats_up(&self) {
        self.calls(HOT).await;
        settle().await;
        assert_ne!(self.group.metric("kt_wallet_allotted_usd"), "0.0");
    }

    fn operations(&self, operation: &str, result: &str) -> u64 {
        let name = "kt_wallet_operations_total";
        let name = format!("{name}{{operation=\"{operation}\",result=\"{result}\"}}");
        self.group.metric(&name).parse().unwrap()
    }

    /// Has it look after its spool and its allotments.
    fn keeps_house(&self) {
        let sidecar = Arc::clone(&self.group.sidecar);
        tokio::spawn(async move { sidecar.keep_spool().await });
        let sidecar = Arc::clone(&self.group.sidecar);
        tokio::spawn(async move { sidecar.keep_ledger().await });
    }

    /// Stops, as the program does.
    async fn stops(&self) {
        self.group.sidecar.drained().await;
        self.group.sidecar.tell_spooled().await;
        self.group.sidecar.leave_allotments().await;
    }
}

#[tokio::test(start_paused = true)]
async fn calls_of_a_hot_wallet_ask_the_ledger_for_nothing_and_have_their_own_rows() {
    let world = World::funded(FUNDS).await;
    let sidecar = world.sidecar(&wallet("0.05", ""), 0, Arc::default()).await;
    sidecar.keeps_house();
    sidecar.heats_up().await;
    sidecar.calls(1_000).await;
    let asked = sidecar.operations("reserve", "created");
    assert!(asked < HOT + 5, "asked {asked} times");
    assert_eq!(sidecar.operations("reserve", "allotted"), 1_000);
    sidecar.stops().await;
    assert_eq!(sidecar.spool.count(), 0);
    let rows = world.rows().await;
    assert_eq!((rows["draw"], rows["post"]), (1_000, 1_000 + HOT));
    assert_eq!(rows["pending"], 1_000 + asked);
    assert_eq!(sidecar.group.sidecar.audit().await.unwrap().breaches_total, 0);
    assert_eq!(sidecar.group.metric("kt_wallet_allotted_usd"), "0.0");
    world.charged(FUNDS, 1_000 + HOT).await;
}

#[tokio::test(start_paused = true)]
async fn allotments_are_granted_though_there_are_too_many_holds_to_read() {
    let world = World::funded(FUNDS).await;
    let sidecar = world.sidecar(&wallet("0.05", ""), 0, Arc::default()).await;
    sidecar.way.is(Mood::Crowded);
    sidecar.heats_up().await;
    sidecar.calls(1).await;
    assert_eq!(sidecar.operations("reserve", "allotted"), 1);
    sidecar.stops().await;
    world.charged(FUNDS, HOT + 1).await;
}

#[tokio::test(start_paused = true)]
async fn that_nothing_can_be_allotted_is_said_once_until_it_can() {
    let world = World::funded(FUNDS).await;
    let sidecar = world.sidecar(&wallet("0.05", ""), 0, Arc::default()).await;
    let lines = Lines::listen();
    sidecar.way.is(Mood::Blind);
    for _ in 0..3 {
        // Hot again each time, behind the pause after the one that was not granted.
        sidecar.calls(HOT).await;
        settle().await;
        pass(6 * SECOND).await;
    }
    assert_eq!(sidecar.operations("allot", "unavailable"), 3);
    assert_eq!(lines.saying("no allotment is asked for"), 1);
    sidecar.way.is(Mood::Fine);
    sidecar.heats_up().await;
}

#[tokio::test(start_paused = true)]
async fn without_the_ledger_calls_go_on_until_the_allotment_is_empty_and_are_booked_after() {
    let world = World::funded(FUNDS).await;
    let sidecar = world.sidecar(&wallet("0.003", ""), 0, Arc::default()).await;
    sidecar.keeps_house();
    sidecar.heats_up().await;
    sidecar.way.is(Mood::Down);
    let mut made = 0;
    while sidecar.call().await.is_some() {
        made += 1;
    }
    assert!(made > 10 && made * COST < 3_000, "{made}");
    assert!(sidecar.call().await.is_none());
    assert_eq!(world.available().await, i128::from(FUNDS - HOT * COST - 3_000));
    sidecar.way.is(Mood::Fine);
    // So long are releases kept of reserves that nobody has answered.
    pass(90 * SECOND).await;
    assert_eq!(sidecar.spool.count(), 0);
    assert!(sidecar.call().await.is_some());
    sidecar.stops().await;
    world.charged(FUNDS, HOT + made + 1).await;
}

#[tokio::test(start_paused = true)]
async fn on_a_full_disk_nothing_is_reserved_here_and_what_runs_ends() {
    let world = World::funded(FUNDS).await;
    let sidecar = Arc::new(world.sidecar(&wallet("0.05", ""), 0, Arc::default()).await);
    sidecar.heats_up().await;
    sidecar.group.provider.next(Scripted { head_after: SECOND, ..answers_json(JSON) });
    let asking = Arc::clone(&sidecar);
    let running = tokio::spawn(async move { asking.call().await });
    settle().await;
    sidecar.spool.runs_short(true);
    sidecar.calls(1).await;
    assert_eq!(sidecar.operations("reserve", "allotted"), 1, "the one that runs");
    sidecar.way.is(Mood::Down);
    assert!(sidecar.call().await.is_none());
    assert!(running.await.unwrap().is_some());
    assert!(sidecar.call().await.is_none());
    // What has ended waits, and more of it would not have room: nothing begins, whoever else could pay.
    sidecar.way.is(Mood::Fine);
    let before = sidecar.operations("reserve", "unavailable");
    assert!(sidecar.call().await.is_none());
    assert_eq!(sidecar.operations("reserve", "unavailable"), before + 1);
    let told = sidecar.group.sidecar.status().wallet_errors;
    assert!(told.iter().any(|error| error.starts_with("spool: the disk")), "{told:?}");
    sidecar.spool.runs_short(false);
    sidecar.calls(1).await;
    assert_eq!(sidecar.operations("reserve", "allotted"), 2);
    sidecar.stops().await;
    assert_eq!(sidecar.group.sidecar.status().wallet_errors, Vec::<String>::new());
    world.charged(FUNDS, HOT + 3).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_killed_sidecar_has_spent_is_booked_from_suspense_and_only_the_rest_returns() {
    let world = World::funded(FUNDS).await;
    let dead = world.sidecar(&wallet("0.05", ""), 0, Arc::default()).await;
    dead.heats_up().await;
    dead.calls(3).await;
    dead.way.is(Mood::Down);
    dead.calls(4).await;
    // One is under way when it dies, and what it does after that is not in the file.
    dead.group.provider.next(Scripted { head_after: SECOND, ..answers_json(JSON) });
    let spool = Arc::new(MemorySpool::default());
    for (_, text) in dead.spool.read(0, 100).await.unwrap() {
        spool.put(text, 100).await.unwrap();
    }
    assert!(dead.call().await.is_some());

    pass(61 * SECOND).await;
    let next = world.sidecar(&wallet("0.05", ""), 1_000, spool).await;
    next.group.sidecar.close_due().await;
    let before = FUNDS - HOT * COST - 50_000;
    assert_eq!(world.available().await, i128::from(before), "it is not available yet");
    let lain = world.suspense().await;
    assert!(lain > 49_000, "{lain}");
    assert_eq!(next.group.sidecar.tell_spooled().await, 0);
    assert_eq!(world.suspense().await, i128::from(50_000 - 7 * COST));
    assert_eq!(world.available().await, i128::from(before));
    world.is_right().await;
    pass(86_400 * SECOND).await;
    next.group.sidecar.close_due().await;
    world.charged(FUNDS, HOT + 7).await;
}

#[tokio::test(start_paused = true)]
async fn two_sidecars_together_never_spend_more_than_there_is() {
    // A call holds some 2,470, so that neither has room for many.
    let funds = 12_000;
    let world = World::funded(funds).await;
    let settings = wallet("0.005", "");
    let one = Arc::new(world.sidecar(&settings, 0, Arc::default()).await);
    let other = Arc::new(world.sidecar(&settings, 1_000_000, Arc::default()).await);
    let mut made = 0;
    for round in 0..40 {
        let mut calls = tokio::task::JoinSet::new();
        for nth in 0..10 {
            let sidecar = if nth % 2 == 0 { &one } else { &other };
            let sidecar = Arc::clone(sidecar);
            calls.spawn(async move { sidecar.ask().await });
        }
        for answer in calls.join_all().await {
            match answer {
                Ok(seen) if seen.has_end => made += 1,
                Err(Refusal { problem: Problem::Unpaid(Unpaid::WalletEmpty { .. }), .. }) => {}
                answer => panic!("{round}: {answer:?}"),
            }
        }
        assert!(world.available().await >= 0, "{round}");
    }
    assert!(made > 100, "{made}");
    assert!(one.operations("reserve", "allotted") > 0);
    assert!(other.operations("reserve", "allotted") > 0);
    one.stops().await;
    other.stops().await;
    world.charged(funds, made).await;
}

#[tokio::test(start_paused = true)]
async fn a_long_call_is_given_a_hold_of_its_own_and_its_allotment_goes_back() {
    let world = World::funded(FUNDS).await;
    let sidecar = Arc::new(world.sidecar(&wallet("0.05", ""), 0, Arc::default()).await);
    sidecar.keeps_house();
    sidecar.heats_up().await;
    let slow = Scripted { head_after: 50 * SECOND, ..answers_json(JSON) };
    sidecar.group.provider.next(slow);
    let asking = Arc::clone(&sidecar);
    let running = tokio::spawn(async move { asking.call().await });
    pass(10 * SECOND).await;
    assert_eq!(world.rows().await.get("draw"), None);
    pass(35 * SECOND).await;
    let holds = world.ledger.holds("acme".to_owned()).await.unwrap();
    assert_eq!(holds.len(), 1, "{holds:?}");
    assert!(holds[0].terms.drawn.is_some());
    assert_eq!(sidecar.group.metric("kt_wallet_allotted_usd"), "0.0");
    assert!(running.await.unwrap().is_some());
    sidecar.stops().await;
    world.charged(FUNDS, HOT + 1).await;
}

#[tokio::test(start_paused = true)]
async fn an_allotment_that_is_not_used_any_more_goes_back_by_itself() {
    let world = World::funded(FUNDS).await;
    let sidecar = world.sidecar(&wallet("0.05", ", ttl_seconds: 20"), 0, Arc::default()).await;
    sidecar.keeps_house();
    sidecar.heats_up().await;
    sidecar.calls(2).await;
    assert_eq!(world.available().await, i128::from(FUNDS - HOT * COST - 50_000));
    pass(12 * SECOND).await;
    world.charged(FUNDS, HOT + 2).await;
}

#[tokio::test(start_paused = true)]
async fn what_falls_under_a_budget_is_reserved_where_budgets_are_counted() {
    let world = World::funded(FUNDS).await;
    let budgets = "budgets: {users: {default_daily_usd: 1}}\n";
    let settings = format!("{}{budgets}", wallet("0.05", ""));
    let sidecar = world.sidecar(&settings, 0, Arc::default()).await;
    sidecar.calls(3 * HOT).await;
    assert_eq!(sidecar.operations("reserve", "created"), 3 * HOT);
    world.charged(FUNDS, 3 * HOT).await;
}

#[tokio::test(start_paused = true)]
async fn a_wallet_that_has_little_is_asked_for_each_call() {
    let world = World::funded(10_000).await;
    let settings = wallet("0.05", "").replace("part: 1", "part: 0.01");
    let sidecar = world.sidecar(&settings, 0, Arc::default()).await;
    sidecar.calls(3 * HOT).await;
    assert_eq!(sidecar.operations("reserve", "created"), 3 * HOT);
    world.charged(10_000, 3 * HOT).await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_its_turn_does_not_count_as_what_the_ledger_has_not_taken() {
    let world = World::funded(FUNDS).await;
    let sidecar = world.sidecar(&wallet("0.05", ""), 0, Arc::default()).await;
    sidecar.heats_up().await;
    sidecar.calls(3).await;
    assert_eq!(sidecar.group.metric("kt_wallet_spooled"), "0");
    sidecar.way.is(Mood::Down);
    sidecar.calls(2).await;
    pass(5 * SECOND).await;
    let held = sidecar.spool.count();
    assert!(held > 0);
    assert_eq!(sidecar.group.metric("kt_wallet_spooled"), held.to_string());
    sidecar.way.is(Mood::Fine);
    sidecar.stops().await;
    world.charged(FUNDS, HOT + 5).await;
}

#[tokio::test(start_paused = true)]
async fn the_sidecar_that_freezes_a_wallet_spends_nothing_more_of_its_allotment() {
    let world = World::funded(FUNDS).await;
    let sidecar = world.sidecar(&wallet("0.05", ""), 0, Arc::default()).await;
    sidecar.heats_up().await;
    sidecar.calls(2).await;
    let request = FreezeRequest { reason: "test".to_owned() };
    sidecar.group.sidecar.freeze("acme", request).await.unwrap();
    let refused = sidecar.ask().await.unwrap_err();
    assert_eq!(refused.problem, Problem::Unpaid(Unpaid::WalletFrozen));
    sidecar.stops().await;
    world.charged(FUNDS, HOT + 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_teams_allotment_is_a_part_of_its_own_purse() {
    let world = World::funded(FUNDS).await;
    // The wallet and another team have more than this one, and would be refused it.
    world.allocates(1, "apps", 30_000).await;
    world.allocates(2, "web", 20_000).await;
    let mut sidecar = world.sidecar(&wallet("0.05", ""), 0, Arc::default()).await;
    sidecar.key = sidecar.group.key_with(|key| key.team = Some("web".to_owned())).await;
    sidecar.heats_up().await;
    let [allotment] = &world.holds().await[..] else { panic!("one is set aside") };
    assert!(matches!(allotment.terms.purpose, Purpose::Allotment(_)), "{allotment:?}");
    assert_eq!(allotment.terms.cost_max, MicroUsd::ZERO, "it is no call, and costs nothing");
    assert!((15_000..=20_000).contains(&allotment.held.micros()), "{allotment:?}");
    sidecar.calls(3).await;
    sidecar.stops().await;
    let balance = world.ledger.balance("acme".to_owned()).await.unwrap();
    let purses: Vec<_> = balance.purses.iter().map(|(_, purse)| purse.available()).collect();
    assert_eq!(purses, [30_000, 20_000 - i128::from((HOT + 3) * COST)]);
    world.is_right().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_gives_all_allotments_back_at_once_and_not_one_after_the_other() {
    let world = World::funded(FUNDS).await;
    let mut sidecar = world.sidecar(&wallet("0.05", ""), 0, Arc::default()).await;
    for (nth, team) in (1..).zip(["apps", "bots", "docs", "mail", "web"]) {
        world.allocates(nth, team, 10_000).await;
        sidecar.key = sidecar.group.key_with(|key| key.team = Some(team.to_owned())).await;
        sidecar.heats_up().await;
    }
    assert_eq!(world.holds().await.len(), 5);
    sidecar.way.is(Mood::Hangs);
    // Each waits a tenth of a second for the ledger before it lies in the spool.
    let left = timeout(Duration::from_millis(150), sidecar.group.sidecar.leave_allotments()).await;
    assert_eq!((left, sidecar.spool.count()), (Ok(()), 5));
}

#[tokio::test(start_paused = true)]
async fn each_end_is_told_to_the_ledger_soon_whether_or_not_another_follows() {
    let world = World::funded(FUNDS).await;
    let sidecar = world.sidecar(&wallet("0.05", ""), 0, Arc::default()).await;
    sidecar.heats_up().await;
    for nth in 1..=4 {
        sidecar.calls(1).await;
        pass(SECOND).await;
        assert_eq!((world.rows().await["post"], sidecar.spool.count()), (HOT + nth, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_of_an_allotment_whose_end_nobody_knows_waits_in_a_hold_of_its_own() {
    let world = World::funded(FUNDS).await;
    let sidecar = world.sidecar(&wallet("0.05", ""), 0, Arc::default()).await;
    sidecar.heats_up().await;
    sidecar.group.provider.next(Scripted { fails: Some(CallFailed::Broken), ..answers_json("") });
    assert!(sidecar.ask().await.is_err());
    sidecar.stops().await;
    let [own] = &world.holds().await[..] else { panic!("the allotment has gone back") };
    assert!(own.terms.drawn.is_some(), "{own:?}");
    let held = i128::from(own.held.micros());
    assert_eq!(world.available().await, i128::from(FUNDS - HOT * COST) - held);
    pass(70 * SECOND).await;
    world.gets_back(&sidecar, held).await;
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_spent_and_cannot_be_said_leaves_its_allotment_to_time() {
    let world = World::funded(FUNDS).await;
    let sidecar = world.sidecar(&wallet("0.05", ""), 0, Arc::default()).await;
    sidecar.heats_up().await;
    sidecar.group.provider.next(Scripted { fails: Some(CallFailed::Broken), ..answers_json("") });
    sidecar.way.is(Mood::Down);
    assert!(sidecar.ask().await.is_err());
    settle().await;
    sidecar.way.is(Mood::Fine);
    sidecar.stops().await;
    let [allotment] = &world.holds().await[..] else { panic!("it is not given back") };
    assert!(matches!(allotment.terms.purpose, Purpose::Allotment(_)), "{allotment:?}");
    assert_eq!(sidecar.group.metric("kt_wallet_allotted_usd"), "0.0", "nobody waits for it");
    pass(61 * SECOND).await;
    world.gets_back(&sidecar, 50_000).await;
}

#[tokio::test(start_paused = true)]
async fn an_allotment_that_the_ledger_does_not_know_is_used_no_longer() {
    let world = World::funded(FUNDS).await;
    let sidecar = world.sidecar(&wallet("0.05", ""), 0, Arc::default()).await;
    sidecar.heats_up().await;
    sidecar.way.is(Mood::Forgets);
    sidecar.calls(1).await;
    pass(SECOND).await;
    sidecar.way.is(Mood::Fine);
    let asked = sidecar.operations("reserve", "created");
    let allotted = sidecar.operations("reserve", "allotted");
    sidecar.calls(1).await;
    assert_eq!(sidecar.operations("reserve", "allotted"), allotted);
    assert!(sidecar.operations("reserve", "created") > asked, "the ledger was asked for it");
    assert_eq!(sidecar.spool.count(), 1, "and the charge is not forgotten");
}

#[tokio::test(start_paused = true)]
async fn a_sidecar_that_is_told_of_a_freeze_spends_nothing_more_of_its_allotment() {
    let world = World::funded(FUNDS).await;
    // There is room for one call, and so much beside it that no other allotment is asked for.
    let sidecar = Arc::new(world.sidecar(&wallet("0.0035", ""), 0, Arc::default()).await);
    sidecar.heats_up().await;
    sidecar.calls(1).await;
    // Another sidecar's doing.
    world.ledger.freeze("acme".to_owned(), "test".to_owned()).await.unwrap();
    sidecar.group.provider.next(Scripted { head_after: SECOND, ..answers_json(JSON) });
    let asking = Arc::clone(&sidecar);
    let running = tokio::spawn(async move { asking.call().await });
    settle().await;
    assert_eq!(sidecar.operations("reserve", "allotted"), 2);
    for _ in 0..2 {
        let refused = sidecar.ask().await.unwrap_err();
        assert_eq!(refused.problem, Problem::Unpaid(Unpaid::WalletFrozen));
        pass(2 * SECOND).await;
    }
    assert!(running.await.unwrap().is_some());
}
