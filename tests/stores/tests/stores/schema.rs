//! The tables: who makes them, and who refuses to start.

use std::sync::Arc;

use kt_stores::{connect, open};
use sidecar_cache::store::PrincipalStore as _;
use sidecar_cache::store::postgres::PostgresKeys;
use sidecar_cache::store::postgres::ledger::PostgresLedger;
use sidecar_cache::store::postgres::schema::{Migrated, check, migrate, version};

use crate::ledger_over::SERVER;

async fn refusal(url: &str) -> String {
    let error = PostgresLedger::open(open(url).unwrap(), None).await.unwrap_err();
    // Whatever is wrong with it, it says which database it is.
    let text = error.to_string();
    assert!(text.contains("postgres://kt@/"), "{text}");
    text
}

#[tokio::test]
async fn a_database_without_tables_is_refused_with_the_command_that_makes_them() {
    let url = SERVER.database().await.unwrap();
    let text = refusal(&url).await;
    assert!(text.ends_with("has no tables of kt yet: run `kt db migrate`"), "{text}");
}

#[tokio::test]
async fn tables_of_another_version_are_refused() {
    let url = SERVER.migrated().await.unwrap();
    let shell = connect(&url).await.unwrap();
    for (found, why) in [
        (version() + 1, "install the newer one that made it"),
        (version() - 1, "run `kt db migrate`"),
    ] {
        shell.batch_execute(&format!("UPDATE kt_schema SET version = {found}")).await.unwrap();
        let text = refusal(&url).await;
        assert!(text.contains(&format!("version {found} ")) && text.ends_with(why), "{text}");
    }
    shell.batch_execute("UPDATE kt_schema SET version = 99").await.unwrap();
    let error = migrate(&open(&url).unwrap()).await.unwrap_err().to_string();
    assert!(error.contains("schema version 99 and this program knows"), "{error}");
}

#[tokio::test]
async fn a_database_with_a_wallet_gets_what_is_new_and_keeps_what_it_has() {
    let url = SERVER.migrated().await.unwrap();
    let shell = connect(&url).await.unwrap();
    // As the first version has left it.
    let old = "INSERT INTO alerted (org, name) VALUES ('acme', 'org:daily');
        DROP TABLE changes, generations, keys, reply_holders, replies, reply_orgs, audit_chains, audit_records,
            audit_turn;
        DROP FUNCTION audit_stays, audit_record_goes;
        DROP FUNCTION transfers_know_draws CASCADE;
        DROP INDEX transfers_draws, transfers_by_id;
        ALTER TABLE transfers DROP CONSTRAINT transfers_kinds, DROP CONSTRAINT transfers_of_holds,
            ADD CONSTRAINT transfers_kind_check CHECK (kind IN ('fund', 'pending', 'extend', 'post',
                'overage', 'void', 'expire', 'late_post', 'late_void', 'return', 'refund',
                'adjust_credit', 'adjust_debit', 'allocate', 'deallocate')),
            ADD CHECK ((hold IS NULL) = (kind IN ('fund', 'pending', 'adjust_credit',
                'adjust_debit', 'allocate', 'deallocate')));
        CREATE UNIQUE INDEX transfers_by_id ON transfers (id)
            WHERE kind IN ('fund', 'pending', 'refund', 'adjust_credit', 'adjust_debit', 'allocate',
                           'deallocate');
        INSERT INTO transfers (org, seq, id, kind, hold, amount, at, note, terms) VALUES
            ('acme', 1, decode(repeat('01', 32), 'hex'), 'fund', NULL, 100, 0, '', NULL),
            ('acme', 2, decode(repeat('02', 32), 'hex'), 'pending', NULL, 10, 0, '', '{}'),
            ('acme', 3, decode(repeat('03', 32), 'hex'), 'post', 2, 7, 0, '', NULL);
        UPDATE kt_schema SET version = 1";
    shell.batch_execute(old).await.unwrap();
    assert!(refusal(&url).await.contains("has schema version 1 and"));
    let migrated = migrate(&open(&url).unwrap()).await.unwrap();
    assert_eq!(migrated, Migrated { from: 1, to: version() });
    let keys = PostgresKeys::over(Arc::new(open(&url).unwrap()));
    assert_eq!(keys.list().await.unwrap(), []);
    let kept = shell.query("SELECT name FROM alerted", &[]).await.unwrap();
    assert_eq!(kept.len(), 1);
    let kept = shell.query("SELECT seq FROM transfers", &[]).await.unwrap();
    assert_eq!(kept.len(), 3);
    // What a row may be is said by the new tables as strictly as by the old ones.
    for (seq, kind, hold, is_taken) in [
        (4, "open_calls", "NULL", true),
        (5, "open_calls", "2", false),
        (5, "draw", "NULL", false),
        (5, "fund", "2", false),
        (5, "void", "2", false),
        (5, "nonsense", "NULL", false),
    ] {
        let row = format!(
            "INSERT INTO transfers (org, seq, id, kind, hold, amount, at, note) VALUES
                ('acme', {seq}, decode(repeat('0{seq}', 32), 'hex'), '{kind}', {hold}, 1, 0, '')"
        );
        let taken = shell.batch_execute(&row).await.is_ok();
        assert_eq!(taken, is_taken, "{kind} {hold}");
    }
    for change in ["UPDATE transfers SET amount = 1", "DELETE FROM transfers", "TRUNCATE transfers"]
    {
        assert!(shell.batch_execute(change).await.is_err(), "{change}");
    }
}

#[tokio::test]
async fn tables_are_made_once_however_many_make_them() {
    let url = SERVER.database().await.unwrap();
    let databases: Vec<_> = (0..4).map(|_| open(&url).unwrap()).collect();
    let made: Vec<_> = {
        let [a, b, c, d] = &databases[..] else { unreachable!() };
        let (a, b, c, d) = tokio::join!(migrate(a), migrate(b), migrate(c), migrate(d));
        [a, b, c, d].into_iter().map(Result::unwrap).collect()
    };
    let first = Migrated { from: 0, to: version() };
    assert_eq!(made.iter().filter(|made| **made == first).count(), 1, "{made:?}");
    check(&databases[0]).await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_and_not_its_password() {
    let url = "postgres://kt:hunter2@127.0.0.1:9/kt";
    let error = PostgresLedger::open(open(url).unwrap(), None).await.unwrap_err().to_string();
    assert!(
        error.contains("postgres://kt@127.0.0.1:9/kt") && !error.contains("hunter2"),
        "{error}"
    );
}
