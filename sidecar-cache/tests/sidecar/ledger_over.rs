//! The ledger that the suites run over here, and how it is opened. The one in memory has a binary of its own.

use std::sync::Arc;

use sidecar_cache::store::sqlite::ledger::{Options, SqliteLedger};
use tempfile::TempDir;

use crate::ledger_support::{Hands, Store};

/// Stamps tests over the ledger in SQLite: a failure reads `sqlite::a_settle_returns_the_rest`. Each gets an empty one, and
/// ends with an audit that finds nothing.
macro_rules! ledger_suite {
    ($($test:ident)*) => {
        mod sqlite {$(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $test() {
                let place = crate::ledger_over::Place::empty().await;
                let hands = crate::ledger_support::Hands::at_noon();
                let store = place.open(&hands).await;
                super::$test(&store, &hands).await;
                crate::ledger_support::audited(&*store).await;
            }
        )*}
    };
}
pub(crate) use ledger_suite;

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
