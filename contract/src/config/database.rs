//! `database`: where the sidecars of a group keep what is not one sidecar's own.

use super::raw;
use super::report::Report;
use super::targets::{SecretRef, check_secret};

/// `database`: gateway keys, generations and remembered replies are there, for every sidecar that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Database {
    /// `url`: where its address stands.
    pub url: SecretRef,
}

pub(super) fn check(raw: raw::Database, report: &mut Report) -> Option<Database> {
    let raw::Database { url } = raw;
    if url.is_none() && report.is_whole("database") && report.is_whole("database.url") {
        report.error(
            "database",
            "needs 'url', with the name of an environment variable or of a file that holds the \
             address: url: {env: KT_DATABASE_URL}",
        );
    }
    let url = check_secret("database.url".to_owned(), url?, report)?;
    Some(Database { url })
}
