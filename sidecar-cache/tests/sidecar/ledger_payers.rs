//! Who pays: the wallet, the purse of a team, or, where nobody has paid in advance, the bank.

use sidecar_cache::ledger::Operation;
use sidecar_cache::ledger::account::{Payer, Scope};
use sidecar_cache::ledger::request::{Direction, Funding};
use sidecar_cache::ledger::window::Period;
use sidecar_cache::store::ledger::Balance;

use crate::ledger_support::*;

ledger_suite! {
    a_team_with_a_purse_pays_from_it_and_from_nothing_else
    a_purse_that_was_ever_filled_stays_one
    an_allocation_takes_no_more_than_is_available
    every_end_goes_to_who_has_paid
    an_overage_takes_a_purse_below_zero_until_it_is_filled
    without_a_wallet_only_budgets_bound_what_is_spent
    a_retry_is_the_same_reserve_whatever_purses_there_are_by_now
    a_frozen_organization_reserves_nothing_from_purses_either
    each_payer_has_a_bound_of_its_own
    purses_are_told_by_team
}

/// A call by somebody of a team, paid by this one.
fn by(payer: &Payer, number: u64, amount: u64) -> Operation {
    let budgets = vec![budget(Scope::Org, Period::Daily, 100_000)];
    let mut asked = reservation(number, amount, budgets);
    match payer {
        Payer::Wallet => {}
        Payer::Team(team) => asked.team = Some(team.clone()),
        Payer::Bank => asked.funding = Funding::Postpaid,
    }
    Operation::Reserve(asked)
}

fn of_team(number: u64, amount: u64, team: &str) -> Operation {
    by(&Payer::Team(team.to_owned()), number, amount)
}

fn fill(number: u64, amount: u64) -> Operation {
    allocate(number, "web", amount, Direction::Credit)
}

fn empty(number: u64, amount: u64) -> Operation {
    allocate(number, "web", amount, Direction::Debit)
}

async fn a_team_with_a_purse_pays_from_it_and_from_nothing_else(store: &Store, _: &Hands) {
    ask(&**store, fund(1, 100)).await;
    assert_eq!(ask(&**store, of_team(2, 10, "web")).await, "created pending 10", "no purse yet");
    assert_eq!(available(&**store).await, 90);
    assert_eq!(ask(&**store, fill(3, 30)).await, "created allocate 30");
    assert_eq!(ask(&**store, of_team(4, 20, "web")).await, "created pending 20");
    assert_eq!(ask(&**store, of_team(5, 20, "ops")).await, "created pending 20");
    assert_eq!((available(&**store).await, available_in(&**store, "team:web").await), (40, 10));
    // The wallet has it, and is not asked.
    assert_eq!(ask(&**store, of_team(6, 11, "web")).await, "insufficient:purse:web");
    assert_eq!(ask(&**store, extend(4, 31)).await, "insufficient:purse:web");
    assert_eq!(ask(&**store, reserve(6, 41)).await, "insufficient:wallet");
}

async fn a_purse_that_was_ever_filled_stays_one(store: &Store, _: &Hands) {
    ask(&**store, fund(1, 100)).await;
    ask(&**store, fill(2, 30)).await;
    assert_eq!(ask(&**store, empty(3, 30)).await, "created deallocate 30");
    assert_eq!(available(&**store).await, 100);
    assert_eq!(ask(&**store, of_team(4, 1, "web")).await, "insufficient:purse:web");
}

async fn an_allocation_takes_no_more_than_is_available(store: &Store, _: &Hands) {
    assert_eq!(ask(&**store, empty(9, 1)).await, "insufficient:purse:web");
    ask(&**store, fund(1, 100)).await;
    ask(&**store, reserve(2, 40)).await;
    assert_eq!(ask(&**store, fill(3, 61)).await, "insufficient:wallet");
    assert_eq!(ask(&**store, fill(3, 60)).await, "created allocate 60");
    ask(&**store, of_team(4, 25, "web")).await;
    assert_eq!(ask(&**store, empty(5, 36)).await, "insufficient:purse:web");
    assert_eq!(ask(&**store, empty(5, 35)).await, "created deallocate 35");
    assert_eq!((available(&**store).await, available_in(&**store, "team:web").await), (35, 0));
}

