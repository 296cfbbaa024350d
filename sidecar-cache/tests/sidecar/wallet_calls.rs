//! What an audit looks up of the calls that were made: each until it has ended, and no longer.

use std::time::Duration;

use sidecar_cache::service::upstream::CallFailed;
use sidecar_cache::store::ledger::LedgerStore as _;

use crate::support::*;
use crate::wallet::{FUNDS, Mood, chat, paying};

#[tokio::test(start_paused = true)]
async fn a_call_that_an_audit_has_seen_running_is_looked_up_again_when_it_has_ended() {
    let paying = paying("wallet: {}\n", FUNDS).await;
    let key = paying.group.key().await;
    let slow = Scripted { head_after: Duration::from_secs(3), ..answers_json(JSON) };
    paying.group.provider.next(slow);
    let asking = paying.crowd(&[&key], CHAT).await;
    assert_eq!(paying.breaches().await, [""; 0], "it runs");
    paying.ledger.is(Mood::Lies);
    for asked in asking {
        assert!(asked.await.unwrap().is_ok());
    }
    paying.ledger.is(Mood::Fine);
    let [breach] = &paying.breaches().await[..] else { panic!("its end is not in the ledger") };
    assert!(breach.ends_with("expected settled at 5 micro-USD, found open"), "{breach}");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_an_audit_has_seen_ended_is_not_looked_up_again() {
    let paying = paying("wallet: {}\n", FUNDS).await;
    let key = paying.group.key().await;
    assert!(paying.fetch(&key, CHAT).await.is_ok());
    assert_eq!(paying.breaches().await, [""; 0]);
    assert!(paying.fetch(&key, &chat("another question")).await.is_ok());
    paying.ledger.is(Mood::Forgets);
    let [breach] = &paying.breaches().await[..] else { panic!("the second, and not the first") };
    assert!(breach.ends_with("expected settled at 5 micro-USD, found none"), "{breach}");
}

#[tokio::test(start_paused = true)]
async fn calls_are_looked_up_many_at_once() {
    let paying = paying("wallet: {}\n", FUNDS).await;
    let key = paying.group.key().await;
    for nth in 0..300 {
        assert!(paying.fetch(&key, &chat(&format!("question {nth}"))).await.is_ok());
    }
    assert_eq!(paying.breaches().await, [""; 0]);
    assert_eq!(paying.ledger.lookups(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_end_nobody_knows_is_looked_up_until_time_has_ended_it_and_no_longer() {
    let paying = paying("wallet: {}\n", FUNDS).await;
    let key = paying.group.key().await;
    paying.group.provider.next(Scripted { fails: Some(CallFailed::Broken), ..answers_json(JSON) });
    let _ = paying.fetch(&key, CHAT).await;
    assert_eq!(paying.breaches().await, [""; 0]);
    assert_eq!(paying.breaches().await, [""; 0]);
    assert_eq!(paying.ledger.lookups(), 2, "it is open");
    pass(Duration::from_secs(70)).await;
    paying.group.sidecar.close_due().await;
    assert_eq!(paying.breaches().await, [""; 0]);
    // It lies in suspense for a day; there is room for others meanwhile.
    assert_eq!(paying.breaches().await, [""; 0]);
    assert_eq!(paying.ledger.lookups(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_wallet_that_cannot_be_frozen_keeps_no_other_from_it() {
    let paying = paying("wallet: {}\n", FUNDS).await;
    paying.ledger.is(Mood::Stuck);
    assert_eq!(paying.breaches().await.len(), 2);
    let frozen = paying.ledger.frozen().await.unwrap();
    assert_eq!(frozen.iter().map(|(org, _)| org.as_str()).collect::<Vec<_>>(), ["beta"]);
}
