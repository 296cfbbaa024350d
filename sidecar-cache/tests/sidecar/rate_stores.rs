//! The rate limits of one process: the suite of all stores of rate limits.

use sidecar_cache::clock::Clock;
use sidecar_cache::store::rates::MemoryRates;

use crate::lease_stores::go_on;
use crate::rate_suite::Opened;

crate::rate_store_suite! {
    memory {
        test: tokio::test(start_paused = true),
        open: async { super::open() },
    }
}

fn open() -> Opened<MemoryRates> {
    Opened { rates: MemoryRates::new(Clock::start()), go_on: Box::new(go_on) }
}
