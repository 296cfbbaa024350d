//! Moments and lengths of time as values. Nobody here reads a clock: time is an argument.

use serde::{Deserialize, Serialize};

/// A moment of the wall clock, in milliseconds since the Unix epoch: for people and logs, never for expiry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct UnixMillis(pub u64);

/// A moment of a clock that never goes back, in milliseconds since some start: for expiry and budgets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct MonoMillis(pub u64);

/// A length of time in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub u64);

// === impl MonoMillis ===

impl MonoMillis {
    /// The time that passed since `earlier`; zero if `earlier` is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }

    /// The moment `length` later.
    #[must_use]
    pub const fn after(self, length: Millis) -> Self {
        Self(self.0.saturating_add(length.0))
    }
}
