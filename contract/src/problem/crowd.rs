//! The refusal of what is beyond an organization's own bounds in a sidecar: others are to have room beside it.

/// What an organization has as much of under way as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crowd {
    /// Requests that are being answered.
    Requests {
        /// `workflow_cache.per_org.max_requests`.
        max: u64,
    },
    /// Requests whose answers are streams.
    Streams {
        /// `workflow_cache.per_org.max_streams`.
        max: u64,
    },
    /// Bytes of requests' bodies and of answers.
    Bytes {
        /// `workflow_cache.per_org.max_bytes`.
        max: u64,
    },
}

// === impl Crowd ===

impl Crowd {
    pub(super) const fn code(self) -> &'static str {
        "organization_full"
    }

    /// The word in metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requests { .. } => "requests",
            Self::Streams { .. } => "streams",
            Self::Bytes { .. } => "bytes",
        }
    }
}

impl std::fmt::Display for Crowd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Requests { max } => write!(
                f,
                "This organization has {max} requests under way, which is as many as it may have at once."
            )?,
            Self::Streams { max } => write!(
                f,
                "This organization has {max} streams under way, which is as many as it may have at once."
            )?,
            Self::Bytes { max } => write!(
                f,
                "What this organization has under way takes as much memory as it may: {max} bytes."
            )?,
        }
        f.write_str(" Try again in a moment.")
    }
}
