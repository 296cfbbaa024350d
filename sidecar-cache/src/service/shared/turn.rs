//! A flight among those of its group: before an attempt its task learns whose turn it is. It makes the call and tells
//! the others, or another sidecar's flight takes the place of the call: what comes of it is written into the local log,
//! and neither paid for, counted as a call nor stored.

use std::mem::replace;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kt_contract::outcome::{Outcome as Cached, Reason};
use kt_contract::problem::Problem;
use tokio::time::{Instant, sleep_until};

use super::super::fault::{Failed, Fault};
use super::super::lease::{Lease, Told};
use super::super::lock;
use super::super::log::Failing;
use super::super::pilot::Pilot;
use super::super::reader::cut_short;
use super::super::relay::Source;
use super::super::seat::{End, Failure, Seat};
use super::herald::Herald;
use super::remote::{Outcome, Remote, Start};
use super::{Apart, Asking, Group, Place, Turn};
use crate::entry::Mismatch;
use crate::flight::{
    BACKOFF, Cause, Ending, Failed as Lost, FlightId, Held, RETRY_AFTER_MAX, TAKEOVERS_MAX,
};
use crate::flight_text::{self, Head, Opening, Reading, Trouble};
use crate::metrics::SharedFlight;
use crate::store::StoreError;
use crate::store::leases::AfterFailure;

/// What this flight is among those of its group.
#[derive(Default)]
pub(crate) struct Standing {
    pub(crate) role: Role,
    /// The shared flight of which an attempt has failed, and which attempt that was.
    before: Option<(FlightId, u64)>,
    /// Whether whoever led does not any more: the next call is made in another one's name.
    is_vacant: bool,
    /// What the cache did for whoever leads, until it waited for another sidecar's call.
    was: Option<(Cached, Reason)>,
}

/// Whose call it waits for.
#[derive(Default)]
pub(crate) enum Role {
    /// Its own, and there is no group that it was asked of.
    #[default]
    Single,
    /// Its own, for the whole group.
    Leads(Herald),
    /// Another sidecar's, and what is known of it.
    Follows(Arc<Mutex<Outcome>>),
    /// Its own, beside the group: nothing is stored.
    Apart(Apart),
}

/// What follows on a remote flight.
enum Next {
    /// All is said.
    Over,
    /// It is asked again whose turn it is.
    Again,
    /// That is known.
    Turn(Turn),
}

// === impl Role ===

impl Role {
    pub(crate) const fn herald(&mut self) -> Option<&mut Herald> {
        match self {
            Self::Leads(herald) => Some(herald),
            Self::Single | Self::Follows(_) | Self::Apart(_) => None,
        }
    }

    pub(crate) const fn follows(&self) -> bool {
        matches!(self, Self::Follows(_))
    }

    /// Whether what comes may be stored, as far as the group is concerned.
    pub(crate) fn may_fill(&self) -> bool {
        match self {
            Self::Single => true,
            Self::Leads(herald) => !herald.is_lost(),
            Self::Follows(_) | Self::Apart(_) => false,
        }
    }

    /// How many other sidecars read.
    pub(crate) fn followers(&self) -> u32 {
        match self {
            Self::Leads(herald) => herald.followers(),
            Self::Single | Self::Follows(_) | Self::Apart(_) => 0,
        }
    }
}

// === impl Pilot ===

