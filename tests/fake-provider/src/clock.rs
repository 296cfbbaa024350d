//! The only place that reads a clock.

/// Seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "the one clock of this binary")]
#[must_use]
pub(crate) fn unix_seconds() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
