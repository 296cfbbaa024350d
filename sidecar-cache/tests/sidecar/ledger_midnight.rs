//! A budget that is full until midnight and free from then on, while many ask and what was set aside before ends: the same from every
//! ledger, to the micro-dollar.

use std::ops::Range;
use std::sync::Arc;

use sidecar_cache::ledger::Operation;
use sidecar_cache::ledger::account::Scope;
use sidecar_cache::ledger::window::Period;
use tokio::task::JoinHandle;

use crate::ledger_support::*;

ledger_suite! {
    a_budget_that_is_full_before_midnight_is_free_after_it
    midnight_comes_while_many_ask_and_each_is_in_one_day
}

const SATURDAY: &str = "budget:org:daily:2026-11-28";
const SUNDAY: &str = "budget:org:daily:2026-11-29";
/// What each asks for, and how many have it in a day.
const EACH: u64 = 10;
const FIT: usize = 10;
const FUNDS: u64 = 1_000_000;

/// Asks at once for a hold of each number, under a day's limit that ten have; tells whose was granted.
fn ask_at_once(store: &Store, numbers: Range<u64>) -> Vec<JoinHandle<Option<u64>>> {
    let ask_one = |number: u64| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            let budgets = vec![budget(Scope::Org, Period::Daily, EACH * FIT as u64)];
            let asked = Operation::Reserve(reservation(number, EACH, budgets));
            match ask(&*store, asked).await.as_str() {
                "created pending 10" => Some(number),
                refused => {
                    assert_eq!(refused, "insufficient:org");
                    None
                }
            }
        })
    };
    numbers.map(ask_one).collect()
}

async fn granted(asked: Vec<JoinHandle<Option<u64>>>) -> Vec<u64> {
    let mut granted = Vec::new();
    for one in asked {
        granted.extend(one.await.unwrap());
    }
    granted
}

/// Ends each of them at a cost.
fn end_at_once(store: &Store, holds: &[u64], cost: u64) -> Vec<JoinHandle<()>> {
    let end_one = |number: u64| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            let told = ask(&*store, settle(number, cost)).await;
            assert_eq!(told, format!("created post {cost}"));
        })
    };
    holds.iter().map(|number| end_one(*number)).collect()
}

/// What is spent of a day, and what is set aside; nothing, where it has no account.
async fn stands(store: &Store, day: &str) -> [i128; 2] {
    let accounts = store.accounts("acme".to_owned()).await.unwrap();
    let found = accounts.iter().find(|(name, _)| name == day);
    found.map_or([0, 0], |(_, account)| {
        [account.debits.posted, account.debits.pending()].map(i128::from)
    })
}

async fn a_budget_that_is_full_before_midnight_is_free_after_it(store: &Store, hands: &Hands) {
    ask(&**store, fund(1, FUNDS)).await;
    // The last millisecond of the day.
    hands.pass(12 * HOUR - 1);
    let before = granted(ask_at_once(store, 100..164)).await;
    assert_eq!(before.len(), FIT);
    assert_eq!(granted(ask_at_once(store, 200..264)).await, [0; 0], "it is full");
    assert_eq!([stands(store, SATURDAY).await, stands(store, SUNDAY).await], [[0, 100], [0, 0]]);
    hands.pass(1);
    // What was set aside before ends beside those who ask now, and makes no room for them.
    let (ending, asked) = (end_at_once(store, &before, 7), ask_at_once(store, 300..364));
    let after = granted(asked).await;
    for ended in ending {
        ended.await.unwrap();
    }
    assert_eq!(after.len(), FIT);
    assert_eq!([stands(store, SATURDAY).await, stands(store, SUNDAY).await], [[70, 0], [0, 100]]);
    for ended in end_at_once(store, &after, 9) {
        ended.await.unwrap();
    }
    assert_eq!([stands(store, SATURDAY).await, stands(store, SUNDAY).await], [[70, 0], [90, 0]]);
    assert_eq!(granted(ask_at_once(store, 400..464)).await.len(), 1, "ten more are left of it");
    assert_eq!(available(&**store).await, i128::from(FUNDS - 70 - 90 - EACH));
}

async fn midnight_comes_while_many_ask_and_each_is_in_one_day(store: &Store, hands: &Hands) {
    ask(&**store, fund(1, FUNDS)).await;
    hands.pass(12 * HOUR - 1);
    let first = granted(ask_at_once(store, 100..104)).await;
    let (ending, mut early) = (end_at_once(store, &first, EACH), ask_at_once(store, 200..264));
    // Some are asked before midnight at least, and some after it.
    let one = early.remove(0).await.unwrap();
    hands.pass(1);
    let late = ask_at_once(store, 300..364);
    let made = one.into_iter().count() + granted(early).await.len() + granted(late).await.len();
    for ended in ending {
        ended.await.unwrap();
    }
    // Of one day or of the other, as it came; of each no more than there is, and all of the new one is asked for.
    let [saturday, sunday] = [stands(store, SATURDAY).await, stands(store, SUNDAY).await];
    assert_eq!(saturday[0], 4 * i128::from(EACH));
    assert!((10..=60).contains(&saturday[1]), "{saturday:?}");
    assert_eq!(sunday, [0, 100]);
    assert_eq!(saturday[1] + 100, i128::from(EACH) * i128::try_from(made).unwrap());
    assert_eq!(granted(ask_at_once(store, 400..464)).await, [0; 0]);
    assert_eq!(available(&**store).await, i128::from(FUNDS) - 40 - saturday[1] - 100);
}
