//! What becomes of flights among sidecars, in the words of the metrics.

/// What became of a flight among the sidecars of a group: the values of `kt_shared_flights_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedFlight {
    /// This sidecar leads it.
    Led,
    /// It reads another one's.
    Followed,
    /// It makes a call of its own, because what comes for the key cannot be stored.
    HitForMiss,
    /// It makes a call of its own, because another one leads and it does not follow, or cannot.
    LedElsewhere,
    /// The store has no answer: it flies for itself.
    Unavailable,
    /// Its lease was lost, or voided.
    Superseded,
    /// What another one told was not for this request.
    Mismatch,
    /// What another one told is in words that this one does not know.
    Unreadable,
    /// What was read is not what was told.
    Corrupt,
    /// It flies for itself, because it is not known what others have invalidated.
    Unknown,
}

// === impl SharedFlight ===

impl SharedFlight {
    /// The word in metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Led => "led",
            Self::Followed => "followed",
            Self::HitForMiss => "hit-for-miss",
            Self::LedElsewhere => "led-elsewhere",
            Self::Unavailable => "unavailable",
            Self::Superseded => "superseded",
            Self::Mismatch => "mismatch",
            Self::Unreadable => "unreadable",
            Self::Corrupt => "corrupt",
            Self::Unknown => "unknown",
        }
    }
}
