//! The wallet: transfers by hand, reserves with their ends, from each payer, holds that grow, refunds, and what was paid for
//! without a sidecar. Eight pairs of operations after each other; where the second of a pair is about a hold, it is that of
//! the first.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use kt_contract::money::MicroUsd;
use kt_contract::time::{Millis, MonoMillis, UnixMillis};
use sidecar_cache::ledger::account::Scope;
use sidecar_cache::ledger::clock::Reading;
use sidecar_cache::ledger::request::{
    Adjust, Allocate, Budget, CallOf, Direction, Extend, Fund, Funding, OpenCalls, Purpose, Refund,
    Reserve,
};
use sidecar_cache::ledger::window::{Period, Zone};
use sidecar_cache::ledger::{Operation, State, TransferId};
use sidecar_cache::store::ledger::LedgerStore as _;
use sidecar_cache::store::sqlite::ledger::{Options, SqliteLedger};
use sidecar_cache::store::{Answer, StoreError};

use crate::Work;

/// 2026-11-28, noon. It stays noon here: what expires is asked by `reaper`.
pub(crate) const NOON: UnixMillis = UnixMillis(1_795_867_200_000);
pub(crate) const ORG: &str = "acme";

pub(crate) struct Wallet {
    ledger: SqliteLedger,
    is_funded: AtomicBool,
}

// === impl Wallet ===

impl Wallet {
    pub(crate) fn open(folder: &Path) -> Result<Self, StoreError> {
        SqliteLedger::open(options(folder)).map(Self::over)
    }

    /// The canary: all the same, but no commit waits for the disk.
    pub(crate) fn open_to_lose(folder: &Path) -> Result<Self, StoreError> {
        SqliteLedger::open_to_lose(options(folder)).map(Self::over)
    }

    fn over(ledger: SqliteLedger) -> Self {
        Self { ledger, is_funded: AtomicBool::new(false) }
    }

    /// Enough for everything, whatever was lost: a call that is refused promises nothing.
    async fn fund(&self) -> Result<(), StoreError> {
        if !self.is_funded.swap(true, Relaxed) {
            operate(&self.ledger, fund(u64::MAX, 1_000_000_000)).await?;
            operate(&self.ledger, allocate(u64::MAX - 1, 500_000_000, Direction::Credit)).await?;
        }
        Ok(())
    }
}

impl Work for Wallet {
    fn make(&self, number: u64) -> Answer<'_, String> {
        Box::pin(async move {
            self.fund().await?;
            let (operations, promise) = nth(number);
            for operation in operations {
                operate(&self.ledger, operation).await?;
            }
            Ok(promise)
        })
    }

    fn held(&self) -> Answer<'_, Vec<String>> {
        Box::pin(async move {
            let mut lines = Vec::new();
            for (_, row) in self.ledger.history(ORG.to_owned(), None, usize::MAX).await? {
                lines.push(made(row.id, row.amount));
                if let Some(hold) = self.ledger.hold(row.id).await? {
                    lines.push(ended(hold.id, hold.state));
                    lines.push(holds(hold.id, hold.held));
                }
            }
            Ok(lines)
        })
    }

    fn wrong(&self) -> Answer<'_, Vec<String>> {
        Box::pin(breaches(&self.ledger))
    }
}

/// Operates, and takes a refusal for a failure.
pub(crate) async fn operate(ledger: &SqliteLedger, operation: Operation) -> Result<(), StoreError> {
    let verdict = ledger.operate(operation).await?;
    verdict.map(|_| ()).map_err(|refused| StoreError::Permanent(refused.to_string()))
}

/// What the audit finds.
pub(crate) async fn breaches(ledger: &SqliteLedger) -> Result<Vec<String>, StoreError> {
    let findings = ledger.audit().await?;
    Ok(findings.breaches.iter().map(ToString::to_string).collect())
}

fn options(folder: &Path) -> Options {
    let timepiece = Box::new(|| Reading { mono: MonoMillis(0), wall: NOON });
    Options { path: folder.join("wallet.db"), timepiece, pages_max: None }
}

