//! Two sidecars over one Redis: one upstream call, read live at both, and led by the other one where its leader is cut
//! off.

use std::sync::Arc;
use std::time::Duration;

use kt_contract::outcome::{Outcome, Reason};
use kt_fault_proxy::{Fault, Faults, Proxy};
use kt_stores_redis::Server;
use sidecar_cache::clock::Clock;
use sidecar_cache::service::Shared;
use sidecar_cache::service::lane::Reply;
use sidecar_cache::service::reader::{Piece, Reader};
use sidecar_cache::store::redis::{RedisEntries, RedisLeases, RedisLogs, RedisRates};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::entry_suite::BOUNDS;
use crate::sidecars::{
    Act, CHAT_STREAM, CHUNKS, Common, DONE, Group, Key, Shelved, USAGE_CHUNK, answers_sse, bytes,
    group_with, read_on, settings,
};
use crate::support::{redis_named, server};
use crate::topologies;

/// Far longer than anything takes.
const SOON: Duration = Duration::from_secs(20);

/// Sidecars at these addresses of one Redis.
async fn sidecars(urls: [&str; 2], prefix: &str) -> [Group; 2] {
    let clock = Clock::start();
    let shelved = Arc::new(Shelved::new(clock, settings().memory));
    let keys = Arc::default();
    let groups = urls.map(|url| {
        let redis = redis_named(url, prefix);
        let entries = RedisEntries::new(redis.clone(), BOUNDS);
        let leases = Arc::new(RedisLeases::new(redis.clone(), entries.clone()));
        let common = Common {
            clock,
            settings: settings(),
            entries: Arc::clone(&shelved),
            store: Arc::new(entries),
            keys: Arc::clone(&keys),
            ledger: None,
            savings: None,
        };
        let rates = Arc::new(RedisRates::new(redis.clone()));
        let logs = Arc::new(RedisLogs::new(redis));
        group_with(common, Some(Shared { leases, logs, rates }))
    });
    for group in &groups {
        group.poll().await;
    }
    groups
}

/// The beginning of a streamed answer.
async fn begin(group: &Group, key: &Key) -> ((Outcome, Reason), Reader) {
    let (ticket, _) = group.ticket(group.ask(key, CHAT_STREAM)).await;
    let reply = timeout(SOON, group.lane(&ticket, CHAT_STREAM)).await.unwrap().unwrap();
    let Reply::Stream(head, reader) = reply else { panic!("not a stream: {reply:?}") };
    (head.cache, reader)
}

/// A stream that says one thing, and the rest when it is told to.
fn halting(told: &Arc<Notify>) -> (crate::sidecars::Scripted, &'static str, String) {
    let (first, second) = CHUNKS.split_at(CHUNKS.find("\n\n").unwrap() + 2);
    let rest = [second, USAGE_CHUNK, DONE].concat();
    let acts = vec![bytes(first), Act::Until(Arc::clone(told)), bytes(&rest)];
    (answers_sse(acts), first, [second, DONE].concat())
}

#[tokio::test]
async fn two_sidecars_make_one_call_and_read_it_live() {
    is_one_call(&server().url()).await;
}

#[tokio::test]
async fn two_sidecars_make_one_call_over_a_cluster() {
    is_one_call(&topologies::cluster().url().unwrap()).await;
}

async fn is_one_call(url: &str) {
    let [leads, follows] = sidecars([url, url], "one-call:").await;
    let (key, told) = (leads.key().await, Arc::default());
    let (scripted, first, rest) = halting(&told);
    leads.provider.next(scripted);
    let mut readers = Vec::new();
    for group in [&leads, &follows] {
        let (cached, mut reader) = begin(group, &key).await;
        let piece = timeout(SOON, reader.recv()).await.unwrap();
        assert_eq!(piece, Some(Piece::Bytes(first.into())), "before the provider goes on");
        readers.push((cached, reader));
    }
    told.notify_one();
    for (cached, mut reader) in readers {
        let mut body = Vec::new();
        assert!(timeout(SOON, read_on(&mut reader, &mut body)).await.unwrap(), "{cached:?}");
        assert_eq!(String::from_utf8(body).unwrap(), rest, "{cached:?}");
    }
    assert_eq!((leads.provider.count(), follows.provider.count()), (1, 0));
    for group in [&leads, &follows] {
        assert!(group.is_cached(&key, CHAT_STREAM).await);
    }
}

#[tokio::test]
async fn a_sidecar_that_is_cut_off_is_followed_no_more_and_another_one_leads() {
    let proxy = Proxy::start(server().port).await.unwrap();
    let cut = kt_stores_redis::url("", proxy.port());
    let [leads, follows] = sidecars([&cut, &server().url()], "cut-off:").await;
    let (key, told) = (leads.key().await, Arc::<Notify>::default());
    let silent = answers_sse(vec![Act::Until(Arc::clone(&told)), bytes(CHUNKS), bytes(DONE)]);
    leads.provider.next(silent);
    let (ticket, _) = leads.ticket(leads.ask(&key, CHAT_STREAM)).await;
    let leading = async {
        let reply = leads.lane(&ticket, CHAT_STREAM).await.unwrap();
        let Reply::Stream(_, mut reader) = reply else { panic!("not a stream: {reply:?}") };
        let mut body = Vec::new();
        assert!(read_on(&mut reader, &mut body).await, "its own client has its answer");
    };
    let following = async {
        while leads.provider.count() == 0 {
            tokio::task::yield_now().await;
        }
        proxy.set(Faults::of_answers(Fault::Drop));
        let (cached, mut reader) = begin(&follows, &key).await;
        assert_eq!(cached, (Outcome::Miss, Reason::Takeover));
        let mut body = Vec::new();
        assert!(read_on(&mut reader, &mut body).await);
        assert_eq!((leads.provider.count(), follows.provider.count()), (1, 1));
        assert!(follows.is_cached(&key, CHAT_STREAM).await);
        let filled = follows.metric("kt_fills_total");
        told.notify_one();
        assert_eq!(filled, "1");
    };
    timeout(SOON, Box::pin(async { tokio::join!(leading, following) })).await.unwrap();
    assert_eq!(leads.metric("kt_fills_total"), "0", "what it brings late is not kept");
}

#[tokio::test]
async fn who_follows_where_redis_is_full_makes_a_call_of_its_own() {
    let server = Server::start().unwrap();
    let url = server.url();
    let [leads, follows] = sidecars([&url, &url], "full:").await;
    let (key, told) = (leads.key().await, Arc::default());
    let (scripted, first, rest) = halting(&told);
    leads.provider.next(scripted);
    let (_, mut leading) = begin(&leads, &key).await;
    assert_eq!(leading.recv().await, Some(Piece::Bytes(first.into())));
    let _: () = server.run(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    let (cached, mut following) = begin(&follows, &key).await;
    assert_eq!(cached, (Outcome::Miss, Reason::Takeover));
    let mut body = Vec::new();
    assert!(timeout(SOON, read_on(&mut following, &mut body)).await.unwrap());
    assert_eq!((leads.provider.count(), follows.provider.count()), (1, 1));
    let elsewhere = follows.metric("kt_shared_flights_total{result=\"led-elsewhere\"}");
    assert_eq!(elsewhere, "1", "while the call goes on that it did not read");
    told.notify_one();
    let mut body = Vec::new();
    assert!(timeout(SOON, read_on(&mut leading, &mut body)).await.unwrap());
    assert_eq!(String::from_utf8(body).unwrap(), rest);
}
