//! Whether a store is there, as it is told to people: two calls in a row without an answer, and it is away; one
//! answer, and it is back. Pure: moments are arguments.
//!
//! Beside the breaker, which decides whether it is asked, this says so where few ask.

use kt_contract::time::{Millis, MonoMillis};

/// How many calls in a row must have failed: one alone may have met a connection that had just broken.
const FAILED_MIN: u32 = 2;

/// How a call ended, as far as that is concerned.
#[derive(Clone, Copy, Debug)]
pub(super) enum Heard<'a> {
    /// It was answered, and be it with a refusal.
    Answer,
    /// It was not, and this is why.
    Nothing(&'a str),
}

/// What has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It is away, because of this.
    Went(String),
    /// It is back, after so long.
    Came(Millis),
}

/// The state.
#[derive(Debug, Default)]
pub(super) struct Presence {
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
    pub(super) fn heard(
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
    pub(super) fn away(&self, now: MonoMillis) -> Option<(Millis, String)> {
        match &self.state {
            State::Here { .. } => None,
            State::Away { since, why } => Some((now.since(*since), why.clone())),
        }
    }

    /// For how long it has been away in all.
    pub(super) fn away_total(&self, now: MonoMillis) -> Millis {
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
        assert_eq!(heard(&mut presence, Heard::Answer, 600), Some(Change::Came(Millis(500))));
        assert_eq!(heard(&mut presence, Heard::Answer, 700), None);
        assert_eq!(presence.away(MonoMillis(700)), None);
    }

    #[test]
    fn who_is_not_asked_any_more_is_away_at_once_and_not_back_for_a_late_answer() {
        let mut presence = Presence::default();
        let change = presence.heard(LATE, false, MonoMillis(0));
        assert_eq!(change, Some(Change::Went("late".to_owned())));
        assert_eq!(presence.heard(Heard::Answer, false, MonoMillis(1)), None);
        assert!(presence.away(MonoMillis(2)).is_some());
        assert_eq!(heard(&mut presence, Heard::Answer, 3), Some(Change::Came(Millis(3))));
    }

    #[test]
    fn the_time_that_it_was_away_adds_up() {
        let mut presence = Presence::default();
        for start in [0, 1_000] {
            heard(&mut presence, LATE, start);
            heard(&mut presence, LATE, start);
            assert!(presence.away_total(MonoMillis(start + 50)).0 >= 50);
            heard(&mut presence, Heard::Answer, start + 100);
        }
        assert_eq!(presence.away_total(MonoMillis(9_999)), Millis(200));
    }
}
