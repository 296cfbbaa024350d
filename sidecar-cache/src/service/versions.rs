//! Versions of the configuration: a change of the file, or one that somebody asks for, is checked whole, takes the
//! place of what is live in one step, and is noted. A bad one, and one that only a restart can put in force, changes
//! nothing, and is reported until it is mended.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kt_contract::wire::admin::versions::{
    ApplyReply, ApplyRequest, BY_CHARS_MAX, RollbackRequest, Source, VersionEntry, VersionReply,
    VersionsReply,
};
use kt_contract::wire::feed::Event;
use tokio::sync::Mutex as Turns;

use super::reload::{Checked, Found, Text, Watched};
use super::settings::Settings;
use super::{Failure, Sidecar, lock};
use crate::config_file;
use crate::store::versions::{Version, VersionStore};

/// How often the file is looked at. A change is taken with the second look that finds it.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A digest is named by at least so many digits; fewer are a number.
const PREFIX_DIGITS_MIN: usize = 8;

/// The configuration file and its versions.
pub struct Versions {
    /// One change at a time, wherever it comes from.
    file: Turns<Watched>,
    store: Arc<dyn VersionStore>,
    /// The last one that was refused.
    refused: Mutex<Option<VersionEntry>>,
}

/// Where a change comes from.
#[derive(Clone, Debug)]
struct Origin {
    source: Source,
    by: Option<String>,
}

// === impl Versions ===

impl Versions {
    /// The versions of a file.
    #[must_use]
    pub fn new(file: Watched, store: Arc<dyn VersionStore>) -> Self {
        Self { file: Turns::new(file), store, refused: Mutex::default() }
    }

    /// The last one that was refused.
    pub(super) fn refused(&self) -> Option<VersionEntry> {
        lock(&self.refused).clone()
    }

    /// Every version that is known, newest first, as they are told.
    async fn entries(&self, live: &str) -> Result<Vec<VersionEntry>, Failure> {
        let versions = self.store.list().await?;
        let is_live =
            |version: &Version| version.was_live() && version.digest.as_deref() == Some(live);
        let newest = versions.iter().find(|(_, version)| is_live(version)).map(|(at, _)| *at);
        let entries = versions.into_iter().map(|(number, version)| {
            let is_live = newest == Some(number);
            entry(number, version, is_live)
        });
        Ok(entries.collect())
    }

    /// The text of a version that was live.
    async fn text(&self, file: &Watched, name: &str) -> Result<Text, Failure> {
        let live = file.live();
        let entries = self.entries(&live.version).await?;
        let found = named(&entries, name).ok_or_else(|| not_found(name))?;
        if found.version.as_deref() == Some(live.version.as_str()) {
            return Ok(live.clone());
        }
        let text = self.store.text(found.number).await?;
        text.map(Text::of).ok_or_else(|| Failure::NotFound {
            what: format!(
                "text of version '{name}': it was refused, and of those only the reasons are kept"
            ),
        })
    }

    /// What a rollback without a version goes back to.
    async fn before(&self, file: &Watched) -> Result<Text, Failure> {
        let live = file.live();
        if on_disk(file.path()).is_none_or(|text| text.version != live.version) {
            return Ok(live.clone());
        }
        let entries = self.entries(&live.version).await?;
        let from = entries.iter().position(|entry| entry.is_live).map_or(0, |at| at + 1);
        let before = entries.iter().skip(from).find(|entry| {
            entry.errors.is_empty() && entry.version.as_deref() != Some(live.version.as_str())
        });
        let what = || Failure::NotFound { what: "version before the one that is live".to_owned() };
        let number = before.ok_or_else(what)?.number;
        self.store.text(number).await?.map(Text::of).ok_or_else(what)
    }
}

// === impl Sidecar ===

