//! Admit: a pure read. What a filter says about a request is computed again; then the request is told its
//! hit, or gets a ticket for the lane. Nothing is acquired, so a client that leaves here leaves nothing.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use kt_contract::gates::{Gates, Scope};
use kt_contract::hex::Digest;
use kt_contract::key::CheckHash;
use kt_contract::limits::INLINE_BYTES_MAX;
use kt_contract::outcome::{Outcome, Reason};
use kt_contract::policy::{Check, Decision, Phase};
use kt_contract::principal::Principal;
use kt_contract::wire::admit::{AdmitRequest, Admitted, Control, Plan, ReplyShape, SavedTokens};
use kt_providers::Dialect;

use super::cache::{Hit, Looked, Wanted};
use super::callers::{Caller, Resolved};
use super::feed::expect_version;
use super::pace::Pace;
use super::savings::{Kind, Spared, Whose};
use super::settings::Settings;
use super::tenants::Credential;
use super::traces::{self, Live, Of};
use super::{Failure, Sidecar};
use crate::entry::Header;
use crate::freshness;
use crate::metrics::Asked;
use crate::random;
use crate::store::Address;
use crate::store::savings::Basis;
use crate::ticket::{Holder, Peer, Ticket, TicketId};
use crate::trace::{SpanKind, Value};

/// What a ticket is good for: a request that was admitted.
#[derive(Debug)]
pub struct Grant {
    /// Minted by the filter.
    pub request_id: String,
    /// The configuration by which everything about it is decided: the one that the filter has decided by.
    pub settings: Arc<Settings>,
    /// The gateway that asked, whose egress is tried first.
    pub gateway: String,
    /// Who asks.
    pub caller: Arc<Caller>,
    /// The client's dialect.
    pub dialect: Dialect,
    /// The gates of the request.
    pub gates: Gates,
    /// Where its entry would be.
    pub at: Address,
    /// Its check hash.
    pub check: CheckHash,
    /// The target of the first attempt.
    pub target: String,
    /// The shape in which the client wants the answer.
    pub reply: ReplyShape,
    /// Whether the client itself set the length limit.
    pub client_limited: bool,
    /// What the client's `Cache-Control` asks of an entry.
    pub control: Control,
    /// What admit found.
    pub found: AtAdmit,
    /// What policies have found in the request, each as `policy:what:action`.
    pub guardrails: Vec<String>,
    /// Whether it may come by now.
    pub pace: Pace,
    /// Its span, where it has one.
    pub(super) trace: Option<Live>,
}

/// A target that the organization has no pack for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotTheirs;

/// What admit found for a request. The lane looks again, but an entry that admit found expired or corrupt is
/// gone by then, and the client is to learn why it got no hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtAdmit {
    /// The cache must not be used.
    Bypass(Reason),
    /// No entry that could be told.
    Miss(Reason),
    /// An entry that is too large to be told inline.
    Hit,
    /// An entry past its time that serves while a new answer is fetched.
    Stale,
}

/// What the cache has for a request.
pub(super) enum Found {
    /// An entry that answers it.
    Fresh(Box<Hit>, Told),
    /// One past its time. Whether it serves is the configuration's to say.
    Stale(Box<Hit>, Told),
    /// None that could be told.
    Nothing(Reason),
}

/// The answer to an admit callout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// The decision.
    pub decision: Admitted,
    /// The inline hit; empty for every other decision.
    pub body: Bytes,
}

/// A hit in the shape that its reader wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The content type.
    pub content_type: &'static str,
    /// The whole answer.
    pub body: Bytes,
}

// === impl Sidecar ===

