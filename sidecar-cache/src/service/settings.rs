//! The sidecar's own view of a checked configuration.

use std::sync::Arc;

use kt_contract::config::Config;
use kt_contract::snapshot::Snapshot;
use kt_contract::time::Millis;

use crate::store::Bounds;

/// What one version of the configuration says to the sidecar. Replaced as a whole, never changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What filters get.
    pub snapshot: Arc<Snapshot>,
    /// `workflow_cache.ttl_seconds`.
    pub ttl: Millis,
    /// `workflow_cache.max_entry_tokens`.
    pub entry_tokens_max: u64,
    /// `workflow_cache.memory`.
    pub memory: Bounds,
}

// === impl Settings ===

impl Settings {
    /// The settings of `config`. `local` is for a gateway's own sidecar, which shares with nobody.
    #[must_use]
    pub fn of(config: &Config, local: bool) -> Self {
        let cache = &config.cache;
        Self {
            snapshot: Arc::new(config.snapshot(local)),
            ttl: Millis(u64::try_from(cache.ttl.as_millis()).unwrap_or(u64::MAX)),
            entry_tokens_max: cache.max_entry_tokens,
            memory: Bounds {
                entries_max: cache.memory.max_entries,
                bytes_max: cache.memory.max_bytes,
            },
        }
    }
}
