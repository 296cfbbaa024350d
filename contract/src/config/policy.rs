//! `policies`: which policies are enforced. Whatever else is configured is an error, because a policy that is
//! believed to be enforced and is not is worse than none.

mod allowlist;
mod audit;
mod detectors;
mod judges;
mod rates;
mod rules;
mod shape;
mod words;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde_json::Value;

use super::budgets;
use super::raw::{self, Decimal, Policies};
use super::report::{Bounds, Report, suggestion};
use super::targets::Target;
use crate::identify::{MODEL_ALLOWLIST, REQUEST_LIMITS};
use crate::limits::PATTERNS_MAX;
use crate::money::MicroUsd;
use crate::policy::{Chain, ModelAllowlist, Phase, RequestShape, Step};
use crate::snapshot::OnSidecarLoss;
use audit::AUDIT_LOGGER;
use rates::RATE_LIMIT;

pub use audit::AuditLogger;
pub(super) use audit::check_beside;
pub use judges::{External, Groundedness, Judge, OnFailure, ServiceUrl};
pub(super) use rates::check_counted;
pub use rates::{RateLimit, RateLimits};

/// How much may be spent.
const SPEND_LIMIT: &str = "spend-limit";
/// The policies that a chain may have, beside those that read texts.
const KNOWN: [&str; 5] = [MODEL_ALLOWLIST, REQUEST_LIMITS, RATE_LIMIT, SPEND_LIMIT, AUDIT_LOGGER];
/// The chain that stands for what most would want, under one name.
const DEFAULT: &str = "default";
const DEFAULT_CHAIN: [&str; 3] =
    [detectors::PII_DETECTOR, detectors::SECRET_DETECTOR, detectors::PROMPT_INJECTION];
/// 409 as the seeds have it.
const BLOCK_STATUS: Bounds<u16> = Bounds { min: 400, max: 499, default: 409 };

/// The policies that are enforced.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policy {
    /// `policies.block_status`: the HTTP status of a block.
    pub block_status: u16,
    /// `model-allowlist`, where the chain has this policy.
    pub model_allowlist: Option<ModelAllowlist>,
    /// `request-limits`: bounds on what a request asks for, where the chain has this policy.
    pub request_limits: Option<RequestShape>,
    /// `rate-limit`: what may come in a minute, where the chain has this policy.
    pub rate_limits: Option<RateLimits>,
    /// The policies that read texts, in their order.
    pub chain: Chain,
    /// The policies that judge a request or an answer as a whole, in their order: after those that read texts.
    pub judges: Vec<Judge>,
    /// `wallet_balance: sufficient`: calls are made only while the wallet has the money for them.
    pub needs_wallet_balance: bool,
    /// `spend-limit.max_daily_usd`: what the pack may spend in a day, on all of its gateways together.
    pub spend_limit_daily: Option<MicroUsd>,
    /// `audit-logger`: what is on record, where the chain has this policy.
    pub audit: Option<AuditLogger>,
}

/// The settings of the policies in the chain, each with the field under which it stands.
type Settings = BTreeMap<String, (String, Value)>;

pub(super) fn check(
    policies: Option<Policies>,
    beside: Option<BTreeMap<String, Value>>,
    targets: &[Target],
    report: &mut Report,
) -> Policy {
    let mut of_rules = rules::Rules::default();
    let raw = match policies {
        None => raw::Chain::default(),
        Some(Policies::Chain(chain)) => chain,
        Some(Policies::Rules(policies)) => {
            of_rules = rules::check(policies, report);
            raw::Chain::default()
        }
    };
    let raw::Chain { chain, policy, block_status } = raw;
    let names = check_chain(chain.unwrap_or_default(), report);
    let mut settings = gather(&names, [("policies.policy", policy), ("policy", beside)], report);
    let mut checked = Policy {
        block_status: report.within("policies.block_status", block_status, BLOCK_STATUS),
        model_allowlist: None,
        request_limits: None,
        rate_limits: None,
        chain: of_rules.chain,
        judges: Vec::new(),
        needs_wallet_balance: of_rules.needs_wallet_balance,
        spend_limit_daily: None,
        audit: None,
    };
    for name in &names {
        let settings = settings.remove(name);
        match name.as_str() {
            MODEL_ALLOWLIST => {
                checked.model_allowlist = allowlist::check(settings, targets, report);
            }
            SPEND_LIMIT => checked.spend_limit_daily = check_spend_limit(settings, report),
            AUDIT_LOGGER => checked.audit = audit::check(settings, report),
            RATE_LIMIT => checked.rate_limits = rates::check(settings, report),
            REQUEST_LIMITS => checked.request_limits = shape::check(settings, report),
            name if judges::is_known(name) => {
                checked.judges.extend(judges::check(name, settings, report));
            }
            name => checked.chain.steps.extend(detectors::check(name, settings, report)),
        }
    }
    judges::check_count(&checked.judges, report);
    let patterns = checked.chain.patterns();
    if patterns > PATTERNS_MAX {
        let problem = format!(
            "content-policy has {patterns} patterns in all; at most {PATTERNS_MAX} are possible: join them \
             with '|', or use terms"
        );
        report.error("policies", problem);
    }
    checked
}

