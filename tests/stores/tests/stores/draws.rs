//! What an older sidecar does about draws.

use sidecar_cache::ledger::Operation;
use sidecar_cache::ledger::request::{Draw, DrawnEnd, Purpose, Reserve};

use crate::ledger_over::Place;
use crate::ledger_support::*;
use crate::shared_ledger::{shell, sidecar};

#[tokio::test]
async fn a_sidecar_that_knows_no_draws_closes_no_allotment() {
    let place = Place::empty().await;
    let ledger = sidecar(&place).await;
    ask(&*ledger, fund(1, 1_000)).await;
    let purpose = Purpose::Allotment("sidecar-a".to_owned());
    let allotment = Reserve { purpose, ..reservation(10, 100, Vec::new()) };
    ask(&*ledger, Operation::Reserve(allotment)).await;
    let end = Some(DrawnEnd::Settle { actual: usd(12), estimated: false });
    let draw = Draw { allotment: id(10), reserve: reservation(20, 30, Vec::new()), end };
    ask(&*ledger, Operation::Draw(draw)).await;
    let shell = shell(&place).await;
    let expires = |amount: u64| {
        format!(
            "INSERT INTO transfers (org, seq, id, kind, hold, amount, at, note)
             VALUES ('acme', 99, decode(repeat('ab', 32), 'hex'), 'expire', 2, {amount}, 0, '')"
        )
    };
    let refused = shell.batch_execute(&expires(100)).await.unwrap_err();
    let why = refused.as_db_error().unwrap().message();
    assert!(why.contains("this sidecar is too old"), "{why}");
    shell.batch_execute(&format!("BEGIN; {}; ROLLBACK", expires(88))).await.unwrap();
}
