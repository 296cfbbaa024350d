//! Whether a store that does not answer is asked at all. Pure: moments are arguments.
//!
//! Closed, calls go and their ends are counted over the last two seconds. Where half of at least twenty have
//! failed it opens: calls are refused at once, but for one probe each second; a probe that is answered closes
//! it. The window is short on purpose: behind a store that falls silent under load, half of it has failed after
//! a second, however well all went before.

use kt_contract::time::{Millis, MonoMillis};

/// How many calls must have ended before their failures mean anything.
pub const CALLS_MIN: u32 = 20;
/// How often an open breaker lets one call through.
pub const PROBE_EVERY: Millis = Millis(1_000);
/// How long an end counts: [`SLICES`] of these.
const SLICE: Millis = Millis(200);
const SLICES: usize = 10;

/// How a call ended, as far as the store's health is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The store has answered, and be it with a refusal.
    Answered,
    /// It has not, or it cannot do its work.
    Failed,
}

/// Whether a call may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Admitted {
    /// Like any other.
    Call,
    /// To see whether the store is back.
    Probe,
    /// Not before the next probe.
    Refused,
}

/// The state.
#[derive(Debug, Default)]
pub struct Breaker {
    slices: [Slice; SLICES],
    /// `Some` while it is open: when the next probe may go.
    probe_at: Option<MonoMillis>,
}

/// What ended within one slice of time.
#[derive(Clone, Copy, Debug, Default)]
struct Slice {
    number: u64,
    answered: u32,
    failed: u32,
}

// === impl Breaker ===

impl Breaker {
    /// Whether a call may be made. A probe whose end is never told does no harm: the next second has another.
    pub fn admit(&mut self, now: MonoMillis) -> Admitted {
        match &mut self.probe_at {
            None => Admitted::Call,
            Some(at) if now >= *at => {
                *at = now.after(PROBE_EVERY);
                Admitted::Probe
            }
            Some(_) => Admitted::Refused,
        }
    }

    /// A call has ended. Says whether that has opened the breaker.
    pub fn ended(&mut self, admitted: Admitted, verdict: Verdict, now: MonoMillis) -> bool {
        match (self.probe_at, admitted, verdict) {
            // Calls that were under way when it opened say nothing new, unless they are answered late:
            // a store that is slow is not back.
            (Some(_), Admitted::Call | Admitted::Refused, _)
            | (Some(_), Admitted::Probe, Verdict::Failed)
            | (None, Admitted::Refused, _) => false,
            (Some(_), Admitted::Probe, Verdict::Answered) => {
                *self = Self::default();
                false
            }
            (None, Admitted::Call | Admitted::Probe, verdict) => {
                self.count(verdict, now);
                // An answer says that the store is back, however many of the last seconds' calls have failed.
                let opens = verdict == Verdict::Failed && self.has_failed(now);
                if opens {
                    self.probe_at = Some(now.after(PROBE_EVERY));
                }
                opens
            }
        }
    }

