//! How long an entry stays fresh, which is decided once, when it is filled, and whom an older one may serve. A
//! hit never refreshes it.

use kt_contract::key::CacheKey;
use kt_contract::time::Millis;

/// The lifetime of an entry: the configured one, less 0 to 10 % by its key.
///
/// Entries that were filled together would otherwise expire together, and their misses would meet at the
/// provider. By the key and not by chance, so that every sidecar gives an entry the same lifetime.
#[must_use]
pub fn lifetime(ttl: Millis, key: &CacheKey) -> Millis {
    let [high, low, ..] = key.0.0;
    let share = u128::from(u16::from_be_bytes([high, low]));
    let cut = u128::from(ttl.0) * share / (u128::from(u16::MAX) * 10);
    Millis(ttl.0.saturating_sub(u64::try_from(cut).unwrap_or(u64::MAX)))
}

/// How long after its time an entry may serve: `workflow_cache.stale_while_revalidate_seconds` and
/// `stale_if_error_seconds`. Zero: not at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stale {
    /// At once, while a new answer is fetched.
    pub while_revalidate: Millis,
    /// Where no new answer can be had.
    pub if_error: Millis,
}

// === impl Stale ===

impl Stale {
    /// How long an entry is kept after its time.
    #[must_use]
    pub fn kept(self) -> Millis {
        self.while_revalidate.max(self.if_error)
    }

    /// Whether an entry whose time has been over for `stale` serves at once. A client that says how old an
    /// answer may be has not said that it takes one whose time is over (RFC 9111, 5.2.1.1).
    #[must_use]
    pub fn serves_at_once(self, stale: Millis, max_age_s: Option<u64>) -> bool {
        max_age_s.is_none() && stale < self.while_revalidate
    }

    /// Whether it serves where the provider fails.
    #[must_use]
    pub fn serves_on_error(self, stale: Millis, max_age_s: Option<u64>) -> bool {
        max_age_s.is_none() && stale < self.if_error
    }
}

/// Whether an entry of this age may serve a request with this `max-age`. Nothing is younger than 0 seconds: who
/// asks for that wants a new answer.
#[must_use]
pub fn is_young_enough(age: Millis, max_age_s: Option<u64>) -> bool {
    max_age_s.is_none_or(|max_age_s| max_age_s > 0 && age.0 <= max_age_s.saturating_mul(1_000))
}

#[cfg(test)]
mod tests {
    use kt_contract::hex::Digest;

    use super::*;

    fn key(high: u8, low: u8) -> CacheKey {
        let mut bytes = [7; 32];
        (bytes[0], bytes[1]) = (high, low);
        CacheKey(Digest(bytes))
    }

    #[test]
    fn jitter_shortens_by_at_most_a_tenth_and_never_lengthens() {
        let ttl = Millis(86_400_000);
        for (high, low, expected) in
            [(0, 0, 86_400_000), (0xff, 0xff, 77_760_000), (0x80, 0x00, 82_079_935)]
        {
            assert_eq!(lifetime(ttl, &key(high, low)), Millis(expected), "{high:02x}{low:02x}");
        }
        for high in 0..=255 {
            let lifetime = lifetime(ttl, &key(high, 0x55)).0;
            assert!((77_760_000..=86_400_000).contains(&lifetime), "{high:02x}: {lifetime}");
        }
    }

    #[test]
    fn an_entry_may_be_as_old_as_max_age_and_no_older() {
        for (age, max_age_s, expected) in [
            (u64::MAX, None, true),
            (0, Some(0), false),
            (1, Some(0), false),
            (60_000, Some(60), true),
            (60_001, Some(60), false),
            (u64::MAX, Some(u64::MAX), true),
        ] {
            assert_eq!(is_young_enough(Millis(age), max_age_s), expected, "{age} {max_age_s:?}");
        }
    }

    #[test]
    fn a_stale_entry_serves_for_its_time_and_nobody_who_says_how_old() {
        let stale = Stale { while_revalidate: Millis(10), if_error: Millis(20) };
        assert_eq!(stale.kept(), Millis(20));
        for (length, at_once, on_error) in [
            (0, true, true),
            (9, true, true),
            (10, false, true),
            (19, false, true),
            (20, false, false),
        ] {
            assert_eq!(stale.serves_at_once(Millis(length), None), at_once, "{length}");
            assert_eq!(stale.serves_on_error(Millis(length), None), on_error, "{length}");
            assert!(!stale.serves_at_once(Millis(length), Some(u64::MAX)));
            assert!(!stale.serves_on_error(Millis(length), Some(u64::MAX)));
        }
        let off = Stale::default();
        assert!(!off.serves_at_once(Millis(0), None) && !off.serves_on_error(Millis(0), None));
    }

    #[test]
    fn one_key_has_one_lifetime() {
        assert_eq!(lifetime(Millis(1_000), &key(9, 9)), lifetime(Millis(1_000), &key(9, 9)));
    }

    #[test]
    fn the_longest_ttl_does_not_overflow() {
        assert!(lifetime(Millis(u64::MAX), &key(0xff, 0xff)).0 > u64::MAX / 100 * 89);
    }
}
