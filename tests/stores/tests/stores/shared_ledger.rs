//! Several sidecars on one database, and what happens to it meanwhile.

use std::sync::Arc;
use std::time::Duration;

use kt_contract::time::UnixMillis;
use kt_stores::{Server, connect, open};
use sidecar_cache::ledger::account::Scope;
use sidecar_cache::ledger::request::{Fund, Purpose};
use sidecar_cache::ledger::window::Period;
use sidecar_cache::ledger::{Kind, Made, Operation};
use sidecar_cache::store::StoreError;
use sidecar_cache::store::ledger::{LedgerStore, Verdict};
use sidecar_cache::store::postgres::ledger::PostgresLedger;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::database_faults::kill;
use crate::ledger_over::Place;
use crate::ledger_support::*;

/// A sidecar's ledger, by the database's own clock.
pub(crate) async fn sidecar(place: &Place) -> Arc<PostgresLedger> {
    Arc::new(PostgresLedger::open(open(&place.url).unwrap(), None).await.unwrap())
}

pub(crate) async fn pair(place: &Place) -> [Arc<PostgresLedger>; 2] {
    [sidecar(place).await, sidecar(place).await]
}

pub(crate) async fn shell(place: &Place) -> Client {
    connect(&place.url).await.unwrap()
}

fn of(org: &str, number: u64, amount: u64) -> Operation {
    let mut asked = reservation(number, amount, Vec::new());
    asked.org = org.to_owned();
    Operation::Reserve(asked)
}

fn fund_of(org: &str, number: u64, amount: u64) -> Operation {
    let (org, note) = (org.to_owned(), "test".to_owned());
    Operation::Fund(Fund { id: id(number), org, amount: usd(amount), note })
}

