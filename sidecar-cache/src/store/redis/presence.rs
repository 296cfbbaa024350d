//! Whether a store is there, as it is told to people: two calls in a row without an answer, and it is away, for a
//! second at least; an answer after that, and it is back. Pure: moments are arguments.
//!
//! Beside the breaker, which decides whether it is asked, this says so where few ask.

use kt_contract::time::{Millis, MonoMillis};

/// How many calls in a row must have failed: one alone may have met a connection that had just broken.
const FAILED_MIN: u32 = 2;
/// What comes and goes, as part of a cluster may, is not told more often.
const AWAY_MIN: Millis = Millis(1_000);

/// How a call ended, as far as that is concerned.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) enum Heard<'a> {
    /// It was answered, and be it with a refusal.
    Answer,
    /// It was not, and this is why.
    Nothing(&'a str),
}

/// What has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) enum Change {
    /// It is away, because of this.
    Went(String),
    /// It is back, after so long.
    Came(Millis),
}

/// The state.
#[derive(Debug, Default)]
pub(in crate::store) struct Presence {
    state: State,
    away_before: Millis,
}

#[derive(Debug)]
enum State {
    Here { failed: u32 },
    Away { since: MonoMillis, why: String },
}

impl Default for State {
    fn default() -> Self {
        Self::Here { failed: 0 }
    }
}

// === impl Presence ===

impl Presence {
    /// A call has ended; `is_asked`: the breaker is closed after it. Says what has changed.
    pub(in crate::store) fn heard(
        &mut self,
        heard: Heard<'_>,
        is_asked: bool,
        now: MonoMillis,
    ) -> Option<Change> {
        match (&mut self.state, heard) {
            (State::Here { failed }, Heard::Nothing(why)) => {
                *failed += 1;
                if *failed < FAILED_MIN && is_asked {
                    return None;
                }
                self.state = State::Away { since: now, why: why.to_owned() };
                Some(Change::Went(why.to_owned()))
            }
            (State::Here { failed }, Heard::Answer) => {
                *failed = 0;
                None
            }
            // What was under way when the breaker opened and is answered late.
            (State::Away { .. }, Heard::Answer) if !is_asked => None,
            (State::Away { since, .. }, Heard::Answer) => {
                let away = now.since(*since);
                if away < AWAY_MIN {
                    return None;
                }
                self.away_before = Millis(self.away_before.0.saturating_add(away.0));
                self.state = State::default();
                Some(Change::Came(away))
            }
            (State::Away { why, .. }, Heard::Nothing(latest)) => {
                latest.clone_into(why);
                None
            }
        }
    }

    /// For how long it has been away, and why it was not answered last.
    pub(in crate::store) fn away(&self, now: MonoMillis) -> Option<(Millis, String)> {
        match &self.state {
            State::Here { .. } => None,
            State::Away { since, why } => Some((now.since(*since), why.clone())),
        }
    }

    /// For how long it has been away in all.
    pub(in crate::store) fn away_total(&self, now: MonoMillis) -> Millis {
        let (away, _) = self.away(now).unwrap_or_default();
        Millis(self.away_before.0.saturating_add(away.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATE: Heard<'_> = Heard::Nothing("late");

    fn heard(presence: &mut Presence, heard: Heard<'_>, now: u64) -> Option<Change> {
        presence.heard(heard, true, MonoMillis(now))
    }

    #[test]
    fn one_call_that_fails_among_others_means_nothing() {
        let mut presence = Presence::default();
        for now in 0..10 {
            assert_eq!(heard(&mut presence, LATE, now), None);
            assert_eq!(heard(&mut presence, Heard::Answer, now), None);
        }
        assert_eq!(presence.away(MonoMillis(10)), None);
    }

    #[test]
    fn going_and_coming_are_told_once_each() {
        let mut presence = Presence::default();
        assert_eq!(heard(&mut presence, LATE, 0), None);
        let went = Some(Change::Went("lost".to_owned()));
        assert_eq!(heard(&mut presence, Heard::Nothing("lost"), 100), went);
        assert_eq!(heard(&mut presence, LATE, 200), None);
        assert_eq!(presence.away(MonoMillis(400)), Some((Millis(300), "late".to_owned())));
        assert_eq!(heard(&mut presence, Heard::Answer, 1_099), None);
        let came = Some(Change::Came(Millis(1_000)));
        assert_eq!(heard(&mut presence, Heard::Answer, 1_100), came);
        assert_eq!(heard(&mut presence, Heard::Answer, 1_200), None);
        assert_eq!(presence.away(MonoMillis(1_200)), None);
    }

    #[test]
    fn what_comes_and_goes_is_told_once_a_second() {
        let mut presence = Presence::default();
        let told = (0..10_000).filter(|now| {
            let is_lost = now % 4 < 2;
            heard(&mut presence, if is_lost { LATE } else { Heard::Answer }, *now).is_some()
        });
        assert!(told.count() <= 20);
    }

    #[test]
    fn who_is_not_asked_any_more_is_away_at_once_and_not_back_for_a_late_answer() {
        let mut presence = Presence::default();
        let change = presence.heard(LATE, false, MonoMillis(0));
        assert_eq!(change, Some(Change::Went("late".to_owned())));
        assert_eq!(presence.heard(Heard::Answer, false, MonoMillis(1_001)), None);
        assert!(presence.away(MonoMillis(1_002)).is_some());
        let came = Some(Change::Came(Millis(1_003)));
        assert_eq!(heard(&mut presence, Heard::Answer, 1_003), came);
    }

    #[test]
    fn the_time_that_it_was_away_adds_up() {
        let mut presence = Presence::default();
        for start in [0, 5_000] {
            heard(&mut presence, LATE, start);
            heard(&mut presence, LATE, start);
            assert!(presence.away_total(MonoMillis(start + 50)).0 >= 50);
            heard(&mut presence, Heard::Answer, start + 1_500);
        }
        assert_eq!(presence.away_total(MonoMillis(99_999)), Millis(3_000));
    }
}
