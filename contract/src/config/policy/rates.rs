//! The settings of `rate-limit`: how many requests and tokens a minute, and whose.

use serde::Deserialize;
use serde_json::Value;

use super::super::report::{Bounds, Report};
use super::super::{Backend, Config};
use super::detectors;
use crate::rate::{Measure, Scope};
use crate::snapshot::OnSidecarLoss;

/// How much may come in a minute.
pub(super) const RATE_LIMIT: &str = "rate-limit";

/// Beyond the largest, a limit limits nothing; the arithmetic of buckets counts on it.
const PER_MINUTE: Bounds<u64> = Bounds { min: 1, max: 1_000_000_000, default: 0 };
/// Where a worker's own memory is bounded.
const L1_BYTES: &str = "workflow_cache.l1.max_bytes";

/// `rate-limit`: what may come in a minute, of whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateLimits {
    /// `per_key`.
    pub key: RateLimit,
    /// `per_user`: of the keys that have a user.
    pub user: RateLimit,
    /// `per_team`: of the keys that have a team.
    pub team: RateLimit,
    /// `per_org`.
    pub org: RateLimit,
}

/// What may come in a minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateLimit {
    /// `requests_per_minute`.
    pub requests: Option<u64>,
    /// `tokens_per_minute`.
    pub tokens: Option<u64>,
}

/// The settings as they stand in the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    per_key: Option<OfScope>,
    per_user: Option<OfScope>,
    per_team: Option<OfScope>,
    per_org: Option<OfScope>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct OfScope {
    requests_per_minute: Option<u64>,
    tokens_per_minute: Option<u64>,
}

pub(super) fn check(settings: Option<(String, Value)>, report: &mut Report) -> Option<RateLimits> {
    let field = detectors::field(RATE_LIMIT, settings.as_ref());
    let Settings { per_key, per_user, per_team, per_org } = detectors::read(settings, report)?;
    let mut of = |scope: Scope, raw: Option<OfScope>| {
        limit(&format!("{field}.{}", scope.field()), raw.unwrap_or_default(), report)
    };
    let limits = RateLimits {
        key: of(Scope::Key, per_key),
        user: of(Scope::User, per_user),
        team: of(Scope::Team, per_team),
        org: of(Scope::Org, per_org),
    };
    if limits == RateLimits::default() && report.is_whole(&field) {
        let problem = format!(
            "rate-limit limits nothing: say {field}.per_key, per_user, per_team or per_org, each with requests_per_minute, tokens_per_minute or both"
        );
        report.error("policies.chain", problem);
    }
    Some(limits)
}

fn limit(field: &str, raw: OfScope, report: &mut Report) -> RateLimit {
    let OfScope { requests_per_minute, tokens_per_minute } = raw;
    let mut of = |name: &str, value: Option<u64>| {
        value.map(|value| report.within(&format!("{field}.{name}"), Some(value), PER_MINUTE))
    };
    RateLimit {
        requests: of("requests_per_minute", requests_per_minute),
        tokens: of("tokens_per_minute", tokens_per_minute),
    }
}

/// What other sections must not say beside it: whatever they say, nothing goes uncounted.
pub(in super::super) fn check_counted(limits: &RateLimits, config: &Config, report: &mut Report) {
    let Config { gateway, cache, database, .. } = config;
    if gateway.on_sidecar_loss == OnSidecarLoss::Direct {
        let problem = "'direct' is not possible with rate-limit: while the sidecar is lost, nobody would count what goes to the provider. Use 'unavailable'";
        report.error("gateway.on_sidecar_loss", problem);
    }
    if limits.count(Measure::Requests) && cache.l1_bytes_max > 0 && report.mentions(L1_BYTES) {
        let problem = "must be 0, or absent, with requests_per_minute of rate-limit: what a worker serves from its own memory is not counted";
        report.error(L1_BYTES, problem);
    }
    let is_fleet = match cache.backend {
        Backend::Memory => database.is_some(),
        // They count there.
        Backend::Redis(_) => false,
        Backend::Postgres(_) => true,
    };
    if is_fleet {
        let problem = "rate-limit is counted in the memory of each sidecar, and several share this configuration's database: of each limit, every sidecar would let the whole pass. With workflow_cache.backend: redis they count together";
        report.error("policies.chain", problem);
    }
}

// === impl RateLimits ===

impl RateLimits {
    /// The limit on `measure` of a scope, if it has one.
    #[must_use]
    pub const fn of(&self, scope: Scope, measure: Measure) -> Option<u64> {
        let limit = match scope {
            Scope::Key => self.key,
            Scope::User => self.user,
            Scope::Team => self.team,
            Scope::Org => self.org,
        };
        match measure {
            Measure::Requests => limit.requests,
            Measure::Tokens => limit.tokens,
        }
    }

    /// Whether anything limits `measure`.
    #[must_use]
    pub fn count(&self, measure: Measure) -> bool {
        Scope::ALL.iter().any(|scope| self.of(*scope, measure).is_some())
    }
}
