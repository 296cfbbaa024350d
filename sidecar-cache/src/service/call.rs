//! One attempt: the entry, in case that it has come in the meantime; the call, its head, and what its answer
//! becomes: collected and judged, written to the log as it comes, or passed on as it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use kt_contract::limits::ENTRY_BYTES_MAX;
use kt_contract::outcome::Reason;
use kt_contract::problem::Problem;
use kt_contract::time::Millis;
use kt_providers::{Delivered, Dialect, Recorded, Terms, Usage};
use tokio::time::{Instant, timeout_at};

use super::admit::Grant;
use super::bill::Bill;
use super::call_account::CallAccount;
use super::fault::{Failed, Fault, UNBOOKED, UNJUDGED, Unkept};
use super::lock;
use super::pilot::Pilot;
use super::police::Stopped;
use super::reader::cut_short;
use super::relay::{Source, Step};
use super::seat::{End, Failure, Opened, Whole};
use super::upstream::{Advice, Answered, Call, CallFailed};
use crate::attempt::{self, Fate, Finished, Start, Transport, Verdict};
use crate::flight::{Ending, Held, Produced, Sharing, retry_after, sharing};
use crate::flight_text::Answer;
use crate::metrics;

/// What an answer turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Concluded {
    /// Everybody may have it to its end. Its lease has ended.
    Served,
    /// Whoever has begun to read it may have it to its end; it is no answer for those who wait.
    Faulty,
    /// It has no end.
    CutShort,
}

// === impl Pilot ===

impl Pilot {
    /// Calls the provider and writes what it says into the log.
    pub(super) async fn attempt(&mut self) -> Result<(), Failed> {
        let sidecar = Arc::clone(&self.sidecar);
        self.begins_anew();
        if self.lease.is_some() {
            if !self.takes_its_turn().await? {
                return Ok(());
            }
            // A flight that ended before this one began has left an entry: nobody calls for what is there.
            let seat = Arc::clone(&self.seat);
            if let Ok((hit, _)) = self.over(sidecar.entry(&seat.grant)).await? {
                let _: Held = self.end(Ending::Found);
                self.finish(End::Found(Arc::from(hit)));
                return Ok(());
            }
        }
        // Before anything is set aside for the call.
        if let Err(stopped) = self.judges_request().await? {
            return self.stops(stopped, false).await;
        }
        let Some((answered, first_by)) = self.answered().await? else { return Ok(()) };
        let opened = opened(&self.seat.grant, &answered);
        self.may_store = attempt::may_store(answered.cache_control.as_deref());
        let start = start(&opened, answered.details.as_deref());
        let source = Source::new(answered.body, first_by, sidecar.timeouts);
        let target = || self.seat.grant.target.clone();
        match start {
            Start::NotReached => {
                let details = answered.details;
                tracing::warn!(target_id = target(), details, "provider not reached");
                let unreachable = Problem::UpstreamUnreachable { target: target() };
                self.fate(attempt::fate_without_provider(details.as_deref()));
                Err(self.failed(unreachable))
            }
            Start::Unauthorized => {
                let status = opened.status;
                tracing::error!(
                    target_id = target(),
                    status,
                    "provider refused the gateway's credential"
                );
                let unauthorized = Problem::UpstreamUnauthorized { target: target() };
                self.fate(Fate::Refused);
                Err(self.failed(unauthorized))
            }
            Start::Pass(_) | Start::Record(_) => self.relays(opened, start, source).await,
        }
    }

    /// Nothing has come of the attempt that begins. What is invalidated from now on is not stored.
    pub(super) fn begins_anew(&mut self) {
        (self.produced, self.may_store, self.unkept) = (Produced::default(), true, None);
        self.judging.begins_anew();
        self.flight.has_cost(None);
        self.flight.has_usage(None);
        self.flight.comes_as(self.flight.asked);
        let generations = self.sidecar.cache.vector(self.seat.grant.wanted());
        self.flight.begins_under(generations, self.now());
    }

    /// Another sidecar's answer, as if the provider gave it.
    pub(super) async fn reads(&mut self, answer: Answer, source: Source) -> Result<(), Failed> {
        let Answer { status, content_type, content_encoding, after, after_ms, should } = answer;
        let opened = Opened {
            status,
            content_type,
            content_encoding,
            advice: Arc::new(Advice { after, after_ms, should }),
            served_by: self.seat.grant.gates.model.served_by(),
            recorded: None,
        };
        // What a gateway says by itself is not told as an answer.
        let start = start(&opened, Some(attempt::VIA_UPSTREAM));
        self.relays(opened, start, source).await
    }

