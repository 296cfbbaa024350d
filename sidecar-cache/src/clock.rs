//! The only clock of the sidecar. Everything else is handed a moment.

use std::time::UNIX_EPOCH;

use kt_contract::time::{MonoMillis, UnixMillis};
use tokio::time::Instant;

use crate::ledger::clock::Reading;

/// Reads the time. Monotonic time is tokio's, so a test that pauses tokio's clock moves this one too.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
}

// === impl Clock ===

impl Clock {
    /// A clock whose monotonic time begins now.
    #[must_use]
    pub fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// The time since the start: for expiry, leases and budgets.
    #[must_use]
    pub fn mono(&self) -> MonoMillis {
        MonoMillis(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Both, for the ledger, which never lets either go back.
    #[must_use]
    pub fn reading(&self) -> Reading {
        Reading { mono: self.mono(), wall: self.wall() }
    }

    /// The wall clock: for people, logs and rows, and for the end of a key that was told as a moment.
    #[must_use]
    pub fn wall(&self) -> UnixMillis {
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
        let now = std::time::SystemTime::now();
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}
