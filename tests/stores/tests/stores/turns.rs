//! One audit for all sidecars of a database: who has the turn counts, the others learn what was found.

use std::sync::Arc;

use kt_contract::time::{Millis, UnixMillis};
use kt_contract::wire::admin::Condition;
use sidecar_cache::clock::Clock;
use sidecar_cache::ledger::audit::{Breach, Findings, Invariant};
use sidecar_cache::service::audit::First;
use sidecar_cache::store::ledger::LedgerStore;
use sidecar_cache::store::ledger::turns::{Counted, Known, Told, Turn};
use sidecar_cache::store::postgres::ledger::PostgresLedger;

use crate::ledger_over::Place;
use crate::ledger_support::*;
use crate::shared_ledger::{pair, shell, sidecar as ledger};
use crate::support::{Common, Group, Shelved, group_spooling, settings_with};

const MINUTE: Millis = Millis(60_000);

fn findings() -> Findings {
    let breach = |number: u32| Breach {
        invariant: Invariant::BalancesFollow,
        org: "a\0cme".to_owned(),
        account: format!("wallet {number}"),
        expected: "1".to_owned(),
        found: "2".to_owned(),
    };
    let breaches = (0..150).map(breach).collect();
    Findings { transfers: 7, open: 2, suspended: 1, breaches }
}

fn told(found: Result<Findings, String>) -> Told {
    Told { took: Millis(1_234), ago: Millis(1_234), found, again_after: MINUTE }
}

async fn counters(place: &Place, hands: &Hands) -> [Arc<PostgresLedger>; 2] {
    let open = async || {
        let database = kt_stores::open(&place.url).unwrap();
        Arc::new(PostgresLedger::open(database, Some(hands.timepiece())).await.unwrap())
    };
    [open().await, open().await]
}

fn others(known: Known, is_due: bool) -> Turn {
    Turn::Others { known, is_due }
}

#[tokio::test]
async fn one_counts_and_the_others_learn_what_was_found() {
    let (place, hands) = (Place::empty().await, Hands::at_noon());
    let [one, other] = counters(&place, &hands).await;
    assert_eq!(one.audit_turn().await.unwrap(), Turn::Mine);
    assert_eq!(other.audit_turn().await.unwrap(), others(Known::default(), true));
    hands.pass(SECOND);
    one.audit_told(told(Ok(findings()))).await.unwrap();
    let mut first = findings();
    first.breaches.truncate(100);
    let at = UnixMillis(NOON + SECOND);
    let counted = Counted { at, took: Millis(1_234), findings: first, breaches_total: 150 };
    let known = Known { last: Some(counted.clone()), failure: None };
    for ledger in [&one, &other] {
        assert_eq!(ledger.audit_turn().await.unwrap(), others(known.clone(), false));
    }
    hands.pass(MINUTE.0);
    assert_eq!(other.audit_turn().await.unwrap(), Turn::Mine, "it is due again");
    other.audit_told(told(Err("it took too long".to_owned()))).await.unwrap();
    // That it failed is known, and so is what was found before; and nobody tries at once again.
    let known = Known { last: Some(counted), failure: Some("it took too long".to_owned()) };
    assert_eq!(one.audit_turn().await.unwrap(), others(known, false));
}

#[tokio::test]
async fn a_turn_is_kept_while_it_is_renewed_and_lost_when_its_holder_is_gone() {
    let (place, hands) = (Place::empty().await, Hands::at_noon());
    let [one, other] = counters(&place, &hands).await;
    for _ in 0..5 {
        assert_eq!(one.audit_turn().await.unwrap(), Turn::Mine);
        hands.pass(29 * SECOND);
        assert_eq!(other.audit_turn().await.unwrap(), others(Known::default(), true));
    }
    hands.pass(SECOND);
    assert_eq!(other.audit_turn().await.unwrap(), Turn::Mine);
    assert_eq!(one.audit_turn().await.unwrap(), others(Known::default(), true));
    // Who is late takes nobody's turn away.
    one.audit_told(told(Ok(Findings::default()))).await.unwrap();
    assert_eq!(other.audit_turn().await.unwrap(), Turn::Mine);
}

#[tokio::test]
async fn who_began_before_what_is_known_tells_nothing_new() {
    let (place, hands) = (Place::empty().await, Hands::at_noon());
    let [one, other] = counters(&place, &hands).await;
    // It counts, and stands still before it has told what it found.
    assert_eq!(one.audit_turn().await.unwrap(), Turn::Mine);
    hands.pass(MINUTE.0);
    assert_eq!(other.audit_turn().await.unwrap(), Turn::Mine);
    other.audit_told(told(Ok(findings()))).await.unwrap();
    hands.pass(SECOND);
    let known = one.audit_turn().await.unwrap();
    for found in [Ok(Findings::default()), Err("it took too long".to_owned())] {
        let told = Told { ago: Millis(MINUTE.0 + SECOND), ..told(found) };
        one.audit_told(told).await.unwrap();
        assert_eq!(other.audit_turn().await.unwrap(), known);
    }
    // Whoever begins behind it has news, though it is not due: a person has asked.
    hands.pass(2 * SECOND);
    one.audit_told(told(Ok(Findings::default()))).await.unwrap();
    let Turn::Others { known: Known { last: Some(last), .. }, .. } =
        other.audit_turn().await.unwrap()
    else {
        panic!("it was counted")
    };
    assert_eq!(last.findings, Findings::default());
}

