//! What the sidecar counts, under the names of `docs/reference/metrics.md`. Labels come from closed sets or
//! from the configuration, never from a client.

mod audit;
mod classic;
mod config;
mod flown;
mod gen_ai;
mod guardrails;
mod labels;
mod limits;
mod money;
mod seen;
mod shared_flight;
mod stores;
mod traces;

use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

use kt_contract::money::MicroUsd;
use kt_contract::outcome::{Outcome, Reason};
use kt_contract::policy::{Decision, Phase};
use kt_contract::problem::Crowd;
use kt_contract::rate::{Measure, Scope};
use kt_providers::Usage;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::flight::Ending;
use crate::ticket::Refused;
use audit::Audit;
pub use classic::classic;
use config::Configured;
use flown::{EndingOf, Flown};
use gen_ai::GenAi;
pub use gen_ai::{Asked, Took};
use guardrails::Guardrails;
use labels::{Direction, ErrorOf, Lookup, Operation, Request, ResultOf, Version, Word};
use limits::Limits;
pub use limits::Uncounted;
use money::Money;
pub use money::{OpenReport, Spooling};
use seen::Seen;
pub use seen::Sight;
pub use shared_flight::SharedFlight;
use stores::Stores;
use traces::Traces;

/// What may be different that must be equal: gates, and what is made of them.
const MISMATCHES: [&str; 13] = [
    Reason::Org.as_str(),
    Reason::Group.as_str(),
    Reason::GatewayKey.as_str(),
    Reason::Gateway.as_str(),
    Reason::Tier.as_str(),
    Reason::Fabric.as_str(),
    Reason::Codebase.as_str(),
    Reason::Model.as_str(),
    Reason::Policy.as_str(),
    Reason::Entitlement.as_str(),
    "key",
    "check",
    "identity",
];

/// All counters of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    cache_hits: Counter,
    hit_ratio: Gauge<f64, AtomicU64>,
    duration: Histogram,
    first_token: Histogram,
    tokens: Family<Direction, Counter>,
    cached_tokens: Family<Operation, Counter>,
    errors: Family<ErrorOf, Counter>,
    lookups: Family<Lookup, Counter>,
    fills: Counter,
    not_stored: Family<Word, Counter>,
    corrupt: Counter,
    gate_mismatch: Family<Word, Counter>,
    tickets_refused: Family<Word, Counter>,
    keyed: Family<ResultOf, Counter>,
    configured: Configured,
    look_failures: Counter,
    flown: Flown,
    money: Money,
    audit: Audit,
    seen: Seen,
    stores: Stores,
    guardrails: Guardrails,
    limits: Limits,
    gen_ai: GenAi,
    traces: Traces,
    /// Held by who renders: series that are set anew for each text are incomplete meanwhile.
    rendering: Mutex<()>,
}

// === impl Metrics ===

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            registry: Registry::default(),
            requests: Family::default(),
            cache_hits: Counter::default(),
            hit_ratio: Gauge::default(),
            // From a millisecond to about nine minutes.
            duration: Histogram::new(exponential_buckets(0.001, 2.0, 20)),
            first_token: Histogram::new(exponential_buckets(0.001, 2.0, 20)),
            tokens: Family::default(),
            cached_tokens: Family::default(),
            errors: Family::default(),
            lookups: Family::default(),
            fills: Counter::default(),
            not_stored: Family::default(),
            corrupt: Counter::default(),
            gate_mismatch: Family::default(),
            tickets_refused: Family::default(),
            keyed: Family::default(),
            configured: Configured::default(),
            look_failures: Counter::default(),
            flown: Flown::default(),
            money: Money::default(),
            audit: Audit::default(),
            seen: Seen::default(),
            stores: Stores::default(),
            guardrails: Guardrails::default(),
            limits: Limits::default(),
            gen_ai: GenAi::default(),
            traces: Traces::default(),
            rendering: Mutex::default(),
        };
        metrics.registered()
    }
}