impl Sidecar {
    /// Decides about a request. `peer` is the process at the other end of the socket.
    ///
    /// # Errors
    /// Another version of the wire, an unknown dialect, a store that cannot say who asks.
    pub async fn admit(&self, request: AdmitRequest, peer: Peer) -> Result<Admission, Failure> {
        expect_version(request.version)?;
        if self.drain.is_draining() {
            return Ok(Admitted::Draining.into());
        }
        let caller = match self.who(request.principal, request.identity.as_ref()).await? {
            Resolved::Known(caller) => caller,
            Resolved::Revoked => return Ok(Admitted::Unauthenticated { revoked: true }.into()),
            Resolved::Unknown => return Ok(Admitted::Unauthenticated { revoked: false }.into()),
        };
        self.gateways.heard_of(&request.gateway, self.clock.mono());
        let (body, is_keyed) = (request.body, request.is_keyed);
        let settings = self.settings_of(&caller.principal.org, &request.plan.snapshot);
        // It was a tenant when the filter asked who it is.
        let Some(settings) = settings else { return Ok(Admitted::NoTenant.into()) };
        if !is_planned_by(&request.plan, &settings) {
            // Its worker is told of the policies of this sidecar in a moment; to go on by two of them is no way.
            self.metrics.outdated_plan();
            return Ok(Admitted::Draining.into());
        }
        let mut grant = self.grant(request, caller, settings)?;
        self.was_found(&grant.guardrails);
        grant.pace = self.paced(&grant).await;
        if matches!(grant.pace, Pace::TooFast(_)) {
            // The lane says so, in the client's dialect.
            return Ok(self.lane(grant, body, peer)?.into());
        }
        if !matches!(grant.found, AtAdmit::Bypass(_)) {
            let looked = self.cache.lookup(grant.wanted()).await;
            grant.found = match in_shape(&grant, looked) {
                // What answers an `Idempotency-Key` is remembered, and that happens on the lane.
                Found::Fresh(hit, told) if told.body.len() <= INLINE_BYTES_MAX && !is_keyed => {
                    if self.hit_on_record(&grant, Reason::Shared.as_str()).await.is_ok() {
                        return Ok(self.inline(&grant, &hit, told));
                    }
                    // The lane says why not, in the client's dialect.
                    AtAdmit::Hit
                }
                Found::Fresh(..) => AtAdmit::Hit,
                Found::Stale(hit, _) if grant.serves_at_once(&hit) => AtAdmit::Stale,
                Found::Stale(..) => AtAdmit::Miss(Reason::Expired),
                Found::Nothing(reason) => AtAdmit::Miss(reason),
            };
        }
        let (outcome, reason) = grant.found.outcome();
        self.metrics.looked_up(outcome, reason);
        let is_there = matches!(grant.found, AtAdmit::Hit | AtAdmit::Stale);
        if grant.control.only_if_cached && !is_there && !is_keyed {
            self.note_not_cached(&grant, reason);
            return Ok(Admitted::NotCached { reason: reason.for_client() }.into());
        }
        Ok(self.lane(grant, body, peer)?.into())
    }

    /// What a filter's policies have found in a request, for the metrics: of words that are known here.
    fn was_found(&self, guardrails: &[String]) {
        for word in guardrails {
            let mut parts = word.split(':');
            let policy = parts.next().filter(|policy| Check::POLICIES.contains(policy));
            let decision = parts.next_back().and_then(Decision::parse);
            if let (Some(policy), Some(decision)) = (policy, decision) {
                self.metrics.guardrail(policy, Phase::Input, decision);
            }
        }
    }

    /// What the request is, computed again. One that was computed otherwise by the filter is served without
    /// the cache: either side may be wrong, and nobody's entry must suffer from it.
    fn grant(
        &self,
        request: AdmitRequest,
        caller: Arc<Caller>,
        settings: Arc<Settings>,
    ) -> Result<Grant, Failure> {
        let AdmitRequest { request_id, gateway, bypass, control, trace, plan, .. } = request;
        let dialect = dialect(&plan.gates.model.dialect)?;
        let at = Address {
            key: caller.keys.cache_key(&plan.gates, &plan.request),
            request: plan.request.digest,
        };
        let check = caller.keys.check_hash(&plan.gates, &plan.request);
        let wrong = if let Some(what) = contradiction(&caller.principal, &plan.gates) {
            Some(what)
        } else if at.key != plan.key {
            Some("key")
        } else if check != plan.check {
            Some("check")
        } else {
            None
        };
        if let Some(what) = wrong {
            self.metrics.mismatch(what);
            let key_id = &caller.principal.key_id;
            tracing::warn!(security = true, what, key_id, gateway, "a filter computed otherwise");
        }
        Ok(Grant {
            request_id,
            settings,
            gateway,
            caller,
            dialect,
            gates: plan.gates,
            at,
            check,
            target: plan.target,
            reply: plan.reply,
            client_limited: plan.client_limited,
            control,
            guardrails: plan.guardrails,
            pace: Pace::Free,
            trace: self.trace(trace),
            found: bypass
                .or(wrong.map(|_| Reason::Corrupt))
                .map_or(AtAdmit::Miss(Reason::Request), AtAdmit::Bypass),
        })
    }