impl Sidecar {
    /// Looks at the configuration file for as long as it is polled.
    pub async fn watch(&self) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            self.look_at_file().await;
            self.look_at_tenants().await;
        }
    }

    /// Notes the version that this sidecar has been started with, unless it is the one that was live before.
    pub async fn note_start(&self) {
        let Some(versions) = &self.versions else { return };
        let live = versions.file.lock().await.live().clone();
        let entries = match versions.entries(&live.version).await {
            Ok(entries) => entries,
            Err(failure) => {
                tracing::error!(%failure, "the versions of the configuration cannot be read");
                return;
            }
        };
        let is_good = |entry: &&VersionEntry| entry.errors.is_empty();
        *lock(&versions.refused) = entries.iter().find(|entry| !is_good(entry)).cloned();
        if entries.iter().find(is_good).is_none_or(|newest| !newest.is_live) {
            let origin = Origin { source: Source::Start, by: None };
            self.note_version(versions, &origin, Ok(&live)).await;
        }
    }

    /// Looks at the file once: puts what it says into use, or reports what is wrong with it.
    pub async fn look_at_file(&self) {
        let Some(versions) = &self.versions else { return };
        let mut file = versions.file.lock().await;
        let Some(Found { version, checked }) = file.look() else { return };
        let origin = Origin { source: Source::File, by: None };
        match checked {
            Ok(checked) => self.take(versions, &mut file, *checked, &origin).await,
            Err(faults) => {
                self.reconfigure(Err(faults.clone())).await;
                self.note_version(versions, &origin, Err((version, faults))).await;
            }
        }
    }

    /// Puts a text in the place of the configuration, in the file and live, or only checks it.
    ///
    /// # Errors
    /// It is refused, and nothing has changed; or the file cannot be replaced.
    pub async fn apply_config(&self, request: ApplyRequest) -> Result<ApplyReply, Failure> {
        let ApplyRequest { text, by, dry_run } = request;
        let versions = self.versions()?;
        let origin = Origin { source: Source::Apply, by: name_of(by)? };
        let mut file = versions.file.lock().await;
        if dry_run {
            let checked = file.check(Text::of(text)).map_err(Failure::ConfigRefused)?;
            return Ok(reply(&file, &checked));
        }
        self.replace(versions, &mut file, Text::of(text), &origin).await
    }

    /// Goes back to an earlier version.
    ///
    /// # Errors
    /// There is none; it would be refused by now; or the file cannot be replaced.
    pub async fn rollback_config(&self, request: RollbackRequest) -> Result<ApplyReply, Failure> {
        let RollbackRequest { version, by } = request;
        let versions = self.versions()?;
        let origin = Origin { source: Source::Rollback, by: name_of(by)? };
        let mut file = versions.file.lock().await;
        let text = match version {
            Some(name) => versions.text(&file, &name).await?,
            None => versions.before(&file).await?,
        };
        self.replace(versions, &mut file, text, &origin).await
    }

    /// Which versions there were.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn config_versions(&self) -> Result<VersionsReply, Failure> {
        let versions = self.versions()?;
        let live = versions.file.lock().await.live().version.clone();
        let entries = versions.entries(&live).await?;
        Ok(VersionsReply { live, versions: entries })
    }

    /// The text of a version: `live`, `file`, a number or a digest.
    ///
    /// # Errors
    /// There is none.
    pub async fn config_version(&self, name: &str) -> Result<VersionReply, Failure> {
        let versions = self.versions()?;
        let file = versions.file.lock().await;
        let Text { version, text } = match name {
            "live" => file.live().clone(),
            "file" => on_disk(file.path()).ok_or_else(|| not_found(name))?,
            _ => versions.text(&file, name).await?,
        };
        Ok(VersionReply { version, text })
    }

    /// Puts a change into use, in one step, or reports what is wrong with it.
    pub async fn reconfigure(&self, change: Result<Settings, Vec<String>>) {
        match change {
            Ok(settings) => {
                self.cache.bound(settings.memory).await;
                self.cache.keep_stale(settings.stale.kept());
                self.logs.bound(settings.flight_bytes_max);
                self.bodies.bound(settings.bodies_bytes_max);
                let has_new_prices = settings.pricing != self.feed.settings().pricing;
                self.feed.configure(settings, self.clock.mono());
                if has_new_prices {
                    // What workers hold says what a call would have cost by the old ones.
                    self.feed.publish(Event::Purged);
                }
            }
            Err(faults) => {
                self.metrics.reload_failed();
                self.feed.keep_last_good(faults);
            }
        }
    }

    fn versions(&self) -> Result<&Versions, Failure> {
        let what = || Failure::NotFound { what: "configuration file".to_owned() };
        self.versions.as_ref().ok_or_else(what)
    }

    /// Replaces the file and takes what it says by then. Nobody else changes either meanwhile.
    async fn replace(
        &self,
        versions: &Versions,
        file: &mut Watched,
        text: Text,
        origin: &Origin,
    ) -> Result<ApplyReply, Failure> {
        let version = text.version.clone();
        let checked = match file.check(text) {
            Ok(checked) => checked,
            Err(faults) => {
                self.note_version(versions, origin, Err((Some(version), faults.clone()))).await;
                return Err(Failure::ConfigRefused(faults));
            }
        };
        let mut reply = reply(file, &checked);
        let there = on_disk(file.path());
        let is_there = |version: &str| there.as_ref().is_some_and(|it| it.version == version);
        if !is_there(&version) {
            // What was live is in the history; anything else is somebody's work that is nowhere else.
            let aside = there.filter(|it| it.version != reply.before);
            reply.set_aside = put_on_disk(file.path(), &checked.text, aside).await?;
        }
        self.take(versions, file, checked, origin).await;
        Ok(reply)
    }

    /// What is in the file by now goes live.
    async fn take(
        &self,
        versions: &Versions,
        file: &mut Watched,
        checked: Checked,
        origin: &Origin,
    ) {
        let Checked { text, config, settings, warnings } = checked;
        let is_new = text.version != file.live().version;
        let snapshot = settings.snapshot.version.clone();
        file.took(text.clone(), warnings);
        self.reconfigure(Ok(settings)).await;
        self.rebase_tenants(config).await;
        let Origin { source, by } = origin;
        let (version, source) = (&text.version, source.as_str());
        // Said once it is true.
        tracing::info!(version, snapshot, source, by, "configuration in use");
        if is_new {
            self.note_version(versions, origin, Ok(&text)).await;
        }
    }

    /// Writes a change, or a refusal, into history, metrics and log. Where the history cannot be written, what is live
    /// stays live: the file says it too.
    async fn note_version(
        &self,
        versions: &Versions,
        origin: &Origin,
        became: Result<&Text, (Option<String>, Vec<String>)>,
    ) {
        let Origin { source, by } = origin;
        let version = Version {
            digest: None,
            snapshot: None,
            text: None,
            at: self.clock.wall(),
            source: *source,
            by: by.clone(),
            errors: Vec::new(),
        };
        let version = match became {
            Ok(Text { version: digest, text }) => Version {
                digest: Some(digest.clone()),
                snapshot: Some(self.snapshot_version()),
                text: Some(text.clone()),
                ..version
            },
            Err((digest, errors)) => Version { digest, errors, ..version },
        };
        let was_live = version.was_live();
        self.metrics.configured(source.as_str(), was_live);
        if !was_live {
            let (digest, faults) = (version.digest.as_deref(), version.errors.join("; "));
            let source = source.as_str();
            tracing::error!(
                version = digest,
                source,
                by,
                faults,
                "a configuration is not in force; the last good one stays in use"
            );
        }
        let number = versions.store.add(version.clone()).await;
        if let Err(error) = &number {
            tracing::error!(%error, "the history of the configuration cannot be written");
        }
        if !was_live {
            // Without a number it is told all the same.
            let number = number.unwrap_or_default();
            *lock(&versions.refused) = Some(entry(number, version, false));
        }
    }
}

