//! Logs of flights in Redis: the suite of all stores of them, and what is Redis's alone.

use std::sync::Arc;
use std::time::Duration;

use kt_fault_proxy::{Fault, Faults, Proxy};
use kt_stores_redis::{Server, url};
use sidecar_cache::flight::Held;
use sidecar_cache::store::flight_log::{
    Appended, Cursor, FlightLog, KEPT, KEPT_ENDED, LogAt, Read, Watch,
};
use sidecar_cache::store::redis::{RedisEntries, RedisLeases, RedisLogs};
use tokio::time::timeout;

use crate::entry_suite::BOUNDS;
use crate::lease_suite::{Opened, follow, key, lead};
use crate::leases;
use crate::log_suite::OpenedLogs;
use crate::support::{redis_named, server};
use crate::topologies;

crate::flight_log_suite! {
    redis {
        test: tokio::test,
        open: async { super::open() },
    }
}

/// Logs, and leases on a clock that the test moves.
fn open() -> OpenedLogs<RedisLogs, RedisLeases> {
    let Opened { leases, go_on, .. } = leases::open();
    let logs = RedisLogs::new(leases.redis().clone());
    OpenedLogs { logs, leases: Arc::new(leases), go_on }
}

/// Two sidecars: one that leads and writes, and the logs of one that reads.
fn two(url: &str, prefix: &str) -> (RedisLeases, RedisLogs, RedisLogs) {
    let (writer, reader) = (redis_named(url, prefix), redis_named(url, prefix));
    let entries = RedisEntries::new(writer.clone(), BOUNDS);
    (RedisLeases::new(writer.clone(), entries), RedisLogs::new(writer), RedisLogs::new(reader))
}

/// No reader looks so seldom.
const NEVER: Duration = Duration::from_secs(3_600);
/// Far longer than anything takes.
const SOON: Duration = Duration::from_secs(10);

/// Waits until there is something beyond the cursor.
async fn more(logs: &RedisLogs, watch: &mut dyn Watch, at: LogAt, from: Cursor) -> Cursor {
    loop {
        if let Ok(Read::Chunk(chunk)) = logs.read(at, from, 99).await
            && chunk.cursor.next > from.next
        {
            return chunk.cursor;
        }
        watch.changed().await;
    }
}

#[tokio::test]
async fn a_reader_elsewhere_is_woken_and_need_not_look() {
    is_woken(&server().url()).await;
}

#[tokio::test]
async fn a_reader_elsewhere_is_woken_through_a_cluster() {
    is_woken(&topologies::cluster().url().unwrap()).await;
}

/// Reads forty pieces one after the other, and never looks by itself.
async fn is_woken(url: &str) {
    let (leases, writes, reads) = two(url, "woken:");
    let reads = reads.polling_every(NEVER);
    let (token, id) = lead(&leases, 1, 1).await;
    let at = LogAt { key: key(1), id };
    assert_eq!(writes.begin(at, token, "head".into()).await.unwrap(), Held::Current);
    let mut watch = reads.watch(at);
    // Until it has subscribed.
    watch.changed().await;
    let all = async {
        let mut cursor = Cursor::default();
        for first in 0..40 {
            let appended = writes.append(at, token, first, vec!["piece".into()]);
            // Who watches does so before anything is written.
            let ((), appended) = tokio::join!(watch.changed(), appended);
            assert_eq!(appended.unwrap(), Appended::Done);
            cursor = more(&reads, &mut *watch, at, cursor).await;
            assert_eq!(cursor.next, first + 1);
        }
    };
    timeout(SOON, all).await.unwrap();
}

