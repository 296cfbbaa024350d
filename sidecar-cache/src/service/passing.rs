//! What follows on a failed attempt: who is told, and who of those that wait makes the next call.

use std::sync::Arc;
use std::time::Duration;

use kt_contract::time::Millis;
use tokio::time::{Instant, sleep_until};

use super::fault::Fault;
use super::lease::{Lease, Told};
use super::log::Failing;
use super::pilot::{Pilot, RENEW};
use super::seat::{End, Seat};
use super::shared::herald::Herald;
use super::shared::role::Role;
use super::shared::words::trouble;
use crate::flight::{AfterFailure, BACKOFF, Cause, Ending, Failed, RETRY_AFTER_MAX, TAKEOVERS_MAX};
use crate::flight_text::Opening;
use crate::store::StoreError;
use crate::store::leases;

// === impl Pilot ===

impl Pilot {
    /// An attempt has failed: tells whom it concerns, and hands the lease to one of those who wait, if
    /// there is to be another. `false`: there is not, and everybody knows.
    pub(super) async fn passes_on(&mut self, fault: Fault) -> bool {
        if let Role::Leads(herald) = std::mem::take(&mut self.standing.role) {
            return self.hands_on(herald, fault).await;
        }
        let Fault { failure, begun, leader, retry_after, cause, whom } = fault;
        let now = self.now();
        let begun = begun.unwrap_or_else(|| End::Failed(Arc::clone(&failure)));
        let leader =
            leader.or_else(|| self.is_foreign().then(|| End::Failed(Arc::clone(&failure))));
        let with_leader = |seat: &Arc<Seat>| whom.reaches(&seat.grant.caller.principal);
        let failing = Failing { begun, leader, with_leader };
        let tell = || self.flight.log.fail(self.reader, failing, now.0);
        let after = match &mut self.lease {
            Some(lease) => lease.fail(cause, retry_after, tell),
            None => {
                tell();
                AfterFailure::Over
            }
        };
        let end = match after {
            AfterFailure::Over => End::Failed(failure),
            AfterFailure::Voided => End::Voided,
            AfterFailure::TakeOver { at } => {
                let at = Instant::now() + Duration::from_millis(at.since(now).0);
                self.reader = None;
                if self.over(sleep_until(at)).await.is_ok() && self.takes_over(cause) {
                    return true;
                }
                // Whoever still waits does so for a flight that was voided during the backoff.
                End::Voided
            }
        };
        self.finish(end);
        false
    }

    fn takes_over(&mut self, cause: Cause) -> bool {
        let Some(lease) = &mut self.lease else { return false };
        let Some((reader, seat)) = lease.take_over(cause, &self.flight) else { return false };
        seat.takes_over();
        self.is_led_by(reader, seat);
        self.renew_at = Instant::now() + RENEW;
        true
    }

    /// An attempt for the group has failed: the group decides what follows, and those who wait here are handed on.
    /// `false`: nothing follows, and everybody knows.
    async fn hands_on(&mut self, mut herald: Herald, fault: Fault) -> bool {
        let Fault { failure, begun, leader, retry_after, cause, whom } = fault;
        let begun = begun.unwrap_or_else(|| End::Failed(Arc::clone(&failure)));
        let leader = leader.or_else(|| self.is_foreign().then(|| End::Failed(failure.clone())));
        let with_leader = |seat: &Arc<Seat>| whom.reaches(&seat.grant.caller.principal);
        let failing = Failing { begun, leader, with_leader };
        let (now, reader) = (self.now(), self.reader.take());
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
        let after = herald.fails(Failed { waiting, retry_after, cause }, self.flight.cost()).await;
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
                self.standing.has_failed(id, attempt);
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
        after: Result<leases::AfterFailure, StoreError>,
        retry_after: Option<Millis>,
    ) -> Option<Duration> {
        let may_call = self.calls <= TAKEOVERS_MAX;
        let is_hopeless = retry_after.is_some_and(|wait| wait > RETRY_AFTER_MAX);
        let pause = match after {
            Ok(leases::AfterFailure::TakeOver { after }) => after,
            Ok(leases::AfterFailure::Over) => return None,
            Ok(leases::AfterFailure::Voided) | Err(_) if is_hopeless => return None,
            Ok(leases::AfterFailure::Voided) | Err(_) => {
                retry_after.unwrap_or_default().max(BACKOFF)
            }
        };
        may_call.then(|| Duration::from_millis(pause.0))
    }

    /// Who has taken over a call in another shape than its own cannot read what there is of it.
    fn is_foreign(&self) -> bool {
        self.seat.asked() != self.flight.comes()
    }
}
