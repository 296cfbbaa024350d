//! What the others are told of a flight that this sidecar leads: the words for how it begins and ends.

use kt_contract::problem::Problem;

use super::super::pilot::Pilot;
use super::super::seat::{End, Failure, Opened, Seat};
use crate::flight_text::{self, Blocked, Opening, Trouble};

// === impl Pilot ===

impl Pilot {
    /// What the others are told with the end.
    pub(crate) fn tells_the_end(&mut self, end: &End) {
        let cost = self.flight.cost();
        let Some(herald) = self.standing.role.herald() else { return };
        let is_last = match end {
            End::Clean | End::Whole(_) | End::Faulty | End::Cut => true,
            // It is the entry that they ask for, or a call that they may make themselves.
            End::Found(_) | End::Voided => false,
            End::Failed(failure) => match (failure.as_ref(), trouble(failure)) {
                (_, Some(trouble)) => {
                    herald.opens(&Opening::Trouble(trouble));
                    true
                }
                (Failure::Answer(..), None) => true,
                (Failure::Problem(_) | Failure::Unpaid(..), None) => false,
            },
        };
        herald.finishes(is_last, cost);
    }
}

/// What is told of a failure that is no provider's answer. `None`: it is nobody else's.
pub(crate) fn trouble(failure: &Failure) -> Option<Trouble> {
    let Failure::Problem(problem) = failure else { return None };
    if let Problem::PolicyBlocked { policy, status, what } = problem {
        let (policy, what) = (policy.clone(), what.clone());
        return Some(Trouble::Blocked(Blocked { policy, status: *status, what }));
    }
    match problem.code() {
        "upstream_unreachable" => Some(Trouble::Unreachable),
        "upstream_unauthorized" => Some(Trouble::Unauthorized),
        "upstream_cut_short" => Some(Trouble::CutShort),
        "sidecar_unavailable" => Some(Trouble::NoGateway),
        _ => None,
    }
}

pub(super) fn problem(trouble: Trouble, seat: &Seat) -> Problem {
    let target = seat.grant.target.clone();
    match trouble {
        Trouble::Unreachable => Problem::UpstreamUnreachable { target },
        Trouble::Unauthorized => Problem::UpstreamUnauthorized { target },
        Trouble::CutShort => Problem::UpstreamCutShort { target },
        Trouble::NoGateway => Problem::SidecarUnavailable,
        Trouble::Blocked(Blocked { policy, status, what }) => {
            Problem::PolicyBlocked { policy, status, what }
        }
    }
}

/// How an answer begins, for the others.
pub(crate) fn opening(opened: &Opened) -> Opening {
    Opening::Answer(flight_text::Answer {
        status: opened.status,
        content_type: opened.content_type.clone(),
        content_encoding: opened.content_encoding.clone(),
        after: opened.advice.after.clone(),
        after_ms: opened.advice.after_ms.clone(),
        should: opened.advice.should.clone(),
    })
}
