//! The latest time of any book, as it was at the last look. To look reads a row for each organization, and is needed
//! only where a clock was ahead once: every other book's time is behind the clock, which all what is due is asked by.

use std::sync::{Mutex, PoisonError};

use kt_contract::time::UnixMillis;

/// How long a look is good for. A hold in a book that is ahead of the clock ends this much late at most.
const LOOK_MS: u64 = 60_000;

#[derive(Debug, Default)]
pub(super) struct Latest(Mutex<Option<Look>>);

#[derive(Clone, Copy, Debug)]
struct Look {
    at: UnixMillis,
    found: i64,
}

// === impl Latest ===

impl Latest {
    /// What the last look found, unless it is too old or the clock has been set back since.
    pub(super) fn known(&self, now: UnixMillis) -> Option<i64> {
        let look = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        let age = now.0.checked_sub(look.at.0)?;
        (age < LOOK_MS).then_some(look.found)
    }

    pub(super) fn learn(&self, at: UnixMillis, found: i64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Look { at, found });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_is_good_for_a_minute_and_not_before_it_was_taken() {
        let latest = Latest::default();
        assert_eq!(latest.known(UnixMillis(1_000)), None);
        latest.learn(UnixMillis(1_000), 7);
        assert_eq!(latest.known(UnixMillis(1_000)), Some(7));
        assert_eq!(latest.known(UnixMillis(60_999)), Some(7));
        assert_eq!(latest.known(UnixMillis(61_000)), None);
        assert_eq!(latest.known(UnixMillis(999)), None, "the clock was set back");
    }
}
