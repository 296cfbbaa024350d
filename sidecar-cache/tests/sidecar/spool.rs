//! Calls that end while the ledger is away: they are charged once, whatever becomes of the sidecar that made them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use kt_contract::hex::Digest;
use sidecar_cache::clock::Clock;
use sidecar_cache::ledger::clock::Reading;
use sidecar_cache::ledger::request::{Draw, DrawnEnd};
use sidecar_cache::ledger::{Kind, Operation, TransferId, spooled};
use sidecar_cache::store::ledger::LedgerStore;
use sidecar_cache::store::ledger::memory::MemoryLedger;
use sidecar_cache::store::spool::{MemorySpool, Put, SPOOLED_MAX, SpoolStore};
use sidecar_cache::store::{Answer, StoreError};
use tokio::time::Instant;

use crate::ledger_support::{fund, id, reservation, reserve, usd};
use crate::support::*;
use crate::wallet::{Mood, Moody};

const FUNDS: u64 = 100_000;
/// What [`JSON`] costs.
const COST: u64 = 5;
const SECOND: Duration = Duration::from_secs(1);

/// A ledger and a spool, which outlive sidecars.
struct World {
    clock: Clock,
    ledger: Arc<MemoryLedger>,
    spool: Arc<Disk>,
}

/// A sidecar, and its way to the ledger: closed for good, it is as good as dead.
struct Alive {
    group: Group,
    way: Arc<Moody>,
    key: Key,
}

/// A spool that can fail.
#[derive(Default)]
struct Disk {
    inner: MemorySpool,
    puts: AtomicUsize,
    /// The room that was asked for last.
    room: AtomicUsize,
    is_full: AtomicBool,
    is_broken: AtomicBool,
    /// Whether nothing is forgotten, as if the power had gone before.
    keeps_all: AtomicBool,
}

// === impl Disk ===

impl SpoolStore for Disk {
    fn put(&self, text: String, count_max: usize) -> Answer<'_, Put> {
        self.puts.fetch_add(1, SeqCst);
        self.room.store(count_max, SeqCst);
        if self.is_broken.load(SeqCst) {
            return Box::pin(async { Err(StoreError::Transient("disk full".to_owned())) });
        }
        let count_max = if self.is_full.load(SeqCst) { 0 } else { count_max };
        self.inner.put(text, count_max)
    }

    fn read(&self, after: u64, count_max: usize) -> Answer<'_, Vec<(u64, String)>> {
        self.inner.read(after, count_max)
    }

    fn remove(&self, numbers: Vec<u64>) -> Answer<'_, ()> {
        if self.is_broken.load(SeqCst) {
            return Box::pin(async { Err(StoreError::Transient("disk full".to_owned())) });
        }
        if self.keeps_all.load(SeqCst) {
            return Box::pin(async { Ok(()) });
        }
        self.inner.remove(numbers)
    }

    fn count(&self) -> usize {
        self.inner.count()
    }
}

// === impl World ===

impl World {
    async fn funded() -> Self {
        let clock = Clock::start();
        let wall = clock.wall();
        let reading = move || {
            let mono = clock.mono();
            Reading { mono, wall: kt_contract::time::UnixMillis(wall.0 + mono.0) }
        };
        let ledger = Arc::new(MemoryLedger::new(Box::new(reading)));
        ledger.operate(fund(u64::MAX, FUNDS)).await.unwrap().unwrap();
        Self { clock, ledger, spool: Arc::default() }
    }

    async fn sidecar(&self) -> Alive {
        let way = Arc::new(Moody::over(Arc::clone(&self.ledger)));
        let settings = settings_with("wallet: {}\n");
        let entries = Arc::new(Shelved::new(self.clock, settings.memory));
        let common = Common {
            clock: self.clock,
            settings,
            store: Arc::clone(&entries) as Arc<_>,
            entries,
            keys: Arc::default(),
            ledger: Some(Arc::clone(&way) as Arc<dyn LedgerStore>),
            savings: None,
        };
        let spool = Arc::clone(&self.spool) as Arc<dyn SpoolStore>;
        let group = group_spooling(common, None, Some(spool));
        group.poll().await;
        let key = group.key().await;
        Alive { group, way, key }
    }

