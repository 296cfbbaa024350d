//! Refusals of a request whose `Idempotency-Key` has been used before: statuses, codes and words. When each of
//! them is due, the sidecar says.

/// Why a key's request is not made, and no earlier answer given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeated {
    /// The request of this key is being answered.
    InFlight,
    /// The key is another request's.
    OtherRequest,
    /// The request of this key was answered, and the answer is too large to be told again.
    TooLarge {
        /// Its length.
        bytes: u64,
    },
    /// What became of earlier requests cannot be read: one that may have been paid for is not made again.
    Unknown,
}

// === impl Repeated ===

impl Repeated {
    pub(super) const fn status(self) -> u16 {
        match self {
            Self::InFlight | Self::TooLarge { .. } => 409,
            Self::OtherRequest => 422,
            Self::Unknown => 503,
        }
    }

    pub(super) const fn code(&self) -> &'static str {
        match self {
            Self::InFlight => "idempotency_in_flight",
            Self::OtherRequest => "idempotency_key_reused",
            Self::TooLarge { .. } => "idempotency_reply_too_large",
            Self::Unknown => "idempotency_unavailable",
        }
    }

    pub(super) const fn retry_after_s(self) -> Option<u64> {
        match self {
            Self::InFlight | Self::Unknown => Some(1),
            Self::OtherRequest | Self::TooLarge { .. } => None,
        }
    }
}

impl std::fmt::Display for Repeated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::InFlight => f.write_str("The request with this Idempotency-Key is still being answered. Try again in a moment: its answer is kept for you."),
            Self::OtherRequest => f.write_str("This Idempotency-Key was used for another request in the last 24 hours, or for this one under another policy, model version or codebase. Send a retry byte for byte as it was, and a new request with a new key."),
            Self::TooLarge { bytes } => write!(f, "The request with this Idempotency-Key was made and answered, but its answer ({bytes} bytes) is too large to be told again. To make the call again, and pay for it again, send a new key."),
            Self::Unknown => f.write_str("The gateway cannot look up what became of this Idempotency-Key, and makes no call that may have been made before. Try again in a moment."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Problem;
    use super::*;

    #[test]
    fn each_repeated_request_is_told_whether_to_come_again() {
        for (repeated, status, code, retry_after_s) in [
            (Repeated::InFlight, 409, "idempotency_in_flight", Some(1)),
            (Repeated::OtherRequest, 422, "idempotency_key_reused", None),
            (Repeated::TooLarge { bytes: 9 }, 409, "idempotency_reply_too_large", None),
            (Repeated::Unknown, 503, "idempotency_unavailable", Some(1)),
        ] {
            let problem = Problem::Repeated(repeated);
            let said = (problem.status(), problem.code(), problem.retry_after_s());
            assert_eq!(said, (status, code, retry_after_s));
            assert_eq!(problem.is_final(), retry_after_s.is_none(), "{problem:?}");
            assert_eq!(problem.param(), Some("Idempotency-Key"));
            assert!(problem.to_string().contains("Idempotency-Key"), "{problem}");
        }
    }
}
