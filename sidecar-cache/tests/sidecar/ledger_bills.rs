//! What was charged, by labels: the same exact sums from every ledger.

use kt_contract::time::UnixMillis;
use sidecar_cache::ledger::Operation;
use sidecar_cache::ledger::bill::Billed;
use sidecar_cache::ledger::request::{CallOf, Funding, Purpose, Refund};

use crate::ledger_support::*;

ledger_suite! {
    what_was_charged_is_billed_by_whose_call_it_was
    a_charge_counts_in_the_window_that_it_was_made_in
    a_bill_says_how_much_is_estimated
    an_allotment_is_on_no_bill
    a_bill_is_that_of_one_organization_or_of_all
    of_many_rows_a_window_has_its_own
}

fn call(model: &str, team: Option<&str>, user: Option<&str>, codebase: Option<&str>) -> CallOf {
    CallOf {
        provider: "openai".to_owned(),
        model: model.to_owned(),
        team: team.map(str::to_owned),
        user: user.map(str::to_owned),
        codebase: codebase.map(str::to_owned),
        ..CallOf::default()
    }
}

fn of(call: CallOf, number: u64, amount: u64) -> Operation {
    let mut asked = reservation(number, amount, Vec::new());
    asked.purpose = Purpose::Call(call);
    Operation::Reserve(asked)
}

fn line(call: &CallOf, calls: u64, charged: i128, estimated: u128) -> Billed {
    Billed {
        org: "acme".to_owned(),
        provider: call.provider.clone(),
        model: call.model.clone(),
        team: call.team.clone(),
        user: call.user.clone(),
        codebase: call.codebase.clone(),
        calls,
        charged,
        estimated,
    }
}

async fn bill(store: &Store, since: u64, until: u64) -> Vec<Billed> {
    store.billed(Some("acme".to_owned()), UnixMillis(since), UnixMillis(until)).await.unwrap()
}

async fn what_was_charged_is_billed_by_whose_call_it_was(store: &Store, hands: &Hands) {
    assert_eq!(bill(store, 0, u64::MAX).await, []);
    ask(&**store, fund(1, 10_000)).await;
    let calls = [
        call("a", None, None, None),
        call("a", None, Some("ada"), None),
        call("a", Some("web"), None, None),
        call("a", Some("web"), None, Some("shop")),
        call("b", None, None, None),
    ];
    for (number, labels) in (10..).zip(&calls) {
        // Two that are charged, and three that are not: released, open, and in suspense.
        for (nth, answer) in
            [(0, settle(number, 7)), (100, settle(number + 100, 25)), (200, release(number + 200))]
        {
            assert_eq!(
                ask(&**store, of(labels.clone(), number + nth, 10)).await,
                "created pending 10"
            );
            ask(&**store, answer).await;
        }
        ask(&**store, of(labels.clone(), number + 300, 10)).await;
        ask(&**store, of(labels.clone(), number + 400, 10)).await;
    }
    let each: Vec<_> = calls.iter().map(|call| line(call, 2, 32, 0)).collect();
    assert_eq!(bill(store, 0, u64::MAX).await, each);
    // What comes late, what is paid after the return, and what comes back.
    hands.pass(TTL);
    store.expire_due(100).await.unwrap();
    assert_eq!(bill(store, 0, u64::MAX).await, each, "suspense is no charge");
    ask(&**store, late_settle(310, 4)).await;
    hands.pass(DAY);
    store.expire_due(100).await.unwrap();
    ask(&**store, late_settle(410, 3)).await;
    ask(&**store, refund(900, 110, 5)).await;
    let mut expected = each;
    expected[0] = line(&calls[0], 4, 32 + 4 + 3 - 5, 0);
    assert_eq!(bill(store, 0, u64::MAX).await, expected);
    let sum: i128 = expected.iter().map(|line| line.charged).sum();
    assert_eq!(available(&**store).await, 10_000 - sum, "nothing is missing on the bill");
}

