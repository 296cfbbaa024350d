//! The logs of all flights together have a bound: who is sent away, and what goes on, when it is reached.

use std::time::Duration;

use crate::support::*;
use kt_contract::outcome::{Outcome, Reason};
use sidecar_cache::service::lane::Reply;
use sidecar_cache::service::reader::Reader;
use sidecar_cache::service::settings::Settings;

/// One piece, of less than a log may be read behind when there is no room.
const PIECE_BYTES: u64 = 40_000;
/// Two pieces and what ends an answer.
const KEPT_MAX: u64 = 100_000;

fn piece() -> Act {
    bytes(&": more\n\n".repeat(5_000))
}

/// A request of its own.
fn body(number: usize) -> String {
    CHAT_STREAM.replace("hi", &format!("hi {number}"))
}

async fn crowded_group() -> (Group, Key) {
    let group = group().await;
    let settings = Settings { flight_bytes_max: KEPT_MAX, ..settings() };
    group.sidecar.reconfigure(Ok(settings)).await;
    let key = group.key().await;
    (group, key)
}

impl Group {
    /// A client of a stream, before it has read any of it.
    async fn unread(&self, key: &Key, body: &str) -> Reader {
        let (ticket, _) = self.ticket(self.ask(key, body)).await;
        match self.lane(&ticket, body).await.unwrap() {
            Reply::Stream(_, reader) => reader,
            Reply::Kept(..) | Reply::Whole(..) => panic!("not a stream"),
        }
    }

    fn kept(&self) -> u64 {
        self.metric("kt_flight_log_bytes").parse().unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn for_want_of_room_the_log_that_has_lingered_longest_is_given_up() {
    let (group, key) = crowded_group().await;
    // Each begins to be read before its end, so that nothing is kept twice.
    let answer = || answers_sse(vec![piece(), Act::Wait(Duration::from_millis(1)), bytes(&sse())]);
    let mut slow = Vec::new();
    for number in 0..2 {
        group.provider.next(answer());
        slow.push(group.unread(&key, &body(number)).await);
        settle().await;
        tokio::time::advance(Duration::from_millis(1)).await;
        settle().await;
    }
    assert!((2 * PIECE_BYTES..KEPT_MAX).contains(&group.kept()), "{}", group.kept());
    tokio::time::advance(Duration::from_secs(3)).await;
    group.provider.next(answer());
    assert!(group.fetch(&key, &body(2)).await.unwrap().has_end);
    assert_eq!(group.metric("kt_flight_sent_away_total"), "1");
    for (number, mut reader) in slow.into_iter().enumerate() {
        let mut read = Vec::new();
        let has_end = read_on(&mut reader, &mut read).await;
        let text = String::from_utf8(read).unwrap();
        assert_eq!((has_end, text.contains("upstream_cut_short")), (number == 1, number == 0));
    }
    for number in 0..3 {
        assert!(group.is_cached(&key, &body(number)).await, "{number}: it was whole");
    }
    settle().await;
    assert_eq!(group.kept(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_reads_at_all_may_read_on_for_a_moment_whatever_is_kept() {
    let (group, key) = crowded_group().await;
    group.provider.next(answers_sse(vec![piece(), bytes(&sse())]));
    let mut first = group.unread(&key, &body(0)).await;
    settle().await;
    group.provider.next(answers_sse(vec![piece(), piece(), bytes(&sse())]));
    assert!(group.fetch(&key, &body(1)).await.unwrap().has_end);
    assert!(read_on(&mut first, &mut Vec::new()).await);
    assert_eq!(group.metric("kt_flight_sent_away_total"), "0");
}

#[tokio::test(start_paused = true)]
async fn a_call_for_which_there_is_no_room_goes_on_at_the_pace_of_its_reader() {
    let (group, key) = crowded_group().await;
    let mut acts: Vec<_> = (0..50).map(|_| piece()).collect();
    acts.push(bytes(&sse()));
    group.provider.next(answers_sse(acts));
    let mut reader = group.unread(&key, &body(0)).await;
    settle().await;
    // What was kept by then, what the provider may be ahead, and the piece that is one too many.
    let kept_max = KEPT_MAX + (64 << 10) + PIECE_BYTES;
    assert!((KEPT_MAX..kept_max).contains(&group.kept()), "{}", group.kept());
    let mut read = Vec::new();
    assert!(read_on(&mut reader, &mut read).await);
    assert_eq!(read.len() as u64, 50 * PIECE_BYTES + sse_without_usage().len() as u64);
    assert_eq!(group.metric("kt_not_stored_total{reason=\"no-room\"}"), "1");
    drop(reader);
    settle().await;
    assert_eq!(group.kept(), 0);
    // There is room again, and nobody thinks that it cannot be stored.
    group.provider.next(answers_sse(vec![bytes(&sse())]));
    let again = group.fetch(&key, &body(0)).await.unwrap();
    assert_eq!(again.head.cache, (Outcome::Miss, Reason::Request));
    assert!(group.is_cached(&key, &body(0)).await);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_streamed_is_passed_on_where_there_is_no_room_to_collect_it() {
    let (group, key) = crowded_group().await;
    let answer = JSON.replace("hello", &"x".repeat(200_000));
    let acts = answer.as_bytes().chunks(40_000);
    let acts = acts.map(|part| bytes(std::str::from_utf8(part).unwrap())).collect();
    group.provider.next(Scripted { acts, ..answers_json("") });
    let seen = group.fetch(&key, CHAT).await.unwrap();
    assert!(seen.has_end && seen.body == answer.as_bytes());
    assert_eq!(group.metric("kt_not_stored_total{reason=\"no-room\"}"), "1");
    assert!(!group.is_cached(&key, CHAT).await);
    settle().await;
    assert_eq!(group.kept(), 0);
}
