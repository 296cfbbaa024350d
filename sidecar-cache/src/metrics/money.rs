//! What is counted about money. For graphs: the ledger alone says what was spent.

use std::sync::atomic::AtomicU64;

use kt_contract::money::MicroUsd;
use kt_contract::wire::admit::SavedTokens;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{Metrics, ResultOf};
use crate::ledger::audit::Invariant;
use crate::ledger::zones::Zones;
use crate::store::savings::Basis;

/// What became of money.
#[derive(Debug, Default)]
pub(super) struct Money {
    cost: Family<OfModel, Counter<f64, AtomicU64>>,
    estimated: Counter,
    operations: Family<Done, Counter>,
    closed: Counter,
    overage: Counter<f64, AtomicU64>,
    exposed: Gauge<f64, AtomicU64>,
    allotted: Gauge<f64, AtomicU64>,
    breaches: Family<Broken, Counter>,
    not_looked_up: Counter,
    frozen: Gauge,
    audit_failing: Gauge,
    saved: Family<OnBasis, Counter<f64, AtomicU64>>,
    saved_tokens: Family<SavedOf, Counter>,
    budget_alerts: Family<OfBudget, Counter>,
    spool: Family<ResultOf, Counter>,
    spooled: Gauge,
    open_calls: Counter,
    open_usd: Counter<f64, AtomicU64>,
    open_reports: Family<ResultOf, Counter>,
    days: Family<Days, Gauge>,
}

/// What became of what a gateway has told of calls without a sidecar: the values of `kt_open_reports_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenReport {
    /// It is booked.
    Booked,
    /// It was booked before.
    Known,
    /// It is not booked, or not all of it; the gateway tells it again.
    Refused,
}

/// What became of an end of a hold that the ledger did not take at once: the values of `kt_wallet_spool_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spooling {
    /// It was put into the spool.
    Kept,
    /// The ledger has taken it from there.
    Replayed,
    /// The ledger has refused it for good.
    Refused,
    /// There was no room for it.
    Full,
    /// The spool could not be written or read.
    Failed,
    /// It cannot be read, and stays there.
    Unreadable,
    /// The ledger does not know its hold, and it stays there.
    Unknown,
}