impl Pilot {
    /// Waits for this sidecar's turn to make the call. `false`: it is over without one, and everybody knows.
    pub(crate) async fn takes_its_turn(&mut self) -> Result<bool, Failed> {
        let Some(group) = self.sidecar.group.clone() else { return Ok(true) };
        self.standing.role = Role::Single;
        let mut known = None;
        loop {
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
                Turn::Follow(place) => self.follow(&group, place, asking).await?,
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
        self.flight.begins_under(generations);
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
        herald.begins(&Head { gates, check, began, asked: self.flight.asked });
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
                self.seat.is(Cached::Miss, Reason::HitForMiss);
            }
            Apart::LedElsewhere => group.metrics.shared(SharedFlight::LedElsewhere),
            // Counted where it was noticed.
            Apart::Unavailable | Apart::Mismatch => {}
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

    /// Another sidecar leads: its flight is read.
    async fn follow(
        &mut self,
        group: &Arc<Group>,
        place: Place,
        asking: Asking,
    ) -> Result<Next, Failed> {
        let id = place.id;
        let past = self.standing.before.filter(|(of, _)| *of == id).map(|(_, attempt)| attempt);
        if past.is_none() {
            group.metrics.shared(SharedFlight::Followed);
        }
        self.waits_for_another();
        self.flight.is_in_group(Some(id));
        let mut remote = Remote::new(place, asking, past);
        let outcome = remote.outcome();
        self.standing.role = Role::Follows(Arc::clone(&outcome));
        let start = match self.over(remote.head()).await? {
            Err(start) => start,
            Ok(head) => match self.reading(&head) {
                Reading::Mine => self.over(remote.opening(head)).await?,
                Reading::Others(mismatch) => {
                    self.is_not_meant(group, mismatch);
                    self.waits_no_more();
                    return Ok(Next::Turn(Turn::Own(Apart::Mismatch)));
                }
                Reading::Old => {
                    drop(remote);
                    self.over(group.void(asking.key)).await?;
                    self.standing.before = None;
                    self.waits_no_more();
                    return Ok(Next::Again);
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
                return Ok(Next::Turn(Turn::Own(Apart::Mismatch)));
            }
        };
        self.has_failed_elsewhere(fault, id, &outcome).await
    }

    /// Who waits here waits for another sidecar's call.
    fn waits_for_another(&mut self) {
        self.standing.is_vacant = true;
        if self.has_reader() && !self.seat.is_coalesced() {
            self.standing.was = Some(self.seat.cache());
            self.seat.is(Cached::Coalesced, Reason::InFlight);
            self.sidecar.metrics.followed();
        }
    }

    /// Another sidecar's call was not for those who wait here: whoever led still does.
    fn waits_no_more(&mut self) {
        if self.has_reader()
            && let Some((outcome, reason)) = self.standing.was.take()
        {
            self.standing.is_vacant = false;
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
        self.leaves_its_place();
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
        self.standing.before = Some((id, attempt));
        if let Some(turn) = turn {
            return Ok(Next::Turn(turn));
        }
        let pause = end.map_or(0, |end| end.again_after.min(RETRY_AFTER_MAX).0);
        self.over(sleep_until(Instant::now() + Duration::from_millis(pause))).await?;
        Ok(Next::Again)
    }

    /// An attempt for the group has failed: the group decides what follows, and those who wait here are handed on.
    /// `false`: nothing follows, and everybody knows.
    pub(crate) async fn hands_on(&mut self, mut herald: Herald, fault: Fault) -> bool {
        let Fault { failure, begun, leader, retry_after, cause, whom } = fault;
        let begun = begun.unwrap_or_else(|| End::Failed(Arc::clone(&failure)));
        let leader = leader.or_else(|| self.is_foreign().then(|| End::Failed(failure.clone())));
        let with_leader = |seat: &Arc<Seat>| whom.reaches(&seat.grant.caller.principal);
        let failing = Failing { begun, leader, with_leader };
        let (now, reader) = (self.now(), self.leaves_its_place());
        let tell = || self.flight.log.fail(reader, failing, now.0);
        let told = match &mut self.lease {
            Some(lease) => lease.tells(tell),
            None => {
                tell();
                Told::Nobody
            }
        };
        self.sidecar.metrics.flight_ended(match cause {
            Cause::Call => Ending::Failed,
            Cause::Unpaid => Ending::Unpaid,
        });
        if let Some(trouble) = trouble(&failure) {
            herald.opens(&Opening::Trouble(trouble));
        }
        let waiting = told.waiting();
        let (id, attempt) = (herald.id(), herald.token().counter);
        let after = herald.fails(Lost { waiting, retry_after, cause }, self.flight.cost()).await;
        let pause = self.pause(after, retry_after);
        match (told, pause) {
            (Told::Voided, _) => self.finish(End::Voided),
            (Told::Nobody, _) => self.finish(End::Failed(failure)),
            (Told::Waiting(_), None) => {
                self.lease.iter_mut().for_each(Lease::release);
                self.flight.sent_for_good();
                self.finish(End::Failed(failure));
            }
            (Told::Waiting(_), Some(pause)) => {
                self.standing.before = Some((id, attempt));
                self.standing.is_vacant = true;
                if self.over(sleep_until(Instant::now() + pause)).await.is_ok() {
                    return true;
                }
                self.finish(End::Voided);
            }
        }
        false
    }

    /// How long those who wait do so before the next attempt. `None`: there is none. Where the group cannot say, or
    /// the lease was lost, no more calls are made here than one flight may make.
    fn pause(
        &self,
        after: Result<AfterFailure, StoreError>,
        retry_after: Option<kt_contract::time::Millis>,
    ) -> Option<Duration> {
        let may_call = self.calls <= TAKEOVERS_MAX;
        let is_hopeless = retry_after.is_some_and(|wait| wait > RETRY_AFTER_MAX);
        let pause = match after {
            Ok(AfterFailure::TakeOver { after }) => after,
            Ok(AfterFailure::Over) => return None,
            Ok(AfterFailure::Voided) | Err(_) if is_hopeless => return None,
            Ok(AfterFailure::Voided) | Err(_) => retry_after.unwrap_or_default().max(BACKOFF),
        };
        may_call.then(|| Duration::from_millis(pause.0))
    }

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
fn trouble(failure: &Failure) -> Option<Trouble> {
    let Failure::Problem(problem) = failure else { return None };
    match problem.code() {
        "upstream_unreachable" => Some(Trouble::Unreachable),
        "upstream_unauthorized" => Some(Trouble::Unauthorized),
        "upstream_cut_short" => Some(Trouble::CutShort),
        "sidecar_unavailable" => Some(Trouble::NoGateway),
        _ => None,
    }
}

fn problem(trouble: Trouble, seat: &Seat) -> Problem {
    let target = seat.grant.target.clone();
    match trouble {
        Trouble::Unreachable => Problem::UpstreamUnreachable { target },
        Trouble::Unauthorized => Problem::UpstreamUnauthorized { target },
        Trouble::CutShort => Problem::UpstreamCutShort { target },
        Trouble::NoGateway => Problem::SidecarUnavailable,
    }
}

/// How an answer begins, for the others.
pub(crate) fn opening(opened: &super::super::seat::Opened) -> Opening {
    Opening::Answer(flight_text::Answer {
        status: opened.status,
        content_type: opened.content_type.clone(),
        content_encoding: opened.content_encoding.clone(),
        after: opened.advice.after.clone(),
        after_ms: opened.advice.after_ms.clone(),
        should: opened.advice.should.clone(),
    })
}
