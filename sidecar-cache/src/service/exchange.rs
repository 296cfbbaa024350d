//! The account of one request on the lane: its log line and its counts, made once, when it ends, however it
//! ends. What is counted of upstream calls is the flight's business, which may outlive the request. Never a
//! prompt, an answer or a key.

use std::collections::BTreeSet;
use std::sync::Arc;

use kt_contract::money::MicroUsd;
use kt_contract::outcome::{Outcome, Reason};
use kt_contract::problem::Problem;
use kt_contract::time::{Millis, MonoMillis};
use kt_contract::wire::feed::Role;
use kt_providers::Usage;

use super::Sidecar;
use super::admit::Grant;
use super::audit_log::{AuditLog, POLICY_BLOCKED, asked};
use super::savings::{Kind, Savings, Spared, Whose};
use super::traces::{self, Leader, Live, Of, Told};
use crate::audit_log::{self, Access, Fact, Stage};
use crate::clock::Clock;
use crate::metrics::{Asked, Metrics, Took};
use crate::store::savings::Basis;
use crate::trace::{SpanKind, Value};

/// As proxies have it: the client did not wait for a status.
const CLIENT_LEFT_STATUS: u16 = 499;

/// What becomes of a request on the lane. Dropped, it is written down.
pub struct Exchange {
    metrics: Arc<Metrics>,
    savings: Arc<Savings>,
    clock: Clock,
    started: MonoMillis,
    who: Who,
    what: What,
    on_record: Option<OnRecord>,
    trace: Option<Live>,
    /// Who leads the flight that it has joined.
    leader: Option<Arc<Leader>>,
}

/// Where its end goes on record, and what is known of it from the beginning.
struct OnRecord {
    log: Arc<AuditLog>,
    logs_all: bool,
    access: Access,
}

#[derive(Debug)]
struct Who {
    request_id: String,
    gateway: String,
    gateway_role: Option<&'static str>,
    org: String,
    user: Option<String>,
    key_id: String,
    key_age: Option<Millis>,
    team: Option<String>,
    agent: Option<String>,
    codebase: String,
    whose: Whose,
    model: String,
    provider: String,
    /// The dialect's word.
    dialect: String,
    /// Model and provider as metric labels.
    labels: (String, String),
}

/// What is known so far.
#[derive(Debug, Default)]
struct What {
    cache: Option<(Outcome, Reason)>,
    status: u16,
    end: End,
    usage: Option<Usage>,
    first_byte_ms: Option<u64>,
    /// Why an upstream answer was not stored; `None` while it may be, or where it was.
    not_stored: Option<&'static str>,
    is_stored: bool,
    /// What a call of its own would have cost, where the answer needed none.
    spared: Option<Spared>,
    /// What policies have found in request and answer, each as `policy:what:action`.
    triggered: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default)]
enum End {
    /// Nothing has been said to the client: if it stays so, the client has left.
    #[default]
    Open,
    Whole,
    Failed(&'static str),
}

// === impl Exchange ===

impl Exchange {
    pub(super) fn begin(sidecar: &Sidecar, grant: &Grant) -> Self {
        let principal = &grant.caller.principal;
        let model = &grant.gates.model;
        let (label_model, label_provider) = sidecar.labels(&grant.gates);
        Self {
            metrics: Arc::clone(&sidecar.metrics),
            savings: Arc::clone(&sidecar.savings),
            clock: sidecar.clock,
            started: sidecar.clock.mono(),
            who: Who {
                request_id: grant.request_id.clone(),
                gateway: grant.gateway.clone(),
                gateway_role: sidecar.gateways.role(&grant.gateway).map(Role::as_str),
                org: principal.org.clone(),
                user: principal.user.clone(),
                key_id: principal.key_id.clone(),
                key_age: grant.caller.key_age(sidecar.clock.wall()),
                team: principal.team.clone(),
                agent: principal.agent.clone(),
                codebase: joined(&grant.gates.codebases),
                whose: Whose::of(principal, &grant.gates),
                model: model.served_model.clone(),
                provider: model.provider.clone(),
                dialect: model.dialect.clone(),
                labels: (label_model.to_owned(), label_provider.to_owned()),
            },
            what: What { triggered: grant.guardrails.clone(), ..What::default() },
            on_record: sidecar.on_record().map(|log| OnRecord {
                log: Arc::clone(log),
                logs_all: sidecar.logs_all_access(),
                access: asked(grant),
            }),
            trace: grant.trace.clone(),
            leader: None,
        }
    }

