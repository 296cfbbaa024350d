//! The ledger's own time. What expires does so by a clock that never goes back: the monotonic one, on from the
//! highest moment that the store has ever seen. Windows follow the wall clock, but never back.

use kt_contract::time::{Millis, MonoMillis, UnixMillis};

/// How far a wall clock may go back before nothing new is reserved.
pub const WENT_BACK_MAX: Millis = Millis(5_000);

/// What the process's clocks show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The clock that never goes back.
    pub mono: MonoMillis,
    /// The wall clock.
    pub wall: UnixMillis,
}

/// A moment of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For what expires.
    pub at: UnixMillis,
    /// For windows.
    pub calendar: UnixMillis,
    /// Whether the wall clock is more than [`WENT_BACK_MAX`] behind what it has shown before.
    pub is_set_back: bool,
}

/// What has to be on disk, so that a restart does not go back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// The highest moment for what expires.
    pub at: UnixMillis,
    /// The highest moment for windows.
    pub calendar: UnixMillis,
}

/// The clock of one opened store.
#[derive(Clone, Copy, Debug)]
pub struct LedgerClock {
    started: MonoMillis,
    base: UnixMillis,
    calendar: UnixMillis,
}

// === impl LedgerClock ===

impl LedgerClock {
    /// A clock that goes on from what is on disk.
    #[must_use]
    pub fn resume(marks: Marks, reading: Reading) -> Self {
        Self { started: reading.mono, base: marks.at.max(reading.wall), calendar: marks.calendar }
    }

    /// The moment of a reading.
    pub fn now(&mut self, reading: Reading) -> Now {
        let passed = reading.mono.since(self.started);
        let is_set_back = reading.wall.0.saturating_add(WENT_BACK_MAX.0) < self.calendar.0;
        self.calendar = self.calendar.max(reading.wall);
        Now {
            at: UnixMillis(self.base.0.saturating_add(passed.0)),
            calendar: self.calendar,
            is_set_back,
        }
    }
}

// === impl Now ===

impl Now {
    /// What has to be on disk with what is decided at this moment.
    #[must_use]
    pub const fn marks(&self) -> Marks {
        Marks { at: self.at, calendar: self.calendar }
    }

    /// The moment `length` later, for what expires.
    #[must_use]
    pub fn after(&self, length: Millis) -> UnixMillis {
        UnixMillis(self.at.0.saturating_add(length.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(mono: u64, wall: u64) -> Reading {
        Reading { mono: MonoMillis(mono), wall: UnixMillis(wall) }
    }

    #[test]
    fn what_expires_does_so_by_the_monotonic_clock() {
        let mut clock = LedgerClock::resume(Marks::default(), reading(7, 1_000));
        for (mono, wall, at) in [(7, 1_000, 1_000), (17, 3_600_000, 1_010), (27, 1_020, 1_020)] {
            assert_eq!(clock.now(reading(mono, wall)).at, UnixMillis(at));
        }
    }

    #[test]
    fn windows_follow_the_wall_clock_and_never_back() {
        let mut clock = LedgerClock::resume(Marks::default(), reading(0, 10_000));
        for (wall, calendar, is_set_back) in [
            (10_000, 10_000, false),
            (20_000, 20_000, false),
            (15_000, 20_000, false),
            (14_999, 20_000, true),
            (15_000, 20_000, false),
            (20_001, 20_001, false),
        ] {
            let now = clock.now(reading(0, wall));
            assert_eq!(
                (now.calendar, now.is_set_back),
                (UnixMillis(calendar), is_set_back),
                "{wall}"
            );
        }
    }

    #[test]
    fn a_restart_with_an_older_wall_clock_goes_on_from_the_mark() {
        let marks = Marks { at: UnixMillis(100_000), calendar: UnixMillis(100_000) };
        let mut clock = LedgerClock::resume(marks, reading(0, 50_000));
        let now = clock.now(reading(5, 50_005));
        assert_eq!(now.marks(), Marks { at: UnixMillis(100_005), ..marks });
        assert!(now.is_set_back);
        // It waits until the wall clock is there again, not for ever.
        assert!(!clock.now(reading(10, 95_000)).is_set_back);
    }
}