#[tokio::test]
async fn what_was_written_before_a_reader_could_be_woken_is_looked_for_at_once() {
    let server = Server::start().unwrap();
    let (leases, writes, reads) = two(&server.url(), "between:");
    let reads = reads.polling_every(NEVER);
    let (token, id) = lead(&leases, 1, 1).await;
    let at = LogAt { key: key(1), id };
    assert_eq!(writes.begin(at, token, "head".into()).await.unwrap(), Held::Current);
    // On a connection that is new, and on one that takes its place.
    for first in 0..2 {
        if first > 0 {
            let _: i64 = server.run(&["CLIENT", "KILL", "TYPE", "normal"]).unwrap();
            let _: i64 = server.run(&["CLIENT", "KILL", "TYPE", "pubsub"]).unwrap();
        }
        let mut watches = [reads.watch(at), reads.watch(at)];
        for _ in &watches {
            let Ok(Read::Chunk(chunk)) = reads.read(at, Cursor::default(), 99).await else {
                panic!("there is a log")
            };
            assert_eq!(chunk.cursor.next, first);
        }
        let appended = writes.append(at, token, first, vec!["piece".into()]).await.unwrap();
        assert_eq!(appended, Appended::Done);
        for (number, watch) in watches.iter_mut().enumerate() {
            let woken = timeout(SOON, watch.changed()).await;
            assert!(woken.is_ok(), "reader {number} of piece {first} is never woken");
        }
    }
    // Who comes when messages are heard has nothing to look for.
    let mut late = reads.watch(at);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let changed = late.changed();
    let mut changed = std::pin::pin!(changed);
    assert!(changed.as_mut().poll(&mut context).is_pending());
}

#[tokio::test]
async fn a_reader_whose_connection_breaks_reads_on() {
    let server = Server::start().unwrap();
    let (leases, writes, reads) = two(&server.url(), "broken:");
    let (token, id) = lead(&leases, 1, 1).await;
    let at = LogAt { key: key(1), id };
    assert_eq!(writes.begin(at, token, "head".into()).await.unwrap(), Held::Current);
    let mut watch = reads.watch(at);
    let mut cursor = Cursor::default();
    for first in 0..4 {
        let _: i64 = server.run(&["CLIENT", "KILL", "TYPE", "normal"]).unwrap();
        let _: i64 = server.run(&["CLIENT", "KILL", "TYPE", "pubsub"]).unwrap();
        let appended = writes.append(at, token, first, vec!["piece".into()]).await.unwrap();
        assert_eq!(appended, Appended::Done);
        let reading = more(&reads, &mut *watch, at, cursor);
        cursor = timeout(Duration::from_secs(10), reading).await.unwrap();
        assert_eq!(cursor.next, first + 1);
    }
}

#[tokio::test]
async fn a_message_that_is_lost_is_made_up_for_by_looking() {
    let proxy = Proxy::start(server().port).await.unwrap();
    let (leases, writes, _) = two(&server().url(), "lost:");
    let reads = RedisLogs::new(redis_named(&url("", proxy.port()), "lost:"));
    let (token, id) = lead(&leases, 1, 1).await;
    let at = LogAt { key: key(1), id };
    assert_eq!(writes.begin(at, token, "head".into()).await.unwrap(), Held::Current);
    let mut watch = reads.watch(at);
    watch.changed().await;
    proxy.set(Faults::of_answers(Fault::Drop));
    let appended = writes.append(at, token, 0, vec!["piece".into()]).await.unwrap();
    assert_eq!(appended, Appended::Done);
    // The message has been sent before this is answered.
    let _: String = server().run(&["PING"]).unwrap();
    proxy.heal();
    let reading = more(&reads, &mut *watch, at, Cursor::default());
    assert_eq!(timeout(Duration::from_secs(10), reading).await.unwrap().next, 1);
}

/// As whoever is made by `ACL SETUSER` has none, unless it is said.
#[tokio::test]
async fn without_a_right_to_channels_flights_are_followed_by_looking() {
    let server = Server::start().unwrap();
    let user = ["ACL", "SETUSER", "kt", "on", "nopass", "~*", "resetchannels", "+@all"];
    let _: () = server.run(&user).unwrap();
    let url = url("kt:any@", server.port);
    let (leases, writes, reads) = two(&url, "mute:");
    let (token, id) = lead(&leases, 1, 1).await;
    assert_eq!(follow(&leases, 1, 2).await, id);
    let at = LogAt { key: key(1), id };
    assert_eq!(writes.begin(at, token, "head".into()).await.unwrap(), Held::Current);
    let appended = writes.append(at, token, 0, vec!["piece".into()]).await.unwrap();
    assert_eq!(appended, Appended::Done);
    let mut watch = reads.watch(at);
    let reading = more(&reads, &mut *watch, at, Cursor::default());
    assert_eq!(timeout(Duration::from_secs(10), reading).await.unwrap().next, 1);
    assert_eq!(writes.finish(at, token, "end".into()).await.unwrap(), Held::Current);
}

