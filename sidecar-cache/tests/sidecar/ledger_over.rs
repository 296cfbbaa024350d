//! The ledger that the suites run over here, and how it is opened. The one in memory has a binary of its own.

use std::sync::Arc;

use sidecar_cache::store::sqlite::ledger::{Options, SqliteLedger};
use tempfile::TempDir;

use crate::ledger_support::{Hands, Store};

/// Where a ledger is, also after a restart: a folder.
pub(crate) struct Place {
    folder: TempDir,
}

impl Place {
    /// Whether calls are drawn from allotments: only where several sidecars share a ledger.
    pub(crate) const HAS_DRAWS: bool = false;

    #[expect(clippy::unused_async, reason = "where a ledger is a database, that has to be made")]
    pub(crate) async fn empty() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    #[expect(clippy::unused_async, reason = "the same")]
    pub(crate) async fn open(&self, hands: &Hands) -> Store {
        let path = self.folder.path().join("wallet.db");
        let options = Options { path, timepiece: hands.timepiece(), pages_max: None };
        Arc::new(SqliteLedger::open(options).unwrap())
    }
}
