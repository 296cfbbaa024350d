//! The configuration file: read at the start, watched afterwards. A good change takes effect everywhere; a
//! bad one changes nothing and is reported until it is mended.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kt_contract::config;

use super::Sidecar;
use super::settings::Settings;

/// How often the file is read again.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A configuration is a page or two; a file beyond this is something else.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// A configuration file and what it said last.
#[derive(Debug)]
pub struct Watched {
    path: PathBuf,
    is_local: bool,
    /// The digest of the last content that was looked at, good or bad; `None` where there was none.
    seen: Option<blake3::Hash>,
}

// === impl Watched ===

impl Watched {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// Everything that is wrong with it, each on its own line.
    pub fn load(path: PathBuf, is_local: bool) -> Result<(Self, Settings), Vec<String>> {
        let text = read(&path).map_err(|fault| vec![fault])?;
        let settings = settings(&path, &text, is_local)?;
        let seen = Some(blake3::hash(text.as_bytes()));
        Ok((Self { path, is_local, seen }, settings))
    }

    /// Looks at the file again and says what follows, if it has changed.
    pub fn look(&mut self) -> Option<Result<Settings, Vec<String>>> {
        let text = read(&self.path);
        let seen = text.as_ref().ok().map(|text| blake3::hash(text.as_bytes()));
        if seen == self.seen {
            return None;
        }
        self.seen = seen;
        Some(match text {
            Ok(text) => settings(&self.path, &text, self.is_local),
            Err(fault) => Err(vec![fault]),
        })
    }
}

// === impl Sidecar ===

impl Sidecar {
    /// Watches the file for as long as it is polled.
    pub async fn watch(&self, mut watched: Watched) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            if let Some(change) = watched.look() {
                self.reconfigure(change).await;
            }
        }
    }

    /// Puts a change of the file into use, or reports what is wrong with it.
    pub async fn reconfigure(&self, change: Result<Settings, Vec<String>>) {
        match change {
            Ok(settings) => {
                tracing::info!(snapshot = settings.snapshot.version, "configuration in use");
                self.cache.bound(settings.memory).await;
                self.feed.configure(settings);
            }
            Err(faults) => {
                self.metrics.reload_failed();
                for fault in &faults {
                    tracing::error!(fault, "bad configuration; the last good one stays in use");
                }
                self.feed.keep_last_good(faults);
            }
        }
    }
}

fn settings(path: &Path, text: &str, is_local: bool) -> Result<Settings, Vec<String>> {
    match config::load(&path.to_string_lossy(), text) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                tracing::warn!(%warning, "configuration");
            }
            Ok(Settings::of(&loaded.config, is_local))
        }
        Err(errors) => Err(errors.iter().map(ToString::to_string).collect()),
    }
}

fn read(path: &Path) -> Result<String, String> {
    let failed = |error: io::Error| format!("{}: {error}", path.display());
    if path.metadata().map_err(failed)?.len() > FILE_BYTES_MAX {
        return Err(format!("{}: larger than {FILE_BYTES_MAX} bytes", path.display()));
    }
    std::fs::read_to_string(path).map_err(failed)
}