/// A policy that sees nothing of a call which passes by the sidecar.
pub(super) fn unread_without_sidecar(policy: &Policy) -> Option<&str> {
    let reads = |step: &&Step| step.phases.contains(&Phase::Output);
    let reader = policy.chain.steps.iter().find(reads).map(|step| step.check.policy());
    reader.or_else(|| policy.judges.first().map(|judge| judge.policy()))
}

/// What a lost sidecar would leave unread.
pub(super) fn check_loss(policy: &Policy, loss: OnSidecarLoss, report: &mut Report) {
    let reads = |step: &&Step| step.phases.contains(&Phase::Output);
    let reader = policy.chain.steps.iter().find(reads).map(|step| step.check.policy());
    if let (Some(reader), OnSidecarLoss::Direct) = (reader, loss) {
        let problem = format!(
            "'direct' lets answers pass that '{reader}' has not read; use 'unavailable', or have it \
             read requests only: apply_to: [input]"
        );
        report.error("gateway.on_sidecar_loss", problem);
    } else if let (Some(judge), OnSidecarLoss::Direct) = (policy.judges.first(), loss) {
        let problem = format!(
            "'direct' lets pass what '{}' has not judged, as the sidecar asks it; use 'unavailable'",
            judge.policy()
        );
        report.error("gateway.on_sidecar_loss", problem);
    }
}

/// The settings of the chain's policies, wherever they stand.
fn gather(
    names: &[String],
    places: [(&str, Option<BTreeMap<String, Value>>); 2],
    report: &mut Report,
) -> Settings {
    let mut settings = Settings::new();
    for (place, of_place) in places {
        for (name, value) in of_place.unwrap_or_default() {
            let field = format!("{place}.{name}");
            if !names.contains(&name) {
                if report.is_whole("policies.chain") {
                    report.error(field, "has settings, but is not in policies.chain");
                }
            } else if let Entry::Vacant(entry) = settings.entry(name) {
                entry.insert((field, value));
            } else {
                report.error(field, "has settings in policies.policy as well");
            }
        }
    }
    settings
}

/// The chain's policies in their order, each once; `default` stands for several.
fn check_chain(chain: Vec<String>, report: &mut Report) -> Vec<String> {
    let known = || KNOWN.into_iter().chain(detectors::KNOWN).chain(judges::KNOWN);
    let mut names: Vec<String> = Vec::new();
    for (at, name) in chain.into_iter().enumerate() {
        let field = format!("policies.chain[{at}]");
        if name == DEFAULT {
            for name in DEFAULT_CHAIN {
                if names.iter().any(|before| before == name) {
                    report.error(&field, format!("'{name}' stands before it, and is part of it"));
                } else {
                    names.push(name.to_owned());
                }
            }
            continue;
        }
        if judges::has_bad_name(&name) {
            let problem =
                "is no name: behind 'external:' stand 1 to 40 lower-case letters, digits or '-'";
            report.error(&field, format!("'{name}' {problem}"));
        } else if !known().any(|it| it == name) && !judges::is_known(&name) {
            let problem = format!("'{name}' is configured but not enforced yet");
            let near = suggestion(&name, known().chain([DEFAULT]))
                .map_or_else(String::new, |near| format!("; did you mean '{near}'?"));
            report.error(&field, format!("{problem}{near}"));
        }
        if names.contains(&name) {
            report.error(field, format!("'{name}' stands twice"));
        } else {
            names.push(name);
        }
    }
    names
}

fn check_spend_limit(settings: Option<(String, Value)>, report: &mut Report) -> Option<MicroUsd> {
    /// The settings of the policy.
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        max_daily_usd: Option<Decimal>,
    }

    let Some((field, value)) = settings else {
        if report.is_whole("policies.policy") && report.is_whole("policy") {
            report.error(
                "policies.chain",
                "spend-limit needs its settings: policies.policy.spend-limit.max_daily_usd",
            );
        }
        return None;
    };
    let Settings { max_daily_usd } = raw::read(value, &field, report)?;
    let field = format!("{field}.max_daily_usd");
    if max_daily_usd.is_none() && report.is_whole(&field) {
        report.error(&field, "missing: how much may be spent in a day?");
    }
    budgets::limit(&field, max_daily_usd, report)
}
