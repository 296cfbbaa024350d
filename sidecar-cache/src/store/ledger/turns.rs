//! Whose turn it is to count a ledger again that several share, and what the last of them has found. One that is not
//! shared is counted whenever its only owner likes.

use kt_contract::time::{Millis, UnixMillis};

use crate::ledger::audit::Findings;

/// Whether to count the ledger now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nobody else counts it.
    Always,
    /// It is due, and the turn of who asks. Whoever counts for long asks again meanwhile, and keeps it.
    Mine,
    /// It is not due, or somebody else is at it.
    Others {
        /// What the others have found.
        known: Known,
        /// Whether it is due: then somebody is at it.
        is_due: bool,
    },
}

/// What is known of a ledger that others have counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// What was found when it was last counted to the end.
    pub last: Option<Counted>,
    /// Why it could not be counted since.
    pub failure: Option<String>,
}

/// That a ledger was counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// When that ended, by the ledger's clock.
    pub at: UnixMillis,
    /// How long it took.
    pub took: Millis,
    /// What was found, with the first of the breaches.
    pub findings: Findings,
    /// How many breaches there are.
    pub breaches_total: u64,
}

/// What whoever has counted tells the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// How long it took.
    pub took: Millis,
    /// How long ago it began.
    pub ago: Millis,
    /// What was found; or why nothing was.
    pub found: Result<Findings, String>,
    /// After how long it is to be counted again.
    pub again_after: Millis,
}