    /// It reads a flight, which this request leads or another one.
    pub(super) fn reads(&mut self, leader: Arc<Leader>) {
        self.leader = Some(leader);
    }

    /// What the cache did.
    pub(super) fn cached(&mut self, outcome: Outcome, reason: Reason) {
        self.what.cache = Some((outcome, reason));
    }

    /// The provider's first byte has come.
    pub(super) fn first_byte(&mut self) {
        let after = self.clock.mono().since(self.started).0;
        self.what.first_byte_ms = Some(after);
        self.metrics.first_byte_after(seconds(after));
    }

    /// The provider told its usage.
    pub(super) fn used(&mut self, usage: Option<Usage>) {
        self.what.usage = usage;
    }

    /// The answer was stored.
    pub(super) fn stored(&mut self) {
        self.what.is_stored = true;
    }

    /// The answer was not stored.
    pub(super) fn not_stored(&mut self, reason: &'static str) {
        self.what.not_stored = Some(reason);
    }

    /// A policy has found something in the answer.
    pub(super) fn triggered(&mut self, what: String) {
        self.what.triggered.push(what);
    }

    /// It needs no call of its own, if it gets all of an answer that was there, or that another's call brings.
    pub(super) const fn spared(&mut self, spared: Spared) {
        self.what.spared = Some(spared);
    }

    /// The client gets a head with this status; how it ends is still open.
    pub(super) fn answering(&mut self, status: u16) {
        self.what.status = status;
    }

    /// The client got all of it.
    pub(super) fn whole(&mut self) {
        self.what.end = End::Whole;
    }

    /// The client got a refusal, or an answer that broke off.
    pub(super) fn failed(&mut self, problem: &Problem) {
        if self.what.status == 0 {
            self.what.status = problem.status();
        }
        self.what.end = End::Failed(problem.code());
        if let Problem::OrganizationFull(crowd) = problem {
            self.metrics.crowded(*crowd);
        }
        if let Problem::PolicyBlocked { policy, .. } = problem {
            self.blocked(policy);
        }
    }

    /// A policy has blocked the answer. What it has found is on record already where it was looked for on behalf of this
    /// request; where another one shares the answer, or nobody could look, which policy it was is all that is known.
    fn blocked(&mut self, policy: &str) {
        let has_blocked = |what: &String| {
            what.strip_prefix(policy)
                .is_some_and(|rest| rest.starts_with(':') && rest.ends_with(":block"))
        };
        if !self.what.triggered.iter().any(has_blocked) {
            self.what.triggered.push(format!("{policy}:any:block"));
        }
    }

    fn end(&self) -> &'static str {
        match self.what.end {
            End::Whole if self.what.status < 400 => "success",
            End::Whole => "upstream_error",
            End::Failed(code) => code,
            End::Open => "client_left",
        }
    }

    /// Why the whole answer that the client got cost nothing, and what a call would have cost.
    fn saved(&self) -> Option<(Basis, Spared)> {
        let What { cache, status: 200, end: End::Whole, spared: Some(spared), .. } = &self.what
        else {
            return None;
        };
        match cache.map(|(outcome, _)| outcome)? {
            Outcome::Hit | Outcome::Stale => Some((Basis::Hit, *spared)),
            Outcome::Coalesced => Some((Basis::Coalesced, *spared)),
            Outcome::Miss | Outcome::Bypass => None,
        }
    }

