//! One suite for every generation store: a failure reads `sqlite::numbers_grow_across_tags_and_restarts`.

use std::path::Path;
use std::sync::Arc;

use sidecar_cache::generation::Tag;
use sidecar_cache::service::generations::Generations;
use sidecar_cache::store::memory::MemoryGenerations;
use sidecar_cache::store::sqlite::SqliteGenerations;

use crate::support::{CHAT, group};

/// Stamps the suite over a store: a way to open the one of a folder, again after a restart where it is durable.
macro_rules! generation_store_suite {
    ($($name:ident { open: $open:expr, durable: $durable:expr, })*) => {$(
        mod $name {
            generation_store_suite! { @tests $open, $durable,
                numbers_grow_across_tags_and_organizations
                every_kind_of_tag_comes_back_as_it_was
                a_tag_has_its_newest_number_only
                an_organizations_number_covers_its_narrower_ones
                names_are_bytes_and_never_statements
                what_was_answered_survives_a_restart
            }
        }
    )*};
    (@tests $open:expr, $durable:expr, $($test:ident)*) => {$(
        #[tokio::test]
        async fn $test() {
            let folder = tempfile::tempdir().unwrap();
            crate::generation_suite::$test(|| $open(folder.path()), $durable).await;
        }
    )*};
}

generation_store_suite! {
    memory {
        open: |_: &super::Path| super::MemoryGenerations::default(),
        durable: false,
    }
    sqlite {
        open: |folder: &super::Path| super::SqliteGenerations::open(folder).unwrap(),
        durable: true,
    }
}

#[tokio::test]
async fn the_table_is_what_the_store_held_before_the_restart() {
    let group = group().await;
    let key = group.key().await;
    let ask = group.ask(&key, CHAT);
    let folder = tempfile::tempdir().unwrap();
    let load = async || {
        let store = Arc::new(SqliteGenerations::open(folder.path()).unwrap());
        Generations::load(store).await.unwrap()
    };
    let generations = load().await;
    let untouched = generations.vector(&ask.plan.gates, &ask.plan.key);
    let codebase = || Tag::Codebase("acme/web".to_owned());
    for tag in [codebase(), Tag::Org, Tag::Entry(ask.plan.key), codebase()] {
        let before = generations.vector(&ask.plan.gates, &ask.plan.key);
        generations.bump("acme", tag).await.unwrap();
        assert!(!generations.is_current(&ask.plan.gates, &ask.plan.key, &before));
    }
    let vector = generations.vector(&ask.plan.gates, &ask.plan.key);
    let newest = generations.count_and_newest();
    drop(generations);
    let generations = load().await;
    assert!(generations.is_current(&ask.plan.gates, &ask.plan.key, &vector));
    assert!(!generations.is_current(&ask.plan.gates, &ask.plan.key, &untouched));
    assert_eq!(generations.count_and_newest(), newest);
}
