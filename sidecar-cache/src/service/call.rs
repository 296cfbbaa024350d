//! One attempt: the call, its head, and what its answer becomes: collected and judged, relayed while it is
//! recorded, or passed on as it is.

use std::sync::Arc;

use bytes::Bytes;
use kt_contract::limits::ENTRY_BYTES_MAX;
use kt_contract::outcome::{Outcome, Reason};
use kt_contract::problem::Problem;
use kt_contract::time::UnixMillis;
use kt_providers::{Recorded, Terms, Usage};
use tokio::time::{Instant, timeout_at};

use super::Sidecar;
use super::admit::Grant;
use super::cache::{Filled, Filling};
use super::lane::{Account, Head, Refusal, Reply};
use super::lease::Lease;
use super::relay::{Relay, Source, Step};
use super::upstream::{Answered, Call, CallFailed};
use crate::attempt::{self, Finished, Start, Transport, Verdict};
use crate::entry::Header;
use crate::flight::Held;
use crate::generation::Vector;

/// All that an attempt needs, and all that must come to an end with it.
pub(super) struct Order {
    pub(super) grant: Box<Grant>,
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) body: Bytes,
    pub(super) cache: (Outcome, Reason),
    /// As they were when the lease was acquired.
    pub(super) generations: Vector,
    /// `None` where nothing will be stored.
    pub(super) lease: Option<Lease>,
    pub(super) account: Account,
}

/// A whole answer, ready to be judged.
pub(super) struct Candidate<'a> {
    pub(super) recorded: Recorded,
    pub(super) body: Option<&'a [u8]>,
    pub(super) transport: Transport,
}

// === impl Sidecar ===

impl Sidecar {
    /// Calls the provider and answers with what it says.
    pub(super) async fn attempt(self: &Arc<Self>, mut order: Order) -> Result<Reply, Refusal> {
        order.account.exchange.calls_upstream();
        let first_by = Instant::now() + self.timeouts.first_byte;
        let wait = self.timeouts.gateway;
        let gateways = self.gateways.egress_within(&order.grant.gateway, self.clock, wait);
        let egress = held(order.lease.as_mut(), gateways).await;
        let call = self.upstream.call(upstream_call(&order, egress));
        let answered = match held(order.lease.as_mut(), timeout_at(first_by, call)).await {
            Ok(Ok(answered)) => answered,
            Ok(Err(failed)) => return Err(order.refuse(not_reached(failed, &order.grant.target))),
            Err(_too_late) => return Err(order.refuse(cut_short(&order.grant.target))),
        };
        let start = attempt::start(attempt::Head {
            status: answered.status,
            details: answered.details.as_deref(),
            content_type: answered.content_type.as_deref(),
            content_encoding: answered.content_encoding.as_deref(),
        });
        let head = head(&order, &answered);
        let source = Source::new(answered.body, first_by, self.timeouts);
        match start {
            Start::NotReached => {
                let target = order.grant.target.clone();
                tracing::warn!(
                    target_id = target,
                    details = answered.details,
                    "provider not reached"
                );
                Err(order.refuse(Problem::UpstreamUnreachable { target }))
            }
            Start::Unauthorized => {
                let target = order.grant.target.clone();
                tracing::error!(
                    target_id = target,
                    status = head.status,
                    "provider refused the gateway's credential"
                );
                Err(order.refuse(Problem::UpstreamUnauthorized { target }))
            }
            Start::Pass(reason) => {
                order.account.exchange.not_stored(reason.as_str());
                Ok(Relay::passing(Arc::clone(self), order, source, Vec::new()).start(head))
            }
            Start::Record(Recorded::Json) => self.collect(order, head, source).await,
            Start::Record(Recorded::Sse) => self.stream(order, head, source).await,
        }
    }

    /// Collects one JSON object, so that a cut one is a clean error for the client.
    async fn collect(
        self: &Arc<Self>,
        mut order: Order,
        head: Head,
        mut source: Source,
    ) -> Result<Reply, Refusal> {
        let mut body = Vec::new();
        loop {
            match held(order.lease.as_mut(), source.next()).await {
                Step::Bytes(bytes) => {
                    if body.is_empty() {
                        order.account.exchange.first_byte();
                    }
                    body.extend_from_slice(&bytes);
                }
                Step::End => break,
                Step::Broken => return Err(order.refuse(cut_short(&order.grant.target))),
            }
            if body.len() > ENTRY_BYTES_MAX {
                order.account.exchange.not_stored(Reason::EntryTooLarge.as_str());
                return Ok(Relay::passing(Arc::clone(self), order, source, body).start(head));
            }
        }
        let candidate =
            Candidate { recorded: Recorded::Json, body: Some(&body), transport: Transport::Clean };
        if self.conclude(&mut order, candidate).await == Concluded::CutShort {
            return Err(order.refuse(cut_short(&order.grant.target)));
        }
        order.account.exchange.answering(head.status);
        order.account.exchange.whole();
        Ok(Reply::Whole(head, body.into()))
    }

