//! A sidecar whose shared store goes away: nobody is refused, what is in memory is served, and everybody who
//! wants to know can.

use std::sync::Arc;

use kt_contract::outcome::Reason;
use kt_contract::wire::admin::{Condition, InvalidateRequest};
use kt_contract::wire::admit::Admitted;
use sidecar_cache::clock::Clock;
use sidecar_cache::entry::Entry;
use sidecar_cache::generation::Tag;
use sidecar_cache::service::Sidecar;
use sidecar_cache::store::EntryStore;
use sidecar_cache::store::layered::Layered;

use crate::distant::Distant;
use crate::support::*;

/// A sidecar over a shared store.
async fn over(shared: &Arc<Distant>, clock: Clock) -> Group {
    let settings = settings();
    let distant = Arc::clone(shared) as Arc<dyn EntryStore>;
    let layered = Layered::new(clock, settings.memory, distant, Entry::whose);
    let provider = Arc::new(Provider::default());
    let sidecar = Sidecar::new(parts(clock, settings, Arc::new(layered), &provider));
    let group = Group { provider, ..Group::around(sidecar.unwrap()) };
    group.poll().await;
    group
}

async fn group_and_store() -> (Group, Arc<Distant>) {
    let clock = Clock::start();
    let shared = Arc::new(Distant::new(clock, settings().memory));
    (over(&shared, clock).await, shared)
}

