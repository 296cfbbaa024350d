//! Whether what is remembered of a shared database may still be believed; [`crate::confirmed`] decides. Without one,
//! nobody else changes anything, and everything is known.

use std::sync::{Arc, Mutex};

use kt_contract::time::{Millis, MonoMillis};

use super::lock;
use crate::clock::Clock;
use crate::confirmed::{Confirmed, Standing};
use crate::skew::Skew;

/// One for all who ask; its clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Known(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    clock: Clock,
    confirmed: Mutex<Confirmed>,
    skew: Mutex<Skew>,
}

// === impl Known ===

impl Known {
    /// Nobody else changes anything.
    #[must_use]
    pub const fn always() -> Self {
        Self(None)
    }

    /// Others do, and a look that was begun at this moment has told what.
    #[must_use]
    pub fn by_look(clock: Clock, begun: MonoMillis) -> Self {
        let confirmed = Mutex::new(Confirmed::by(begun));
        Self(Some(Arc::new(Shared { clock, confirmed, skew: Mutex::default() })))
    }

    /// Another look, begun at this moment, has told all.
    pub fn confirm(&self, begun: MonoMillis) {
        if let Some(shared) = &self.0 {
            lock(&shared.confirmed).again(begun);
        }
    }

    /// How far this machine's clock is from the database's, by the last look.
    pub fn is_apart(&self, skew: Skew) {
        if let Some(shared) = &self.0 {
            *lock(&shared.skew) = skew;
        }
    }

    /// The same. None without a shared database.
    #[must_use]
    pub fn skew(&self) -> Skew {
        self.0.as_ref().map(|shared| *lock(&shared.skew)).unwrap_or_default()
    }

    /// Whether there is a shared database.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        self.0.is_some()
    }

    /// What holds now.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.at_now(|confirmed, now| confirmed.standing(now)).unwrap_or(Standing::All)
    }

    /// Whether it is known what was invalidated.
    #[must_use]
    pub fn has_generations(&self) -> bool {
        self.standing() == Standing::All
    }

    /// Whether who has been seen may be believed to have the same rights.
    #[must_use]
    pub fn has_callers(&self) -> bool {
        self.standing() <= Standing::Callers
    }

    /// Whether the database answers, as far as looks can tell.
    #[must_use]
    pub fn is_answering(&self) -> bool {
        self.at_now(Confirmed::is_answering).unwrap_or(true)
    }

    /// The oldest beginning of a call that may be joined now.
    #[must_use]
    pub fn joinable_since(&self) -> MonoMillis {
        self.at_now(Confirmed::joinable_since).unwrap_or_default()
    }

    /// How old what is known is.
    #[must_use]
    pub fn age(&self) -> Millis {
        self.at_now(Confirmed::age).unwrap_or_default()
    }

    fn at_now<T>(&self, of: impl FnOnce(&Confirmed, MonoMillis) -> T) -> Option<T> {
        let shared = self.0.as_ref()?;
        // The clock first: what is confirmed meanwhile is newer than this moment, and not of no age.
        let now = shared.clock.mono();
        Some(of(&lock(&shared.confirmed), now))
    }
}
