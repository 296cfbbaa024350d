//! What every spool keeps to.

use sidecar_cache::store::spool::{MemorySpool, Put, SpoolStore};
use sidecar_cache::store::sqlite::SqliteSpool;

async fn put(spool: &dyn SpoolStore, text: &str) -> u64 {
    match spool.put(text.to_owned(), 1_000).await.unwrap() {
        Put::Kept(number) => number,
        Put::Full => panic!("no room for {text}"),
    }
}

async fn texts(spool: &dyn SpoolStore) -> Vec<String> {
    let rows = spool.read(0, 1_000).await.unwrap();
    rows.into_iter().map(|(_, text)| text).collect()
}

async fn keeps_to_it(spool: &dyn SpoolStore) {
    assert_eq!((spool.count(), texts(spool).await), (0, vec![]));
    let (a, b) = (put(spool, "a").await, put(spool, "b").await);
    // The same twice is two: who puts it there knows why.
    let again = put(spool, "b").await;
    assert!(a < b && b < again);
    assert_eq!((spool.count(), texts(spool).await), (3, vec!["a".into(), "b".into(), "b".into()]));
    assert_eq!(spool.read(0, 1).await.unwrap(), [(a, "a".to_owned())]);
    assert_eq!(spool.read(a, 1).await.unwrap(), [(b, "b".to_owned())]);
    assert_eq!(spool.put("c".to_owned(), 3).await.unwrap(), Put::Full);
    assert_eq!(spool.count(), 3);

    spool.remove(vec![again, a, again, 1_000]).await.unwrap();
    assert_eq!((spool.count(), texts(spool).await), (1, vec!["b".into()]));
    // Who forgets late must not forget another one.
    let next = put(spool, "d").await;
    assert!(next > again, "{next} was given before");
    spool.remove(vec![again]).await.unwrap();
    assert_eq!(texts(spool).await, ["b", "d"]);
    spool.remove(vec![b, next]).await.unwrap();
    assert!(put(spool, "e").await > next);

    let together = (0..300).map(|nth| spool.put(format!("{nth}"), 101));
    let puts = futures_util::future::join_all(together).await;
    let is_kept = |put: &Result<Put, _>| matches!(put, Ok(Put::Kept(_)));
    assert_eq!((puts.iter().filter(|put| is_kept(put)).count(), spool.count()), (100, 101));
}

#[tokio::test]
async fn memory_keeps_to_it() {
    keeps_to_it(&MemorySpool::default()).await;
}

#[tokio::test]
async fn sqlite_keeps_to_it() {
    let folder = tempfile::tempdir().unwrap();
    keeps_to_it(&SqliteSpool::open(folder.path()).unwrap()).await;
}

#[tokio::test]
async fn what_lies_in_a_file_is_there_when_it_is_opened_again_and_no_number_is_given_twice() {
    let folder = tempfile::tempdir().unwrap();
    let spool = SqliteSpool::open(folder.path()).unwrap();
    let (first, last) = (put(&spool, "a").await, put(&spool, "b").await);
    spool.remove(vec![last]).await.unwrap();
    drop(spool);
    let spool = SqliteSpool::open(folder.path()).unwrap();
    assert_eq!(
        (spool.count(), spool.read(0, 9).await.unwrap()),
        (1, vec![(first, "a".to_owned())])
    );
    assert!(put(&spool, "c").await > last);
}

#[tokio::test]
async fn a_file_that_is_no_spool_is_left_as_it_is_and_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spool.db");
    std::fs::write(&path, "no database ".repeat(1_000)).unwrap();
    assert!(SqliteSpool::open(folder.path()).is_err());
    assert!(std::fs::read(&path).unwrap().starts_with(b"no database"));
}

#[tokio::test]
async fn on_a_full_disk_ends_of_what_runs_are_kept_and_forgotten_and_nothing_new_may_begin() {
    let folder = tempfile::tempdir().unwrap();
    let spool = SqliteSpool::open_bounded(folder.path(), Some(16)).unwrap();
    let end = "an end ".repeat(100);
    let mut kept = Vec::new();
    while spool.has_room() {
        kept.push(put(&spool, &end).await);
        assert!(kept.len() < 1_000, "it never fills");
    }
    for _ in 0..600 {
        kept.push(put(&spool, &end).await);
    }
    spool.remove(kept.split_off(500)).await.unwrap();
    drop(spool);
    let spool = SqliteSpool::open(folder.path()).unwrap();
    assert!(spool.has_room());
    assert_eq!((spool.count(), texts(&spool).await), (500, vec![end; 500]));
}
