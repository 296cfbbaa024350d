//! The configuration file and its history: each operation replaces the file and then notes the version, as an apply does.

use std::path::{Path, PathBuf};

use kt_contract::time::UnixMillis;
use kt_contract::wire::admin::versions::Source;
use sidecar_cache::config_file;
use sidecar_cache::store::sqlite::SqliteVersions;
use sidecar_cache::store::versions::{Version, VersionStore as _};
use sidecar_cache::store::{Answer, StoreError};

use crate::Work;

/// Several pages, so that a part of it can be lost.
const LINES: usize = 1_500;

pub(crate) struct Versions {
    file: PathBuf,
    store: SqliteVersions,
}

// === impl Versions ===

impl Versions {
    pub(crate) fn open(folder: &Path) -> Result<Self, StoreError> {
        let store = SqliteVersions::open(folder)?;
        Ok(Self { file: folder.join("policy-config.yaml"), store })
    }

    /// The number of the version in the file, if there is one and it is whole.
    fn in_file(&self) -> Result<Option<u64>, String> {
        let Ok(text) = config_file::read(&self.file) else { return Ok(None) };
        let number = text.lines().next().and_then(|line| line.strip_prefix("# ")?.parse().ok());
        match number {
            Some(number) if text == text_of(number) => Ok(Some(number)),
            Some(_) | None => Err(format!("half a file of {} bytes", text.len())),
        }
    }

    /// The number of the newest version in the history.
    async fn in_history(&self) -> Result<Option<u64>, StoreError> {
        let all = self.store.list().await?;
        let newest = all.into_iter().next().and_then(|(_, version)| version.digest);
        Ok(newest.and_then(|digest| digest.parse().ok()))
    }
}

impl Work for Versions {
    fn make(&self, number: u64) -> Answer<'_, String> {
        Box::pin(async move {
            let text = text_of(number);
            config_file::replace(&self.file, &text)
                .map_err(|error| StoreError::Permanent(error.to_string()))?;
            let version = Version {
                digest: Some(number.to_string()),
                snapshot: None,
                text: Some(text),
                at: UnixMillis(number),
                source: Source::Apply,
                by: None,
                errors: Vec::new(),
            };
            self.store.add(version).await?;
            Ok(promise(number))
        })
    }

    /// A version that is there has taken the place of all before it.
    fn held(&self) -> Answer<'_, Vec<String>> {
        Box::pin(async move {
            let in_file = self.in_file().unwrap_or_default();
            let newest = in_file.min(self.in_history().await?);
            Ok(newest.map(|newest| (0..=newest).map(promise).collect()).unwrap_or_default())
        })
    }

    fn wrong(&self) -> Answer<'_, Vec<String>> {
        Box::pin(async move {
            let (in_file, in_history) = (self.in_file(), self.in_history().await?);
            Ok(match in_file {
                Err(half) => vec![half],
                Ok(in_file) if in_file < in_history => {
                    vec![format!("version {in_history:?} is noted, and the file has {in_file:?}")]
                }
                Ok(_) => Vec::new(),
            })
        })
    }
}

fn text_of(number: u64) -> String {
    let line = format!("# {number}\n");
    line.repeat(LINES)
}

fn promise(number: u64) -> String {
    format!("version {number} took the place of those before")
}