    /// The fresh entry that answers a request, in the shape that is wanted; or why there is none.
    pub(super) async fn entry(&self, grant: &Grant) -> Result<(Box<Hit>, Told), Reason> {
        match self.look(grant).await {
            Found::Fresh(hit, told) => Ok((hit, told)),
            Found::Stale(..) => Err(Reason::Expired),
            Found::Nothing(reason) => Err(reason),
        }
    }

    /// What the cache has by now for a request that admit had nothing for, in the shape that is wanted. Why
    /// there is nothing, admit has said.
    pub(super) async fn look(&self, grant: &Grant) -> Found {
        in_shape(grant, self.cache.find(grant.wanted()).await)
    }

    /// A small hit: told at once.
    fn inline(&self, grant: &Grant, hit: &Hit, told: Told) -> Admission {
        let Grant { caller, gates, .. } = grant;
        self.metrics.looked_up(Outcome::Hit, Reason::Shared);
        self.metrics.hit();
        let (model, provider) = self.labels(gates);
        self.metrics.answered(model, provider, 200);
        if let Some(trace) = &grant.trace {
            let of = Of {
                request_id: &grant.request_id,
                gateway: &grant.gateway,
                org: &caller.principal.org,
                asked: Asked {
                    dialect: &gates.model.dialect,
                    labels: (&gates.model.served_model, &gates.model.provider),
                },
            };
            let mut more = vec![("http.response.status_code", Value::Number(200))];
            more.extend(traces::cached(Some((Outcome::Hit, Reason::Shared))));
            trace.end(SpanKind::Server, of, traces::Told { more, ..traces::Told::default() });
        }
        let spared = grant.spared_by(hit);
        let whose = Whose::of(&caller.principal, gates);
        let kind = Kind { whose, model: gates.model.served_model.clone(), basis: Basis::Hit };
        self.savings.gather(kind, spared);
        let decision = Admitted::Hit {
            content_type: told.content_type.to_owned(),
            age_s: hit.age.0 / 1_000,
            fresh_ms: hit.fresh.0,
            served_by: hit.entry.header.served_by.clone(),
            saved_micro_usd: spared.cost,
            saved_tokens: spared.tokens,
        };
        Admission { decision, body: told.body }
    }

    /// Everything else takes the lane.
    fn lane(&self, grant: Grant, body: Digest, peer: Peer) -> io::Result<Admitted> {
        let id = TicketId::from_random(random::bytes()?);
        let (_, reason) = grant.found.outcome();
        let holder = Holder { request_id: grant.request_id.clone(), peer };
        let ticket = Ticket { grant: Box::new(grant), body, holder };
        self.tickets().issue(id, ticket, self.clock.mono());
        Ok(Admitted::Lane { ticket: id.to_hex(), reason: reason.for_client() })
    }

    /// Model and provider as metric labels: those of the configuration, so that their number is bounded.
    pub(super) fn labels<'a>(&self, gates: &'a Gates) -> (&'a str, &'a str) {
        let model = &gates.model;
        let settings = self.feed.settings();
        match settings.snapshot.models.route(&model.served_model) {
            Some(route) if route.provider == model.provider => {
                (&model.served_model, &model.provider)
            }
            Some(_) | None => ("other", "other"),
        }
    }
}

// === impl Grant ===

