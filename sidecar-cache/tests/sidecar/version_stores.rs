//! What every store of configuration versions keeps to.

use kt_contract::time::UnixMillis;
use kt_contract::wire::admin::versions::Source;
use sidecar_cache::store::sqlite::SqliteVersions;
use sidecar_cache::store::versions::{MemoryVersions, VERSIONS_MAX, Version, VersionStore};

fn live(text: &str) -> Version {
    Version {
        digest: Some(format!("digest of {text}")),
        snapshot: Some("0123456789abcdef".to_owned()),
        text: Some(text.to_owned()),
        at: UnixMillis(1_780_000_000_000),
        source: Source::Apply,
        by: Some("ada".to_owned()),
        errors: Vec::new(),
    }
}

fn refused(why: &str) -> Version {
    let errors = vec![why.to_owned(), "and more".to_owned()];
    let (source, by) = (Source::File, None);
    Version { digest: None, snapshot: None, text: None, source, by, errors, ..live("") }
}

async fn numbers(store: &dyn VersionStore, was_live: bool) -> Vec<u64> {
    let all = store.list().await.unwrap();
    all.into_iter().filter(|(_, it)| it.was_live() == was_live).map(|(number, _)| number).collect()
}

async fn keeps_to_it(store: &dyn VersionStore) {
    assert_eq!(store.list().await.unwrap(), []);
    let first = store.add(live("a")).await.unwrap();
    let bad = store.add(refused("nonsense")).await.unwrap();
    let again = store.add(live("a")).await.unwrap();
    assert!(first < bad && bad < again, "{first} {bad} {again}");
    let without_text = Version { text: None, ..live("a") };
    let told = [(again, without_text.clone()), (bad, refused("nonsense")), (first, without_text)];
    assert_eq!(store.list().await.unwrap(), told, "newest first, and no text");
    for (number, text) in [(first, Some("a")), (bad, None), (again, Some("a")), (99, None)] {
        assert_eq!(store.text(number).await.unwrap().as_deref(), text, "{number}");
    }

    // However many are refused, there is something to go back to.
    for nth in 0..VERSIONS_MAX {
        store.add(refused(&nth.to_string())).await.unwrap();
    }
    assert_eq!(numbers(store, true).await, [again, first]);
    let bad_ones = numbers(store, false).await;
    assert_eq!(bad_ones.len(), VERSIONS_MAX);
    assert!(!bad_ones.contains(&bad), "the oldest has gone");
    for nth in 0..VERSIONS_MAX {
        store.add(live(&nth.to_string())).await.unwrap();
    }
    let good_ones = numbers(store, true).await;
    assert_eq!(good_ones.len(), VERSIONS_MAX);
    assert_eq!(store.text(first).await.unwrap(), None);
    assert_eq!(numbers(store, false).await, bad_ones);
}

#[tokio::test]
async fn memory_keeps_to_it() {
    keeps_to_it(&MemoryVersions::default()).await;
}

#[tokio::test]
async fn sqlite_keeps_to_it() {
    let folder = tempfile::tempdir().unwrap();
    keeps_to_it(&SqliteVersions::open(folder.path()).unwrap()).await;
}

#[tokio::test]
async fn versions_are_there_when_their_file_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteVersions::open(folder.path()).unwrap();
    let number = store.add(live("a")).await.unwrap();
    drop(store);
    let store = SqliteVersions::open(folder.path()).unwrap();
    assert_eq!(store.text(number).await.unwrap().as_deref(), Some("a"));
    assert!(store.add(live("b")).await.unwrap() > number);
}
