//! Calls that passed without a sidecar: they are made, so that the wallet pays for them whatever it has.

use sidecar_cache::ledger::Operation;
use sidecar_cache::ledger::request::{Direction, OpenCalls};

use crate::ledger_support::*;

ledger_suite! {
    open_calls_are_paid_below_zero_and_of_a_frozen_wallet
    open_calls_are_paid_once_and_another_batch_of_the_same_name_is_refused
    open_calls_of_nothing_are_refused
    what_is_reserved_stays_so_and_nothing_more_is_until_the_wallet_is_funded
}

fn open_calls(number: u64, amount: u64) -> Operation {
    let (org, note) = ("acme".to_owned(), "2 calls without a sidecar at gw-a".to_owned());
    Operation::OpenCalls(OpenCalls { id: id(number), org, amount: usd(amount), note })
}

async fn open_calls_are_paid_below_zero_and_of_a_frozen_wallet(store: &Store, _: &Hands) {
    assert_eq!(ask(&**store, open_calls(1, 30)).await, "created open_calls 30", "never funded");
    ask(&**store, fund(2, 100)).await;
    store.freeze("acme".to_owned(), "test".to_owned()).await.unwrap();
    assert_eq!(ask(&**store, open_calls(3, 90)).await, "created open_calls 90");
    assert_eq!(available(&**store).await, -20);
    assert_eq!(available_in(&**store, "open_calls").await, 120);
}

async fn open_calls_are_paid_once_and_another_batch_of_the_same_name_is_refused(
    store: &Store,
    _: &Hands,
) {
    ask(&**store, fund(1, 100)).await;
    for answer in ["created open_calls 30", "exists open_calls 30"] {
        assert_eq!(ask(&**store, open_calls(2, 30)).await, answer);
    }
    let mut other_note = open_calls(2, 30);
    if let Operation::OpenCalls(asked) = &mut other_note {
        asked.note = "3 calls without a sidecar at gw-a".to_owned();
    }
    for other in
        [open_calls(2, 31), other_note, open_calls(1, 100), adjust(2, 30, Direction::Debit)]
    {
        assert_eq!(ask(&**store, other.clone()).await, "exists_different", "{other:?}");
    }
    assert_eq!(available(&**store).await, 70);
}

async fn open_calls_of_nothing_are_refused(store: &Store, _: &Hands) {
    assert_eq!(ask(&**store, open_calls(1, 0)).await, "bad_amount");
}

async fn what_is_reserved_stays_so_and_nothing_more_is_until_the_wallet_is_funded(
    store: &Store,
    _: &Hands,
) {
    ask(&**store, fund(1, 100)).await;
    ask(&**store, reserve(2, 60)).await;
    assert_eq!(ask(&**store, open_calls(3, 50)).await, "created open_calls 50");
    assert_eq!(available(&**store).await, -10);
    assert_eq!(ask(&**store, reserve(4, 0)).await, "insufficient:wallet");
    assert_eq!(ask(&**store, settle(2, 40)).await, "created post 40");
    assert_eq!(available(&**store).await, 10);
    assert_eq!(ask(&**store, reserve(4, 10)).await, "created pending 10");
}