#[tokio::test]
async fn a_log_does_not_stay_for_ever() {
    let server = Server::start().unwrap();
    let (leases, logs, _) = two(&server.url(), "kept:");
    let (token, id) = lead(&leases, 1, 1).await;
    let at = LogAt { key: key(1), id };
    assert_eq!(logs.begin(at, token, "head".into()).await.unwrap(), Held::Current);
    let appended = logs.append(at, token, 0, vec!["a".into()]).await.unwrap();
    assert_eq!(appended, Appended::Done);
    let lives = |kept: u64| {
        for key in server.keys().unwrap() {
            let left: i64 = server.run(&[b"PTTL", key.as_slice()]).unwrap();
            let name = String::from_utf8_lossy(&key).into_owned();
            let is_log = name.contains("}h:") || name.contains("}g:");
            let is_within = left > 0 && left <= i64::try_from(kept).unwrap();
            assert!(!is_log || is_within, "{name} lives {left}");
        }
    };
    lives(KEPT.0);
    assert_eq!(logs.finish(at, token, "end".into()).await.unwrap(), Held::Current);
    lives(KEPT_ENDED.0);
}

#[tokio::test]
async fn a_log_whose_pieces_were_evicted_is_no_log() {
    let server = Server::start().unwrap();
    let (leases, logs, _) = two(&server.url(), "evicted:");
    for (of, has_ended) in [(1, true), (2, false)] {
        let (token, id) = lead(&leases, of, 1).await;
        let at = LogAt { key: key(of), id };
        assert_eq!(logs.begin(at, token, "head".into()).await.unwrap(), Held::Current);
        let pieces = (0..10).map(|_| "piece".into()).collect();
        assert_eq!(logs.append(at, token, 0, pieces).await.unwrap(), Appended::Done);
        let Read::Chunk(chunk) = logs.read(at, Cursor::default(), 15).await.unwrap() else {
            panic!("there is a log")
        };
        assert_eq!((chunk.cursor.next, chunk.end), (3, None));
        if has_ended {
            assert_eq!(logs.finish(at, token, "end".into()).await.unwrap(), Held::Current);
        }
        for name in server.keys().unwrap() {
            if String::from_utf8_lossy(&name).contains("}g:") {
                let _: i64 = server.run(&[&b"DEL"[..], &name]).unwrap();
            }
        }
        for from in [Cursor::default(), chunk.cursor, Cursor { next: 10, ..chunk.cursor }] {
            let read = logs.read(at, from, 99).await.unwrap();
            assert_eq!(read, Read::Absent, "{of}: from {}", from.next);
        }
        // Nor does it begin anew in the middle.
        for first in [0, 10] {
            let appended = logs.append(at, token, first, vec!["piece".into()]).await.unwrap();
            assert_eq!(appended, Appended::Superseded, "{of}: {first}");
        }
    }
}

#[tokio::test]
async fn another_epoch_ends_every_log() {
    let server = Server::start().unwrap();
    let (leases, logs, _) = two(&server.url(), "epoch:");
    let (token, id) = lead(&leases, 1, 1).await;
    let at = LogAt { key: key(1), id };
    assert_eq!(logs.begin(at, token, "head".into()).await.unwrap(), Held::Current);
    let _: () = server.run(&["DEBUG", "CHANGE-REPL-ID"]).unwrap();
    assert_eq!(logs.read(at, Cursor::default(), 9).await.unwrap(), Read::Absent);
    let appended = logs.append(at, token, 0, vec!["a".into()]).await.unwrap();
    assert_eq!(appended, Appended::Superseded);
}
