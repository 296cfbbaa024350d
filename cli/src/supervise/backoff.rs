//! How long to wait before a child is started again. Pure: time is an argument.

use std::time::Duration;

use kt_contract::time::Millis;

const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(10);
/// A child that ran this long was healthy; its next end begins a new series.
const HEALTHY: Millis = Millis(30_000);

/// The waits of one child: 200 ms, doubled each time, at most 10 s.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Backoff {
    ends_in_a_row: u32,
}

// === impl Backoff ===

impl Backoff {
    /// The wait after a child that lived for `lifetime`.
    pub(crate) fn after(&mut self, lifetime: Millis) -> Duration {
        if lifetime >= HEALTHY {
            self.ends_in_a_row = 0;
        }
        let factor = 2_u32.saturating_pow(self.ends_in_a_row);
        self.ends_in_a_row = self.ends_in_a_row.saturating_add(1);
        FIRST.saturating_mul(factor).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_ten_seconds() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..8).map(|_| backoff.after(Millis(5)).as_millis()).collect();
        assert_eq!(waits, [200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
        assert_eq!((0..100).map(|_| backoff.after(Millis(5))).max(), Some(LONGEST));
    }

    #[test]
    fn a_child_that_was_healthy_starts_again_at_once() {
        let mut backoff = Backoff::default();
        for _ in 0..5 {
            backoff.after(Millis(29_999));
        }
        assert_eq!(backoff.after(Millis(30_000)).as_millis(), 200);
        assert_eq!(backoff.after(Millis(1)).as_millis(), 400);
    }
}
