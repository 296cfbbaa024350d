//! What is counted of the audit log.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Records, and requests without one.
#[derive(Debug, Default)]
pub(super) struct Audit {
    records: Counter,
    lost: Counter,
    expired: Counter,
    waiting: Gauge,
}

// === impl Audit ===

impl Audit {
    pub(super) fn register(&self, r: &mut Registry) {
        r.register("kt_audit_records", "Records put into the audit log", self.records.clone());
        r.register(
            "kt_audit_lost",
            "Requests without a record, because it could not be written and there was no room to keep it",
            self.lost.clone(),
        );
        r.register("kt_audit_expired", "Records that retention has removed", self.expired.clone());
        r.register("kt_audit_waiting", "Records that wait to be written", self.waiting.clone());
    }

    pub(super) fn recorded(&self, records: u64) {
        self.records.inc_by(records);
    }

    pub(super) fn lost(&self, requests: u64) {
        self.lost.inc_by(requests);
    }

    pub(super) fn expired(&self, records: u64) {
        self.expired.inc_by(records);
    }

    pub(super) fn waiting(&self, records: usize) {
        self.waiting.set(i64::try_from(records).unwrap_or(i64::MAX));
    }
}