#[tokio::test(start_paused = true)]
async fn what_is_in_memory_is_served_and_the_rest_is_called_for_and_not_stored() {
    let (group, shared) = group_and_store().await;
    let key = group.key().await;
    group.fetch(&key, CHAT).await.unwrap();
    shared.goes_away();
    group.hit(group.ask(&key, CHAT)).await;

    let other = CHAT.replace("hi", "ho");
    let (ticket, reason) = group.ticket(group.ask(&key, &other)).await;
    assert_eq!(reason, Reason::StoreUnavailable);
    let seen = read(group.lane(&ticket, &other).await.unwrap()).await;
    assert!(seen.has_end && seen.head.cache.1 == Reason::StoreUnavailable, "{seen:?}");
    assert_eq!(group.metric("kt_not_stored_total{reason=\"store\"}"), "1");
    let counted = "kt_lookups_total{outcome=\"miss\",reason=\"store-unavailable\"}";
    assert_eq!(group.metric(counted), "1");
    assert_eq!(group.sidecar.status().entries, 1);

    shared.comes_back();
    assert!(!group.is_cached(&key, &other).await);
    group.fetch(&key, &other).await.unwrap();
    assert!(group.is_cached(&key, &other).await, "it is stored again without a restart");
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_is_in_force_though_the_store_is_away() {
    let (group, shared) = group_and_store().await;
    let key = group.key().await;
    for by in ["all", "key"] {
        group.fetch(&key, CHAT).await.unwrap();
        shared.goes_away();
        let own = group.ask(&key, CHAT).plan.key.0.to_hex();
        let request = InvalidateRequest {
            org: "acme".to_owned(),
            all: by == "all",
            key: (by == "key").then_some(own),
            ..InvalidateRequest::default()
        };
        let done = group.sidecar.invalidate(request).await.unwrap();
        assert!(done.generation > 0, "{by}");
        assert!(!group.is_cached(&key, CHAT).await, "{by}");
        shared.comes_back();
        let (_, reason) = group.ticket(group.ask(&key, CHAT)).await;
        assert_eq!(reason, Reason::Generation, "what was left there is not told: {by}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_one_has_filled_another_finds_and_what_it_invalidates_a_copy_does_not_outlive() {
    let clock = Clock::start();
    let shared = Arc::new(Distant::new(clock, settings().memory));
    let (one, other) = (over(&shared, clock).await, over(&shared, clock).await);
    let (key, same) = (one.key().await, other.key().await);
    one.fetch(&key, CHAT).await.unwrap();
    other.hit(other.ask(&same, CHAT)).await;
    assert_eq!(other.provider.count(), 0);
    // The one removes the entry; the other has a copy, and is told of the generation as it is of any other's.
    one.sidecar.bump("acme", Tag::Org).await.unwrap();
    one.sidecar
        .invalidate(InvalidateRequest {
            org: "acme".to_owned(),
            all: true,
            ..InvalidateRequest::default()
        })
        .await
        .unwrap();
    other.hit(other.ask(&same, CHAT)).await;
    other.sidecar.bump("acme", Tag::Org).await.unwrap();
    let (_, reason) = other.ticket(other.ask(&same, CHAT)).await;
    assert_eq!(reason, Reason::Generation);
}

#[tokio::test(start_paused = true)]
async fn what_was_made_anew_after_an_invalidation_is_found_behind_a_copy_of_the_old() {
    let clock = Clock::start();
    let shared = Arc::new(Distant::new(clock, settings().memory));
    let (one, other) = (over(&shared, clock).await, over(&shared, clock).await);
    let (key, same) = (one.key().await, other.key().await);
    one.fetch(&key, CHAT).await.unwrap();
    other.hit(other.ask(&same, CHAT)).await;
    // Both know of the invalidation, and the one has asked anew.
    for group in [&one, &other] {
        group.sidecar.bump("acme", Tag::Org).await.unwrap();
    }
    let newer = JSON.replace("hello", "newer");
    one.provider.next(answers_json(&newer));
    one.fetch(&key, CHAT).await.unwrap();
    assert_eq!(other.hit(other.ask(&same, CHAT)).await, newer);
    assert_eq!(other.provider.count(), 0, "it is not paid for twice");
}

#[tokio::test(start_paused = true)]
async fn who_looks_is_told_that_the_store_is_away_and_that_it_is_back() {
    let (group, shared) = group_and_store().await;
    let condition = || {
        let status = group.sidecar.status();
        (status.status, status.store_errors)
    };
    assert_eq!(condition(), (Condition::Ok, Vec::new()));
    assert_eq!(group.metric("kt_store_available{store=\"redis\"}"), "1");
    let told = || group.sidecar.status().stores.remove(0);
    let there = told();
    assert_eq!((there.place.as_str(), there.fault), ("redis at cache:6379", None));
    assert!(there.says.unwrap().ends_with("noeviction") && there.advice.is_some());
    shared.goes_away();
    let error = "redis at cache:6379 is away since 7 s: it has gone".to_owned();
    assert_eq!(condition(), (Condition::Degraded, vec![error.clone()]));
    assert_eq!(told().fault, Some(error));
    assert_eq!(group.sidecar.stores_away(), ["redis"]);
    for (metric, value) in [
        ("kt_store_available", "0"),
        ("kt_store_breaker_open", "1"),
        ("kt_store_breaker_opened_total", "2"),
        ("kt_store_away_seconds_total", "8.5"),
        ("kt_store_copies", "0"),
    ] {
        assert_eq!(group.metric(&format!("{metric}{{store=\"redis\"}}")), value, "{metric}");
    }
    for (result, value) in [("answered", "5"), ("late", "3"), ("lost", "0")] {
        let metric = format!("kt_store_operations_total{{store=\"redis\",result=\"{result}\"}}");
        assert_eq!(group.metric(&metric), value, "{result}");
    }
    shared.comes_back();
    assert_eq!(condition(), (Condition::Ok, Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn a_store_of_its_own_has_no_metrics_of_a_shared_one() {
    let group = group().await;
    let text = group.sidecar.render_metrics();
    assert!(!text.contains("{store="), "{text}");
    assert_eq!(group.sidecar.status().store_errors, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn only_what_is_cached_is_refused_with_the_reason() {
    let (group, shared) = group_and_store().await;
    let key = group.key().await;
    shared.goes_away();
    let mut ask = group.ask(&key, CHAT);
    ask.control.only_if_cached = true;
    let reason = Reason::StoreUnavailable;
    assert_eq!(group.admit(ask).await, Admitted::NotCached { reason });
}