    /// An answer on its way to its readers.
    async fn relays(&mut self, opened: Opened, start: Start, source: Source) -> Result<(), Failed> {
        match start {
            Start::Pass(reason) if opened.status == 200 => {
                let why = Unkept::Unstorable(reason);
                if self.may_change_answers() {
                    return self.stops(Stopped::Unreadable, false).await;
                }
                self.goes_unread();
                self.pass(Arc::new(opened), source, Vec::new(), why).await
            }
            Start::Pass(reason) => self.refused(opened, source, reason).await,
            Start::NotReached | Start::Unauthorized => {
                self.refused(opened, source, Reason::Status).await
            }
            Start::Record(Recorded::Json) => self.collect(opened, source).await,
            Start::Record(Recorded::Sse) => self.stream(opened, source).await,
        }
    }

    /// Makes the call, until its head is there. `None`: it was not made, because nobody who waits for it can have it
    /// paid; they know.
    async fn answered(&mut self) -> Result<Option<(Answered, Instant)>, Failed> {
        let Ok(credential) = self.seat.grant.credential() else {
            let target_id = &self.seat.grant.target;
            tracing::error!(
                security = true,
                target_id,
                "a call to a target that is not the tenant's"
            );
            return Err(self.failed(Problem::Internal));
        };
        self.flight.is_asked();
        let (sidecar, seat) = (Arc::clone(&self.sidecar), Arc::clone(&self.seat));
        let wait = sidecar.timeouts.gateway;
        let gateways = sidecar.gateways.egress_within(&seat.grant.gateway, sidecar.clock, wait);
        let egress = self.over(gateways).await?;
        if !self.draws_tokens().await? || !self.reserve().await? {
            return Ok(None);
        }
        // From here on: no provider is slow because a gateway is.
        let patience = seat.grant.settings.first_byte_of(&seat.grant.target);
        let first_by = Instant::now() + patience;
        self.calls += 1;
        self.call = Some(CallAccount::begin(sidecar.clock, &seat.grant, self.calls));
        let sent = self.sent();
        let call = Call {
            egress,
            target: seat.grant.target.clone(),
            path: seat.grant.gates.model.path.clone(),
            headers: sent.headers.clone(),
            credential,
            request_id: seat.grant.request_id.clone(),
            trace: self.call.as_ref().and_then(CallAccount::as_parent),
            body: with_usage(&seat.grant, &sent.body),
        };
        drop(sent);
        let is_sent = AtomicBool::new(false);
        let sends = self.bill.as_ref().map(Bill::sends);
        let call = async {
            is_sent.store(true, Ordering::Relaxed);
            sends.into_iter().for_each(|sends| sends());
            sidecar.upstream.call(call).await
        };
        let answered = self.over(timeout_at(first_by, call)).await;
        // Whoever led may have left while the money was set aside: then nothing was sent, and nothing is owed.
        if is_sent.load(Ordering::Relaxed) {
            self.fate(Fate::Sent);
        }
        match answered? {
            Ok(Ok(answered)) => {
                self.account(|call| call.answering(answered.status));
                self.fate(if answered.status < 300 { Fate::Answered } else { Fate::Refused });
                Ok(Some((answered, first_by)))
            }
            Ok(Err(failed)) => {
                self.fate(match failed {
                    CallFailed::NoEgress => Fate::Unsent,
                    CallFailed::Broken => Fate::Lost,
                });
                Err(self.failed(not_reached(failed, &seat.grant.target)))
            }
            Err(_too_late) => Err(self.failed(cut_short(&seat))),
        }
    }

    /// The attempt has no answer, for a reason of ours.
    pub(super) fn failed(&mut self, problem: Problem) -> Failed {
        self.not_stored(problem.code());
        Fault::of(Failure::Problem(problem)).into()
    }

