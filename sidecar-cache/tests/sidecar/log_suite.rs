//! One suite for every store of flights' logs: a failure reads `memory::pieces_are_read_from_a_cursor_on`.

use std::sync::Arc;

use bytes::Bytes;
use kt_contract::time::Millis;
use sidecar_cache::flight::{BACKOFF, Failed, FlightId, Held, Token};
use sidecar_cache::store::flight_log::{
    Appended, BYTES_MAX, Chunk, Cursor, FlightLog, LogAt, Read,
};
use sidecar_cache::store::leases::{AfterFailure, Claim, LeaseStore};

use crate::lease_suite::{key, lead};

/// Stamps the suite over a store: how a test runs, and a way to open an empty one as [`OpenedLogs`].
#[macro_export]
macro_rules! flight_log_suite {
    ($name:ident { test: $attribute:meta, open: $open:expr, }) => {
        mod $name {
            $crate::flight_log_suite! { @tests $attribute, $open,
                what_nobody_writes_is_absent
                pieces_are_read_from_a_cursor_on
                a_range_has_about_so_many_bytes_and_at_least_a_piece
                the_end_comes_with_the_last_piece
                only_who_holds_the_lease_begins_a_log
                what_is_written_twice_is_there_once
                what_is_repeated_with_more_behind_it_is_there_once
                a_gap_is_refused
                the_first_end_stays
                an_ended_log_grows_no_more
                the_end_may_come_after_that_of_the_lease
                another_attempt_is_read_from_its_start
                a_superseded_writer_writes_nothing
                a_log_has_a_bound
                pieces_are_any_bytes
                who_watches_is_woken
                flights_of_one_key_have_logs_of_their_own
            }
        }
    };
    (@tests $attribute:meta, $open:expr, $($test:ident)*) => {$(
        #[$attribute]
        async fn $test() {
            $crate::log_suite::$test($open.await).await;
        }
    )*};
}

/// An empty store, the leases whose flights write there, and how their clock goes on.
pub(crate) struct OpenedLogs<G, L> {
    pub(crate) logs: G,
    pub(crate) leases: Arc<L>,
    pub(crate) go_on: Box<dyn Fn(Millis)>,
}

struct Flying {
    at: LogAt,
    token: Token,
}

async fn begun(logs: &impl FlightLog, leases: &impl LeaseStore) -> Flying {
    let (token, id) = lead(leases, 1, 1).await;
    let at = LogAt { key: key(1), id };
    assert_eq!(logs.begin(at, token, "head".into()).await.unwrap(), Held::Current);
    Flying { at, token }
}

async fn append(logs: &impl FlightLog, flying: &Flying, first: u64, pieces: &[&str]) -> Appended {
    let pieces = pieces.iter().map(|piece| Bytes::copy_from_slice(piece.as_bytes())).collect();
    logs.append(flying.at, flying.token, first, pieces).await.unwrap()
}

async fn read(logs: &impl FlightLog, at: LogAt, from: Cursor, bytes: u64) -> Chunk {
    match logs.read(at, from, bytes).await.unwrap() {
        Read::Chunk(chunk) => chunk,
        Read::Absent => panic!("there is no log"),
    }
}

pub(crate) async fn what_nobody_writes_is_absent<L>(opened: OpenedLogs<impl FlightLog, L>) {
    let at = LogAt { key: key(1), id: FlightId(7) };
    let found = opened.logs.read(at, Cursor::default(), 99).await.unwrap();
    assert_eq!(found, Read::Absent);
    drop(opened.logs.watch(at));
    let found = opened.logs.read(at, Cursor::default(), 99).await.unwrap();
    assert_eq!(found, Read::Absent, "who watches writes nothing");
}

pub(crate) async fn pieces_are_read_from_a_cursor_on(
    opened: OpenedLogs<impl FlightLog, impl LeaseStore>,
) {
    let OpenedLogs { logs, leases, .. } = opened;
    let flying = begun(&logs, &*leases).await;
    let nothing = read(&logs, flying.at, Cursor::default(), 99).await;
    assert_eq!((nothing.head, nothing.pieces.len()), (Some("head".into()), 0));
    assert_eq!(append(&logs, &flying, 0, &["a", "b"]).await, Appended::Done);
    let first = read(&logs, flying.at, nothing.cursor, 99).await;
    assert_eq!((first.head, first.pieces), (None, vec!["a".into(), "b".into()]));
    assert_eq!(append(&logs, &flying, 2, &["c"]).await, Appended::Done);
    let second = read(&logs, flying.at, first.cursor, 99).await;
    assert_eq!((second.head, second.pieces), (None, vec![Bytes::from("c")]));
    let late = read(&logs, flying.at, Cursor::default(), 99).await;
    assert_eq!((late.head, late.pieces.concat()), (Some("head".into()), b"abc".to_vec()));
    assert_eq!(late.cursor, second.cursor);
}

