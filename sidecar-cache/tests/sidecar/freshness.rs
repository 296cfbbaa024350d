//! What a client asks of an entry's age, and what it gets of an old one.

use std::time::Duration;

use crate::support::*;
use kt_contract::outcome::Reason;
use kt_contract::wire::admit::{AdmitRequest, Admitted, Control};

fn with(control: Control, ask: AdmitRequest) -> AdmitRequest {
    AdmitRequest { control, ..ask }
}

const fn max_age(seconds: u64) -> Control {
    Control { max_age_s: Some(seconds), only_if_cached: false }
}

const ONLY_IF_CACHED: Control = Control { max_age_s: None, only_if_cached: true };

#[tokio::test(start_paused = true)]
async fn an_entry_older_than_max_age_misses_and_its_successor_fills() {
    let group = group().await;
    let key = group.key().await;
    group.fetch(&key, CHAT).await.unwrap();
    tokio::time::advance(Duration::from_secs(60)).await;
    group.hit(with(max_age(60), group.ask(&key, CHAT))).await;
    tokio::time::advance(Duration::from_millis(1)).await;
    let (ticket, reason) = group.ticket(with(max_age(60), group.ask(&key, CHAT))).await;
    assert_eq!(reason, Reason::MaxAge);
    let newer = JSON.replace("hello", "newer");
    group.provider.next(answers_json(&newer));
    let seen = read(group.lane(&ticket, CHAT).await.unwrap()).await;
    assert_eq!(seen.head.cache.1, Reason::MaxAge);
    assert_eq!(group.hit(group.ask(&key, CHAT)).await, newer, "for everybody");
    group.hit(with(max_age(60), group.ask(&key, CHAT))).await;
    let (_, reason) = group.ticket(with(max_age(0), group.ask(&key, CHAT))).await;
    assert_eq!(reason, Reason::MaxAge, "nothing is younger than 0 seconds");
}

#[tokio::test(start_paused = true)]
async fn only_if_cached_is_a_hit_or_the_reason_why_not() {
    let group = group().await;
    let key = group.key().await;
    let ask = || with(ONLY_IF_CACHED, group.ask(&key, CHAT));
    assert_eq!(group.admit(ask()).await, Admitted::NotCached { reason: Reason::Request });
    group.fetch(&key, CHAT).await.unwrap();
    group.hit(ask()).await;
    let mut bypass = ask();
    bypass.bypass = Some(Reason::ClientNoCache);
    assert_eq!(group.admit(bypass).await, Admitted::NotCached { reason: Reason::ClientNoCache });
    let both = Control { max_age_s: Some(1), ..ONLY_IF_CACHED };
    tokio::time::advance(Duration::from_secs(2)).await;
    let decision = group.admit(with(both, group.ask(&key, CHAT))).await;
    assert_eq!(decision, Admitted::NotCached { reason: Reason::MaxAge });
    let stranger = group.key_with(|key| key.org = "globex".to_owned()).await;
    let decision = group.admit(with(ONLY_IF_CACHED, group.ask(&stranger, CHAT))).await;
    assert_eq!(decision, Admitted::NotCached { reason: Reason::Request }, "of no other's entry");
    tokio::time::advance(Duration::from_secs(3_600)).await;
    assert_eq!(group.admit(ask()).await, Admitted::NotCached { reason: Reason::Expired });
    assert_eq!(group.provider.count(), 1, "nobody was called for any of them");
}
