//! Holds that nobody ends: the reaper expires them, and a day later it returns what lies in suspense, unless it was told
//! before how the call has ended. Two numbers are one hold: its way into suspense, and its way out.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use kt_contract::time::{MonoMillis, UnixMillis};
use sidecar_cache::ledger::clock::Reading;
use sidecar_cache::ledger::request::Funding;
use sidecar_cache::ledger::transfer::Kind;
use sidecar_cache::ledger::{Operation, State, TransferId};
use sidecar_cache::store::ledger::LedgerStore as _;
use sidecar_cache::store::sqlite::ledger::{Options, SqliteLedger};
use sidecar_cache::store::{Answer, StoreError};

use crate::Work;
use crate::wallet::{self, NOON, ORG, ended, id, usd};

const MINUTE_MS: u64 = 60_000;
/// Longer than the lifetime that `wallet::reserve` gives a hold.
const EXPIRES_MS: u64 = 2 * MINUTE_MS;
/// A day and some: evidence that has not come by then will not.
const RETURNS_MS: u64 = 24 * 60 * MINUTE_MS + MINUTE_MS;
/// More than all that one hold takes, for each of its two numbers: the clock is ahead of all that was before a cut.
const NUMBER_MS: u64 = 2 * RETURNS_MS;
/// What tells the numbers of payments in from those of holds.
const FUNDS: u64 = 1 << 63;
/// More than there ever are.
const AT_ONCE: usize = 1_000;

pub(crate) struct Reaper {
    ledger: SqliteLedger,
    /// Since noon, on both clocks.
    passed_ms: Arc<AtomicU64>,
}

// === impl Reaper ===

impl Reaper {
    pub(crate) fn open(folder: &Path) -> Result<Self, StoreError> {
        let passed_ms = Arc::new(AtomicU64::new(0));
        let clock = Arc::clone(&passed_ms);
        let timepiece = Box::new(move || {
            let passed = clock.load(Relaxed);
            Reading { mono: MonoMillis(passed), wall: UnixMillis(NOON.0.saturating_add(passed)) }
        });
        let options = Options { path: folder.join("wallet.db"), timepiece, pages_max: None };
        SqliteLedger::open(options).map(|ledger| Self { ledger, passed_ms })
    }

    fn pass(&self, ms: u64) {
        self.passed_ms.fetch_add(ms, Relaxed);
    }

    async fn operate(&self, operation: Operation) -> Result<(), StoreError> {
        wallet::operate(&self.ledger, operation).await
    }

    /// Its way into suspense.
    async fn expires(&self, hold: TransferId, number: u64) -> Result<String, StoreError> {
        self.passed_ms.fetch_max(number.saturating_mul(NUMBER_MS), Relaxed);
        self.operate(wallet::fund(number | FUNDS, 500)).await?;
        self.operate(wallet::reserve(number, Funding::Prepaid, None)).await?;
        self.pass(EXPIRES_MS);
        self.ledger.expire_due(AT_ONCE).await?;
        Ok(expired(hold))
    }

    /// One of four ways out.
    async fn ends(&self, hold: TransferId, number: u64) -> Result<String, StoreError> {
        let actual = usd(25);
        let settle = Operation::LateSettle { hold, actual, estimated: false };
        let state = match number / 2 % 4 {
            0 => {
                self.operate(settle).await?;
                State::LateSettled { actual }
            }
            1 => {
                self.operate(Operation::Release { hold }).await?;
                State::LateReleased
            }
            2 => {
                self.pass(RETURNS_MS);
                self.ledger.expire_due(AT_ONCE).await?;
                State::Returned
            }
            // The evidence comes when nobody waits for it any more.
            _ => {
                self.pass(RETURNS_MS);
                self.ledger.expire_due(AT_ONCE).await?;
                self.operate(settle).await?;
                State::LateSettled { actual }
            }
        };
        Ok(ended(hold, state))
    }
}

impl Work for Reaper {
    fn make(&self, number: u64) -> Answer<'_, String> {
        let hold = id(number & !1);
        Box::pin(async move {
            match number % 2 {
                0 => self.expires(hold, number).await,
                _ => self.ends(hold, number).await,
            }
        })
    }

    fn held(&self) -> Answer<'_, Vec<String>> {
        Box::pin(async move {
            let mut lines = Vec::new();
            for (_, row) in self.ledger.history(ORG.to_owned(), None, usize::MAX).await? {
                match (row.kind, row.hold) {
                    (Kind::Expire, Some(hold)) => lines.push(expired(hold)),
                    _ => {
                        if let Some(hold) = self.ledger.hold(row.id).await? {
                            lines.push(ended(hold.id, hold.state));
                        }
                    }
                }
            }
            Ok(lines)
        })
    }

    fn wrong(&self) -> Answer<'_, Vec<String>> {
        Box::pin(async move {
            // As a sidecar does at its start: what was due while nobody looked is no fault of the ledger.
            self.ledger.expire_due(AT_ONCE).await?;
            wallet::breaches(&self.ledger).await
        })
    }
}

fn expired(hold: TransferId) -> String {
    format!("{} has expired", hold.0.to_hex())
}
