//! `policies`: which policies are enforced. Only `model-allowlist` is built; whatever else is configured is
//! an error, because a policy that is believed to be enforced and is not is worse than none.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::raw::{self, Chain, NamedPolicy, Policies, Rule};
use super::report::{Bounds, Report, suggestion};
use super::targets::Target;

/// The one policy that is built.
const MODEL_ALLOWLIST: &str = "model-allowlist";
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
}

pub(super) fn check(
    policies: Option<Policies>,
    beside: Option<BTreeMap<String, Value>>,
    targets: &[Target],
    report: &mut Report,
) -> Policy {
    let chain = match policies {
        None => Chain::default(),
        Some(Policies::Chain(chain)) => chain,
        Some(Policies::Rules(policies)) => {
            check_rules(&policies, report);
            Chain::default()
        }
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
    let block_status = report.within("policies.block_status", block_status, BLOCK_STATUS);
    Policy { block_status, model_allowlist }
}

/// The list spelling: every rule of it is for later.
fn check_rules(policies: &[NamedPolicy], report: &mut Report) {
    for (at, NamedPolicy { name, rules }) in policies.iter().enumerate() {
        let name = name.as_deref().unwrap_or("(without a name)");
        let conditions: Vec<String> = rules
            .iter()
            .flatten()
            .enumerate()
            .flat_map(|(rule, Rule { conditions, .. })| {
                conditions.iter().flat_map(|conditions| conditions.keys()).map(move |condition| {
                    format!("policies[{at}].rules[{rule}].conditions.{condition}")
                })
            })
            .collect();
        for field in &conditions {
            let condition = field.rsplit('.').next().unwrap_or_default();
            report.error(
                field.as_str(),
                format!(
                    "the rule '{condition}' of policy '{name}' is configured but not enforced yet"
                ),
            );
        }
        if conditions.is_empty() {
            let problem = format!("policy '{name}' is configured but not enforced yet");
            report.error(format!("policies[{at}]"), problem);
        }
    }
}

fn check_chain(chain: Vec<String>, report: &mut Report) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, name) in chain.into_iter().enumerate() {
        let field = format!("policies.chain[{at}]");
        if name != MODEL_ALLOWLIST {
            let near = suggestion(&name, [MODEL_ALLOWLIST])
                .map_or_else(String::new, |near| format!("; did you mean '{near}'?"));
            report.error(&field, format!("'{name}' is configured but not enforced yet{near}"));
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
