//! How budgets stand, and that an alert goes out once: the same from every ledger.

use kt_contract::time::UnixMillis;
use sidecar_cache::ledger::Operation;
use sidecar_cache::ledger::account::Scope;
use sidecar_cache::ledger::window::{Period, Zone};
use sidecar_cache::store::ledger::Level;

use crate::ledger_support::*;

ledger_suite! {
    every_current_budget_is_told_with_what_is_spent_and_set_aside
    the_limit_is_that_of_the_last_reserve
    a_window_that_is_over_is_told_no_more
    a_window_ends_where_the_organization_is
    what_lies_in_suspense_counts_as_spent
    organizations_have_levels_of_their_own
    an_alert_is_new_once
}

fn under(number: u64, amount: u64, scope: Scope, period: Period, limit: u64) -> Operation {
    Operation::Reserve(reservation(number, amount, vec![budget(scope, period, limit)]))
}

async fn levels(store: &Store) -> Vec<Level> {
    store.levels("acme".to_owned()).await.unwrap()
}

/// Account, limit, spent, pending.
async fn told(store: &Store) -> Vec<(String, [u64; 3])> {
    let levels = levels(store).await;
    let micros = |level: &Level| [level.limit, level.spent, level.pending].map(|usd| usd.micros());
    levels.iter().map(|level| (level.account().to_string(), micros(level))).collect()
}

fn row(name: &str, numbers: [u64; 3]) -> (String, [u64; 3]) {
    (name.to_owned(), numbers)
}

const ORG: &str = "budget:org:daily:2026-11-28";
const ADA: &str = "budget:user:ada:monthly:2026-11";

async fn every_current_budget_is_told_with_what_is_spent_and_set_aside(store: &Store, _: &Hands) {
    assert_eq!(levels(store).await, []);
    ask(&**store, fund(1, 1_000)).await;
    let ada = || Scope::User("ada".to_owned());
    let budgets =
        || vec![budget(Scope::Org, Period::Daily, 100), budget(ada(), Period::Monthly, 500)];
    ask(&**store, Operation::Reserve(reservation(2, 10, budgets()))).await;
    assert_eq!(told(store).await, [row(ORG, [100, 0, 10]), row(ADA, [500, 0, 10])]);
    ask(&**store, settle(2, 12)).await;
    ask(&**store, Operation::Reserve(reservation(3, 20, budgets()))).await;
    ask(&**store, extend(3, 25)).await;
    ask(&**store, refund(4, 2, 5)).await;
    assert_eq!(told(store).await, [row(ORG, [100, 7, 25]), row(ADA, [500, 7, 25])]);
    // What is refused changes nothing; what costs nothing is told as well.
    assert_eq!(
        ask(&**store, under(5, 99, Scope::Org, Period::Daily, 90)).await,
        "insufficient:org"
    );
    ask(&**store, under(6, 0, Scope::Agent("bot".to_owned()), Period::Daily, 7)).await;
    let bot = row("budget:agent:bot:daily:2026-11-28", [7, 0, 0]);
    assert_eq!(told(store).await, [bot, row(ORG, [100, 7, 25]), row(ADA, [500, 7, 25])]);
    let level = &levels(store).await[2];
    assert_eq!((&level.scope, level.period, &*level.window), (&ada(), Period::Monthly, "2026-11"));
    assert_eq!(level.until, UnixMillis(NOON + 2 * DAY + 12 * HOUR), "the first of December");
}

async fn the_limit_is_that_of_the_last_reserve(store: &Store, _: &Hands) {
    ask(&**store, fund(1, 1_000)).await;
    for (number, limit) in [(2, 100), (3, 100), (4, 70), (5, 90)] {
        ask(&**store, under(number, 10, Scope::Org, Period::Daily, limit)).await;
        let spent = 10 * (number - 1);
        assert_eq!(told(store).await, [row(ORG, [limit, 0, spent])]);
    }
    // A retry is no reserve.
    assert_eq!(
        ask(&**store, under(5, 10, Scope::Org, Period::Daily, 60)).await,
        "exists pending 10"
    );
    assert_eq!(told(store).await, [row(ORG, [90, 0, 40])]);
}

async fn a_window_that_is_over_is_told_no_more(store: &Store, hands: &Hands) {
    ask(&**store, fund(1, 1_000)).await;
    ask(&**store, under(2, 10, Scope::Org, Period::Daily, 100)).await;
    hands.pass(12 * HOUR - 1);
    assert_eq!(told(store).await.len(), 1);
    hands.pass(1);
    assert_eq!(told(store).await, []);
    ask(&**store, under(3, 10, Scope::Org, Period::Daily, 100)).await;
    assert_eq!(told(store).await, [row("budget:org:daily:2026-11-29", [100, 0, 10])]);
    // A wall clock that goes back brings no window back.
    hands.set_wall(NOON);
    assert_eq!(told(store).await, [row("budget:org:daily:2026-11-29", [100, 0, 10])]);
}

async fn a_window_ends_where_the_organization_is(store: &Store, hands: &Hands) {
    ask(&**store, fund(1, 1_000)).await;
    let budgets = vec![budget(Scope::Org, Period::Daily, 100)];
    let mut asked = reservation(2, 10, budgets);
    asked.zone = Zone::named("Pacific/Kiritimati").unwrap();
    ask(&**store, Operation::Reserve(asked)).await;
    // It is two in the morning there.
    hands.pass(22 * HOUR - 1);
    assert_eq!(told(store).await, [row("budget:org:daily:2026-11-29", [100, 0, 10])]);
    hands.pass(1);
    assert_eq!(told(store).await, []);
}

async fn what_lies_in_suspense_counts_as_spent(store: &Store, hands: &Hands) {
    ask(&**store, fund(1, 1_000)).await;
    ask(&**store, under(2, 10, Scope::Org, Period::Daily, 100)).await;
    hands.pass(TTL);
    store.expire_due(10).await.unwrap();
    assert_eq!(told(store).await, [row(ORG, [100, 10, 0])]);
    ask(&**store, release(2)).await;
    assert_eq!(told(store).await, [row(ORG, [100, 0, 0])]);
}

async fn organizations_have_levels_of_their_own(store: &Store, _: &Hands) {
    ask(&**store, fund(1, 1_000)).await;
    ask(&**store, under(2, 10, Scope::Org, Period::Daily, 100)).await;
    assert_eq!(store.levels("other".to_owned()).await.unwrap(), []);
}

async fn an_alert_is_new_once(store: &Store, _: &Hands) {
    let alert = |org: &str, name: &str| store.alerted(org.to_owned(), name.to_owned());
    assert!(alert("acme", ORG).await.unwrap());
    for _ in 0..2 {
        assert!(!alert("acme", ORG).await.unwrap());
    }
    assert!(alert("other", ORG).await.unwrap());
    assert!(alert("acme", ADA).await.unwrap());
    // Of many who ask at once, one is told.
    let asked: Vec<_> = (0..32)
        .map(|_| {
            let store = std::sync::Arc::clone(store);
            tokio::spawn(async move { store.alerted("acme".to_owned(), "x".to_owned()).await })
        })
        .collect();
    let mut first = 0;
    for answer in asked {
        first += usize::from(answer.await.unwrap().unwrap());
    }
    assert_eq!(first, 1);
}