async fn a_charge_counts_in_the_window_that_it_was_made_in(store: &Store, hands: &Hands) {
    ask(&**store, fund(1, 1_000)).await;
    let labels = call("a", None, None, None);
    ask(&**store, of(labels.clone(), 2, 10)).await;
    ask(&**store, of(labels.clone(), 3, 10)).await;
    hands.pass(SECOND);
    ask(&**store, settle(2, 12)).await;
    hands.pass(SECOND);
    ask(&**store, settle(3, 9)).await;
    hands.pass(SECOND);
    ask(&**store, refund(4, 2, 5)).await;
    for (since, until, calls, charged) in [
        (0, 4, 2, 16),
        (1, 2, 1, 12),
        (2, 3, 1, 9),
        (1, 3, 2, 21),
        // What was charged before is given back in this one.
        (3, 4, 0, -5),
    ] {
        let found = bill(store, NOON + since * SECOND, NOON + until * SECOND).await;
        assert_eq!(found, [line(&labels, calls, charged, 0)], "{since} {until}");
    }
    for (since, until) in
        [(0, NOON + SECOND), (NOON + 3 * SECOND + 1, u64::MAX), (NOON + DAY, NOON), (5, 5)]
    {
        assert_eq!(bill(store, since, until).await, [], "{since} {until}");
    }
    // From the first millisecond of a window to the last.
    for (since, until, count) in
        [(0, SECOND, 0), (0, SECOND + 1, 1), (SECOND, SECOND + 1, 1), (SECOND + 1, 2 * SECOND, 0)]
    {
        assert_eq!(bill(store, NOON + since, NOON + until).await.len(), count, "{since} {until}");
    }
}

async fn a_bill_says_how_much_is_estimated(store: &Store, hands: &Hands) {
    ask(&**store, fund(1, 1_000)).await;
    let labels = call("a", None, None, None);
    for number in 2..6 {
        ask(&**store, of(labels.clone(), number, 10)).await;
    }
    let (hold, estimated) = (id(2), true);
    ask(&**store, Operation::Settle { hold, actual: usd(14), estimated }).await;
    ask(&**store, settle(3, 14)).await;
    hands.pass(TTL);
    store.expire_due(10).await.unwrap();
    let hold = id(4);
    ask(&**store, Operation::LateSettle { hold, actual: usd(3), estimated }).await;
    // What people write is theirs.
    let (hold, amount, note) = (id(2), usd(4), "estimated".to_owned());
    ask(&**store, Operation::Refund(Refund { id: id(9), hold, amount, note })).await;
    assert_eq!(bill(store, 0, u64::MAX).await, [line(&labels, 3, 14 + 14 + 3 - 4, 14 + 3)]);
}

async fn an_allotment_is_on_no_bill(store: &Store, _: &Hands) {
    ask(&**store, fund(1, 100)).await;
    let mut asked = reservation(2, 50, Vec::new());
    asked.purpose = Purpose::Allotment("sidecar-b".to_owned());
    ask(&**store, Operation::Reserve(asked)).await;
    ask(&**store, settle(2, 20)).await;
    assert_eq!(bill(store, 0, u64::MAX).await, []);
}

async fn a_bill_is_that_of_one_organization_or_of_all(store: &Store, _: &Hands) {
    let labels = call("a", None, None, None);
    for (number, org) in [(2, "acme"), (3, "other"), (4, "acme")] {
        let mut asked = reservation(number, 10, Vec::new());
        (asked.org, asked.funding) = (org.to_owned(), Funding::Postpaid);
        asked.purpose = Purpose::Call(labels.clone());
        ask(&**store, Operation::Reserve(asked)).await;
        ask(&**store, settle(number, number)).await;
    }
    let all = store.billed(None, UnixMillis(0), UnixMillis(u64::MAX)).await.unwrap();
    let other = Billed { org: "other".to_owned(), ..line(&labels, 1, 3, 0) };
    assert_eq!(all, [line(&labels, 2, 6, 0), other]);
    assert_eq!(bill(store, 0, u64::MAX).await, [line(&labels, 2, 6, 0)]);
}

async fn of_many_rows_a_window_has_its_own(store: &Store, hands: &Hands) {
    ask(&**store, fund(1, 100_000)).await;
    let labels = call("a", None, None, None);
    // Some moments have many rows, and some have none.
    for number in 2..102 {
        hands.pass(number % 4);
        ask(&**store, of(labels.clone(), number, 10)).await;
        ask(&**store, settle(number, number)).await;
    }
    let history = store.history("acme".to_owned(), None, 1_000).await.unwrap();
    let last = hands.wall() + 1;
    for since in (NOON..=last).step_by(7) {
        for until in (since..=last).step_by(11) {
            let rows = history.iter().map(|(_, row)| row);
            let charges =
                rows.filter(|row| row.kind.is_charge() && (since..until).contains(&row.at.0));
            let charged: i128 = charges.map(|row| i128::from(row.amount.micros())).sum();
            let found = bill(store, since, until).await;
            assert_eq!(found.first().map_or(0, |line| line.charged), charged, "{since} {until}");
        }
    }
}
