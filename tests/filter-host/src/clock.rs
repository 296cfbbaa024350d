//! The host's time: it stands still until a test moves it. The wall clock may jump, the monotonic one not.

use std::cell::Cell;
use std::time::Duration;

/// When the wall clock starts, in seconds since the Unix epoch: 2026-01-01.
const EPOCH_S: u64 = 1_767_225_600;

/// Virtual time, shared by all VMs of a process.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    mono: Cell<Duration>,
    /// What was added to the wall clock, and whether it was taken off instead.
    jumped: Cell<(Duration, bool)>,
}

// === impl Clock ===

impl Clock {
    /// The time since the process started.
    pub(crate) fn mono(&self) -> Duration {
        self.mono.get()
    }

    /// The time since the Unix epoch, as the wall clock has it.
    pub(crate) fn wall(&self) -> Duration {
        let honest = Duration::from_secs(EPOCH_S).saturating_add(self.mono.get());
        match self.jumped.get() {
            (by, false) => honest.saturating_add(by),
            (by, true) => honest.saturating_sub(by),
        }
    }

    pub(crate) fn set_mono(&self, to: Duration) {
        self.mono.set(to.max(self.mono.get()));
    }

    pub(crate) fn jump_wall(&self, by: Duration, back: bool) {
        self.jumped.set((by, back));
    }
}

/// Nanoseconds, as VMs want them.
pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
