//! Another sidecar's flight in the place of a call: what comes of it is written into the local log, and neither paid for,
//! counted as a call nor stored.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kt_contract::outcome::{Outcome as Cached, Reason};
use tokio::time::{Instant, sleep_until};

use super::super::fault::{Failed, Fault};
use super::super::lease::Told;
use super::super::lock;
use super::super::log::Failing;
use super::super::pilot::Pilot;
use super::super::reader::cut_short;
use super::super::relay::Source;
use super::super::seat::{End, Failure, Seat};
use super::remote::{Outcome, Remote, Start};
use super::role::Role;
use super::words::problem;
use super::{Apart, Asking, Group, Place, Turn};
use crate::entry::Mismatch;
use crate::flight::{Ending, FlightId, Held, RETRY_AFTER_MAX};
use crate::flight_text::{Head, Opening, Reading};
use crate::metrics::SharedFlight;

/// What follows on a remote flight.
pub(super) enum Next {
    /// All is said.
    Over,
    /// It is asked again whose turn it is.
    Again,
    /// That is known.
    Turn(Turn),
}

// === impl Pilot ===

impl Pilot {
    /// Another sidecar leads: its flight is read.
    pub(super) async fn follow(
        &mut self,
        group: &Arc<Group>,
        place: Place,
        asking: Asking,
    ) -> Result<Next, Failed> {
        let id = place.id;
        let past = self.standing.before.filter(|(of, _)| *of == id).map(|(_, attempt)| attempt);
        let is_new = past.is_none();
        let joins = self.waits_for_another();
        self.flight.is_in_group(Some(id));
        let org = &self.seat.grant.gates.org;
        let mut remote = Remote::new(place, org, asking, past);
        let outcome = remote.outcome();
        self.standing.role = Role::Follows(Arc::clone(&outcome));
        self.may_be_unjudged();
        let start = match self.over(remote.head()).await? {
            Err(start) => start,
            Ok(head) => match self.reading(&head) {
                Reading::Mine => {
                    // Not before: one that is not meant for those here makes a call of their own.
                    if is_new {
                        group.metrics.shared(SharedFlight::Followed);
                    }
                    if joins {
                        self.sidecar.metrics.followed();
                    }
                    self.flight.is_led_elsewhere(head.span);
                    self.over(remote.opening(head)).await?
                }
                Reading::Others(mismatch) => {
                    self.is_not_meant(group, mismatch);
                    self.waits_no_more();
                    return Ok(Next::Turn(Turn::Own(Apart::Mismatch)));
                }
                Reading::Old => {
                    drop(remote);
                    let is_voided = self.over(group.void(asking.key, id)).await?;
                    self.standing.before = None;
                    self.waits_no_more();
                    // Who asked again would be told of the same flight, at once and for ever.
                    let apart = || Next::Turn(Turn::Own(Apart::Unavailable));
                    return Ok(if is_voided { Next::Again } else { apart() });
                }
            },
        };
        let fault = match start {
            Start::Opened(head, Opening::Answer(answer)) => {
                self.flight.comes_as(head.asked);
                self.flight.is_answered();
                let source = Source::unhurried(Box::pin(remote));
                match self.reads(answer, source).await {
                    Ok(()) => return Ok(Next::Over),
                    Err(Failed::Cancelled) => return Err(Failed::Cancelled),
                    Err(Failed::Attempt(fault)) => *fault,
                }
            }
            Start::Opened(_, Opening::Trouble(trouble)) => {
                self.over(remote.ended()).await?;
                Fault::of(Failure::Problem(problem(trouble, &self.seat)))
            }
            Start::Ended | Start::Lost => {
                drop(remote);
                Fault::of(Failure::Problem(cut_short(&self.seat)))
            }
            Start::Unreadable => {
                tracing::warn!(key = ?asking.key, "another sidecar's flight could not be read");
                self.waits_no_more();
                return Ok(Next::Turn(Turn::Own(Apart::Unreadable)));
            }
        };
        self.has_failed_elsewhere(fault, id, &outcome).await
    }

    /// Who waits here waits for another sidecar's call. Whether whoever led here has become one of those who follow.
    fn waits_for_another(&mut self) -> bool {
        self.standing.is_vacant = true;
        self.flight.is_led_elsewhere(None);
        let joins = self.reader.is_some() && !self.seat.is_coalesced();
        if joins {
            self.standing.was = Some(self.seat.cache());
            self.seat.is(Cached::Coalesced, Reason::InFlight);
        }
        joins
    }

    /// Another sidecar's call was not for those who wait here: whoever led still does.
    fn waits_no_more(&mut self) {
        if self.reader.is_some()
            && let Some((outcome, reason)) = self.standing.was.take()
        {
            self.standing.is_vacant = false;
            self.flight.is_led_by(&self.seat);
            self.seat.is(outcome, reason);
        }
    }

    fn reading(&self, head: &Head) -> Reading {
        let grant = &self.seat.grant;
        let known = self.sidecar.cache.vector(grant.wanted());
        head.read_by(&grant.gates, &grant.check, &known)
    }

    fn is_not_meant(&self, group: &Group, mismatch: Mismatch) {
        let what = match mismatch {
            Mismatch::Gate(reason) => reason.as_str(),
            Mismatch::Check => "check",
        };
        let (org, key) = (&self.seat.grant.gates.org, self.seat.grant.at.key);
        group.metrics.mismatch(what);
        group.metrics.shared(SharedFlight::Mismatch);
        tracing::warn!(
            security = true,
            what,
            org,
            ?key,
            "gate mismatch in another sidecar's flight"
        );
    }

    /// A remote attempt has failed, or its leader is gone: who has read of it is told, the others wait for what
    /// follows.
    async fn has_failed_elsewhere(
        &mut self,
        fault: Fault,
        id: FlightId,
        outcome: &Mutex<Outcome>,
    ) -> Result<Next, Failed> {
        let Outcome { attempt, end, turn } = std::mem::take(&mut *lock(outcome));
        let Fault { failure, begun, .. } = fault;
        let begun = begun.unwrap_or_else(|| End::Failed(Arc::clone(&failure)));
        self.flight.is_asked();
        self.reader = None;
        let leader = Some(End::Failed(Arc::clone(&failure)));
        let failing = Failing { begun, leader, with_leader: |_: &Arc<Seat>| false };
        let now = self.now();
        let tell = || self.flight.log.fail(None, failing, now.0);
        let Some(lease) = &mut self.lease else {
            tell();
            self.finish(End::Failed(failure));
            return Ok(Next::Over);
        };
        match lease.tells(tell) {
            Told::Waiting(_) => {}
            Told::Nobody => {
                self.finish(End::Failed(failure));
                return Ok(Next::Over);
            }
            Told::Voided => {
                self.finish(End::Voided);
                return Ok(Next::Over);
            }
        }
        if end.is_some_and(|end| end.is_last) {
            let _: Held = self.end(Ending::Followed);
            self.finish(End::Failed(failure));
            return Ok(Next::Over);
        }
        self.standing.has_failed(id, attempt);
        if let Some(turn) = turn {
            return Ok(Next::Turn(turn));
        }
        let pause = end.map_or(0, |end| end.again_after.min(RETRY_AFTER_MAX).0);
        self.over(sleep_until(Instant::now() + Duration::from_millis(pause))).await?;
        Ok(Next::Again)
    }
}