/// What the call of each way to end has cost in the end.
async fn ends(store: &Store, hands: &Hands, payer: &Payer, first: u64) -> u64 {
    let late = |n| async move {
        hands.pass(TTL);
        assert_eq!(ask(&**store, expire(n)).await, "created expire 10");
    };
    for n in first..first + 8 {
        assert_eq!(ask(&**store, by(payer, n, 10)).await, "created pending 10", "{payer:?}");
    }
    assert_eq!(ask(&**store, settle(first, 7)).await, "created post 7");
    assert_eq!(ask(&**store, settle(first + 1, 25)).await, "created post 25");
    assert_eq!(ask(&**store, release(first + 2)).await, "created void 10");
    assert_eq!(ask(&**store, extend(first + 3, 30)).await, "created extend 30");
    assert_eq!(ask(&**store, settle(first + 3, 28)).await, "created post 28");
    assert_eq!(ask(&**store, refund(first + 50, first + 3, 9)).await, "created refund 9");
    for n in first + 4..first + 8 {
        late(n).await;
    }
    assert_eq!(ask(&**store, late_settle(first + 4, 6)).await, "created late_post 6");
    assert_eq!(ask(&**store, late_settle(first + 5, 12)).await, "created late_post 12");
    assert_eq!(ask(&**store, release(first + 6)).await, "created late_void 10");
    hands.pass(DAY);
    assert_eq!(ask(&**store, give_back(first + 7)).await, "created return 10");
    assert_eq!(ask(&**store, late_settle(first + 7, 3)).await, "created late_post 3");
    7 + 25 + 28 - 9 + 6 + 12 + 3
}

async fn every_end_goes_to_who_has_paid(store: &Store, hands: &Hands) {
    ask(&**store, fund(1, 10_000)).await;
    ask(&**store, fill(2, 1_000)).await;
    let names = ["wallet", "team:web", "bank"];
    let payers = [Payer::Wallet, Payer::Team("web".to_owned()), Payer::Bank];
    for (payer, first) in payers.into_iter().zip([100, 200, 300]) {
        let mut expected = Vec::new();
        for name in names {
            expected.push(available_in(&**store, name).await);
        }
        let cost = ends(store, hands, &payer, first).await;
        for (name, left) in names.into_iter().zip(expected) {
            let paid = if name == payer.account().to_string() { cost.into() } else { 0 };
            assert_eq!(available_in(&**store, name).await, left - paid, "{payer:?}: {name}");
        }
        assert_eq!(available_in(&**store, "suspense").await, 0, "{payer:?}");
    }
    let accounts = store.accounts("acme".to_owned()).await.unwrap();
    let spent = accounts.iter().filter(|(name, _)| name.starts_with("budget:"));
    let spent: i128 = spent.map(|(_, account)| -account.available()).sum();
    assert_eq!(spent, 3 * 72, "budgets count whoever pays");
}

async fn an_overage_takes_a_purse_below_zero_until_it_is_filled(store: &Store, _: &Hands) {
    ask(&**store, fund(1, 100)).await;
    ask(&**store, fill(2, 10)).await;
    ask(&**store, of_team(3, 10, "web")).await;
    assert_eq!(ask(&**store, settle(3, 25)).await, "created post 25");
    assert_eq!((available(&**store).await, available_in(&**store, "team:web").await), (90, -15));
    assert_eq!(ask(&**store, of_team(4, 0, "web")).await, "insufficient:purse:web");
    assert_eq!(ask(&**store, fill(5, 15)).await, "created allocate 15");
    assert_eq!(ask(&**store, of_team(4, 0, "web")).await, "created pending 0");
}

async fn without_a_wallet_only_budgets_bound_what_is_spent(store: &Store, _: &Hands) {
    let asked = |number, amount| {
        let mut asked = reservation(number, amount, vec![budget(Scope::Org, Period::Daily, 1_000)]);
        asked.funding = Funding::Postpaid;
        asked.team = Some("web".to_owned());
        Operation::Reserve(asked)
    };
    assert_eq!(ask(&**store, asked(1, 900)).await, "created pending 900");
    assert_eq!(ask(&**store, asked(2, 101)).await, "insufficient:org");
    assert_eq!(ask(&**store, extend(1, 1_001)).await, "insufficient:org");
    ask(&**store, settle(1, 1_500)).await;
    assert_eq!(ask(&**store, asked(2, 0)).await, "insufficient:org");
    assert_eq!(available_in(&**store, "bank").await, -1_500);
    // Even where there is a wallet and a purse.
    ask(&**store, fund(3, 100)).await;
    ask(&**store, fill(4, 50)).await;
    let mut unbounded = reservation(5, 9_000, Vec::new());
    unbounded.funding = Funding::Postpaid;
    unbounded.team = Some("web".to_owned());
    assert_eq!(ask(&**store, Operation::Reserve(unbounded)).await, "created pending 9000");
    assert_eq!((available(&**store).await, available_in(&**store, "team:web").await), (50, 50));
}

