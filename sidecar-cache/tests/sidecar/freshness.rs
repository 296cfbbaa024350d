//! What a client asks of an entry's age, and what it gets of an old one.

use std::sync::Arc;
use std::time::Duration;

use crate::support::*;
use kt_contract::outcome::{Outcome, Reason};
use kt_contract::problem::Problem;
use kt_contract::time::Millis;
use kt_contract::wire::admit::{AdmitRequest, Admitted, Control};
use sidecar_cache::freshness::Stale;
use sidecar_cache::service::settings::Settings;
use sidecar_cache::service::upstream::CallFailed;

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

/// A group whose entries live an hour and may serve after it: so many seconds while another is fetched, so many
/// where none can be had.
async fn stale_group(while_revalidate_s: u64, if_error_s: u64) -> Group {
    let group = group().await;
    let stale = Stale {
        while_revalidate: Millis(while_revalidate_s * 1_000),
        if_error: Millis(if_error_s * 1_000),
    };
    group.sidecar.reconfigure(Ok(Settings { stale, ..settings() })).await;
    group
}

/// Longer than an entry lives.
const AN_HOUR: Duration = Duration::from_secs(3_600);

fn fails(status: u16) -> Scripted {
    let body = r#"{"error":{"message":"no","type":"t","param":null,"code":null}}"#;
    Scripted { status, ..answers_json(body) }
}

