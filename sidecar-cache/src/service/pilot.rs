//! The task of a flight. It belongs to the sidecar and to no client: it makes the call, makes it again for
//! those who wait where it fails, and ends when it has filled the log, or when nobody wants it any more.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kt_contract::config::CompleteOnDisconnect;
use kt_contract::money::Tokens;
use kt_contract::outcome::Reason;
use kt_contract::problem::Problem;
use kt_contract::time::{Millis, MonoMillis};
use tokio::time::{Instant, sleep_until};

use super::bill::Bill;
use super::call_account::{CallAccount, CallEnd};
use super::drain::Served;
use super::fault::{Failed, SUPERSEDED, Unkept};
use super::flights::{Flight, Sent};
use super::judging::Judging;
use super::lease::Lease;
use super::log::{Failing, Piece, ReaderId};
use super::pace::Drawn;
use super::seat::{End, Failure, Seat};
use super::shared::role::{Role, Standing};
use super::{Sidecar, lock};
use crate::flight::{
    Bounds, Ending, Held, Outlives, Produced, RENEW_EVERY, Rule, outlives, token_limit,
};

/// How long an answer that is whole is kept for those who read slowly.
const LINGER: Duration = Duration::from_secs(600);

pub(super) const RENEW: Duration = Duration::from_millis(RENEW_EVERY.0);

/// A flight in the hands of its task.
pub(super) struct Pilot {
    pub(super) sidecar: Arc<Sidecar>,
    pub(super) flight: Arc<Flight>,
    /// `None` where nothing will be stored.
    pub(super) lease: Option<Lease>,
    /// Whose request is sent, and in whose name.
    pub(super) seat: Arc<Seat>,
    /// The leader's place; it may have left.
    pub(super) reader: Option<ReaderId>,
    /// Whether the provider allows to store what comes.
    pub(super) may_store: bool,
    /// What has been judged as a whole.
    pub(super) judging: Judging,
    /// Why what comes is not kept whole; `None` while it is.
    pub(super) unkept: Option<Unkept>,
    /// What has come of the attempt's answer.
    pub(super) produced: Produced,
    /// How often the provider was asked.
    pub(super) calls: u32,
    /// The account of the call that is under way.
    pub(super) call: Option<CallAccount>,
    /// Its money, until that has ended.
    pub(super) bill: Option<Bill>,
    /// Its tokens, until they are known, where a limit counts them.
    pub(super) drawn: Option<Drawn>,
    /// How long its answer was, once that is known.
    pub(super) output: Option<Tokens>,
    /// The longest answer that the request asks for: read once, and only if somebody leaves.
    token_limit: OnceLock<Option<u64>>,
    interest: Interest,
    /// What becomes of it when nobody reads.
    alone: Alone,
    /// What it is among the flights of its group.
    pub(super) standing: Standing,
    pub(super) renew_at: Instant,
    sweep_at: MonoMillis,
    is_finished: bool,
}

/// Whether anybody wants the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interest {
    /// Somebody reads, or waits.
    Attached,
    /// Nobody does here; other sidecars do.
    Elsewhere,
    /// Nobody does any more; it goes on until then.
    Detached { until: Instant },
    /// Nobody has to: the entry is what it is for. The call's own deadlines bound it.
    Unattended,
}

/// What becomes of a flight that nobody reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alone {
    /// What is configured for the case that the last client leaves.
    AsConfigured,
    /// It goes on: it was never meant for a client.
    GoesOn,
}

// === impl Sidecar ===

impl Sidecar {
    /// Starts a flight. `reader` is its leader's place; without one, nobody waits for it yet, and it goes on.
    pub(super) fn start(
        self: &Arc<Self>,
        flight: &Arc<Flight>,
        lease: Option<Lease>,
        seat: &Arc<Seat>,
        reader: Option<ReaderId>,
    ) {
        let served = self.drain.enter();
        let idle = idle(self);
        let (interest, alone) = match reader {
            Some(_) => (Interest::Attached, Alone::AsConfigured),
            None => (Interest::Unattended, Alone::GoesOn),
        };
        let pilot = Pilot {
            sidecar: Arc::clone(self),
            flight: Arc::clone(flight),
            lease,
            seat: Arc::clone(seat),
            reader,
            may_store: true,
            judging: Judging::default(),
            unkept: None,
            produced: Produced::default(),
            calls: 0,
            call: None,
            bill: None,
            drawn: None,
            output: None,
            token_limit: OnceLock::new(),
            interest,
            alone,
            standing: Standing::default(),
            renew_at: Instant::now() + RENEW,
            sweep_at: self.clock.mono().after(idle),
            is_finished: false,
        };
        let (sidecar, flight) = (Arc::clone(self), Arc::clone(flight));
        tokio::spawn(async move {
            // Boxed, so that those who read slowly keep only the rest of this task.
            Box::pin(flies_and_lands(pilot, served)).await;
            sidecar.see_off(&flight).await;
        });
    }

