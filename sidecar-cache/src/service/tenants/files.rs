//! The folder of packs: which files are there, which have changed, and what they say. What is there counts once two looks
//! have found the same, as with the host's file.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kt_contract::config::{self, Config, Loaded, SecretRef, Target};
use kt_contract::id::check_id;

use super::{Credential, Secrets, Tenancy};
use crate::config_file;
use crate::service::settings::Settings;

/// What the names of packs end with.
const ENDING: &str = "yaml";

/// The files, and what was seen of them.
pub(super) struct Files {
    folder: PathBuf,
    host: Config,
    /// What the host says to the sidecar: what tenants do not change is shared among all of them.
    of_host: Settings,
    is_local: bool,
    secrets: Secrets,
    has_looked: bool,
    seen: BTreeMap<PathBuf, Seen>,
    /// Of each tenant that is in force, what says so.
    good: BTreeMap<PathBuf, Good>,
    /// Which of the host's configurations it is: counted.
    generation: u64,
    /// Whether the folder could be read, the last time.
    was_readable: bool,
}

/// The last good content of a file.
struct Good {
    text: String,
    tenancy: Arc<Tenancy>,
    /// Beside which of the host's configurations it is in force.
    generation: u64,
}

/// Why a file is not in force.
struct Fault {
    said: Vec<String>,
    /// Whether another look may find it mended, though the file is the same.
    is_passing: bool,
}

/// What was seen of one file.
#[derive(Default)]
struct Seen {
    /// When it was looked at the last time; `None`: it was not there.
    last: Option<Stamp>,
    /// What was read.
    taken: Option<Stamp>,
}

/// What changes with a file's content.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    changed: (i64, i64),
    bytes: u64,
    inode: u64,
}

/// What a file has become.
pub(super) enum Outcome {
    /// The pack of an organization.
    Good(String, Box<Settings>),
    /// Something that is none.
    Bad(Vec<String>),
    /// The last good pack of an organization, beside what the host says by now.
    Rebased(String, Box<Settings>),
    /// Nothing is left of that one, for these reasons.
    Void(String, Vec<String>),
    /// It is not there any more: the pack of this organization.
    Gone(String),
}

// === impl Files ===

impl Files {
    pub(super) fn new(folder: PathBuf, host: Config, is_local: bool, secrets: Secrets) -> Self {
        let of_host = Settings::of(&host, is_local);
        Self {
            folder,
            host,
            of_host,
            is_local,
            secrets,
            has_looked: false,
            seen: BTreeMap::new(),
            good: BTreeMap::new(),
            generation: 0,
            was_readable: true,
        }
    }

    /// The host says something else.
    pub(super) fn rebase(&mut self, host: Config) {
        self.of_host = Settings::of(&host, self.is_local);
        self.host = host;
        self.generation += 1;
        self.seen.values_mut().for_each(|seen| seen.taken = None);
    }

    /// Looks once, and says what has changed.
    pub(super) fn look(&mut self) -> Vec<(PathBuf, Outcome)> {
        let mut found = self.look_at_folder();
        // What is the host's to say holds for those, too, whose files are bad, half written or out of reach.
        let behind = self.good.iter().filter(|(_, good)| good.generation != self.generation);
        let behind: Vec<PathBuf> = behind.map(|(file, _)| file.clone()).collect();
        for file in behind {
            let Some(org) = org_of(&file) else { continue };
            let outcome = match unless_it_panics(&file, || self.rebased(&file)) {
                Ok(settings) => Outcome::Rebased(org, settings),
                Err(said) => Outcome::Void(org, said),
            };
            if let Some(good) = self.good.get_mut(&file) {
                good.generation = self.generation;
            }
            found.push((file, outcome));
        }
        found
    }