#[tokio::test(start_paused = true)]
async fn a_stale_entry_serves_at_once_and_one_call_fetches_its_successor() {
    for (body, wanted) in [(CHAT, JSON.to_owned()), (CHAT_STREAM, sse_without_usage())] {
        let group = stale_group(1_000, 0).await;
        let key = group.key().await;
        group.fetch(&key, body).await.unwrap();
        tokio::time::advance(AN_HOUR).await;
        let slow = |scripted| Scripted { head_after: Duration::from_secs(30), ..scripted };
        let newer = JSON.replace("hello", "newer");
        group.provider.next(slow(if body == CHAT {
            answers_json(&newer)
        } else {
            answers_sse(vec![bytes(&sse().replace("hello", "newer"))])
        }));
        for _ in 0..5 {
            let (ticket, reason) = group.ticket(group.ask(&key, body)).await;
            assert_eq!(reason, Reason::Revalidating);
            let seen = read(group.lane(&ticket, body).await.unwrap()).await;
            assert_eq!(seen.head.cache, (Outcome::Stale, Reason::Revalidating));
            assert_eq!(String::from_utf8(seen.body).unwrap(), wanted, "at once, and whole");
            assert!(seen.has_end);
            let (age_s, over_s) = seen.head.age_and_ttl_s.unwrap();
            assert!((3_600..3_630).contains(&age_s) && over_s < 400, "{age_s} {over_s}");
        }
        // Nobody waits for it, and it fills all the same.
        tokio::time::sleep(Duration::from_secs(40)).await;
        assert_eq!(group.provider.count(), 2, "one call for all of them");
        let told = group.hit(group.ask(&key, body)).await;
        assert!(String::from_utf8(told.to_vec()).unwrap().contains("newer"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stale_entry_serves_no_longer_than_configured_and_never_what_was_invalidated() {
    let group = stale_group(1_000, 0).await;
    let key = group.key().await;
    group.fetch(&key, CHAT).await.unwrap();
    tokio::time::advance(AN_HOUR).await;
    let reason = async |ask| group.ticket(ask).await.1;
    assert_eq!(reason(group.ask(&key, CHAT)).await, Reason::Revalidating);
    let picky = with(max_age(86_400), group.ask(&key, CHAT));
    assert_eq!(reason(picky).await, Reason::Expired, "who says how old wants it fresh");
    let mut other = group.key_with(|key| key.entitlements = vec!["us".to_owned()]).await;
    assert_ne!(reason(group.ask(&other, CHAT)).await, Reason::Revalidating, "another gate");
    other = key.clone();

    group.sidecar.bump("acme", kt_tag()).await.unwrap();
    assert_eq!(reason(group.ask(&other, CHAT)).await, Reason::Generation);

    group.fetch(&key, CHAT).await.unwrap();
    tokio::time::advance(AN_HOUR).await;
    group.sidecar.reconfigure(Ok(settings())).await;
    assert_eq!(reason(group.ask(&key, CHAT)).await, Reason::Expired, "switched off");

    let group = stale_group(1_000, 0).await;
    let key = group.key().await;
    group.fetch(&key, CHAT).await.unwrap();
    tokio::time::advance(AN_HOUR + Duration::from_secs(1_000)).await;
    assert_eq!(group.ticket(group.ask(&key, CHAT)).await.1, Reason::Expired, "too old");
}

fn kt_tag() -> sidecar_cache::generation::Tag {
    sidecar_cache::generation::Tag::Model("gpt-4o-mini".to_owned())
}

#[tokio::test(start_paused = true)]
async fn a_stale_entry_serves_where_the_provider_fails_before_the_first_byte() {
    for (what, scripted) in [
        ("500", fails(500)),
        ("429", fails(429)),
        ("unreachable", Scripted { fails: Some(CallFailed::Broken), ..answers_json("") }),
        ("cut before the end", answers_sse(vec![Act::Break])),
    ] {
        let group = stale_group(0, 10_000).await;
        let key = group.key().await;
        group.fetch(&key, CHAT).await.unwrap();
        tokio::time::advance(AN_HOUR).await;
        group.provider.next(scripted);
        let seen = group.fetch(&key, CHAT).await.unwrap();
        assert_eq!(seen.head.cache, (Outcome::Stale, Reason::UpstreamError), "{what}");
        assert_eq!((seen.head.status, seen.has_end), (200, true), "{what}");
        assert_eq!(seen.body, JSON.as_bytes(), "{what}");
        let seen = group.fetch(&key, CHAT).await.unwrap();
        assert_eq!(seen.head.cache.0, Outcome::Miss, "a provider that works answers: {what}");
        assert!(group.is_cached(&key, CHAT).await, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_the_requests_own_fault_is_told_although_there_is_a_stale_entry() {
    let group = stale_group(0, 10_000).await;
    let key = group.key().await;
    group.fetch(&key, CHAT).await.unwrap();
    tokio::time::advance(AN_HOUR).await;
    group.provider.next(fails(400));
    assert_eq!(group.fetch(&key, CHAT).await.unwrap().head.status, 400);
    let picky = with(max_age(86_400), group.ask(&key, CHAT));
    let (ticket, _) = group.ticket(picky).await;
    group.provider.next(fails(500));
    let seen = read(group.lane(&ticket, CHAT).await.unwrap()).await;
    assert_eq!(seen.head.status, 500, "who says how old wants it fresh or not at all");
}

#[tokio::test(start_paused = true)]
async fn only_if_cached_never_leads_to_a_call_not_even_on_the_lane() {
    let group = stale_group(1_000, 1_000).await;
    let key = group.key().await;
    group.fetch(&key, CHAT).await.unwrap();
    tokio::time::advance(AN_HOUR).await;
    let ask = || with(ONLY_IF_CACHED, group.ask(&key, CHAT));
    let (ticket, _) = group.ticket(ask()).await;
    let seen = read(group.lane(&ticket, CHAT).await.unwrap()).await;
    assert_eq!(seen.head.cache, (Outcome::Stale, Reason::Revalidating));
    let (ticket, _) = group.ticket(ask()).await;
    group.sidecar.bump("acme", kt_tag()).await.unwrap();
    let refusal = group.lane(&ticket, CHAT).await.unwrap_err();
    assert_eq!(refusal.problem, Problem::NotCached { reason: Reason::Generation });
    assert_eq!(refusal.cache, None);
    pass(Duration::from_secs(5)).await;
    assert_eq!(group.provider.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stale_entry_serves_an_error_only_if_it_may_when_the_error_comes() {
    let off = || {
        let mut snapshot = settings().snapshot.as_ref().clone();
        snapshot.cache.enabled = false;
        Settings { snapshot: Arc::new(snapshot), ..settings() }
    };
    for what in ["", "invalidated", "too old", "not configured", "switched off"] {
        let group = stale_group(0, if what == "too old" { 10 } else { 1_000 }).await;
        let key = group.key().await;
        group.fetch(&key, CHAT).await.unwrap();
        let admission = group.sidecar.admit(group.ask(&key, CHAT), PEER).await.unwrap();
        let Admitted::Hit { fresh_ms, .. } = admission.decision else { panic!("no hit") };
        tokio::time::advance(Duration::from_millis(fresh_ms)).await;
        let fails = |after| Scripted { head_after: Duration::from_secs(after), ..fails(500) };
        group.provider.next(fails(20));
        let change = async {
            pass(Duration::from_secs(5)).await;
            match what {
                "invalidated" => {
                    group.sidecar.bump("acme", kt_tag()).await.unwrap();
                }
                "not configured" => group.sidecar.reconfigure(Ok(settings())).await,
                "switched off" => {
                    let stale = Stale { while_revalidate: Millis(0), if_error: Millis(1_000_000) };
                    group.sidecar.reconfigure(Ok(Settings { stale, ..off() })).await;
                }
                _ => {}
            }
        };
        let (seen, ()) = tokio::join!(group.fetch(&key, CHAT), change);
        let seen = seen.unwrap();
        // What another version says is for those who come after it.
        let expected = if matches!(what, "" | "not configured" | "switched off") {
            (200, (Outcome::Stale, Reason::UpstreamError))
        } else {
            (500, (Outcome::Miss, Reason::Expired))
        };
        assert_eq!((seen.head.status, seen.head.cache), expected, "{what}");
        if let Some((_, over_s)) = seen.head.age_and_ttl_s {
            assert!((20..30).contains(&over_s), "as old as it is by now: {over_s}");
        }
    }
}
