//! How an attempt ends for a flight: who may share what a provider says, and what a failure means for those
//! who wait.

use kt_contract::time::Millis;

/// A provider that asks for more patience than this is not asked again for those who wait.
pub const RETRY_AFTER_MAX: Millis = Millis(2_000);

/// Why an attempt has failed, as far as a takeover is concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failed {
    /// How many wait without a byte.
    pub waiting: usize,
    /// How long the provider asks to wait.
    pub retry_after: Option<Millis>,
    /// What failed.
    pub cause: Cause,
}

/// What failed about an attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cause {
    /// The call, or what it brought. Another one is made after a pause, and not for ever.
    #[default]
    Call,
    /// Who should have paid cannot. No call was made: the next may try at once, however many could not.
    Unpaid,
}

/// Who may have a provider's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Everybody who waits: another call would end the same way.
    Everybody,
    /// The leader alone: another call may end otherwise.
    Leader,
}

/// How a lease ended: the values of `kt_flight_endings_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The entry is stored.
    Filled,
    /// The entry was there already.
    Found,
    /// Served, and nothing that comes for this key can be stored.
    Uncacheable,
    /// The provider refused the request, and would again.
    Refused,
    /// A policy does not let the answer pass.
    Blocked,
    /// The attempt failed: an error, a timeout, an answer that broke off or is none.
    Failed,
    /// Served, and not stored: the lease was lost or voided, or the store failed.
    NotStored,
    /// Nobody waited for it any more.
    Cancelled,
    /// Who led could not pay for the call.
    Unpaid,
    /// No call was made: another sidecar's flight was read.
    Followed,
}

// === impl Ending ===

impl Ending {
    /// Every member.
    pub const ALL: [Self; 10] = [
        Self::Filled,
        Self::Found,
        Self::Uncacheable,
        Self::Refused,
        Self::Blocked,
        Self::Failed,
        Self::NotStored,
        Self::Cancelled,
        Self::Unpaid,
        Self::Followed,
    ];

    /// The word in logs and metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Filled => "filled",
            Self::Found => "found",
            Self::Uncacheable => "uncacheable",
            Self::Refused => "refused",
            Self::Blocked => "blocked",
            Self::Failed => "failed",
            Self::NotStored => "not-stored",
            Self::Cancelled => "cancelled",
            Self::Unpaid => "unpaid",
            Self::Followed => "followed",
        }
    }
}

/// Who may have an answer with this status, other than 200.
#[must_use]
pub const fn sharing(status: u16) -> Sharing {
    match status {
        // The request is at fault, or what was done with it is done.
        400 | 404 | 413 | 422 | 200..=299 => Sharing::Everybody,
        _ => Sharing::Leader,
    }
}

/// The length of a `Retry-After`; `Retry-After-Ms` is finer, and counts where it is a number. A date is far away:
/// who writes one does not mean a second.
#[must_use]
pub fn retry_after(value: Option<&str>, in_ms: Option<&str>) -> Option<Millis> {
    let number = |value: &str| value.trim().parse::<u64>().ok();
    let seconds = |value| number(value).unwrap_or(u64::MAX).saturating_mul(1_000);
    in_ms.and_then(number).or_else(|| value.map(seconds)).map(Millis)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn only_what_would_end_the_same_way_is_shared() {
        for status in [400, 404, 413, 422, 201] {
            assert_eq!(sharing(status), Sharing::Everybody, "{status}");
        }
        for status in [301, 401, 402, 403, 408, 409, 429, 451, 500, 502, 503, 504, 529] {
            assert_eq!(sharing(status), Sharing::Leader, "{status}");
        }
    }

    #[test]
    fn each_ending_has_a_word_of_its_own_that_a_metric_label_can_be() {
        let words: HashSet<_> = Ending::ALL.into_iter().map(Ending::as_str).collect();
        assert_eq!(words.len(), Ending::ALL.len());
        assert!(words.contains("not-stored"));
        for word in words {
            let is_plain = |byte| matches!(byte, b'a'..=b'z' | b'-');
            assert!(!word.is_empty() && word.bytes().all(is_plain), "{word}");
        }
    }

    #[test]
    fn a_retry_after_is_seconds_or_long() {
        for (value, expected) in [
            (None, None),
            (Some("0"), Some(0)),
            (Some(" 2 "), Some(2_000)),
            (Some("30"), Some(30_000)),
            (Some("Fri, 31 Dec 1999 23:59:59 GMT"), Some(u64::MAX)),
            (Some("-1"), Some(u64::MAX)),
            (Some("99999999999999999999"), Some(u64::MAX)),
        ] {
            assert_eq!(retry_after(value, None), expected.map(Millis), "{value:?}");
            assert_eq!(retry_after(value, Some("soon")), expected.map(Millis), "{value:?}");
            assert_eq!(retry_after(value, Some(" 70")), Some(Millis(70)), "{value:?}");
        }
    }
}
