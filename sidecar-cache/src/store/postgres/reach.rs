//! Whether a database can be reached, by what has come of asking it: after a failure nobody tries for a while. Pure:
//! moments are arguments.

use kt_contract::time::MonoMillis;

/// How long nobody tries to connect after that has failed: so much, and twice as much after each time that follows.
const PAUSE_MS: u64 = 100;
const PAUSE_MS_MAX: u64 = 2_000;

/// What is known.
#[derive(Debug, Default)]
pub(super) struct Reach {
    /// How often it has not been reached since it last answered, and until when nobody tries.
    failures: u32,
    closed_until: MonoMillis,
    /// Why it was not reached, the last time.
    why: String,
    answered: Option<MonoMillis>,
}

// === impl Reach ===

impl Reach {
    /// Whether to try.
    ///
    /// # Errors
    /// Nobody tries yet; why it was not reached last.
    pub(super) fn try_now(&self, now: MonoMillis) -> Result<(), String> {
        if now < self.closed_until { Err(self.why.clone()) } else { Ok(()) }
    }

    /// It has answered.
    pub(super) const fn answers(&mut self, now: MonoMillis) {
        self.failures = 0;
        self.answered = Some(now);
    }

    /// It was not reached by one who has tried since `tried`. One who tried before its last answer has nothing to say of how
    /// it is now: it may have been away then.
    pub(super) fn fails(&mut self, tried: MonoMillis, now: MonoMillis, why: String) {
        if self.answered.is_some_and(|answered| answered > tried) {
            return;
        }
        let pause = PAUSE_MS.saturating_mul(1 << self.failures.min(8)).min(PAUSE_MS_MAX);
        self.failures = self.failures.saturating_add(1);
        self.closed_until = MonoMillis(now.0.saturating_add(pause));
        self.why = why;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> MonoMillis {
        MonoMillis(ms)
    }

    #[test]
    fn pauses_grow_until_it_answers() {
        let (mut reach, mut now) = (Reach::default(), 0);
        for pause in [100, 200, 400, 800, 1_600, 2_000, 2_000] {
            assert_eq!(reach.try_now(at(now)), Ok(()));
            reach.fails(at(now), at(now), "away".to_owned());
            assert_eq!(reach.try_now(at(now + pause - 1)), Err("away".to_owned()));
            now += pause;
        }
        reach.answers(at(now));
        reach.fails(at(now), at(now), "away again".to_owned());
        assert_eq!(reach.try_now(at(now + 99)), Err("away again".to_owned()));
        assert_eq!(reach.try_now(at(now + 100)), Ok(()));
    }

    #[test]
    fn who_tried_before_it_answered_closes_it_to_nobody() {
        let mut reach = Reach::default();
        reach.answers(at(1_500));
        reach.fails(at(1_000), at(2_000), "it did not answer".to_owned());
        assert_eq!(reach.try_now(at(2_000)), Ok(()));
        reach.fails(at(1_600), at(2_600), "away".to_owned());
        assert_eq!(reach.try_now(at(2_600)), Err("away".to_owned()));
    }
}
