//! Calls that a sidecar has reserved from an allotment, as they are booked: with their own rows, out of the allotment,
//! whatever has become of it meanwhile.

use sidecar_cache::ledger::request::{Draw, DrawnEnd, Purpose, Reserve};
use sidecar_cache::ledger::{Kind, Operation};
use sidecar_cache::store::ledger::LedgerStore;

use crate::ledger_support::*;

ledger_suite! {
    a_call_is_booked_with_its_own_rows_out_of_the_allotment
    a_call_that_cost_more_than_it_held_takes_the_rest_from_the_wallet
    a_call_that_cost_nothing_takes_nothing
    what_time_has_ended_is_drawn_from_suspense_and_only_the_rest_returns
    a_call_that_is_told_after_all_has_returned_is_paid_anew
    a_call_that_was_made_is_booked_from_a_frozen_wallet_and_from_one_below_zero
    a_call_that_goes_on_has_a_hold_like_any_other
    nothing_is_drawn_from_what_is_no_allotment_of_the_organization
    an_allotment_of_a_team_with_a_purse_is_paid_from_there
}

/// An allotment.
fn allot(number: u64, amount: u64) -> Operation {
    Operation::Reserve(allotment(number, amount))
}

fn allotment(number: u64, amount: u64) -> Reserve {
    let purpose = Purpose::Allotment("sidecar-a".to_owned());
    Reserve { purpose, ..reservation(number, amount, Vec::new()) }
}

fn draw(from: u64, number: u64, amount: u64, end: Option<DrawnEnd>) -> Operation {
    let reserve = reservation(number, amount, Vec::new());
    Operation::Draw(Draw { allotment: id(from), reserve, end })
}

fn cost(actual: u64) -> Option<DrawnEnd> {
    Some(DrawnEnd::Settle { actual: usd(actual), estimated: false })
}

async fn rows(store: &dyn LedgerStore) -> Vec<(Kind, u64)> {
    let rows = store.transfers("acme".to_owned(), 0, 1_000).await.unwrap();
    rows.into_iter().map(|(_, row)| (row.kind, row.amount.micros())).collect()
}

async fn suspense(store: &dyn LedgerStore) -> i128 {
    store.balance("acme".to_owned()).await.unwrap().suspense.available()
}

async fn a_call_is_booked_with_its_own_rows_out_of_the_allotment(store: &Store, _: &Hands) {
    ask(&**store, fund(1, 1_000)).await;
    assert_eq!(ask(&**store, allot(10, 100)).await, "created pending 100");
    assert_eq!(available(&**store).await, 900);
    assert_eq!(ask(&**store, draw(10, 20, 30, cost(12))).await, "created post 12");
    assert_eq!(ask(&**store, draw(10, 20, 30, cost(12))).await, "exists post 12");
    assert_eq!(ask(&**store, draw(10, 20, 30, cost(13))).await, "already_settled");
    assert_eq!(ask(&**store, draw(10, 20, 31, cost(12))).await, "exists_different");
    assert_eq!(ask(&**store, reserve(20, 30)).await, "exists pending 30");
    assert_eq!(available(&**store).await, 900, "what it cost was out of there");
    assert_eq!(ask(&**store, draw(10, 21, 88, cost(88))).await, "created post 88");
    assert_eq!(ask(&**store, release(10)).await, "created void 0");
    assert_eq!(available(&**store).await, 900);
    let mut expected = vec![(Kind::Fund, 1_000), (Kind::Pending, 100)];
    expected.extend([(Kind::Draw, 12), (Kind::Pending, 30), (Kind::Post, 12)]);
    expected.extend([(Kind::Draw, 88), (Kind::Pending, 88), (Kind::Post, 88), (Kind::Void, 0)]);
    assert_eq!(rows(&**store).await, expected);
    assert_eq!(store.holds("acme".to_owned()).await.unwrap(), []);
    let hold = store.hold(id(20)).await.unwrap().unwrap();
    assert_eq!((hold.charged(), hold.terms.drawn), (Some(usd(12)), Some(id(10).0)));
}

async fn a_call_that_cost_more_than_it_held_takes_the_rest_from_the_wallet(
    store: &Store,
    _: &Hands,
) {
    ask(&**store, fund(1, 100)).await;
    ask(&**store, allot(10, 100)).await;
    assert_eq!(ask(&**store, draw(10, 20, 30, cost(50))).await, "created post 50");
    assert_eq!(available(&**store).await, -20);
    let held = store.hold(id(10)).await.unwrap().unwrap().held;
    assert_eq!(held, usd(70));
}

async fn a_call_that_cost_nothing_takes_nothing(store: &Store, _: &Hands) {
    ask(&**store, fund(1, 100)).await;
    ask(&**store, allot(10, 100)).await;
    let released = draw(10, 20, 30, Some(DrawnEnd::Release));
    assert_eq!(ask(&**store, released.clone()).await, "created void 30");
    assert_eq!(ask(&**store, released).await, "exists void 30");
    assert_eq!(ask(&**store, draw(10, 21, 30, cost(0))).await, "created post 0");
    assert_eq!(ask(&**store, release(10)).await, "created void 100");
    assert_eq!(available(&**store).await, 100);
}

