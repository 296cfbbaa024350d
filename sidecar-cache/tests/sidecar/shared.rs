//! Several sidecars, one upstream call: who leads, who reads along through the shared store, and how every ending looks
//! at another sidecar than the one that makes the call.

#[cfg(test)]
mod adverse;
#[cfg(test)]
mod patient;
#[cfg(test)]
mod policed;

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use kt_contract::hex::Digest;
use kt_contract::key::{CacheKey, CheckHash, OrgKeys};
use kt_contract::money::MicroUsd;
use kt_contract::outcome::{Outcome, Reason};
use kt_contract::time::UnixMillis;
use kt_providers::Recorded;
use sidecar_cache::clock::Clock;
use sidecar_cache::entry::Entry;
use sidecar_cache::flight::{Acquired, Epoch, Failed, FlightId, Held, LEASE_TTL, Overflow, Token};
use sidecar_cache::flight_seal::{Part, Seal};
use sidecar_cache::flight_text::{Answer as Said, Head, Opening};
use sidecar_cache::generation::{Generation, Tag, Vector};
use sidecar_cache::ledger::clock::Reading;
use sidecar_cache::ledger::request::Fund;
use sidecar_cache::ledger::{Operation, TransferId};
use sidecar_cache::service::Shared;
use sidecar_cache::service::lane::{Refusal, Reply};
use sidecar_cache::service::reader::{Piece, Reader};
use sidecar_cache::service::settings::{Settings, SingleFlight};
use sidecar_cache::store::flight_log::{
    Appended, Chunk, Cursor, FlightLog, LogAt, MemoryLogs, Read, Watch,
};
use sidecar_cache::store::leases::{AfterFailure, Claim, LeaseStore, MemoryLeases, Renewed};
use sidecar_cache::store::ledger::LedgerStore;
use sidecar_cache::store::ledger::memory::MemoryLedger;
use sidecar_cache::store::rates::MemoryRates;
use sidecar_cache::store::savings::SavingsStore;
use sidecar_cache::store::{Answer, NewEntry, StoreError};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::support::*;

const COALESCED: (Outcome, Reason) = (Outcome::Coalesced, Reason::InFlight);
const LED: (Outcome, Reason) = (Outcome::Miss, Reason::Request);
const TOOK_OVER: (Outcome, Reason) = (Outcome::Miss, Reason::Takeover);

/// Sidecars that share their store.
struct Fleet {
    sidecars: Vec<Group>,
    /// Each one's way to the store.
    cables: Vec<Arc<Cable>>,
    leases: Arc<MemoryLeases>,
    logs: Arc<MemoryLogs>,
    entries: Arc<Shelved>,
}

/// A way to the shared store, which can be cut.
struct Cable {
    leases: Arc<MemoryLeases>,
    logs: Arc<MemoryLogs>,
    is_cut: AtomicBool,
    /// It takes for ever.
    hangs: AtomicBool,
    /// The next void waits for this, the next end of a log for that.
    voids_after: Mutex<Option<Arc<Notify>>>,
    finishes_after: Mutex<Option<Arc<Notify>>>,
    /// What is written takes so long.
    append_takes: Mutex<Duration>,
    /// So many appends are done, and nobody is told; so many ends are not taken.
    unheard_appends: AtomicUsize,
    /// No piece is taken.
    refuses_pieces: AtomicBool,
    refused_ends: AtomicUsize,
    /// So many reads never come back.
    late_reads: AtomicUsize,
    /// The answer about the next lease waits for this.
    acquires_after: Mutex<Option<Arc<Notify>>>,
    /// The next lease is given, and its answer never comes back.
    loses_acquired: AtomicBool,
    /// Whoever asks for a lease is told nothing.
    acquires_nothing: AtomicBool,
    /// No failure can be told, and nothing be voided.
    fails_no_flight: AtomicBool,
    voids_nothing: AtomicBool,
    /// What of the next chunk that has it is not what was written.
    tampers: Mutex<Option<Part>>,
    /// How often a log was read from its start.
    starts_read: AtomicUsize,
    /// How many pieces went over it.
    pieces: AtomicUsize,
    /// What had been told of a flight when its lease was ended.
    told: Mutex<Vec<u8>>,
}

async fn fleet(count: usize) -> &'static Fleet {
    let fleet = fleet_with(count, None, "");
    fleet.polled().await;
    fleet
}

/// One without gateways.
fn fleet_with(count: usize, books: Option<Arc<MemoryLedger>>, more: &str) -> &'static Fleet {
    let (clock, settings) = (Clock::start(), settings_with(more));
    let entries = Arc::new(Shelved::new(clock, settings.memory));
    let leases = Arc::new(MemoryLeases::new(Epoch(7), clock, entries.clone()));
    let logs = Arc::new(MemoryLogs::new(clock, leases.clone()));
    let common = Common {
        clock,
        settings,
        entries: entries.clone(),
        store: entries.clone(),
        keys: Arc::default(),
        ledger: books.clone().map(|books| books as Arc<dyn LedgerStore>),
        savings: books.map(|books| books as Arc<dyn SavingsStore>),
    };
    let rates = Arc::new(MemoryRates::new(clock));
    let (mut sidecars, mut cables) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let cable = Arc::new(Cable {
            leases: leases.clone(),
            logs: logs.clone(),
            is_cut: AtomicBool::new(false),
            hangs: AtomicBool::new(false),
            voids_after: Mutex::default(),
            finishes_after: Mutex::default(),
            append_takes: Mutex::default(),
            unheard_appends: AtomicUsize::new(0),
            refuses_pieces: AtomicBool::new(false),
            refused_ends: AtomicUsize::new(0),
            late_reads: AtomicUsize::new(0),
            acquires_after: Mutex::default(),
            loses_acquired: AtomicBool::new(false),
            acquires_nothing: AtomicBool::new(false),
            fails_no_flight: AtomicBool::new(false),
            voids_nothing: AtomicBool::new(false),
            tampers: Mutex::default(),
            starts_read: AtomicUsize::new(0),
            pieces: AtomicUsize::new(0),
            told: Mutex::default(),
        });
        let rates = rates.clone();
        let shared = Shared { leases: cable.clone(), logs: cable.clone(), rates };
        let sidecar = group_with(common.clone(), Some(shared));
        sidecars.push(sidecar);
        cables.push(cable);
    }
    Box::leak(Box::new(Fleet { sidecars, cables, leases, logs, entries }))
}

type Fetching = JoinHandle<Result<Seen, Refusal>>;

// === impl Fleet ===

impl Fleet {
    /// A gateway polls each of them.
    async fn polled(&self) {
        for sidecar in &self.sidecars {
            sidecar.poll().await;
        }
    }

    async fn key(&self) -> Key {
        self.sidecars[0].key().await
    }

    /// A client of one of them, which has got as far as it can without time passing.
    async fn asks(&'static self, at: usize, key: &Key, body: &'static str) -> Fetching {
        let group = &self.sidecars[at];
        let (ticket, _) = group.ticket(group.ask(key, body)).await;
        let client = tokio::spawn(async move { Ok(read(group.lane(&ticket, body).await?).await) });
        settle().await;
        client
    }

