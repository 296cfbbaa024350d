//! The only place of `kt` that reads a clock.

use kt_contract::time::MonoMillis;

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