async fn a_retry_is_the_same_reserve_whatever_purses_there_are_by_now(store: &Store, _: &Hands) {
    ask(&**store, fund(1, 100)).await;
    ask(&**store, of_team(2, 10, "web")).await;
    ask(&**store, fill(3, 50)).await;
    ask(&**store, of_team(4, 10, "web")).await;
    for number in [2, 4] {
        assert_eq!(ask(&**store, of_team(number, 10, "web")).await, "exists pending 10");
        assert_eq!(ask(&**store, by(&Payer::Bank, number, 10)).await, "exists_different");
    }
    assert_eq!(ask(&**store, of_team(4, 10, "ops")).await, "exists_different");
    ask(&**store, settle(2, 10)).await;
    ask(&**store, settle(4, 10)).await;
    assert_eq!((available(&**store).await, available_in(&**store, "team:web").await), (40, 40));
}

async fn a_frozen_organization_reserves_nothing_from_purses_either(store: &Store, _: &Hands) {
    ask(&**store, fund(1, 100)).await;
    ask(&**store, fill(2, 50)).await;
    ask(&**store, of_team(3, 10, "web")).await;
    store.freeze("acme".to_owned(), "test".to_owned()).await.unwrap();
    for (operation, answer) in [
        (of_team(4, 10, "web"), "frozen"),
        (by(&Payer::Bank, 4, 10), "frozen"),
        (extend(3, 20), "frozen"),
        // Who looks at it may move money, and what runs ends.
        (empty(5, 10), "created deallocate 10"),
        (fill(6, 10), "created allocate 10"),
        (settle(3, 12), "created post 12"),
    ] {
        let text = format!("{operation:?}");
        assert_eq!(ask(&**store, operation).await, answer, "{text}");
    }
}

async fn each_payer_has_a_bound_of_its_own(store: &Store, hands: &Hands) {
    ask(&**store, fund(1, 100)).await;
    ask(&**store, fill(2, 50)).await;
    for (number, payer) in
        [(3, Payer::Wallet), (4, Payer::Team("web".to_owned())), (5, Payer::Bank)]
    {
        ask(&**store, by(&payer, number, 10)).await;
    }
    ask(&**store, of_team(6, 10, "web")).await;
    // Each may cost 1,010 and holds 10.
    let holds = store.holds("acme".to_owned()).await.unwrap();
    let bound = |payer| Balance::shortfall_of(&payer, &holds);
    assert_eq!(store.balance("acme".to_owned()).await.unwrap().shortfall_max, 1_000);
    assert_eq!(bound(Payer::Wallet), 1_000);
    assert_eq!(bound(Payer::Team("web".to_owned())), 2_000);
    assert_eq!(bound(Payer::Team("ops".to_owned())), 0);
    hands.pass(TTL);
    store.expire_due(10).await.unwrap();
    let holds = store.holds("acme".to_owned()).await.unwrap();
    assert_eq!((holds.len(), Balance::shortfall_of(&Payer::Wallet, &holds)), (4, 0));
}

async fn purses_are_told_by_team(store: &Store, _: &Hands) {
    ask(&**store, fund(1, 100)).await;
    for (number, team, amount) in [(2, "web", 30), (3, "", 5), (4, "a:b;c", 7), (5, "Ops", 1)] {
        ask(&**store, allocate(number, team, amount, Direction::Credit)).await;
    }
    // Nobody has filled this one, whose budget is no purse either.
    let team = Scope::Team("quiet".to_owned());
    let mut asked = reservation(6, 10, vec![budget(team, Period::Daily, 100)]);
    asked.team = Some("quiet".to_owned());
    ask(&**store, Operation::Reserve(asked)).await;
    let told = store.balance("acme".to_owned()).await.unwrap().purses;
    let told: Vec<_> = told.iter().map(|(team, purse)| (&**team, purse.available())).collect();
    assert_eq!(told, [("", 5), ("Ops", 1), ("a:b;c", 7), ("web", 30)]);
    let page = store.history("acme".to_owned(), None, 2).await.unwrap();
    assert_eq!((page[0].1.team.as_deref(), page[1].1.team.as_deref()), (None, Some("Ops")));
    assert_eq!(store.balance("other".to_owned()).await.unwrap().purses, []);
}
