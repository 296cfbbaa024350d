//! `kt gateway status`: how a sidecar is, and which gateways use it.

use std::path::PathBuf;

use kt_contract::wire::admin::versions::VersionEntry;
use kt_contract::wire::admin::{Condition, GatewayStatus, PATH_STATUS, Presence, StatusReply};

use crate::commands::config::{print, tier_name};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::money::moment;
use crate::paths;
use crate::report;
use crate::sidecar::Admin;
use crate::table;

/// Shows a sidecar and its gateways.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The sidecar's data socket [default: KT_SIDECAR, else .kt/run/sidecar.sock]
    #[arg(long, value_name = "SOCKET")]
    sidecar: Option<PathBuf>,
    /// For scripts: the sidecar's own answer.
    #[arg(long)]
    json: bool,
}

// === impl Args ===

impl Args {
    pub(crate) async fn run(self, environment: &Environment) -> Result<(), Failure> {
        let socket = paths::sidecar_socket(self.sidecar.as_deref(), environment);
        let status: StatusReply = Admin::beside(&socket).get(PATH_STATUS).await?;
        if self.json {
            let value = serde_json::to_value(&status)
                .map_err(|error| Failure::new(format!("cannot write JSON: {error}")))?;
            return print(&value);
        }
        report::say(summary(&status));
        for error in &status.config_errors {
            report::note(format_args!("the configuration on disk is not in force: {error}"));
        }
        let refused = status.config.refused.as_ref().filter(|_| status.config_errors.is_empty());
        if let Some(refused) = refused {
            report::note(last_refused(refused));
        }
        for error in &status.tenant_errors {
            report::note(format_args!("a tenant's file is not in force: {error}"));
        }
        for error in &status.wallet_errors {
            match error.strip_prefix("audit: ") {
                Some(breach) => report::note(format_args!("the ledger does not add up: {breach}")),
                None => report::note(format_args!("wallet: {error}")),
            }
        }
        for error in &status.database_errors {
            report::note(error);
        }
        for error in &status.store_errors {
            report::note(format_args!("a store is not as it should be: {error}"));
        }
        report::say("");
        let rows: Vec<_> = status.gateways.iter().map(row).collect();
        let head = ["gateway", "role", "group", "state", "config", "last seen"];
        report::say(table::layout(head, &rows));
        Ok(())
    }
}

fn summary(status: &StatusReply) -> String {
    let cache = if status.cache_enabled { "enabled" } else { "disabled" };
    let fabric = if status.fabric_attached { "attached" } else { "detached" };
    let condition = match status.status {
        Condition::Ok => "ok",
        Condition::Degraded => "degraded",
        Condition::Draining => "draining",
    };
    format!(
        "cache={cache}, fabric={fabric}\nsidecar={condition}, tier={}, snapshot={}, entries={} ({} bytes)\nconfig={}, live for {}",
        tier_name(status.tier),
        status.snapshot,
        status.entries,
        status.entry_bytes,
        status.config.version,
        length(status.config.live_ms),
    )
}

fn row(status: &GatewayStatus) -> [String; 6] {
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let GatewayStatus { gateway, state, last_seen_ms, .. } = status;
    let state = match state {
        Presence::Live => "live",
        Presence::Lost => "lost",
    };
    [
        gateway.id.clone(),
        gateway.role.as_str().to_owned(),
        or_dash(&gateway.group),
        state.to_owned(),
        runs(status),
        format!("{} ago", length(*last_seen_ms)),
    ]
}

/// Which version a gateway runs, and how many of its workers are behind.
fn runs(status: &GatewayStatus) -> String {
    let GatewayStatus { snapshot, config, workers, workers_behind, .. } = status;
    let runs = match (config, snapshot) {
        (Some(config), _) if !config.is_empty() => config.clone(),
        (_, Some(snapshot)) => format!("unknown (snapshot {snapshot})"),
        (_, None) => "-".to_owned(),
    };
    match workers_behind {
        0 => runs,
        behind if behind == workers => format!("{runs} (behind)"),
        behind => format!("{runs} ({behind} of {workers} workers behind)"),
    }
}

fn last_refused(refused: &VersionEntry) -> String {
    let VersionEntry { version, at, source, by, errors, .. } = refused;
    let version = version.as_deref().unwrap_or("that could not be read");
    let by = by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    let (source, at, errors) = (source.as_str(), moment(*at), errors.join("; "));
    format!("the last that was refused: version {version} ({source}{by}, {at}): {errors}")
}

fn length(ms: u64) -> String {
    match ms / 1_000 {
        0..60 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        seconds @ 60..3_600 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_is_told_in_the_unit_that_fits() {
        for (ms, text) in [
            (240, "0.2 s"),
            (59_999, "59.9 s"),
            (60_000, "1 min"),
            (3_599_999, "59 min"),
            (7_200_000, "2 h"),
        ] {
            assert_eq!(length(ms), text);
        }
    }
}
