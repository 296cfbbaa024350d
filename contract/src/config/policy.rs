//! `policies`: which policies are enforced. Whatever else is configured is an error, because a policy that is
//! believed to be enforced and is not is worse than none.

mod rules;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::budgets;
use super::raw::{self, Chain, Decimal, Policies};
use super::report::{Bounds, Report, suggestion};
use super::targets::Target;
use crate::money::MicroUsd;

/// Which models may be asked for.
const MODEL_ALLOWLIST: &str = "model-allowlist";
/// How much may be spent.
const SPEND_LIMIT: &str = "spend-limit";
/// The policies that a chain may have.
const KNOWN: [&str; 2] = [MODEL_ALLOWLIST, SPEND_LIMIT];
/// 409 as the seeds have it.
const BLOCK_STATUS: Bounds<u16> = Bounds { min: 400, max: 499, default: 409 };

/// The policies that are enforced.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policy {
    /// `policies.block_status`: the HTTP status of a block.
    pub block_status: u16,
    /// `model-allowlist`: the only models that may be asked for, where the chain has this policy.
    pub model_allowlist: Option<BTreeSet<String>>,
    /// `wallet_balance: sufficient`: calls are made only while the wallet has the money for them.
    pub needs_wallet_balance: bool,
    /// `spend-limit.max_daily_usd`: what the pack may spend in a day, on all of its gateways together.
    pub spend_limit_daily: Option<MicroUsd>,
}

pub(super) fn check(
    policies: Option<Policies>,
    beside: Option<BTreeMap<String, Value>>,
    targets: &[Target],
    report: &mut Report,
) -> Policy {
    let (chain, needs_wallet_balance) = match policies {
        None => (Chain::default(), false),
        Some(Policies::Chain(chain)) => (chain, false),
        Some(Policies::Rules(policies)) => (Chain::default(), rules::check(policies, report)),
    };
    let Chain { chain, policy, block_status } = chain;
    let names = check_chain(chain.unwrap_or_default(), report);
    let mut settings = BTreeMap::new();
    for (place, of_place) in [("policies.policy", policy), ("policy", beside)] {
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
    let model_allowlist = names
        .contains(MODEL_ALLOWLIST)
        .then(|| check_allowlist(settings.remove(MODEL_ALLOWLIST), targets, report));
    let spend_limit_daily = names
        .contains(SPEND_LIMIT)
        .then(|| check_spend_limit(settings.remove(SPEND_LIMIT), report))
        .flatten();
    let block_status = report.within("policies.block_status", block_status, BLOCK_STATUS);
    Policy { block_status, model_allowlist, needs_wallet_balance, spend_limit_daily }
}

fn check_chain(chain: Vec<String>, report: &mut Report) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, name) in chain.into_iter().enumerate() {
        let field = format!("policies.chain[{at}]");
        let problem = format!("'{name}' is configured but not enforced yet");
        if !KNOWN.contains(&name.as_str()) {
            let near = suggestion(&name, KNOWN)
                .map_or_else(String::new, |near| format!("; did you mean '{near}'?"));
            report.error(&field, format!("{problem}{near}"));
        }
        if names.contains(&name) {
            report.error(field, format!("'{name}' stands twice"));
        }
        names.insert(name);
    }
    names
}

fn check_allowlist(
    settings: Option<(String, Value)>,
    targets: &[Target],
    report: &mut Report,
) -> BTreeSet<String> {
    /// The settings of the policy.
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        models: Option<BTreeSet<String>>,
    }

    let Some((field, value)) = settings else {
        if report.is_whole("policies.policy") && report.is_whole("policy") {
            report.error(
                "policies.chain",
                "model-allowlist needs its settings: policies.policy.model-allowlist.models",
            );
        }
        return BTreeSet::new();
    };
    let Some(Settings { models }) = raw::read(value, &field, report) else {
        return BTreeSet::new();
    };
    let models = models.unwrap_or_default();
    let field = format!("{field}.models");
    if models.is_empty() && report.is_whole(&field) {
        report.error(&field, "names no model, so every request would be refused");
    }
    for model in models.iter().filter(|model| !targets.iter().any(|target| target.serves(model))) {
        report.warning(&field, format!("no target serves '{model}'"));
    }
    models
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