    /// What the whole answer has cost, where its own call brought it.
    fn own_cost(&self) -> Option<MicroUsd> {
        let What { cache, end: End::Whole, spared, .. } = &self.what else { return None };
        match cache.map(|(outcome, _)| outcome)? {
            Outcome::Miss | Outcome::Bypass => spared.and_then(|spared| spared.cost),
            Outcome::Hit | Outcome::Stale | Outcome::Coalesced => None,
        }
    }

    /// What became of it, in the words of the audit log.
    fn outcome(&self) -> Option<audit_log::Outcome> {
        let cached = self.what.cache.map(|(outcome, _)| outcome.into());
        match self.what.end {
            End::Failed(POLICY_BLOCKED) => Some(audit_log::Outcome::Blocked),
            // The provider was asked, or an answer had begun.
            End::Failed(code) if code.starts_with("upstream_") || self.has_begun() => cached,
            End::Failed(_) => Some(audit_log::Outcome::Refused),
            End::Whole | End::Open => cached,
        }
    }

    /// Whether it was answered before it failed.
    const fn has_begun(&self) -> bool {
        matches!(self.what.status, 1..400)
    }

    /// Whether nothing was decided but to tell what is stored.
    fn is_plain_hit(&self) -> bool {
        let What { cache, end: End::Whole, spared, .. } = &self.what else { return false };
        match cache.map(|(outcome, _)| outcome) {
            Some(Outcome::Hit) => true,
            // Unless a call is made in its name, or was, and failed.
            Some(Outcome::Stale) => {
                let (_, reason) = cache.unwrap_or((Outcome::Stale, Reason::UpstreamError));
                spared.is_some() && reason != Reason::UpstreamError
            }
            Some(Outcome::Miss | Outcome::Coalesced | Outcome::Bypass) | None => false,
        }
    }

    /// Puts its end on record.
    fn go_on_record(&mut self) {
        let Some(OnRecord { log, logs_all, access }) = self.on_record.take() else { return };
        if !logs_all && self.is_plain_hit() && self.what.triggered.is_empty() {
            return;
        }
        let What { cache, status, end, triggered, .. } = &self.what;
        let access = Access {
            stage: Stage::Ended,
            outcome: self.outcome(),
            reason: cache.map(|(_, reason)| reason.as_str().to_owned()),
            status: if *status == 0 { CLIENT_LEFT_STATUS } else { *status },
            code: match end {
                End::Whole => None,
                End::Failed(_) | End::Open => Some(self.end().to_owned()),
            },
            policies: triggered.clone(),
            cost_micro_usd: self.own_cost().map(MicroUsd::micros),
            ..access
        };
        log.note(Fact::access(self.who.org.clone(), log.now(), access));
    }

    /// Its span is over.
    fn end_trace(&self) {
        let Some(live) = &self.trace else { return };
        // Not as metrics have them: a span need not be one of few.
        let Who { request_id, gateway, org, dialect, model, provider, .. } = &self.who;
        let What { cache, status, usage, is_stored, .. } = &self.what;
        let asked = Asked { dialect, labels: (model, provider) };
        let status = if *status == 0 { CLIENT_LEFT_STATUS } else { *status };
        let mut more = vec![
            ("http.response.status_code", Value::Number(status.into())),
            ("kt.stored", Value::Flag(*is_stored)),
        ];
        more.extend(traces::cached(*cache));
        more.extend(traces::used(*usage));
        let error = (self.end() != "success").then(|| self.end().to_owned());
        // Who has taken over, or has made a call of its own, was answered by nobody else's.
        let coalesced = matches!(cache, Some((Outcome::Coalesced, _)));
        let leader = self.leader.as_ref().filter(|_| coalesced);
        let link = leader.and_then(|leader| leader.span());
        let of = Of { request_id, gateway, org, asked };
        live.end(SpanKind::Server, of, Told { link, more, error });
    }

