//! Hosted mode: what decides about the requests of each organization, from a folder of packs. A file that is bad changes
//! nothing but what is said of it; a file that is gone refuses the keys of its organization; no file touches another
//! organization than the one that it is named for.

mod files;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use kt_contract::config::{Config, SecretRef};
use kt_contract::snapshot::Snapshot;
use kt_contract::time::{Millis, MonoMillis};
use kt_contract::wire::feed::Event;

use super::settings::Settings;
use super::{Sidecar, lock};
use files::{Files, Outcome};

/// For how long requests that were planned by an earlier pack are decided by it, as with the host's file.
const KEPT_FOR: Millis = Millis(60_000);

/// Reads what a reference leads to.
pub type Secrets = fn(&str, &SecretRef) -> Result<String, String>;

/// The tenants of a hosted gateway.
pub struct Tenants {
    /// One look at a time, on a thread that may wait.
    files: Arc<Mutex<Files>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By organization.
    tenants: HashMap<String, Tenant>,
    /// What is wrong, by file.
    faults: BTreeMap<PathBuf, Vec<String>>,
}

struct Tenant {
    settings: Arc<Settings>,
    /// Those before, newest first, each with the moment at which another one took its place.
    earlier: VecDeque<(MonoMillis, Arc<Settings>)>,
}

/// Whose settings they are, and what they have to call providers with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenancy {
    /// The organization.
    pub org: String,
    /// By target; `None` where a target wants none. It may call no others.
    pub credentials: BTreeMap<String, Option<Credential>>,
}

/// A provider's credential of one organization.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// The header that it goes into.
    pub header: &'static str,
    /// The header's value.
    pub value: Arc<str>,
}

// === impl Credential ===

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credential").field("header", &self.header).finish_non_exhaustive()
    }
}

// === impl Tenants ===

impl Tenants {
    /// Reads every pack in `folder` for the first time. What is wrong with one is no concern of the others.
    #[must_use]
    pub fn load(folder: PathBuf, host: Config, is_local: bool, secrets: Secrets) -> Self {
        let mut files = Files::new(folder, host, is_local, secrets);
        let mut state = State::default();
        for (file, outcome) in files.look() {
            let _ = state.take(file, outcome, MonoMillis(0));
        }
        Self { files: Arc::new(Mutex::new(files)), state: Mutex::new(state) }
    }

    /// What decides about the rest of a request of `org` that a filter has decided by `snapshot`: the newest pack that
    /// has this snapshot. `None` where the organization is no tenant.
    #[must_use]
    pub fn settings_of(&self, org: &str, snapshot: &str, now: MonoMillis) -> Option<Arc<Settings>> {
        let state = lock(&self.state);
        let tenant = state.tenants.get(org)?;
        let is_of = |settings: &Settings| settings.snapshot.version == snapshot;
        if is_of(&tenant.settings) {
            return Some(Arc::clone(&tenant.settings));
        }
        let kept = |(replaced, _): &&(MonoMillis, _)| now.since(*replaced) <= KEPT_FOR;
        let earlier = tenant.earlier.iter().take_while(kept).find(|(_, settings)| is_of(settings));
        Some(Arc::clone(earlier.map_or(&tenant.settings, |(_, settings)| settings)))
    }

    /// What decides about requests of `org` from now on.
    #[must_use]
    pub fn settings(&self, org: &str) -> Option<Arc<Settings>> {
        lock(&self.state).tenants.get(org).map(|tenant| Arc::clone(&tenant.settings))
    }

    /// How many tenants are served.
    #[must_use]
    pub fn count(&self) -> usize {
        lock(&self.state).tenants.len()
    }

    /// How many files are not in force.
    #[must_use]
    pub fn refused(&self) -> usize {
        lock(&self.state).faults.len()
    }

    /// Everything that is wrong with files that are not in force.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        lock(&self.state).faults.values().flatten().cloned().collect()
    }

    /// The host's file says something else: the next look puts every pack beside it.
    async fn rebase(&self, host: Config) {
        self.with_files(move |files| files.rebase(host)).await;
    }

    async fn look(&self) -> Vec<(PathBuf, Outcome)> {
        self.with_files(Files::look).await.unwrap_or_default()
    }

    async fn with_files<T: Send + 'static>(
        &self,
        run: impl FnOnce(&mut Files) -> T + Send + 'static,
    ) -> Option<T> {
        let files = Arc::clone(&self.files);
        let ended = tokio::task::spawn_blocking(move || run(&mut lock(&files))).await;
        // A thread that was not let end belongs to a process that ends; after any other the next look goes on.
        ended.inspect_err(|error| tracing::error!(%error, "a look at tenants has failed")).ok()
    }
}

