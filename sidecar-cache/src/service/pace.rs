//! Rate limits at work. Every request is counted when it is admitted, hits included; the tokens of a call in the name
//! in which it is made, before it is paid for: as an estimate first, and as they were when that is known. Hits and
//! followers cost no provider any. Where sidecars share a Redis, they count there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use kt_contract::config::RateLimits;
use kt_contract::json::{self, Bounds};
use kt_contract::limits::{JSON_DEPTH_MAX, JSON_NODES_MAX};
use kt_contract::principal::Principal;
use kt_contract::problem::Problem;
use kt_contract::rate::{Measure, RateLimited, Scope};
use kt_providers::{Dialect, Usage};

use super::Sidecar;
use super::admit::Grant;
use super::fault::{Concerns, Failed};
use super::pilot::Pilot;
use crate::attempt::{Due, Fate, due};
use crate::metrics::{Metrics, Uncounted};
use crate::rate_limit::{Charge, Name};
use crate::store::StoreError;
use crate::store::rates::{Counted, RateStore, Taken};

/// What was used of every limit.
pub(crate) struct Paces {
    rates: Arc<dyn RateStore>,
    metrics: Arc<Metrics>,
    /// Whether it was said that nobody counts.
    is_told: AtomicBool,
}

/// Whether a request may come by now.
#[derive(Clone, Debug, Default)]
pub enum Pace {
    /// Nobody counts it.
    #[default]
    Free,
    /// It is counted.
    Counted(Counted),
    /// It comes too soon, and was not counted.
    TooFast(RateLimited),
}

/// The tokens of a call that is being made.
pub(super) struct Drawn {
    counted: Counted,
    estimate: u64,
    fate: Fate,
}

// === impl Paces ===

impl Paces {
    pub(super) fn new(rates: Arc<dyn RateStore>, metrics: Arc<Metrics>) -> Self {
        Self { rates, metrics, is_told: AtomicBool::new(false) }
    }

    async fn take(&self, org: &str, charges: Vec<Charge>) -> Pace {
        if charges.is_empty() {
            return Pace::Free;
        }
        let taken = self.rates.take(org.to_owned(), charges).await;
        if taken.is_ok() {
            self.is_told.store(false, Relaxed);
        }
        match taken {
            Ok(Taken::All(counted)) => Pace::Counted(counted),
            Ok(Taken::Some(counted)) => {
                self.metrics.uncounted(Uncounted::Full);
                Pace::Counted(counted)
            }
            Ok(Taken::None(limited)) => {
                self.metrics.rate_limited(limited.scope, limited.measure);
                Pace::TooFast(limited)
            }
            Err(error) => {
                self.nobody_counted(&error);
                Pace::Free
            }
        }
    }

    /// What was counted turns out to be so many.
    async fn correct(&self, counted: Counted, is: u64) {
        if let Err(error) = self.rates.correct(counted, is).await {
            self.nobody_counted(&error);
        }
    }

    /// A store without an answer must not become an outage: requests go on, and a metric says so.
    fn nobody_counted(&self, error: &StoreError) {
        self.metrics.uncounted(Uncounted::StoreUnavailable);
        // Once, until one is counted again: there may be thousands in a second.
        if error.is_news() && !self.is_told.swap(true, Relaxed) {
            tracing::warn!(%error, "rate limits are not counted");
        }
    }
}

// === impl Sidecar ===

impl Sidecar {
    /// Counts a request, whatever will answer it.
    pub(super) async fn paced(&self, grant: &Grant) -> Pace {
        let Some(limits) = &grant.settings.rate_limits else { return Pace::Free };
        let principal = &grant.caller.principal;
        self.paces.take(&principal.org, charges(limits, principal, Measure::Requests, 1)).await
    }
}

// === impl Pilot ===

impl Pilot {
    /// Counts the tokens of the call that is about to be made, as far as they can be told. `Ok(false)`: nobody who waits
    /// may have it made, and all of them know.
    pub(super) async fn draws_tokens(&mut self) -> Result<bool, Failed> {
        let seat = Arc::clone(&self.seat);
        let grant = &seat.grant;
        let limits = grant.settings.rate_limits.as_ref();
        let Some(limits) = limits.filter(|limits| limits.count(Measure::Tokens)) else {
            return Ok(true);
        };
        let estimate = estimate(grant.dialect, &self.sent().body);
        let principal = &grant.caller.principal;
        let charges = charges(limits, principal, Measure::Tokens, estimate);
        match self.sidecar.paces.take(&principal.org, charges).await {
            Pace::Free => Ok(true),
            Pace::Counted(counted) => {
                self.drawn = Some(Drawn { counted, estimate, fate: Fate::Unsent });
                Ok(true)
            }
            Pace::TooFast(limited) => {
                self.is_refused(Problem::RateLimited(limited), concerns(limited.scope))
            }
        }
    }

    /// The call has taken so many tokens, as far as the provider has told. Where it tells none, an event of a stream is
    /// taken for one, and so are four bytes of what is no stream.
    pub(super) async fn settles_tokens(&mut self, usage: Option<Usage>) {
        let Some(Drawn { counted, estimate, fate }) = self.drawn.take() else { return };
        let told = usage.map(|usage| usage.input_tokens().saturating_add(usage.output_tokens));
        let guessed = || estimate.saturating_add(self.produced.tokens());
        let is = match due(fate) {
            Due::Release => 0,
            Due::Leave => estimate,
            Due::Settle => told.unwrap_or_else(guessed),
        };
        self.sidecar.paces.correct(counted, is).await;
    }
}

// === impl Drawn ===

impl Drawn {
    /// What became of the call so far.
    pub(super) const fn fate(&mut self, fate: Fate) {
        self.fate = fate;
    }
}

/// What a request, or call, takes of each limit that it falls under.
fn charges(
    limits: &RateLimits,
    principal: &Principal,
    measure: Measure,
    count: u64,
) -> Vec<Charge> {
    let charge = |scope: &Scope| {
        let (scope, per_minute) = (*scope, limits.of(*scope, measure)?);
        let who = match scope {
            // A key that takes another one's place takes over what that one has used.
            Scope::Key => Some(principal.lineage()),
            Scope::User => principal.user.as_deref(),
            Scope::Team => principal.team.as_deref(),
            Scope::Org => Some(principal.org.as_str()),
        }?;
        let name = Name::new(scope, measure, &principal.org, who);
        Some(Charge { name, scope, measure, per_minute, count })
    };
    Scope::ALL.iter().filter_map(charge).collect()
}

/// Whom of those who wait for the same answer a refusal concerns.
const fn concerns(scope: Scope) -> Concerns {
    match scope {
        Scope::Key => Concerns::Asker,
        Scope::User => Concerns::User,
        Scope::Team => Concerns::Team,
        Scope::Org => Concerns::Everybody,
    }
}

/// The tokens of a request, as far as its length tells them.
fn estimate(dialect: Dialect, body: &[u8]) -> u64 {
    let bounds = Bounds { depth_max: JSON_DEPTH_MAX, nodes_max: JSON_NODES_MAX };
    // It was read when it was admitted.
    let demand = json::parse(body, bounds).map(|body| dialect.demand(&body)).unwrap_or_default();
    demand.input_tokens(body.len() as u64)
}