    /// A provider's refusal: for everybody, where another call would end the same way.
    async fn refused(
        &mut self,
        opened: Opened,
        mut source: Source,
        reason: Reason,
    ) -> Result<(), Failed> {
        let is_success = (200..300).contains(&opened.status);
        let mut body = Vec::new();
        loop {
            match self.over(source.next()).await? {
                Step::Bytes(bytes) => {
                    body.extend_from_slice(&bytes);
                    if is_success {
                        self.produced.bytes = body.len() as u64;
                        self.has_passed();
                    }
                }
                Step::End => break,
                Step::Broken => return Err(self.failed(cut_short(&self.seat))),
            }
            if body.len() > ENTRY_BYTES_MAX {
                return Err(self.failed(cut_short(&self.seat)));
            }
        }
        self.not_stored(reason.as_str());
        self.produced.bytes = body.len() as u64;
        let body = if is_success {
            match self.passes(body).await? {
                Ok(body) => body,
                Err(stopped) => return self.stops(stopped, false).await,
            }
        } else {
            self.polices_refusal(body)
        };
        self.tells(&opened, &body);
        self.pays(None).await;
        let (status, wait) = (opened.status, patience(&opened.advice));
        let failure = Failure::Answer(opened, body, cut_short(&self.seat));
        match sharing(status) {
            Sharing::Leader => Err(Fault { retry_after: wait, ..Fault::of(failure) }.into()),
            Sharing::Everybody => {
                let how = if is_success { Ending::Uncacheable } else { Ending::Refused };
                let _: Held = self.end(how);
                self.finish(End::Failed(Arc::new(failure)));
                Ok(())
            }
        }
    }

    /// Collects one JSON object, so that a cut one is a clean error for its clients.
    async fn collect(&mut self, opened: Opened, mut source: Source) -> Result<(), Failed> {
        let (mut body, mut charge) =
            (Vec::new(), self.sidecar.logs.charge(&self.seat.grant.caller.principal.org));
        loop {
            match self.over(source.next()).await? {
                Step::Bytes(bytes) => {
                    if body.is_empty() {
                        self.first_byte();
                        if !self.may_change_answers() {
                            // It is worth waiting for, elsewhere too.
                            self.tells_opening(&opened);
                        }
                    }
                    body.extend_from_slice(&bytes);
                    charge.grow(bytes.len() as u64);
                    self.produced.bytes = body.len() as u64;
                }
                Step::End => break,
                Step::Broken => return Err(self.failed(cut_short(&self.seat))),
            }
            if let Some(why) = self.outgrows(body.len()) {
                let opened = Opened { recorded: Some(Recorded::Json), ..opened };
                // From here on the log has it.
                drop(charge);
                if self.may_change_answers() {
                    return match why {
                        Unkept::Unstorable(_) => self.stops(Stopped::Unreadable, false).await,
                        // A better time may come.
                        Unkept::NoRoom => Err(self.failed(cut_short(&self.seat))),
                    };
                }
                self.goes_unread();
                return self.pass(Arc::new(opened), source, body, why).await;
            }
        }
        // Exactly as long as it is: it may be kept for a while.
        body.shrink_to_fit();
        let body = match self.passes(body).await? {
            Ok(body) => body,
            Err(stopped) => return self.stops(stopped, false).await,
        };
        // Before it is stored: the others learn with its end that they may have it.
        self.tells(&opened, &body);
        match self.conclude(Recorded::Json, Some(&body), Transport::Clean).await {
            Concluded::Served => {
                let whole = Whole::new(Arc::new(opened), Recorded::Json, body, charge);
                self.finish(End::Whole(whole));
                Ok(())
            }
            Concluded::CutShort => Err(self.fault().into()),
            // Nobody can do more with it than the leader; but another call may bring a better one.
            Concluded::Faulty => {
                Err(Fault::of(Failure::Answer(opened, body, cut_short(&self.seat))).into())
            }
        }
    }

    /// An attempt whose answer broke off.
    pub(super) fn fault(&self) -> Fault {
        Fault::of(Failure::Problem(cut_short(&self.seat)))
    }

    pub(super) fn first_byte(&mut self) {
        self.flight.is_answered();
        if self.standing.role.follows() {
            return;
        }
        self.account(CallAccount::first_byte);
        self.seat.note(super::exchange::Exchange::first_byte);
    }