impl Metrics {
    fn registered(mut self) -> Self {
        let mut r = std::mem::take(&mut self.registry);
        r.register("llm_requests", "Answers by model, provider and status", self.requests.clone());
        r.register("llm_cache_hits", "Answers from the cache", self.cache_hits.clone());
        r.register("llm_cache_hit_ratio", "Hits of all lookups", self.hit_ratio.clone());
        r.register(
            "llm_request_duration_seconds",
            "Lane, first to last byte",
            self.duration.clone(),
        );
        r.register(
            "llm_time_to_first_token_seconds",
            "Lane, until the provider's first byte",
            self.first_token.clone(),
        );
        r.register("llm_tokens", "Tokens that providers told", self.tokens.clone());
        r.register(
            "kt_prompt_cache_tokens",
            "Input tokens that the provider's prompt cache had or took",
            self.cached_tokens.clone(),
        );
        r.register("llm_errors", "Failed answers", self.errors.clone());
        r.register("kt_lookups", "What admit found, and why", self.lookups.clone());
        r.register("kt_fills", "Entries stored", self.fills.clone());
        r.register("kt_not_stored", "Upstream answers not stored", self.not_stored.clone());
        r.register("kt_corrupt", "Entries that failed verification", self.corrupt.clone());
        r.register(
            "kt_gate_mismatch",
            "Security: gates or hashes that should have been equal",
            self.gate_mismatch.clone(),
        );
        // From 0 on, like all that somebody is to be woken for: the first one must be an increase, also behind a restart.
        for what in MISMATCHES {
            drop(self.gate_mismatch.get_or_create(&Word { reason: what }));
        }
        r.register(
            "kt_tickets_refused",
            "Lanes without a good ticket",
            self.tickets_refused.clone(),
        );
        r.register(
            "kt_idempotent_requests",
            "Requests with an Idempotency-Key, and what became of them",
            self.keyed.clone(),
        );
        self.configured.register(&mut r);
        r.register(
            "kt_database_look_failures",
            "Times that the shared database was asked what is new and did not say",
            self.look_failures.clone(),
        );
        self.seen.register(&mut r);
        self.flown.register(&mut r);
        self.money.register(&mut r);
        self.audit.register(&mut r);
        self.stores.register(&mut r);
        self.guardrails.register(&mut r);
        self.limits.register(&mut r);
        self.gen_ai.register(&mut r);
        self.traces.register(&mut r);
        self.registry = r;
        self
    }

    /// A policy has found something in a request or an answer.
    pub fn guardrail(&self, policy: &str, phase: Phase, decision: Decision) {
        self.guardrails.found(policy, phase, decision);
    }

    /// The service of an external policy was asked, or was to be.
    pub fn service_asked(&self, policy: &str, phase: Phase, outcome: &'static str) {
        self.guardrails.asked(policy, phase, outcome);
    }

    /// A policy did not let so many requests or answers pass.
    pub fn guardrail_blocked(&self, policy: &str, phase: Phase, count: u64) {
        self.guardrails.blocked(policy, phase, count);
    }

    /// A request or a call was beyond a rate limit.
    pub fn rate_limited(&self, scope: Scope, measure: Measure) {
        self.limits.limited(scope, measure);
    }

    /// A request was beyond what its organization may have under way.
    pub fn crowded(&self, crowd: Crowd) {
        self.limits.crowded(crowd);
    }

    /// A request or a call that a rate limit did not count.
    pub fn uncounted(&self, why: Uncounted) {
        self.limits.uncounted(why);
    }

    /// An answer went to a client.
    pub fn answered(&self, model: &str, provider: &str, status: u16) {
        let label = Request { model: model.to_owned(), provider: provider.to_owned(), status };
        self.requests.get_or_create(&label).inc();
    }

    /// A lookup, or the decision not to make one.
    pub fn looked_up(&self, outcome: Outcome, reason: Reason) {
        let label = Lookup { outcome: outcome.as_str(), reason: reason.as_str() };
        self.lookups.get_or_create(&label).inc();
    }

    /// An answer came from the cache.
    pub fn hit(&self) {
        self.cache_hits.inc();
    }

    /// Workers served so many from their own memory.
    pub fn served_by_workers(&self, model: &str, provider: &str, count: u64) {
        let label = Lookup { outcome: Outcome::Hit.as_str(), reason: Reason::L1.as_str() };
        self.lookups.get_or_create(&label).inc_by(count);
        self.cache_hits.inc_by(count);
        let (model, provider) = (model.to_owned(), provider.to_owned());
        self.requests.get_or_create(&Request { model, provider, status: 200 }).inc_by(count);
    }

    /// A lane took this long.
    pub fn lasted(&self, seconds: f64) {
        self.duration.observe(seconds);
    }

    /// The provider's first byte took this long.
    pub fn first_byte_after(&self, seconds: f64) {
        self.first_token.observe(seconds);
    }

    /// A provider told its usage.
    pub fn used(&self, usage: Usage) {
        let tokens = |direction| self.tokens.get_or_create(&Direction { direction });
        tokens("input").inc_by(usage.input_tokens());
        tokens("output").inc_by(usage.output_tokens);
        let cached = |operation| self.cached_tokens.get_or_create(&Operation { operation });
        cached("read").inc_by(usage.cache_read_tokens);
        cached("write").inc_by(usage.written_tokens());
    }

