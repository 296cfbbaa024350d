//! What every ledger does.

use std::sync::Arc;

use kt_contract::time::UnixMillis;
use sidecar_cache::ledger::account::Scope;
use sidecar_cache::ledger::request::{CallOf, Direction, Funding, Purpose, Refund};
use sidecar_cache::ledger::window::{Period, Zone};
use sidecar_cache::ledger::{Operation, Refused, Short, State};

use crate::ledger_support::*;

ledger_suite! {
    every_state_answers_every_operation
    ends_of_expired_holds_are_answered_as_late_ones
    a_retry_is_answered_as_the_first_time
    another_operation_with_a_known_id_is_refused
    a_reserve_debits_the_wallet_and_every_budget_or_nobody
    who_is_short_is_named_the_wallet_first
    a_budget_that_is_named_twice_counts_once_with_the_lower_limit
    a_settle_returns_the_rest
    an_overage_takes_the_wallet_below_zero_until_it_is_funded
    what_a_wallet_can_fall_short_of_is_bounded
    a_hold_grows_for_as_long_as_it_is_open
    a_hold_that_lives_longer_is_not_due
    what_expires_lies_in_suspense_for_a_day
    of_many_holds_the_first_to_end_are_told_and_how_many_there_are
    evidence_that_comes_after_the_return_is_charged
    a_hold_settles_into_the_window_that_it_was_reserved_in
    windows_begin_where_the_organization_is
    a_refund_gives_back_at_most_the_charge
    a_correction_takes_no_more_than_is_available
    nothing_is_no_amount
    counters_do_not_wrap
    a_frozen_wallet_ends_what_runs
    a_clock_that_was_set_back_reserves_nothing
    what_is_refused_for_several_reasons_is_refused_for_the_first_of_them
    an_allotment_is_a_hold_that_pays_its_holder
    organizations_share_nothing
    history_goes_back_page_by_page
    transfers_go_on_page_by_page
    a_hold_tells_whose_call_it_was_for
    what_was_estimated_is_told_by_history
    sixty_four_at_once_get_what_ten_can_have
    what_is_due_is_done_in_portions
}

/// The states of a hold of 10, and how one gets there.
async fn bring(store: &Store, hands: &Hands, number: u64, state: &str) {
    if state == "none" {
        return;
    }
    assert_eq!(ask(&**store, reserve(number, 10)).await, "created pending 10");
    match state {
        "open" => {}
        "due" => hands.pass(TTL),
        "settled" => _ = ask(&**store, settle(number, 7)).await,
        "released" => _ = ask(&**store, release(number)).await,
        late => {
            hands.pass(TTL);
            assert_eq!(ask(&**store, expire(number)).await, "created expire 10");
            match late {
                "expired" => {}
                "late settled" => _ = ask(&**store, late_settle(number, 7)).await,
                "late released" => _ = ask(&**store, release(number)).await,
                "returned" => {
                    hands.pass(DAY);
                    assert_eq!(ask(&**store, give_back(number)).await, "created return 10");
                }
                unknown => panic!("{unknown}"),
            }
        }
    }
}

async fn every_state_answers_every_operation(store: &Store, hands: &Hands) {
    ask(&**store, fund(1, 1_000_000)).await;
    let operations: [fn(u64) -> Operation; 9] = [
        |n| reserve(n, 10),
        |n| reserve(n, 11),
        |n| settle(n, 7),
        |n| settle(n, 8),
        release,
        expire,
        |n| late_settle(n, 7),
        |n| late_settle(n, 8),
        give_back,
    ];
    // The columns are the operations above: reserve 10 and 11, settle 7 and 8, release, expire, late settle 7
    // and 8, return.
    #[rustfmt::skip]
    let table = [
        ("none", ["created pending 10", "created pending 11", "not_found", "not_found", "not_found",
            "not_found", "not_found", "not_found", "not_found"]),
        ("open", ["exists pending 10", "exists_different", "created post 7", "created post 8", "created void 10",
            "not_due", "not_expired", "not_expired", "not_expired"]),
        ("due", ["exists pending 10", "exists_different", "created post 7", "created post 8", "created void 10",
            "created expire 10", "not_expired", "not_expired", "not_expired"]),
        ("settled", ["exists pending 10", "exists_different", "exists post 7", "already_settled", "already_settled",
            "already_settled", "already_settled", "already_settled", "already_settled"]),
        ("released", ["exists pending 10", "exists_different", "already_released", "already_released",
            "exists void 10", "already_released", "already_released", "already_released", "already_released"]),
        ("expired", ["exists pending 10", "exists_different", "created late_post 7", "created late_post 8",
            "created late_void 10", "exists expire 10", "created late_post 7", "created late_post 8", "not_due"]),
        ("late settled", ["exists pending 10", "exists_different", "exists late_post 7", "already_settled",
            "already_settled", "exists expire 10", "exists late_post 7", "already_settled", "already_settled"]),
        ("late released", ["exists pending 10", "exists_different", "already_released", "already_released",
            "exists late_void 10", "exists expire 10", "already_released", "already_released", "already_released"]),
        ("returned", ["exists pending 10", "exists_different", "created late_post 7", "created late_post 8",
            "exists return 10", "exists expire 10", "created late_post 7", "created late_post 8",
            "exists return 10"]),
    ];
    let mut number = 100;
    for (state, answers) in table {
        for (operation, answer) in operations.iter().zip(answers) {
            number += 1;
            bring(store, hands, number, state).await;
            let found = ask(&**store, operation(number)).await;
            assert_eq!(found, answer, "{state}: {:?}", operation(number));
            // What the cells before have left behind goes where it belongs.
            store.expire_due(1_000).await.unwrap();
            audited(&**store).await;
        }
    }
}