    /// Streams, once there is something to stream: until then a failure is a clean error.
    async fn stream(
        self: &Arc<Self>,
        mut order: Order,
        head: Head,
        mut source: Source,
    ) -> Result<Reply, Refusal> {
        match held(order.lease.as_mut(), source.next()).await {
            Step::Bytes(first) => {
                order.account.exchange.first_byte();
                Ok(Relay::recording(Arc::clone(self), order, source, &first).start(head))
            }
            Step::End | Step::Broken => Err(order.refuse(cut_short(&order.grant.target))),
        }
    }

    /// Judges an answer, and stores it where it may be stored.
    pub(super) async fn conclude(&self, order: &mut Order, candidate: Candidate<'_>) -> Concluded {
        let Candidate { recorded, body, transport } = candidate;
        let verdict = attempt::verdict(Finished {
            dialect: order.grant.dialect,
            recorded,
            body,
            transport,
            terms: Terms {
                client_limited: order.grant.client_limited,
                answers: order.grant.dialect.answers_asked(&order.body),
            },
            entry_tokens_max: self.feed.settings().entry_tokens_max,
        });
        match verdict {
            Verdict::CutShort => {
                order.account.exchange.not_stored(Reason::Incomplete.as_str());
                Concluded::CutShort
            }
            Verdict::Serve { reason, usage } => {
                order.account.exchange.used(usage);
                order.account.exchange.not_stored(reason.as_str());
                Concluded::Served
            }
            Verdict::Fill { usage } => {
                order.account.exchange.used(usage);
                match self.fill(order, recorded, body.unwrap_or_default(), usage).await {
                    Ok(()) => order.account.exchange.stored(),
                    Err(reason) => order.account.exchange.not_stored(reason),
                }
                Concluded::Served
            }
        }
    }

    /// Stores an answer under the lease, if there is one and it still counts.
    async fn fill(
        &self,
        order: &mut Order,
        recorded: Recorded,
        body: &[u8],
        usage: Option<Usage>,
    ) -> Result<(), &'static str> {
        const SUPERSEDED: &str = "superseded";
        let Some(lease) = order.lease.take() else { return Err(order.cache.1.as_str()) };
        // A whole lifetime from now on: nobody can take over while the store works.
        if lease.renew() == Held::Superseded {
            return Err(SUPERSEDED);
        }
        let grant = &order.grant;
        let header = Header {
            gates: grant.gates.clone(),
            check: grant.check,
            generations: order.generations.clone(),
            token: lease.token(),
            created: self.clock.wall(),
            fresh_until: UnixMillis(0),
            recorded,
            usage,
            served_by: served_by(grant),
        };
        let filling = Filling {
            keys: &grant.caller.keys,
            at: grant.at,
            header,
            body,
            ttl: self.feed.settings().ttl,
        };
        match self.cache.fill(filling).await {
            Ok(Filled::Stored) => {}
            Ok(Filled::Invalidated) => return Err(SUPERSEDED),
            Err(error) => {
                tracing::warn!(%error, "fill failed");
                return Err("store");
            }
        }
        if lease.fill() == Held::Superseded { Err(SUPERSEDED) } else { Ok(()) }
    }
}

/// What an answer turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Concluded {
    /// The client may have it to its end.
    Served,
    /// It has none.
    CutShort,
}

// === impl Order ===

impl Order {
    pub(super) fn refuse(&mut self, problem: Problem) -> Refusal {
        self.account.exchange.failed(&problem);
        self.account.exchange.not_stored(problem.code());
        Refusal {
            dialect: Some(self.grant.dialect),
            problem,
            request_id: self.grant.request_id.clone(),
            cache: Some(self.cache),
        }
    }
}

/// Waits for `work`, renewing the lease in the meantime.
pub(super) async fn held<T>(lease: Option<&mut Lease>, work: impl Future<Output = T>) -> T {
    match lease {
        Some(lease) => lease.hold(work).await,
        None => work.await,
    }
}

pub(super) fn cut_short(target: &str) -> Problem {
    Problem::UpstreamCutShort { target: target.to_owned() }
}

fn upstream_call(order: &Order, egress: Vec<String>) -> Call {
    let Order { grant, headers, body, .. } = order;
    Call {
        egress,
        target: grant.target.clone(),
        path: grant.gates.model.path.clone(),
        headers: headers.clone(),
        request_id: grant.request_id.clone(),
        body: grant.dialect.with_usage(body).map_or_else(|| body.clone(), Bytes::from),
    }
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

fn head(order: &Order, answered: &Answered) -> Head {
    Head {
        status: answered.status,
        content_type: answered.content_type.clone(),
        content_encoding: answered.content_encoding.clone(),
        retry_after: answered.retry_after.clone(),
        request_id: order.grant.request_id.clone(),
        cache: order.cache,
        age_and_ttl_s: None,
        served_by: Some(served_by(&order.grant)),
    }
}

fn served_by(grant: &Grant) -> String {
    grant.gates.model.served_by()
}
