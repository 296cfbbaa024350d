//! Days begin where an organization is: its budgets roll over then, and what it has saved is of that day.

use std::sync::Arc;
use std::time::Duration;

use kt_contract::money::MicroUsd;
use kt_contract::time::UnixMillis;
use kt_contract::wire::admin::savings::SavingsReply;
use sidecar_cache::clock::Clock;
use sidecar_cache::ledger::request::Fund;
use sidecar_cache::ledger::window::Zone;
use sidecar_cache::ledger::{Operation, TransferId};
use sidecar_cache::service::spending::SavingsAsked;
use sidecar_cache::store::ledger::LedgerStore;
use sidecar_cache::store::ledger::memory::MemoryLedger;
use sidecar_cache::store::savings::SavingsStore;

use crate::support::*;
use crate::wallet::{Paying, chat, paying_since};

/// 2099-11-28, 23:30 in Berlin, and half past five in the afternoon in New York: by the wall clock of whoever runs this no
/// window is over.
const HALF_PAST_ELEVEN: UnixMillis = UnixMillis(4_099_588_200_000);
const HOUR_MS: u64 = 3_600_000;
/// The longest answers cost 2,460 micro-dollars, and each call sets aside 308 at least: one fits, and one behind it does not.
const ONE_LONG_ANSWER: &str =
    "wallet: {time_zone: Europe/Berlin, time_zones: {globex: America/New_York}}
budgets: {organization: {daily_limit_usd: 0.0026}}
";

async fn key_of(group: &Group, org: &'static str) -> Key {
    group.key_with(|key| key.org = org.to_owned()).await
}

async fn fund(ledger: &dyn LedgerStore, org: &str) {
    let fund = Fund {
        id: TransferId::of_key(org, "fund", "first"),
        org: org.to_owned(),
        amount: MicroUsd::new(1_000_000).unwrap(),
        note: String::new(),
    };
    ledger.operate(Operation::Fund(fund)).await.unwrap().unwrap();
}

/// Whether a call is made; where it is not, how long the budget is spent.
async fn call(paying: &Paying, key: &Key, question: &str) -> Result<(), u64> {
    let answer = JSON.replace("\"completion_tokens\":7", "\"completion_tokens\":4090");
    paying.group.provider.next(answers_json(&answer.replace("12}", "4095}")));
    match paying.fetch(key, &chat(question)).await {
        Ok(_) => Ok(()),
        Err(refusal) => {
            let problem = refusal.problem;
            assert_eq!((problem.status(), problem.code()), (429, "budget_exceeded"));
            Err(problem.retry_after_s().unwrap())
        }
    }
}

/// The seconds from now until a moment, when it was asked between `before` and now.
fn is_until(seconds: u64, moment: u64, before: UnixMillis) -> bool {
    let left = |now: UnixMillis| (moment - now.0).div_ceil(1_000);
    (left(Clock::start().wall())..=left(before)).contains(&seconds)
}

#[tokio::test(start_paused = true)]
async fn a_budget_rolls_over_at_its_own_organizations_midnight_and_no_other() {
    let paying = paying_since(ONE_LONG_ANSWER, 1_000_000, HALF_PAST_ELEVEN).await;
    fund(&*paying.ledger, "globex").await;
    let (acme, globex) = (key_of(paying.group, "acme").await, key_of(paying.group, "globex").await);
    for key in [&acme, &globex] {
        assert_eq!(call(paying, key, "first").await, Ok(()));
    }
    let before = Clock::start().wall();
    let spent = [call(paying, &acme, "second").await, call(paying, &globex, "second").await];
    let midnights =
        [HALF_PAST_ELEVEN.0 + HOUR_MS / 2, HALF_PAST_ELEVEN.0 + HOUR_MS / 2 + 6 * HOUR_MS];
    for (told, midnight) in spent.into_iter().zip(midnights) {
        assert!(is_until(told.unwrap_err(), midnight, before), "{told:?}");
    }
    // A quarter past midnight in Berlin, a quarter past six in the evening in New York.
    pass(Duration::from_secs(45 * 60)).await;
    paying.group.poll().await;
    assert_eq!(call(paying, &acme, "third").await, Ok(()));
    let told = call(paying, &globex, "third").await;
    assert!(is_until(told.unwrap_err(), midnights[1], before), "{told:?}");
    pass(Duration::from_secs(6 * 3_600)).await;
    paying.group.poll().await;
    assert!(call(paying, &acme, "fourth").await.is_err(), "its day is not over yet");
    assert_eq!(call(paying, &globex, "fourth").await, Ok(()));
    for (org, days) in [("acme", ["28", "29"]), ("globex", ["28", "29"])] {
        let accounts = paying.ledger.accounts(org.to_owned()).await.unwrap();
        let names: Vec<_> = accounts
            .into_iter()
            .map(|(name, _)| name)
            .filter(|name| name.contains("daily"))
            .collect();
        assert_eq!(names, days.map(|day| format!("budget:org:daily:2099-11-{day}")), "{org}");
    }
    assert!(paying.is_clean().await);
}

