//! Keys in SQLite: durable, revocable, and nothing of them but a hash.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

use kt_contract::hex::Digest;
use kt_contract::principal::Principal;
use rusqlite::Connection;

use super::*;

fn record(name: &str, number: u8) -> KeyRecord {
    KeyRecord {
        hash: KeyHash(Digest([number; 32])),
        principal: Principal {
            key_id: name.to_owned(),
            lineage: None,
            org: "acme".to_owned(),
            team: None,
            user: Some("o'neill\0\u{1f511}".to_owned()),
            agent: None,
            group: Some("coders".to_owned()),
            codebases: BTreeSet::from(["acme/web".to_owned()]),
            entitlements: BTreeSet::new(),
        },
        created_at: UnixMillis(u64::from(number)),
        revoked_at: None,
        ends_at: None,
        successor: None,
    }
}

#[tokio::test]
async fn the_files_are_for_their_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let keys = SqliteKeys::open(&data).unwrap();
    keys.add(record("gk_1", 1)).await.unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    let files: Vec<_> =
        std::fs::read_dir(&data).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(files.len() >= 2, "the database and its log: {files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[tokio::test]
async fn every_commit_waits_for_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let keys = SqliteKeys::open(folder.path()).unwrap();
    let settings: (String, i64) = keys
        .database
        .ask(|connection| {
            Ok((
                connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?,
                connection.pragma_query_value(None, "synchronous", |row| row.get(0))?,
            ))
        })
        .await
        .unwrap();
    assert_eq!(settings, ("wal".to_owned(), 2), "2 is FULL");
}

#[test]
fn a_newer_schema_is_refused_with_its_version() {
    let folder = tempfile::tempdir().unwrap();
    drop(SqliteKeys::open(folder.path()).unwrap());
    let connection = Connection::open(folder.path().join("keys.db")).unwrap();
    connection.pragma_update(None, "user_version", 9).unwrap();
    let error = SqliteKeys::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("version 9"), "{error}");
}

#[tokio::test]
async fn a_file_of_before_rotations_keeps_its_keys() {
    let folder = tempfile::tempdir().unwrap();
    let keys = SqliteKeys::open(folder.path()).unwrap();
    keys.add(record("gk_1", 1)).await.unwrap();
    drop(keys);
    let connection = Connection::open(folder.path().join("keys.db")).unwrap();
    let before = "ALTER TABLE keys DROP COLUMN ends_at; ALTER TABLE keys DROP COLUMN successor;
        PRAGMA user_version = 1;";
    connection.execute_batch(before).unwrap();
    drop(connection);
    let keys = SqliteKeys::open(folder.path()).unwrap();
    assert_eq!(keys.list().await.unwrap(), [record("gk_1", 1)]);
}