    /// A client that reads as it likes.
    async fn streams(&self, at: usize, key: &Key, body: &str) -> ((Outcome, Reason), Reader) {
        let group = &self.sidecars[at];
        let (ticket, _) = group.ticket(group.ask(key, body)).await;
        let reply = group.lane(&ticket, body).await.unwrap();
        let Reply::Stream(head, reader) = reply else { panic!("not a stream: {reply:?}") };
        (head.cache, reader)
    }

    /// The calls of each.
    fn calls(&self) -> Vec<usize> {
        self.sidecars.iter().map(|sidecar| sidecar.provider.count()).collect()
    }

    fn total(&self) -> usize {
        self.calls().iter().sum()
    }

    fn shared(&self, at: usize, result: &str) -> String {
        self.sidecars[at].metric(&format!("kt_shared_flights_total{{result=\"{result}\"}}"))
    }

    fn cut(&self, at: usize, is_cut: bool) {
        self.cables[at].is_cut.store(is_cut, Ordering::SeqCst);
    }

    async fn is_cached(&self, key: &Key, body: &str) -> bool {
        self.sidecars[0].is_cached(key, body).await
    }

    fn at(&self, key: &Key, body: &str) -> CacheKey {
        self.sidecars[0].ask(key, body).plan.key
    }
}

// === impl Cable ===

impl Cable {
    fn over<'a, T: Send + 'a>(&'a self, work: Answer<'a, T>) -> Answer<'a, T> {
        Box::pin(async move {
            if self.hangs.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            if self.is_cut.load(Ordering::SeqCst) {
                return Err(StoreError::Away("cut".to_owned()));
            }
            work.await
        })
    }

    /// The same for what ends a flight's first lease: notes what had been told of it.
    fn ending<'a, T: Send + 'a>(
        &'a self,
        key: CacheKey,
        token: Token,
        work: Answer<'a, T>,
    ) -> Answer<'a, T> {
        self.over(Box::pin(async move {
            let at = LogAt { key, id: FlightId(token.counter) };
            if let Read::Chunk(chunk) = self.logs.read(at, Cursor::default(), u64::MAX).await? {
                assert_eq!(chunk.end, None, "the end is told when the lease has ended");
                let seal = Seal::new("acme", key, at.id);
                let numbered = (0..).zip(&chunk.pieces).skip(1);
                let opened = numbered
                    .map(|(at, piece)| seal.open(token.counter, Part::Piece(at), piece).unwrap());
                *self.told.lock().unwrap() = opened.collect::<Vec<_>>().concat();
            }
            work.await
        }))
    }
}

impl Cable {
    fn tamper(&self, chunk: &mut Chunk) {
        let mut tampers = self.tampers.lock().unwrap();
        let first = chunk.cursor.next - chunk.pieces.len() as u64;
        let part = match *tampers {
            None => None,
            Some(Part::Head) => chunk.head.as_mut(),
            Some(Part::Piece(at)) => {
                let at = at.checked_sub(first).and_then(|at| usize::try_from(at).ok());
                at.and_then(|at| chunk.pieces.get_mut(at))
            }
            Some(Part::End(_)) => chunk.end.as_mut(),
        };
        if let Some(part) = part {
            let mut bytes = part.to_vec();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            *part = bytes.into();
            *tampers = None;
        }
    }
}

impl LeaseStore for Cable {
    fn acquire(&self, key: CacheKey, claim: Claim) -> Answer<'_, Acquired> {
        if self.acquires_nothing.load(Ordering::SeqCst) {
            return refused();
        }
        let is_lost = self.loses_acquired.swap(false, Ordering::SeqCst);
        let gate = self.acquires_after.lock().unwrap().take();
        let acquired = self.over(self.leases.acquire(key, claim));
        Box::pin(async move {
            let acquired = acquired.await;
            if let Some(gate) = gate {
                gate.notified().await;
            }
            if is_lost {
                std::future::pending::<()>().await;
            }
            acquired
        })
    }

    fn acquire_alone(&self, key: CacheKey, claim: Claim) -> Answer<'_, Option<Token>> {
        self.over(self.leases.acquire_alone(key, claim))
    }

    fn leave(&self, key: CacheKey, id: FlightId) -> Answer<'_, ()> {
        self.over(self.leases.leave(key, id))
    }

    fn followed(
        &self,
        key: CacheKey,
        id: FlightId,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.leases.followed(key, id)
    }

    fn renew(&self, key: CacheKey, token: Token) -> Answer<'_, Renewed> {
        self.over(self.leases.renew(key, token))
    }

    fn mute(&self, key: CacheKey, token: Token) -> Answer<'_, Held> {
        self.over(self.leases.mute(key, token))
    }

    fn holds(&self, key: CacheKey, token: Token) -> Answer<'_, bool> {
        self.over(self.leases.holds(key, token))
    }

    fn fill(&self, token: Token, entry: NewEntry) -> Answer<'_, Held> {
        self.ending(entry.at.key, token, self.leases.fill(token, entry))
    }

    fn abandon(&self, key: CacheKey, token: Token) -> Answer<'_, Held> {
        self.ending(key, token, self.leases.abandon(key, token))
    }

    fn end_uncacheable(&self, key: CacheKey, token: Token, under: Generation) -> Answer<'_, Held> {
        self.ending(key, token, self.leases.end_uncacheable(key, token, under))
    }

    fn fail(&self, key: CacheKey, token: Token, failed: Failed) -> Answer<'_, AfterFailure> {
        if self.fails_no_flight.load(Ordering::SeqCst) {
            return refused();
        }
        self.ending(key, token, self.leases.fail(key, token, failed))
    }

    fn take_over(&self, key: CacheKey, id: FlightId, claim: Claim) -> Answer<'_, Option<Token>> {
        self.over(self.leases.take_over(key, id, claim))
    }

    fn give_up(&self, key: CacheKey, id: FlightId) -> Answer<'_, bool> {
        self.over(self.leases.give_up(key, id))
    }

    fn overflow(&self, key: CacheKey, id: FlightId, limit: Option<u64>) -> Answer<'_, Overflow> {
        self.over(self.leases.overflow(key, id, limit))
    }

    fn void(&self, key: CacheKey, id: FlightId) -> Answer<'_, bool> {
        if self.voids_nothing.load(Ordering::SeqCst) {
            return refused();
        }
        let gate = self.voids_after.lock().unwrap().take();
        let voided = self.over(self.leases.void(key, id));
        Box::pin(async move {
            if let Some(gate) = gate {
                gate.notified().await;
            }
            voided.await
        })
    }

    fn renewed(&self, key: CacheKey, newest: Generation) -> Answer<'_, ()> {
        self.over(self.leases.renewed(key, newest))
    }
}

