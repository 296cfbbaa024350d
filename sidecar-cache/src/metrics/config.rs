//! What the sidecar counts of its configuration.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{Sight, Version};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ChangeOf {
    source: &'static str,
    result: &'static str,
}

/// Changes of the configuration, and which one is in use.
#[derive(Debug, Default)]
pub(super) struct Configured {
    changes: Family<ChangeOf, Counter>,
    reload_errors: Counter,
    outdated_plans: Counter,
    version: Family<Version, Gauge>,
    snapshot: Family<Version, Gauge>,
}

// === impl Configured ===

impl Configured {
    pub(super) fn register(&self, r: &mut Registry) {
        r.register(
            "kt_reload_errors",
            "Changes of the configuration file that were not put in force",
            self.reload_errors.clone(),
        );
        r.register(
            "kt_config_changes",
            "Changes of the configuration, and what became of them",
            self.changes.clone(),
        );
        r.register(
            "kt_outdated_plans",
            "Requests planned by other policies than those in use, asked to come again",
            self.outdated_plans.clone(),
        );
        r.register("kt_config_version_info", "The version in use", self.version.clone());
        r.register("kt_snapshot_info", "The snapshot in use", self.snapshot.clone());
    }

    pub(super) fn reload_failed(&self) {
        self.reload_errors.inc();
    }

    pub(super) fn outdated_plan(&self) {
        self.outdated_plans.inc();
    }

    pub(super) fn changed(&self, source: &'static str, went_live: bool) {
        let result = if went_live { "live" } else { "refused" };
        self.changes.get_or_create(&ChangeOf { source, result }).inc();
    }

    pub(super) fn set(&self, sight: &Sight) {
        for (info, version) in [(&self.version, &sight.config), (&self.snapshot, &sight.snapshot)] {
            info.clear();
            info.get_or_create(&Version { version: version.clone() }).set(1);
        }
    }
}