#[tokio::test]
async fn a_clock_that_was_set_back_keeps_nobody_from_counting() {
    let (place, hands) = (Place::empty().await, Hands::at_noon());
    let [one, other] = counters(&place, &hands).await;
    assert_eq!(one.audit_turn().await.unwrap(), Turn::Mine);
    hands.set_wall(NOON - DAY);
    assert_eq!(other.audit_turn().await.unwrap(), Turn::Mine);
    other.audit_told(told(Ok(Findings::default()))).await.unwrap();
    hands.set_wall(NOON - 2 * DAY);
    assert_eq!(one.audit_turn().await.unwrap(), Turn::Mine);
    // One that has failed says no time of its own.
    one.audit_told(told(Err("it took too long".to_owned()))).await.unwrap();
    hands.set_wall(NOON - 3 * DAY);
    assert_eq!(other.audit_turn().await.unwrap(), Turn::Mine);
}

#[tokio::test]
async fn a_first_count_that_failed_under_a_clock_that_was_ahead_is_made_again() {
    let (place, hands) = (Place::empty().await, Hands::at_noon());
    let [one, other] = counters(&place, &hands).await;
    assert_eq!(one.audit_turn().await.unwrap(), Turn::Mine);
    one.audit_told(told(Err("it took too long".to_owned()))).await.unwrap();
    hands.set_wall(NOON - DAY);
    assert_eq!(other.audit_turn().await.unwrap(), Turn::Mine);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_ask_at_once_one_has_the_turn() {
    let place = Place::empty().await;
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let ledger = ledger(&place).await;
        asked.spawn(async move { ledger.audit_turn().await.unwrap() });
    }
    let turns = asked.join_all().await;
    assert_eq!(turns.iter().filter(|turn| **turn == Turn::Mine).count(), 1, "{turns:?}");
}

/// A sidecar over a ledger.
fn over(ledger: &Arc<PostgresLedger>) -> Group {
    let settings = settings_with("wallet: {backend: postgres, url: {env: KT_DATABASE_URL}}\n");
    let clock = Clock::start();
    let entries = Arc::new(Shelved::new(clock, settings.memory));
    let ledger = Some(Arc::clone(ledger) as Arc<dyn LedgerStore>);
    let store = Arc::clone(&entries) as Arc<_>;
    let keys = Arc::default();
    let common = Common { clock, settings, store, entries, keys, ledger, savings: None };
    group_spooling(common, None, None)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_that_starts_learns_of_a_breach_and_counts_nothing_again() {
    let place = Place::empty().await;
    let ledgers = pair(&place).await;
    ask(&*ledgers[0], fund(1, 100)).await;
    let shell = shell(&place).await;
    let plant = "UPDATE accounts SET credits_posted = credits_posted + 5 WHERE name = 'wallet'";
    shell.batch_execute(plant).await.unwrap();
    let [one, other] = [over(&ledgers[0]), over(&ledgers[1])];
    let First::Counted(counted) = one.sidecar.audit_first().await.unwrap() else { panic!() };
    assert!(counted.breaches_total > 0);
    let First::Learned(learned) = other.sidecar.audit_first().await.unwrap() else { panic!() };
    assert_eq!(learned.breaches, counted.breaches);
    assert_eq!(ledgers[1].frozen().await.unwrap().len(), 1);
    let status = other.sidecar.status();
    assert_eq!(status.status, Condition::Degraded);
    assert!(status.wallet_errors[0].starts_with("audit: "), "{:?}", status.wallet_errors);
    assert_eq!(other.metric("kt_wallet_frozen"), "1");
    // Whoever asks for one has one of their own, and what it finds is everybody's.
    shell.batch_execute(&plant.replace("+ 5", "- 5")).await.unwrap();
    assert_eq!(other.sidecar.audit().await.unwrap().breaches_total, 0);
    let First::Learned(learned) = one.sidecar.audit_first().await.unwrap() else { panic!() };
    assert_eq!(learned.breaches_total, 0);
    assert_eq!(one.sidecar.status().status, Condition::Ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_has_no_answer_in_time_keeps_no_sidecar_from_starting_and_everybody_says_so()
{
    let place = Place::empty().await;
    let ledgers = pair(&place).await;
    let [one, other] = [over(&ledgers[0]), over(&ledgers[1])];
    let somebody = shell(&place).await;
    somebody.batch_execute("BEGIN; LOCK TABLE transfers").await.unwrap();
    let First::NotCounted(why) = one.sidecar.audit_first().await.unwrap() else { panic!() };
    assert!(why.contains("lock timeout"), "{why}");
    somebody.batch_execute("ROLLBACK").await.unwrap();
    let First::NotCounted(_) = other.sidecar.audit_first().await.unwrap() else { panic!() };
    for group in [&one, &other] {
        let told = group.sidecar.status().wallet_errors;
        assert!(told[0].starts_with("the ledger cannot be audited: "), "{told:?}");
        assert_eq!(group.metric("kt_wallet_audit_failing"), "1");
    }
    assert_eq!(one.sidecar.audit().await.unwrap().breaches_total, 0);
    assert_eq!(one.metric("kt_wallet_audit_failing"), "0");
    let First::Learned(_) = other.sidecar.audit_first().await.unwrap() else { panic!() };
    assert_eq!(other.metric("kt_wallet_audit_failing"), "0");
}
