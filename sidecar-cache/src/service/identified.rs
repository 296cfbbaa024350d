//! Callers that are known by an identity which Envoy has verified, and not by a key. Rules of the configuration say who they
//! are, each time anew, so that a rule that is gone lets nobody in; what is remembered are their names, for what is told of
//! them by name afterwards.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use kt_contract::config::Identities;
use kt_contract::identity::{Identity, is_spiffe_id};
use kt_contract::key::OrgKeys;
use kt_contract::principal::{KeyHash, Principal};
use kt_contract::time::UnixMillis;

use super::callers::{Caller, Resolved};
use super::{Sidecar, lock};
use crate::store::{Answer, KeyRecord, PrincipalStore, Revoked, Rotated, StoreError};

/// How many names are remembered at most.
const NAMES_MAX: usize = 16_384;

/// The names of identities, and who they are.
#[derive(Default)]
pub(crate) struct Identified(Mutex<Names>);

/// Two halves, as callers have them; and the rules by which they came in.
#[derive(Default)]
struct Names {
    rules: Arc<Identities>,
    young: HashMap<String, Named>,
    old: HashMap<String, Named>,
}

/// Whose a name is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Named {
    One(Box<KeyRecord>),
    /// By other claims of its JWTs it is somebody in another organization, too. What is told by name alone is neither's:
    /// nothing of the one may come into the other's books.
    Several,
}

/// A store of keys that knows the names of identities too. Nothing of an identity is ever written to it.
pub(super) struct WithIdentities {
    pub(super) keys: Arc<dyn PrincipalStore>,
    pub(super) identified: Arc<Identified>,
}

// === impl Identified ===

impl Identified {
    /// Forgets whoever came in by other rules.
    fn by(&self, rules: &Arc<Identities>) {
        let mut names = lock(&self.0);
        if Arc::ptr_eq(&names.rules, rules) {
            return;
        }
        if names.rules != *rules {
            *names = Names::default();
        }
        // The same rules of a file that was read again are not compared word by word with each question.
        names.rules = Arc::clone(rules);
    }

    /// Who somebody is by these rules, unless there are others by now.
    fn remember(&self, rules: &Arc<Identities>, hash: KeyHash, principal: &Principal) {
        let mut names = lock(&self.0);
        if names.rules != *rules {
            return;
        }
        let is_other = match names.of(&principal.key_id) {
            None => false,
            Some(Named::One(known)) => known.principal.org != principal.org,
            Some(Named::Several) => true,
        };
        let named = match is_other {
            true => Named::Several,
            false => Named::One(Box::new(record(hash, principal.clone()))),
        };
        if names.young.len() >= NAMES_MAX / 2 {
            names.old = std::mem::take(&mut names.young);
        }
        names.young.insert(principal.key_id.clone(), named);
    }

    fn named(&self, name: &str) -> Option<KeyRecord> {
        let names = lock(&self.0);
        match names.of(name) {
            Some(Named::One(known)) => Some(known.as_ref().clone()),
            Some(Named::Several) => None,
            None => {
                // A SPIFFE ID says all that rules ask for, whether it has ever been here or not.
                let identity = is_spiffe_id(name)
                    .then(|| Identity { spiffe: Some(name.to_owned()), jwt: None })?;
                Some(record(identity.hash(), names.rules.resolve(&identity)?))
            }
        }
    }
}

// === impl Names ===

impl Names {
    fn of(&self, name: &str) -> Option<&Named> {
        self.young.get(name).or_else(|| self.old.get(name))
    }
}

fn record(hash: KeyHash, principal: Principal) -> KeyRecord {
    let created_at = UnixMillis(0);
    KeyRecord { hash, principal, created_at, revoked_at: None, ends_at: None, successor: None }
}

// === impl WithIdentities ===

impl PrincipalStore for WithIdentities {
    fn find(&self, hash: KeyHash) -> Answer<'_, Option<KeyRecord>> {
        self.keys.find(hash)
    }

    fn find_named(&self, key_id: String) -> Answer<'_, Option<KeyRecord>> {
        match self.identified.named(&key_id) {
            Some(record) => Box::pin(std::future::ready(Ok(Some(record)))),
            None => self.keys.find_named(key_id),
        }
    }

    fn add(&self, record: KeyRecord) -> Answer<'_, ()> {
        self.keys.add(record)
    }

    fn revoke(&self, key_id: String, at: UnixMillis) -> Answer<'_, Revoked> {
        self.keys.revoke(key_id, at)
    }

    fn rotate(&self, key_id: String, new: KeyRecord, ends_at: UnixMillis) -> Answer<'_, Rotated> {
        self.keys.rotate(key_id, new, ends_at)
    }

    fn list(&self) -> Answer<'_, Vec<KeyRecord>> {
        self.keys.list()
    }
}

// === impl Sidecar ===

impl Sidecar {
    /// Who asks, by the digest of a key or by an identity of that digest.
    ///
    /// # Errors
    /// Where the store of keys cannot say.
    pub(super) async fn who(
        &self,
        key: KeyHash,
        identity: Option<&Identity>,
    ) -> Result<Resolved, StoreError> {
        let Some(identity) = identity else { return self.callers.resolve(key).await };
        if identity.hash() != key {
            self.metrics.mismatch("identity");
            tracing::warn!(security = true, "a filter asks for one identity and names another");
            return Ok(Resolved::Unknown);
        }
        let rules = &self.feed.settings().identities;
        self.identified.by(rules);
        Ok(match rules.resolve(identity) {
            None => Resolved::Unknown,
            Some(principal) => {
                self.identified.remember(rules, key, &principal);
                let keys = OrgKeys::derive(&principal.org);
                Resolved::Known(Arc::new(Caller { principal, keys, ends_at: None, made_at: None }))
            }
        })
    }

    /// The key of this public name, or who is known by this identity.
    ///
    /// # Errors
    /// Where the store of keys cannot say.
    pub(super) async fn named(&self, name: &str) -> Result<Option<KeyRecord>, StoreError> {
        self.identified.by(&self.feed.settings().identities);
        self.keys.find_named(name.to_owned()).await
    }
}

#[cfg(test)]
mod tests {
    use kt_contract::hex::Digest;

    use super::*;

    fn principal(key_id: &str, org: &str) -> Principal {
        Principal {
            key_id: key_id.to_owned(),
            lineage: None,
            org: org.to_owned(),
            team: None,
            user: None,
            agent: None,
            group: None,
            codebases: Default::default(),
            entitlements: Default::default(),
        }
    }

    #[test]
    fn a_name_that_two_organizations_have_is_neithers() {
        let identified = Identified::default();
        let org = |name: &str| identified.named(name).map(|record| record.principal.org);
        let remember = |name: &str, org: &str| {
            identified.remember(&Arc::default(), KeyHash(Digest([0; 32])), &principal(name, org));
        };
        for _ in 0..2 {
            remember("jwt:i#ada", "acme");
            remember("jwt:i#bob", "globex");
            assert_eq!(org("jwt:i#ada").as_deref(), Some("acme"));
        }
        remember("jwt:i#ada", "globex");
        assert_eq!(org("jwt:i#ada"), None);
        remember("jwt:i#ada", "acme");
        assert_eq!(org("jwt:i#ada"), None, "whoever comes last does not get it");
        assert_eq!(org("jwt:i#bob").as_deref(), Some("globex"));
    }
}
