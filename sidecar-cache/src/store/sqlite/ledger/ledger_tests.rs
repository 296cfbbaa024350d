//! What only a file can get wrong: that it lasts, through a kill at any byte, a full disk and a second process.

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use kt_contract::money::MicroUsd;
use kt_contract::time::{Millis, MonoMillis, UnixMillis};

use super::*;
use crate::ledger::account::Scope;
use crate::ledger::request::{Budget, CallOf, Fund, Funding, Purpose, Reserve};
use crate::ledger::window::{Period, Zone};
use crate::ledger::{Made, Refused};
use crate::store::savings::{Basis, Labels, Saved, SavingsStore as _};

const NOON: u64 = 1_795_867_200_000;
const TTL: u64 = 60_000;

fn options(folder: &Path, wall: u64) -> Options {
    let timepiece = Box::new(move || Reading { mono: MonoMillis(0), wall: UnixMillis(wall) });
    Options { path: folder.join("wallet.db"), timepiece, pages_max: None }
}

fn open(folder: &Path) -> SqliteLedger {
    SqliteLedger::open(options(folder, NOON)).unwrap()
}

fn usd(micros: u64) -> MicroUsd {
    MicroUsd::new(micros).unwrap()
}

fn id(number: u64) -> TransferId {
    TransferId::of_reserve("acme", [0; 16], u32::try_from(number).unwrap())
}

fn fund(number: u64, amount: u64) -> Operation {
    let (org, note) = ("acme".to_owned(), String::new());
    Operation::Fund(Fund { id: id(number), org, amount: usd(amount), note })
}

fn reserve(number: u64, amount: u64) -> Operation {
    Operation::Reserve(Reserve {
        id: id(number),
        org: "acme".to_owned(),
        funding: Funding::Prepaid,
        team: None,
        purpose: Purpose::Call(CallOf { provider: "openai".to_owned(), ..CallOf::default() }),
        amount: usd(amount),
        cost_max: usd(amount),
        ttl: Millis(TTL),
        budgets: Vec::new(),
        zone: Zone::utc(),
        prices: String::new(),
    })
}

fn settle(number: u64, actual: u64) -> Operation {
    Operation::Settle { hold: id(number), actual: usd(actual), estimated: false }
}

async fn done(ledger: &SqliteLedger, operation: Operation) -> Made {
    ledger.operate(operation).await.unwrap().unwrap().made
}

async fn audited(ledger: &SqliteLedger) {
    assert_eq!(ledger.audit().await.unwrap().breaches, []);
}

#[tokio::test]
async fn every_commit_waits_for_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let connection = Connection::open(folder.path().join("wallet.db")).unwrap();
    schema::prepare(&connection, Synchronous::Full).unwrap();
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let mode: String =
        connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
    assert_eq!((&*mode, number("synchronous")), ("wal", Ok(2)), "2 is FULL");
    assert_eq!((number("foreign_keys"), number("user_version")), (Ok(1), Ok(3)));
}

#[tokio::test]
async fn the_files_are_for_their_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let ledger = open(&data);
    done(&ledger, fund(1, 100)).await;
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    let files: Vec<_> =
        std::fs::read_dir(&data).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(files.len() >= 5, "the database, two of SQLite's, lock, headroom: {files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[tokio::test]
async fn one_file_has_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path());
    let error = SqliteLedger::open(options(folder.path(), NOON)).unwrap_err().to_string();
    assert!(error.contains("another sidecar has the wallet in /"), "{error}");
    drop(ledger);
    drop(open(folder.path()));
}

#[tokio::test]
async fn a_newer_schema_is_refused_with_its_version() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let connection = Connection::open(folder.path().join("wallet.db")).unwrap();
    connection.pragma_update(None, "user_version", 9).unwrap();
    let error = SqliteLedger::open(options(folder.path(), NOON)).unwrap_err().to_string();
    assert!(error.contains("version 9"), "{error}");
}

