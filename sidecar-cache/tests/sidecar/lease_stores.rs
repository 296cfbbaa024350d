//! The leases of one process: the suite of all stores of leases.

use std::sync::Arc;
use std::time::Duration;

use kt_contract::time::Millis;
use sidecar_cache::clock::Clock;
use sidecar_cache::flight::Epoch;
use sidecar_cache::store::leases::MemoryLeases;
use sidecar_cache::store::memory::MemoryEntries;

use crate::entry_suite::BOUNDS;
use crate::lease_suite::Opened;

crate::lease_store_suite! {
    memory {
        test: tokio::test(start_paused = true),
        open: async { super::open() },
    }
}

fn open() -> Opened<MemoryLeases, MemoryEntries> {
    let clock = Clock::start();
    let entries = Arc::new(MemoryEntries::new(clock, BOUNDS));
    let leases = MemoryLeases::new(Epoch(7), clock, entries.clone());
    Opened { leases, entries, go_on: Box::new(go_on) }
}

/// Advancing a paused clock is done at the first poll.
pub(crate) fn go_on(time: Millis) {
    let mut advancing = std::pin::pin!(tokio::time::advance(Duration::from_millis(time.0)));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let _ = advancing.as_mut().poll(&mut context);
}
