//! The clocks of a node: wrong, each in its own way.

use kt_contract::time::{Millis, MonoMillis, UnixMillis};
use sidecar_cache::ledger::clock::Reading;

/// The wall clock at the beginning of every world: 2026-11-28, 12:00 UTC.
const BEGIN_WALL_MS: u64 = 1_795_867_200_000;

/// What a node takes for the time. The world's own time is true.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// What the monotonic clock showed in the beginning.
    pub base_ms: u64,
    /// How fast it goes, in thousandths: 1,000 is right.
    pub pace: u64,
    /// How far the wall clock is behind, an hour at most on either side of the hour by which all are.
    pub behind_ms: u64,
}

// === impl Clock ===

impl Clock {
    /// What the monotonic clock shows.
    #[must_use]
    pub(crate) const fn mono(&self, now: u64) -> MonoMillis {
        MonoMillis(self.base_ms + now * self.pace / 1_000)
    }

    /// What the wall clock shows.
    #[must_use]
    pub(crate) const fn wall(&self, now: u64) -> UnixMillis {
        UnixMillis(BEGIN_WALL_MS + now - self.behind_ms)
    }

    /// Both.
    #[must_use]
    pub(crate) const fn reading(&self, now: u64) -> Reading {
        Reading { mono: self.mono(now), wall: self.wall(now) }
    }

    /// How long it really takes until this clock has gone on by `length`.
    #[must_use]
    pub(crate) const fn real(&self, length: Millis) -> u64 {
        (length.0 * 1_000).div_ceil(self.pace)
    }
}