// === impl State ===

impl State {
    /// Takes what was found in a file, and says whose rules have changed by that.
    fn take(&mut self, file: PathBuf, outcome: Outcome, now: MonoMillis) -> Option<String> {
        let path = file.display().to_string();
        match outcome {
            Outcome::Good(org, settings) => {
                if self.faults.remove(&file).is_some() {
                    tracing::info!(org, path, "a tenant's file is good again");
                }
                self.put(org, &path, Arc::from(settings), now)
            }
            Outcome::Rebased(org, settings) => self.put(org, &path, Arc::from(settings), now),
            Outcome::Void(org, faults) => {
                let said = faults.join("; ");
                let what = "nothing of a tenant's last good file is left beside the host's: its keys are refused";
                tracing::error!(org, path, faults = said, "{what}");
                // What is wrong with the file itself is what is to be mended.
                self.faults.entry(file).or_insert(faults);
                self.tenants.remove(&org).map(|_| org)
            }
            // It is read again and again until it can be read.
            Outcome::Bad(faults) if self.faults.get(&file) == Some(&faults) => None,
            Outcome::Bad(faults) => {
                let said = faults.join("; ");
                let what = "a tenant's file is not in force; its last good one stays in use";
                tracing::error!(path, faults = said, "{what}");
                self.faults.insert(file, faults);
                None
            }
            Outcome::Gone(org) => {
                self.faults.remove(&file);
                self.tenants.remove(&org)?;
                tracing::info!(org, path, "a tenant is gone: its keys are refused");
                Some(org)
            }
        }
    }

    /// Puts settings in force, and says whose, if they are others than before.
    fn put(
        &mut self,
        org: String,
        path: &str,
        settings: Arc<Settings>,
        now: MonoMillis,
    ) -> Option<String> {
        let version = settings.snapshot.version.clone();
        match self.tenants.get_mut(&org) {
            Some(tenant) if *tenant.settings == *settings => return None,
            Some(tenant) => {
                let before = std::mem::replace(&mut tenant.settings, settings);
                tenant.earlier.retain(|(at, _)| now.since(*at) <= KEPT_FOR);
                tenant.earlier.push_front((now, before));
            }
            None => {
                let earlier = VecDeque::new();
                self.tenants.insert(org.clone(), Tenant { settings, earlier });
            }
        }
        tracing::info!(org, path, snapshot = version, "a tenant's configuration is in use");
        Some(org)
    }
}

// === impl Sidecar ===

impl Sidecar {
    /// The host's file says something else, which the next look at tenants takes up: what is the host's to say holds for
    /// every tenant, whether its file is good or not.
    pub async fn rebase_tenants(&self, host: Config) {
        if let Some(tenants) = &self.tenants {
            tenants.rebase(host).await;
        }
    }

    /// Looks at the tenants' files once: puts what they say into use, or reports what is wrong with them.
    pub async fn look_at_tenants(&self) {
        let Some(tenants) = &self.tenants else { return };
        for (file, outcome) in tenants.look().await {
            let changed = lock(&tenants.state).take(file, outcome, self.clock.mono());
            if let Some(org) = changed {
                self.feed.publish(Event::Tenant { org });
            }
        }
    }

    /// What decides about the rest of a request that a filter has decided by `snapshot`. `None`: nothing is configured
    /// for the organization.
    pub(super) fn settings_of(&self, org: &str, snapshot: &str) -> Option<Arc<Settings>> {
        let now = self.clock.mono();
        match &self.tenants {
            None => Some(self.feed.settings_of(snapshot, now)),
            Some(tenants) => tenants.settings_of(org, snapshot, now),
        }
    }

    /// What decides about requests of an organization from now on.
    pub(super) fn settings_for(&self, org: &str) -> Option<Arc<Settings>> {
        match &self.tenants {
            None => Some(self.feed.settings()),
            Some(tenants) => tenants.settings(org),
        }
    }

    /// The snapshot that filters need for a tenant's requests; `None` where it is none.
    pub(super) fn snapshot_for(&self, org: &str) -> Option<Arc<Snapshot>> {
        self.settings_for(org).map(|settings| Arc::clone(&settings.snapshot))
    }
}
