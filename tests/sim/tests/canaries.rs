//! Planted bugs, each of which some seed of the first thousand has to show: by the rule that is there for it.

use kt_sim::{Fixture, Plant, run};

const SEEDS: u64 = 1_000;

/// The rule that the first seed breaks which finds it.
fn finds(plant: Plant) -> Option<&'static str> {
    let fixture = Fixture::default();
    (0..SEEDS)
        .find_map(|seed| run(&fixture, seed, Some(plant), false).breach)
        .map(|found| found.rule)
}

#[test]
fn a_fill_without_its_lease_is_found() {
    assert_eq!(finds(Plant::NoFence), Some("G4"));
}

#[test]
fn an_entry_that_was_cut_short_is_found() {
    assert_eq!(finds(Plant::CacheTruncated), Some("stored whole"));
}

#[test]
fn an_entry_that_was_invalidated_while_it_was_made_is_found() {
    assert_eq!(finds(Plant::FillAfterInvalidation), Some("stored and not invalidated"));
}

#[test]
fn an_entry_that_is_told_after_its_invalidation_is_found() {
    assert_eq!(finds(Plant::ServeInvalidated), Some("invalidated"));
}

#[test]
fn a_call_that_is_made_again_for_the_same_name_is_found() {
    assert_eq!(finds(Plant::NoIdempotency), Some("idempotency"));
}

#[test]
fn a_settle_that_is_written_twice_is_found() {
    assert_eq!(finds(Plant::SettleTwice), Some("audit"));
}

#[test]
fn a_settle_that_is_forgotten_is_found() {
    assert_eq!(finds(Plant::DropSettle), Some("I6"));
}

#[test]
fn a_follower_that_pays_is_found() {
    assert_eq!(finds(Plant::FollowerPays), Some("I6"));
}

#[test]
fn money_that_is_given_back_after_an_answer_is_found() {
    assert_eq!(finds(Plant::ReleaseAnswered), Some("I6"));
}

#[test]
fn a_token_that_is_given_twice_is_found() {
    assert_eq!(finds(Plant::TokenRegress), Some("leases"));
}

#[test]
fn a_waiter_that_is_forgotten_is_found() {
    assert_eq!(finds(Plant::ForgetWaiters), Some("liveness"));
}

#[test]
fn an_answer_from_behind_another_policy_is_found() {
    assert_eq!(finds(Plant::AnyPolicy), Some("key"));
}

#[test]
fn money_that_is_moved_again_because_nobody_was_sure_is_found() {
    assert_eq!(finds(Plant::MoveTwice), Some("moved once"));
}

#[test]
fn money_that_is_moved_although_it_is_set_aside_is_found() {
    assert_eq!(finds(Plant::MoveHeld), Some("floor"));
}

#[test]
fn money_that_a_purse_has_from_nowhere_is_found() {
    assert_eq!(finds(Plant::MoveFromNowhere), Some("money"));
}

#[test]
fn a_call_that_nobody_pays_for_is_found() {
    assert_eq!(finds(Plant::CallUnpaid), Some("I6"));
}