/// In whose time zones days begin.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Days {
    time_zone: String,
    own: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Broken {
    invariant: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfModel {
    model: String,
    provider: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Done {
    operation: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OnBasis {
    basis: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SavedOf {
    basis: &'static str,
    direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfBudget {
    scope: &'static str,
    window: &'static str,
}

// === impl Spooling ===

impl Spooling {
    const ALL: [Self; 7] = [
        Self::Kept,
        Self::Replayed,
        Self::Refused,
        Self::Full,
        Self::Failed,
        Self::Unreadable,
        Self::Unknown,
    ];

    /// The word in metric labels.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Replayed => "replayed",
            Self::Refused => "refused",
            Self::Full => "full",
            Self::Failed => "failed",
            Self::Unreadable => "unreadable",
            Self::Unknown => "unknown",
        }
    }
}

// === impl Metrics ===

impl Metrics {
    /// Answers were had without a call that would have cost so much.
    pub fn saved(&self, basis: Basis, avoided: MicroUsd) {
        self.money.saved(basis.as_str(), avoided);
    }

    /// Answers were had without a call that would have used such tokens.
    pub fn saved_tokens(&self, basis: Basis, tokens: SavedTokens) {
        self.money.saved_tokens(basis.as_str(), tokens);
    }

    /// So many calls that passed without a sidecar are booked, as what they were counted.
    pub fn open_calls(&self, calls: u64, counted: MicroUsd) {
        self.money.open_calls.inc_by(calls);
        self.money.open_usd.inc_by(dollars(counted));
    }

    /// Days of budgets begin in these zones. Sidecars that share a wallet should tell the same.
    pub fn days_begin(&self, zones: &Zones) {
        let days = Days { time_zone: zones.common().name(), own: zones.digest() };
        self.money.days.get_or_create(&days).set(1);
    }

    /// A call was made that no audit looks up.
    pub fn not_looked_up(&self) {
        self.money.not_looked_up.inc();
    }

    /// A gateway has told of such calls.
    pub fn open_report(&self, result: OpenReport) {
        self.money.open_reports.get_or_create(&ResultOf { result: result.as_str() }).inc();
    }
}

// === impl OpenReport ===

impl OpenReport {
    const ALL: [Self; 3] = [Self::Booked, Self::Known, Self::Refused];

    /// The word in metric labels.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Booked => "booked",
            Self::Known => "known",
            Self::Refused => "refused",
        }
    }
}

// === impl Money ===

impl Money {
    pub(super) fn register(&self, r: &mut Registry) {
        self.begins_at_zero();
        r.register("llm_cost_usd", "What upstream calls cost", self.cost.clone());
        r.register(
            "kt_estimated_costs",
            "Costs that rest on counted tokens, not on told ones",
            self.estimated.clone(),
        );
        r.register(
            "kt_wallet_operations",
            "What was asked of the ledger for calls, and what it said",
            self.operations.clone(),
        );
        r.register(
            "kt_wallet_holds_closed",
            "Holds that time closed: calls of which nobody knows the end",
            self.closed.clone(),
        );
        r.register(
            "kt_wallet_overage_usd",
            "What calls have cost beyond what they held",
            self.overage.clone(),
        );
        r.register(
            "kt_wallet_exposure_usd",
            "How far the calls under way can go beyond what they hold",
            self.exposed.clone(),
        );
        r.register(
            "kt_wallet_allotted_usd",
            "What of its allotments this sidecar may spend, or has and did not tell yet",
            self.allotted.clone(),
        );
        self.register_audits(r);
        self.register_saved(r);
        r.register(
            "kt_budget_alerts",
            "Budgets that reached their alert threshold, once in a window",
            self.budget_alerts.clone(),
        );
        r.register(
            "kt_wallet_spool",
            "Ends of calls that the ledger did not take at once, and what became of them",
            self.spool.clone(),
        );
        for what in Spooling::ALL {
            drop(self.spool.get_or_create(&ResultOf { result: what.as_str() }));
        }
        r.register(
            "kt_wallet_spooled",
            "Ends of calls that lie in the spool",
            self.spooled.clone(),
        );
        self.register_open(r);
    }

    /// What somebody is to be woken for is there from the start: the first one must be an increase, also behind a restart.
    fn begins_at_zero(&self) {
        for invariant in Invariant::ALL {
            drop(self.breaches.get_or_create(&Broken { invariant: invariant.number() }));
        }
        for operation in ["reserve", "extend", "settle", "release"] {
            drop(self.operations.get_or_create(&Done { operation, result: "unavailable" }));
        }
    }

    fn register_audits(&self, r: &mut Registry) {
        r.register(
            "kt_wallet_breaches",
            "What audits have found that must hold of the ledger and does not",
            self.breaches.clone(),
        );
        r.register(
            "kt_wallet_calls_not_audited",
            "Calls that no audit looks up, since too many were made between two",
            self.not_looked_up.clone(),
        );
        r.register(
            "kt_wallet_time_zones_info",
            "In whose time zones the days of budgets begin",
            self.days.clone(),
        );
        r.register("kt_wallet_frozen", "Wallets that are frozen", self.frozen.clone());
        r.register(
            "kt_wallet_audit_failing",
            "Whether the ledger could not be audited when it was due",
            self.audit_failing.clone(),
        );
    }

    fn register_saved(&self, r: &mut Registry) {
        r.register(
            "kt_saved_usd",
            "What answers would have cost that no call was made for",
            self.saved.clone(),
        );
        r.register(
            "kt_saved_tokens",
            "Tokens that providers would have been asked for by calls that were not made",
            self.saved_tokens.clone(),
        );
    }

    fn register_open(&self, r: &mut Registry) {
        r.register(
            "kt_open_calls",
            "Calls that passed without a sidecar, booked since",
            self.open_calls.clone(),
        );
        r.register(
            "kt_open_calls_usd",
            "What they were counted as, in US dollars",
            self.open_usd.clone(),
        );
        r.register(
            "kt_open_reports",
            "What gateways have told of calls without a sidecar, and what became of it",
            self.open_reports.clone(),
        );
        for result in OpenReport::ALL {
            drop(self.open_reports.get_or_create(&ResultOf { result: result.as_str() }));
        }
    }

    /// Answers were had without a call that would have cost so much.
    pub(super) fn saved(&self, basis: &'static str, avoided: MicroUsd) {
        self.saved.get_or_create(&OnBasis { basis }).inc_by(dollars(avoided));
    }

    /// Answers were had without a call that would have used such tokens.
    pub(super) fn saved_tokens(&self, basis: &'static str, tokens: SavedTokens) {
        let SavedTokens { input, output } = tokens;
        for (direction, tokens) in [("input", input), ("output", output)] {
            self.saved_tokens.get_or_create(&SavedOf { basis, direction }).inc_by(tokens);
        }
    }

    /// A budget has reached its alert threshold.
    pub(super) fn budget_alerted(&self, scope: &'static str, window: &'static str) {
        self.budget_alerts.get_or_create(&OfBudget { scope, window }).inc();
    }

    /// A call has cost something.
    pub(super) fn cost(&self, model: &str, provider: &str, cost: MicroUsd, is_estimated: bool) {
        let (model, provider) = (model.to_owned(), provider.to_owned());
        self.cost.get_or_create(&OfModel { model, provider }).inc_by(dollars(cost));
        if is_estimated {
            self.estimated.inc();
        }
    }

    /// An audit has found something new.
    pub(super) fn breached(&self, invariant: &'static str) {
        self.breaches.get_or_create(&Broken { invariant }).inc();
    }

    /// Whether the ledger could not be audited.
    pub(super) fn audit_failing(&self, is_failing: bool) {
        self.audit_failing.set(i64::from(is_failing));
    }

    /// So many wallets are frozen.
    pub(super) fn frozen(&self, wallets: usize) {
        self.frozen.set(i64::try_from(wallets).unwrap_or(i64::MAX));
    }

    /// Something became of an end that the ledger did not take at once.
    pub(super) fn spool(&self, what: Spooling) {
        self.spool.get_or_create(&ResultOf { result: what.as_str() }).inc();
    }

    /// So many lie in the spool.
    pub(super) fn spooled(&self, ends: usize) {
        self.spooled.set(i64::try_from(ends).unwrap_or(i64::MAX));
    }

    /// The ledger has answered.
    pub(super) fn operated(&self, operation: &'static str, result: &'static str) {
        self.operations.get_or_create(&Done { operation, result }).inc();
    }

    /// A call has cost so much more than it held.
    pub(super) fn overspent(&self, overage: MicroUsd) {
        self.overage.inc_by(dollars(overage));
    }

    /// So far can the calls under way go beyond what they hold.
    pub(super) fn exposed(&self, amount: MicroUsd) {
        self.exposed.set(dollars(amount));
    }

    /// So much of allotments may be spent, or was and is not told.
    pub(super) fn allotted(&self, amount: MicroUsd) {
        self.allotted.set(dollars(amount));
    }

    /// Holds were closed because their time was over.
    pub(super) fn closed(&self, holds: usize) {
        self.closed.inc_by(holds as u64);
    }
}

#[expect(clippy::cast_precision_loss, reason = "a graph; the ledger has the number")]
fn dollars(amount: MicroUsd) -> f64 {
    amount.micros() as f64 / 1e6
}
