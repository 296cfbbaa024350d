//! The suite of the audit log over memory and SQLite, and what nobody may do to the file.

use rusqlite::Connection;
use sidecar_cache::store::audit_log::AuditStore as _;
use sidecar_cache::store::sqlite::SqliteAuditLog;

use crate::audit_suite::{fact, numbers, verified};

macro_rules! audit_suite {
    ($($test:ident)*) => {
        mod memory {$(
            #[tokio::test]
            async fn $test() {
                let open = async || sidecar_cache::store::audit_log::MemoryAuditLog::default();
                crate::audit_suite::$test(open).await;
            }
        )*}
        mod sqlite {$(
            #[tokio::test]
            async fn $test() {
                let folder = tempfile::tempdir().unwrap();
                let open = async || super::SqliteAuditLog::open(folder.path()).unwrap();
                crate::audit_suite::$test(open).await;
            }
        )*}
    };
}

audit_suite! {
    every_organization_has_a_chain_of_its_own
    many_at_once_leave_no_gap
    retention_removes_the_oldest_and_says_so
    a_chain_whose_records_are_all_too_old_goes_on
}

#[tokio::test]
async fn what_is_put_on_record_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let open = async || SqliteAuditLog::open(folder.path()).unwrap();
    crate::audit_suite::what_is_put_on_record_survives_a_restart(open).await;
}

#[tokio::test]
async fn whoever_opens_the_file_changes_nothing_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteAuditLog::open(folder.path()).unwrap();
    store.append((1..=3).map(|number| fact("acme", number)).collect()).await.unwrap();
    let shell = Connection::open(folder.path().join("audit.db")).unwrap();
    for statement in [
        "UPDATE records SET bytes = x'00' WHERE seq = 2",
        "UPDATE records SET seq = 9 WHERE seq = 2",
        "DELETE FROM records WHERE seq = 1",
        "DELETE FROM records",
        "INSERT OR REPLACE INTO records SELECT org, seq, at, x'00', hash FROM records",
        "REPLACE INTO chains SELECT org, 3, head_hash, head, head_hash FROM chains",
        "UPDATE chains SET head = 2",
        "UPDATE chains SET org = 'umbrella'",
        "DELETE FROM chains",
    ] {
        let refused = shell.execute(statement, []).unwrap_err().to_string();
        assert!(refused.contains("of the audit log"), "{statement}: {refused}");
    }
    assert_eq!(numbers(&store, "acme").await, [1, 2, 3]);
    assert_eq!(verified(&store, "acme").await.records, 3);
}
