//! How long what is remembered of a shared database may be believed while it does not answer. Pure: the moment of the
//! last look comes in, and what still holds goes out.

use kt_contract::time::{Millis, MonoMillis};

/// How old what is known of generations may be: beyond it somebody may have purged what would be served.
pub const GENERATIONS_MAX: Millis = Millis(5_000);

/// How old what is known of callers may be: beyond it somebody may have taken their rights away.
pub const CALLERS_MAX: Millis = Millis(60_000);

/// How old it is at most while the database answers: several looks were not answered beyond it, and nobody waits for it.
pub const ANSWERING_MAX: Millis = Millis(2_000);

const _: () = assert!(ANSWERING_MAX.0 < GENERATIONS_MAX.0);
const _: () = assert!(GENERATIONS_MAX.0 < CALLERS_MAX.0);

/// The last moment of which all that others have changed is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmed {
    at: MonoMillis,
}

/// What holds at some moment, from the most to the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Everything that is remembered.
    All,
    /// Who callers are. What was invalidated is not known.
    Callers,
    /// Nothing.
    Nothing,
}

// === impl Confirmed ===

impl Confirmed {
    /// Known by a look that was begun at a moment. Its answer may be of any moment since, so no later one counts.
    #[must_use]
    pub const fn by(begun: MonoMillis) -> Self {
        Self { at: begun }
    }

    /// Another look was answered. Of two, the later one counts, in whatever order they end.
    pub fn again(&mut self, begun: MonoMillis) {
        self.at = self.at.max(begun);
    }

    /// How old what is known is.
    #[must_use]
    pub const fn age(&self, now: MonoMillis) -> Millis {
        now.since(self.at)
    }

    /// What holds.
    #[must_use]
    pub fn standing(&self, now: MonoMillis) -> Standing {
        let age = self.age(now);
        if age <= GENERATIONS_MAX {
            Standing::All
        } else if age <= CALLERS_MAX {
            Standing::Callers
        } else {
            Standing::Nothing
        }
    }

    /// Whether the database answers, as far as looks can tell.
    #[must_use]
    pub fn is_answering(&self, now: MonoMillis) -> bool {
        self.age(now) <= ANSWERING_MAX
    }

    /// The oldest beginning of a call whose answer may be shared with somebody who asks now: any, while it is known
    /// what was invalidated since; else none that is older than what is known may be.
    #[must_use]
    pub fn joinable_since(&self, now: MonoMillis) -> MonoMillis {
        match self.standing(now) {
            Standing::All => MonoMillis(0),
            Standing::Callers | Standing::Nothing => {
                MonoMillis(now.0.saturating_sub(GENERATIONS_MAX.0))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_holds_for_its_time_and_not_a_millisecond_longer() {
        let confirmed = Confirmed::by(MonoMillis(1_000));
        assert!(confirmed.is_answering(MonoMillis(3_000)));
        assert!(!confirmed.is_answering(MonoMillis(3_001)));
        for (now, standing) in [
            (0, Standing::All),
            (1_000, Standing::All),
            (6_000, Standing::All),
            (6_001, Standing::Callers),
            (61_000, Standing::Callers),
            (61_001, Standing::Nothing),
            (u64::MAX, Standing::Nothing),
        ] {
            assert_eq!(confirmed.standing(MonoMillis(now)), standing, "{now}");
        }
    }

    #[test]
    fn a_look_that_was_begun_earlier_takes_nothing_away() {
        let mut confirmed = Confirmed::by(MonoMillis(1_000));
        confirmed.again(MonoMillis(3_000));
        confirmed.again(MonoMillis(2_000));
        assert_eq!(confirmed.age(MonoMillis(3_500)), Millis(500));
    }

    #[test]
    fn a_call_may_be_joined_at_any_age_only_while_it_is_known_what_was_invalidated_since() {
        let confirmed = Confirmed::by(MonoMillis(1_000));
        for (now, oldest) in [(6_000, 0), (6_001, 1_001), (9_000, 4_000), (90_000, 85_000)] {
            assert_eq!(confirmed.joinable_since(MonoMillis(now)), MonoMillis(oldest), "{now}");
        }
    }
}