    /// Waits for the last reader. One that does not read counts as gone, and one that reads a little now and
    /// then does in the end: what it has not read is kept for it.
    async fn see_off(&self, flight: &Arc<Flight>) {
        if flight.log.readers() == 0 {
            return;
        }
        let _lingering = self.logs.linger(flight);
        let until = Instant::now() + LINGER;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                flight.log.dismiss().iter().for_each(|seat| seat.close(|_| {}));
                return;
            }
            let now = self.clock.mono();
            let (gone, again) = flight.log.sweep(idle(self).0, now.0);
            gone.iter().for_each(|seat| seat.close(|_| {}));
            let deserted = poll_fn(|context| flight.log.poll_deserted(context));
            let patience = Duration::from_millis(MonoMillis(again).since(now).0).min(left);
            if tokio::time::timeout(patience, deserted).await.is_ok() {
                return;
            }
        }
    }
}

/// A flight from its first attempt to its landing. What each flight keeps beside its answer is for the most part this
/// future: what it awaits once a call, or not in every flight, is boxed where it is awaited.
#[expect(clippy::manual_async_fn, reason = "an async fn has room for its arguments twice")]
fn flies_and_lands(mut pilot: Pilot, served: Served) -> impl Future<Output = ()> + Send {
    async move {
        pilot.fly().await;
        drop(served);
    }
}

// === impl Pilot ===

impl Pilot {
    async fn fly(&mut self) {
        loop {
            let ended = self.attempt().await;
            // Before anybody learns how it ended.
            self.pays(None).await;
            self.settles_tokens(None).await;
            self.called(&ended);
            match ended {
                Ok(()) | Err(Failed::Cancelled) => return,
                Err(Failed::Attempt(fault)) => {
                    if !self.passes_on(*fault).await {
                        return;
                    }
                }
            }
        }
    }

    /// The call is over, if one was made.
    fn called(&mut self, ended: &Result<(), Failed>) {
        let Some(call) = self.call.take() else { return };
        let end = match ended {
            Ok(()) => CallEnd::Served,
            Err(Failed::Cancelled) => CallEnd::Cancelled,
            Err(Failed::Attempt(_)) => CallEnd::Failed,
        };
        self.account_ends(call, end);
    }

    fn account_ends(&self, mut call: CallAccount, end: CallEnd) {
        if !self.is_finished {
            call.read_by(self.flight.log.readers());
        }
        call.ended(end, self.produced.bytes);
    }

    /// From now on the call is made in another name.
    pub(super) fn is_led_by(&mut self, reader: ReaderId, seat: Arc<Seat>) {
        self.flight.is_led_by(&seat);
        (self.reader, self.seat) = (Some(reader), seat);
        self.alone = Alone::AsConfigured;
    }

    /// Waits for `work`, as long as anybody wants it. The lease is renewed in the meantime, and readers that
    /// do not read are sent away.
    pub(super) async fn over<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Failed> {
        let mut work = pin!(work);
        let flight = Arc::clone(&self.flight);
        let sidecar = Arc::clone(&self.sidecar);
        let mut given_up = pin!(sidecar.drain.given_up());
        loop {
            // Asked first, so that work which is always ready cannot put it off.
            self.tend()?;
            let sweep_in = Duration::from_millis(self.sweep_at.since(self.now()).0);
            let now = Instant::now();
            let mut wake_at = self.renew_at.min(now + sweep_in).min(self.bill_due(now));
            if let Interest::Detached { until } = self.interest {
                wake_at = wake_at.min(until);
            }
            let deserted = poll_fn(|context| flight.log.poll_deserted(context));
            tokio::select! {
                biased;
                () = deserted, if self.interest == Interest::Attached => self.deserted()?,
                () = &mut given_up => return Err(self.stop()),
                done = &mut work => return Ok(done),
                () = sleep_until(wake_at) => {}
            }
        }
    }

