//! What one organization may have under way is bounded: beyond it, it waits for its own, and nobody else does.

use kt_contract::problem::{Crowd, Problem};
use sidecar_cache::clock::Clock;
use sidecar_cache::service::lane::Refusal;

use crate::support::{CHAT, CHAT_STREAM, Group, Key, group_of, holder, settings_with};

async fn bounded(per_org: &str) -> Group {
    // The tests' file has the section already: another one of its lines.
    let settings = settings_with(&format!("  per_org: {{{per_org}}}\n"));
    let group = group_of(settings, Clock::start(), None);
    group.poll().await;
    group
}

async fn key_of(group: &Group, org: &str) -> Key {
    group.key_with(|key| key.org = org.to_owned()).await
}

fn full(refusal: &Refusal) -> Crowd {
    let Problem::OrganizationFull(crowd) = &refusal.problem else { panic!("{refusal:?}") };
    *crowd
}

#[tokio::test(start_paused = true)]
async fn who_has_as_many_requests_as_it_may_is_refused_before_its_body_and_others_are_not() {
    let group = bounded("max_requests: 2, max_streams: 1").await;
    let (noisy, quiet) = (key_of(&group, "noisy").await, key_of(&group, "quiet").await);
    let enter = async |key: &Key, body: &str| {
        let (ticket, _) = group.ticket(group.ask(key, body)).await;
        group.sidecar.enter(Some(&ticket), &holder())
    };
    let stream = enter(&noisy, CHAT_STREAM).await.unwrap();
    let refusal = enter(&noisy, CHAT_STREAM).await.unwrap_err();
    assert_eq!(full(&refusal), Crowd::Streams { max: 1 });
    let whole = enter(&noisy, CHAT).await.unwrap();
    let refusal = enter(&noisy, CHAT).await.unwrap_err();
    assert_eq!(full(&refusal), Crowd::Requests { max: 2 });
    let theirs = enter(&quiet, CHAT_STREAM).await.unwrap();
    assert_eq!(group.metric("kt_organization_requests_most"), "2");
    assert_eq!(group.metric("kt_organization_full_total{bound=\"streams\"}"), "1");
    assert_eq!(group.metric("kt_organization_full_total{bound=\"requests\"}"), "1");
    drop((stream, whole, theirs));
    assert_eq!(group.metric("kt_organization_requests_most"), "0");
    assert_eq!(group.fetch(&noisy, CHAT).await.unwrap().head.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_body_beyond_the_bytes_of_its_organization_is_refused_to_it_alone() {
    let mut settings = settings_with("");
    settings.per_org.max_bytes = Some(100);
    let group = group_of(settings, Clock::start(), None);
    group.poll().await;
    let (noisy, quiet) = (key_of(&group, "noisy").await, key_of(&group, "quiet").await);
    let enter = async |key: &Key| {
        let (ticket, _) = group.ticket(group.ask(key, CHAT)).await;
        group.sidecar.enter(Some(&ticket), &holder())
    };
    let (mut one, mut other) = (enter(&noisy).await.unwrap(), enter(&noisy).await.unwrap());
    assert!(one.has_room(60) && !other.has_room(60));
    let full = Problem::OrganizationFull(Crowd::Bytes { max: 100 });
    assert_eq!(other.no_room(), Some(full.clone()));
    assert!(enter(&quiet).await.unwrap().has_room(60));
    assert!(one.has_room(100));
    assert_eq!(enter(&noisy).await.unwrap_err().problem, full);
    drop(one);
    assert!(other.has_room(60));
    assert_eq!(other.no_room(), None);
}

#[tokio::test(start_paused = true)]
async fn an_answer_beyond_the_bytes_of_its_organization_is_told_and_not_stored() {
    let mut settings = settings_with("");
    settings.per_org.max_bytes = Some(CHAT.len() as u64 + 10);
    let group = group_of(settings, Clock::start(), None);
    group.poll().await;
    let key = group.key().await;
    assert_eq!(group.fetch(&key, CHAT).await.unwrap().head.status, 200);
    assert!(!group.is_cached(&key, CHAT).await);
    assert_eq!(group.metric("kt_not_stored_total{reason=\"no-room\"}"), "1");
}
