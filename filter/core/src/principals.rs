//! The principals that this worker knows: a bounded map from the digest of a key to who stands behind it, and on a hosted
//! gateway another one to what decides about the requests of its organization.

use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use kt_contract::key::OrgKeys;
use kt_contract::limits::PATTERN_BYTES_MAX;
use kt_contract::policy::Phase;
use kt_contract::principal::{KeyHash, Principal};
use kt_contract::snapshot::Snapshot;
use kt_contract::time::{Millis, MonoMillis};
use kt_policy::Chain;

use crate::lru::Lru;

/// How much memory principals may take: some four thousand of those with a few short names. A key may name hundreds of
/// codebases and entitlements.
const PRINCIPAL_BYTES_MAX: u64 = 5 << 19;
/// What is derived from one, and the bookkeeping, count for.
const PRINCIPAL_OVERHEAD_BYTES: u64 = 512;
/// How much memory tenants' rules may take: room for one with the most and the largest patterns that a chain may have.
const TENANT_BYTES_MAX: u64 = 32 << 20;
/// How much memory a snapshot and its lists of terms take, ready to run, for each byte of its JSON: what packs of two words
/// and of a hundred take in the module, by the tests of its host.
const READY_FOR_EACH_BYTE: u64 = 10;
/// What the bookkeeping of one counts for.
const TENANT_OVERHEAD_BYTES: u64 = 1 << 10;

/// A principal, with what is derived from it once and used for each of its requests.
#[derive(Clone, Debug)]
pub struct Known {
    /// Who asks.
    pub principal: Rc<Principal>,
    /// The hashing keys of its organization.
    pub org_keys: Rc<OrgKeys>,
    /// What decides about its requests, where that is its organization's own.
    pub tenant: Option<Rc<Rules>>,
    /// How old its key is; of an identity, nothing.
    pub key_age: Option<KeyAge>,
}

/// How old a key was at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyAge {
    age: Millis,
    at: MonoMillis,
}

/// A snapshot, and its policies that read requests, ready to run.
#[derive(Debug)]
pub struct Rules {
    /// The snapshot.
    pub snapshot: Rc<Snapshot>,
    /// Its policies.
    pub chain: Rc<Chain>,
    /// Whether its table of models is another's, which is kept anyway.
    shares_models: bool,
}

/// The principals of a worker.
#[derive(Debug)]
pub struct Principals {
    keys: Lru<KeyHash, Kept>,
    /// By the version of the snapshot: tenants that say the same have the same.
    tenants: Lru<Rc<str>, Rc<Rules>>,
    /// Also those that made room for others while requests wait that are decided by them: nobody makes them ready twice.
    alive: BTreeMap<Rc<str>, Weak<Rules>>,
}

/// A principal without what its tenant shares with others.
#[derive(Clone, Debug)]
struct Kept {
    principal: Rc<Principal>,
    org_keys: Rc<OrgKeys>,
    tenant: Option<Rc<str>>,
    key_age: Option<KeyAge>,
}

impl Default for Principals {
    fn default() -> Self {
        let (keys, tenants) = (Lru::new(PRINCIPAL_BYTES_MAX), Lru::new(TENANT_BYTES_MAX));
        Self { keys, tenants, alive: BTreeMap::new() }
    }
}

// === impl Known ===

impl Known {
    /// Derives what a principal's requests need.
    #[must_use]
    pub fn new(principal: Principal) -> Self {
        let org_keys = Rc::new(OrgKeys::derive(&principal.org));
        Self { principal: Rc::new(principal), org_keys, tenant: None, key_age: None }
    }

    /// The same, with a key that is so old.
    #[must_use]
    pub fn with_key_age(self, age: Option<Millis>, now: MonoMillis) -> Self {
        Self { key_age: age.map(|age| KeyAge { age, at: now }), ..self }
    }

    /// The same, as of now.
    pub(crate) fn at(self, now: MonoMillis) -> Self {
        Self { key_age: self.key_age.map(|age| age.at(now)), ..self }
    }

    /// The same, of an organization that has rules of its own.
    #[must_use]
    pub fn of_tenant(principal: Principal, rules: Rc<Rules>) -> Self {
        Self { tenant: Some(rules), ..Self::new(principal) }
    }
}

// === impl KeyAge ===

impl KeyAge {
    fn at(self, now: MonoMillis) -> Self {
        let since = now.since(self.at).0;
        Self { age: Millis(self.age.0.saturating_add(since)), at: now }
    }

    /// In whole seconds.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        self.age.0 / 1_000
    }
}

// === impl Rules ===

