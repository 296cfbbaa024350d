//! The breaker in front of the sidecar: when half of the callouts fail, no request waits for the next. A throttle
//! beside it would begin where it opens (docs/adr/0034-the-breaker-is-the-throttle.md).

use kt_contract::time::{Millis, MonoMillis};

/// The span over which calls are counted.
const WINDOW: Millis = Millis(10_000);
/// Fewer calls than this say nothing.
const CALLS_MIN: u32 = 20;
/// While open, one call per this span may try.
const PROBE_EVERY: Millis = Millis(1_000);

/// Counts callouts and says whether another one may be made.
#[derive(Debug)]
pub enum Breaker {
    /// Calls go through.
    Closed {
        /// When the counting began.
        since: MonoMillis,
        /// Calls that have ended.
        calls: u32,
        /// Those of them that were lost.
        lost: u32,
    },
    /// Calls are skipped, but for probes.
    Open {
        /// When it opened. Only the answer to a call that was made later says that it may close.
        since: MonoMillis,
        /// When the next probe may go.
        probe_at: MonoMillis,
    },
}

/// What the end of a call did to the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    Unchanged,
    /// It opened.
    Opened,
    /// It closed.
    Closed,
}

impl Default for Breaker {
    fn default() -> Self {
        Self::closed(MonoMillis(0))
    }
}

// === impl Breaker ===

impl Breaker {
    /// A breaker that knows of no call.
    #[must_use]
    pub const fn closed(since: MonoMillis) -> Self {
        Self::Closed { since, calls: 0, lost: 0 }
    }

    /// Whether a call may be made now. While open, the call that is let through is the probe.
    pub fn permits(&mut self, now: MonoMillis) -> bool {
        match self {
            Self::Closed { .. } => true,
            Self::Open { since: _, probe_at } => {
                let due = now >= *probe_at;
                if due {
                    *probe_at = now.after(PROBE_EVERY);
                }
                due
            }
        }
    }

    /// Whether calls go through without being probes.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self, Self::Closed { .. })
    }

    /// A call that was made at `asked_at` was answered. Calls from before the opening may still be answered
    /// after it, and say nothing new: the opening has counted what became of their time.
    pub fn answered(&mut self, asked_at: MonoMillis, now: MonoMillis) -> Change {
        match self {
            Self::Closed { .. } => self.count(now, 0),
            Self::Open { since, .. } if asked_at > *since => {
                *self = Self::closed(now);
                Change::Closed
            }
            Self::Open { .. } => Change::Unchanged,
        }
    }

    /// A call was lost.
    pub fn lost(&mut self, now: MonoMillis) -> Change {
        match self {
            Self::Closed { .. } => self.count(now, 1),
            Self::Open { .. } => Change::Unchanged,
        }
    }

    fn count(&mut self, now: MonoMillis, one_lost: u32) -> Change {
        let Self::Closed { since, calls, lost } = self else { return Change::Unchanged };
        if now.since(*since) >= WINDOW {
            (*since, *calls, *lost) = (now, 0, 0);
        }
        *calls = calls.saturating_add(1);
        *lost = lost.saturating_add(one_lost);
        if *calls < CALLS_MIN || lost.saturating_mul(2) < *calls {
            return Change::Unchanged;
        }
        *self = Self::Open { since: now, probe_at: now.after(PROBE_EVERY) };
        Change::Opened
    }
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    /// How many of `calls + 1` a client that throttles itself by what is accepted would skip, where it lets through twice
    /// as many as are (Site Reliability Engineering, chapter 21, "Client-Side Throttling", K = 2).
    fn throttled(calls: u32, lost: u32) -> u32 {
        let accepted = calls.saturating_sub(lost);
        calls.saturating_sub(accepted * 2)
    }

    fn opened_at(now: MonoMillis) -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..CALLS_MIN {
            breaker.lost(now);
        }
        breaker
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn it_opens_at_half_of_twenty_calls_and_not_before() {
        let mut breaker = Breaker::default();
        for call in 1..=19 {
            assert_eq!(breaker.lost(MonoMillis(call)), Change::Unchanged, "call {call}");
        }
        assert_eq!(breaker.lost(MonoMillis(20)), Change::Opened);

        let mut breaker = Breaker::default();
        for call in 0..11 {
            let at = MonoMillis(call);
            assert_eq!(breaker.answered(at, at), Change::Unchanged);
        }
        for call in 11..21 {
            assert_eq!(breaker.lost(MonoMillis(call)), Change::Unchanged, "call {call}");
        }
        assert_eq!(breaker.lost(MonoMillis(21)), Change::Opened, "11 of 22");
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn old_failures_do_not_count() {
        let mut breaker = Breaker::default();
        for _ in 0..19 {
            breaker.lost(MonoMillis(0));
        }
        assert_eq!(breaker.lost(MonoMillis(10_000)), Change::Unchanged);
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn one_probe_per_second_goes_while_it_is_open() {
        let mut breaker = opened_at(MonoMillis(0));
        let permitted: Vec<u64> =
            (0..3_500).filter(|now| breaker.permits(MonoMillis(*now))).collect();
        assert_eq!(permitted, [1_000, 2_000, 3_000]);
        assert_eq!(breaker.lost(MonoMillis(3_100)), Change::Unchanged);
        assert!(!breaker.permits(MonoMillis(3_200)));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn an_answered_probe_closes_it_with_fresh_counts() {
        let mut breaker = opened_at(MonoMillis(0));
        assert!(breaker.permits(MonoMillis(1_000)));
        assert_eq!(breaker.answered(MonoMillis(1_000), MonoMillis(1_001)), Change::Closed);
        assert!(breaker.is_closed());
        assert_eq!(breaker.lost(MonoMillis(1_002)), Change::Unchanged);
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_late_answer_from_before_the_opening_does_not_close_it() {
        let mut breaker = opened_at(MonoMillis(500));
        for asked_at in [300, 499, 500] {
            let change = breaker.answered(MonoMillis(asked_at), MonoMillis(600));
            assert_eq!(change, Change::Unchanged, "asked at {asked_at}");
        }
        assert!(!breaker.permits(MonoMillis(600)));
        assert!(breaker.permits(MonoMillis(1_500)));
        assert_eq!(breaker.answered(MonoMillis(500), MonoMillis(1_501)), Change::Unchanged);
        assert_eq!(breaker.answered(MonoMillis(1_500), MonoMillis(1_502)), Change::Closed);
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_throttle_by_what_is_accepted_would_skip_nothing_that_it_lets_through() {
        for (calls, lost) in
            (CALLS_MIN - 1..200).flat_map(|calls| (0..=calls).map(move |lost| (calls, lost)))
        {
            let counted = || Breaker::Closed { since: MonoMillis(0), calls, lost };
            let ends = [
                (lost, counted().answered(MonoMillis(0), MonoMillis(1))),
                (lost + 1, counted().lost(MonoMillis(1))),
            ];
            for (lost, change) in ends {
                let skipped = throttled(calls + 1, lost);
                assert!(
                    change == Change::Opened || skipped == 0,
                    "{skipped} at {lost} of {calls} + 1"
                );
            }
        }
    }
}