/// A file as the first version wrote it, with a hold that was open then.
#[tokio::test]
async fn a_file_of_the_first_version_opens_with_all_that_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let old = Connection::open(folder.path().join("wallet.db")).unwrap();
    old.execute_batch(&format!("{} PRAGMA user_version = 1;", schema::MIGRATIONS[0])).unwrap();
    let terms = r#"{"purpose":{"call":"openai"},"shard":0,"cost_max":10,"charges":[],"prices":""}"#;
    for (seq, key, kind, hold, amount, terms) in [
        (1, id(1), "fund", None, 100, None),
        (2, id(2), "pending", None, 10, Some(terms)),
        (3, id(3), "pending", None, 20, Some(terms)),
        (4, id(2).of_step("settle", 0), "post", Some(2), 7, None),
    ] {
        let values = rusqlite::params![seq, key.0.0, kind, hold, amount, rows::stored(NOON), terms];
        old.execute(
            "INSERT INTO transfers VALUES (?1, ?2, 'acme', ?3, ?4, ?5, ?6, '', ?7)",
            values,
        )
        .unwrap();
    }
    old.execute_batch(&format!(
        "INSERT INTO accounts VALUES ('acme', 'bank', 0, 0, 100, 0, 0, 0),
             ('acme', 'wallet', 30, 10, 7, 0, 0, 100),
             ('acme', 'spend:openai:0', 0, 0, 0, 30, 10, 7);
         INSERT INTO live_holds VALUES (3, 0, {NOON} + {TTL});
         UPDATE marks SET at = {NOON}, calendar = {NOON};"
    ))
    .unwrap();
    drop(old);
    let ledger = open(folder.path());
    audited(&ledger).await;
    assert_eq!(ledger.balance("acme".to_owned()).await.unwrap().wallet.available(), 73);
    assert_eq!(done(&ledger, fund(1, 100)).await, Made::Exists);
    assert_eq!(done(&ledger, settle(2, 7)).await, Made::Exists);
    assert_eq!(done(&ledger, settle(3, 15)).await, Made::Created);
    audited(&ledger).await;
    assert_eq!(ledger.balance("acme".to_owned()).await.unwrap().wallet.available(), 78);
    let file = Connection::open(folder.path().join("wallet.db")).unwrap();
    file.query_row("PRAGMA foreign_key_check", [], |_| Ok(())).unwrap_err();
    // Its rows still do not change.
    file.execute("UPDATE transfers SET amount = 1", []).unwrap_err();
    file.execute("DELETE FROM transfers", []).unwrap_err();
    let twice = "INSERT INTO transfers SELECT 9, randomblob(32), org, kind, hold, team, amount, at, note, terms
                 FROM transfers WHERE kind = 'post' LIMIT 1";
    file.execute(twice, []).unwrap_err();
}

#[tokio::test]
async fn a_damaged_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path());
    for number in 1..400 {
        done(&ledger, fund(number, 100)).await;
    }
    drop(ledger);
    let path = folder.path().join("wallet.db");
    // All into the file, and then a hole into its middle.
    drop(Connection::open(&path).unwrap().execute_batch("PRAGMA wal_checkpoint(TRUNCATE)"));
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4_096].fill(0x5a);
    std::fs::write(&path, bytes).unwrap();
    assert!(SqliteLedger::open(options(folder.path(), NOON)).is_err());
}

#[tokio::test]
async fn the_file_itself_refuses_a_second_end_and_a_change() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path());
    done(&ledger, fund(1, 100)).await;
    done(&ledger, reserve(2, 10)).await;
    done(&ledger, settle(2, 7)).await;
    let other = Connection::open(folder.path().join("wallet.db")).unwrap();
    let hold = 2;
    for kind in ["post", "void", "expire"] {
        let error = other
            .execute(
                "INSERT INTO transfers (id, org, kind, hold, amount, at, note)
                 VALUES (randomblob(32), 'acme', ?1, ?2, 7, 0, '')",
                rusqlite::params![kind, hold],
            )
            .unwrap_err();
        assert!(error.to_string().contains("UNIQUE constraint failed: transfers.hold"), "{error}");
    }
    for (sql, why) in [
        ("UPDATE transfers SET amount = 1", "transfers are immutable"),
        ("DELETE FROM transfers", "transfers are never removed"),
        ("UPDATE accounts SET debits_posted = -1", "CHECK constraint failed"),
        ("UPDATE accounts SET debits_cleared = debits_pended + 1", "CHECK constraint failed"),
    ] {
        let error = other.execute(sql, []).unwrap_err().to_string();
        assert!(error.contains(why), "{sql}: {error}");
    }
}