    /// A call has used this, in OpenTelemetry's names.
    pub fn gen_ai_used(&self, asked: Asked<'_>, usage: Usage) {
        self.gen_ai.used(asked, usage);
    }

    /// An answer went over the lane, in OpenTelemetry's names.
    pub fn gen_ai_served(&self, asked: Asked<'_>, took: Took) {
        self.gen_ai.served(asked, took);
    }

    /// An answer failed.
    pub fn failed(&self, error_type: &'static str, provider: &str) {
        let label = ErrorOf { error_type, provider: provider.to_owned() };
        self.errors.get_or_create(&label).inc();
    }

    /// An entry was stored.
    pub fn filled(&self) {
        self.fills.inc();
    }

    /// An upstream answer was not stored.
    pub fn not_stored(&self, reason: &'static str) {
        self.not_stored.get_or_create(&Word { reason }).inc();
    }

    /// An entry could not be verified.
    pub fn corrupt(&self) {
        self.corrupt.inc();
    }

    /// Something that must be equal was not: a security event.
    pub fn mismatch(&self, what: &'static str) {
        self.gate_mismatch.get_or_create(&Word { reason: what }).inc();
    }

    /// A lane had no good ticket.
    pub fn ticket_refused(&self, refused: Refused) {
        self.tickets_refused.get_or_create(&Word { reason: refused.as_str() }).inc();
    }

    /// Something came of a request with an `Idempotency-Key`.
    pub fn keyed(&self, result: &'static str) {
        self.keyed.get_or_create(&ResultOf { result }).inc();
    }

    /// The configuration file changed to something that was not put in force.
    pub fn reload_failed(&self) {
        self.configured.reload_failed();
    }

    /// A request was planned by policies that are not in use here.
    pub fn outdated_plan(&self) {
        self.configured.outdated_plan();
    }

    /// A configuration came from `source`, and went live or was refused.
    pub fn configured(&self, source: &'static str, went_live: bool) {
        self.configured.changed(source, went_live);
    }

    /// The shared database did not say what is new.
    pub fn look_failed(&self) {
        self.look_failures.inc();
    }

    /// A request leads a flight.
    pub fn led(&self) {
        self.flown.leads.inc();
    }

    /// A request follows one.
    pub fn followed(&self) {
        self.flown.follows.inc();
    }

    /// A follower took over a flight that had failed.
    pub fn taken_over(&self) {
        self.flown.takeovers.inc();
    }

    /// A follower waited too long and made its own call.
    pub fn overflowed(&self) {
        self.flown.overflows.inc();
    }

    /// A request made its own call, because what comes for its key cannot be stored.
    pub fn hit_for_miss(&self) {
        self.flown.hit_for_misses.inc();
    }

    /// So many readers lost what they had not read, for want of room.
    pub fn sent_away(&self, readers: u64) {
        self.flown.sent_away.inc_by(readers);
    }

    /// A lease ended.
    pub fn flight_ended(&self, ending: Ending) {
        self.flown.endings.get_or_create(&EndingOf { ending: ending.as_str() }).inc();
    }

    /// Something became of a flight among the sidecars of a group.
    pub fn shared(&self, what: SharedFlight) {
        self.flown.shared.get_or_create(&ResultOf { result: what.as_str() }).inc();
    }

    /// An upstream call has cost something.
    pub fn cost(&self, model: &str, provider: &str, cost: MicroUsd, is_estimated: bool) {
        self.money.cost(model, provider, cost, is_estimated);
    }

    /// A budget has reached its alert threshold.
    pub fn budget_alerted(&self, scope: &'static str, window: &'static str) {
        self.money.budget_alerted(scope, window);
    }

    /// The ledger was asked for something, and has answered.
    pub fn ledger_operated(&self, operation: &'static str, result: &'static str) {
        self.money.operated(operation, result);
    }

    /// A call has cost so much more than it held.
    pub fn overspent(&self, overage: MicroUsd) {
        self.money.overspent(overage);
    }

    /// Something became of an end of a hold that the ledger did not take at once.
    pub fn spooled(&self, what: Spooling) {
        self.money.spool(what);
    }

    /// Holds were closed because their time was over.
    pub fn holds_closed(&self, holds: usize) {
        self.money.closed(holds);
    }

    /// An audit has found something new.
    pub fn breached(&self, invariant: &'static str) {
        self.money.breached(invariant);
    }