    fn took(&self, latency_ms: u64) -> Took {
        Took {
            first_byte: self.what.first_byte_ms.map(seconds),
            whole: seconds(latency_ms),
            output_tokens: self.what.usage.map(|usage| usage.output_tokens),
        }
    }

    fn count(&self, latency_ms: u64) {
        let (model, provider) = &self.who.labels;
        let What { cache, status, end, .. } = &self.what;
        self.metrics.lasted(seconds(latency_ms));
        let asked = Asked { dialect: &self.who.dialect, labels: (model, provider) };
        self.metrics.gen_ai_served(asked, self.took(latency_ms));
        let status = if *status == 0 { CLIENT_LEFT_STATUS } else { *status };
        self.metrics.answered(model, provider, status);
        // What an `Idempotency-Key` is told again has saved nothing: it was asked for once.
        let is_hit = matches!(cache, Some((Outcome::Hit | Outcome::Stale, reason)) if *reason != Reason::Replayed);
        if is_hit && matches!(end, End::Whole) {
            self.metrics.hit();
        }
        if !matches!(self.end(), "success" | "client_left") {
            self.metrics.failed(self.end(), provider);
        }
    }
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange").field("who", &self.who).finish_non_exhaustive()
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let latency_ms = self.clock.mono().since(self.started).0;
        self.count(latency_ms);
        self.end_trace();
        self.go_on_record();
        let saved = self.saved();
        let saved_tokens = saved.and_then(|(_, spared)| spared.tokens);
        let cost = self.own_cost();
        if let Some((basis, spared)) = saved {
            let (whose, model) = (self.who.whose.clone(), self.who.model.clone());
            self.savings.gather(Kind { whose, model, basis }, spared);
        }
        let Who { request_id, gateway, org, user, key_id, model, provider, .. } = &self.who;
        let Who { team, agent, codebase, key_age, gateway_role, .. } = &self.who;
        let What { cache, status, usage, first_byte_ms, not_stored, is_stored, triggered, .. } =
            &self.what;
        let outcome = cache.map(|(outcome, _)| outcome);
        tracing::info!(
            target: "kt::request",
            request_id,
            trace_id = self.trace.as_ref().map(Live::trace_id),
            gateway,
            gateway_role,
            org,
            team,
            user_id = user,
            agent,
            codebase,
            key_id,
            key_age_s = key_age.map(|age| age.0 / 1_000),
            model,
            provider,
            input_tokens = usage.map(Usage::input_tokens),
            cache_read_tokens = usage.map(|usage| usage.cache_read_tokens),
            cache_write_tokens = usage.map(Usage::written_tokens),
            output_tokens = usage.map(|usage| usage.output_tokens),
            cost_micro_usd = cost.map(MicroUsd::micros),
            cost_usd = cost.map(dollars),
            saved_input_tokens = saved_tokens.map(|tokens| tokens.input),
            saved_output_tokens = saved_tokens.map(|tokens| tokens.output),
            saved_micro_usd = saved.and_then(|(_, spared)| spared.cost).map(MicroUsd::micros),
            latency_ms,
            first_byte_ms,
            cache_hit = matches!(outcome, Some(Outcome::Hit | Outcome::Stale)),
            outcome = outcome.map(Outcome::as_str),
            reason = cache.map(|(_, reason)| reason.as_str()),
            stored = is_stored,
            not_stored,
            guardrails_triggered = triggered.join(","),
            http_status = status,
            status = self.end(),
            "request"
        );
    }
}

/// The names with commas between them, as the access log has them.
fn joined(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(",")
}

/// For who reads the line. What is added up is in micro-dollars.
#[expect(clippy::cast_precision_loss, reason = "the price of a request")]
fn dollars(cost: MicroUsd) -> f64 {
    cost.micros() as f64 / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of a request")]
fn seconds(millis: u64) -> f64 {
    millis as f64 / 1_000.0
}