pub(crate) async fn a_range_has_about_so_many_bytes_and_at_least_a_piece(
    opened: OpenedLogs<impl FlightLog, impl LeaseStore>,
) {
    let OpenedLogs { logs, leases, .. } = opened;
    let flying = begun(&logs, &*leases).await;
    let large = "x".repeat(50);
    let pieces: Vec<&str> = (0..100).map(|_| large.as_str()).collect();
    assert_eq!(append(&logs, &flying, 0, &pieces).await, Appended::Done);
    for (bytes, count) in [(1, 1), (50, 1), (51, 2), (500, 10), (99_999, 100)] {
        let chunk = read(&logs, flying.at, Cursor::default(), bytes).await;
        assert_eq!(chunk.pieces.len(), count, "{bytes} bytes");
        assert_eq!(chunk.cursor.next, count as u64);
    }
}

pub(crate) async fn the_end_comes_with_the_last_piece(
    opened: OpenedLogs<impl FlightLog, impl LeaseStore>,
) {
    let OpenedLogs { logs, leases, .. } = opened;
    let flying = begun(&logs, &*leases).await;
    assert_eq!(append(&logs, &flying, 0, &["a", "b"]).await, Appended::Done);
    let finished = logs.finish(flying.at, flying.token, "end".into()).await.unwrap();
    assert_eq!(finished, Held::Current);
    let first = read(&logs, flying.at, Cursor::default(), 1).await;
    assert_eq!((first.pieces, first.end), (vec!["a".into()], None));
    let second = read(&logs, flying.at, first.cursor, 1).await;
    assert_eq!((second.pieces, second.end), (vec!["b".into()], Some("end".into())));
    let third = read(&logs, flying.at, second.cursor, 1).await;
    assert_eq!((third.pieces, third.end), (vec![], Some("end".into())));
}

pub(crate) async fn only_who_holds_the_lease_begins_a_log(
    opened: OpenedLogs<impl FlightLog, impl LeaseStore>,
) {
    let OpenedLogs { logs, leases, .. } = opened;
    let (token, id) = lead(&*leases, 1, 1).await;
    let at = LogAt { key: key(1), id };
    let mut forged = token;
    forged.counter += 1;
    assert_eq!(logs.begin(at, forged, "head".into()).await.unwrap(), Held::Superseded);
    forged = token;
    forged.epoch.0 ^= 1;
    assert_eq!(logs.begin(at, forged, "head".into()).await.unwrap(), Held::Superseded);
    assert_eq!(leases.abandon(key(1), token).await.unwrap(), Held::Current);
    assert_eq!(logs.begin(at, token, "head".into()).await.unwrap(), Held::Superseded);
    assert_eq!(logs.read(at, Cursor::default(), 9).await.unwrap(), Read::Absent);
}

pub(crate) async fn what_is_written_twice_is_there_once(
    opened: OpenedLogs<impl FlightLog, impl LeaseStore>,
) {
    let OpenedLogs { logs, leases, .. } = opened;
    let flying = begun(&logs, &*leases).await;
    for _ in 0..2 {
        assert_eq!(append(&logs, &flying, 0, &["a", "b"]).await, Appended::Done);
        let again = logs.begin(flying.at, flying.token, "head".into()).await.unwrap();
        assert_eq!(again, Held::Current);
    }
    for _ in 0..2 {
        assert_eq!(append(&logs, &flying, 2, &["c"]).await, Appended::Done);
    }
    let chunk = read(&logs, flying.at, Cursor::default(), 99).await;
    assert_eq!(chunk.pieces.concat(), b"abc");
}

pub(crate) async fn a_gap_is_refused(opened: OpenedLogs<impl FlightLog, impl LeaseStore>) {
    let OpenedLogs { logs, leases, .. } = opened;
    let flying = begun(&logs, &*leases).await;
    assert_eq!(append(&logs, &flying, 1, &["b"]).await, Appended::Superseded);
    assert_eq!(append(&logs, &flying, 0, &["a", "b"]).await, Appended::Done);
    assert_eq!(append(&logs, &flying, 3, &["d"]).await, Appended::Superseded);
    let chunk = read(&logs, flying.at, Cursor::default(), 99).await;
    assert_eq!(chunk.pieces.concat(), b"ab");
}

