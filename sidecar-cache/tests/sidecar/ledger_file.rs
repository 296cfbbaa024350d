//! What is so of a ledger because it is a file: what is written together, what a write that fails leaves behind, and what
//! is known after a start.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use sidecar_cache::ledger::Operation;
use sidecar_cache::ledger::account::Scope;
use sidecar_cache::ledger::window::Period;
use sidecar_cache::store::ledger::LedgerStore;
use sidecar_cache::store::sqlite::ledger::{Options, SqliteLedger};
use tempfile::TempDir;
use tokio::task::yield_now;

use crate::ledger_support::{Hands, ask, budget, fund, reservation, reserve};

/// How often somebody else may have a turn until what was begun has got as far as it can.
const TURNS: usize = 200;

fn open(folder: &TempDir) -> SqliteLedger {
    let timepiece = Hands::at_noon().timepiece();
    SqliteLedger::open(Options { path: file(folder), timepiece, pages_max: None }).unwrap()
}

fn file(folder: &TempDir) -> std::path::PathBuf {
    folder.path().join("wallet.db")
}

/// What somebody else does to the file.
fn other(path: &Path, sql: &str) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.execute_batch(sql).unwrap();
    connection
}

#[tokio::test]
async fn what_has_waited_for_a_commit_shares_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Arc::new(open(&folder));
    let begin = |number| {
        let ledger = Arc::clone(&ledger);
        tokio::spawn(async move { ask(&*ledger, fund(number, 1)).await })
    };
    // The first cannot be written before this is over.
    let writes = other(&file(&folder), "BEGIN IMMEDIATE");
    let mut begun = vec![begin(1)];
    while ledger.groups() == 0 {
        assert!(!begun[0].is_finished());
        yield_now().await;
    }
    begun.extend((2..50).map(begin));
    for _ in 0..TURNS {
        yield_now().await;
    }
    writes.execute_batch("COMMIT").unwrap();
    for asked in begun {
        assert_eq!(asked.await.unwrap(), "created fund 1");
    }
    assert_eq!(ledger.groups(), 2);
    assert_eq!(ledger.balance("acme".to_owned()).await.unwrap().wallet.available(), 49);
}

#[tokio::test]
async fn a_budget_is_told_though_what_first_fell_under_it_could_not_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(&folder);
    ask(&ledger, fund(1, 100)).await;
    let faulty =
        "CREATE TRIGGER fault BEFORE UPDATE ON marks BEGIN SELECT RAISE(ABORT, 'a fault'); END";
    let writes = other(&file(&folder), faulty);
    let under = budget(Scope::Org, Period::Daily, 50);
    let reserve = || Operation::Reserve(reservation(2, 10, vec![under.clone()]));
    assert!(ledger.operate(reserve()).await.is_err());
    writes.execute_batch("DROP TRIGGER fault").unwrap();
    assert_eq!(ask(&ledger, reserve()).await, "created pending 10");
    let levels = ledger.levels("acme".to_owned()).await.unwrap();
    let [level] = &levels[..] else { panic!("{levels:?}") };
    assert_eq!((level.limit.micros(), level.pending.micros()), (50, 10));
}

#[tokio::test]
async fn a_frozen_wallet_is_frozen_after_a_start_and_no_other_is() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(&folder);
    ask(&ledger, fund(1, 100)).await;
    ledger.freeze("acme".to_owned(), "a breach".to_owned()).await.unwrap();
    drop(ledger);
    let ledger = open(&folder);
    assert_eq!(ask(&ledger, reserve(2, 10)).await, "frozen");
    ledger.unfreeze("acme".to_owned()).await.unwrap();
    drop(ledger);
    let ledger = open(&folder);
    assert_eq!(ask(&ledger, reserve(2, 10)).await, "created pending 10");
}

#[tokio::test]
async fn the_room_for_ends_of_calls_is_taken_from_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let _ledger = open(&folder);
    let kept = folder.path().join("wallet.db.headroom").metadata().unwrap();
    assert_eq!(kept.len(), 32 << 20);
    assert!(kept.blocks() * 512 >= kept.len(), "{} blocks", kept.blocks());
}
