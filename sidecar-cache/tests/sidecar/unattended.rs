//! Flights that no client reads, or hardly one: those that fetch a stale entry's successor and those that their
//! clients have left go on for the entry, and only as long as there may be one.

use std::time::Duration;

use crate::support::*;
use kt_contract::outcome::{Outcome, Reason};
use kt_contract::time::Millis;
use kt_contract::wire::admit::{AdmitRequest, Control};
use sidecar_cache::freshness::Stale;
use sidecar_cache::generation::Tag;
use sidecar_cache::service::lane::Reply;
use sidecar_cache::service::reader::Piece;
use sidecar_cache::service::settings::Settings;
use tokio::time::{Instant, sleep};

/// A group with an entry that is past its time and may be served.
async fn group_with_stale_entry() -> (&'static Group, Key) {
    let group: &'static Group = Box::leak(Box::new(group().await));
    let stale = Stale { while_revalidate: Millis(3_000_000), if_error: Millis(0) };
    group.sidecar.reconfigure(Ok(Settings { stale, ..settings() })).await;
    let key = group.key().await;
    group.fetch(&key, CHAT).await.unwrap();
    tokio::time::advance(Duration::from_secs(3_600)).await;
    (group, key)
}

/// Says how old it may be: it waits for a new one.
fn picky(ask: AdmitRequest) -> AdmitRequest {
    AdmitRequest { control: Control { max_age_s: Some(86_400), only_if_cached: false }, ..ask }
}

fn slow(scripted: Scripted) -> Scripted {
    Scripted { head_after: Duration::from_secs(200), ..scripted }
}

#[tokio::test(start_paused = true)]
async fn a_stale_entrys_successor_is_waited_for_as_long_as_any_answer() {
    let (group, key) = group_with_stale_entry().await;
    group.provider.next(slow(answers_json(&JSON.replace("hello", "newer"))));
    for _ in 0..3 {
        let (ticket, reason) = group.ticket(group.ask(&key, CHAT)).await;
        assert_eq!(reason, Reason::Revalidating);
        assert!(read(group.lane(&ticket, CHAT).await.unwrap()).await.has_end);
        sleep(Duration::from_secs(70)).await;
    }
    assert_eq!((group.provider.count(), group.provider.cancelled()), (2, 0));
    let told = group.hit(group.ask(&key, CHAT)).await;
    assert!(String::from_utf8(told.to_vec()).unwrap().contains("newer"));
}

#[tokio::test(start_paused = true)]
async fn who_joins_the_call_for_a_successor_and_leaves_does_not_end_it() {
    let (group, key) = group_with_stale_entry().await;
    group.provider.next(slow(answers_json(&JSON.replace("hello", "newer"))));
    let (ticket, _) = group.ticket(group.ask(&key, CHAT)).await;
    assert!(read(group.lane(&ticket, CHAT).await.unwrap()).await.has_end);
    let (ticket, _) = group.ticket(picky(group.ask(&key, CHAT))).await;
    let joiner = tokio::spawn(async move { group.lane(&ticket, CHAT).await.is_ok() });
    sleep(Duration::from_secs(10)).await;
    assert_eq!(group.metric("kt_flight_follows_total"), "1");
    joiner.abort();
    sleep(Duration::from_secs(200)).await;
    assert_eq!((group.provider.count(), group.provider.cancelled()), (2, 0));
    assert_eq!(group.metric("kt_fills_total"), "2");
}

/// Half of an answer at once, then something, then hardly anything for minutes.
fn trickles(then: &str) -> Scripted {
    let mut acts = vec![bytes(CHUNKS), Act::Wait(Duration::from_secs(2)), bytes(then)];
    acts.extend(
        (0..100).flat_map(|_| [Act::Wait(Duration::from_secs(5)), bytes(": still there\n\n")]),
    );
    answers_sse(acts)
}