pub(crate) async fn what_is_repeated_with_more_behind_it_is_there_once(
    opened: OpenedLogs<impl FlightLog, impl LeaseStore>,
) {
    let OpenedLogs { logs, leases, .. } = opened;
    let flying = begun(&logs, &*leases).await;
    assert_eq!(append(&logs, &flying, 0, &["a", "b"]).await, Appended::Done);
    assert_eq!(append(&logs, &flying, 0, &["a", "b", "c"]).await, Appended::Done);
    assert_eq!(append(&logs, &flying, 1, &["b", "c", "d", "e"]).await, Appended::Done);
    // What was under way for long.
    assert_eq!(append(&logs, &flying, 1, &["b"]).await, Appended::Done);
    let chunk = read(&logs, flying.at, Cursor::default(), 99).await;
    assert_eq!((chunk.pieces.concat(), chunk.cursor.next), (b"abcde".to_vec(), 5));
}

pub(crate) async fn the_first_end_stays(opened: OpenedLogs<impl FlightLog, impl LeaseStore>) {
    let OpenedLogs { logs, leases, .. } = opened;
    let flying = begun(&logs, &*leases).await;
    for end in ["first", "second"] {
        let finished = logs.finish(flying.at, flying.token, end.into()).await.unwrap();
        assert_eq!(finished, Held::Current);
    }
    let chunk = read(&logs, flying.at, Cursor::default(), 99).await;
    assert_eq!(chunk.end, Some("first".into()));
}

pub(crate) async fn an_ended_log_grows_no_more(
    opened: OpenedLogs<impl FlightLog, impl LeaseStore>,
) {
    let OpenedLogs { logs, leases, .. } = opened;
    let flying = begun(&logs, &*leases).await;
    assert_eq!(append(&logs, &flying, 0, &["a"]).await, Appended::Done);
    let finished = logs.finish(flying.at, flying.token, "end".into()).await.unwrap();
    assert_eq!(finished, Held::Current);
    assert_eq!(append(&logs, &flying, 1, &["b"]).await, Appended::Superseded);
    let chunk = read(&logs, flying.at, Cursor::default(), 99).await;
    assert_eq!((chunk.pieces.concat(), chunk.end), (b"a".to_vec(), Some("end".into())));
}

pub(crate) async fn the_end_may_come_after_that_of_the_lease(
    opened: OpenedLogs<impl FlightLog, impl LeaseStore>,
) {
    let OpenedLogs { logs, leases, .. } = opened;
    let flying = begun(&logs, &*leases).await;
    assert_eq!(leases.abandon(key(1), flying.token).await.unwrap(), Held::Current);
    assert_eq!(append(&logs, &flying, 0, &["last"]).await, Appended::Done);
    let finished = logs.finish(flying.at, flying.token, "end".into()).await.unwrap();
    assert_eq!(finished, Held::Current);
}

/// Fails the attempt, and has somebody else lead the next.
async fn taken_over(leases: &impl LeaseStore, go_on: &dyn Fn(Millis), flying: &Flying) -> Flying {
    let failed = Failed { waiting: 1, ..Failed::default() };
    let after = leases.fail(key(1), flying.token, failed).await.unwrap();
    assert_eq!(after, AfterFailure::TakeOver { after: BACKOFF });
    go_on(BACKOFF);
    let token = leases.take_over(key(1), flying.at.id, Claim(2)).await.unwrap().unwrap();
    Flying { at: flying.at, token }
}

pub(crate) async fn another_attempt_is_read_from_its_start(
    opened: OpenedLogs<impl FlightLog, impl LeaseStore>,
) {
    let OpenedLogs { logs, leases, go_on } = opened;
    let first = begun(&logs, &*leases).await;
    assert_eq!(append(&logs, &first, 0, &["a", "b"]).await, Appended::Done);
    let read_of_it = read(&logs, first.at, Cursor::default(), 1).await;
    let second = taken_over(&*leases, &*go_on, &first).await;
    assert_eq!(logs.begin(second.at, second.token, "anew".into()).await.unwrap(), Held::Current);
    assert_eq!(append(&logs, &second, 0, &["x", "y", "z"]).await, Appended::Done);
    let chunk = read(&logs, first.at, read_of_it.cursor, 99).await;
    assert_eq!((chunk.head, chunk.pieces.concat()), (Some("anew".into()), b"xyz".to_vec()));
    assert_ne!(chunk.cursor.attempt, read_of_it.cursor.attempt);
}

