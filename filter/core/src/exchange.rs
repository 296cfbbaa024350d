//! One request, from its head to its end.

use kt_contract::time::MonoMillis;

use crate::action::{Action, Flow};
use crate::event::Event;
use crate::phase::{Phase, forwarded, start};
use crate::turn::Turn;
use crate::worker::Worker;

/// The state of one request.
#[derive(Debug, Default)]
pub struct Exchange {
    pub(crate) phase: Phase,
}

// === impl Exchange ===

impl Exchange {
    /// Takes what happened, adds what is to be done, and says how the message goes on.
    pub fn handle(
        &mut self,
        worker: &mut Worker,
        now: MonoMillis,
        event: Event<'_>,
        actions: &mut Vec<Action>,
    ) -> Flow {
        let mut turn = Turn::new(worker, now, actions);
        let (phase, flow) = match std::mem::take(&mut self.phase) {
            Phase::Start => start::on(event, &mut turn),
            Phase::Resolving(resolving) => resolving.on(event, &mut turn),
            Phase::Buffering(buffering) => buffering.on(event, &mut turn),
            Phase::Admitting(admitting) => admitting.on(event, &mut turn),
            Phase::Opening(opening) => opening.on(event, &mut turn),
            Phase::OnLane(on_lane) => on_lane.on(event, &mut turn),
            Phase::Direct(direct) => direct.on(event, &mut turn),
            Phase::Replied => forwarded::replied(event, &mut turn),
            Phase::Done => forwarded::done(event, &mut turn),
        };
        self.phase = phase;
        flow
    }

    /// Whether the fields of the response's head matter: they cost a call to the host.
    #[must_use]
    pub const fn reads_response(&self) -> bool {
        matches!(self.phase, Phase::OnLane(_) | Phase::Direct(_))
    }
}