    fn look_at_folder(&mut self) -> Vec<(PathBuf, Outcome)> {
        let is_first = !std::mem::replace(&mut self.has_looked, true);
        let there = match stamps(&self.folder) {
            Ok(there) => there,
            Err(error) => {
                // Nobody has said that the tenants are gone.
                let is_new = std::mem::replace(&mut self.was_readable, false);
                let fault = format!("{}: {error}", self.folder.display());
                let bad = (self.folder.clone(), Outcome::Bad(vec![fault]));
                return if is_new { vec![bad] } else { Vec::new() };
            }
        };
        let mut found = Vec::new();
        if !std::mem::replace(&mut self.was_readable, true) {
            found.push((self.folder.clone(), Outcome::Gone(String::new())));
        }
        let mut gone = Vec::new();
        for (file, seen) in self.seen.iter_mut().filter(|(file, _)| !there.contains_key(*file)) {
            if seen.last.take().is_none() {
                gone.push(file.clone());
            }
        }
        for file in gone {
            self.seen.remove(&file);
            self.good.remove(&file);
            let org = org_of(&file).unwrap_or_default();
            found.push((file, Outcome::Gone(org)));
        }
        for (file, stamp) in there {
            let seen = self.seen.entry(file.clone()).or_default();
            let stamp = match stamp {
                Ok(stamp) => stamp,
                Err(fault) => {
                    seen.taken = None;
                    found.push((file, Outcome::Bad(vec![fault])));
                    continue;
                }
            };
            let is_steady = seen.last.replace(stamp) == Some(stamp) || is_first;
            if is_steady && seen.taken != Some(stamp) {
                seen.taken = Some(stamp);
                if let Some(outcome) = self.taken(&file, stamp) {
                    found.push((file, outcome));
                }
            }
        }
        found
    }

    /// What a file says. One that could not be read is read at the next look again; one that is being written, of which
    /// a part may be a pack without its policies, says nothing until it is steady.
    fn taken(&mut self, file: &Path, stamp: Stamp) -> Option<Outcome> {
        let read = unless_it_panics(file, || Ok(self.read(file, stamp)));
        Some(match read {
            Ok(Ok(Some((org, settings)))) => Outcome::Good(org, settings),
            Ok(Ok(None)) => {
                self.seen.insert(file.to_owned(), Seen::default());
                return None;
            }
            Ok(Err(Fault { said, is_passing })) => {
                if let Some(seen) = self.seen.get_mut(file).filter(|_| is_passing) {
                    seen.taken = None;
                }
                Outcome::Bad(said)
            }
            Err(said) => Outcome::Bad(said),
        })
    }

    /// `None`: it is not what it was when the folder was looked at, which is long ago where there are many files.
    fn read(
        &mut self,
        file: &Path,
        stamp: Stamp,
    ) -> Result<Option<(String, Box<Settings>)>, Fault> {
        let lasting = |said| Fault { said, is_passing: false };
        let path = file.display().to_string();
        let org = org_of(file).ok_or_else(|| {
            lasting(vec![format!("{path}: is not named for an organization: ORG.{ENDING}")])
        })?;
        let text = config_file::read(file)
            .map_err(|fault| Fault { said: vec![fault], is_passing: true })?;
        if file.metadata().map(|metadata| Stamp::of(&metadata)).ok() != Some(stamp) {
            return Ok(None);
        }
        let loaded = config::load_tenant(&path, &text, &self.host);
        let Loaded { config, warnings, .. } =
            loaded.map_err(|errors| lasting(errors.iter().map(ToString::to_string).collect()))?;
        for warning in &warnings {
            tracing::warn!(%warning, "a tenant's configuration");
        }
        let mut credentials = BTreeMap::new();
        let mut said = Vec::new();
        // A variable of the environment stays as it is; a file may be there a moment later.
        let mut is_passing = false;
        for target in &config.targets {
            match self.credential(&path, target) {
                Ok(credential) => drop(credentials.insert(target.id.clone(), credential)),
                Err(fault) => {
                    is_passing |= matches!(target.secret, Some(SecretRef::File(_)));
                    said.push(fault);
                }
            }
        }
        if !said.is_empty() {
            return Err(Fault { said, is_passing });
        }
        let tenancy = Arc::new(Tenancy { org: org.clone(), credentials });
        let settings = Settings::of(&config, self.is_local);
        let settings = Box::new(self.shared(settings, Arc::clone(&tenancy)));
        let good = Good { text, tenancy, generation: self.generation };
        self.good.insert(file.to_owned(), good);
        Ok(Some((org, settings)))
    }