pub(crate) async fn a_superseded_writer_writes_nothing(
    opened: OpenedLogs<impl FlightLog, impl LeaseStore>,
) {
    let OpenedLogs { logs, leases, go_on } = opened;
    let first = begun(&logs, &*leases).await;
    let second = taken_over(&*leases, &*go_on, &first).await;
    assert_eq!(logs.begin(first.at, first.token, "head".into()).await.unwrap(), Held::Superseded);
    assert_eq!(logs.begin(second.at, second.token, "anew".into()).await.unwrap(), Held::Current);
    assert_eq!(append(&logs, &first, 0, &["late"]).await, Appended::Superseded);
    let finished = logs.finish(first.at, first.token, "late".into()).await.unwrap();
    assert_eq!(finished, Held::Superseded);
    let chunk = read(&logs, second.at, Cursor::default(), 99).await;
    assert_eq!((chunk.pieces.len(), chunk.end), (0, None));
}

pub(crate) async fn a_log_has_a_bound(opened: OpenedLogs<impl FlightLog, impl LeaseStore>) {
    let OpenedLogs { logs, leases, .. } = opened;
    let flying = begun(&logs, &*leases).await;
    let mebibyte = "x".repeat(1 << 20);
    let whole = BYTES_MAX >> 20;
    for first in 0..whole - 1 {
        assert_eq!(append(&logs, &flying, first, &[&mebibyte]).await, Appended::Done);
    }
    assert_eq!(
        append(&logs, &flying, whole - 1, &[&mebibyte]).await,
        Appended::Full,
        "with its head"
    );
    assert_eq!(append(&logs, &flying, whole - 1, &["x"]).await, Appended::Done);
}

pub(crate) async fn pieces_are_any_bytes(opened: OpenedLogs<impl FlightLog, impl LeaseStore>) {
    let OpenedLogs { logs, leases, .. } = opened;
    let flying = begun(&logs, &*leases).await;
    let pieces: Vec<Bytes> =
        [&b""[..], b"\0\xff\xfe", b"\r\n$-1\r\n", b"data: {}\n\n"].map(Bytes::from_static).into();
    let appended = logs.append(flying.at, flying.token, 0, pieces.clone()).await.unwrap();
    assert_eq!(appended, Appended::Done);
    assert_eq!(read(&logs, flying.at, Cursor::default(), 99).await.pieces, pieces);
}

pub(crate) async fn who_watches_is_woken(opened: OpenedLogs<impl FlightLog, impl LeaseStore>) {
    let OpenedLogs { logs, leases, .. } = opened;
    let (token, id) = lead(&*leases, 1, 1).await;
    let flying = Flying { at: LogAt { key: key(1), id }, token };
    let mut watch = logs.watch(flying.at);
    assert_eq!(logs.begin(flying.at, token, "head".into()).await.unwrap(), Held::Current);
    let mut cursor = Cursor::default();
    for number in 0..10 {
        assert_eq!(append(&logs, &flying, number, &["a"]).await, Appended::Done);
        while cursor.next <= number {
            watch.changed().await;
            cursor = read(&logs, flying.at, cursor, 99).await.cursor;
        }
    }
    let finished = logs.finish(flying.at, token, "end".into()).await.unwrap();
    assert_eq!(finished, Held::Current);
    watch.changed().await;
    assert_eq!(read(&logs, flying.at, cursor, 99).await.end, Some("end".into()));
}

pub(crate) async fn flights_of_one_key_have_logs_of_their_own(
    opened: OpenedLogs<impl FlightLog, impl LeaseStore>,
) {
    let OpenedLogs { logs, leases, .. } = opened;
    let first = begun(&logs, &*leases).await;
    assert_eq!(append(&logs, &first, 0, &["a"]).await, Appended::Done);
    assert_eq!(leases.abandon(key(1), first.token).await.unwrap(), Held::Current);
    let second = begun(&logs, &*leases).await;
    assert_eq!(append(&logs, &second, 0, &["b"]).await, Appended::Done);
    for (flying, expected) in [(first, "a"), (second, "b")] {
        let chunk = read(&logs, flying.at, Cursor::default(), 99).await;
        assert_eq!(chunk.pieces, [expected]);
    }
}
