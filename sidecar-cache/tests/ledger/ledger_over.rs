//! The ledger that the suites run over here, and how one is opened.

use std::sync::{Arc, OnceLock};

use sidecar_cache::store::ledger::memory::MemoryLedger;

use crate::ledger_support::{Hands, Store};

/// Where a ledger is: it lasts as long as its place, however often it is opened.
pub(crate) struct Place {
    ledger: OnceLock<Arc<MemoryLedger>>,
}

impl Place {
    /// Whether calls are drawn from allotments.
    pub(crate) const HAS_DRAWS: bool = true;

    #[expect(clippy::unused_async, reason = "where a ledger is a database, that has to be made")]
    pub(crate) async fn empty() -> Self {
        Self { ledger: OnceLock::new() }
    }

    #[expect(clippy::unused_async, reason = "the same")]
    pub(crate) async fn open(&self, hands: &Hands) -> Store {
        let ledger = self.ledger.get_or_init(|| Arc::new(MemoryLedger::new(hands.timepiece())));
        Arc::<MemoryLedger>::clone(ledger)
    }
}