    /// Whether calls are refused.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.probe_at.is_some()
    }

    fn count(&mut self, verdict: Verdict, now: MonoMillis) {
        let number = now.0 / SLICE.0;
        let at = usize::try_from(number % SLICES as u64).unwrap_or_default();
        let Some(slice) = self.slices.get_mut(at) else { return };
        if slice.number != number {
            *slice = Slice { number, ..Slice::default() };
        }
        match verdict {
            Verdict::Answered => slice.answered = slice.answered.saturating_add(1),
            Verdict::Failed => slice.failed = slice.failed.saturating_add(1),
        }
    }

    fn has_failed(&self, now: MonoMillis) -> bool {
        let newest = now.0 / SLICE.0;
        let oldest = newest.saturating_sub(SLICES as u64 - 1);
        let counted = self.slices.iter().filter(|slice| (oldest..=newest).contains(&slice.number));
        let (answered, failed) = counted.fold((0_u32, 0_u32), |(answered, failed), slice| {
            (answered.saturating_add(slice.answered), failed.saturating_add(slice.failed))
        });
        failed.saturating_add(answered) >= CALLS_MIN && failed >= answered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ends `count` calls at one moment; says whether one of them has opened it.
    fn end(breaker: &mut Breaker, count: u32, verdict: Verdict, now: u64) -> bool {
        (0..count).fold(false, |opened, _| {
            breaker.ended(Admitted::Call, verdict, MonoMillis(now)) || opened
        })
    }

    fn opened(now: u64) -> Breaker {
        let mut breaker = Breaker::default();
        assert!(end(&mut breaker, CALLS_MIN, Verdict::Failed, now));
        breaker
    }

    #[test]
    fn answers_never_open_it_whatever_has_failed_before_them() {
        let mut breaker = Breaker::default();
        assert!(!end(&mut breaker, CALLS_MIN / 2, Verdict::Failed, 1_000));
        assert!(!end(&mut breaker, CALLS_MIN / 2, Verdict::Answered, 1_500));
        assert_eq!(breaker.admit(MonoMillis(1_500)), Admitted::Call);
        assert!(end(&mut breaker, 1, Verdict::Failed, 1_500), "and one that fails on is not");
    }

    #[test]
    fn few_failures_mean_nothing() {
        let mut breaker = Breaker::default();
        assert!(!end(&mut breaker, CALLS_MIN - 1, Verdict::Failed, 0));
        assert_eq!(breaker.admit(MonoMillis(0)), Admitted::Call);
        assert!(end(&mut breaker, 1, Verdict::Failed, 0));
        assert_eq!(breaker.admit(MonoMillis(0)), Admitted::Refused);
    }

    #[test]
    fn it_opens_when_half_have_failed() {
        for (answered, failed, opens) in [(11, 10, false), (10, 10, true), (1_000, 999, false)] {
            let mut breaker = Breaker::default();
            end(&mut breaker, answered, Verdict::Answered, 0);
            assert_eq!(end(&mut breaker, failed, Verdict::Failed, 0), opens, "{answered}/{failed}");
        }
    }

    #[test]
    fn what_was_two_seconds_ago_does_not_count() {
        let mut breaker = Breaker::default();
        end(&mut breaker, CALLS_MIN - 1, Verdict::Failed, 0);
        assert!(!end(&mut breaker, 1, Verdict::Failed, 2_000));
        let mut breaker = Breaker::default();
        end(&mut breaker, CALLS_MIN - 1, Verdict::Failed, 0);
        assert!(end(&mut breaker, 1, Verdict::Failed, 1_999));
    }

    #[test]
    fn a_store_that_falls_silent_under_load_is_left_alone_within_two_seconds() {
        let mut breaker = Breaker::default();
        for now in 0..10_000 {
            assert!(!end(&mut breaker, 5, Verdict::Answered, now));
        }
        let opened = (10_000..20_000).find(|now| end(&mut breaker, 5, Verdict::Failed, *now));
        assert!(opened.is_some_and(|at| at <= 11_200), "{opened:?}");
    }

    #[test]
    fn an_open_one_lets_one_probe_through_each_second() {
        let mut breaker = opened(500);
        let admitted: Vec<u64> = (500..4_000)
            .filter(|now| breaker.admit(MonoMillis(*now)) != Admitted::Refused)
            .collect();
        assert_eq!(admitted, [1_500, 2_500, 3_500]);
    }

    #[test]
    fn a_probe_that_is_answered_closes_it_and_one_that_fails_does_not() {
        let mut breaker = opened(0);
        let probe = breaker.admit(MonoMillis(1_000));
        assert_eq!(probe, Admitted::Probe);
        breaker.ended(probe, Verdict::Failed, MonoMillis(1_150));
        assert_eq!(breaker.admit(MonoMillis(1_151)), Admitted::Refused);
        let probe = breaker.admit(MonoMillis(2_000));
        breaker.ended(probe, Verdict::Answered, MonoMillis(2_001));
        assert_eq!(breaker.admit(MonoMillis(2_001)), Admitted::Call);
        assert!(!end(&mut breaker, CALLS_MIN - 1, Verdict::Failed, 2_001), "it has begun anew");
    }

    #[test]
    fn what_was_under_way_when_it_opened_neither_closes_nor_delays_it() {
        let mut breaker = opened(0);
        end(&mut breaker, 50, Verdict::Answered, 10);
        end(&mut breaker, 50, Verdict::Failed, 900);
        assert_eq!(breaker.admit(MonoMillis(999)), Admitted::Refused);
        assert_eq!(breaker.admit(MonoMillis(1_000)), Admitted::Probe);
    }
}
