//! How far this machine's clock is from that of the database that sidecars share. Pure: the moments come in. Money and
//! claims go by the database's clock, and the end of a rotated key and the log by each machine's own.

use kt_contract::time::{Millis, UnixMillis};

/// Clocks that NTP sets are nearer than this by far.
pub const APART_MAX: Millis = Millis(2_000);

/// How far two clocks are apart, as far as one answer can tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skew {
    /// By how much ours is ahead, in milliseconds; negative where it is behind.
    pub ahead_ms: i64,
}

// === impl Skew ===

impl Skew {
    /// By an answer of `theirs` to a question that our clock saw asked and answered: their clock was read at some moment
    /// between, so only what is outside of that is known to be apart.
    #[must_use]
    pub fn of(asked: UnixMillis, theirs: UnixMillis, answered: UnixMillis) -> Self {
        let number = |moment: u64| i64::try_from(moment).unwrap_or(i64::MAX);
        let ahead = number(asked.0.saturating_sub(theirs.0));
        let behind = number(theirs.0.saturating_sub(answered.0));
        Self { ahead_ms: ahead.saturating_sub(behind) }
    }

    /// By how much ours is ahead, in seconds, as a metric has it.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of thousands of years are exact")]
    pub const fn ahead_seconds(self) -> f64 {
        self.ahead_ms as f64 / 1_000.0
    }

    /// What the owner of the machine is to be told, where it is too far.
    #[must_use]
    pub fn advice(self) -> Option<String> {
        let apart = self.ahead_ms.unsigned_abs();
        let side = if self.ahead_ms > 0 { "ahead of" } else { "behind" };
        (apart > APART_MAX.0).then(|| {
            format!(
                "the clock of the sidecar's machine is {}.{} s {side} the database's: set both by NTP",
                apart / 1_000,
                apart % 1_000 / 100
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skew(asked: u64, theirs: u64, answered: u64) -> i64 {
        Skew::of(UnixMillis(asked), UnixMillis(theirs), UnixMillis(answered)).ahead_ms
    }

    #[test]
    fn a_slow_answer_alone_sets_no_clock_apart() {
        for theirs in [10_000, 10_400, 10_900] {
            assert_eq!(skew(10_000, theirs, 10_900), 0);
        }
        assert_eq!(skew(10_000, 7_500, 10_900), 2_500);
        assert_eq!(skew(10_000, 13_000, 10_900), -2_100);
        // Ours was set back while the answer was on its way.
        assert_eq!(skew(10_000, 10_000, 4_000), -6_000);
    }

    #[test]
    fn who_is_more_than_two_seconds_off_is_told_by_how_much() {
        let told = |ahead_ms| Skew { ahead_ms }.advice();
        assert_eq!((told(0), told(2_000), told(-2_000)), (None, None, None));
        assert!(told(2_001).unwrap().contains("2.0 s ahead of the database's"));
        assert!(told(-180_340).unwrap().contains("180.3 s behind the database's"));
    }
}