    /// The sidecar ends, and does not wait any longer: what has come is accounted for, and those who read are told.
    fn stop(&mut self) -> Failed {
        let draining = Problem::Draining;
        self.not_stored(draining.code());
        let _: Held = self.end(Ending::Cancelled);
        self.finish(End::Failed(Arc::new(Failure::Problem(draining))));
        Failed::Cancelled
    }

    /// What is due.
    fn tend(&mut self) -> Result<(), Failed> {
        let now = Instant::now();
        if now >= self.renew_at {
            // A lease that is lost is noticed at the fill; the clients get their answer all the same.
            if let Some(lease) = &self.lease {
                let _: Held = lease.renew();
            }
            self.renew_at = now + RENEW;
        }
        if let Some(bill) = self.bill.as_mut().filter(|bill| now >= bill.renew_at()) {
            bill.renew();
        }
        self.goes_on_for_its_money()?;
        if self.now() >= self.sweep_at {
            let idle = idle(&self.sidecar);
            let (gone, again) = self.flight.log.sweep(idle.0, self.now().0);
            gone.iter().for_each(|seat| seat.close(|_| {}));
            self.sweep_at = MonoMillis(again);
        }
        match self.interest {
            Interest::Attached => Ok(()),
            Interest::Elsewhere | Interest::Detached { .. } | Interest::Unattended
                if self.flight.log.readers() > 0 =>
            {
                self.interest = Interest::Attached;
                Ok(())
            }
            Interest::Elsewhere => self.deserted(),
            Interest::Detached { until } if now >= until => {
                self.cancel(Reason::ClientLeft.as_str())
            }
            Interest::Detached { .. } | Interest::Unattended => self.goes_on_for_the_entry(),
        }
    }

    /// Nobody reads: ends the call as soon as what comes of it cannot be stored.
    fn goes_on_for_the_entry(&mut self) -> Result<(), Failed> {
        if self.is_storable() {
            return Ok(());
        }
        let is_held = self.lease.as_ref().is_some_and(|lease| lease.token().is_some());
        let is_current =
            self.lease.as_ref().is_some_and(Lease::is_current) && self.standing.role.may_fill();
        let reason = if let Role::Apart(apart) = self.standing.role {
            apart.as_str()
        } else if let Some(why) = self.unkept {
            why.as_str()
        } else if !self.may_store {
            Reason::NoStore.as_str()
        } else if !self.produced.fits(self.bounds()) {
            Reason::EntryTooLarge.as_str()
        } else if is_held {
            SUPERSEDED
        } else {
            Reason::ClientLeft.as_str()
        };
        if is_current {
            // As if it had come to its end: for a while nobody waits for what cannot be stored.
            let _: Held = self.end(Ending::Uncacheable);
        }
        self.cancel(reason)
    }

    /// Nobody reads here.
    fn deserted(&mut self) -> Result<(), Failed> {
        if self.standing.role.followers() > 0 {
            self.interest = Interest::Elsewhere;
            return Ok(());
        }
        match outlives(self.rule()) {
            Outlives::Yes if self.alone == Alone::GoesOn => {
                self.interest = Interest::Unattended;
                Ok(())
            }
            Outlives::Yes => {
                let until = Instant::now() + self.sidecar.timeouts.detached;
                self.interest = Interest::Detached { until };
                Ok(())
            }
            Outlives::No => self.cancel(Reason::ClientLeft.as_str()),
        }
    }

    fn rule(&self) -> Rule {
        let served_model = &self.seat.grant.gates.model.served_model;
        let is_stream = self.produced.events > 0;
        let limit = || self.flight.sent().and_then(|sent| token_limit(&sent.body));
        Rule {
            configured: match self.alone {
                Alone::AsConfigured => self.seat.grant.settings.single_flight.on_disconnect,
                Alone::GoesOn => CompleteOnDisconnect::Always,
            },
            may_fill: self.is_storable(),
            produced: self.produced,
            token_limit: *self.token_limit.get_or_init(limit),
            mean_bytes: lock(&self.sidecar.flights.means).of(served_model, is_stream),
        }
    }