#[tokio::test]
async fn a_restart_forgets_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path());
    done(&ledger, fund(1, 100)).await;
    for number in 2..6 {
        done(&ledger, reserve(number, 10)).await;
    }
    done(&ledger, settle(2, 15)).await;
    ledger.freeze("acme".to_owned(), "test".to_owned()).await.unwrap();
    let before = (
        ledger.accounts("acme".to_owned()).await.unwrap(),
        ledger.balance("acme".to_owned()).await.unwrap(),
        ledger.holds("acme".to_owned()).await.unwrap(),
        ledger.history("acme".to_owned(), None, 100).await.unwrap(),
    );
    drop(ledger);
    let ledger = SqliteLedger::open(options(folder.path(), NOON + TTL)).unwrap();
    let after = (
        ledger.accounts("acme".to_owned()).await.unwrap(),
        ledger.balance("acme".to_owned()).await.unwrap(),
        ledger.holds("acme".to_owned()).await.unwrap(),
        ledger.history("acme".to_owned(), None, 100).await.unwrap(),
    );
    assert_eq!(before, after);
    assert_eq!(done(&ledger, settle(2, 15)).await, Made::Exists);
    assert_eq!(done(&ledger, settle(3, 10)).await, Made::Created);
    assert_eq!(ledger.expire_due(10).await.unwrap(), 2, "4 and 5 are due by now");
    audited(&ledger).await;
}

#[tokio::test]
async fn levels_and_alerts_outlast_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path());
    done(&ledger, fund(1, 100)).await;
    let under = |number, limit| {
        let Operation::Reserve(asked) = reserve(number, 10) else { unreachable!() };
        let limit = usd(limit);
        let budget = Budget { scope: Scope::Org, period: Period::Daily, limit };
        Operation::Reserve(Reserve { budgets: vec![budget], ..asked })
    };
    done(&ledger, under(2, 100)).await;
    done(&ledger, under(3, 90)).await;
    let before = ledger.levels("acme".to_owned()).await.unwrap();
    assert_eq!((before.len(), before[0].limit, before[0].pending), (1, usd(90), usd(20)));
    let alert = || ("acme".to_owned(), before[0].account().to_string());
    let (org, name) = alert();
    assert!(ledger.alerted(org, name).await.unwrap());
    drop(ledger);
    let ledger = open(folder.path());
    assert_eq!(ledger.levels("acme".to_owned()).await.unwrap(), before);
    let (org, name) = alert();
    assert!(!ledger.alerted(org, name).await.unwrap());
    done(&ledger, under(4, 90)).await;
    assert_eq!(ledger.levels("acme".to_owned()).await.unwrap()[0].pending, usd(30));
}

#[tokio::test]
async fn a_restart_with_an_older_clock_reserves_nothing_and_is_not_early() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path());
    done(&ledger, fund(1, 100)).await;
    done(&ledger, reserve(2, 10)).await;
    drop(ledger);
    let ledger = SqliteLedger::open(options(folder.path(), NOON - 3_600_000)).unwrap();
    assert_eq!(ledger.operate(reserve(3, 10)).await.unwrap(), Err(Refused::ClockSetBack));
    assert_eq!(ledger.expire_due(10).await.unwrap(), 0);
    assert_eq!(done(&ledger, settle(2, 10)).await, Made::Created);
    drop(ledger);
    let ledger = SqliteLedger::open(options(folder.path(), NOON - 5_000)).unwrap();
    assert_eq!(done(&ledger, reserve(3, 10)).await, Made::Created);
}