async fn ends_of_expired_holds_are_answered_as_late_ones(store: &Store, hands: &Hands) {
    ask(&**store, fund(1, 100)).await;
    bring(store, hands, 2, "expired").await;
    for answer in ["created late_post 7", "exists late_post 7"] {
        assert_eq!(ask(&**store, settle(2, 7)).await, answer);
    }
    assert_eq!(available(&**store).await, 93);
    assert_eq!(
        store.hold(id(2)).await.unwrap().unwrap().state,
        State::LateSettled { actual: usd(7) }
    );
}

async fn a_retry_is_answered_as_the_first_time(store: &Store, _: &Hands) {
    let steps = [
        (fund(1, 100), "fund 100"),
        (reserve(2, 10), "pending 10"),
        (settle(2, 12), "post 12"),
        (refund(3, 2, 5), "refund 5"),
        (adjust(4, 3, Direction::Debit), "adjust_debit 3"),
        (adjust(5, 3, Direction::Credit), "adjust_credit 3"),
        (reserve(6, 10), "pending 10"),
        (release(6), "void 10"),
        (allocate(7, "web", 9, Direction::Credit), "allocate 9"),
        (allocate(8, "web", 4, Direction::Debit), "deallocate 4"),
    ];
    for (operation, answer) in &steps {
        assert_eq!(ask(&**store, operation.clone()).await, format!("created {answer}"));
    }
    let before = store.accounts("acme".to_owned()).await.unwrap();
    for (operation, answer) in &steps {
        assert_eq!(ask(&**store, operation.clone()).await, format!("exists {answer}"));
    }
    assert_eq!(store.accounts("acme".to_owned()).await.unwrap(), before);
}

async fn another_operation_with_a_known_id_is_refused(store: &Store, _: &Hands) {
    ask(&**store, fund(1, 100)).await;
    ask(&**store, reserve(2, 10)).await;
    ask(&**store, settle(2, 10)).await;
    ask(&**store, refund(3, 2, 5)).await;
    ask(&**store, allocate(4, "web", 5, Direction::Credit)).await;
    let budgets = vec![budget(Scope::Org, Period::Daily, 100)];
    let with_budget = Operation::Reserve(reservation(2, 10, budgets));
    let mut of_other_prices = reservation(2, 10, Vec::new());
    of_other_prices.prices = "2026-12-01".to_owned();
    let mut of_other_provider = reservation(2, 10, Vec::new());
    of_other_provider.purpose = Purpose::Call(call_of("anthropic"));
    let mut of_other_request = reservation(2, 10, Vec::new());
    let call = CallOf { request_id: "cd34".to_owned(), ..call_of("openai") };
    of_other_request.purpose = Purpose::Call(call);
    let mut of_other_org = reservation(2, 10, Vec::new());
    of_other_org.org = "other".to_owned();
    let mut of_nobody = reservation(2, 10, Vec::new());
    of_nobody.funding = Funding::Postpaid;
    for operation in [
        fund(1, 101),
        fund(2, 10),
        reserve(1, 100),
        reserve(2, 11),
        with_budget,
        Operation::Reserve(of_other_prices),
        Operation::Reserve(of_other_provider),
        Operation::Reserve(of_other_request),
        Operation::Reserve(of_other_org),
        Operation::Reserve(of_nobody),
        refund(3, 2, 4),
        refund(1, 2, 5),
        adjust(1, 100, Direction::Credit),
        adjust(3, 5, Direction::Debit),
        allocate(4, "web", 6, Direction::Credit),
        allocate(4, "web", 5, Direction::Debit),
        allocate(4, "ops", 5, Direction::Credit),
        allocate(1, "web", 100, Direction::Credit),
        adjust(4, 5, Direction::Credit),
    ] {
        let text = format!("{operation:?}");
        assert_eq!(ask(&**store, operation).await, "exists_different", "{text}");
    }
    // What only the moment says is no part of what a reserve is.
    let mut later = reservation(2, 10, Vec::new());
    later.ttl.0 += 1;
    assert_eq!(ask(&**store, Operation::Reserve(later)).await, "exists pending 10");
}