impl Rules {
    /// Makes a snapshot ready to run. `None`: its policies cannot be run here.
    #[must_use]
    pub fn of(snapshot: Snapshot) -> Option<Self> {
        let chain = Rc::new(Chain::compile(&snapshot.policy.chain, Phase::Input).ok()?);
        Some(Self { snapshot: Rc::new(snapshot), chain, shares_models: false })
    }

    /// The same of a tenant's snapshot. Most packs name no models of their own: their table is the host's, which is most of
    /// what they would take.
    #[must_use]
    pub fn of_tenant(snapshot: Snapshot, host: Option<&Snapshot>) -> Option<Self> {
        let host = host.map(|host| &host.models).filter(|models| **models == snapshot.models);
        let (models, shares_models) = match host {
            Some(models) => (Arc::clone(models), true),
            None => (Arc::clone(&snapshot.models), false),
        };
        Some(Self { shares_models, ..Self::of(Snapshot { models, ..snapshot })? })
    }

    fn weight(&self) -> u64 {
        let Self { snapshot, chain: _, shares_models } = self;
        let mut bytes = serde_json::to_vec(snapshot.as_ref()).map_or(0, |text| text.len());
        if *shares_models {
            let models = serde_json::to_vec(&snapshot.models).map_or(0, |text| text.len());
            bytes = bytes.saturating_sub(models);
        }
        let of = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        // A pattern of a few bytes may be large when compiled: what counts is the bound on that.
        let patterns = self.snapshot.policy.chain.patterns().saturating_mul(PATTERN_BYTES_MAX);
        of(bytes)
            .saturating_mul(READY_FOR_EACH_BYTE)
            .saturating_add(of(patterns))
            .saturating_add(TENANT_OVERHEAD_BYTES)
    }
}

// === impl Principals ===

impl Principals {
    /// Who stands behind `key`, as far as this worker knows. Without the rules of its tenant, nobody.
    pub fn get(&mut self, key: &KeyHash) -> Option<Known> {
        let Kept { principal, org_keys, tenant, key_age } = self.keys.get(key)?.clone();
        let tenant = match tenant {
            None => None,
            Some(version) => Some(self.ready(&version)?),
        };
        Some(Known { principal, org_keys, tenant, key_age })
    }

    /// The rules of a version, if another principal has them.
    pub fn rules(&mut self, version: &str) -> Option<Rc<Rules>> {
        self.ready(&Rc::from(version))
    }

    fn ready(&mut self, version: &Rc<str>) -> Option<Rc<Rules>> {
        let kept = self.tenants.get(version).cloned();
        kept.or_else(|| self.alive.get(version)?.upgrade())
    }

    /// Remembers who stands behind `key`.
    pub fn remember(&mut self, key: KeyHash, known: Known) {
        let Known { principal, org_keys, tenant, key_age } = known;
        let tenant = tenant.map(|rules| {
            let version: Rc<str> = rules.snapshot.version.as_str().into();
            if self.tenants.get(&version).is_none() {
                let weight = rules.weight();
                self.alive.retain(|_, rules| rules.strong_count() > 0);
                self.alive.insert(Rc::clone(&version), Rc::downgrade(&rules));
                // Too heavy to be kept, it is asked for with each request.
                let _ = self.tenants.insert(Rc::clone(&version), rules, weight);
            }
            version
        });
        let weight = weight(&principal);
        self.keys.insert(key, Kept { principal, org_keys, tenant, key_age }, weight);
    }

    /// Forgets one: its key was revoked or changed.
    pub fn forget(&mut self, key: &KeyHash) {
        self.keys.remove(key);
    }

    /// Forgets those of an organization: what is configured for it has changed.
    pub fn forget_org(&mut self, org: &str) {
        self.keys.remove_where(|kept| kept.principal.org == org);
    }

    /// Forgets the rules of all tenants: their principals are asked for again.
    pub fn forget_rules(&mut self) {
        self.tenants.clear();
        self.alive.clear();
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.keys.clear();
        self.forget_rules();
    }
}

fn weight(principal: &Principal) -> u64 {
    // Destructured, so that a new field does not compile until it counts.
    let Principal { key_id, lineage, org, team, user, agent, group, codebases, entitlements } =
        principal;
    let few = [Some(key_id), Some(org), lineage.as_ref(), team.as_ref(), user.as_ref()];
    let few = few.into_iter().chain([agent.as_ref(), group.as_ref()]).flatten();
    let all = few.chain(codebases).chain(entitlements);
    let bytes = all.map(|name| name.len() + size_of::<String>()).sum::<usize>();
    u64::try_from(bytes).unwrap_or(u64::MAX).saturating_add(PRINCIPAL_OVERHEAD_BYTES)
}

#[cfg(test)]
#[path = "tests/principals.rs"]
mod tests;
