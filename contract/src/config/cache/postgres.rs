//! `workflow_cache.postgres`: the table of the entries, in the database that sidecars share.

use crate::config::raw;
use crate::config::report::{Bounds, Report};

const TABLE: &str = "workflow_cache.postgres.table";
const TABLE_DEFAULT: &str = "cache_entries";
/// What belongs to it has its name and a few letters more, and Postgres cuts names at 63.
const TABLE_BYTES_MAX: usize = 48;
const ORG_BYTES: Bounds<u64> = Bounds { min: 64 << 10, max: 1 << 40, default: 1 << 30 };

/// `workflow_cache.postgres`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Postgres {
    /// `table`: what its name is.
    pub table: String,
    /// `max_bytes_per_org`.
    pub max_bytes_per_org: u64,
}

pub(super) fn check(raw: raw::Postgres, report: &mut Report) -> Postgres {
    let raw::Postgres { table, max_bytes_per_org } = raw;
    let table = table.unwrap_or_else(|| TABLE_DEFAULT.to_owned());
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let begins = table.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
    if !begins || table.len() > TABLE_BYTES_MAX || !table.bytes().all(is_plain) {
        report.error(
            TABLE,
            "must have 1 to 48 characters, lower-case letters, digits and '_', and begin with no digit",
        );
    }
    let field = "workflow_cache.postgres.max_bytes_per_org";
    Postgres { table, max_bytes_per_org: report.within(field, max_bytes_per_org, ORG_BYTES) }
}

// === impl Postgres ===

impl Postgres {
    /// The fields in which it differs from another.
    pub(in super::super) fn differing(&self, other: &Self) -> Vec<&'static str> {
        let Self { table, max_bytes_per_org } = self;
        [
            ("postgres.table", *table == other.table),
            ("postgres.max_bytes_per_org", *max_bytes_per_org == other.max_bytes_per_org),
        ]
        .into_iter()
        .filter_map(|(field, is_same)| (!is_same).then_some(field))
        .collect()
    }
}
