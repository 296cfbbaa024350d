//! Opening: the sidecar is lost, and `wallet.open_with_cap` lets calls pass all the same, as far as they can be counted.
//! The host is asked to count this one; it answers at once.

use kt_contract::outcome::Reason;
use kt_contract::snapshot::OpenWithCap;

use super::Phase;
use super::planned::Planned;
use crate::action::{Action, Flow};
use crate::counter::Counter;
use crate::event::Event;
use crate::till::{Spend, Spent};
use crate::turn::{Next, Turn};

/// A request that waits for being counted.
#[derive(Debug)]
pub(crate) struct Opening {
    planned: Planned,
    /// Why there is no sidecar.
    lost: Reason,
}

// === impl Opening ===

impl Opening {
    /// Asks whether the call is within the cap.
    pub(crate) fn ask(
        planned: Planned,
        lost: Reason,
        cap: OpenWithCap,
        turn: &mut Turn<'_>,
    ) -> Next {
        let org = planned.known.principal.org.clone();
        turn.act(Action::Spend(Spend { org, cap }));
        (Phase::Opening(Box::new(Self { planned, lost })), Flow::Pause)
    }

    pub(crate) fn on(self, event: Event<'_>, turn: &mut Turn<'_>) -> Next {
        match event {
            Event::Spent(Spent::Counted) => {
                turn.count(Counter::OpenPassed);
                self.planned.directly(Reason::OpenWithCap, turn)
            }
            Event::Spent(Spent::CapReached) => {
                turn.count(Counter::OpenCapReached);
                self.planned.unavailable(self.lost, turn)
            }
            Event::Spent(Spent::Uncountable) => {
                turn.count(Counter::OpenUncountable);
                self.planned.unavailable(self.lost, turn)
            }
            Event::ResponseHeaders { .. } => {
                turn.envoy_spoke(&self.planned.ask.request_id, self.planned.log())
            }
            Event::Done => turn.left(self.planned.log()),
            Event::RequestHeaders { .. }
            | Event::RequestBody { .. }
            | Event::RequestTrailers
            | Event::RequestRead { .. }
            | Event::CalloutAnswered(_)
            | Event::HostRefused => turn.unexpected(self.planned.log()),
        }
    }
}
