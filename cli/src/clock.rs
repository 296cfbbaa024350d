//! The only place of `kt` that reads a clock.

use std::time::{SystemTime, UNIX_EPOCH};

use kt_contract::time::{MonoMillis, UnixMillis};

/// A monotonic clock that began when it was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(std::time::Instant);

// === impl Clock ===

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "this is the file that reads clocks")]
    pub(crate) fn start() -> Self {
        Self(std::time::Instant::now())
    }

    pub(crate) fn now(self) -> MonoMillis {
        MonoMillis(u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

/// The moment, by the clock of this machine.
#[expect(clippy::disallowed_methods, reason = "this is the file that reads clocks")]
pub(crate) fn unix_now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
