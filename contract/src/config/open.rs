//! `wallet.open_with_cap`: what gateways may spend while nobody can say what a call costs. What it says is enforced, and
//! where something else in the file would not be, meanwhile, it is refused.

use super::raw;
use super::report::Report;
use super::usd::usd;
use super::{Config, policy};
use crate::limits::OPEN_CAP_MAX;
use crate::money::MicroUsd;
use crate::snapshot::OpenWithCap;

const FIELD: &str = "wallet.open_with_cap";

/// `None` where the section has a mistake, which is reported.
pub(super) fn check(raw: raw::OpenWithCap, report: &mut Report) -> Option<OpenWithCap> {
    let raw::OpenWithCap { max_usd, usd_per_call } = raw;
    let max_micro_usd = amount("max_usd", max_usd, "in each process of Envoy", report);
    let micro_usd_per_call = amount("usd_per_call", usd_per_call, "as which a call counts", report);
    let (max_micro_usd, micro_usd_per_call) = (max_micro_usd?, micro_usd_per_call?);
    if micro_usd_per_call > max_micro_usd {
        let problem = format!(
            "{micro_usd_per_call} is more than max_usd, {max_micro_usd}: no call would ever pass"
        );
        report.error(format!("{FIELD}.usd_per_call"), problem);
        return None;
    }
    Some(OpenWithCap { max_micro_usd, micro_usd_per_call })
}

fn amount(
    name: &str,
    raw: Option<raw::Decimal>,
    what: &str,
    report: &mut Report,
) -> Option<MicroUsd> {
    let field = format!("{FIELD}.{name}");
    if raw.is_none() {
        if report.is_whole(FIELD) && report.is_whole(&field) {
            report.error(field, format!("missing: how many dollars, {what}?"));
        }
        return None;
    }
    let amount = usd(&field, raw, report)?;
    if amount.is_zero() || amount > OPEN_CAP_MAX {
        report.error(field, format!("{amount} is not above 0 and up to {OPEN_CAP_MAX}"));
        return None;
    }
    Some(amount)
}

/// What other sections must not say beside it: calls that pass without the sidecar pass by all that it alone does.
pub(super) fn check_beside(config: &Config, report: &mut Report) {
    if config.wallet.as_ref().is_none_or(|wallet| wallet.open_with_cap.is_none()) {
        return;
    }
    let Config { policy, budgets, tenants, .. } = config;
    let mut contradicts = |what: &str, why: &str| {
        let problem = format!("contradicts {what}: while the sidecar is lost, {why}");
        report.error(FIELD, problem);
    };
    if budgets.limit_anything() {
        contradicts("budgets", "calls would count in none");
    }
    if policy.spend_limit_daily.is_some() {
        contradicts("spend-limit", "calls would not count in it");
    }
    if policy.rate_limits.is_some() {
        contradicts("rate-limit", "nobody would count what goes to the provider");
    }
    if policy.audit.is_some() {
        contradicts("audit-logger", "requests would go to the provider and leave no record");
    }
    if let Some(reader) = policy::unread_without_sidecar(policy) {
        let why = "answers and requests would pass that it has not seen";
        contradicts(&format!("'{reader}'"), why);
    }
    if tenants.is_some() {
        contradicts("tenants", "nobody has their credentials");
    }
}
