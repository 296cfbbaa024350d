//! Ends of calls in a sidecar's spool: each operation puts one there; every fourth was told meanwhile.

use std::path::Path;

use sidecar_cache::store::spool::{Put, SPOOLED_MAX, SpoolStore as _};
use sidecar_cache::store::sqlite::SqliteSpool;
use sidecar_cache::store::{Answer, StoreError};

use crate::Work;

/// Nobody loads more.
const NUMBERS_MAX: usize = 5_000;

pub(crate) struct Spool(SqliteSpool);

// === impl Spool ===

impl Spool {
    pub(crate) fn open(folder: &Path) -> Result<Self, StoreError> {
        SqliteSpool::open(folder).map(Self)
    }

    async fn put(&self, text: String) -> Result<u64, StoreError> {
        match self.0.put(text, SPOOLED_MAX).await? {
            Put::Kept(number) => Ok(number),
            Put::Full => Err(StoreError::Permanent("there is no room".to_owned())),
        }
    }
}

impl Work for Spool {
    fn make(&self, number: u64) -> Answer<'_, String> {
        Box::pin(async move {
            if number.is_multiple_of(4) {
                let told = self.put("told".to_owned()).await?;
                self.0.remove(vec![told]).await?;
            }
            let text = format!("end {number}");
            let kept = self.put(text.clone()).await?;
            Ok(line(kept, &text))
        })
    }

    fn held(&self) -> Answer<'_, Vec<String>> {
        Box::pin(async move {
            let rows = self.0.read(0, NUMBERS_MAX).await?;
            Ok(rows.into_iter().map(|(number, text)| line(number, &text)).collect())
        })
    }
}

fn line(number: u64, text: &str) -> String {
    format!("{number} is {text}")
}
