//! A call that fails is made again in the name of one who waits: with the money of that one, and with nobody else's.

use std::collections::BTreeMap;
use std::time::Duration;

use kt_contract::money::MicroUsd;
use kt_contract::outcome::Outcome;
use sidecar_cache::ledger::request::Purpose;
use sidecar_cache::ledger::{Hold, State};
use sidecar_cache::store::ledger::LedgerStore as _;

use crate::support::*;
use crate::wallet::{COST, FUNDS, Paying, paying, rows};

/// Teams and users have budgets, and each of the two teams a purse.
const BUDGETS: &str = "wallet: {}
budgets: {teams: {web: {daily_limit_usd: 1}, ops: {daily_limit_usd: 1}}, users: {default_daily_usd: 1}}
";
const PURSE: u64 = 10_000;

/// What is posted and what is set aside, of every account that is somebody's of `acme`: budgets count what they
/// pay out, purses what they have.
async fn accounts(paying: &Paying) -> BTreeMap<String, (i128, u64)> {
    let accounts = paying.ledger.accounts("acme".to_owned()).await.unwrap();
    let of_somebody = accounts.into_iter().filter(|(name, _)| name.contains(':'));
    let of_somebody = of_somebody.filter(|(name, _)| !name.starts_with("spend:"));
    let known = of_somebody.map(|(name, account)| {
        // Without the day, which is whichever it is.
        let name = name.split(":daily").next().unwrap_or_default().to_owned();
        let posted = i128::from(account.credits.posted) - i128::from(account.debits.posted);
        (name, (posted, account.debits.pending()))
    });
    known.collect()
}

/// The holds that live, each with whose call it is.
async fn live(paying: &Paying) -> Vec<(Hold, [String; 3])> {
    let holds = paying.ledger.holds("acme".to_owned()).await.unwrap().into_iter();
    holds
        .filter(|hold| matches!(hold.state, State::Open { .. }))
        .map(|hold| {
            let Purpose::Call(call) = &hold.terms.purpose else { panic!("no call: {hold:?}") };
            let whose = [call.team.clone(), call.user.clone(), Some(call.key_id.clone())];
            let whose = whose.map(Option::unwrap_or_default);
            (hold, whose)
        })
        .collect()
}

/// What the accounts are to be, by name: posted and set aside.
fn told<const N: usize>(accounts: [(&str, (u64, i128), u64); N]) -> BTreeMap<String, (i128, u64)> {
    let told = |(name, (had, change), pending): (&str, (u64, i128), u64)| {
        (name.to_owned(), (i128::from(had) + change, pending))
    };
    accounts.map(told).into()
}

#[tokio::test(start_paused = true)]
async fn who_is_promoted_after_a_failed_call_pays_for_the_next_and_the_failed_one_costs_nobody() {
    let paying = paying(BUDGETS, FUNDS).await;
    let key = |team: &'static str, user: &'static str| {
        paying.group.key_with(move |key| {
            (key.team, key.user) = (Some(team.to_owned()), Some(user.to_owned()));
        })
    };
    let (ada, bob) = (key("web", "ada").await, key("ops", "bob").await);
    for team in ["web", "ops"] {
        paying.allocate(team, PURSE).await;
    }
    let slow = Scripted { head_after: Duration::from_secs(3), ..answers_json(JSON) };
    paying.group.provider.next(Scripted { status: 500, ..slow.clone() });
    paying.group.provider.next(slow);
    let clients = paying.crowd(&[&ada, &bob], CHAT).await;

    let [(first, whose)] = &live(paying).await[..] else { panic!("one leads") };
    assert_eq!(whose, &["web", "ada", &ada.principal.key_id].map(str::to_owned));
    let held = first.held.micros();
    let all_of_web = [
        ("team:web", (PURSE, 0), held),
        ("team:ops", (PURSE, 0), 0),
        ("budget:team:web", (0, 0), held),
        ("budget:user:ada", (0, 0), held),
    ];
    assert_eq!(accounts(paying).await, told(all_of_web));

    // Until it has failed, and a pause behind that.
    while paying.group.provider.count() < 2 {
        pass(Duration::from_millis(250)).await;
    }
    let [(second, whose)] = &live(paying).await[..] else { panic!("the other leads") };
    assert_eq!(whose, &["ops", "bob", &bob.principal.key_id].map(str::to_owned));
    let all_of_ops = [
        ("team:web", (PURSE, 0), 0),
        ("team:ops", (PURSE, 0), held),
        ("budget:team:web", (0, 0), 0),
        ("budget:user:ada", (0, 0), 0),
        ("budget:team:ops", (0, 0), held),
        ("budget:user:bob", (0, 0), held),
    ];
    assert_eq!(accounts(paying).await, told(all_of_ops));

    let mut seen = Vec::new();
    for client in clients {
        let answer = client.await.unwrap().unwrap();
        seen.push((answer.head.status, answer.head.cache.0));
    }
    assert_eq!(
        seen,
        [(500, Outcome::Miss), (200, Outcome::Miss)],
        "who led is told, who waited served"
    );
    let state = async |hold: &Hold| paying.ledger.hold(hold.id).await.unwrap().unwrap().state;
    let actual = MicroUsd::new(COST).unwrap();
    let ends = [state(first).await, state(second).await];
    assert_eq!(ends, [State::Released, State::Settled { actual }]);
    let cost = -i128::from(COST);
    let paid = [
        ("team:web", (PURSE, 0), 0),
        ("team:ops", (PURSE, cost), 0),
        ("budget:team:web", (0, 0), 0),
        ("budget:user:ada", (0, 0), 0),
        ("budget:team:ops", (0, cost), 0),
        ("budget:user:bob", (0, cost), 0),
    ];
    assert_eq!(accounts(paying).await, told(paid));
    assert_eq!(paying.available().await, i128::from(FUNDS - 2 * PURSE), "the wallet pays nothing");
    let made = [("allocate", 2), ("pending", 2), ("void", 1), ("post", 1)];
    assert_eq!(paying.rows().await, rows(made));
    assert!(paying.is_clean().await);
}
