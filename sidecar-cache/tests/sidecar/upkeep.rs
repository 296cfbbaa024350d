//! What the ledger needs from time to time: holds whose time is over are closed.

use std::sync::Arc;
use std::time::Duration;

use kt_contract::money::MicroUsd;
use kt_contract::time::Millis;
use sidecar_cache::clock::Clock;
use sidecar_cache::ledger::request::{CallOf, Fund, Funding, Purpose, Reserve};
use sidecar_cache::ledger::window::Zone;
use sidecar_cache::ledger::{Operation, State, TransferId};
use sidecar_cache::store::ledger::LedgerStore;
use sidecar_cache::store::ledger::memory::MemoryLedger;

use crate::support::*;

/// A group, and a ledger with so many calls that are under way.
async fn under_way(calls: u32) -> (Group, Arc<dyn LedgerStore>) {
    let clock = Clock::start();
    let ledger: Arc<dyn LedgerStore> =
        Arc::new(MemoryLedger::new(Box::new(move || clock.reading())));
    let group = group_of(settings_with("wallet: {}\n"), clock, Some(Arc::clone(&ledger)));
    let org = || "acme".to_owned();
    let amount = MicroUsd::new(1).unwrap();
    ledger
        .operate(Operation::Fund(Fund {
            id: TransferId::of_key("acme", "fund", "k"),
            org: org(),
            amount: MicroUsd::new(1_000).unwrap(),
            note: String::new(),
        }))
        .await
        .unwrap()
        .unwrap();
    for attempt in 0..calls {
        let reserve = Operation::Reserve(Reserve {
            id: TransferId::of_reserve("acme", [1; 16], attempt),
            org: org(),
            funding: Funding::Prepaid,
            team: None,
            purpose: Purpose::Call(CallOf::default()),
            amount,
            cost_max: amount,
            ttl: Millis(60_000),
            budgets: Vec::new(),
            zone: Zone::utc(),
            prices: "v1".to_owned(),
        });
        ledger.operate(reserve).await.unwrap().unwrap();
    }
    (group, ledger)
}

#[tokio::test(start_paused = true)]
async fn all_holds_that_are_due_are_closed_in_one_round_however_many() {
    let (group, ledger) = under_way(600).await;
    pass(Duration::from_secs(61)).await;
    group.sidecar.close_due().await;
    let holds = ledger.holds("acme".to_owned()).await.unwrap();
    assert_eq!(holds.len(), 600);
    assert!(holds.iter().all(|hold| matches!(hold.state, State::Expired { .. })));
    assert_eq!(group.metric("kt_wallet_holds_closed_total"), "600");
}

#[tokio::test(start_paused = true)]
async fn an_audit_behind_a_long_outage_finds_nothing_wrong_with_what_nobody_could_close() {
    let (group, ledger) = under_way(1).await;
    pass(Duration::from_secs(61)).await;
    group.sidecar.close_due().await;
    // What lies in suspense is due back after a day.
    pass(Duration::from_secs(26 * 3_600)).await;
    let audited = group.sidecar.audit().await.unwrap();
    assert_eq!((audited.breaches, audited.holds_suspended), (Vec::new(), 0));
    assert_eq!(ledger.frozen().await.unwrap(), []);
    assert_eq!(group.metric("kt_wallet_holds_closed_total"), "2");
}
