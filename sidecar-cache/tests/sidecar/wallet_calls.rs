//! What an audit looks up of the calls that were made: each until it has ended, and no longer.

use std::time::Duration;

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