fn team_and_user(team: u64, user: u64) -> Vec<sidecar_cache::ledger::request::Budget> {
    vec![
        budget(Scope::User("ada".to_owned()), Period::Daily, user),
        budget(Scope::Team("web".to_owned()), Period::Monthly, team),
    ]
}

async fn spent(store: &Store, name: &str) -> i128 {
    -available_in(&**store, name).await
}

async fn a_reserve_debits_the_wallet_and_every_budget_or_nobody(store: &Store, _: &Hands) {
    ask(&**store, fund(1, 100)).await;
    let reserve = |n, amount, team, user| {
        Operation::Reserve(reservation(n, amount, team_and_user(team, user)))
    };
    assert_eq!(ask(&**store, reserve(2, 30, 50, 50)).await, "created pending 30");
    let before = store.accounts("acme".to_owned()).await.unwrap();
    for (amount, team, user, answer) in [
        (71, 1_000, 1_000, "insufficient:wallet"),
        (21, 50, 1_000, "insufficient:team:web"),
        (21, 1_000, 50, "insufficient:user:ada"),
    ] {
        assert_eq!(ask(&**store, reserve(3, amount, team, user)).await, answer);
        assert_eq!(store.accounts("acme".to_owned()).await.unwrap(), before, "{answer}");
    }
    assert_eq!(ask(&**store, reserve(3, 20, 50, 50)).await, "created pending 20");
    assert_eq!(available(&**store).await, 50);
    assert_eq!(spent(store, "budget:team:web:monthly:2026-11").await, 50);
    assert_eq!(spent(store, "budget:user:ada:daily:2026-11-28").await, 50);
    ask(&**store, settle(2, 10)).await;
    ask(&**store, release(3)).await;
    assert_eq!(spent(store, "budget:team:web:monthly:2026-11").await, 10);
    assert_eq!(spent(store, "budget:user:ada:daily:2026-11-28").await, 10);
}

async fn who_is_short_is_named_the_wallet_first(store: &Store, _: &Hands) {
    let all = Operation::Reserve(reservation(2, 10, team_and_user(5, 5)));
    assert_eq!(ask(&**store, all.clone()).await, "insufficient:wallet");
    ask(&**store, fund(1, 100)).await;
    let refused = store.operate(all).await.unwrap().unwrap_err();
    // The first of December.
    let until = UnixMillis(NOON + 2 * DAY + 12 * HOUR);
    let scope = Scope::Team("web".to_owned());
    assert_eq!(
        refused,
        Refused::Insufficient(Short::Budget { scope, period: Period::Monthly, until })
    );
}

async fn a_budget_that_is_named_twice_counts_once_with_the_lower_limit(store: &Store, _: &Hands) {
    ask(&**store, fund(1, 100)).await;
    let twice = |n, amount| {
        let budgets = vec![
            budget(Scope::Org, Period::Daily, 20),
            budget(Scope::Org, Period::Daily, 10),
            budget(Scope::Org, Period::Daily, 10),
        ];
        Operation::Reserve(reservation(n, amount, budgets))
    };
    assert_eq!(ask(&**store, twice(2, 11)).await, "insufficient:org");
    assert_eq!(ask(&**store, twice(2, 10)).await, "created pending 10");
    assert_eq!(spent(store, "budget:org:daily:2026-11-28").await, 10);
    assert_eq!(ask(&**store, twice(2, 10)).await, "exists pending 10");
}

async fn a_settle_returns_the_rest(store: &Store, _: &Hands) {
    ask(&**store, fund(1, 100)).await;
    for (number, actual, left) in [(2, 0, 100), (3, 7, 93), (4, 10, 83)] {
        ask(&**store, reserve(number, 10)).await;
        assert_eq!(available(&**store).await, if number == 4 { 83 } else { 90 });
        ask(&**store, settle(number, actual)).await;
        assert_eq!(available(&**store).await, left, "{actual}");
    }
    let balance = store.balance("acme".to_owned()).await.unwrap();
    assert_eq!(balance.wallet.debits.pending(), 0);
    assert_eq!(spent(store, "spend:openai:0").await, -17);
}

