//! The folder of packs: which files are there, which have changed, and what they say. What is there counts once two looks
//! have found the same, as with the host's file.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kt_contract::config::{self, Config, Loaded, Target};
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
    /// Whether the folder could be read, the last time.
    was_readable: bool,
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
            was_readable: true,
        }
    }

    /// The host says something else.
    pub(super) fn rebase(&mut self, host: Config) {
        self.of_host = Settings::of(&host, self.is_local);
        self.host = host;
        self.seen.values_mut().for_each(|seen| seen.taken = None);
    }

    /// Looks once, and says what has changed.
    pub(super) fn look(&mut self) -> Vec<(PathBuf, Outcome)> {
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
            let org = org_of(&file).unwrap_or_default();
            found.push((file, Outcome::Gone(org)));
        }
        for (file, stamp) in there {
            let seen = self.seen.entry(file.clone()).or_default();
            let is_steady = seen.last.replace(stamp) == Some(stamp) || is_first;
            if is_steady && seen.taken != Some(stamp) {
                seen.taken = Some(stamp);
                let outcome = self.read(&file).unwrap_or_else(Outcome::Bad);
                found.push((file, outcome));
            }
        }
        found
    }

    fn read(&self, file: &Path) -> Result<Outcome, Vec<String>> {
        let path = file.display().to_string();
        let org = org_of(file).ok_or_else(|| {
            vec![format!("{path}: is not named for an organization: ORG.{ENDING}")]
        })?;
        let text = config_file::read(file).map_err(|fault| vec![fault])?;
        let loaded = config::load_tenant(&path, &text, &self.host);
        let Loaded { config, warnings, .. } =
            loaded.map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        for warning in &warnings {
            tracing::warn!(%warning, "a tenant's configuration");
        }
        let mut credentials = BTreeMap::new();
        let mut faults = Vec::new();
        for target in &config.targets {
            match self.credential(&path, target) {
                Ok(credential) => drop(credentials.insert(target.id.clone(), credential)),
                Err(fault) => faults.push(fault),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let tenancy = Tenancy { org: org.clone(), credentials };
        let settings = Settings::of(&config, self.is_local);
        Ok(Outcome::Good(org, Box::new(self.shared(settings, tenancy))))
    }

    /// What a tenant cannot change is the host's, once for all.
    fn shared(&self, mut settings: Settings, tenancy: Tenancy) -> Settings {
        let host = &self.of_host;
        settings.pricing = Arc::clone(&host.pricing);
        settings.accounts.clone_from(&host.accounts);
        if settings.input == host.input {
            settings.input = host.input.clone();
            settings.output.clone_from(&host.output);
        }
        settings.tenant = Some(Arc::new(tenancy));
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

/// The files in a folder, each with what changes when its content does. What begins with a dot is somebody's draft.
fn stamps(folder: &Path) -> std::io::Result<BTreeMap<PathBuf, Stamp>> {
    let mut there = BTreeMap::new();
    for entry in folder.read_dir()? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with('.') || !(name.ends_with(".yaml") || name.ends_with(".yml")) {
            continue;
        }
        // A link that leads nowhere is no file; it may have gone since the folder was read.
        if let Ok(metadata) = path.metadata()
            && metadata.is_file()
        {
            there.insert(path, Stamp::of(&metadata));
        }
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