/// What is done in one go, and what is promised with its last answer.
fn nth(number: u64) -> (Vec<Operation>, String) {
    let hold = id(number & !1);
    let made_here = |amount| made(id(number), usd(amount));
    let settle = |actual, estimated| {
        let actual = usd(actual);
        let promise = ended(hold, State::Settled { actual });
        (vec![Operation::Settle { hold, actual, estimated }], promise)
    };
    match number % 16 {
        0 => (vec![fund(number, 500)], made_here(500)),
        1 => (vec![allocate(number, 200, Direction::Credit)], made_here(200)),
        2 => (vec![reserve(number, Funding::Prepaid, None)], made_here(10)),
        // An overage, which is a second row.
        3 => settle(25, false),
        4 => (vec![reserve(number, Funding::Prepaid, Some("web"))], made_here(10)),
        5 => (vec![Operation::Release { hold }], ended(hold, State::Released)),
        6 => (vec![reserve(number, Funding::Postpaid, Some("web"))], made_here(10)),
        7 => settle(7, true),
        8 => (vec![open_calls(number, 30)], made_here(30)),
        9 => (vec![adjust(number, 20)], made_here(20)),
        // A hold that grows, and nobody ends.
        10 => (vec![reserve(number, Funding::Prepaid, None)], made_here(10)),
        11 => (vec![extend(hold, 60)], holds(hold, usd(60))),
        12 => {
            let (settle, promise) = settle(8, false);
            ([vec![reserve(number, Funding::Prepaid, None)], settle].concat(), promise)
        }
        13 => (vec![refund(number, hold, 3)], made_here(3)),
        14 => (vec![allocate(number, 200, Direction::Credit)], made_here(200)),
        _ => (vec![allocate(number, 50, Direction::Debit)], made_here(50)),
    }
}

fn made(id: TransferId, amount: MicroUsd) -> String {
    format!("{} of {} is made", id.0.to_hex(), amount.micros())
}

pub(crate) fn ended(id: TransferId, state: State) -> String {
    format!("{} is {state:?}", id.0.to_hex())
}

fn holds(id: TransferId, held: MicroUsd) -> String {
    format!("{} holds {}", id.0.to_hex(), held.micros())
}

pub(crate) fn id(number: u64) -> TransferId {
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(number.to_be_bytes()).for_each(|(place, byte)| *place = byte);
    TransferId::from_128(bytes)
}

/// Amounts here are far from where money ends.
pub(crate) fn usd(micros: u64) -> MicroUsd {
    MicroUsd::new(micros).unwrap_or(MicroUsd::MAX)
}

pub(crate) fn fund(number: u64, amount: u64) -> Operation {
    let (org, note) = (ORG.to_owned(), String::new());
    Operation::Fund(Fund { id: id(number), org, amount: usd(amount), note })
}

fn open_calls(number: u64, amount: u64) -> Operation {
    let (org, note) = (ORG.to_owned(), String::new());
    Operation::OpenCalls(OpenCalls { id: id(number), org, amount: usd(amount), note })
}

fn adjust(number: u64, amount: u64) -> Operation {
    let (org, note, direction) = (ORG.to_owned(), String::new(), Direction::Debit);
    Operation::Adjust(Adjust { id: id(number), org, amount: usd(amount), direction, note })
}

fn allocate(number: u64, amount: u64, direction: Direction) -> Operation {
    Operation::Allocate(Allocate {
        id: id(number),
        org: ORG.to_owned(),
        team: "web".to_owned(),
        amount: usd(amount),
        direction,
        note: String::new(),
    })
}

fn extend(hold: TransferId, total: u64) -> Operation {
    Operation::Extend(Extend { hold, total: usd(total), ttl: Millis(60_000) })
}

fn refund(number: u64, hold: TransferId, amount: u64) -> Operation {
    Operation::Refund(Refund { id: id(number), hold, amount: usd(amount), note: String::new() })
}

pub(crate) fn reserve(number: u64, funding: Funding, team: Option<&str>) -> Operation {
    let call = CallOf { provider: "openai".to_owned(), ..CallOf::default() };
    let limit = MicroUsd::MAX;
    Operation::Reserve(Reserve {
        id: id(number),
        org: ORG.to_owned(),
        funding,
        team: team.map(str::to_owned),
        purpose: Purpose::Call(call),
        amount: usd(10),
        cost_max: usd(100),
        ttl: Millis(60_000),
        budgets: vec![Budget { scope: Scope::Org, period: Period::Daily, limit }],
        zone: Zone::utc(),
        prices: "2026-11-01".to_owned(),
    })
}