    /// Judges an answer, stores it where it may be stored, and ends the lease unless somebody may take over.
    pub(super) async fn conclude(
        &mut self,
        recorded: Recorded,
        body: Option<&Bytes>,
        transport: Transport,
    ) -> Concluded {
        let grant = &self.seat.grant;
        let settings = &grant.settings;
        let verdict = attempt::verdict(Finished {
            dialect: grant.dialect,
            recorded,
            body: body.map(AsRef::as_ref),
            transport,
            may_store: self.may_store,
            terms: Terms {
                client_limited: grant.client_limited,
                answers: grant.dialect.answers_asked(&self.sent().body),
            },
            entry_tokens_max: settings.entry_tokens_max,
            entry_bytes_max: settings.entry_bytes_max,
        });
        let delivered = match (recorded, body) {
            (Recorded::Json, Some(body)) => read(grant.dialect, body),
            // The bill has read it as it came.
            (Recorded::Json, None) | (Recorded::Sse, _) => None,
        };
        // Booked before it counts, and before anybody learns how it ended.
        let is_booked = self.pays(delivered).await;
        match verdict {
            Verdict::CutShort => {
                self.not_stored(Reason::Incomplete.as_str());
                Concluded::CutShort
            }
            Verdict::Serve { reason, usage } => {
                self.used(usage).await;
                self.not_stored(self.unkept.map_or(reason.as_str(), Unkept::as_str));
                if reason == Reason::Incomplete {
                    return Concluded::Faulty;
                }
                // Too large, or not to be kept: it has come to its own end all the same.
                if matches!(reason, Reason::EntryTooLarge | Reason::NoStore) {
                    self.was_long();
                }
                let _: Held = self.end(Ending::Uncacheable);
                Concluded::Served
            }
            Verdict::Fill { usage } => {
                self.used(usage).await;
                let body = body.cloned().unwrap_or_default();
                let model = &self.seat.grant.gates.model.served_model;
                let is_stream = recorded == Recorded::Sse;
                lock(&self.sidecar.flights.means).learn(model, is_stream, body.len() as u64);
                self.was_long();
                if self.standing.role.follows() {
                    let _: Held = self.end(Ending::Followed);
                    return Concluded::Served;
                }
                let filled = match is_booked {
                    true if self.judging.has_gaps() => Err(UNJUDGED),
                    true => self.fill(recorded, &body, usage).await,
                    false => Err(UNBOOKED),
                };
                match filled {
                    Ok(()) => {
                        self.sidecar.metrics.filled();
                        self.seat.note(super::exchange::Exchange::stored);
                        self.account(CallAccount::stored);
                    }
                    Err(reason) => {
                        self.not_stored(reason);
                        let _: Held = self.end(Ending::NotStored);
                    }
                }
                Concluded::Served
            }
        }
    }

    /// Writes something into the account of the call.
    pub(super) fn account(&mut self, write: impl FnOnce(&mut CallAccount)) {
        if let Some(call) = &mut self.call {
            write(call);
        }
    }

    async fn used(&mut self, usage: Option<Usage>) {
        self.flight.has_usage(usage);
        if self.standing.role.follows() {
            // Whoever made the call has counted it.
            return;
        }
        self.settles_tokens(usage).await;
        self.account(|call| call.used(usage));
        self.has_told_cost(usage);
        if let Some(usage) = usage {
            self.sidecar.metrics.used(usage);
            let gates = &self.seat.grant.gates;
            let (dialect, labels) = (&gates.model.dialect, self.sidecar.labels(gates));
            self.sidecar.metrics.gen_ai_used(metrics::Asked { dialect, labels }, usage);
        }
        self.seat.note(|exchange| exchange.used(usage));
    }
}

fn start(opened: &Opened, details: Option<&str>) -> Start {
    attempt::start(attempt::Head {
        status: opened.status,
        details,
        content_type: opened.content_type.as_deref(),
        content_encoding: opened.content_encoding.as_deref(),
    })
}

/// What has come of a JSON answer, if it can be read at all.
pub(super) fn read(dialect: Dialect, body: &[u8]) -> Option<Delivered> {
    let delivered = dialect.delivered(Recorded::Json, body);
    (delivered != Delivered::default()).then_some(delivered)
}

fn with_usage(grant: &Grant, body: &Bytes) -> Bytes {
    grant.dialect.with_usage(body).map_or_else(|| body.clone(), Bytes::from)
}

fn not_reached(failed: CallFailed, target: &str) -> Problem {
    match failed {
        CallFailed::NoEgress => {
            tracing::error!("no gateway's egress takes connections");
            Problem::SidecarUnavailable
        }
        CallFailed::Broken => Problem::UpstreamUnreachable { target: target.to_owned() },
    }
}

/// How long the provider asks to wait.
fn patience(advice: &Advice) -> Option<Millis> {
    retry_after(advice.after.as_deref(), advice.after_ms.as_deref())
}

fn opened(grant: &Grant, answered: &Answered) -> Opened {
    Opened {
        status: answered.status,
        content_type: answered.content_type.clone(),
        content_encoding: answered.content_encoding.clone(),
        advice: Arc::clone(&answered.advice),
        served_by: grant.gates.model.served_by(),
        recorded: None,
    }
}