    /// So many records are in the audit log.
    pub fn audited(&self, records: u64) {
        self.audit.recorded(records);
    }

    /// So many requests have no record, because there was no room for one.
    pub fn audit_lost(&self, requests: u64) {
        self.audit.lost(requests);
    }

    /// So many records were older than the retention.
    pub fn audit_expired(&self, records: u64) {
        self.audit.expired(records);
    }

    /// Whether anybody is served yet.
    pub fn starting(&self, is_starting: bool) {
        self.seen.starts(is_starting);
    }

    /// The text of `/metrics`.
    #[must_use]
    pub fn render(&self, sight: &Sight) -> String {
        let _alone = self.rendering.lock().unwrap_or_else(PoisonError::into_inner);
        self.seen.set(sight);
        if let Some(health) = &sight.store {
            self.stores.set(health);
        }
        self.money.exposed(sight.exposed);
        self.money.allotted(sight.allotted);
        self.money.frozen(sight.frozen);
        self.money.audit_failing(sight.is_audit_failing);
        self.money.spooled(sight.spooled);
        self.audit.waiting(sight.audit_waiting);
        self.configured.set(sight);
        self.hit_ratio.set(self.ratio());
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    fn ratio(&self) -> f64 {
        let (hits, misses) = self.hits_and_misses();
        if hits + misses == 0 { 0.0 } else { hits as f64 / (hits + misses) as f64 }
    }

    /// What lookups found since the start.
    #[must_use]
    pub fn hits_and_misses(&self) -> (u64, u64) {
        let (mut hits, mut all) = (0, 0);
        for reason in Reason::ALL {
            for outcome in [Outcome::Hit, Outcome::Miss] {
                let label = Lookup { outcome: outcome.as_str(), reason: reason.as_str() };
                let count = self.lookups.get(&label).map_or(0, |counter| counter.get());
                hits += if outcome == Outcome::Hit { count } else { 0 };
                all += count;
            }
        }
        (hits, all - hits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_hits_of_lookups_and_bypasses_do_not_count() {
        let metrics = Metrics::default();
        assert_eq!(metrics.ratio(), 0.0);
        metrics.looked_up(Outcome::Hit, Reason::Shared);
        metrics.looked_up(Outcome::Miss, Reason::Request);
        metrics.looked_up(Outcome::Miss, Reason::Group);
        metrics.looked_up(Outcome::Miss, Reason::Group);
        metrics.looked_up(Outcome::Bypass, Reason::Disabled);
        let text = metrics.render(&Sight::default());
        assert!(text.contains("llm_cache_hit_ratio 0.25\n"), "{text}");
    }

    #[test]
    fn who_reads_while_another_one_does_sees_every_gateway_and_nobody_who_is_gone() {
        let metrics = Metrics::default();
        let ages = |names: std::ops::Range<u64>| {
            names.map(|name| (format!("gw-{name}"), kt_contract::time::Millis(name))).collect()
        };
        let few = Sight { snapshot_ages: ages(0..8), ..Sight::default() };
        let many = Sight { snapshot_ages: ages(4..40), ..Sight::default() };
        std::thread::scope(|scope| {
            for sight in [&few, &many] {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let text = metrics.render(sight);
                        let told = text.matches("kt_gateway_snapshot_age_seconds{gateway=").count();
                        assert_eq!(told, sight.snapshot_ages.len(), "{text}");
                    }
                });
            }
        });
    }

    #[test]
    fn the_names_are_the_seeds() {
        let metrics = Metrics::default();
        metrics.answered("m", "p", 200);
        metrics.used(Usage {
            uncached_input_tokens: 3,
            cache_read_tokens: 10,
            cache_write_tokens: 200,
            cache_write_long_tokens: 1_000,
            output_tokens: 4,
        });
        metrics.failed("upstream_cut_short", "p");
        metrics.hit();
        let text = metrics.render(&Sight { snapshot: "v1".to_owned(), ..Sight::default() });
        for line in [
            "llm_requests_total{model=\"m\",provider=\"p\",status=\"200\"} 1",
            "llm_tokens_total{direction=\"input\"} 1213",
            "llm_tokens_total{direction=\"output\"} 4",
            "kt_prompt_cache_tokens_total{operation=\"read\"} 10",
            "kt_prompt_cache_tokens_total{operation=\"write\"} 1200",
            "llm_errors_total{error_type=\"upstream_cut_short\",provider=\"p\"} 1",
            "llm_cache_hits_total 1",
            "kt_snapshot_info{version=\"v1\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