    /// The last good content of a file, beside what the host says by now, with the credentials that were read with it.
    fn rebased(&self, file: &Path) -> Result<Box<Settings>, Vec<String>> {
        let Some(Good { text, tenancy, .. }) = self.good.get(file) else { return Err(Vec::new()) };
        let loaded = config::rebase_tenant(&file.display().to_string(), text, &self.host);
        let Loaded { config, .. } =
            loaded.map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        let mut credentials = BTreeMap::new();
        for target in &config.targets {
            let header = target.provider.credential_header().name;
            let kept = tenancy.credentials.get(&target.id).cloned();
            // One that was read for another provider goes to none.
            let kept = kept.filter(|it| it.as_ref().is_none_or(|it| it.header == header));
            if let Some(credential) = kept {
                credentials.insert(target.id.clone(), credential);
            }
        }
        let tenancy = Arc::new(Tenancy { org: tenancy.org.clone(), credentials });
        Ok(Box::new(self.shared(Settings::of(&config, self.is_local), tenancy)))
    }

    /// What a tenant cannot change is the host's, once for all.
    fn shared(&self, mut settings: Settings, tenancy: Arc<Tenancy>) -> Settings {
        let host = &self.of_host;
        settings.pricing = Arc::clone(&host.pricing);
        settings.accounts.clone_from(&host.accounts);
        if settings.input == host.input {
            settings.input = host.input.clone();
            settings.output.clone_from(&host.output);
        }
        settings.tenant = Some(tenancy);
        settings
    }

    fn credential(&self, path: &str, target: &Target) -> Result<Option<Credential>, String> {
        let Some(secret) = &target.secret else { return Ok(None) };
        let id = &target.id;
        let text = (self.secrets)(&format!("{path}: target '{id}'"), secret)?;
        let text = text.trim();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!(
                "{path}: the credential of target '{id}' can be no HTTP header: it must be one line of printable \
                 characters without spaces"
            ));
        }
        let into = target.provider.credential_header();
        let value = format!("{}{text}", into.prefix).into();
        Ok(Some(Credential { header: into.name, value }))
    }
}

/// The organization that a file is named for.
fn org_of(file: &Path) -> Option<String> {
    let org = file.file_stem()?.to_str()?;
    (file.extension()? == ENDING && check_id("org", org).is_ok()).then(|| org.to_owned())
}

/// What `run` says of a file. A fault of this program in one of them is a fault of that one.
fn unless_it_panics<T>(
    file: &Path,
    run: impl FnOnce() -> Result<T, Vec<String>>,
) -> Result<T, Vec<String>> {
    let panicked = |_| {
        let what = "could not be checked: this is a fault in kt. Please report it with this file";
        vec![format!("{}: {what}", file.display())]
    };
    // What it has begun to change is a map's entry, whole or not there.
    catch_unwind(AssertUnwindSafe(run)).map_err(panicked)?
}

/// The files in a folder, each with what changes when its content does, or why that cannot be said. What begins with a
/// dot is somebody's draft.
fn stamps(folder: &Path) -> std::io::Result<BTreeMap<PathBuf, Result<Stamp, String>>> {
    let mut there = BTreeMap::new();
    for entry in folder.read_dir()? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with('.') || !(name.ends_with(".yaml") || name.ends_with(".yml")) {
            continue;
        }
        let stamp = match path.metadata() {
            Ok(metadata) if metadata.is_file() => Ok(Stamp::of(&metadata)),
            Ok(_) => continue,
            // A link that leads nowhere is no file; it may have gone since the folder was read.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            // Nobody has said that it is gone.
            Err(error) => Err(format!("{}: {error}", path.display())),
        };
        there.insert(path, stamp);
    }
    Ok(there)
}

// === impl Stamp ===

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        Self { changed, bytes: metadata.len(), inode: metadata.ino() }
    }
}
