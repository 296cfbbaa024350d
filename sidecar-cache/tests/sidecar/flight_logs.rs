//! The logs of one process: the suite of all stores of flights' logs.

use std::sync::Arc;
use std::time::Duration;

use kt_contract::time::Millis;
use sidecar_cache::clock::Clock;
use sidecar_cache::flight::{Epoch, FlightId, Held};
use sidecar_cache::store::flight_log::{
    Cursor, FlightLog, KEPT_ENDED, LogAt, MemoryLogs, POLL_EVERY, Read,
};
use sidecar_cache::store::leases::MemoryLeases;
use sidecar_cache::store::memory::MemoryEntries;
use tokio::time::{Instant, advance};

use crate::entry_suite::BOUNDS;
use crate::lease_stores::go_on;
use crate::lease_suite::{key, lead};
use crate::log_suite::OpenedLogs;

crate::flight_log_suite! {
    memory {
        test: tokio::test(start_paused = true),
        open: async { super::open() },
    }
}

fn open() -> OpenedLogs<MemoryLogs, MemoryLeases> {
    let clock = Clock::start();
    let entries = Arc::new(MemoryEntries::new(clock, BOUNDS));
    let leases = Arc::new(MemoryLeases::new(Epoch(7), clock, entries));
    let logs = MemoryLogs::new(clock, leases.clone());
    OpenedLogs { logs, leases, go_on: Box::new(go_on) }
}

#[tokio::test(start_paused = true)]
async fn a_log_is_kept_for_a_while_after_its_end() {
    let OpenedLogs { logs, leases, .. } = open();
    let (token, id) = lead(&*leases, 1, 1).await;
    let at = LogAt { key: key(1), id };
    assert_eq!(logs.begin(at, token, "head".into()).await.unwrap(), Held::Current);
    assert_eq!(logs.finish(at, token, "end".into()).await.unwrap(), Held::Current);
    advance(Duration::from_millis(KEPT_ENDED.0 - 1)).await;
    assert_ne!(logs.read(at, Cursor::default(), 9).await.unwrap(), Read::Absent);
    advance(Duration::from_millis(1)).await;
    assert_eq!(logs.read(at, Cursor::default(), 9).await.unwrap(), Read::Absent);
}

#[tokio::test(start_paused = true)]
async fn who_is_not_woken_looks_twice_a_second() {
    let OpenedLogs { logs, .. } = open();
    let mut watch = logs.watch(LogAt { key: key(1), id: FlightId(7) });
    let before = Instant::now();
    watch.changed().await;
    assert_eq!(before.elapsed(), POLL_EVERY);
    assert!(Millis(500).0 >= u64::try_from(POLL_EVERY.as_millis()).unwrap());
}
