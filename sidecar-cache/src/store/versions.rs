//! Which versions of the configuration there were: one file for each sidecar, because each reads a file of its own.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kt_contract::time::UnixMillis;
use kt_contract::wire::admin::versions::Source;

use super::Answer;

/// How many that were live are kept, and how many that were refused: neither pushes the other out.
pub const VERSIONS_MAX: usize = 100;

/// The versions of one sidecar.
pub trait VersionStore: Send + Sync {
    /// Keeps one, as the newest. Durable when answered: with its number, which no other ever has.
    fn add(&self, version: Version) -> Answer<'_, u64>;

    /// All of them without their texts, newest first.
    fn list(&self) -> Answer<'_, Vec<(u64, Version)>>;

    /// The text of one that was live.
    fn text(&self, number: u64) -> Answer<'_, Option<String>>;
}

/// A version that was live, or was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The digest of its text; `None` where there was none to be read.
    pub digest: Option<String>,
    /// The version of the snapshot; `None` where it was refused.
    pub snapshot: Option<String>,
    /// Its text, where it was live: what is wrong with a refused one may be that a secret stands in it.
    pub text: Option<String>,
    /// When it came.
    pub at: UnixMillis,
    /// How.
    pub source: Source,
    /// Who has asked for it.
    pub by: Option<String>,
    /// Why it was refused.
    pub errors: Vec<String>,
}

/// Versions that are gone with their process, for tests.
#[derive(Debug, Default)]
pub struct MemoryVersions {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    last: u64,
    versions: VecDeque<(u64, Version)>,
}

// === impl Version ===

impl Version {
    /// Whether it went live.
    #[must_use]
    pub const fn was_live(&self) -> bool {
        self.errors.is_empty()
    }
}

// === impl MemoryVersions ===

impl MemoryVersions {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl VersionStore for MemoryVersions {
    fn add(&self, version: Version) -> Answer<'_, u64> {
        Box::pin(async move {
            let mut held = self.held();
            held.last = held.last.saturating_add(1);
            let (number, was_live) = (held.last, version.was_live());
            held.versions.push_front((number, version));
            let mut kept = 0_usize;
            held.versions.retain(|(_, version)| {
                kept += usize::from(version.was_live() == was_live);
                version.was_live() != was_live || kept <= VERSIONS_MAX
            });
            Ok(number)
        })
    }

    fn list(&self) -> Answer<'_, Vec<(u64, Version)>> {
        Box::pin(async move {
            let held = self.held();
            let without_text = |version: &Version| Version { text: None, ..version.clone() };
            Ok(held.versions.iter().map(|(number, it)| (*number, without_text(it))).collect())
        })
    }

    fn text(&self, number: u64) -> Answer<'_, Option<String>> {
        Box::pin(async move {
            let held = self.held();
            let found = held.versions.iter().find(|(at, _)| *at == number);
            Ok(found.and_then(|(_, version)| version.text.clone()))
        })
    }
}