    /// Whether what comes may be stored, as far as is known by now.
    fn is_storable(&self) -> bool {
        self.may_store
            && !self.judging.has_gaps()
            && self.standing.role.may_fill()
            && self.produced.fits(self.bounds())
            && self.lease.as_ref().is_some_and(Lease::is_current)
    }

    fn bounds(&self) -> Bounds {
        let settings = &self.seat.grant.settings;
        Bounds { bytes: settings.entry_bytes_max, tokens: settings.entry_tokens_max }
    }

    /// Ends the call, unless somebody has come in the meantime.
    fn cancel(&mut self, reason: &'static str) -> Result<(), Failed> {
        if self.lease.as_mut().is_none_or(|lease| lease.cancel(&self.flight)) {
            self.not_stored(reason);
            return Err(Failed::Cancelled);
        }
        self.interest = Interest::Attached;
        Ok(())
    }

    /// The end, for everybody who still reads.
    pub(super) fn finish(&mut self, end: End) {
        self.finish_with(std::iter::empty(), end);
    }

    /// The last pieces and the end, for everybody who still reads.
    pub(super) fn finish_with(&mut self, last: impl Iterator<Item = Piece>, end: End) {
        self.is_finished = true;
        self.tells_the_end(&end);
        // Before anybody learns that it is over, and leaves.
        let readers = self.flight.log.readers();
        self.account(|call| call.read_by(readers));
        self.flight.log.finish(last, end, self.now().0);
    }

    /// Why an answer was not stored.
    pub(super) fn not_stored(&mut self, reason: &'static str) {
        if self.standing.role.follows() {
            // Whoever made the call says so.
            return;
        }
        self.sidecar.metrics.not_stored(reason);
        self.account(|call| call.not_stored(reason));
        self.seat.note(|exchange| exchange.not_stored(reason));
    }

    /// Ends the lease, where there is one.
    pub(super) fn end(&mut self, how: Ending) -> Held {
        let under = self.flight.generations().newest();
        let how = if self.standing.role.follows() { Ending::Followed } else { how };
        if let Some(herald) = self.standing.role.herald() {
            herald.ends(how, under);
        }
        let held = self.lease.as_mut().map_or(Held::Superseded, |lease| lease.end(how, under));
        // Nobody takes over any more.
        self.flight.sent_for_good();
        held
    }

    pub(super) fn now(&self) -> MonoMillis {
        self.sidecar.clock.mono()
    }

    /// The request as it is sent; empty once nothing will be sent any more.
    pub(super) fn sent(&self) -> Arc<Sent> {
        let nothing =
            || Arc::new(Sent { headers: Vec::new(), body: bytes::Bytes::new(), _room: None });
        self.flight.sent().unwrap_or_else(nothing)
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            self.account_ends(call, CallEnd::Stopped);
        }
        self.flight.sent_for_good();
        if !self.is_finished {
            // Nobody reads, or the task was stopped, or has a fault: nobody must wait for it.
            let failure = Arc::new(Failure::Problem(Problem::Internal));
            let end = End::Failed(failure);
            let leader = Some(end.clone());
            let failing =
                Failing { begun: end.clone(), leader, with_leader: |_: &Arc<Seat>| false };
            self.flight.log.fail(self.reader, failing, self.now().0);
            self.flight.log.finish(std::iter::empty(), end, self.now().0);
        }
    }
}

fn idle(sidecar: &Sidecar) -> Millis {
    let idle = sidecar.timeouts.download_idle.as_millis();
    Millis(u64::try_from(idle).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a future of that function takes, without calling it.
    fn room_of<A, B, F>(_: impl FnOnce(A, B) -> F) -> usize {
        size_of::<F>()
    }

    // How the compiler lays out what is awaited decides too: another one may want another bound, and a look at why.
    #[test]
    fn a_flight_keeps_less_than_six_kilobytes_beside_its_answer() {
        let room = room_of(flies_and_lands);
        assert!(room < 6 << 10, "{room} bytes");
    }
}
