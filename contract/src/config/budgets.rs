//! `budgets`: how much may be spent in a day and in a month, by the organization, its teams and its users.

use std::collections::BTreeMap;

use crate::id::check_id;
use crate::money::{MicroUsd, MicroUsdPerMillion, Tokens};

use super::raw::{self, Decimal, OrganizationBudget, TeamBudget};
use super::report::Report;
use super::usd::{part_of_one, usd};

/// `budgets`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Budgets {
    /// `organization`: everybody together.
    pub organization: Limits,
    /// `teams`, by their names; each has a limit.
    pub teams: BTreeMap<String, Limits>,
    /// `users.default_daily_usd`: each user, in a day.
    pub user_daily: Option<MicroUsd>,
    /// `organization.alert_threshold`, of every limit here; without it nobody is alerted.
    pub alert_threshold: Option<Share>,
}

/// The limits of one budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// In a day.
    pub daily: Option<MicroUsd>,
    /// In a month.
    pub monthly: Option<MicroUsd>,
}

/// A part of a whole, in millionths: above zero, and the whole at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(u64);

pub(super) fn check(raw: raw::Budgets, report: &mut Report) -> Budgets {
    let raw::Budgets { organization, teams, users } = raw;
    let OrganizationBudget { daily_limit_usd, monthly_limit_usd, alert_threshold } =
        organization.unwrap_or_default();
    let at = "budgets.organization";
    let organization = limits(at, daily_limit_usd, monthly_limit_usd, report);
    let teams: BTreeMap<String, Limits> = teams
        .unwrap_or_default()
        .into_iter()
        .map(|(team, budget)| {
            let limits = check_team(&team, budget, report);
            (team, limits)
        })
        .collect();
    let user_daily = limit(
        "budgets.users.default_daily_usd",
        users.and_then(|users| users.default_daily_usd),
        report,
    );
    let field = "budgets.organization.alert_threshold";
    let alert_threshold = part_of_one(field, alert_threshold, report).map(Share);
    let budgets = Budgets { organization, teams, user_daily, alert_threshold };
    if budgets.alert_threshold.is_some() && !budgets.limit_anything() && report.is_whole("budgets")
    {
        report.error(field, "is a part of limits, and there is none");
    }
    budgets
}

fn check_team(team: &str, budget: TeamBudget, report: &mut Report) -> Limits {
    let at = format!("budgets.teams.{team}");
    if let Err(bad) = check_id("team", team) {
        report.error("budgets.teams", format!("the name of a team {}", bad.what));
    }
    let TeamBudget { daily_limit_usd, monthly_limit_usd } = budget;
    let limits = limits(&at, daily_limit_usd, monthly_limit_usd, report);
    if limits == Limits::default() && report.is_whole(&at) {
        report.error(at, "sets no limit: it needs 'daily_limit_usd' or 'monthly_limit_usd'");
    }
    limits
}

fn limits(
    at: &str,
    daily: Option<Decimal>,
    monthly: Option<Decimal>,
    report: &mut Report,
) -> Limits {
    let daily_field = format!("{at}.daily_limit_usd");
    let limits = Limits {
        daily: limit(&daily_field, daily, report),
        monthly: limit(&format!("{at}.monthly_limit_usd"), monthly, report),
    };
    if limits.monthly.is_some_and(|monthly| limits.daily > Some(monthly)) {
        report.warning(daily_field, "is never reached: it is above monthly_limit_usd");
    }
    limits
}

/// A limit of nothing would refuse every call, and other gateways read it as no limit at all.
pub(super) fn limit(field: &str, raw: Option<Decimal>, report: &mut Report) -> Option<MicroUsd> {
    let amount = usd(field, raw, report)?;
    if amount.is_zero() {
        report.error(field, "is 0, which would refuse every call; leave it out for no limit");
    }
    Some(amount)
}

// === impl Budgets ===

impl Budgets {
    /// Whether there is a limit at all.
    #[must_use]
    pub fn limit_anything(&self) -> bool {
        let Self { organization, teams, user_daily, alert_threshold: _ } = self;
        *organization != Limits::default() || !teams.is_empty() || user_daily.is_some()
    }
}

// === impl Share ===

impl Share {
    /// The part of `whole`, rounded up.
    #[must_use]
    pub fn of(self, whole: MicroUsd) -> MicroUsd {
        // A million tokens at the price of the whole cost the whole.
        MicroUsdPerMillion(whole).cost(Tokens(self.0)).unwrap_or(whole)
    }
}