impl FlightLog for Cable {
    fn begin(&self, at: LogAt, token: Token, head: Bytes) -> Answer<'_, Held> {
        self.over(self.logs.begin(at, token, head))
    }

    fn append(
        &self,
        at: LogAt,
        token: Token,
        first: u64,
        pieces: Vec<Bytes>,
    ) -> Answer<'_, Appended> {
        if self.refuses_pieces.load(Ordering::SeqCst) {
            return refused();
        }
        self.pieces.fetch_add(pieces.len(), Ordering::SeqCst);
        let takes = *self.append_takes.lock().unwrap();
        let appended = self.over(self.logs.append(at, token, first, pieces));
        let is_unheard = is_one_of(&self.unheard_appends);
        Box::pin(async move {
            pass(takes).await;
            let appended = appended.await;
            if is_unheard { Err(StoreError::Away("unheard".to_owned())) } else { appended }
        })
    }

    fn finish(&self, at: LogAt, token: Token, end: Bytes) -> Answer<'_, Held> {
        if is_one_of(&self.refused_ends) {
            return refused();
        }
        let gate = self.finishes_after.lock().unwrap().take();
        let finished = self.over(self.logs.finish(at, token, end));
        Box::pin(async move {
            if let Some(gate) = gate {
                gate.notified().await;
            }
            finished.await
        })
    }

    fn read(&self, at: LogAt, from: Cursor, bytes: u64) -> Answer<'_, Read> {
        if is_one_of(&self.late_reads) {
            return Box::pin(std::future::pending());
        }
        self.starts_read.fetch_add(usize::from(from == Cursor::default()), Ordering::SeqCst);
        let read = self.over(self.logs.read(at, from, bytes));
        Box::pin(async move {
            let mut read = read.await;
            if let Ok(Read::Chunk(chunk)) = &mut read {
                self.tamper(chunk);
            }
            read
        })
    }

    fn watch(&self, at: LogAt) -> Box<dyn Watch> {
        self.logs.watch(at)
    }
}

