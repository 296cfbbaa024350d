//! What every generation store does, wherever it keeps them. Each test gets a way to open one, again after a restart
//! where it is durable.

use kt_contract::hex::Digest;
use kt_contract::key::CacheKey;
use sidecar_cache::generation::{Generation, Tag};
use sidecar_cache::store::GenerationStore;

fn every_kind() -> [Tag; 6] {
    [
        Tag::Org,
        Tag::Codebase("acme/web".to_owned()),
        Tag::Fabric("f-7".to_owned()),
        Tag::Model("gpt-4o".to_owned()),
        Tag::Policy(Digest([5; 32])),
        Tag::Entry(CacheKey(Digest([6; 32]))),
    ]
}

fn codebase(name: &str) -> Tag {
    Tag::Codebase(name.to_owned())
}

async fn bump(store: &impl GenerationStore, org: &str, tag: Tag) -> Generation {
    store.bump(org.to_owned(), tag).await.unwrap()
}

pub(crate) async fn numbers_grow_across_tags_and_organizations<S: GenerationStore>(
    open: impl Fn() -> S,
    _: bool,
) {
    let store = open();
    let mut last = Generation(0);
    for org in ["acme", "globex", "acme"] {
        for tag in every_kind() {
            let next = bump(&store, org, tag).await;
            assert!(next > last, "{next:?} after {last:?}");
            last = next;
        }
    }
}

pub(crate) async fn every_kind_of_tag_comes_back_as_it_was<S: GenerationStore>(
    open: impl Fn() -> S,
    _: bool,
) {
    let store = open();
    let mut expected = Vec::new();
    for tag in every_kind() {
        let generation = bump(&store, "acme", tag.clone()).await;
        expected.push(("acme".to_owned(), tag, generation));
    }
    assert_eq!(store.all().await.unwrap(), expected);
}

pub(crate) async fn a_tag_has_its_newest_number_only<S: GenerationStore>(
    open: impl Fn() -> S,
    _: bool,
) {
    let store = open();
    bump(&store, "acme", codebase("a")).await;
    let other = bump(&store, "globex", codebase("a")).await;
    let newest = bump(&store, "acme", codebase("a")).await;
    let all = store.all().await.unwrap();
    assert_eq!(
        all,
        [("globex".to_owned(), codebase("a"), other), ("acme".to_owned(), codebase("a"), newest)]
    );
}

pub(crate) async fn an_organizations_number_covers_its_narrower_ones<S: GenerationStore>(
    open: impl Fn() -> S,
    _: bool,
) {
    let store = open();
    let other = bump(&store, "globex", codebase("a")).await;
    bump(&store, "acme", codebase("a")).await;
    let whole = bump(&store, "acme", Tag::Org).await;
    let later = bump(&store, "acme", codebase("b")).await;
    assert_eq!(
        store.all().await.unwrap(),
        [
            ("globex".to_owned(), codebase("a"), other),
            ("acme".to_owned(), Tag::Org, whole),
            ("acme".to_owned(), codebase("b"), later),
        ]
    );
}

pub(crate) async fn names_are_bytes_and_never_statements<S: GenerationStore>(
    open: impl Fn() -> S,
    _: bool,
) {
    let store = open();
    for name in ["'; DROP TABLE generations; --", "a\0b", "\u{1f511}", ""] {
        let generation = bump(&store, name, codebase(name)).await;
        let all = store.all().await.unwrap();
        assert_eq!(all.last(), Some(&(name.to_owned(), codebase(name), generation)), "{name:?}");
    }
}

pub(crate) async fn what_was_answered_survives_a_restart<S: GenerationStore>(
    open: impl Fn() -> S,
    durable: bool,
) {
    let store = open();
    let first = bump(&store, "acme", codebase("a")).await;
    drop(store);
    if durable {
        let store = open();
        let all = store.all().await.unwrap();
        assert_eq!(all, [("acme".to_owned(), codebase("a"), first)]);
        assert!(bump(&store, "acme", Tag::Org).await > first, "no number is given twice");
    }
}