async fn an_overage_takes_the_wallet_below_zero_until_it_is_funded(store: &Store, _: &Hands) {
    ask(&**store, fund(1, 10)).await;
    ask(&**store, reserve(2, 10)).await;
    assert_eq!(ask(&**store, settle(2, 25)).await, "created post 25");
    assert_eq!(available(&**store).await, -15);
    // Who is below zero cannot reserve nothing either.
    assert_eq!(ask(&**store, reserve(3, 0)).await, "insufficient:wallet");
    ask(&**store, fund(4, 14)).await;
    assert_eq!(ask(&**store, reserve(3, 0)).await, "insufficient:wallet");
    ask(&**store, fund(5, 1)).await;
    assert_eq!(ask(&**store, reserve(3, 0)).await, "created pending 0");
    assert_eq!(ask(&**store, reserve(6, 1)).await, "insufficient:wallet");
}

async fn what_a_wallet_can_fall_short_of_is_bounded(store: &Store, _: &Hands) {
    ask(&**store, fund(1, 100)).await;
    for number in 2..12 {
        ask(&**store, reserve(number, 10)).await;
    }
    let bound =
        |store: Store| async move { store.balance("acme".to_owned()).await.unwrap().shortfall_max };
    // Ten calls that may cost 1,010 each and hold 10.
    assert_eq!(bound(Arc::clone(store)).await, 10_000);
    for number in 2..12 {
        ask(&**store, settle(number, 1_010)).await;
    }
    assert_eq!(available(&**store).await, -10_000);
    assert_eq!(bound(Arc::clone(store)).await, 0);
}

async fn a_hold_grows_for_as_long_as_it_is_open(store: &Store, hands: &Hands) {
    ask(&**store, fund(1, 100)).await;
    let budgets = vec![budget(Scope::Org, Period::Daily, 50)];
    ask(&**store, Operation::Reserve(reservation(2, 10, budgets))).await;
    for (total, answer) in [
        (30, "created extend 30"),
        (30, "exists extend 30"),
        (20, "exists extend 30"),
        (51, "insufficient:org"),
        (101, "insufficient:wallet"),
        (50, "created extend 50"),
    ] {
        assert_eq!(ask(&**store, extend(2, total)).await, answer, "{total}");
    }
    assert_eq!(available(&**store).await, 50);
    // The reserve is still the one of 10.
    let again = Operation::Reserve(reservation(2, 10, vec![budget(Scope::Org, Period::Daily, 50)]));
    assert_eq!(ask(&**store, again).await, "exists pending 10");
    assert_eq!(ask(&**store, settle(2, 40)).await, "created post 40");
    assert_eq!(available(&**store).await, 60);
    for (number, state, answer) in [
        (3, "none", "not_found"),
        (4, "settled", "already_settled"),
        (5, "released", "already_released"),
        (6, "expired", "expired"),
        (7, "late settled", "already_settled"),
        (8, "late released", "already_released"),
        (9, "returned", "expired"),
    ] {
        bring(store, hands, number, state).await;
        assert_eq!(ask(&**store, extend(number, 20)).await, answer, "{state}");
    }
}

async fn a_hold_that_lives_longer_is_not_due(store: &Store, hands: &Hands) {
    ask(&**store, fund(1, 100)).await;
    ask(&**store, reserve(2, 10)).await;
    hands.pass(TTL - 1);
    assert_eq!(ask(&**store, expire(2)).await, "not_due");
    assert_eq!(ask(&**store, extend(2, 10)).await, "exists extend 10");
    hands.pass(TTL - 1);
    assert_eq!(ask(&**store, expire(2)).await, "not_due");
    assert_eq!(store.expire_due(10).await.unwrap(), 0);
    hands.pass(1);
    assert_eq!(store.expire_due(10).await.unwrap(), 1);
    assert_eq!(ask(&**store, expire(2)).await, "exists expire 10");
}

async fn what_expires_lies_in_suspense_for_a_day(store: &Store, hands: &Hands) {
    ask(&**store, fund(1, 100)).await;
    let budgets = vec![budget(Scope::Org, Period::Monthly, 50)];
    ask(&**store, Operation::Reserve(reservation(2, 10, budgets))).await;
    hands.pass(TTL);
    assert_eq!(store.expire_due(10).await.unwrap(), 1);
    let balance = store.balance("acme".to_owned()).await.unwrap();
    assert_eq!((balance.wallet.available(), balance.suspense.available()), (90, 10));
    assert_eq!(balance.wallet.debits.pending(), 0);
    assert_eq!(spent(store, "budget:org:monthly:2026-11").await, 10);
    assert_eq!(store.holds("acme".to_owned()).await.unwrap().len(), 1);
    hands.pass(DAY - 1);
    assert_eq!(store.expire_due(10).await.unwrap(), 0);
    hands.pass(1);
    assert_eq!(store.expire_due(10).await.unwrap(), 1);
    let balance = store.balance("acme".to_owned()).await.unwrap();
    assert_eq!((balance.wallet.available(), balance.suspense.available()), (100, 0));
    assert_eq!(spent(store, "budget:org:monthly:2026-11").await, 0);
    assert_eq!(store.holds("acme".to_owned()).await.unwrap(), []);
}

