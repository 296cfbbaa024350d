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

#[tokio::test(start_paused = true)]
async fn all_holds_that_are_due_are_closed_in_one_round_however_many() {
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
    for attempt in 0..600 {
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
    pass(Duration::from_secs(61)).await;
    group.sidecar.close_due().await;
    let holds = ledger.holds(org()).await.unwrap();
    assert_eq!(holds.len(), 600);
    assert!(holds.iter().all(|hold| matches!(hold.state, State::Expired { .. })));
    assert_eq!(group.metric("kt_wallet_holds_closed_total"), "600");
}
