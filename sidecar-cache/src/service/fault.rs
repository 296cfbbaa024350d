//! How an attempt ends that does not end well, and why an answer is not kept.

use std::sync::Arc;

use kt_contract::outcome::Reason;
use kt_contract::principal::Principal;
use kt_contract::problem::Problem;
use kt_contract::time::Millis;

use super::seat::{End, Failure};
use crate::flight::{Cause, Ending};

/// The lease was lost, or what it would store was invalidated.
pub(super) const SUPERSEDED: &str = "superseded";

/// The ledger has not said that the call is booked: what it brought is served, and not kept.
pub(super) const UNBOOKED: &str = "unbooked";

/// A policy was to judge the request or the answer, and its service has said nothing: served, and not kept.
pub(super) const UNJUDGED: &str = "unjudged";

/// Why an answer is not kept whole, and so not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unkept {
    /// It cannot be stored, for this reason, and the next one for its key could not either.
    Unstorable(Reason),
    /// All logs together keep more than they may.
    NoRoom,
}

/// Why an attempt did not end well.
#[derive(Debug)]
pub(super) enum Failed {
    /// Nobody wanted it any more.
    Cancelled,
    /// It failed.
    Attempt(Box<Fault>),
}

/// A failed attempt: what becomes of whom.
#[derive(Debug)]
pub(super) struct Fault {
    /// For those who get nothing else.
    pub(super) failure: Arc<Failure>,
    /// For those who have begun to read; `None`: the failure.
    pub(super) begun: Option<End>,
    /// For the leader, if it has not; `None`: it reads what there is.
    pub(super) leader: Option<End>,
    pub(super) retry_after: Option<Millis>,
    /// What failed about it.
    pub(super) cause: Cause,
    /// Who of those that wait is told the same as the leader.
    pub(super) whom: Whom,
}

/// Whom a lack of money concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Whom {
    pub(super) concerns: Concerns,
    /// In whose name the call was to be made.
    pub(super) asker: Option<Principal>,
}

/// Whom a failure concerns besides the one in whose name the call was to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Concerns {
    /// Everybody who waits: all are of one organization, and ask for the same.
    Everybody,
    /// Those of its team, or without one like it: the same purse, or the wallet, pays for them.
    Team,
    /// The same user.
    User,
    /// Nobody else.
    Asker,
}

// === impl Unkept ===

impl Unkept {
    /// The word in logs and metric labels.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Unstorable(reason) => reason.as_str(),
            Self::NoRoom => "no-room",
        }
    }

    /// What it means for those who ask for the same.
    pub(super) const fn ending(self) -> Ending {
        match self {
            Self::Unstorable(_) => Ending::Uncacheable,
            Self::NoRoom => Ending::NotStored,
        }
    }
}

// === impl Fault ===

impl Fault {
    /// Everybody is told the same.
    pub(super) fn of(failure: Failure) -> Self {
        let failure = Arc::new(failure);
        let leader = Some(End::Failed(Arc::clone(&failure)));
        let whom = Whom { concerns: Concerns::Asker, asker: None };
        Self { failure, begun: None, leader, retry_after: None, cause: Cause::Call, whom }
    }

    /// There is no money for the call: told to those whom that concerns, as far as the others need not.
    pub(super) fn unpaid(problem: Problem, whom: Whom, cause: Cause) -> Self {
        let failure = Failure::Unpaid(problem, whom.clone());
        Self { cause, whom, ..Self::of(failure) }
    }
}

// === impl Whom ===

impl Whom {
    /// Whether what the asker was refused is refused to `other` as well.
    pub(super) fn reaches(&self, other: &Principal) -> bool {
        let Some(asker) = &self.asker else { return false };
        match self.concerns {
            Concerns::Everybody => true,
            Concerns::Team => asker.team == other.team,
            Concerns::User => asker.user.is_some() && asker.user == other.user,
            Concerns::Asker => asker.lineage() == other.lineage(),
        }
    }
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self::Attempt(Box::new(fault))
    }
}
