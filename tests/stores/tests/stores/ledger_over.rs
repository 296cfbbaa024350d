//! The ledger that the suites run over here, and how one is opened.

use std::sync::{Arc, LazyLock};

use kt_stores::Server;
use sidecar_cache::store::postgres::ledger::PostgresLedger;

use crate::ledger_support::{Hands, Store};

/// One server for all tests of this binary. Its commits do not wait for the disk, which no test here pulls.
pub(crate) static SERVER: LazyLock<Server> =
    LazyLock::new(|| Server::start(&["-c", "fsync=off"]).unwrap());

/// Where a ledger is, also after a restart: a database of its own.
pub(crate) struct Place {
    pub(crate) url: String,
}

impl Place {
    /// Whether calls are drawn from allotments.
    pub(crate) const HAS_DRAWS: bool = true;

    pub(crate) async fn empty() -> Self {
        Self { url: SERVER.migrated().await.unwrap() }
    }

    pub(crate) async fn open(&self, hands: &Hands) -> Store {
        let database = kt_stores::open(&self.url).unwrap();
        Arc::new(PostgresLedger::open(database, Some(hands.timepiece())).await.unwrap())
    }
}