/// Asks until there is an answer, as a caller does whose call must be accounted for.
pub(crate) async fn until_known(store: &PostgresLedger, operation: &Operation) -> Verdict {
    loop {
        match store.operate(operation.clone()).await {
            Ok(verdict) => return verdict,
            Err(StoreError::Transient(_)) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_at_once_over_two_sidecars_get_what_ten_can_have() {
    let place = Place::empty().await;
    let sidecars = pair(&place).await;
    ask(&*sidecars[0], fund(1, 1_000)).await;
    let mut asked = JoinSet::new();
    for n in 0..64 {
        let store = Arc::clone(&sidecars[usize::try_from(n % 2).unwrap()]);
        let budgets = vec![budget(Scope::Org, Period::Daily, 1_000)];
        let operation = Operation::Reserve(reservation(100 + n, 100, budgets));
        asked.spawn(async move { ask(&*store, operation).await });
    }
    let answers = asked.join_all().await;
    let made = answers.iter().filter(|answer| *answer == "created pending 100").count();
    let refused = answers.iter().filter(|answer| *answer == "insufficient:wallet").count();
    assert_eq!((made, refused), (10, 54), "{answers:?}");
    assert_eq!(available(&*sidecars[1]).await, 0);
    audited(&*sidecars[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_sidecars_do_at_once_is_done_once() {
    let place = Place::empty().await;
    let [one, other] = pair(&place).await;
    ask(&*one, fund(1, 100_000)).await;
    for number in 100..150 {
        for operation in [reserve(number, 10), settle(number, 7)] {
            let (a, b) = tokio::join!(one.operate(operation.clone()), other.operate(operation));
            let made = [a, b].map(|answer| answer.unwrap().unwrap().made);
            assert!(made.contains(&Made::Created) && made.contains(&Made::Exists), "{made:?}");
        }
    }
    // Of two ends that differ, one is.
    for number in 200..250 {
        ask(&*one, reserve(number, 10)).await;
        let (a, b) = tokio::join!(ask(&*one, settle(number, 7)), ask(&*other, release(number)));
        let ends = [a.as_str(), b.as_str()];
        assert!(
            ends == ["created post 7", "already_settled"]
                || ends == ["already_released", "created void 10"],
            "{ends:?}"
        );
    }
    audited(&*one).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_belongs_to_the_organization_that_came_first() {
    let place = Place::empty().await;
    let [one, other] = pair(&place).await;
    for number in 100..150 {
        let (a, b) = tokio::join!(
            ask(&*one, fund_of("acme", number, 5)),
            ask(&*other, fund_of("globex", number, 5))
        );
        let mut answers = [a, b];
        answers.sort();
        assert_eq!(answers, ["created fund 5", "exists_different"]);
    }
    audited(&*one).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_hands_out_connections_per_transaction_changes_nothing() {
    const CALLS: u64 = 300;
    let direct = Place::empty().await;
    let place = Place { url: Server::pooled(&direct.url) };
    let sidecars = pair(&place).await;
    let orgs = ["acme", "globex", "initech", "umbrella", "hooli"];
    for (org, nth) in orgs.into_iter().zip(1..) {
        ask(&*sidecars[0], fund_of(org, nth, 100_000)).await;
    }
    let mut callers = JoinSet::new();
    for call in 0..CALLS {
        let nth = usize::try_from(call).unwrap();
        let (store, org) = (Arc::clone(&sidecars[nth % 2]), orgs[nth % 5]);
        callers.spawn(async move {
            let number = 1_000 + call;
            for operation in [of(org, number, 10), extend(number, 12), settle(number, 13)] {
                until_known(&store, &operation).await.unwrap();
            }
        });
    }
    callers.join_all().await;
    for org in orgs {
        let balance = sidecars[1].balance(org.to_owned()).await.unwrap();
        assert_eq!(balance.wallet.available(), i128::from(100_000 - 13 * CALLS / 5));
        assert_eq!(sidecars[0].holds(org.to_owned()).await.unwrap(), []);
    }
    assert!(sidecars[0].alerted("acme".to_owned(), "budget:org".to_owned()).await.unwrap());
    audited(&*sidecars[0]).await;
    // And nothing of ours is left on its connections.
    let shell = shell(&place).await;
    for _ in 0..3 {
        let settings = shell
            .simple_query(
                "SELECT current_setting('lock_timeout') || current_setting('enable_seqscan')",
            )
            .await
            .unwrap();
        let found = settings.iter().find_map(|message| {
            let SimpleQueryMessage::Row(row) = message else { return None };
            row.get(0)
        });
        assert_eq!(found, Some("0on"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_somebody_holds_is_answered_without_a_pile() {
    let place = Place::empty().await;
    let store = sidecar(&place).await;
    ask(&*store, fund(1, 1_000)).await;
    let somebody = shell(&place).await;
    somebody.batch_execute(LOCK).await.unwrap();
    // They hold it for as long as this test wants; whoever waits is told before.
    let mut locked = JoinSet::new();
    for number in 100..200 {
        let store = Arc::clone(&store);
        locked.spawn(async move { store.operate(reserve(number, 1)).await });
    }
    for answer in locked.join_all().await {
        let error = answer.unwrap_err();
        assert!(matches!(error, StoreError::Transient(_)), "{error}");
        assert!(error.to_string().contains("lock timeout"), "{error}");
    }
    // Balances are read meanwhile.
    assert_eq!(available(&*store).await, 1_000);
    let count = "SELECT pid FROM pg_stat_activity WHERE application_name = 'kt' AND datname = current_database()";
    assert!(somebody.query(count, &[]).await.unwrap().len() <= 8);
    somebody.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(ask(&*store, reserve(100, 1)).await, "created pending 1", "nothing of it was done");
    audited(&*store).await;
}

const LOCK: &str = "BEGIN; SELECT * FROM orgs WHERE org = 'acme' FOR UPDATE";

/// Waits until a sidecar's connection waits for a lock; says whether one does before `end` has ended.
async fn is_waiting<T>(shell: &Client, end: &JoinHandle<T>) -> bool {
    let sql = "SELECT pid FROM pg_stat_activity WHERE application_name = 'kt'
        AND datname = current_database() AND wait_event_type = 'Lock'";
    while !end.is_finished() {
        if !shell.query(sql, &[]).await.unwrap().is_empty() {
            return true;
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_on_one_organization_keeps_no_other_waiting() {
    let place = Place::empty().await;
    let store = sidecar(&place).await;
    ask(&*store, fund(1, 1_000)).await;
    ask(&*store, fund_of("globex", 2, 1_000)).await;
    let [somebody, observer] = [shell(&place).await, shell(&place).await];
    somebody.batch_execute(LOCK).await.unwrap();
    // One waits for half a second at most, so a slow machine may need another attempt to see it.
    let mut has_overtaken = false;
    for number in 100..120 {
        let waiting = Arc::clone(&store);
        let locked = tokio::spawn(async move { waiting.operate(reserve(number, 1)).await });
        if is_waiting(&observer, &locked).await {
            assert_eq!(ask(&*store, of("globex", 100 + number, 1)).await, "created pending 1");
            has_overtaken = !locked.is_finished();
        }
        locked.await.unwrap().unwrap_err();
        if has_overtaken {
            break;
        }
    }
    assert!(has_overtaken, "it has always waited for the other");
    audited(&*store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_its_caller_leaves_is_undone_and_its_connection_not_used_again() {
    let place = Place::empty().await;
    let store = sidecar(&place).await;
    let [somebody, observer] = [shell(&place).await, shell(&place).await];
    for account in ["one", "two", "three"] {
        somebody.batch_execute("BEGIN; LOCK TABLE alerted").await.unwrap();
        let left = Arc::clone(&store);
        let alerted =
            tokio::spawn(async move { left.alerted("acme".to_owned(), account.to_owned()).await });
        assert!(is_waiting(&observer, &alerted).await);
        alerted.abort();
        assert!(alerted.await.unwrap_err().is_cancelled());
        somebody.batch_execute("ROLLBACK").await.unwrap();
        let is_first = store.alerted("acme".to_owned(), account.to_owned()).await.unwrap();
        assert!(is_first, "{account}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sidecars_that_know_nothing_of_holds_end_them_without_deadlocks() {
    let place = Place::empty().await;
    let orgs = ["acme", "globex", "initech", "umbrella"];
    let before = sidecar(&place).await;
    for (org, nth) in orgs.into_iter().zip(1..) {
        ask(&*before, fund_of(org, nth, 100_000)).await;
        for number in 0..50 {
            ask(&*before, of(org, nth * 1_000 + number, 10)).await;
        }
    }
    drop(before);
    // Which organizations a group is about, they find out when they read the rows.
    let sidecars = pair(&place).await;
    let mut ends = JoinSet::new();
    for number in 0..50 {
        for nth in [4, 2, 3, 1] {
            for store in &sidecars {
                let store = Arc::clone(store);
                ends.spawn(async move { store.operate(settle(nth * 1_000 + number, 10)).await });
            }
        }
    }
    let answers = ends.join_all().await;
    let created = answers.into_iter().filter(|answer| {
        answer
            .as_ref()
            .is_ok_and(|verdict| verdict.as_ref().is_ok_and(|it| it.made == Made::Created))
    });
    assert_eq!(created.count(), 200);
    let sql =
        "SELECT pg_stat_get_db_deadlocks(oid) FROM pg_database WHERE datname = current_database()";
    let deadlocks: i64 = shell(&place).await.query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(deadlocks, 0);
    audited(&*sidecars[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_on_one_organization_keeps_no_holds_of_others_waiting_whose_place_nobody_knows() {
    let place = Place::empty().await;
    let before = sidecar(&place).await;
    let orgs = ["acme", "globex"];
    for (org, nth) in orgs.into_iter().zip(1..) {
        ask(&*before, fund_of(org, nth, 100_000)).await;
        for number in 0..30 {
            ask(&*before, of(org, nth * 1_000 + number, 10)).await;
        }
    }
    drop(before);
    let store = sidecar(&place).await;
    let somebody = shell(&place).await;
    somebody.batch_execute(LOCK).await.unwrap();
    let mut ends = JoinSet::new();
    for number in 0..30 {
        for nth in [1, 2] {
            let store = Arc::clone(&store);
            let end = settle(nth * 1_000 + number, 10);
            ends.spawn(async move { (nth, store.operate(end).await) });
        }
    }
    let mut waits = 0;
    for (nth, answer) in ends.join_all().await {
        if nth == 2 {
            assert_eq!(answer.unwrap().unwrap().made, Made::Created);
            continue;
        }
        let error = answer.unwrap_err();
        assert!(matches!(error, StoreError::Transient(_)), "{error}");
        waits += u32::from(error.to_string().contains("lock timeout"));
    }
    assert!(waits < 10, "the lock was waited for {waits} times");
    somebody.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(ask(&*store, settle(1_000, 10)).await.split(' ').next(), Some("created"));
    audited(&*store).await;
}

#[tokio::test]
async fn what_one_sidecar_freezes_and_tells_another_knows() {
    let place = Place::empty().await;
    let [one, other] = pair(&place).await;
    ask(&*one, fund(1, 100)).await;
    one.freeze("acme".to_owned(), "I2: a balance".to_owned()).await.unwrap();
    assert_eq!(ask(&*other, reserve(2, 10)).await, "frozen");
    assert_eq!(other.frozen().await.unwrap()[0].1.reason, "I2: a balance");
    other.unfreeze("acme".to_owned()).await.unwrap();
    assert_eq!(ask(&*one, reserve(2, 10)).await, "created pending 10");
    let alerted = async |store: &PostgresLedger| {
        store.alerted("acme".to_owned(), "budget:org".to_owned()).await.unwrap()
    };
    assert_eq!((alerted(&one).await, alerted(&other).await), (true, false));
}

#[tokio::test]
async fn the_databases_clock_decides_and_never_goes_back() {
    let place = Place::empty().await;
    let store = sidecar(&place).await;
    let shell = shell(&place).await;
    ask(&*store, fund(1, 100)).await;
    ask(&*store, reserve(2, 10)).await;
    assert_eq!(store.expire_due(10).await.unwrap(), 0);
    let moved = async |column: &str, millis: u64| {
        let sql = format!("UPDATE orgs SET {column} = {column} + {millis}");
        shell.batch_execute(&sql).await.unwrap();
    };
    // Somebody has seen a later moment than the database's clock shows: it is that moment.
    moved("at", TTL).await;
    assert_eq!(store.expire_due(10).await.unwrap(), 1);
    assert_eq!(store.balance("acme".to_owned()).await.unwrap().suspense.available(), 10);
    assert_eq!(ask(&*store, reserve(3, 10)).await, "created pending 10");
    moved("calendar", 60 * SECOND).await;
    assert_eq!(ask(&*store, reserve(4, 10)).await, "clock_set_back");
    assert_eq!(ask(&*store, settle(3, 10)).await, "created post 10");
    audited(&*store).await;
}

#[tokio::test]
async fn the_database_itself_refuses_a_second_end_and_a_change() {
    let place = Place::empty().await;
    let store = sidecar(&place).await;
    ask(&*store, fund(1, 100)).await;
    ask(&*store, reserve(2, 10)).await;
    ask(&*store, settle(2, 7)).await;
    let shell = shell(&place).await;
    let end = |kind: &str| {
        format!(
            "INSERT INTO transfers SELECT org, 100, decode(repeat('ab', 32), 'hex'), '{kind}', hold, team, amount,
             at, note, terms FROM transfers WHERE kind = 'post'"
        )
    };
    for (sql, why) in [
        (end("post"), "transfers_one_end"),
        (end("void"), "transfers_one_end"),
        (end("expire"), "transfers_one_end"),
        ("UPDATE transfers SET amount = 1".to_owned(), "transfers are immutable"),
        ("DELETE FROM transfers".to_owned(), "transfers are immutable"),
        ("TRUNCATE transfers".to_owned(), "transfers are immutable"),
        ("UPDATE accounts SET debits_posted = -1".to_owned(), "accounts_debits_posted_check"),
        ("UPDATE accounts SET debits_cleared = debits_pended + 1".to_owned(), "accounts_check"),
    ] {
        let error = shell.batch_execute(&sql).await.unwrap_err();
        let text = error.as_db_error().map_or_else(String::new, ToString::to_string);
        assert!(text.contains(why), "{sql}: {text}");
    }
    audited(&*store).await;
}

#[tokio::test]
async fn names_are_bytes_and_never_statements() {
    let place = Place::empty().await;
    let store = sidecar(&place).await;
    let names = ["a\0b", "'; DROP TABLE transfers; --", "\u{1f511}", "acme:daily", ""];
    for (name, nth) in names.into_iter().zip(1_u64..) {
        let mut fund =
            Fund { id: id(nth), org: name.to_owned(), amount: usd(100), note: name.to_owned() };
        assert_eq!(ask(&*store, Operation::Fund(fund.clone())).await, "created fund 100");
        assert_eq!(ask(&*store, Operation::Fund(fund.clone())).await, "exists fund 100");
        fund.note.push('x');
        assert_eq!(ask(&*store, Operation::Fund(fund)).await, "exists_different");
        let budgets = vec![budget(Scope::User(name.to_owned()), Period::Daily, 50)];
        let mut asked = reservation(100 + nth, 20, budgets);
        asked.org = name.to_owned();
        let mut call = call_of(name);
        call.user = Some(name.to_owned());
        asked.purpose = Purpose::Call(call);
        assert_eq!(ask(&*store, Operation::Reserve(asked.clone())).await, "created pending 20");
        let hold = store.hold(asked.id).await.unwrap().unwrap();
        assert_eq!((hold.org.as_str(), hold.terms.purpose), (name, asked.purpose));
        store.freeze(name.to_owned(), name.to_owned()).await.unwrap();
        assert_eq!(
            store.levels(name.to_owned()).await.unwrap()[0].scope,
            Scope::User(name.to_owned())
        );
    }
    let mut frozen: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    frozen.sort();
    let told = store.frozen().await.unwrap();
    assert_eq!(told.iter().map(|(org, _)| org.clone()).collect::<Vec<_>>(), frozen);
    audited(&*store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_that_cannot_be_written_fails_alone() {
    let place = Place::empty().await;
    let store = sidecar(&place).await;
    ask(&*store, fund(1, 1_000)).await;
    // No index has room for it, however it is compressed.
    let endless: String =
        (0..4_000_u64).map(|n| format!("{:x}", id(n * n * 7_919).0.0[15])).collect();
    let endless = format!(
        "{endless}{:?}",
        (0..3_000_u64).map(|n| n * n * 104_729 % 9_973).collect::<Vec<_>>()
    );
    let mut asked = JoinSet::new();
    for number in 100..200 {
        let store = Arc::clone(&store);
        let name = if number == 150 { endless.clone() } else { "ada".to_owned() };
        let budgets = vec![budget(Scope::User(name), Period::Daily, 1_000)];
        let operation = Operation::Reserve(reservation(number, 1, budgets));
        asked.spawn(async move { (number, store.operate(operation).await) });
    }
    for (number, answer) in asked.join_all().await {
        match answer {
            Ok(verdict) => {
                assert_eq!((verdict.unwrap().kind, number == 150), (Kind::Pending, false))
            }
            Err(error) => assert!(
                number == 150 && matches!(error, StoreError::Permanent(_)),
                "{number}: {error}"
            ),
        }
    }
    assert_eq!(available(&*store).await, 1_000 - 99);
    audited(&*store).await;
}

#[tokio::test]
async fn whoever_wants_to_know_what_was_charged_leaves_connections_to_calls() {
    let place = Place::empty().await;
    let store = sidecar(&place).await;
    ask(&*store, fund(1, 100)).await;
    let (locking, observer) = (shell(&place).await, shell(&place).await);
    locking.batch_execute("BEGIN; LOCK TABLE transfers IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let mut asked = JoinSet::new();
    for _ in 0..20 {
        let store = Arc::clone(&store);
        asked.spawn(async move { store.billed(None, UnixMillis(0), UnixMillis(NOON)).await });
    }
    let waiting = async || {
        let sql = "SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock'";
        observer.query_one(sql, &[]).await.unwrap().get::<_, i64>(0)
    };
    while waiting().await == 0 {
        tokio::task::yield_now().await;
    }
    // It needs none of the rows that are locked, but a connection.
    assert_eq!(store.frozen().await.unwrap(), []);
    assert!(waiting().await <= 2);
    locking.batch_execute("ROLLBACK").await.unwrap();
    asked.join_all().await;
}

#[tokio::test]
async fn a_database_that_takes_no_writes_still_tells() {
    let place = Place::empty().await;
    let store = sidecar(&place).await;
    ask(&*store, fund(1, 100)).await;
    let shell = shell(&place).await;
    let set = async |value: &str| {
        let name: String = shell.query_one("SELECT current_database()", &[]).await.unwrap().get(0);
        let sql = format!("ALTER DATABASE {name} SET default_transaction_read_only = {value}");
        shell.batch_execute(&sql).await.unwrap();
    };
    set("on").await;
    kill(&shell, 100).await;
    let error = loop {
        // The first answers may be those of connections that were killed.
        match store.operate(reserve(2, 10)).await {
            Err(StoreError::Transient(why)) if why.contains("read-only") => break why,
            Err(StoreError::Transient(_)) => tokio::task::yield_now().await,
            other => panic!("{other:?}"),
        }
    };
    assert!(error.contains("25006"), "{error}");
    assert_eq!(available(&*store).await, 100);
    shell.batch_execute("SET default_transaction_read_only = off").await.unwrap();
    set("off").await;
    // Connections that were made meanwhile take none for ever: nobody ends them, and they are not used again.
    let written = timeout(Duration::from_secs(10), until_known(&store, &reserve(2, 10))).await;
    written.expect("it takes writes again").unwrap();
    audited(&*store).await;
}
