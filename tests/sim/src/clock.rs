//! The one place where the binary reads the clock: it says how fast seeds run, and decides nothing.

use std::time::Instant;

/// Now.
#[expect(clippy::disallowed_methods, reason = "this is the file that reads clocks")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