async fn what_time_has_ended_is_drawn_from_suspense_and_only_the_rest_returns(
    store: &Store,
    hands: &Hands,
) {
    ask(&**store, fund(1, 1_000)).await;
    ask(&**store, allot(10, 100)).await;
    ask(&**store, draw(10, 20, 30, cost(12))).await;
    hands.pass(TTL);
    assert_eq!(store.expire_due(10).await.unwrap(), 1);
    assert_eq!((available(&**store).await, suspense(&**store).await), (900, 88));
    assert_eq!(ask(&**store, draw(10, 21, 30, cost(30))).await, "created post 30");
    assert_eq!(ask(&**store, draw(10, 22, 30, cost(40))).await, "created post 40");
    assert_eq!((available(&**store).await, suspense(&**store).await), (890, 28));
    audited(&**store).await;
    hands.pass(DAY);
    assert_eq!(store.expire_due(10).await.unwrap(), 1);
    assert_eq!((available(&**store).await, suspense(&**store).await), (918, 0));
    assert_eq!(rows(&**store).await.pop(), Some((Kind::Return, 28)));
}

async fn a_call_that_is_told_after_all_has_returned_is_paid_anew(store: &Store, hands: &Hands) {
    ask(&**store, fund(1, 100)).await;
    ask(&**store, allot(10, 100)).await;
    hands.pass(TTL);
    store.expire_due(10).await.unwrap();
    hands.pass(DAY);
    store.expire_due(10).await.unwrap();
    ask(&**store, reserve(30, 100)).await;
    assert_eq!(ask(&**store, draw(10, 20, 30, cost(12))).await, "created post 12");
    assert_eq!(available(&**store).await, -12);
    // As it is from one that was given back.
    ask(&**store, release(30)).await;
    ask(&**store, allot(11, 50)).await;
    ask(&**store, release(11)).await;
    assert_eq!(ask(&**store, draw(11, 21, 30, cost(12))).await, "created post 12");
    assert_eq!(available(&**store).await, 76);
}

async fn a_call_that_was_made_is_booked_from_a_frozen_wallet_and_from_one_below_zero(
    store: &Store,
    _: &Hands,
) {
    ask(&**store, fund(1, 100)).await;
    ask(&**store, allot(10, 50)).await;
    ask(&**store, reserve(11, 50)).await;
    ask(&**store, settle(11, 200)).await;
    assert_eq!(available(&**store).await, -150);
    store.freeze("acme".to_owned(), "test".to_owned()).await.unwrap();
    assert_eq!(ask(&**store, allot(12, 0)).await, "frozen");
    assert_eq!(ask(&**store, draw(10, 20, 30, cost(30))).await, "created post 30");
    assert_eq!(available(&**store).await, -150, "it was set aside before");
}

async fn a_call_that_goes_on_has_a_hold_like_any_other(store: &Store, hands: &Hands) {
    ask(&**store, fund(1, 200)).await;
    ask(&**store, allot(10, 100)).await;
    assert_eq!(ask(&**store, draw(10, 20, 30, None)).await, "created pending 30");
    assert_eq!(ask(&**store, draw(10, 20, 30, None)).await, "exists pending 30");
    assert_eq!(ask(&**store, extend(20, 45)).await, "created extend 45");
    assert_eq!(available(&**store).await, 85);
    // Whoever does not know whether it was handed over ends it all the same.
    assert_eq!(ask(&**store, draw(10, 20, 30, cost(40))).await, "created post 40");
    assert_eq!(available(&**store).await, 90);
    ask(&**store, draw(10, 21, 30, None)).await;
    hands.pass(TTL);
    assert_eq!(store.expire_due(10).await.unwrap(), 2);
    assert_eq!(suspense(&**store).await, 70);
    assert_eq!(ask(&**store, draw(10, 21, 30, cost(10))).await, "created late_post 10");
    assert_eq!((available(&**store).await, suspense(&**store).await), (110, 40));
}

async fn nothing_is_drawn_from_what_is_no_allotment_of_the_organization(store: &Store, _: &Hands) {
    ask(&**store, fund(1, 1_000)).await;
    ask(&**store, allot(10, 100)).await;
    ask(&**store, reserve(11, 100)).await;
    for from in [1, 11, 99] {
        let asked = ask(&**store, draw(from, 20, 30, cost(12))).await;
        assert_eq!(asked, "not_found", "{from}");
    }
    assert_eq!(ask(&**store, draw(10, 11, 30, cost(12))).await, "exists_different");
    let Operation::Draw(mut foreign) = draw(10, 20, 30, cost(12)) else { unreachable!() };
    foreign.reserve.org = "globex".to_owned();
    assert_eq!(ask(&**store, Operation::Draw(foreign)).await, "not_found");
    assert_eq!(available(&**store).await, 800);
}

async fn an_allotment_of_a_team_with_a_purse_is_paid_from_there(store: &Store, _: &Hands) {
    ask(&**store, fund(1, 1_000)).await;
    ask(&**store, fill(2, 300)).await;
    let team = || Some("web".to_owned());
    let asked = Reserve { team: team(), ..allotment(10, 100) };
    assert_eq!(ask(&**store, Operation::Reserve(asked)).await, "created pending 100");
    let Operation::Draw(mut asked) = draw(10, 20, 30, cost(12)) else { unreachable!() };
    asked.reserve.team = team();
    assert_eq!(ask(&**store, Operation::Draw(asked)).await, "created post 12");
    ask(&**store, release(10)).await;
    let balance = store.balance("acme".to_owned()).await.unwrap();
    assert_eq!(balance.purses[0].1.available(), 288);
    assert_eq!(balance.wallet.available(), 700);
}

fn fill(number: u64, amount: u64) -> Operation {
    allocate(number, "web", amount, sidecar_cache::ledger::request::Direction::Credit)
}