async fn of_many_holds_the_first_to_end_are_told_and_how_many_there_are(
    store: &Store,
    hands: &Hands,
) {
    ask(&**store, fund(1, 100)).await;
    for number in [4, 3, 2] {
        ask(&**store, reserve(number, 10)).await;
        hands.pass(1);
    }
    hands.pass(TTL - 3);
    assert_eq!(store.expire_due(10).await.unwrap(), 1, "it lies in suspense for a day");
    let first = async |count_max| {
        let (holds, total) = store.first_holds("acme".to_owned(), count_max).await.unwrap();
        assert_eq!(total, 3);
        holds.iter().map(|hold| hold.id).collect::<Vec<_>>()
    };
    assert_eq!(first(1).await, [id(3)]);
    assert_eq!(first(3).await, [3, 2, 4].map(id));
    let nobody = store.first_holds("nobody".to_owned(), 1).await.unwrap();
    assert_eq!(nobody, (vec![], 0));
}

async fn evidence_that_comes_after_the_return_is_charged(store: &Store, hands: &Hands) {
    ask(&**store, fund(1, 100)).await;
    for (number, actual, left) in [(2, 7, 93), (3, 25, 68)] {
        bring(store, hands, number, "returned").await;
        let answer = format!("created late_post {actual}");
        assert_eq!(ask(&**store, late_settle(number, actual)).await, answer);
        assert_eq!(available(&**store).await, left);
    }
    bring(store, hands, 4, "expired").await;
    assert_eq!(ask(&**store, late_settle(4, 30)).await, "created late_post 30");
    assert_eq!(available(&**store).await, 38);
    assert_eq!(spent(store, "suspense").await, 0);
}

async fn a_hold_settles_into_the_window_that_it_was_reserved_in(store: &Store, hands: &Hands) {
    ask(&**store, fund(1, 1_000)).await;
    let today = |n, amount| {
        let budgets = vec![
            budget(Scope::Org, Period::Daily, 100),
            budget(Scope::Org, Period::Monthly, 1_000),
        ];
        let mut asked = reservation(n, amount, budgets);
        asked.ttl.0 = 2 * DAY;
        Operation::Reserve(asked)
    };
    hands.pass(12 * HOUR - 1);
    assert_eq!(ask(&**store, today(2, 60)).await, "created pending 60");
    assert_eq!(ask(&**store, today(3, 41)).await, "insufficient:org");
    hands.pass(1);
    // Another day: nothing is spent, and what is spent of the month stays.
    assert_eq!(ask(&**store, today(3, 100)).await, "created pending 100");
    assert_eq!(ask(&**store, today(2, 60)).await, "exists pending 60");
    ask(&**store, settle(2, 80)).await;
    ask(&**store, settle(3, 90)).await;
    assert_eq!(spent(store, "budget:org:daily:2026-11-28").await, 80);
    assert_eq!(spent(store, "budget:org:daily:2026-11-29").await, 90);
    assert_eq!(spent(store, "budget:org:monthly:2026-11").await, 170);
    assert_eq!(ask(&**store, today(4, 11)).await, "insufficient:org");
    assert_eq!(ask(&**store, today(4, 10)).await, "created pending 10");
    // A refund goes where the charge went.
    ask(&**store, refund(5, 2, 30)).await;
    assert_eq!(spent(store, "budget:org:daily:2026-11-28").await, 50);
}

async fn windows_begin_where_the_organization_is(store: &Store, _: &Hands) {
    ask(&**store, fund(1, 1_000)).await;
    for (number, zone, window) in [
        (2, "UTC", "2026-11-28"),
        (3, "Pacific/Kiritimati", "2026-11-29"),
        (4, "Pacific/Pago_Pago", "2026-11-28"),
    ] {
        let team = Scope::Team(zone.to_owned());
        let mut asked = reservation(number, 10, vec![budget(team, Period::Daily, 100)]);
        asked.zone = Zone::named(zone).unwrap();
        ask(&**store, Operation::Reserve(asked)).await;
        assert_eq!(spent(store, &format!("budget:team:{zone}:daily:{window}")).await, 10);
    }
}

