//! A flight among those of its group: before an attempt its task learns whose turn it is. It makes the call and tells
//! the others, or another sidecar's flight takes the place of the call.

use std::mem::replace;

use kt_contract::outcome::{Outcome, Reason};
use kt_contract::time::MonoMillis;

use super::super::fault::Failed;
use super::super::pilot::Pilot;
use super::super::seat::End;
use super::super::traces::Live;
use super::following::Next;
use super::herald::Herald;
use super::role::Role;
use super::{Apart, Asking, Group, Turn};
use crate::flight_text::Head;
use crate::metrics::SharedFlight;

// === impl Pilot ===

impl Pilot {
    /// Waits for this sidecar's turn to make the call. `false`: it is over without one, and everybody knows.
    pub(crate) async fn takes_its_turn(&mut self) -> Result<bool, Failed> {
        let Some(group) = self.sidecar.group.clone() else { return Ok(true) };
        self.standing.role = Role::Single;
        let mut known = None;
        loop {
            // Nobody knows what was invalidated since another sidecar's flight began.
            if !self.sidecar.cache.generations().known().has_generations() {
                return Ok(self.flies_apart(&group, Apart::Unknown));
            }
            let asking = self.asking();
            let before = self.standing.before.map(|(id, _)| id);
            let turn = match known.take() {
                Some(turn) => turn,
                None => self.over(group.ask(asking, before)).await?,
            };
            let next = match turn {
                Turn::Lead(herald) => {
                    group.metrics.shared(SharedFlight::Led);
                    return Ok(self.leads(herald));
                }
                Turn::Own(apart) => return Ok(self.flies_apart(&group, apart)),
                Turn::Follow(place) => Box::pin(self.follow(&group, place, asking)).await?,
            };
            self.standing.role = Role::Single;
            self.flight.is_in_group(None);
            known = match next {
                Next::Over => return Ok(false),
                Next::Again => None,
                Next::Turn(turn) => Some(turn),
            };
        }
    }

    /// What is asked of the group. What is invalidated from now on is not stored, and what was invalidated before
    /// may not be read.
    fn asking(&self) -> Asking {
        let generations = self.sidecar.cache.vector(self.seat.grant.wanted());
        let newest = generations.newest();
        // Whoever is followed may have called long ago: what was invalidated since is known up to the last look, and
        // once it is not any more, nobody joins. A call of one's own begins anew.
        let age = self.sidecar.cache.generations().known().age();
        let looked = MonoMillis(self.now().0.saturating_sub(age.0));
        self.flight.begins_under(generations, looked);
        let is_alone = self.lease.as_ref().is_some_and(|lease| lease.is_alone());
        Asking { key: self.seat.grant.at.key, newest, is_alone }
    }

    fn leads(&mut self, herald: Herald) -> bool {
        if !self.has_a_leader() {
            return false;
        }
        // Taken anew: it may have been another one's turn for long.
        self.begins_anew();
        let began = self.flight.generations();
        let grant = &self.seat.grant;
        let (gates, check) = (grant.gates.clone(), grant.check);
        let span = grant.trace.as_ref().map(Live::as_parent);
        herald.begins(&Head { gates, check, began, asked: self.flight.asked, span });
        self.flight.is_in_group(Some(herald.id()));
        self.standing.role = Role::Leads(herald);
        true
    }

    fn flies_apart(&mut self, group: &Group, apart: Apart) -> bool {
        if !self.has_a_leader() {
            return false;
        }
        match apart {
            Apart::HitForMiss => {
                group.metrics.shared(SharedFlight::HitForMiss);
                group.metrics.hit_for_miss();
                self.seat.is(Outcome::Miss, Reason::HitForMiss);
            }
            Apart::LedElsewhere | Apart::Untold => {
                group.metrics.shared(SharedFlight::LedElsewhere);
            }
            Apart::Unknown => group.metrics.shared(SharedFlight::Unknown),
            // Counted where it was noticed.
            Apart::Unavailable | Apart::Mismatch | Apart::Unreadable => {}
        }
        self.begins_anew();
        self.standing.role = Role::Apart(apart);
        true
    }

    /// Sees to it that the call is made in the name of somebody who waits. `false`: nobody does any more.
    fn has_a_leader(&mut self) -> bool {
        if !replace(&mut self.standing.is_vacant, false) {
            return true;
        }
        let promoted = self.lease.as_mut().and_then(|lease| lease.promote(&self.flight));
        let Some((reader, seat)) = promoted else {
            // Whoever still reads has been told.
            self.finish(End::Voided);
            return false;
        };
        seat.takes_over();
        self.is_led_by(reader, seat);
        true
    }
}
