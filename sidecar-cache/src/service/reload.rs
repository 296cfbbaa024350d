//! The configuration file: read at the start, watched afterwards. A good change takes effect everywhere; a
//! bad one, and one that only a restart can put in force, changes nothing and is reported until it is mended.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kt_contract::config::{self, Backend, Config, Database, Loaded, Wallet, Warning};
use kt_contract::wire::feed::Event;

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
    /// What the file said at the start, which is what the group's Envoys are taken to run with.
    started: Config,
    /// What the log has been told about the file in use.
    warned: Vec<Warning>,
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
        let Loaded { config, warnings, .. } = parse(&path, &text)?;
        warn_of(&warnings, &[]);
        let settings = Settings::of(&config, is_local);
        let seen = Some(blake3::hash(text.as_bytes()));
        Ok((Self { path, is_local, started: config, warned: warnings, seen }, settings))
    }

    /// Where calls are accounted for from the start on, if the file asks for that.
    #[must_use]
    pub fn ledger(&self) -> Option<Wallet> {
        self.started.ledger()
    }

    /// Where the sidecars of the group keep what they share, if the file names it.
    #[must_use]
    pub fn database(&self) -> Option<Database> {
        self.started.database.clone()
    }

    /// Where entries are from the start on.
    #[must_use]
    pub const fn backend(&self) -> &Backend {
        &self.started.cache.backend
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
            Ok(text) => self.take(&text),
            Err(fault) => Err(vec![fault]),
        })
    }

    fn take(&mut self, text: &str) -> Result<Settings, Vec<String>> {
        let Loaded { config, warnings, .. } = parse(&self.path, text)?;
        let needs = config.needs_restart(&self.started);
        if !needs.is_empty() {
            let path = self.path.display();
            return Err(needs.iter().map(|need| format!("{path}: {need}")).collect());
        }
        warn_of(&warnings, &self.warned);
        self.warned = warnings;
        Ok(Settings::of(&config, self.is_local))
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
                let snapshot = settings.snapshot.version.clone();
                self.cache.bound(settings.memory).await;
                self.cache.keep_stale(settings.stale.kept());
                self.logs.bound(settings.flight_bytes_max);
                self.bodies.bound(settings.bodies_bytes_max);
                let has_new_prices = settings.pricing != self.feed.settings().pricing;
                self.feed.configure(settings);
                if has_new_prices {
                    // What workers hold says what a call would have cost by the old ones.
                    self.feed.publish(Event::Purged);
                }
                // Said once it is true.
                tracing::info!(snapshot, "configuration in use");
            }
            Err(faults) => {
                self.metrics.reload_failed();
                self.feed.keep_last_good(faults.clone());
                for fault in &faults {
                    tracing::error!(
                        fault,
                        "the configuration on disk is not in force; the last good one stays in use"
                    );
                }
            }
        }
    }
}

fn parse(path: &Path, text: &str) -> Result<Loaded, Vec<String>> {
    config::load(&path.to_string_lossy(), text)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

/// Logs what is new. A warning that has only moved to another line is not.
fn warn_of(warnings: &[Warning], before: &[Warning]) {
    let is_same =
        |one: &Warning, other: &Warning| one.field == other.field && one.note == other.note;
    for warning in warnings {
        if !before.iter().any(|earlier| is_same(earlier, warning)) {
            tracing::warn!(%warning, "configuration");
        }
    }
}

fn read(path: &Path) -> Result<String, String> {
    let failed = |error: io::Error| format!("{}: {error}", path.display());
    if path.metadata().map_err(failed)?.len() > FILE_BYTES_MAX {
        return Err(format!("{}: larger than {FILE_BYTES_MAX} bytes", path.display()));
    }
    std::fs::read_to_string(path).map_err(failed)
}