async fn a_refund_gives_back_at_most_the_charge(store: &Store, hands: &Hands) {
    ask(&**store, fund(1, 100)).await;
    ask(&**store, reserve(2, 10)).await;
    assert_eq!(ask(&**store, refund(20, 2, 1)).await, "not_settled");
    assert_eq!(ask(&**store, refund(20, 99, 1)).await, "not_found");
    ask(&**store, settle(2, 12)).await;
    for (number, amount, answer) in [
        (20, 13, "exceeds_charge"),
        (20, 5, "created refund 5"),
        (21, 8, "exceeds_charge"),
        (21, 7, "created refund 7"),
        (22, 1, "exceeds_charge"),
    ] {
        assert_eq!(ask(&**store, refund(number, 2, amount)).await, answer);
    }
    assert_eq!(available(&**store).await, 100);
    bring(store, hands, 3, "late settled").await;
    assert_eq!(ask(&**store, refund(30, 3, 8)).await, "exceeds_charge");
    assert_eq!(ask(&**store, refund(30, 3, 7)).await, "created refund 7");
    for (number, state) in [(4, "released"), (5, "expired"), (6, "returned"), (7, "late released")]
    {
        bring(store, hands, number, state).await;
        assert_eq!(ask(&**store, refund(40, number, 1)).await, "not_settled", "{state}");
    }
}

async fn a_correction_takes_no_more_than_is_available(store: &Store, _: &Hands) {
    assert_eq!(ask(&**store, adjust(1, 10, Direction::Credit)).await, "created adjust_credit 10");
    ask(&**store, reserve(2, 4)).await;
    assert_eq!(ask(&**store, adjust(3, 7, Direction::Debit)).await, "insufficient:wallet");
    assert_eq!(ask(&**store, adjust(3, 6, Direction::Debit)).await, "created adjust_debit 6");
    assert_eq!(available(&**store).await, 0);
}

async fn nothing_is_no_amount(store: &Store, _: &Hands) {
    ask(&**store, fund(1, 100)).await;
    ask(&**store, reserve(2, 10)).await;
    ask(&**store, settle(2, 10)).await;
    for operation in [
        fund(3, 0),
        adjust(3, 0, Direction::Credit),
        adjust(3, 0, Direction::Debit),
        allocate(3, "web", 0, Direction::Credit),
        allocate(3, "web", 0, Direction::Debit),
        refund(3, 2, 0),
    ] {
        assert_eq!(ask(&**store, operation).await, "bad_amount");
    }
    // A call may be free.
    assert_eq!(ask(&**store, reserve(3, 0)).await, "created pending 0");
    assert_eq!(ask(&**store, settle(3, 0)).await, "created post 0");
}

async fn counters_do_not_wrap(store: &Store, _: &Hands) {
    let most = (1 << 53) - 1;
    // 2^63 - 1 holds 1,024 of these, and not one more.
    for number in 0..1_024 {
        assert_eq!(ask(&**store, fund(number, most)).await, format!("created fund {most}"));
    }
    let before = store.accounts("acme".to_owned()).await.unwrap();
    assert_eq!(ask(&**store, fund(2_000, most)).await, "bad_amount");
    assert_eq!(store.accounts("acme".to_owned()).await.unwrap(), before);
    assert_eq!(ask(&**store, reserve(2_001, most)).await, format!("created pending {most}"));
}

async fn a_frozen_wallet_ends_what_runs(store: &Store, hands: &Hands) {
    ask(&**store, fund(1, 100)).await;
    for number in 2..6 {
        ask(&**store, reserve(number, 10)).await;
    }
    store.freeze("acme".to_owned(), "I2: a balance".to_owned()).await.unwrap();
    store.freeze("acme".to_owned(), "another".to_owned()).await.unwrap();
    let frozen = store.balance("acme".to_owned()).await.unwrap().frozen.unwrap();
    assert_eq!((frozen.since, &*frozen.reason), (UnixMillis(NOON), "I2: a balance"));
    for (operation, answer) in [
        (reserve(7, 10), "frozen"),
        (reserve(2, 10), "exists pending 10"),
        (extend(2, 20), "frozen"),
        (extend(2, 10), "exists extend 10"),
        (settle(2, 20), "created post 20"),
        (release(3), "created void 10"),
        (refund(8, 2, 5), "created refund 5"),
        (fund(9, 5), "created fund 5"),
        (adjust(10, 5, Direction::Debit), "created adjust_debit 5"),
    ] {
        assert_eq!(ask(&**store, operation).await, answer);
    }
    hands.pass(TTL);
    assert_eq!(store.expire_due(10).await.unwrap(), 2);
    store.unfreeze("acme".to_owned()).await.unwrap();
    store.unfreeze("acme".to_owned()).await.unwrap();
    assert_eq!(ask(&**store, reserve(7, 10)).await, "created pending 10");
    assert_eq!(store.balance("acme".to_owned()).await.unwrap().frozen, None);
}

