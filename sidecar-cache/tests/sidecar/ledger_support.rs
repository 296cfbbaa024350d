//! What the tests of the ledger share: a clock that they move, ids, and requests with little in them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use kt_contract::money::MicroUsd;
use kt_contract::time::{Millis, MonoMillis, UnixMillis};
use sidecar_cache::ledger::account::Scope;
use sidecar_cache::ledger::clock::Reading;
use sidecar_cache::ledger::request::{
    Adjust, Allocate, Budget, CallOf, Direction, Extend, Fund, Funding, Purpose, Refund, Reserve,
};
use sidecar_cache::ledger::window::{Period, Zone};
use sidecar_cache::ledger::{Operation, TransferId};
use sidecar_cache::store::ledger::memory::Timepiece;
use sidecar_cache::store::ledger::{LedgerStore, Verdict};
use sidecar_cache::store::savings::SavingsStore;

/// 2026-11-28, noon in UTC.
pub(crate) const NOON: u64 = 1_795_867_200_000;
pub(crate) const SECOND: u64 = 1_000;
pub(crate) const HOUR: u64 = 3_600 * SECOND;
pub(crate) const DAY: u64 = 24 * HOUR;
/// How long the holds of these tests live.
pub(crate) const TTL: u64 = 60 * SECOND;

// Over which ledgers a suite runs, and how one is opened, is up to the binary.
pub(crate) use crate::ledger_over::Place;

/// Stamps tests over the ledger of this binary. Each gets an empty one, and ends with an audit that finds nothing.
macro_rules! ledger_suite {
    ($($test:ident)*) => {
        mod stamped {$(
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

/// What every ledger is.
pub(crate) trait Kept: LedgerStore + SavingsStore {}

impl<T: LedgerStore + SavingsStore> Kept for T {}

pub(crate) type Store = Arc<dyn Kept>;

/// A clock's hands.
#[derive(Clone, Debug)]
pub(crate) struct Hands {
    mono: Arc<AtomicU64>,
    wall: Arc<AtomicU64>,
}

impl Hands {
    pub(crate) fn at_noon() -> Self {
        Self { mono: Arc::new(AtomicU64::new(7)), wall: Arc::new(AtomicU64::new(NOON)) }
    }

    pub(crate) fn pass(&self, millis: u64) {
        self.mono.fetch_add(millis, SeqCst);
        self.wall.fetch_add(millis, SeqCst);
    }

    /// Sets the wall clock, and lets no time pass.
    pub(crate) fn set_wall(&self, wall: u64) {
        self.wall.store(wall, SeqCst);
    }

    pub(crate) fn wall(&self) -> u64 {
        self.wall.load(SeqCst)
    }

    pub(crate) fn timepiece(&self) -> Timepiece {
        let hands = self.clone();
        Box::new(move || Reading {
            mono: MonoMillis(hands.mono.load(SeqCst)),
            wall: UnixMillis(hands.wall.load(SeqCst)),
        })
    }
}

pub(crate) fn usd(micros: u64) -> MicroUsd {
    MicroUsd::new(micros).unwrap()
}

pub(crate) fn id(number: u64) -> TransferId {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    TransferId::from_128(bytes)
}

pub(crate) fn fund(number: u64, amount: u64) -> Operation {
    let note = "test".to_owned();
    Operation::Fund(Fund { id: id(number), org: "acme".to_owned(), amount: usd(amount), note })
}

pub(crate) fn call_of(provider: &str) -> CallOf {
    CallOf {
        provider: provider.to_owned(),
        model: "gpt-5".to_owned(),
        team: Some("web".to_owned()),
        user: None,
        agent: Some("bot".to_owned()),
        codebase: None,
        key_id: "gk_1".to_owned(),
        request_id: "ab12".to_owned(),
    }
}

pub(crate) fn reservation(number: u64, amount: u64, budgets: Vec<Budget>) -> Reserve {
    Reserve {
        id: id(number),
        org: "acme".to_owned(),
        funding: Funding::Prepaid,
        team: None,
        purpose: Purpose::Call(call_of("openai")),
        amount: usd(amount),
        cost_max: usd((amount + 1_000).min(MicroUsd::MAX.micros())),
        ttl: Millis(TTL),
        budgets,
        zone: Zone::utc(),
        prices: "2026-11-01".to_owned(),
    }
}

pub(crate) fn reserve(number: u64, amount: u64) -> Operation {
    Operation::Reserve(reservation(number, amount, Vec::new()))
}

pub(crate) fn budget(scope: Scope, period: Period, limit: u64) -> Budget {
    Budget { scope, period, limit: usd(limit) }
}

pub(crate) fn extend(number: u64, total: u64) -> Operation {
    Operation::Extend(Extend { hold: id(number), total: usd(total), ttl: Millis(TTL) })
}

pub(crate) fn settle(number: u64, actual: u64) -> Operation {
    Operation::Settle { hold: id(number), actual: usd(actual), estimated: false }
}

pub(crate) fn late_settle(number: u64, actual: u64) -> Operation {
    Operation::LateSettle { hold: id(number), actual: usd(actual), estimated: false }
}

pub(crate) fn release(number: u64) -> Operation {
    Operation::Release { hold: id(number) }
}

pub(crate) fn expire(number: u64) -> Operation {
    Operation::Expire { hold: id(number) }
}

pub(crate) fn give_back(number: u64) -> Operation {
    Operation::Return { hold: id(number) }
}

pub(crate) fn refund(number: u64, hold: u64, amount: u64) -> Operation {
    let note = "test".to_owned();
    Operation::Refund(Refund { id: id(number), hold: id(hold), amount: usd(amount), note })
}

pub(crate) fn adjust(number: u64, amount: u64, direction: Direction) -> Operation {
    let (org, note) = ("acme".to_owned(), "test".to_owned());
    Operation::Adjust(Adjust { id: id(number), org, amount: usd(amount), direction, note })
}

pub(crate) fn allocate(number: u64, team: &str, amount: u64, direction: Direction) -> Operation {
    let (org, note) = ("acme".to_owned(), "test".to_owned());
    let (id, team, amount) = (id(number), team.to_owned(), usd(amount));
    Operation::Allocate(Allocate { id, org, team, amount, direction, note })
}

/// What the ledger says, in one word or two: `created post 7`, `exists`, or the code of the refusal.
pub(crate) fn word(verdict: &Verdict) -> String {
    match verdict {
        Ok(receipt) => {
            let made = format!("{:?}", receipt.made).to_lowercase();
            format!("{made} {} {}", receipt.kind.as_str(), receipt.amount.micros())
        }
        Err(refused) => refused.code(),
    }
}

pub(crate) async fn ask(store: &dyn LedgerStore, operation: Operation) -> String {
    word(&store.operate(operation).await.unwrap())
}

/// What is available in the wallet.
pub(crate) async fn available(store: &dyn LedgerStore) -> i128 {
    store.balance("acme".to_owned()).await.unwrap().wallet.available()
}

/// What is available in an account; nothing where there is none.
pub(crate) async fn available_in(store: &dyn LedgerStore, name: &str) -> i128 {
    let accounts = store.accounts("acme".to_owned()).await.unwrap();
    accounts.iter().find(|(found, _)| found == name).map_or(0, |(_, account)| account.available())
}

/// An audit that has to find nothing.
pub(crate) async fn audited(store: &dyn LedgerStore) {
    let findings = store.audit().await.unwrap();
    assert_eq!(findings.breaches, [], "{} transfers", findings.transfers);
}
