//! The principals that this worker knows: a bounded map from the digest of a key to who stands behind it.

use std::rc::Rc;

use kt_contract::key::OrgKeys;
use kt_contract::principal::{KeyHash, Principal};

use crate::lru::Lru;

/// How many principals a worker remembers.
const PRINCIPALS_MAX: u64 = 4_096;

/// A principal, with what is derived from it once and used for each of its requests.
#[derive(Clone, Debug)]
pub struct Known {
    /// Who asks.
    pub principal: Rc<Principal>,
    /// The hashing keys of its organization.
    pub org_keys: Rc<OrgKeys>,
}

/// The principals of a worker.
#[derive(Debug)]
pub struct Principals(Lru<KeyHash, Known>);

impl Default for Principals {
    fn default() -> Self {
        Self(Lru::new(PRINCIPALS_MAX))
    }
}

// === impl Known ===

impl Known {
    /// Derives what a principal's requests need.
    #[must_use]
    pub fn new(principal: Principal) -> Self {
        let org_keys = Rc::new(OrgKeys::derive(&principal.org));
        Self { principal: Rc::new(principal), org_keys }
    }
}

// === impl Principals ===

impl Principals {
    /// Who stands behind `key`, as far as this worker knows.
    pub fn get(&mut self, key: &KeyHash) -> Option<Known> {
        self.0.get(key).cloned()
    }

    /// Remembers who stands behind `key`.
    pub fn remember(&mut self, key: KeyHash, known: Known) {
        self.0.insert(key, known, 1);
    }

    /// Forgets one: its key was revoked or changed.
    pub fn forget(&mut self, key: &KeyHash) {
        self.0.remove(key);
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}