async fn a_clock_that_was_set_back_reserves_nothing(store: &Store, hands: &Hands) {
    ask(&**store, fund(1, 100)).await;
    for number in 2..5 {
        ask(&**store, reserve(number, 10)).await;
    }
    hands.set_wall(NOON - 5 * SECOND);
    assert_eq!(ask(&**store, reserve(6, 10)).await, "created pending 10");
    hands.set_wall(NOON - 5 * SECOND - 1);
    for (operation, answer) in [
        (reserve(7, 10), "clock_set_back"),
        (reserve(2, 10), "exists pending 10"),
        (extend(2, 20), "created extend 20"),
        (settle(2, 20), "created post 20"),
        (release(3), "created void 10"),
    ] {
        assert_eq!(ask(&**store, operation).await, answer);
    }
    hands.pass(TTL + 5 * SECOND + 1);
    assert_eq!(ask(&**store, expire(4)).await, "created expire 10");
    assert_eq!(ask(&**store, reserve(7, 10)).await, "created pending 10", "it has caught up");
}

async fn what_is_refused_for_several_reasons_is_refused_for_the_first_of_them(
    store: &Store,
    hands: &Hands,
) {
    ask(&**store, fund(1, 5)).await;
    let asked = || {
        let user = Scope::User("ada".to_owned());
        let budgets = vec![budget(Scope::Org, Period::Daily, 9), budget(user, Period::Monthly, 9)];
        Operation::Reserve(reservation(2, 10, budgets))
    };
    store.freeze("acme".to_owned(), "test".to_owned()).await.unwrap();
    hands.set_wall(NOON - HOUR);
    assert_eq!(ask(&**store, asked()).await, "frozen");
    store.unfreeze("acme".to_owned()).await.unwrap();
    assert_eq!(ask(&**store, asked()).await, "clock_set_back");
    hands.set_wall(NOON);
    assert_eq!(ask(&**store, asked()).await, "insufficient:wallet");
    ask(&**store, fund(3, 5)).await;
    assert_eq!(ask(&**store, asked()).await, "insufficient:org");
}

async fn an_allotment_is_a_hold_that_pays_its_holder(store: &Store, hands: &Hands) {
    ask(&**store, fund(1, 100)).await;
    let allot = |number| {
        let mut asked = reservation(number, 50, Vec::new());
        asked.purpose = Purpose::Allotment("sidecar-b".to_owned());
        Operation::Reserve(asked)
    };
    ask(&**store, allot(2)).await;
    assert_eq!(ask(&**store, allot(3)).await, "created pending 50");
    assert_eq!(ask(&**store, reserve(4, 1)).await, "insufficient:wallet");
    ask(&**store, settle(2, 20)).await;
    assert_eq!(spent(store, "allotment:sidecar-b").await, -20);
    // What its holder has not told is not available, and not lost.
    hands.pass(TTL);
    assert_eq!(store.expire_due(10).await.unwrap(), 1);
    assert_eq!(available(&**store).await, 30);
    assert_eq!(spent(store, "suspense").await, -50);
}

async fn organizations_share_nothing(store: &Store, _: &Hands) {
    ask(&**store, fund(1, 100)).await;
    let mut asked = reservation(2, 1, Vec::new());
    asked.org = "other".to_owned();
    assert_eq!(ask(&**store, Operation::Reserve(asked)).await, "insufficient:wallet");
    store.freeze("other".to_owned(), "test".to_owned()).await.unwrap();
    assert_eq!(ask(&**store, reserve(2, 1)).await, "created pending 1");
    assert_eq!(store.accounts("other".to_owned()).await.unwrap(), []);
    assert_eq!(store.history("other".to_owned(), None, 10).await.unwrap(), []);
    assert_eq!(store.holds("other".to_owned()).await.unwrap(), []);
}

async fn history_goes_back_page_by_page(store: &Store, hands: &Hands) {
    ask(&**store, fund(1, 100)).await;
    hands.pass(SECOND);
    ask(&**store, reserve(2, 10)).await;
    ask(&**store, settle(2, 15)).await;
    let page = store.history("acme".to_owned(), None, 3).await.unwrap();
    let words: Vec<_> = page.iter().map(|(_, row)| (row.kind.as_str(), row.amount)).collect();
    assert_eq!(words, [("overage", usd(5)), ("post", usd(10)), ("pending", usd(10))]);
    assert!(page.iter().all(|(_, row)| row.at == UnixMillis(NOON + SECOND)));
    assert_eq!(page[0].1.hold, Some(id(2)));
    assert_eq!(page[1].1.id, id(2).of_step("settle", 0));
    let before = page.last().map(|(number, _)| *number);
    let page = store.history("acme".to_owned(), before, 3).await.unwrap();
    assert_eq!(page.len(), 1);
    assert_eq!((page[0].1.kind.as_str(), &*page[0].1.note), ("fund", "test"));
}

