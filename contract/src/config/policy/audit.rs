//! The settings of `audit-logger`: what is written down of requests, and for how long.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::super::report::{Bounds, Report};
use super::super::{Gateway, WorkflowCache};
use super::detectors;
use crate::snapshot::OnSidecarLoss;

/// What has been decided about requests, on record.
pub(super) const AUDIT_LOGGER: &str = "audit-logger";

/// A year as the seeds have it; ten at most.
const RETENTION_DAYS: Bounds<u64> = Bounds { min: 1, max: 3_650, default: 365 };
const SECONDS_OF_A_DAY: u64 = 86_400;
/// Where a worker's own memory is bounded.
const L1_BYTES: &str = "workflow_cache.l1.max_bytes";

/// `audit-logger`: what is on record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditLogger {
    /// `retention_days`: for how long a record is kept. Nothing else removes one.
    pub retention: Duration,
    /// `log_all_access`: nothing is answered that is not on record, hits included.
    pub log_all_access: bool,
}

/// The settings as they stand in the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    immutable: Option<bool>,
    retention_days: Option<u64>,
    log_all_access: Option<bool>,
}

pub(super) fn check(settings: Option<(String, Value)>, report: &mut Report) -> Option<AuditLogger> {
    let field = detectors::field(AUDIT_LOGGER, settings.as_ref());
    let Settings { immutable, retention_days, log_all_access } = detectors::read(settings, report)?;
    if immutable == Some(false) {
        let problem = "must be true, or absent: a record that can be changed proves nothing. Retention is what removes one";
        report.error(format!("{field}.immutable"), problem);
    }
    let days = report.within(&format!("{field}.retention_days"), retention_days, RETENTION_DAYS);
    Some(AuditLogger {
        retention: Duration::from_secs(days.saturating_mul(SECONDS_OF_A_DAY)),
        log_all_access: log_all_access.unwrap_or(false),
    })
}

/// What other sections must not say beside it: whatever they say, nothing goes past the log.
pub(in super::super) fn check_beside(
    logger: AuditLogger,
    gateway: &Gateway,
    cache: &WorkflowCache,
    report: &mut Report,
) {
    if gateway.on_sidecar_loss == OnSidecarLoss::Direct {
        let problem = "'direct' is not possible with audit-logger: while the sidecar is lost, requests would go to the provider and leave no record. Use 'unavailable'";
        report.error("gateway.on_sidecar_loss", problem);
    }
    if logger.log_all_access && cache.l1_bytes_max > 0 && report.mentions(L1_BYTES) {
        let problem = "must be 0, or absent, with audit-logger's log_all_access: what a worker serves from its own memory leaves no record";
        report.error(L1_BYTES, problem);
    }
}
