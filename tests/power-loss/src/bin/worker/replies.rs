//! Answers to `Idempotency-Key`s: each operation keeps one of a key of its own.

use std::path::Path;

use kt_contract::hex::Digest;
use sidecar_cache::clock::Clock;
use sidecar_cache::idempotency::ReplyId;
use sidecar_cache::store::replies::{NewReply, ReplyStore as _};
use sidecar_cache::store::sqlite::SqliteReplies;
use sidecar_cache::store::{Answer, StoreError};

use crate::Work;

/// Nobody loads more.
const NUMBERS_MAX: u64 = 5_000;

pub(crate) struct Replies(SqliteReplies);

// === impl Replies ===

impl Replies {
    pub(crate) fn open(folder: &Path) -> Result<Self, StoreError> {
        SqliteReplies::open(folder, Clock::start()).map(Self)
    }
}

impl Work for Replies {
    fn make(&self, number: u64) -> Answer<'_, String> {
        Box::pin(async move {
            let (id, org) = (named(number), format!("org-{}", number % 3));
            let bytes = format!("answer {number}").into_bytes();
            self.0.keep(NewReply { id, org, bytes: bytes.clone() }).await?;
            Ok(line(number, &bytes))
        })
    }

    fn held(&self) -> Answer<'_, Vec<String>> {
        Box::pin(async move {
            let mut held = Vec::new();
            for number in 0..NUMBERS_MAX {
                let found = self.0.find(named(number)).await?;
                held.extend(found.map(|bytes| line(number, &bytes)));
            }
            Ok(held)
        })
    }
}

fn named(number: u64) -> ReplyId {
    let mut digest = [0; 32];
    digest.iter_mut().zip(number.to_be_bytes()).for_each(|(place, byte)| *place = byte);
    ReplyId(Digest(digest))
}

fn line(number: u64, bytes: &[u8]) -> String {
    format!("{number} has {}", String::from_utf8_lossy(bytes))
}