async fn transfers_go_on_page_by_page(store: &Store, _: &Hands) {
    ask(&**store, fund(1, 100)).await;
    ask(&**store, reserve(2, 10)).await;
    ask(&**store, settle(2, 7)).await;
    let page = async |after, count_max| {
        let found = store.transfers("acme".to_owned(), after, count_max).await.unwrap();
        let last = found.last().map_or(after, |(number, _)| *number);
        let words: Vec<_> = found.iter().map(|(_, row)| (row.kind.as_str(), row.amount)).collect();
        (words, last)
    };
    let (first, last) = page(0, 2).await;
    assert_eq!(first, [("fund", usd(100)), ("pending", usd(10))]);
    let (second, last) = page(last, 2).await;
    assert_eq!(second, [("post", usd(7))]);
    assert_eq!(page(last, 2).await.0, []);
    assert_eq!(store.transfers("other".to_owned(), 0, 2).await.unwrap(), []);
}

async fn a_hold_tells_whose_call_it_was_for(store: &Store, _: &Hands) {
    ask(&**store, fund(1, 100)).await;
    ask(&**store, reserve(2, 10)).await;
    ask(&**store, settle(2, 10)).await;
    let hold = store.hold(id(2)).await.unwrap().unwrap();
    assert_eq!(hold.terms.purpose, Purpose::Call(call_of("openai")));
}

async fn what_was_estimated_is_told_by_history(store: &Store, hands: &Hands) {
    ask(&**store, fund(1, 100)).await;
    for number in 2..6 {
        ask(&**store, reserve(number, 10)).await;
    }
    let estimated = |number, actual| Operation::Settle {
        hold: id(number),
        actual: usd(actual),
        estimated: true,
    };
    assert_eq!(ask(&**store, estimated(2, 12)).await, "created post 12");
    assert_eq!(ask(&**store, settle(2, 12)).await, "exists post 12", "it stays as it was");
    assert_eq!(ask(&**store, settle(3, 12)).await, "created post 12");
    hands.pass(TTL);
    store.expire_due(10).await.unwrap();
    assert_eq!(ask(&**store, estimated(4, 5)).await, "created late_post 5");
    assert_eq!(ask(&**store, late_settle(5, 5)).await, "created late_post 5");
    // The word is a charge's; what people write is theirs.
    let (hold, amount, note) = (id(3), usd(1), "estimated".to_owned());
    let refund = Operation::Refund(Refund { id: id(9), hold, amount, note });
    assert_eq!(ask(&**store, refund).await, "created refund 1");
    let history = store.history("acme".to_owned(), None, 100).await.unwrap();
    let mut told: Vec<_> = history
        .iter()
        .filter(|(_, row)| row.is_estimated())
        .map(|(_, row)| (row.kind.as_str(), row.hold))
        .collect();
    told.reverse();
    assert_eq!(told, [("post", Some(id(2))), ("overage", Some(id(2))), ("late_post", Some(id(4)))]);
}

async fn sixty_four_at_once_get_what_ten_can_have(store: &Store, _: &Hands) {
    ask(&**store, fund(1, 1_000)).await;
    let asked: Vec<_> = (0..64)
        .map(|n| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                let budgets = vec![budget(Scope::Org, Period::Daily, 1_000)];
                ask(&*store, Operation::Reserve(reservation(100 + n, 100, budgets))).await
            })
        })
        .collect();
    let mut made = 0;
    for answer in asked {
        match answer.await.unwrap().as_str() {
            "created pending 100" => made += 1,
            refused => assert_eq!(refused, "insufficient:wallet"),
        }
    }
    assert_eq!((made, available(&**store).await), (10, 0));
}

async fn what_is_due_is_done_in_portions(store: &Store, hands: &Hands) {
    ask(&**store, fund(1, 1_000)).await;
    for number in 2..12 {
        ask(&**store, reserve(number, 10)).await;
        hands.pass(1);
    }
    hands.pass(TTL - 3);
    // Eight are due, and two are not.
    for count in [5, 3, 0] {
        assert_eq!(store.expire_due(5).await.unwrap(), count);
    }
    let holds = store.holds("acme".to_owned()).await.unwrap();
    let open = holds.iter().filter(|hold| matches!(hold.state, State::Open { .. }));
    assert_eq!(
        (open.map(|hold| hold.id).collect::<Vec<_>>(), holds.len()),
        (vec![id(10), id(11)], 10)
    );
}
