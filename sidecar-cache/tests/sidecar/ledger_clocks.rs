//! What a ledger does whose clock is its process's own.

use crate::ledger_support::*;

ledger_suite! {
    a_wall_clock_alone_makes_nothing_due
}

async fn a_wall_clock_alone_makes_nothing_due(store: &Store, hands: &Hands) {
    ask(&**store, fund(1, 100)).await;
    ask(&**store, reserve(2, 10)).await;
    hands.set_wall(hands.wall() + DAY);
    assert_eq!(ask(&**store, expire(2)).await, "not_due");
}
