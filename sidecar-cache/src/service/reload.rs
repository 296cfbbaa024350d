//! The configuration file: read at the start, looked at again and again. What it says is checked whole. Decides which
//! content is a change, and nothing about what becomes of it.

use std::path::{Path, PathBuf};

use kt_contract::config::{self, Backend, Config, Database, Loaded, Wallet, Warning};
use kt_contract::hex::Digest;

use super::settings::Settings;
use crate::config_file;

/// How many digits of a digest name a version.
const VERSION_DIGITS: usize = 16;

/// A configuration file, what it said last, and what of it is live.
#[derive(Debug)]
pub struct Watched {
    path: PathBuf,
    is_local: bool,
    /// What the file said at the start, which is what the group's Envoys are taken to run with.
    started: Config,
    /// What the log has been told about the file in use.
    warned: Vec<Warning>,
    live: Text,
    /// The version of the last content that was taken or refused; `None` where there was none to be read.
    seen: Option<String>,
    /// What was there when the file was looked at the last time.
    last: Option<String>,
}

/// A text and its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The digest of the text.
    pub version: String,
    /// The text.
    pub text: String,
}

/// A text that may go live.
#[derive(Clone, Debug)]
pub struct Checked {
    pub(super) text: Text,
    pub(super) config: Config,
    pub(super) settings: Settings,
    pub(super) warnings: Vec<Warning>,
}

/// A change of the file.
#[derive(Debug)]
pub struct Found {
    /// The version of what is there; `None` where nothing can be read.
    pub(super) version: Option<String>,
    /// What may go live, or everything that is wrong with it.
    pub(super) checked: Result<Box<Checked>, Vec<String>>,
}

// === impl Text ===

impl Text {
    /// Names a text.
    #[must_use]
    pub fn of(text: String) -> Self {
        Self { version: version_of(&text), text }
    }
}

// === impl Watched ===

impl Watched {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// Everything that is wrong with it, each on its own line.
    pub fn load(path: PathBuf, is_local: bool) -> Result<(Self, Settings), Vec<String>> {
        let text = Text::of(config_file::read(&path).map_err(|fault| vec![fault])?);
        let Loaded { config, warnings, .. } = parse(&path, &text.text)?;
        warn_of(&warnings, &[]);
        let settings =
            Settings { version: text.version.clone(), ..Settings::of(&config, is_local) };
        let seen = Some(text.version.clone());
        let last = seen.clone();
        let this =
            Self { path, is_local, started: config, warned: warnings, live: text, seen, last };
        Ok((this, settings))
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

    /// What the file said at the start.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.started
    }

    /// The folder of tenants' packs, if the file names one.
    #[must_use]
    pub fn tenants(&self) -> Option<PathBuf> {
        let tenants = self.started.tenants.as_ref()?;
        let beside = self.path.parent().unwrap_or_else(|| Path::new("."));
        Some(beside.join(&tenants.folder))
    }

    /// Whether there is an audit log from the start on.
    #[must_use]
    pub const fn has_audit_log(&self) -> bool {
        self.started.policy.audit.is_some()
    }

    /// Where entries are from the start on.
    #[must_use]
    pub const fn backend(&self) -> &Backend {
        &self.started.cache.backend
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is live.
    #[must_use]
    pub const fn live(&self) -> &Text {
        &self.live
    }

    /// Looks at the file again and says what follows, if it has changed. What is there counts once two looks have
    /// found the same: an editor that writes in place has half a file on disk for a moment, and half of a file may be
    /// a whole configuration, without the policies that stand at its end.
    pub fn look(&mut self) -> Option<Found> {
        let text = config_file::read(&self.path);
        let version = text.as_deref().ok().map(version_of);
        let was = std::mem::replace(&mut self.last, version.clone());
        if version == self.seen || version != was {
            return None;
        }
        self.seen.clone_from(&version);
        let checked = match text {
            Ok(text) => self.check(Text::of(text)).map(Box::new),
            Err(fault) => Err(vec![fault]),
        };
        Some(Found { version, checked })
    }

    /// Checks a text as the file is checked: with everything that a start asks, and that nothing of it needs one.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn check(&self, text: Text) -> Result<Checked, Vec<String>> {
        if text.text.len() as u64 > config_file::FILE_BYTES_MAX {
            return Err(vec![format!("larger than {} bytes", config_file::FILE_BYTES_MAX)]);
        }
        let Loaded { config, warnings, .. } = parse(&self.path, &text.text)?;
        let needs = config.needs_restart(&self.started);
        if !needs.is_empty() {
            let path = self.path.display();
            return Err(needs.iter().map(|need| format!("{path}: {need}")).collect());
        }
        let version = text.version.clone();
        let settings = Settings { version, ..Settings::of(&config, self.is_local) };
        Ok(Checked { text, config, settings, warnings })
    }

    /// The text is live, and the file says it.
    pub(super) fn took(&mut self, text: Text, warnings: Vec<Warning>) {
        warn_of(&warnings, &self.warned);
        self.warned = warnings;
        self.seen = Some(text.version.clone());
        self.last.clone_from(&self.seen);
        self.live = text;
    }
}

/// The version of a text: the first digits of its digest.
fn version_of(text: &str) -> String {
    let digest = Digest(*blake3::hash(text.as_bytes()).as_bytes());
    digest.to_hex().chars().take(VERSION_DIGITS).collect()
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