/// Where it is a day or two later than there, whatever time it is.
const EAST: &str = "Pacific/Kiritimati";
const WEST: &str = "Etc/GMT+12";

fn dates() -> [String; 2] {
    let now = Clock::start().wall();
    [EAST, WEST].map(|zone| Zone::named(zone).unwrap().date(now).to_string())
}

async fn savings(group: &Group, org: Option<&str>, day: &str, end: Option<&str>) -> SavingsReply {
    let own = |text: &str| Some(text.to_owned());
    let (since, until) = (own(day), end.map(str::to_owned));
    let asked = SavingsAsked { org: org.map(str::to_owned), by: own("org"), since, until };
    group.sidecar.savings(asked).await.unwrap()
}

/// The organizations that have spent and saved something.
fn rows(told: &SavingsReply) -> Vec<(&str, u64, u64)> {
    let rows = told.rows.iter();
    rows.map(|row| (row.name.as_deref().unwrap(), row.sums.calls, row.sums.hits)).collect()
}

/// Both organizations make a call and have a hit. `false`: a day has ended meanwhile, somewhere.
async fn both_count_their_own_days() -> bool {
    let clock = Clock::start();
    let ledger = Arc::new(MemoryLedger::new(Box::new(move || clock.reading())));
    let more = format!(
        "wallet: {{time_zone: Europe/Berlin, time_zones: {{acme: {EAST}, globex: {WEST}}}}}\nbudgets: {{organization: \
         {{daily_limit_usd: 10}}}}\n"
    );
    let accounts = Arc::clone(&ledger) as Arc<dyn LedgerStore>;
    let noted = Arc::clone(&ledger) as Arc<dyn SavingsStore>;
    let group = group_saving(settings_with(&more), clock, Some(accounts), Some(noted));
    group.poll().await;
    let days = dates();
    let [acmes, globexs] = &days;
    for org in ["acme", "globex"] {
        fund(&*ledger, org).await;
        let key = key_of(&group, org).await;
        group.provider.next(answers_json(JSON));
        assert!(group.fetch(&key, CHAT).await.unwrap().has_end);
        assert!(group.is_cached(&key, CHAT).await);
    }
    let told = [
        savings(&group, None, acmes, None).await,
        savings(&group, None, globexs, Some(acmes)).await,
        savings(&group, None, globexs, None).await,
        savings(&group, Some("acme"), "0d", None).await,
        savings(&group, Some("globex"), "0d", None).await,
        savings(&group, Some("globex"), globexs, Some(acmes)).await,
    ];
    let balances = [
        group.sidecar.balance("acme").await.unwrap(),
        group.sidecar.balance("globex").await.unwrap(),
    ];
    if dates() != days {
        return false;
    }
    let (acme, globex) = (("acme", 1, 1), ("globex", 1, 1));
    let expected: [&[_]; 6] = [&[acme], &[globex], &[acme, globex], &[acme], &[globex], &[globex]];
    for (told, expected) in told.iter().zip(expected) {
        assert_eq!(rows(told), expected, "{told:?}");
    }
    let zones = told.each_ref().map(|told| (&*told.time_zone, told.own_time_zones));
    let all = ("Europe/Berlin", true);
    assert_eq!(zones, [all, all, all, (EAST, false), (WEST, false), (WEST, false)]);
    assert_eq!([&told[3].since, &told[4].since], [acmes, globexs]);
    let windows = balances.each_ref().map(|balance| &*balance.budgets[0].window);
    assert_eq!(windows, [acmes, globexs]);
    true
}

#[tokio::test(start_paused = true)]
async fn what_was_charged_and_saved_is_summed_over_each_organizations_own_days() {
    // No two midnights follow each other at once.
    assert!(both_count_their_own_days().await || both_count_their_own_days().await);
}