/// A kill, or a power cut, leaves a log that ends anywhere. Whatever was acknowledged before it was written so far
/// is there, and what is there is whole.
#[tokio::test]
async fn what_was_acknowledged_survives_a_cut_at_any_byte() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wallet.db");
    let log = beside(&path, "-wal");
    let ledger = open(folder.path());
    // Everything up to here is in the file; from here on in the log, whose length is noted at each answer.
    let mut answered = Vec::new();
    let mut operations = vec![fund(1, 100_000)];
    for number in 2..30 {
        operations.push(reserve(number, 10));
        operations.push(settle(number, number));
    }
    for operation in operations {
        done(&ledger, operation.clone()).await;
        answered.push((log.metadata().unwrap().len(), operation));
    }
    let (file, all) = (std::fs::read(&path).unwrap(), std::fs::read(&log).unwrap());
    drop(ledger);
    let step = all.len() / 97;
    for cut in (0..all.len()).step_by(step).chain([all.len()]) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wallet.db");
        std::fs::write(&path, &file).unwrap();
        std::fs::write(beside(&path, "-wal"), &all[..cut]).unwrap();
        let ledger = open(folder.path());
        audited(&ledger).await;
        let written = answered.iter().filter(|(length, _)| *length <= u64::try_from(cut).unwrap());
        for (_, operation) in written {
            assert_eq!(done(&ledger, operation.clone()).await, Made::Exists, "cut at {cut}");
        }
        // And what was not is done when it is asked for again.
        for (_, operation) in &answered {
            done(&ledger, operation.clone()).await;
        }
        audited(&ledger).await;
        let balance = ledger.balance("acme".to_owned()).await.unwrap();
        assert_eq!(balance.wallet.available(), 100_000 - (2..30).sum::<i128>());
    }
}

#[tokio::test]
async fn savings_that_were_noted_are_written_before_the_file_is_let_go() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path());
    let labels = Labels {
        day: "2026-11-28".to_owned(),
        org: "acme".to_owned(),
        team: None,
        user: None,
        model: "gpt-5".to_owned(),
        codebase: None,
        basis: Basis::Hit,
    };
    let saved = Saved { labels, answers: 2, avoided: usd(9) };
    ledger.note(vec![saved.clone()]).await.unwrap();
    drop(ledger);
    let ledger = open(folder.path());
    let found = ledger.saved(None, "2026".to_owned(), "2027".to_owned()).await.unwrap();
    assert_eq!(found, [saved]);
}

#[tokio::test]
async fn a_full_disk_settles_what_runs_and_reserves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let small = |pages| Options { pages_max: Some(pages), ..options(folder.path(), NOON) };
    let ledger = SqliteLedger::open(small(60)).unwrap();
    done(&ledger, fund(1, 1_000_000)).await;
    let mut held = Vec::new();
    let error = loop {
        let number = u64::try_from(held.len()).unwrap() + 2;
        match ledger.operate(reserve(number, 10)).await {
            Ok(verdict) => held.push((number, verdict.unwrap())),
            Err(error) => break error,
        }
        assert!(held.len() < 10_000, "never full");
    };
    assert!(matches!(error, StoreError::Transient(_)), "{error}");
    assert!(held.len() > 50);
    for (number, _) in &held {
        assert_eq!(done(&ledger, settle(*number, 7)).await, Made::Created);
        let refused = ledger.operate(reserve(*number + 50_000, 10)).await;
        assert!(matches!(refused, Err(StoreError::Transient(_))), "{refused:?}");
    }
    audited(&ledger).await;
    drop(ledger);
    // With room again, all goes on.
    let ledger = SqliteLedger::open(small(10_000)).unwrap();
    assert_eq!(done(&ledger, reserve(90_000, 10)).await, Made::Created);
    let spent = i128::try_from(held.len()).unwrap() * 7;
    let balance = ledger.balance("acme".to_owned()).await.unwrap();
    assert_eq!(balance.wallet.available(), 1_000_000 - spent - 10);
    audited(&ledger).await;
}

#[tokio::test]
async fn what_cannot_be_written_takes_nobody_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Arc::new(open(folder.path()));
    done(&ledger, fund(1, 1_000)).await;
    done(&ledger, reserve(2, 10)).await;
    let other = Connection::open(folder.path().join("wallet.db")).unwrap();
    other
        .execute_batch(
            "CREATE TRIGGER fault BEFORE INSERT ON transfers WHEN NEW.kind = 'post'
             BEGIN SELECT RAISE(ABORT, 'a fault'); END",
        )
        .unwrap();
    let asked: Vec<_> = (3..40)
        .map(|number| (number, reserve(number, 10)))
        .chain([(2, settle(2, 10))])
        .map(|(number, operation)| {
            let ledger = Arc::clone(&ledger);
            (number, tokio::spawn(async move { ledger.operate(operation).await }))
        })
        .collect();
    for (number, answer) in asked {
        let answer = answer.await.unwrap();
        assert_eq!(answer.is_ok(), number != 2, "{answer:?}");
    }
    assert_eq!(ledger.holds("acme".to_owned()).await.unwrap().len(), 38);
    audited(&ledger).await;
    let balance = ledger.balance("acme".to_owned()).await.unwrap();
    assert_eq!(balance.wallet.available(), 1_000 - 380);
}