impl Grant {
    /// The entry that would answer the request.
    #[must_use]
    pub fn wanted(&self) -> Wanted<'_> {
        Wanted { keys: &self.caller.keys, gates: &self.gates, at: self.at, check: self.check }
    }

    /// Whether an entry past its time serves at once.
    pub(super) fn serves_at_once(&self, hit: &Hit) -> bool {
        self.settings.stale.serves_at_once(hit.stale, self.control.max_age_s)
    }

    /// What a call has to say to its target, where that is not Envoy's to say. A tenant's settings have no credential
    /// but its own, and are good for nobody else's requests.
    pub(super) fn credential(&self) -> Result<Option<Credential>, NotTheirs> {
        let Some(tenant) = &self.settings.tenant else { return Ok(None) };
        let is_theirs = tenant.org == self.caller.principal.org && tenant.org == self.gates.org;
        let credential = tenant.credentials.get(&self.target).filter(|_| is_theirs);
        credential.cloned().ok_or(NotTheirs)
    }

    /// What a call in the place of a hit would take.
    pub(super) fn spared_by(&self, hit: &Hit) -> Spared {
        let Header { gates, usage, .. } = &hit.entry.header;
        Spared {
            cost: self.settings.cost_of(&gates.model, *usage),
            tokens: usage.map(SavedTokens::from),
        }
    }
}

// === impl AtAdmit ===

impl AtAdmit {
    /// As headers and metrics have it.
    #[must_use]
    pub const fn outcome(self) -> (Outcome, Reason) {
        match self {
            Self::Bypass(reason) => (Outcome::Bypass, reason),
            Self::Miss(reason) => (Outcome::Miss, reason),
            Self::Hit => (Outcome::Hit, Reason::Shared),
            Self::Stale => (Outcome::Stale, Reason::Revalidating),
        }
    }
}

// === impl Admission ===

impl From<Admitted> for Admission {
    fn from(decision: Admitted) -> Self {
        Self { decision, body: Bytes::new() }
    }
}

/// What was found for a request, in the shape that is wanted.
fn in_shape(grant: &Grant, looked: Looked) -> Found {
    let (hit, is_fresh) = match looked {
        Looked::Miss(reason) => return Found::Nothing(reason),
        Looked::Hit(hit) => (hit, true),
        Looked::Stale(hit) => (hit, false),
    };
    if !freshness::is_young_enough(hit.age, grant.control.max_age_s) {
        return Found::Nothing(Reason::MaxAge);
    }
    match told(grant.dialect, &hit, grant.reply) {
        None => Found::Nothing(Reason::Shape),
        Some(told) if is_fresh => Found::Fresh(hit, told),
        Some(told) => Found::Stale(hit, told),
    }
}

/// A hit in the shape that is wanted. `None` where it cannot be told so.
pub(super) fn told(dialect: Dialect, hit: &Hit, want: ReplyShape) -> Option<Told> {
    let body = &hit.entry.body;
    let replay = dialect.replay(hit.entry.header.recorded, body, want).ok()?;
    let told = match replay.body {
        // The recorded bytes themselves: shared with the store, not copied.
        std::borrow::Cow::Borrowed(part) => body.slice_ref(part),
        std::borrow::Cow::Owned(bytes) => bytes.into(),
    };
    Some(Told { content_type: replay.content_type, body: told })
}

pub(super) fn dialect(name: &str) -> Result<Dialect, Failure> {
    Dialect::ALL.iter().find(|dialect| dialect.as_str() == name).copied().ok_or(Failure::Invalid {
        field: "gates.model.dialect",
        what: "is none that is spoken here",
    })
}

/// Whether a request was planned by the policies that the rest of it would be decided by. It was not where nobody here
/// knows its snapshot any more, after a restart or for a worker that has heard nothing for long, and the policies
/// have become others: then it has passed others, and would be told what others have let pass.
fn is_planned_by(plan: &Plan, settings: &Settings) -> bool {
    let snapshot = &settings.snapshot;
    plan.gates.policy == snapshot.policy.digest && snapshot.has_rules_of(&plan.snapshot)
}

/// The gate that cannot be this principal's, if there is one.
fn contradiction(principal: &Principal, gates: &Gates) -> Option<&'static str> {
    let scope_fits = match &gates.scope {
        Scope::OrgShared { group } => principal.group.is_none() || principal.group == *group,
        Scope::PrivateEdge { key_id } => principal.lineage() == key_id,
        Scope::PhysicalGateway { .. } => true,
    };
    [
        (gates.org != principal.org, Reason::Org),
        (!scope_fits, Reason::Group),
        (!gates.codebases.is_subset(&principal.codebases), Reason::Codebase),
        (gates.entitlements != principal.entitlements, Reason::Entitlement),
    ]
    .into_iter()
    .find_map(|(is_wrong, reason)| is_wrong.then_some(reason.as_str()))
}