fn entry(number: u64, version: Version, is_live: bool) -> VersionEntry {
    let Version { digest, snapshot, text: _, at, source, by, errors } = version;
    VersionEntry { number, version: digest, snapshot, at, source, by, errors, is_live }
}

fn reply(file: &Watched, checked: &Checked) -> ApplyReply {
    ApplyReply {
        version: checked.text.version.clone(),
        before: file.live().version.clone(),
        warnings: checked.warnings.iter().map(ToString::to_string).collect(),
        set_aside: None,
    }
}

/// The version that is called so: by its number, or by the first digits of its digest, then the newest.
fn named<'a>(entries: &'a [VersionEntry], name: &str) -> Option<&'a VersionEntry> {
    if name.len() >= PREFIX_DIGITS_MIN {
        let is_so = |entry: &&VersionEntry| {
            entry.errors.is_empty()
                && entry.version.as_deref().is_some_and(|it| it.starts_with(name))
        };
        return entries.iter().find(is_so);
    }
    let number: u64 = name.parse().ok()?;
    entries.iter().find(|entry| entry.number == number)
}

fn not_found(name: &str) -> Failure {
    Failure::NotFound { what: format!("version '{name}' of the configuration") }
}

fn name_of(by: Option<String>) -> Result<Option<String>, Failure> {
    let is_fine = |by: &String| {
        (1..=BY_CHARS_MAX).contains(&by.chars().count()) && !by.chars().any(char::is_control)
    };
    match by {
        Some(by) if !is_fine(&by) => Err(Failure::Invalid {
            field: "by",
            what: "must have 1 to 64 characters, none of them a control character",
        }),
        by => Ok(by),
    }
}

fn on_disk(path: &Path) -> Option<Text> {
    config_file::read(path).ok().map(Text::of)
}

/// Replaces the file, and says where what was there lies, if that is to be kept.
async fn put_on_disk(
    path: &Path,
    text: &Text,
    aside: Option<Text>,
) -> Result<Option<String>, Failure> {
    let (path, text) = (path.to_owned(), text.text.clone());
    let failed = |error: &dyn std::fmt::Display| Failure::ConfigNotWritten {
        path: path.display().to_string(),
        error: error.to_string(),
    };
    let at = path.clone();
    let written = tokio::task::spawn_blocking(move || {
        let kept = aside.map(|aside| {
            let place = config_file::set_aside_at(&at);
            config_file::replace(&place, &aside.text).map(|()| place.display().to_string())
        });
        let kept = kept.transpose()?;
        config_file::replace(&at, &text).map(|()| kept)
    });
    match written.await {
        Ok(Ok(kept)) => Ok(kept),
        Ok(Err(error)) => Err(failed(&error)),
        Err(error) => Err(failed(&error)),
    }
}