#[tokio::test]
async fn history_and_bills_read_nothing_of_other_organizations_or_times() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let file = Connection::open(folder.path().join("wallet.db")).unwrap();
    let plan = |sql: &str| {
        let mut statement = file.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let steps = statement.raw_query().mapped(|row| row.get::<_, String>(3));
        steps.map(Result::unwrap).collect::<Vec<_>>()
    };
    let by_number = "SEARCH held USING INTEGER PRIMARY KEY (rowid=?)";
    assert_eq!(
        plan(&bill::charges(true)),
        ["SEARCH charge USING INDEX of_org (org=? AND rowid>? AND rowid<?)", by_number]
    );
    assert_eq!(
        plan(&bill::charges(false)),
        ["SEARCH charge USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)", by_number]
    );
    assert_eq!(
        plan(&format!("SELECT seq FROM transfers WHERE {}", read::PAGE)),
        ["SEARCH transfers USING COVERING INDEX of_org (org=? AND rowid<?)"]
    );
}

#[tokio::test]
async fn readers_see_what_is_on_disk_while_a_writer_is_in_the_middle() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path());
    done(&ledger, fund(1, 100)).await;
    let mut other = Connection::open(folder.path().join("wallet.db")).unwrap();
    let middle = other.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
    middle.execute("UPDATE accounts SET credits_posted = 0", []).unwrap();
    let balance = ledger.balance("acme".to_owned()).await.unwrap();
    assert_eq!(balance.wallet.available(), 100);
    audited(&ledger).await;
}

#[tokio::test]
async fn a_reader_in_the_middle_of_its_reading_stops_no_writer() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path());
    done(&ledger, fund(1, 100)).await;
    let mut other = Connection::open(folder.path().join("wallet.db")).unwrap();
    let reading = other.transaction().unwrap();
    let query = "SELECT credits_posted FROM accounts WHERE name = 'wallet'";
    let seen = || reading.query_row(query, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(seen(), 100);
    done(&ledger, fund(2, 50)).await;
    assert_eq!(seen(), 100, "it reads on where it began");
    assert_eq!(ledger.balance("acme".to_owned()).await.unwrap().wallet.available(), 150);
}

#[tokio::test]
async fn an_audit_finds_what_somebody_else_has_written() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path());
    done(&ledger, fund(1, 100)).await;
    audited(&ledger).await;
    let other = Connection::open(folder.path().join("wallet.db")).unwrap();
    other.execute("UPDATE accounts SET credits_posted = 1000 WHERE name = 'wallet'", []).unwrap();
    let breaches = ledger.audit().await.unwrap().breaches;
    let found: Vec<_> = breaches.iter().map(|breach| (&*breach.org, &*breach.account)).collect();
    assert_eq!(found, [("acme", "wallet"), ("acme", "all accounts")]);
}

/// The clock of a process that lives on: what is due is due by its time, not by the wall.
#[tokio::test]
async fn holds_that_were_open_at_a_kill_expire_in_their_time() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path());
    done(&ledger, fund(1, 100)).await;
    done(&ledger, reserve(2, 10)).await;
    drop(ledger);
    let mono = Arc::new(AtomicU64::new(0));
    let hand = Arc::clone(&mono);
    let timepiece = Box::new(move || Reading {
        mono: MonoMillis(hand.load(SeqCst)),
        wall: UnixMillis(NOON + 10),
    });
    let options = Options { timepiece, ..options(folder.path(), NOON) };
    let ledger = SqliteLedger::open(options).unwrap();
    for (at, count) in [(0, 0), (TTL - 11, 0), (TTL - 10, 1)] {
        mono.store(at, SeqCst);
        assert_eq!(ledger.expire_due(10).await.unwrap(), count, "{at}");
    }
}
