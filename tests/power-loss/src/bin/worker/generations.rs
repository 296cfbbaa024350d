//! Generations: each operation invalidates a tag of its own.

use std::path::Path;

use kt_contract::hex::Digest;
use kt_contract::key::CacheKey;
use sidecar_cache::generation::{Generation, Tag};
use sidecar_cache::store::sqlite::SqliteGenerations;
use sidecar_cache::store::{Answer, GenerationStore as _, StoreError};

use crate::Work;

pub(crate) struct Generations(SqliteGenerations);

// === impl Generations ===

impl Generations {
    pub(crate) fn open(folder: &Path) -> Result<Self, StoreError> {
        SqliteGenerations::open(folder).map(Self)
    }
}

impl Work for Generations {
    fn make(&self, number: u64) -> Answer<'_, String> {
        Box::pin(async move {
            let (org, tag) = named(number);
            let generation = self.0.bump(org.clone(), tag.clone()).await?;
            Ok(line(&org, &tag, generation))
        })
    }

    fn held(&self) -> Answer<'_, Vec<String>> {
        Box::pin(async move {
            let all = self.0.all().await?;
            Ok(all.iter().map(|(org, tag, generation)| line(org, tag, *generation)).collect())
        })
    }
}

/// Every number's own, so that no later invalidation covers it.
pub(crate) fn named(number: u64) -> (String, Tag) {
    let name = number.to_string();
    let mut digest = [0; 32];
    digest.iter_mut().zip(number.to_be_bytes()).for_each(|(place, byte)| *place = byte);
    let tag = match number % 6 {
        0 => Tag::Org,
        1 => Tag::Codebase(name),
        2 => Tag::Fabric(name),
        3 => Tag::Model(name),
        4 => Tag::Policy(Digest(digest)),
        _ => Tag::Entry(CacheKey(Digest(digest))),
    };
    (format!("org-{number}"), tag)
}

pub(crate) fn line(org: &str, tag: &Tag, Generation(number): Generation) -> String {
    format!("{org} {tag:?} has generation {number}")
}