#[tokio::test(start_paused = true)]
async fn a_flight_that_nobody_reads_ends_once_its_answer_cannot_be_stored() {
    let event = CHUNKS.split_inclusive("\n\n").next().unwrap();
    let large = ": 234567\n\n".repeat(900_000);
    let no_store = Scripted { cache_control: Some("no-store"), ..trickles("") };
    for (what, scripted, is_voided, reason) in [
        ("too many tokens", trickles(&event.repeat(2_000)), false, "entry-too-large"),
        ("too many bytes", trickles(&large), false, "entry-too-large"),
        ("invalidated", trickles(""), true, "superseded"),
        ("the provider forbids it", no_store, false, "client-left"),
    ] {
        let group = group().await;
        let key = group.key().await;
        let body = CHAT_STREAM.replacen('{', r#"{"max_tokens":1,"#, 1);
        group.provider.next(scripted);
        let (ticket, _) = group.ticket(group.ask(&key, &body)).await;
        drop(group.lane(&ticket, &body).await.unwrap());
        let start = Instant::now();
        sleep(Duration::from_secs(1)).await;
        if is_voided {
            group.sidecar.bump("acme", Tag::Org).await.unwrap();
            // It is somebody else's who asks now.
            assert!(group.fetch(&key, &body).await.unwrap().has_end);
        }
        group.sidecar.drained().await;
        assert!(start.elapsed() < Duration::from_secs(10), "{what}: {:?}", start.elapsed());
        assert_eq!(group.provider.cancelled(), 1, "{what}");
        let not_stored = group.metric(&format!("kt_not_stored_total{{reason=\"{reason}\"}}"));
        assert_eq!(not_stored, "1", "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_successor_that_cannot_be_stored_is_not_fetched_again_and_again() {
    let (group, key) = group_with_stale_entry().await;
    let forbidden = Scripted { cache_control: Some("no-store"), ..answers_json(JSON) };
    group.provider.next(forbidden);
    for _ in 0..3 {
        let (ticket, _) = group.ticket(group.ask(&key, CHAT)).await;
        assert!(read(group.lane(&ticket, CHAT).await.unwrap()).await.has_end);
        sleep(Duration::from_secs(10)).await;
    }
    assert_eq!(group.provider.count(), 2, "for a while nobody asks again");
    assert_eq!(group.metric("kt_flight_endings_total{ending=\"uncacheable\"}"), "1");
}

#[tokio::test(start_paused = true)]
async fn who_reads_a_little_now_and_then_does_not_keep_an_answer_for_ever() {
    let group = group().await;
    let key = group.key().await;
    let mut acts: Vec<_> = (0..200).map(|_| bytes(": 234567\n\n")).collect();
    acts.push(bytes(&sse()));
    group.provider.next(answers_sse(acts));
    let (ticket, _) = group.ticket(group.ask(&key, CHAT_STREAM)).await;
    let reply = group.lane(&ticket, CHAT_STREAM).await.unwrap();
    let Reply::Stream(_, mut pieces) = reply else { panic!("not a stream") };
    let start = Instant::now();
    let mut body = Vec::new();
    while let Some(piece) = pieces.recv().await {
        let Piece::Bytes(bytes) = piece else { panic!("the end, after {:?}", start.elapsed()) };
        body.extend_from_slice(&bytes);
        let is_kept = group.metric("kt_flight_log_bytes") != "0";
        assert_eq!(is_kept, start.elapsed() < Duration::from_secs(600), "{:?}", start.elapsed());
        sleep(Duration::from_secs(29)).await;
    }
    assert!(start.elapsed() < Duration::from_secs(660), "{:?}", start.elapsed());
    assert!(String::from_utf8(body).unwrap().contains("upstream_cut_short"));
    assert!(group.is_cached(&key, CHAT_STREAM).await, "its answer was stored long before");
}

#[tokio::test(start_paused = true)]
async fn what_breaks_off_before_its_first_byte_is_the_leaders_alone_whatever_type_it_has() {
    let group = group().await;
    let key = group.key().await;
    let broken = Scripted { content_type: "text/html", acts: vec![Act::Break], ..answers_json("") };
    group.provider.next(Scripted { head_after: Duration::from_secs(1), ..broken });
    let (leader, _) = group.ticket(group.ask(&key, CHAT)).await;
    let (follower, _) = group.ticket(group.ask(&key, CHAT)).await;
    let (refused, seen) = tokio::join!(group.lane(&leader, CHAT), group.lane(&follower, CHAT));
    assert_eq!(refused.unwrap_err().problem.code(), "upstream_cut_short");
    let seen = read(seen.unwrap()).await;
    assert_eq!(group.metric("kt_not_stored_total{reason=\"upstream_cut_short\"}"), "1");
    assert_eq!(seen.head.cache, (Outcome::Miss, Reason::Takeover));
    assert_eq!(seen.body, JSON.as_bytes());
    assert!(group.is_cached(&key, CHAT).await, "one that failed says nothing of those to come");
    assert_eq!(group.metric("kt_flight_endings_total{ending=\"uncacheable\"}"), "0");
}

#[tokio::test(start_paused = true)]
async fn who_joins_a_call_that_its_client_has_left_keeps_it_open_for_others() {
    let group: &'static Group = Box::leak(Box::new(group().await));
    let key = group.key().await;
    let body: &'static str =
        Box::leak(CHAT_STREAM.replacen('{', r#"{"max_tokens":1,"#, 1).into_boxed_str());
    let wait = |seconds| Act::Wait(Duration::from_secs(seconds));
    // That nothing of it can be stored is known when its client has left, and somebody else has come.
    let event = CHUNKS.split_inclusive("\n\n").next().unwrap();
    let more = event.repeat(2_000);
    let end = [USAGE_CHUNK, DONE].concat();
    let acts = vec![bytes(CHUNKS), wait(5), bytes(&more), wait(20), bytes(&end)];
    group.provider.next(answers_sse(acts));
    let (ticket, _) = group.ticket(group.ask(&key, body)).await;
    drop(group.lane(&ticket, body).await.unwrap());
    let mut clients = Vec::new();
    for _ in 0..2 {
        sleep(Duration::from_secs(3)).await;
        let (ticket, _) = group.ticket(group.ask(&key, body)).await;
        clients.push(tokio::spawn(
            async move { read(group.lane(&ticket, body).await.unwrap()).await },
        ));
    }
    for client in clients {
        let seen = client.await.unwrap();
        assert_eq!(seen.head.cache, (Outcome::Coalesced, Reason::InFlight));
        assert_eq!(seen.body.len(), CHUNKS.len() + more.len() + DONE.len());
        assert!(seen.has_end);
    }
    assert_eq!((group.provider.count(), group.provider.cancelled()), (1, 0));
}
