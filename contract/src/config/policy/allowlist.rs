//! The settings of `model-allowlist`: the only models that may be asked for.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use super::super::raw;
use super::super::report::Report;
use super::super::targets::Target;
use super::detectors::{self, Action};
use crate::policy::ModelAllowlist;

/// The settings as they stand in the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    action: Option<Action>,
    models: Option<BTreeSet<String>>,
}

/// `None` where every model may be asked for.
pub(super) fn check(
    settings: Option<(String, Value)>,
    targets: &[Target],
    report: &mut Report,
) -> Option<ModelAllowlist> {
    let Some((field, value)) = settings else {
        if report.is_whole("policies.policy") && report.is_whole("policy") {
            report.error(
                "policies.chain",
                "model-allowlist needs its settings: policies.policy.model-allowlist.models",
            );
        }
        return None;
    };
    let Settings { action, models } = raw::read(value, &field, report)?;
    let models = models.unwrap_or_default();
    let list = format!("{field}.models");
    if models.is_empty() && report.is_whole(&list) {
        report.error(&list, "names no model, so that no request keeps to it");
    }
    for model in models.iter().filter(|model| !targets.iter().any(|target| target.serves(model))) {
        report.warning(&list, format!("no target serves '{model}'"));
    }
    Some(ModelAllowlist { decision: detectors::without_place(&field, action, report)?, models })
}