    /// How often each kind of row was written for calls.
    async fn rows(&self) -> BTreeMap<&'static str, usize> {
        let mut rows = BTreeMap::new();
        for (_, row) in self.ledger.history("acme".to_owned(), None, 10_000).await.unwrap() {
            if row.kind != Kind::Fund {
                *rows.entry(row.kind.as_str()).or_default() += 1;
            }
        }
        rows
    }

    async fn available(&self) -> i128 {
        self.ledger.balance("acme".to_owned()).await.unwrap().wallet.available()
    }

    /// Whether one call was charged and the book adds up.
    async fn charged_once(&self, rows: &[(&'static str, usize)]) {
        assert_eq!(self.rows().await, rows.iter().copied().collect());
        assert_eq!(self.available().await, i128::from(FUNDS - COST));
        assert_eq!(self.ledger.audit().await.unwrap().breaches, []);
        let balance = self.ledger.balance("acme".to_owned()).await.unwrap();
        assert_eq!((balance.wallet.debits.pending(), balance.suspense.available()), (0, 0));
    }
}

// === impl Alive ===

impl Alive {
    /// A call that ends in this mood of the ledger. Says what its client got, and how long its end took.
    async fn call_ending(&self, mood: Mood) -> (Seen, Duration) {
        let slow = Scripted { head_after: 3 * SECOND, ..answers_json(JSON) };
        self.group.provider.next(slow);
        let began = Instant::now();
        let (seen, ()) = tokio::join!(self.group.fetch(&self.key, CHAT), async {
            pass(2 * SECOND).await;
            self.way.is(mood);
        });
        (seen.unwrap(), began.elapsed().saturating_sub(3 * SECOND))
    }

    fn spooled(&self, result: &str) -> String {
        self.group.metric(&format!("kt_wallet_spool_total{{result=\"{result}\"}}"))
    }

    fn waiting(&self) -> String {
        self.group.metric("kt_wallet_spooled")
    }

    fn faults(&self) -> Vec<String> {
        self.group.sidecar.status().wallet_errors
    }

    /// Has it look after its spool.
    fn keeps_spool(&self) {
        let sidecar = Arc::clone(&self.group.sidecar);
        tokio::spawn(async move { sidecar.keep_spool().await });
    }
}

#[tokio::test(start_paused = true)]
async fn what_ends_while_the_ledger_is_away_is_charged_once_by_the_next_sidecar() {
    for mood in [Mood::Down, Mood::Hangs] {
        let world = World::funded().await;
        let dead = world.sidecar().await;
        let (seen, took) = dead.call_ending(mood).await;
        assert!(seen.has_end && took < SECOND, "{mood:?}: {took:?}");
        assert!(
            dead.group.is_cached(&dead.key, CHAT).await,
            "what lies on the disk is as good as booked"
        );
        assert_eq!((dead.spooled("kept"), dead.waiting()), ("1".to_owned(), "1".to_owned()));
        assert_eq!(world.rows().await, BTreeMap::from([("pending", 1)]));

        let next = world.sidecar().await;
        assert_eq!(next.group.sidecar.tell_spooled().await, 0);
        world.charged_once(&[("pending", 1), ("post", 1)]).await;
        assert_eq!((next.spooled("replayed"), next.waiting()), ("1".to_owned(), "0".to_owned()));
        assert_eq!(next.group.sidecar.tell_spooled().await, 0);
        assert_eq!(next.spooled("replayed"), "1");
        assert_eq!(next.faults(), Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn what_expired_meanwhile_is_charged_late_and_nothing_stays_in_suspense() {
    let world = World::funded().await;
    let dead = world.sidecar().await;
    let _ = dead.call_ending(Mood::Down).await;
    let next = world.sidecar().await;
    pass(3_600 * SECOND).await;
    next.group.sidecar.close_due().await;
    assert_eq!(world.rows().await, BTreeMap::from([("pending", 1), ("expire", 1)]));
    assert_eq!(next.group.sidecar.tell_spooled().await, 0);
    world.charged_once(&[("pending", 1), ("expire", 1), ("late_post", 1)]).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_returned_after_a_day_is_charged_all_the_same() {
    let world = World::funded().await;
    let dead = world.sidecar().await;
    let _ = dead.call_ending(Mood::Down).await;
    let next = world.sidecar().await;
    for _ in 0..2 {
        pass(25 * 3_600 * SECOND).await;
        next.group.sidecar.close_due().await;
    }
    assert_eq!(next.group.sidecar.tell_spooled().await, 0);
    world.charged_once(&[("pending", 1), ("expire", 1), ("return", 1), ("late_post", 1)]).await;
}

#[tokio::test(start_paused = true)]
async fn a_death_between_the_ledgers_answer_and_forgetting_charges_nothing_twice() {
    let world = World::funded().await;
    let dead = world.sidecar().await;
    world.spool.keeps_all.store(true, SeqCst);
    // It takes longer than is waited for, and then it is taken.
    let (_, took) = dead.call_ending(Mood::Slow).await;
    assert!(took < SECOND, "{took:?}");
    pass(2 * SECOND).await;
    world.charged_once(&[("pending", 1), ("post", 1)]).await;
    assert_eq!(world.spool.count(), 1);
    world.spool.keeps_all.store(false, SeqCst);

    let next = world.sidecar().await;
    assert_eq!(next.group.sidecar.tell_spooled().await, 0);
    world.charged_once(&[("pending", 1), ("post", 1)]).await;
    assert_eq!((next.spooled("replayed"), world.spool.count()), ("1".to_owned(), 0));
}

#[tokio::test(start_paused = true)]
async fn where_the_ledger_answers_at_once_nothing_is_written() {
    let world = World::funded().await;
    let sidecar = world.sidecar().await;
    let (_, took) = sidecar.call_ending(Mood::Fine).await;
    world.charged_once(&[("pending", 1), ("post", 1)]).await;
    assert_eq!(world.spool.puts.load(SeqCst), 0, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_ledger_takes_it_and_is_told_once() {
    let world = World::funded().await;
    let sidecar = world.sidecar().await;
    let _ = sidecar.call_ending(Mood::Slow).await;
    assert_eq!(world.spool.count(), 1);
    // Whoever looks now finds it there, and somebody who asks for it.
    sidecar.keeps_spool();
    pass(5 * SECOND).await;
    world.charged_once(&[("pending", 1), ("post", 1)]).await;
    assert_eq!((world.spool.count(), sidecar.spooled("replayed")), (0, "0".to_owned()));
    let told = r#"kt_wallet_operations_total{operation="settle",result="#;
    assert_eq!(sidecar.group.metric(&format!("{told}\"created\"}}")), "1");
    assert_eq!(sidecar.group.metric(&format!("{told}\"exists\"}}")), "0");
}

#[tokio::test(start_paused = true)]
async fn a_ledger_that_comes_back_is_told_without_a_restart_and_meanwhile_it_is_said() {
    let world = World::funded().await;
    let sidecar = world.sidecar().await;
    sidecar.keeps_spool();
    let _ = sidecar.call_ending(Mood::Down).await;
    pass(600 * SECOND).await;
    assert_eq!(
        sidecar.faults(),
        ["spool: 1 ends of calls wait for the ledger, which is told of them by itself"]
    );
    let asked = r#"kt_wallet_operations_total{operation="settle",result="unavailable"}"#;
    let asked: u32 = sidecar.group.metric(asked).parse().unwrap();
    assert!((290..320).contains(&asked), "asked {asked} times in ten minutes");
    sidecar.way.is(Mood::Fine);
    pass(3 * SECOND).await;
    world.charged_once(&[("pending", 1), ("post", 1)]).await;
    assert_eq!((sidecar.waiting(), sidecar.spooled("replayed")), ("0".to_owned(), "1".to_owned()));
    assert_eq!(sidecar.faults(), Vec::<String>::new());
    assert_eq!(sidecar.group.sidecar.audit().await.unwrap().breaches_total, 0);
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_what_lies_in_the_spool() {
    let world = World::funded().await;
    let sidecar = world.sidecar().await;
    assert_eq!(sidecar.group.sidecar.waiting_in_spool(), 0);
    let _ = sidecar.call_ending(Mood::Hangs).await;
    let began = Instant::now();
    sidecar.group.sidecar.drained().await;
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    assert_eq!(sidecar.group.sidecar.waiting_in_spool(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_stays_and_is_told_and_is_in_nobodys_way() {
    let world = World::funded().await;
    let newer = r#"{"version":2,"end":{}}"#.to_owned();
    world.spool.inner.put(newer.clone(), SPOOLED_MAX).await.unwrap();
    let dead = world.sidecar().await;
    let _ = dead.call_ending(Mood::Down).await;
    let next = world.sidecar().await;
    for _ in 0..2 {
        assert_eq!(next.group.sidecar.tell_spooled().await, 0);
        world.charged_once(&[("pending", 1), ("post", 1)]).await;
        assert_eq!(world.spool.read(0, 9).await.unwrap(), [(1, newer.clone())]);
        assert_eq!((next.spooled("unreadable"), next.waiting()), ("1".to_owned(), "1".to_owned()));
    }
    let why = "spool: 1 ends of calls cannot be read and are not told to the ledger; number 1: it is of \
               version 2; this sidecar reads 1. Start a version that reads them";
    assert_eq!(next.faults(), [why]);
}

#[tokio::test(start_paused = true)]
async fn a_spool_without_room_or_disk_leaves_it_to_memory() {
    for is_full in [true, false] {
        let world = World::funded().await;
        let sidecar = world.sidecar().await;
        world.spool.is_full.store(is_full, SeqCst);
        world.spool.is_broken.store(!is_full, SeqCst);
        let (seen, took) = sidecar.call_ending(Mood::Down).await;
        assert!(seen.has_end && took < 3 * SECOND);
        assert!(!sidecar.group.is_cached(&sidecar.key, CHAT).await, "nobody has it");
        let (result, why, todo) = if is_full {
            ("full", "no room", "see why the wallet's database takes none")
        } else {
            ("failed", "cannot be used", "mend the disk of the data folder")
        };
        assert_eq!((sidecar.spooled(result), sidecar.spooled("kept")), ("1".into(), "0".into()));
        let fault = sidecar.faults().remove(0);
        assert!(fault.contains(why) && fault.contains(todo), "{fault}");
        // A stop waits for it, as without a spool.
        let sidecar_of = Arc::clone(&sidecar.group.sidecar);
        let stop = tokio::spawn(async move { sidecar_of.drained().await });
        pass(25 * SECOND).await;
        assert!(!stop.is_finished());
        sidecar.way.is(Mood::Fine);
        pass(11 * SECOND).await;
        assert!(stop.is_finished());
        world.charged_once(&[("pending", 1), ("post", 1)]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_forgotten_is_forgotten_when_it_can_be_and_is_charged_once() {
    let world = World::funded().await;
    let sidecar = world.sidecar().await;
    sidecar.keeps_spool();
    let _ = sidecar.call_ending(Mood::Slow).await;
    world.spool.is_broken.store(true, SeqCst);
    sidecar.way.is(Mood::Fine);
    pass(300 * SECOND).await;
    assert_eq!(world.spool.count(), 1);
    world.spool.is_broken.store(false, SeqCst);
    pass(11 * SECOND).await;
    assert_eq!((world.spool.count(), sidecar.faults()), (0, vec![]));
    world.charged_once(&[("pending", 1), ("post", 1)]).await;
}

#[tokio::test(start_paused = true)]
async fn a_short_fault_is_over_though_nothing_ends_meanwhile() {
    let world = World::funded().await;
    let sidecar = world.sidecar().await;
    sidecar.keeps_spool();
    world.spool.is_broken.store(true, SeqCst);
    let _ = sidecar.call_ending(Mood::Slow).await;
    pass(3 * SECOND).await;
    assert_eq!(sidecar.faults().len(), 1);
    world.spool.is_broken.store(false, SeqCst);
    pass(11 * SECOND).await;
    assert_eq!((sidecar.faults(), sidecar.spooled("failed")), (vec![], "1".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn what_was_told_counts_when_it_is_forgotten_and_a_start_does_not_wait_for_it() {
    let world = World::funded().await;
    let dead = world.sidecar().await;
    let _ = dead.call_ending(Mood::Down).await;
    let next = world.sidecar().await;
    world.spool.is_broken.store(true, SeqCst);
    for _ in 0..2 {
        assert_eq!(next.group.sidecar.tell_spooled().await, 1);
        assert_eq!(next.spooled("replayed"), "0");
    }
    world.spool.is_broken.store(false, SeqCst);
    assert_eq!(next.group.sidecar.tell_spooled().await, 0);
    assert_eq!(next.spooled("replayed"), "1");
    world.charged_once(&[("pending", 1), ("post", 1)]).await;
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_set_aside_is_released_and_takes_half_the_room_at_most() {
    let world = World::funded().await;
    let dead = world.sidecar().await;
    dead.way.is(Mood::Down);
    let refusal = dead.group.fetch(&dead.key, CHAT).await.unwrap_err();
    assert_eq!(refusal.problem.status(), 503);
    settle().await;
    assert_eq!(world.spool.room.load(SeqCst), SPOOLED_MAX / 2);
    let next = world.sidecar().await;
    // One that was done, and whose answer was lost.
    world.ledger.operate(reserve(7, 1_000)).await.unwrap().unwrap();
    let lost = spooled::write(&Operation::Release { hold: id(7) }).unwrap();
    world.spool.inner.put(lost, SPOOLED_MAX).await.unwrap();
    assert_eq!(next.group.sidecar.tell_spooled().await, 1);
    assert_eq!(world.rows().await, BTreeMap::from([("pending", 1), ("void", 1)]));
    assert_eq!(world.available().await, i128::from(FUNDS));
    // The other may yet be seen: nobody knows before its time would be over.
    next.keeps_spool();
    pass(50 * SECOND).await;
    assert_eq!((next.waiting(), next.faults()), ("1".to_owned(), vec![]));
    pass(30 * SECOND).await;
    assert_eq!((next.spooled("replayed"), next.spooled("refused")), ("2".into(), "0".into()));
    assert_eq!(next.waiting(), "0");
}

#[tokio::test(start_paused = true)]
async fn a_spool_without_room_for_releases_has_room_for_ends_of_calls() {
    let world = World::funded().await;
    let sidecar = world.sidecar().await;
    sidecar.way.is(Mood::Down);
    world.spool.is_full.store(true, SeqCst);
    sidecar.group.fetch(&sidecar.key, CHAT).await.unwrap_err();
    settle().await;
    assert_eq!(world.spool.puts.load(SeqCst), 1);
    assert_eq!((sidecar.spooled("full"), sidecar.faults()), ("0".to_owned(), vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_release_that_the_ledger_answers_at_once_lies_there_until_its_time_is_over() {
    let world = World::funded().await;
    let sidecar = world.sidecar().await;
    sidecar.keeps_spool();
    sidecar.way.is(Mood::Hangs);
    let (seen, ()) = tokio::join!(sidecar.group.fetch(&sidecar.key, CHAT), async {
        pass(SECOND).await;
        sidecar.way.is(Mood::Fine);
    });
    assert_eq!(seen.unwrap_err().problem.status(), 503);
    pass(50 * SECOND).await;
    assert_eq!((world.spool.count(), world.rows().await), (1, BTreeMap::new()));
    pass(30 * SECOND).await;
    assert_eq!((world.spool.count(), sidecar.spooled("replayed")), (0, "1".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_reserve_that_is_seen_late_is_released() {
    let world = World::funded().await;
    let lost = spooled::write(&Operation::Release { hold: id(7) }).unwrap();
    world.spool.inner.put(lost, SPOOLED_MAX).await.unwrap();
    let sidecar = world.sidecar().await;
    assert_eq!(sidecar.group.sidecar.tell_spooled().await, 1);
    sidecar.keeps_spool();
    pass(30 * SECOND).await;
    world.ledger.operate(reserve(7, 1_000)).await.unwrap().unwrap();
    pass(11 * SECOND).await;
    assert_eq!(world.rows().await, BTreeMap::from([("pending", 1), ("void", 1)]));
    assert_eq!((sidecar.waiting(), world.available().await), ("0".into(), i128::from(FUNDS)));
}

#[tokio::test(start_paused = true)]
async fn what_the_ledger_refuses_for_good_is_told_once() {
    let world = World::funded().await;
    world.ledger.operate(reserve(9, 1_000)).await.unwrap().unwrap();
    world.ledger.operate(Operation::Release { hold: id(9) }).await.unwrap().unwrap();
    let settle = Operation::Settle { hold: id(9), actual: usd(1), estimated: false };
    world.spool.put(spooled::write(&settle).unwrap(), SPOOLED_MAX).await.unwrap();
    let sidecar = world.sidecar().await;
    assert_eq!(sidecar.group.sidecar.tell_spooled().await, 0);
    assert_eq!((sidecar.spooled("refused"), world.spool.count()), ("1".to_owned(), 0));
}

#[tokio::test(start_paused = true)]
async fn charges_of_holds_that_the_ledger_does_not_know_stay_until_one_does() {
    let world = World::funded().await;
    let (actual, estimated) = (usd(1), false);
    for end in [
        Operation::Settle { hold: id(8), actual, estimated },
        Operation::LateSettle { hold: id(9), actual, estimated },
    ] {
        world.spool.put(spooled::write(&end).unwrap(), SPOOLED_MAX).await.unwrap();
    }
    let other = world.sidecar().await;
    assert_eq!(other.group.sidecar.tell_spooled().await, 0, "it gets ready");
    other.keeps_spool();
    pass(600 * SECOND).await;
    let asked = r#"kt_wallet_operations_total{operation="settle",result="refused"}"#;
    assert_eq!(other.group.metric(asked), "1", "it is told once");
    let counts = (other.spooled("unknown"), other.spooled("refused"), other.waiting());
    assert_eq!(counts, ("2".to_owned(), "0".to_owned(), "2".to_owned()));
    let fault = "spool: 2 ends of calls are of holds that the ledger does not know, and stay; the first \
                 is number 1. Start the sidecar with the wallet.url of the database that knows them; if \
                 there is none any more, stop it, move spool.db away and keep it";
    assert_eq!(other.faults(), [fault]);
    // It is in the way of nothing else.
    let _ = other.call_ending(Mood::Slow).await;
    pass(11 * SECOND).await;
    assert_eq!((other.waiting(), world.spool.count()), ("2".to_owned(), 2));

    // The database that knows them.
    for hold in [8, 9] {
        world.ledger.operate(reserve(hold, 1_000)).await.unwrap().unwrap();
    }
    let next = world.sidecar().await;
    let _ = next.group.sidecar.tell_spooled().await;
    assert_eq!((next.spooled("replayed"), next.faults()), ("1".to_owned(), vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_cost_nothing_is_no_charge_though_its_allotment_is_not_known() {
    let world = World::funded().await;
    let reserve = reservation(8, 1, Vec::new());
    let drawn = Draw { allotment: id(7), reserve, end: Some(DrawnEnd::Release) };
    world.spool.put(spooled::write(&Operation::Draw(drawn)).unwrap(), SPOOLED_MAX).await.unwrap();
    let sidecar = world.sidecar().await;
    let _ = sidecar.group.sidecar.tell_spooled().await;
    assert_eq!((sidecar.spooled("unknown"), sidecar.faults()), ("0".to_owned(), vec![]));
    sidecar.keeps_spool();
    pass(600 * SECOND).await;
    assert_eq!(world.spool.count(), 0, "what may still become visible has by now");
}

#[tokio::test(start_paused = true)]
async fn a_charge_that_the_ledger_does_not_know_at_once_stays_too() {
    let world = World::funded().await;
    let sidecar = world.sidecar().await;
    let _ = sidecar.call_ending(Mood::Forgets).await;
    settle().await;
    assert_eq!((sidecar.spooled("unknown"), world.spool.count()), ("1".to_owned(), 1));
    assert!(sidecar.faults()[0].contains("the ledger does not know"), "{:?}", sidecar.faults());
    // The database that knows it.
    let next = world.sidecar().await;
    assert_eq!(next.group.sidecar.tell_spooled().await, 0);
    world.charged_once(&[("pending", 1), ("post", 1)]).await;
}

#[tokio::test(start_paused = true)]
async fn holds_that_are_locked_are_in_the_way_of_no_others() {
    let world = World::funded().await;
    let locked = TransferId(Digest([0xff; 32]));
    let end = spooled::write(&Operation::Release { hold: locked }).unwrap();
    for _ in 0..300 {
        world.spool.inner.put(end.clone(), SPOOLED_MAX).await.unwrap();
    }
    world.ledger.operate(reserve(7, 1_000)).await.unwrap().unwrap();
    let other = spooled::write(&Operation::Release { hold: id(7) }).unwrap();
    world.spool.inner.put(other, SPOOLED_MAX).await.unwrap();
    let sidecar = world.sidecar().await;
    sidecar.way.is(Mood::Locked);
    sidecar.keeps_spool();
    pass(5 * SECOND).await;
    assert_eq!(world.rows().await, BTreeMap::from([("pending", 1), ("void", 1)]));
    assert_eq!(world.spool.count(), 300);
    sidecar.way.is(Mood::Fine);
    pass(80 * SECOND).await;
    assert_eq!(world.spool.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_the_ledger_did_not_take_is_told_again_at_once_and_not_at_the_next_look() {
    let world = World::funded().await;
    let sidecar = world.sidecar().await;
    sidecar.keeps_spool();
    let _ = sidecar.call_ending(Mood::Down).await;
    sidecar.way.is(Mood::Fine);
    pass(SECOND).await;
    world.charged_once(&[("pending", 1), ("post", 1)]).await;
    assert_eq!(world.spool.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_release_waits_for_a_late_reserve_however_long_the_sidecar_has_run() {
    let world = World::funded().await;
    let sidecar = world.sidecar().await;
    sidecar.keeps_spool();
    pass(600 * SECOND).await;
    sidecar.way.is(Mood::Down);
    sidecar.group.fetch(&sidecar.key, CHAT).await.unwrap_err();
    sidecar.way.is(Mood::Fine);
    pass(50 * SECOND).await;
    assert_eq!(world.spool.count(), 1, "the reserve may be in a commit that nobody sees yet");
    pass(30 * SECOND).await;
    assert_eq!((world.spool.count(), sidecar.spooled("replayed")), (0, "1".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_ledger_that_takes_nothing_of_a_page_is_left_alone_for_a_while() {
    let world = World::funded().await;
    let end = spooled::write(&Operation::Release { hold: id(7) }).unwrap();
    for _ in 0..300 {
        world.spool.inner.put(end.clone(), SPOOLED_MAX).await.unwrap();
    }
    let sidecar = world.sidecar().await;
    sidecar.way.is(Mood::Down);
    assert_eq!(sidecar.group.sidecar.tell_spooled().await, 300);
    let asked = r#"kt_wallet_operations_total{operation="release",result="unavailable"}"#;
    assert_eq!(sidecar.group.metric(asked), "128", "one page, and not all three");
}
