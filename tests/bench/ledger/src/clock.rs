//! The one place that reads clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use kt_contract::time::{MonoMillis, UnixMillis};
use sidecar_cache::ledger::clock::Reading;

/// Now.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Both clocks, as a ledger reads them.
pub(crate) fn reading(started: Instant) -> Reading {
    let mono = now().duration_since(started).as_millis();
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    Reading {
        mono: MonoMillis(u64::try_from(mono).unwrap_or(u64::MAX)),
        wall: UnixMillis(u64::try_from(wall).unwrap_or(u64::MAX)),
    }
}