/// Counts down, as long as there is something to count.
fn is_one_of(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

fn refused<T: Send + 'static>() -> Answer<'static, T> {
    Box::pin(async { Err(StoreError::Transient("refused".to_owned())) })
}

fn wait(seconds: u64) -> Act {
    Act::Wait(Duration::from_secs(seconds))
}

fn slow(scripted: Scripted) -> Scripted {
    Scripted { head_after: Duration::from_secs(3), ..scripted }
}

async fn seconds(seconds: u64) {
    pass(Duration::from_secs(seconds)).await;
}

/// A stream that says one thing, waits, and says the rest.
fn halting(pause: u64) -> (Scripted, &'static str, String) {
    let (first, second) = CHUNKS.split_at(CHUNKS.find("\n\n").unwrap() + 2);
    let rest = [second, USAGE_CHUNK, DONE].concat();
    (answers_sse(vec![bytes(first), wait(pause), bytes(&rest)]), first, [second, DONE].concat())
}

fn cache(seen: &Result<Seen, Refusal>) -> (Outcome, Reason) {
    match seen {
        Ok(seen) => seen.head.cache,
        Err(refusal) => refusal.cache.unwrap(),
    }
}

#[tokio::test(start_paused = true)]
async fn identical_requests_at_several_sidecars_are_one_call() {
    for (body, scripted, answer) in [
        (CHAT, answers_json(JSON), JSON.to_owned()),
        (CHAT_STREAM, answers_sse(vec![bytes(&sse())]), sse_without_usage()),
    ] {
        let fleet = fleet(3).await;
        let key = fleet.key().await;
        fleet.sidecars[0].provider.next(slow(scripted));
        let mut clients = Vec::new();
        for at in [0, 1, 2, 0, 1, 2] {
            clients.push(fleet.asks(at, &key, body).await);
        }
        for (nth, client) in clients.into_iter().enumerate() {
            let seen = client.await.unwrap().unwrap();
            assert_eq!(seen.head.cache, if nth == 0 { LED } else { COALESCED }, "{nth}");
            assert!(seen.has_end && seen.body == answer.as_bytes(), "{nth}");
        }
        assert_eq!(fleet.calls(), [1, 0, 0]);
        settle().await;
        for (at, expected) in [(0, ["1", "0"]), (1, ["0", "1"]), (2, ["0", "1"])] {
            assert_eq!(["led", "followed"].map(|result| fleet.shared(at, result)), expected);
            let group = &fleet.sidecars[at];
            assert!(group.is_cached(&key, body).await, "what one has filled, all have");
            assert_eq!(group.metric("kt_flights"), "0");
            let word = if at == 0 { "filled" } else { "followed" };
            let ending = format!("kt_flight_endings_total{{ending=\"{word}\"}}");
            assert_eq!(group.metric(&ending), "1");
            let tokens = group.metric("llm_tokens_total{direction=\"output\"}");
            assert_eq!(tokens, if at == 0 { "7" } else { "0" }, "counted once");
        }
        let (_, bytes) = fleet.entries.last();
        let keys = OrgKeys::derive("acme");
        let entry = Entry::decode(&bytes.into(), &keys).unwrap();
        assert_eq!(entry.header.token.epoch, Epoch(7), "under the group's token");
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_ends_a_lease_comes_after_all_that_was_to_be_told() {
    let no_store = |scripted| Scripted { cache_control: Some("no-store"), ..scripted };
    let stream = || answers_sse(vec![bytes(CHUNKS), wait(1), bytes(USAGE_CHUNK), bytes(DONE)]);
    let status = |status| Scripted { status, ..answers_json("{}") };
    let broken = answers_sse(vec![bytes(CHUNKS), wait(1), Act::Break]);
    for (what, body, scripted, told) in [
        ("json, filled", CHAT, answers_json(JSON), JSON.to_owned()),
        ("json, not stored", CHAT, no_store(answers_json(JSON)), JSON.to_owned()),
        ("stream, filled", CHAT_STREAM, stream(), sse()),
        ("stream, not stored", CHAT_STREAM, no_store(stream()), sse()),
        ("stream, broken", CHAT_STREAM, broken, CHUNKS.to_owned()),
        ("refused", CHAT, status(400), "{}".to_owned()),
        ("failed", CHAT, status(500), "{}".to_owned()),
    ] {
        let fleet = fleet(2).await;
        let key = fleet.key().await;
        fleet.sidecars[0].provider.next(slow(scripted));
        let clients = [fleet.asks(0, &key, body).await, fleet.asks(1, &key, body).await];
        for client in clients {
            client.await.unwrap().unwrap();
        }
        settle().await;
        let was_told = fleet.cables[0].told.lock().unwrap().clone();
        assert_eq!(String::from_utf8(was_told).unwrap(), told, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_on_its_way_to_another_sidecar_is_waited_for() {
    let fleet = fleet(2).await;
    let key = fleet.key().await;
    let (first, rest) = JSON.split_at(1);
    let acts = vec![bytes(first), wait(20), bytes(" "), wait(20), bytes(rest)];
    fleet.sidecars[0].provider.next(Scripted { acts, ..answers_json("") });
    let clients = [fleet.asks(0, &key, CHAT).await, fleet.asks(1, &key, CHAT).await];
    for client in clients {
        client.await.unwrap().unwrap();
    }
    assert_eq!(fleet.calls(), [1, 0], "40 s, paid once");
}

#[tokio::test(start_paused = true)]
async fn who_asks_alone_tells_nobody() {
    let fleet = fleet(2).await;
    let key = fleet.key().await;
    let seen = fleet.asks(0, &key, CHAT_STREAM).await.await.unwrap().unwrap();
    assert!(seen.has_end);
    assert_eq!(fleet.cables[0].pieces.load(Ordering::SeqCst), 0);
    assert!(fleet.is_cached(&key, CHAT_STREAM).await);
}

#[tokio::test(start_paused = true)]
async fn who_comes_late_to_another_sidecar_catches_up_and_reads_on_live() {
    let fleet = fleet(2).await;
    let key = fleet.key().await;
    let (scripted, first, rest) = halting(20);
    fleet.sidecars[0].provider.next(scripted);
    let leader = fleet.asks(0, &key, CHAT_STREAM).await;
    seconds(10).await;
    let start = tokio::time::Instant::now();
    let (cached, mut reader) = fleet.streams(1, &key, CHAT_STREAM).await;
    assert_eq!(cached, COALESCED);
    assert_eq!(reader.recv().await, Some(Piece::Bytes(first.into())));
    assert!(start.elapsed() < Duration::from_millis(10), "at once: {:?}", start.elapsed());
    let mut body = Vec::new();
    assert!(read_on(&mut reader, &mut body).await);
    assert_eq!(String::from_utf8(body).unwrap(), rest);
    assert!(start.elapsed() < Duration::from_millis(10_100), "live: {:?}", start.elapsed());
    assert!(leader.await.unwrap().unwrap().has_end);
    assert_eq!(fleet.calls(), [1, 0]);
}

#[tokio::test(start_paused = true)]
async fn an_end_that_is_long_in_coming_from_another_sidecar_is_waited_for() {
    let fleet = fleet(2).await;
    let key = fleet.key().await;
    let told = Arc::new(Notify::new());
    *fleet.cables[0].finishes_after.lock().unwrap() = Some(Arc::clone(&told));
    fleet.sidecars[0].provider.next(halting(2).0);
    let clients = [fleet.asks(0, &key, CHAT_STREAM).await, fleet.asks(1, &key, CHAT_STREAM).await];
    // It has been told all but that it has come to its end.
    seconds(5).await;
    told.notify_one();
    for client in clients {
        let seen = client.await.unwrap().unwrap();
        assert_eq!((&*seen.body, seen.has_end), (sse_without_usage().as_bytes(), true));
    }
    assert_eq!(fleet.calls(), [1, 0]);
}

#[tokio::test(start_paused = true)]
async fn everybody_reads_in_the_shape_that_was_asked_for() {
    for (first, second) in [(CHAT, CHAT_STREAM), (CHAT_STREAM, CHAT), (CHAT, CHAT_STREAM_USAGE)] {
        let fleet = fleet(2).await;
        let key = fleet.key().await;
        let scripted = match first {
            CHAT => answers_json(JSON),
            _ => answers_sse(vec![bytes(CHUNKS), wait(3), bytes(USAGE_CHUNK), bytes(DONE)]),
        };
        fleet.sidecars[0].provider.next(slow(scripted));
        let leader = fleet.asks(0, &key, first).await;
        let follower = fleet.asks(1, &key, second).await;
        let same = fleet.asks(1, &key, first).await;
        assert!(leader.await.unwrap().unwrap().has_end);
        let seen = follower.await.unwrap().unwrap();
        assert_eq!(seen.head.cache, COALESCED);
        let text = String::from_utf8(seen.body).unwrap();
        assert!(text.contains("hello"), "{text}");
        assert_eq!(text.ends_with(DONE), second != CHAT, "{text}");
        assert_eq!(text.contains("prompt_tokens"), second != CHAT_STREAM, "{text}");
        let seen = same.await.unwrap().unwrap();
        assert_eq!(seen.head.cache, COALESCED);
        assert_eq!(seen.body.ends_with(DONE.as_bytes()), first != CHAT);
        assert_eq!(fleet.calls(), [1, 0]);
    }
}

/// Two sidecars with one ledger, in which `acme` has money.
async fn funded(more: &str) -> &'static Fleet {
    funded_with(&format!("wallet: {{}}\n{more}")).await.0
}

/// The same, and their ledger.
async fn funded_with(more: &str) -> (&'static Fleet, Arc<MemoryLedger>) {
    let clock = Clock::start();
    let wall = clock.wall();
    let reading = move || {
        let mono = clock.mono();
        Reading { mono, wall: UnixMillis(wall.0 + mono.0) }
    };
    let ledger = Arc::new(MemoryLedger::new(Box::new(reading)));
    let fund = Operation::Fund(Fund {
        id: TransferId(Digest([9; 32])),
        org: "acme".to_owned(),
        amount: MicroUsd::new(100_000).unwrap(),
        note: String::new(),
    });
    ledger.operate(fund).await.unwrap().unwrap();
    (fleet_with(2, Some(Arc::clone(&ledger)), more), ledger)
}

#[tokio::test(start_paused = true)]
async fn who_follows_pays_nothing_and_is_told_what_that_saves() {
    let fleet = funded("").await;
    fleet.polled().await;
    let key = fleet.key().await;
    fleet.sidecars[0].provider.next(slow(answers_json(JSON)));
    let leader = fleet.asks(0, &key, CHAT).await;
    let follower = fleet.asks(1, &key, CHAT).await;
    let (leader, follower) = (leader.await.unwrap().unwrap(), follower.await.unwrap().unwrap());
    let cost = MicroUsd::new(5).ok();
    assert_eq!((leader.head.costs.cost, leader.head.costs.saved), (cost, None));
    let nothing = MicroUsd::new(0).ok();
    assert_eq!((follower.head.costs.cost, follower.head.costs.saved), (nothing, cost));
    let reserved = "kt_wallet_operations_total{operation=\"reserve\",result=\"created\"}";
    assert_eq!(fleet.sidecars[0].metric(reserved), "1");
    assert_eq!(fleet.sidecars[1].metric(reserved), "0");
    assert_eq!(fleet.calls(), [1, 0]);
}

#[tokio::test(start_paused = true)]
async fn who_cannot_pay_hands_the_lease_to_another_sidecar_at_once() {
    let fleet = funded("budgets: {teams: {poor: {daily_limit_usd: 0.000001}}}\n").await;
    let poor = fleet.sidecars[0].key_with(|key| key.team = Some("poor".to_owned())).await;
    let rich = fleet.key().await;
    // No gateway has polled: before each reserve one is waited for, for two seconds.
    let leader = fleet.asks(0, &poor, CHAT).await;
    let follower = fleet.asks(1, &rich, CHAT).await;
    let refusal = leader.await.unwrap().unwrap_err();
    assert_eq!(refusal.problem.code(), "budget_exceeded");
    let start = tokio::time::Instant::now();
    let seen = follower.await.unwrap().unwrap();
    assert_eq!(seen.head.cache, TOOK_OVER);
    assert!(start.elapsed() < Duration::from_millis(2_100), "{:?}", start.elapsed());
    assert_eq!(fleet.calls(), [0, 1]);
}

/// Failures of an attempt that nobody has read anything of.
fn failures() -> Vec<(&'static str, Scripted)> {
    let status = |status| Scripted { status, ..answers_json("{}") };
    let fails = |failed| Scripted { fails: Some(failed), ..answers_json("") };
    let cut = &JSON[..JSON.len() / 2];
    vec![
        ("401", status(401)),
        ("429", Scripted { retry_after: Some("1"), ..status(429) }),
        ("500", status(500)),
        ("broken", fails(sidecar_cache::service::upstream::CallFailed::Broken)),
        ("cut", Scripted { acts: vec![bytes(cut), Act::Break], ..answers_json("") }),
        ("truncated", answers_json(cut)),
        ("an error inside", answers_json(r#"{"error":{"message":"no"}}"#)),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_failed_attempt_is_its_leaders_alone_and_one_of_the_group_leads_the_next() {
    for (what, scripted) in failures() {
        let fleet = fleet(3).await;
        let key = fleet.key().await;
        fleet.sidecars[0].provider.next(slow(scripted));
        for sidecar in &fleet.sidecars[1..] {
            sidecar.provider.next(slow(answers_json(JSON)));
        }
        let leader = fleet.asks(0, &key, CHAT).await;
        let mut followers = Vec::new();
        for at in [1, 2, 1, 2] {
            followers.push(fleet.asks(at, &key, CHAT).await);
        }
        let leader = leader.await.unwrap();
        assert_eq!(cache(&leader), LED, "{what}");
        assert!(leader.map_or(true, |seen| seen.body != JSON.as_bytes()), "{what}");
        let mut took_over = 0;
        for follower in followers {
            let seen = follower.await.unwrap().unwrap();
            assert_eq!(seen.body, JSON.as_bytes(), "{what}");
            took_over += usize::from(seen.head.cache == TOOK_OVER);
        }
        assert_eq!((fleet.total(), took_over), (2, 1), "{what}");
        assert!(fleet.is_cached(&key, CHAT).await, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_three_calls_of_the_group_everybody_is_told() {
    for (what, scripted) in failures() {
        let fleet = fleet(3).await;
        let key = fleet.key().await;
        for sidecar in &fleet.sidecars {
            (0..4).for_each(|_| sidecar.provider.next(slow(scripted.clone())));
        }
        let mut clients = Vec::new();
        for nth in 0..12 {
            clients.push(fleet.asks(nth % 3, &key, CHAT).await);
        }
        for client in clients {
            let is_told = match client.await.unwrap() {
                Ok(seen) => seen.body != JSON.as_bytes(),
                Err(refusal) => refusal.problem.status() >= 500,
            };
            assert!(is_told, "{what}");
        }
        assert_eq!(fleet.total(), 3, "{what}: in the whole group");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_has_failed_and_that_nobody_waits_for_gives_its_lease_back_at_once() {
    let fleet = fleet(2).await;
    let key = fleet.key().await;
    let group = &fleet.sidecars[0];
    group.provider.next(Scripted { status: 500, ..answers_json("{}") });
    assert_eq!(cache(&fleet.asks(0, &key, CHAT).await.await.unwrap()), LED);
    settle().await;
    assert_eq!(group.metric("kt_flight_endings_total{ending=\"failed\"}"), "1");
    let acquired = fleet.leases.acquire(fleet.at(&key, CHAT), Claim(3)).await.unwrap();
    assert!(matches!(acquired, Acquired::Lead(..)), "nobody else waits for it: {acquired:?}");
}

#[tokio::test(start_paused = true)]
async fn who_waits_where_a_call_has_failed_calls_again_after_a_pause_unless_that_is_too_long() {
    for (is_told, retry_after, pause_ms) in [
        (true, None, Some(200)),
        (true, Some("1"), Some(1_000)),
        (true, Some("3"), None),
        // What the group would say nobody knows, and the same is done without.
        (false, None, Some(200)),
        (false, Some("1"), Some(1_000)),
        (false, Some("2"), Some(2_000)),
        (false, Some("3"), None),
    ] {
        let what = format!("{is_told}, {retry_after:?}");
        let fleet = fleet(2).await;
        let key = fleet.key().await;
        let busy = Scripted { status: 429, retry_after, ..answers_json("{}") };
        fleet.sidecars[0].provider.next(slow(busy));
        let leader = fleet.asks(0, &key, CHAT).await;
        let followers = [fleet.asks(0, &key, CHAT).await, fleet.asks(0, &key, CHAT).await];
        fleet.cables[0].fails_no_flight.store(!is_told, Ordering::SeqCst);
        assert_eq!(cache(&leader.await.unwrap()), LED, "{what}");
        let failed_at = tokio::time::Instant::now();
        for follower in followers {
            let seen = follower.await.unwrap();
            let is_answer = seen.is_ok_and(|seen| seen.body == JSON.as_bytes());
            assert_eq!(is_answer, pause_ms.is_some(), "{what}");
        }
        let waited = u64::try_from(failed_at.elapsed().as_millis()).unwrap();
        assert!(waited >= pause_ms.unwrap_or(0), "{what}: after {waited} ms");
        assert_eq!(fleet.total(), 1 + usize::from(pause_ms.is_some()), "{what}");
        let failed = fleet.sidecars[0].metric("kt_flight_endings_total{ending=\"failed\"}");
        assert_eq!(failed, "1", "{what}: the lease ends once");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_would_come_again_is_shared_with_all_sidecars_and_not_stored() {
    for status in [400, 404, 413, 422] {
        let fleet = fleet(2).await;
        let key = fleet.key().await;
        let said = r#"{"error":{"message":"no such thing"}}"#;
        fleet.sidecars[0].provider.next(slow(Scripted { status, ..answers_json(said) }));
        let clients = [fleet.asks(0, &key, CHAT).await, fleet.asks(1, &key, CHAT).await];
        for client in clients {
            let seen = client.await.unwrap().unwrap();
            assert_eq!((seen.head.status, seen.body.as_slice()), (status, said.as_bytes()));
        }
        assert_eq!(fleet.calls(), [1, 0]);
        let next = fleet.asks(1, &key, CHAT).await.await.unwrap().unwrap();
        assert_eq!((next.head.status, next.head.cache), (200, LED), "the next one leads");
        assert_eq!(fleet.calls(), [1, 1]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_dies_before_a_byte_is_noticed_and_another_sidecar_leads() {
    let fleet = fleet(3).await;
    let key = fleet.key().await;
    let silent = Scripted { head_after: Duration::from_secs(500), ..answers_json(JSON) };
    fleet.sidecars[0].provider.next(silent);
    let _dead = fleet.asks(0, &key, CHAT).await;
    let clients = [fleet.asks(1, &key, CHAT).await, fleet.asks(2, &key, CHAT).await];
    seconds(20).await;
    assert_eq!(fleet.total(), 1, "a slow provider is no dead leader");
    assert!(clients.iter().all(|client| !client.is_finished()));
    // But for it another one would be sent ahead after 30 s.
    fleet.cut(0, true);
    seconds(LEASE_TTL.0 / 1_000 + 3).await;
    let mut seen = Vec::new();
    for client in clients {
        assert!(client.is_finished(), "within a lease's time and a look");
        let answer = client.await.unwrap().unwrap();
        assert_eq!(answer.body, JSON.as_bytes());
        seen.push(answer.head.cache);
    }
    assert!(seen.contains(&TOOK_OVER) && seen.contains(&COALESCED), "{seen:?}");
    assert_eq!(fleet.total(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_dies_has_made_one_of_the_groups_three_calls() {
    let fleet = fleet(3).await;
    let key = fleet.key().await;
    let silent = Scripted { head_after: Duration::from_secs(500), ..answers_json(JSON) };
    fleet.sidecars[0].provider.next(silent);
    let fails = slow(Scripted { status: 500, ..answers_json("{}") });
    for sidecar in &fleet.sidecars[1..] {
        (0..4).for_each(|_| sidecar.provider.next(fails.clone()));
    }
    let _dead = fleet.asks(0, &key, CHAT).await;
    let mut clients = Vec::new();
    for nth in 0..8 {
        clients.push(fleet.asks(1 + nth % 2, &key, CHAT).await);
    }
    fleet.cut(0, true);
    for client in clients {
        assert_eq!(client.await.unwrap().unwrap().head.status, 500);
    }
    assert_eq!(fleet.total(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_dies_mid_stream_leaves_an_error_event_and_no_end() {
    let fleet = fleet(2).await;
    let key = fleet.key().await;
    let (scripted, first, _) = halting(25);
    fleet.sidecars[0].provider.next(scripted);
    let _dead = fleet.asks(0, &key, CHAT_STREAM).await;
    let reads = fleet.asks(1, &key, CHAT_STREAM).await;
    // It wants the other shape, so it has read nothing.
    let waits = fleet.asks(1, &key, CHAT).await;
    seconds(1).await;
    fleet.cut(0, true);
    seconds(2 * LEASE_TTL.0 / 1_000 + 3).await;
    assert!(reads.is_finished() && waits.is_finished());
    let reads = reads.await.unwrap().unwrap();
    let text = String::from_utf8(reads.body).unwrap();
    assert!(!reads.has_end);
    assert!(text.strip_prefix(first).unwrap().contains("upstream_cut_short"), "{text}");
    let waits = waits.await.unwrap().unwrap();
    assert_eq!(waits.head.cache, TOOK_OVER, "who has read nothing leads");
    assert!(waits.has_end);
    assert_eq!(fleet.calls(), [1, 1]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_breaks_off_breaks_off_at_every_sidecar() {
    let fleet = fleet(2).await;
    let key = fleet.key().await;
    fleet.sidecars[0].provider.next(answers_sse(vec![bytes(CHUNKS), wait(3), Act::Break]));
    let clients = [fleet.asks(0, &key, CHAT_STREAM).await, fleet.asks(1, &key, CHAT_STREAM).await];
    for client in clients {
        let seen = client.await.unwrap().unwrap();
        let text = String::from_utf8(seen.body).unwrap();
        assert!(!seen.has_end);
        assert!(text.strip_prefix(CHUNKS).unwrap().contains("upstream_cut_short"), "{text}");
    }
    assert_eq!(fleet.total(), 1);
    assert!(!fleet.is_cached(&key, CHAT_STREAM).await);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_after_its_last_event_has_an_end_at_no_sidecar() {
    let fleet = fleet(2).await;
    let key = fleet.key().await;
    fleet.sidecars[0].provider.next(answers_sse(vec![bytes(&sse()), wait(1), Act::Break]));
    let clients = [fleet.asks(0, &key, CHAT_STREAM).await, fleet.asks(1, &key, CHAT_STREAM).await];
    for client in clients {
        let seen = client.await.unwrap().unwrap();
        assert!(!seen.has_end);
        assert_eq!(String::from_utf8(seen.body).unwrap(), sse_without_usage());
    }
    assert!(!fleet.entries.is_filled());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_stored_is_read_by_those_who_are_there_and_then_no_sidecar_waits() {
    let filtered = JSON.replace(r#""finish_reason":"stop""#, r#""finish_reason":"content_filter""#);
    let html = Scripted { content_type: "text/html", ..answers_json("<html>") };
    for (what, scripted) in [
        ("an ending that is not stored", answers_json(&filtered)),
        ("no-store", Scripted { cache_control: Some("no-store"), ..answers_json(JSON) }),
        ("no answer that can be judged", html),
    ] {
        let fleet = fleet(2).await;
        let key = fleet.key().await;
        fleet.sidecars[0].provider.next(slow(scripted));
        let clients = [fleet.asks(0, &key, CHAT).await, fleet.asks(1, &key, CHAT).await];
        for client in clients {
            assert!(client.await.unwrap().unwrap().has_end, "{what}");
        }
        assert_eq!(fleet.calls(), [1, 0], "{what}");
        settle().await;
        fleet.sidecars[1].provider.next(slow(answers_json(JSON)));
        fleet.sidecars[1].provider.next(slow(answers_json(JSON)));
        let start = tokio::time::Instant::now();
        let clients = [fleet.asks(1, &key, CHAT).await, fleet.asks(1, &key, CHAT).await];
        for client in clients {
            client.await.unwrap().unwrap();
        }
        assert!(start.elapsed() < Duration::from_secs(4), "{what}: nobody waits for another");
        assert_eq!(fleet.shared(1, "hit-for-miss"), "1", "{what}");
        let stored = fleet.entries.is_filled();
        assert!(!stored, "{what}: without the group's lease nothing is stored");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_goes_on_without_its_own_clients_while_another_sidecar_reads() {
    let fleet = fleet(2).await;
    let key = fleet.key().await;
    let told = Arc::<Notify>::default();
    let acts = vec![bytes(CHUNKS), Act::Until(told.clone()), bytes(USAGE_CHUNK), bytes(DONE)];
    fleet.sidecars[0].provider.next(answers_sse(acts));
    let (_, leader) = fleet.streams(0, &key, CHAT_STREAM).await;
    let follower = fleet.asks(1, &key, CHAT_STREAM).await;
    drop(leader);
    seconds(20).await;
    told.notify_one();
    let seen = follower.await.unwrap().unwrap();
    assert!(seen.has_end && seen.body == sse_without_usage().as_bytes());
    assert_eq!(fleet.sidecars[0].provider.cancelled(), 0);
    settle().await;
    assert!(fleet.is_cached(&key, CHAT_STREAM).await);
    assert_eq!(fleet.calls(), [1, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_nobody_reads_anywhere_any_more_is_cancelled() {
    let fleet = fleet(2).await;
    let key = fleet.key().await;
    let (scripted, _, _) = halting(25);
    fleet.sidecars[0].provider.next(scripted);
    let (_, leader) = fleet.streams(0, &key, CHAT_STREAM).await;
    let (_, follower) = fleet.streams(1, &key, CHAT_STREAM).await;
    drop(leader);
    seconds(3).await;
    assert_eq!(fleet.sidecars[0].provider.cancelled(), 0, "somebody reads");
    drop(follower);
    seconds(3).await;
    assert_eq!(fleet.sidecars[0].provider.cancelled(), 1);
    for sidecar in &fleet.sidecars {
        assert_eq!(sidecar.metric("kt_flights"), "0");
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_store_each_sidecar_makes_one_call_and_stores_nothing() {
    for hangs in [false, true] {
        let fleet = fleet(2).await;
        let key = fleet.key().await;
        for cable in &fleet.cables {
            let way = if hangs { &cable.hangs } else { &cable.is_cut };
            way.store(true, Ordering::SeqCst);
        }
        for sidecar in &fleet.sidecars {
            sidecar.provider.next(slow(answers_json(JSON)));
        }
        let start = tokio::time::Instant::now();
        let mut clients = Vec::new();
        for at in [0, 1, 0, 1] {
            clients.push(fleet.asks(at, &key, CHAT).await);
        }
        for client in clients {
            assert_eq!(client.await.unwrap().unwrap().body, JSON.as_bytes());
        }
        assert!(
            start.elapsed() < Duration::from_secs(4),
            "nobody waits for it: {:?}",
            start.elapsed()
        );
        assert_eq!(fleet.calls(), [1, 1], "one for each sidecar");
        assert!(!fleet.entries.is_filled());
        assert_eq!(fleet.sidecars[0].metric("kt_not_stored_total{reason=\"store\"}"), "1");
        for cable in &fleet.cables {
            cable.is_cut.store(false, Ordering::SeqCst);
            cable.hangs.store(false, Ordering::SeqCst);
        }
        fleet.sidecars[1].provider.next(slow(answers_json(JSON)));
        let clients = [fleet.asks(1, &key, CHAT).await, fleet.asks(0, &key, CHAT).await];
        for client in clients {
            client.await.unwrap().unwrap();
        }
        assert_eq!(fleet.calls(), [1, 2], "it is back");
        assert!(fleet.is_cached(&key, CHAT).await);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_leader_brings_that_was_taken_for_dead_is_not_stored() {
    let fleet = fleet(2).await;
    let key = fleet.key().await;
    let late = Scripted { head_after: Duration::from_secs(20), ..answers_json(JSON) };
    fleet.sidecars[0].provider.next(late.clone());
    fleet.sidecars[1].provider.next(late);
    let stale = fleet.asks(0, &key, CHAT).await;
    fleet.cut(0, true);
    seconds(7).await;
    let leads = fleet.asks(1, &key, CHAT).await;
    fleet.cut(0, false);
    assert_eq!(stale.await.unwrap().unwrap().body, JSON.as_bytes(), "its clients have it");
    assert!(!fleet.entries.is_filled(), "and nobody else");
    assert_eq!(fleet.sidecars[0].metric("kt_not_stored_total{reason=\"superseded\"}"), "1");
    assert_eq!(fleet.shared(0, "superseded"), "1");
    assert_eq!(leads.await.unwrap().unwrap().head.cache, LED);
    assert!(fleet.is_cached(&key, CHAT).await);
}

/// Leads a flight by hand, with this head.
async fn forge(fleet: &Fleet, key: CacheKey, head: &Head) {
    let Acquired::Lead(token, id) = fleet.leases.acquire(key, Claim(1)).await.unwrap() else {
        panic!("somebody leads already");
    };
    let at = LogAt { key, id };
    // By one who can.
    let seal = Seal::new("acme", key, id);
    let of = |part, written: &[u8]| seal.seal(token.counter, part, written);
    let held = fleet.logs.begin(at, token, of(Part::Head, &head.encode())).await.unwrap();
    assert_eq!(held, Held::Current);
    let said =
        Said { status: 200, content_type: Some("application/json".into()), ..Said::default() };
    let opening = of(Part::Piece(0), &Opening::Answer(said).encode());
    let pieces = vec![opening, of(Part::Piece(1), b"{\"forged\":1}")];
    assert_eq!(fleet.logs.append(at, token, 0, pieces).await.unwrap(), Appended::Done);
}

#[tokio::test(start_paused = true)]
async fn what_is_told_for_other_gates_is_not_read_and_is_a_security_event() {
    for (what, reason) in [("org", "org"), ("check", "check"), ("nothing", "")] {
        let fleet = fleet(2).await;
        let key = fleet.key().await;
        let ask = fleet.sidecars[1].ask(&key, CHAT);
        let began = Vector::from_numbers(vec![Generation(0); 5]);
        let (gates, check) = (ask.plan.gates.clone(), ask.plan.check);
        let mut head = Head { gates, check, began, asked: Recorded::Json, span: None };
        match what {
            "org" => head.gates.org = "globex".to_owned(),
            "check" => head.check = CheckHash(Digest([1; 32])),
            _ => {}
        }
        forge(fleet, ask.plan.key, &head).await;
        let asked = fleet.asks(1, &key, CHAT).await;
        if what == "nothing" {
            assert!(!asked.is_finished(), "what is its own is read");
            continue;
        }
        let seen = asked.await.unwrap().unwrap();
        assert_eq!(seen.body, JSON.as_bytes(), "{what}");
        assert_eq!(seen.head.cache, LED, "{what}");
        assert_eq!(fleet.calls(), [0, 1], "{what}");
        assert!(!fleet.entries.is_filled(), "{what}: another one has the lease");
        let event = format!("kt_gate_mismatch_total{{reason=\"{reason}\"}}");
        assert_eq!(fleet.sidecars[1].metric(&event), "1", "{what}");
        assert_eq!(fleet.shared(1, "mismatch"), "1", "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_begun_before_an_invalidation_is_not_read_and_not_stored() {
    let fleet = fleet(2).await;
    let key = fleet.key().await;
    let late = Scripted { head_after: Duration::from_secs(10), ..answers_json("{\"old\":1}") };
    fleet.sidecars[0].provider.next(late);
    let old = fleet.asks(0, &key, CHAT).await;
    fleet.sidecars[1].sidecar.bump("acme", Tag::Org).await.unwrap();
    fleet.sidecars[1].provider.next(slow(answers_json(JSON)));
    let new = fleet.asks(1, &key, CHAT).await;
    seconds(4).await;
    assert!(new.is_finished(), "it does not wait for the old one");
    let new = new.await.unwrap().unwrap();
    assert_eq!((new.body.as_slice(), new.head.cache), (JSON.as_bytes(), LED));
    assert_eq!(fleet.calls(), [1, 1]);
    old.await.unwrap().unwrap();
    assert_eq!(fleet.shared(0, "superseded"), "1");
    let (at, _) = fleet.entries.last();
    assert_eq!(at.key, fleet.at(&key, CHAT));
    assert!(fleet.sidecars[1].is_cached(&key, CHAT).await, "the new one is there");
}

#[tokio::test(start_paused = true)]
async fn who_voids_an_old_flight_late_does_not_void_the_one_that_has_taken_its_place() {
    let fleet = fleet(3).await;
    let key = fleet.key().await;
    let late = Scripted { head_after: Duration::from_secs(10), ..answers_json("{\"old\":1}") };
    fleet.sidecars[0].provider.next(late);
    let _old = fleet.asks(0, &key, CHAT).await;
    let gate = Arc::<Notify>::default();
    *fleet.cables[2].voids_after.lock().unwrap() = Some(gate.clone());
    let mut clients = Vec::new();
    for at in [2, 1] {
        fleet.sidecars[at].sidecar.bump("acme", Tag::Org).await.unwrap();
        fleet.sidecars[at].provider.next(slow(answers_json(JSON)));
        clients.push(fleet.asks(at, &key, CHAT).await);
    }
    gate.notify_one();
    for client in clients {
        assert_eq!(client.await.unwrap().unwrap().body, JSON.as_bytes());
    }
    assert_eq!(fleet.calls(), [1, 1, 0], "both have read the old one, and one leads the new one");
    assert!(fleet.sidecars[1].is_cached(&key, CHAT).await);
}

#[tokio::test(start_paused = true)]
async fn one_of_all_who_have_waited_too_long_in_the_group_makes_its_own_call() {
    let fleet = fleet(3).await;
    let key = fleet.key().await;
    let late = Scripted { head_after: Duration::from_secs(100), ..answers_json(JSON) };
    fleet.sidecars[0].provider.next(late);
    let mut clients = Vec::new();
    for nth in 0..9 {
        clients.push(fleet.asks(nth % 3, &key, CHAT).await);
    }
    seconds(50).await;
    assert_eq!(fleet.total(), 2);
    let mut overflowed = 0;
    for client in clients {
        let seen = client.await.unwrap().unwrap();
        assert_eq!(seen.body, JSON.as_bytes());
        overflowed += usize::from(seen.head.cache == (Outcome::Miss, Reason::Overflow));
    }
    assert_eq!((overflowed, fleet.total()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn the_only_client_of_a_sidecar_that_follows_may_go_too() {
    let fleet = fleet(2).await;
    let key = fleet.key().await;
    let late = Scripted { head_after: Duration::from_secs(100), ..answers_json(JSON) };
    fleet.sidecars[0].provider.next(late);
    let leader = fleet.asks(0, &key, CHAT).await;
    let follower = fleet.asks(1, &key, CHAT).await;
    seconds(40).await;
    assert!(follower.is_finished() && !leader.is_finished());
    let cached = follower.await.unwrap().unwrap().head.cache;
    assert_eq!(cached, (Outcome::Miss, Reason::Overflow));
    assert_eq!(fleet.calls(), [1, 1]);
    assert_eq!(leader.await.unwrap().unwrap().head.cache, LED);
}

#[tokio::test(start_paused = true)]
async fn what_was_filled_between_the_lookup_and_the_lease_is_served() {
    let fleet = fleet(2).await;
    let key = fleet.key().await;
    let group = &fleet.sidecars[1];
    let (ticket, _) = group.ticket(group.ask(&key, CHAT)).await;
    fleet.entries.hold_next_lookup();
    let late =
        tokio::spawn(async move { Ok::<_, Refusal>(read(group.lane(&ticket, CHAT).await?).await) });
    let first = async { fleet.sidecars[0].fetch(&key, CHAT).await.unwrap() };
    fleet.entries.while_held(Box::pin(first)).await;
    let seen = late.await.unwrap().unwrap();
    assert_eq!(seen.head.cache, (Outcome::Hit, Reason::Shared));
    assert_eq!(fleet.calls(), [1, 0]);
    settle().await;
    let acquired = fleet.leases.acquire(fleet.at(&key, CHAT), Claim(3)).await.unwrap();
    assert!(matches!(acquired, Acquired::Lead(..)), "the lease was given back: {acquired:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_too_large_to_be_stored_is_read_elsewhere_as_far_as_it_is_told() {
    let fleet = fleet(2).await;
    let key = fleet.key().await;
    let large = CHUNKS.replace("hello", &"x".repeat(1 << 20));
    let many: Vec<Act> = (0..12).flat_map(|_| [bytes(&large), wait(1)]).collect();
    fleet.sidecars[0].provider.next(answers_sse(many));
    let leader = fleet.asks(0, &key, CHAT_STREAM).await;
    let follower = fleet.asks(1, &key, CHAT_STREAM).await;
    let follower = follower.await.unwrap().unwrap();
    assert!(!follower.has_end, "it breaks off");
    assert!(follower.body.len() > 8 << 20);
    assert!(leader.await.unwrap().unwrap().body.len() > 12 << 20, "whoever leads has all of it");
    assert_eq!(fleet.calls(), [1, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_lost_while_another_sidecar_is_followed_costs_a_call_or_a_reset() {
    for (what, body, scripted, says) in [
        ("nothing was read", CHAT, slow(answers_json(JSON)), ""),
        ("something was read", CHAT_STREAM, halting(25).0, halting(25).1),
    ] {
        let fleet = fleet(2).await;
        let key = fleet.key().await;
        fleet.sidecars[0]
            .provider
            .next(Scripted { head_after: Duration::from_secs(8), ..scripted });
        let leader = fleet.asks(0, &key, body).await;
        let follower = fleet.asks(1, &key, body).await;
        seconds(if says.is_empty() { 2 } else { 10 }).await;
        fleet.cut(1, true);
        let seen = follower.await.unwrap().unwrap();
        if says.is_empty() {
            assert_eq!(seen.body, JSON.as_bytes(), "{what}");
            assert_eq!((seen.head.cache, fleet.calls()), (TOOK_OVER, vec![1, 1]), "{what}");
            assert!(!fleet.entries.is_filled(), "{what}: it has no token");
        } else {
            let text = String::from_utf8(seen.body).unwrap();
            assert!(!seen.has_end, "{what}");
            assert!(text.strip_prefix(says).unwrap().contains("upstream_cut_short"), "{text}");
            assert_eq!(fleet.calls(), [1, 0], "{what}");
        }
        assert!(leader.await.unwrap().unwrap().has_end, "{what}");
        assert!(fleet.is_cached(&key, body).await, "{what}: whoever leads goes on");
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_loses_the_store_serves_its_clients_and_stores_nothing() {
    let fleet = fleet(1).await;
    let key = fleet.key().await;
    fleet.sidecars[0].provider.next(slow(answers_json(JSON)));
    let client = fleet.asks(0, &key, CHAT).await;
    fleet.cut(0, true);
    assert_eq!(client.await.unwrap().unwrap().body, JSON.as_bytes());
    assert!(!fleet.entries.is_filled());
    assert_eq!(fleet.sidecars[0].metric("kt_not_stored_total{reason=\"store\"}"), "1");
}

#[tokio::test(start_paused = true)]
async fn with_single_flight_off_everybody_calls_and_one_of_them_stores() {
    let fleet = fleet(2).await;
    let key = fleet.key().await;
    for sidecar in &fleet.sidecars {
        let single_flight = SingleFlight { is_enabled: false, ..settings().single_flight };
        sidecar.sidecar.reconfigure(Ok(Settings { single_flight, ..settings() })).await;
        sidecar.provider.next(slow(answers_json(JSON)));
    }
    let clients = [fleet.asks(0, &key, CHAT).await, fleet.asks(1, &key, CHAT).await];
    for client in clients {
        assert_eq!(client.await.unwrap().unwrap().head.cache, LED);
    }
    assert_eq!(fleet.calls(), [1, 1]);
    assert_eq!(["led", "led-elsewhere"].map(|word| fleet.shared(1, word)), ["0", "1"]);
    assert_eq!(fleet.sidecars[1].metric("kt_fills_total"), "0");
    assert!(fleet.is_cached(&key, CHAT).await);
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_stored_is_shared_again_after_an_invalidation() {
    let fleet = fleet(2).await;
    let key = fleet.key().await;
    let no_store = Scripted { cache_control: Some("no-store"), ..answers_json(JSON) };
    fleet.sidecars[0].provider.next(no_store);
    fleet.asks(0, &key, CHAT).await.await.unwrap().unwrap();
    fleet.sidecars[1].sidecar.bump("acme", Tag::Org).await.unwrap();
    let seen = fleet.asks(1, &key, CHAT).await.await.unwrap().unwrap();
    assert_eq!(seen.head.cache, LED);
    assert!(fleet.sidecars[1].is_cached(&key, CHAT).await);
}

#[tokio::test(start_paused = true)]
async fn a_stale_entrys_successor_is_fetched_once_for_all_sidecars() {
    let fleet = fleet_with(2, None, "  stale_while_revalidate_seconds: 600\n");
    fleet.polled().await;
    let key = fleet.key().await;
    fleet.asks(0, &key, CHAT).await.await.unwrap().unwrap();
    seconds(3_600).await;
    let newer = JSON.replace("hello", "newer");
    fleet.sidecars.iter().for_each(|sidecar| sidecar.provider.next(slow(answers_json(&newer))));
    for at in [0, 1, 0, 1] {
        let seen = fleet.asks(at, &key, CHAT).await.await.unwrap().unwrap();
        assert_eq!(seen.head.cache, (Outcome::Stale, Reason::Revalidating));
    }
    seconds(5).await;
    assert_eq!(fleet.calls(), [2, 0]);
    let told = fleet.sidecars[1].hit(fleet.sidecars[1].ask(&key, CHAT)).await;
    assert!(String::from_utf8(told.to_vec()).unwrap().contains("newer"));
    assert_eq!(fleet.sidecars[1].metric("kt_flights"), "0");
}
